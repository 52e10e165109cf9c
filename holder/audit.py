"""The audit of one holder's contribution: it is recomputed bit by bit from the registered rows, the plan and the seed.

The audit runs where the rows are. It says whether the contribution is what it must be, and the first step at which it is not; it
never shows the seed, a cell or a record. What it proves and what not: docs/privacy.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holder.audit_bundle import AuditBundle, open_sealed
from holder.audit_kinds import KINDS, Step
from holder.audit_subject import AuditChain, Rows, Subject
from holder.checks import build_session, members_of
from holder.data import open_source
from holder.errors import (
    AuditBoxClosed,
    AuditContradicted,
    AuditFactMissing,
    EngineDisagrees,
    EngineFailed,
    Refusal,
    RowsExceedCeiling,
    SchemaMismatch,
    SettingsInvalid,
    SourceUnreadable,
)
from holder.probe import require_same_numbers
from holder.settings import AssetSettings, DepositSource, HolderSettings
from holder.snapshot import take_snapshot
from ledger.contracts import commitment_hash
from ledger.types import to_hex
from privacy.errors import CellOutOfRange, NoiseInvalid, PlanInvalid, PolicyInvalid, StateCorrupt
from privacy.noise import draw_noise_share
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.sealed_sum import commit
from privacy.sealed_sum_secrets import noise_commitment
from privacy.sides import asset_policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from privacy.generators import GeneratorCache


class AuditStatus(StrEnum):
    """What an audit comes to."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class AuditStep:
    """One step: True if it holds, False if it contradicts, None if a fact is lacking."""

    number: int
    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """The steps that were taken, up to the first that does not hold."""

    status: AuditStatus
    steps: tuple[AuditStep, ...]


def audit_contribution(
    bundle: AuditBundle,
    key: X25519PrivateKey,
    *,
    chain: AuditChain,
    room: HolderSettings,
    generators: GeneratorCache,
    messages: Path | None = None,
) -> AuditVerdict:
    """Audit one contribution.

    Args:
        bundle: from the holder.
        key: the regulator's.
        chain: the regulator's own.
        room: the holder's settings: where the rows are.
        generators: of the commitments.
        messages: the file that came with the bundle; a plain sum has none.

    Raises:
        AuditImpossible: nothing in the bundle is sealed to this key; nothing is said of the holder.
    """
    steps: list[AuditStep] = []
    with ExitStack() as stack:
        subject = Subject(bundle, messages, key, chain, room, generators, stack)
        for number, (name, take) in enumerate(_procedure(subject), start=1):
            try:
                steps.append(AuditStep(number, name, True, take(subject)))
            except AuditContradicted as err:
                return AuditVerdict(AuditStatus.FAILED, (*steps, AuditStep(number, name, False, str(err))))
            except AuditFactMissing as err:
                return AuditVerdict(AuditStatus.UNKNOWN, (*steps, AuditStep(number, name, None, str(err))))
    return AuditVerdict(AuditStatus.PASSED, tuple(steps))


# Step 1 --------------------------------------------------------------------------------------------------------------


def check_request(subject: Subject) -> str:
    """The request is on the chain, of this ledger, and the plan is the one that its buyer signed."""
    bundle, deployment = subject.bundle, subject.room.deployment
    if (bundle.chain_id, bundle.ledger) != (deployment.chain_id, deployment.ledger):
        raise AuditContradicted("the folder is of another ledger than the one accepted here")
    view = subject.chain.view(bundle.request_id)
    if view is None:
        raise AuditFactMissing("the chain does not show the request")
    try:
        subject.plan, subject.policy = Plan.from_json(bundle.plan), Policy.from_mapping(bundle.asset.policy)
    except (PlanInvalid, PolicyInvalid) as err:
        raise AuditContradicted(f"plan or policy is malformed: {err}") from err
    if subject.plan.hash() != view.opened.request.plan_hash:
        raise AuditContradicted("the plan is not the one that the buyer signed")
    subject.view = view
    return f"request {to_hex(bundle.request_id)}, {subject.plan.cells} cells"


# Step 2 --------------------------------------------------------------------------------------------------------------


def check_session(subject: Subject) -> str:
    """The holder approved with this version of the asset, and the roster gives this session and index."""
    bundle, view = subject.bundle, subject.view
    if not view.is_roster_closed:
        raise AuditFactMissing("the roster is not closed yet")
    approval = view.approved.get(bundle.holder)
    if approval is None:
        raise AuditContradicted(f"{to_hex(bundle.holder)} is not in the roster")
    if (approval.asset, approval.asset_version) != (bundle.asset.asset_id, bundle.asset.version):
        raise AuditContradicted("the holder approved with another asset or version")
    try:
        subject.session = build_session(members_of(view), view, subject.room.deployment)
    except Refusal as err:
        raise AuditContradicted(f"the roster makes no session: {err}") from err
    here = subject.session.id, subject.session.members[bundle.index % subject.session.n].holder
    if here != (bundle.session, bundle.holder) or bundle.index >= subject.session.n:
        raise AuditContradicted("session or index are not those of the chain's roster")
    return f"holder {to_hex(bundle.holder)}, number {bundle.index} of {subject.session.n}"


# Step 3 --------------------------------------------------------------------------------------------------------------


def check_seed(subject: Subject) -> str:
    """The sealed seed opens in this session, and is the one that the holder fixed before it approved."""
    try:
        opened = open_sealed(subject.bundle, subject.key)
    except (AuditBoxClosed, StateCorrupt) as err:
        raise AuditContradicted(f"what the holder sealed cannot be used: {err}") from err
    subject.secrets, subject.salt, subject.messages_key = opened.secrets, opened.salt, opened.messages_key
    fixed = subject.view.approved[subject.bundle.holder].noise_commitment
    if not hmac.compare_digest(noise_commitment(subject.secrets.noise_seed), fixed):
        raise AuditContradicted("the seed is not the one that the holder fixed in its approval")
    return f"fixed in block {subject.view.approved[subject.bundle.holder].at.block}"


# Step 4 --------------------------------------------------------------------------------------------------------------


def check_rows(subject: Subject) -> str:
    """The rows in this room have the root, and the policy the hash, that were registered for that version."""
    asset = subject.bundle.asset
    registered = subject.chain.registered(asset.asset_id, asset.version)
    if registered is None:
        raise AuditFactMissing("the chain does not show that version of the asset")
    policy_hash, root = registered
    if subject.policy.hash() != policy_hash:
        raise AuditContradicted("the policy is not the one that was registered")
    try:
        configured = subject.room.asset(asset.name)
    except SettingsInvalid as err:
        raise AuditFactMissing(f"the rows cannot be read in this room: {err}") from err
    if isinstance(configured.source, DepositSource):
        return _check_deposit(subject, configured.source, root)
    return _check_table(subject, configured, root)


def _check_table(subject: Subject, configured: AssetSettings, root: bytes) -> str:
    asset, source = subject.bundle.asset, configured.source
    trim = not isinstance(source, DepositSource) and source.trim
    try:
        engine = open_source(configured, subject.room.engine)
        subject.stack.callback(engine.close)
        require_same_numbers(engine)
        own = asset_policy(subject.policy, asset.name)
        taken = take_snapshot(engine, own, salt_key=subject.salt, trim=trim)
    except (SourceUnreadable, EngineDisagrees, EngineFailed) as err:
        raise AuditFactMissing(f"the rows cannot be read in this room: {err}") from err
    except (SchemaMismatch, RowsExceedCeiling) as err:
        raise AuditContradicted(f"the rows do not fit the registered policy: {err}") from err
    if taken.root != root:
        _require_no_other_version(subject, taken.root)
        raise AuditContradicted("the rows in this room are not those that were registered")
    subject.data = Rows(engine, taken.fingerprint, trim)
    return f"{taken.rows} rows of version {asset.version}"


def _check_deposit(subject: Subject, source: DepositSource, root: bytes) -> str:
    """Compare every block of an encrypted deposit with its leaf, and the leaves with the registered root."""
    from holder.deposit_data import HeldDeposit
    from privacy.deposit import Deposit
    from privacy.deposit.errors import DepositError
    from privacy.deposit.stored import fragment_name

    try:
        deposit = Deposit.open(source.path)
    except DepositError as err:
        raise AuditFactMissing(f"the deposit cannot be read in this room: {err}") from err
    if deposit.root != root:
        _require_no_other_version(subject, deposit.root)
        raise AuditContradicted("the deposit in this room is not the one that was registered")
    header = deposit.header
    for fragment in range(header.fragments):
        if not (deposit.folder / fragment_name(fragment)).exists():
            raise AuditFactMissing(f"the deposit lacks {fragment_name(fragment)} in this room")
        try:
            deposit.read_blocks(fragment, header.fragment_blocks(fragment))
        except DepositError as err:
            raise AuditContradicted(
                f"the deposit in this room is not the one that was registered: {err}"
            ) from err
    subject.data = HeldDeposit(deposit, source.share)
    return f"{header.cells} encrypted cells of version {subject.bundle.asset.version}"


def _require_no_other_version(subject: Subject, root: bytes) -> None:
    """Leave the audit open where the room has the rows of another version: those of the audited one must be brought."""
    asset, version = subject.bundle.asset, 1
    while (registered := subject.chain.registered(asset.asset_id, version)) is not None:
        if registered[1] == root:
            raise AuditFactMissing(f"expected the rows of version {asset.version}, found those of {version}")
        version += 1


# The kind's own steps, and the last ----------------------------------------------------------------------------------


def check_contribution(subject: Subject) -> str:
    """What the kind of plan gives, with the noise of the seed, and the blinding give the commitment that is on the chain."""
    kind = KINDS[subject.plan.kind]
    try:
        noise = draw_noise_share(subject.plan, subject.session.params, subject.source)
        commitment = _commit(subject, kind.vector(subject, noise))
    except (NoiseInvalid, CellOutOfRange) as err:
        raise AuditContradicted(f"no honest contribution exists: {err}") from err
    where = _where(subject, commitment)
    if where is not None:
        return where
    bare = _commit(subject, kind.vector(subject, 0 * noise))
    if bare != commitment and _where(subject, bare) is not None:
        raise AuditContradicted("the holder contributed its sums without any noise")
    raise AuditContradicted(f"the commitment on the chain is not to {kind.meaning}")


def _commit(subject: Subject, cells: NDArray[np.int64]) -> bytes:
    return commit(subject.generators.take(subject.plan.cells), cells, subject.secrets.blinding)


def _where(subject: Subject, commitment: bytes) -> str | None:
    """Return where the chain has this commitment, None if it has another."""
    bundle, view = subject.bundle, subject.view
    contributed, shared = view.contributed.get(bundle.holder), view.shared.get(bundle.holder)
    if shared is None:
        raise AuditFactMissing("the chain shows no commitment of this holder")
    if contributed is not None:
        return (
            f"contributed in block {contributed.at.block}" if contributed.commitment == commitment else None
        )
    fixed = commitment_hash(bundle.request_id, bundle.holder, commitment)
    return f"fixed in block {shared.at.block}, never opened" if shared.commitment_hash == fixed else None


_COMMON: Final[tuple[Step, ...]] = (
    ("request and plan", check_request),
    ("roster and session", check_session),
    ("seed", check_seed),
    ("rows", check_rows),
)


def _procedure(subject: Subject) -> Iterator[Step]:
    """Yield the steps; which ones a kind of plans adds is known after the first."""
    yield from _COMMON
    yield from KINDS[subject.plan.kind].steps
    yield "contribution", check_contribution
