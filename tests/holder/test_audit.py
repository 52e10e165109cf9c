"""The audit: an honest contribution passes, every other one is named, and nobody learns the seed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from holder.audit import AuditStatus, AuditVerdict, audit_contribution
from holder.audit_bundle import AuditBundle, SealedFor, make_audit
from holder.audit_seal import (
    ROWS_USE,
    SEED_BOX_BYTES,
    SEED_USE,
    AuditContext,
    AuditSecrets,
    open_box,
    seal,
    stored_boxes,
)
from holder.chain_side import RequestView
from holder.data import open_source
from holder.errors import AuditBoxClosed, AuditImpossible, AuditMalformed
from holder.session_secrets import SessionSecrets
from holder.settings import FileSource, HolderSettings
from holder.snapshot import snapshot_salt_key, take_snapshot
from holder.types import Stage
from ledger.contracts import commitment_hash
from ledger.types import Digest, Participant, ParticipantStatus, Roles
from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from privacy.sealed_sum import commit
from privacy.sides import asset_policy
from tests.holder.model_chain import DEPLOYMENT, ChainOf
from tests.holder.tables import columns_of, make_rows
from tests.holder.world import Member, World, signer_for

SQL = "SELECT 城镇, COUNT(*), AVG(kwh) FROM 用电 GROUP BY 城镇"


@dataclass
class Shown:
    """The chain as the auditor's node shows it; a test changes what one holder did there."""

    world: World
    changed: dict[str, RequestView] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)  # of versions

    def view(self, request_id: Digest) -> RequestView | None:
        return self.changed.get("view") or self.world.chain.view(request_id)

    def registered(self, asset: Digest, version: int) -> tuple[bytes, bytes] | None:
        found = self.world.chain.assets.get(asset)
        if found is None or version not in (found.version, *self.roots):
            return None
        return found.policy_hash, self.roots.get(version, found.snapshot_root)


class Case:
    """A request that was answered, and a regulator who audits one of its holders."""

    def __init__(
        self,
        home: Path,
        *,
        until: Stage = Stage.DONE,
        admitted: bool = True,
        world: World | None = None,
        sql: str = SQL,
    ) -> None:
        self.key = X25519PrivateKey.generate()
        self.world = world or World(home / "world")
        for member in self.world.members:
            register_rows(self.world, member)
        if admitted:
            self.admit(self.key)
        self.request_id = self.world.open(sql)
        self.world.run(self.request_id, until)
        self.member, self.chain = self.world.members[1], Shown(self.world)

    def admit(self, key: X25519PrivateKey, name: str = "regulator") -> None:
        account = signer_for(name).address
        self.world.chain.participants[account] = Participant(
            account,
            account,
            Roles.REGULATOR,
            ParticipantStatus.ACTIVE,
            1,
            0,
            key.public_key().public_bytes_raw(),
        )

    def bundle(self) -> AuditBundle:
        """What the holder brings; its messages lie in `messages` from then on."""
        chain = ChainOf(self.world.chain, self.member.address)
        made = make_audit(
            self.member.store,
            chain,
            self.member.signer,
            DEPLOYMENT,
            self.request_id,
            rand=secrets.token_bytes,
        )
        self.messages.write_bytes(b"".join(made.messages))
        return AuditBundle.from_bytes(made.bundle.to_bytes())

    @property
    def messages(self) -> Path:
        return self.world.home / "messages.sealed"

    def audit(
        self,
        bundle: AuditBundle | None = None,
        *,
        key: X25519PrivateKey | None = None,
        room: HolderSettings | None = None,
    ) -> AuditVerdict:
        return audit_contribution(
            bundle or self.bundle(),
            key or self.key,
            chain=self.chain,
            room=room or self.member.settings,
            generators=self.world.generators,
            messages=self.messages,
        )

    @property
    def plan(self) -> Plan:
        return Plan.from_json(self.world.broker.published[self.request_id].plan)

    @property
    def source(self) -> NoiseSource:
        session = self.world.session(self.request_id)
        return SessionSecrets(self.member.store).noise_source(self.request_id, session)

    @property
    def sums(self) -> NDArray[np.int64]:
        cells = np.array(self.world.cells_of(self.member, self.request_id))
        return cells - self.noise(self.source)

    def noise(self, source: NoiseSource) -> NDArray[np.int64]:
        return draw_noise_share(self.plan, self.world.session(self.request_id).params, source)

    def contributed(self, cells: NDArray[np.int64]) -> None:
        """Let the chain show what this holder would have committed to with these cells."""
        view, me = self.world.chain.view(self.request_id), self.member.address
        assert view is not None
        mine = SessionSecrets(self.member.store).of(self.request_id)
        commitment = commit(self.world.generators.take(self.plan.cells), cells, mine.blinding)
        fixed = commitment_hash(self.request_id, me, commitment)
        shared: Mapping[Any, Any] = {**view.shared, me: replace(view.shared[me], commitment_hash=fixed)}
        opened = dict(view.contributed)
        if me in opened:
            opened[me] = replace(opened[me], commitment=commitment)
        self.chain.changed["view"] = replace(view, shared=shared, contributed=opened)


def register_rows(world: World, member: Member) -> None:
    """Give the asset the root that its rows have."""
    asset = member.asset
    engine = open_source(member.settings.assets[0], member.settings.engine)
    salt = snapshot_salt_key(member.signer, asset.asset_id)
    taken = take_snapshot(engine, asset_policy(world.policy, asset.name), salt_key=salt)
    engine.close()
    root = Digest(taken.root)
    world.chain.assets[asset.asset_id] = replace(world.chain.assets[asset.asset_id], snapshot_root=root)
    member.asset = replace(asset, snapshot_root=root, version=1)
    member.store.engine.dispose()
    (member.home / "holder.db").unlink()
    world.start(member)
    member.store.put_line(asset.line, "people", world.policy.rho_total_micro)
    member.store.put_asset(member.asset)
    from holder.types import Entrustment

    broker = world.broker_signer.address
    member.store.put_entrustment(Entrustment(asset.asset_id, world.listing, asset.name, broker))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("audit"))


@pytest.fixture(autouse=True)
def unchanged(case: Case) -> None:
    case.chain.changed.clear()
    case.chain.roots.clear()


def failed_at(verdict: AuditVerdict, name: str) -> str:
    """Require that the audit failed at this step, and return the reason."""
    assert verdict.status is AuditStatus.FAILED
    assert [step.ok for step in verdict.steps] == [True] * (len(verdict.steps) - 1) + [False]
    assert verdict.steps[-1].name == name
    return verdict.steps[-1].detail


# --- honest ----------------------------------------------------------------------------------------------------------


def test_an_honest_contribution_passes(case: Case) -> None:
    for member in case.world.members:
        case.member = member
        verdict = case.audit()
        assert verdict.status is AuditStatus.PASSED
        assert [step.name for step in verdict.steps] == [
            "request and plan",
            "roster and session",
            "seed",
            "rows",
            "contribution",
        ]


def test_the_stored_cells_are_the_sums_with_the_noise_of_the_seed(case: Case) -> None:
    session = case.world.session(case.request_id)
    for index, member in enumerate(sorted(case.world.members, key=lambda each: each.address)):
        mine = SessionSecrets(member.store).of(case.request_id)
        assert case.world.chain.view(case.request_id).approved[member.address].noise_commitment == (  # type: ignore[union-attr]
            mine.public_keys().noise_commitment
        )
        source = SessionSecrets(member.store).noise_source(case.request_id, session)
        assert source == NoiseSource(mine.noise_seed, session.id, index)


def test_a_commitment_that_was_fixed_and_never_opened_is_audited_too(tmp_path: Path) -> None:
    case = Case(tmp_path, until=Stage.CONTRIBUTED)
    view = case.world.chain.view(case.request_id)
    assert view is not None
    case.chain.changed["view"] = replace(view, contributed={})
    verdict = case.audit()
    assert verdict.status is AuditStatus.PASSED
    assert "never opened" in verdict.steps[-1].detail


# --- dishonest -------------------------------------------------------------------------------------------------------


def test_no_noise_is_named(case: Case) -> None:
    case.contributed(case.sums)
    assert "without any noise" in failed_at(case.audit(), "contribution")


@pytest.mark.parametrize("other", ["seed", "session", "index"])
def test_other_noise_is_named(case: Case, other: str) -> None:
    changes: dict[str, Any] = {"seed": bytes(32), "session": bytes(32), "index": 99}
    case.contributed(case.sums + case.noise(replace(case.source, **{other: changes[other]})))
    assert "not to the sums" in failed_at(case.audit(), "contribution")


def test_noise_that_differs_in_one_cell_by_one_is_named(case: Case) -> None:
    cells = case.sums + case.noise(case.source)
    cells[-1] += 1
    case.contributed(cells)
    failed_at(case.audit(), "contribution")


def test_halved_noise_is_named(case: Case) -> None:
    case.contributed(case.sums + case.noise(case.source) // 2)
    failed_at(case.audit(), "contribution")


def test_other_rows_in_the_sums_are_named(case: Case) -> None:
    case.contributed(case.sums + 1 + case.noise(case.source))
    failed_at(case.audit(), "contribution")


def other_rows(case: Case, tmp_path: Path, rows: list[dict[str, Any]]) -> HolderSettings:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table(dict(columns_of(rows))), path)
    settings = case.member.settings
    (asset,) = settings.assets
    return replace(settings, assets=(replace(asset, source=FileSource("parquet", path)),))


def test_other_rows_in_the_room_are_named(case: Case, tmp_path: Path) -> None:
    rows = [row | {"age": abs(row["age"])} for row in make_rows(50)]
    room = other_rows(case, tmp_path, rows)
    assert "not those that were registered" in failed_at(case.audit(room=room), "rows")


def test_the_rows_of_another_version_in_the_room_leave_the_audit_open(case: Case) -> None:
    own_root = case.chain.registered(case.member.asset.asset_id, 1)
    assert own_root is not None
    case.chain.roots |= {1: bytes(32), 2: own_root[1]}
    verdict = case.audit()
    assert verdict.status is AuditStatus.UNKNOWN
    assert "version 1, found those of 2" in verdict.steps[-1].detail


def test_an_asset_that_the_chain_does_not_show_leaves_the_audit_open(case: Case) -> None:
    shown = case.world.chain.assets.pop(case.member.asset.asset_id)
    verdict = case.audit(case.bundle())
    case.world.chain.assets[shown.asset_id] = shown
    assert (verdict.status, verdict.steps[-1].name) == (AuditStatus.UNKNOWN, "rows")


def test_the_same_rows_elsewhere_pass(case: Case, tmp_path: Path) -> None:
    room = other_rows(case, tmp_path, case.member.rows)
    assert case.audit(room=room).status is AuditStatus.PASSED


def test_rows_that_are_not_in_the_room_leave_the_audit_open(case: Case, tmp_path: Path) -> None:
    settings = case.member.settings
    (asset,) = settings.assets
    away = replace(settings, assets=(replace(asset, source=FileSource("parquet", tmp_path / "none")),))
    for room in (away, replace(settings, assets=())):
        verdict = case.audit(room=room)
        assert (verdict.status, verdict.steps[-1].name) == (AuditStatus.UNKNOWN, "rows")


# --- seeds and keys --------------------------------------------------------------------------------------------------


def resealed(case: Case, mine: AuditSecrets, context: AuditContext | None = None) -> AuditBundle:
    """Return the bundle of a holder that seals other secrets, or the same for another place."""
    bundle, public = case.bundle(), case.key.public_key().public_bytes_raw()
    box = seal(
        mine.to_bytes(), public, context or bundle.context, use=SEED_USE, ephemeral=secrets.token_bytes(32)
    )
    return replace(bundle, sealed=tuple(replace(each, seed=box) for each in bundle.sealed))


def own(case: Case) -> AuditSecrets:
    return AuditSecrets.of(SessionSecrets(case.member.store).of(case.request_id))


def test_another_seed_than_the_one_fixed_before_the_approval_is_refused(case: Case) -> None:
    bundle = resealed(case, replace(own(case), noise_seed=secrets.token_bytes(32)))
    assert "not the one that the holder fixed" in failed_at(case.audit(bundle), "seed")


def test_the_seed_of_another_request_is_refused(case: Case) -> None:
    other = case.world.open("SELECT COUNT(*) FROM 用电")
    case.world.run(other, Stage.DONE)
    mine = AuditSecrets.of(SessionSecrets(case.member.store).of(other))
    failed_at(case.audit(resealed(case, mine)), "seed")


@pytest.mark.parametrize("change", [{"session": bytes(32)}, {"index": 0}, {"request_id": bytes(32)}])
def test_a_box_of_another_session_holder_or_request_does_not_open(case: Case, change: dict[str, Any]) -> None:
    context = replace(case.bundle().context, **change)
    if context == case.bundle().context:
        context = replace(context, index=2)
    reason = failed_at(case.audit(resealed(case, own(case), context)), "seed")
    assert "does not open" in reason


def test_another_blinding_is_named(case: Case) -> None:
    bundle = resealed(case, replace(own(case), blinding=1))
    failed_at(case.audit(bundle), "contribution")


def test_a_key_that_nothing_is_sealed_to_says_nothing_of_the_holder(case: Case) -> None:
    with pytest.raises(AuditImpossible, match="nothing in this folder"):
        case.audit(key=X25519PrivateKey.generate())


def test_a_box_for_one_use_is_none_for_another(case: Case) -> None:
    bundle = case.bundle()
    for entry in bundle.sealed:
        assert len(open_box(entry.rows, case.key, bundle.context, use=ROWS_USE)) == 32
        for box, use in ((entry.seed, ROWS_USE), (entry.rows, SEED_USE)):
            with pytest.raises(AuditBoxClosed):
                open_box(box, case.key, bundle.context, use=use)


def test_every_changed_byte_of_a_box_is_refused(case: Case) -> None:
    bundle = case.bundle()
    box = bundle.sealed[0].seed
    for position in range(len(box)):
        changed = box[:position] + bytes([box[position] ^ 1]) + box[position + 1 :]
        with pytest.raises(AuditBoxClosed):
            open_box(changed, case.key, bundle.context, use=SEED_USE)
    for short in (b"", box[:40], box[:-1], box + b"\0"):
        with pytest.raises(AuditBoxClosed):
            open_box(short, case.key, bundle.context, use=SEED_USE)


def test_seeds_are_sealed_when_the_noise_is_drawn(case: Case) -> None:
    """So a regulator whose key was replaced since still finds a box for the key of that day."""
    first, second = case.bundle(), case.bundle()
    assert [each.seed for each in first.sealed] == [each.seed for each in second.sealed]
    assert [each.rows for each in first.sealed] != [each.rows for each in second.sealed]


def test_a_regulator_who_came_later_gets_a_box_of_its_own(tmp_path: Path) -> None:
    case = Case(tmp_path, admitted=False)
    with pytest.raises(AuditImpossible, match="no regulator"):
        case.bundle()
    case.admit(case.key)
    assert case.audit().status is AuditStatus.PASSED
    late = X25519PrivateKey.generate()
    case.admit(late, "another")
    assert case.audit(key=late).status is AuditStatus.PASSED
    assert case.audit().status is AuditStatus.PASSED


def test_an_unusable_key_of_a_regulator_stops_no_request(tmp_path: Path) -> None:
    case = Case(tmp_path, until=Stage.SEEN)
    low = Participant(
        signer_for("low").address,
        signer_for("low").address,
        Roles.REGULATOR,
        ParticipantStatus.ACTIVE,
        1,
        0,
        b"\x01" + bytes(31),
    )
    case.world.chain.participants[low.account] = low
    case.world.run(case.request_id, Stage.DONE)
    assert len(case.bundle().sealed) == 1
    assert case.audit().status is AuditStatus.PASSED


# --- what is brought -------------------------------------------------------------------------------------------------


def test_a_bundle_of_another_plan_ledger_session_or_asset_is_named(case: Case) -> None:
    bundle = case.bundle()
    other = case.world.plan("SELECT COUNT(*) FROM 用电").to_json()
    asset = bundle.asset
    wrong: list[tuple[AuditBundle, str]] = [
        (replace(bundle, chain_id=1), "request and plan"),
        (replace(bundle, plan=other), "request and plan"),
        (replace(bundle, plan={}), "request and plan"),
        (replace(bundle, asset=replace(asset, policy={})), "request and plan"),
        (replace(bundle, holder=signer_for("nobody").address), "roster and session"),
        (replace(bundle, session=bytes(32)), "roster and session"),
        (replace(bundle, index=(bundle.index + 1) % 3), "roster and session"),
        (replace(bundle, index=bundle.index + 3), "roster and session"),
        (replace(bundle, asset=replace(asset, version=2)), "roster and session"),
    ]
    for changed, step in wrong:
        failed_at(case.audit(changed), step)


def test_another_policy_than_the_registered_one_is_named(case: Case) -> None:
    bundle = case.bundle()
    policy = {**bundle.asset.policy, "title": "another"}
    reason = failed_at(case.audit(replace(bundle, asset=replace(bundle.asset, policy=policy))), "rows")
    assert "policy" in reason


def test_what_the_chain_does_not_show_leaves_the_audit_open(case: Case) -> None:
    bundle = case.bundle()
    view = case.world.chain.view(case.request_id)
    assert view is not None
    assert case.audit(replace(bundle, request_id=Digest(bytes(32)))).status is AuditStatus.UNKNOWN
    case.chain.changed["view"] = replace(view, shared={}, contributed={})
    assert case.audit().status is AuditStatus.UNKNOWN


def test_a_holder_that_shared_nothing_has_nothing_to_audit(tmp_path: Path) -> None:
    case = Case(tmp_path, until=Stage.APPROVED)
    with pytest.raises(AuditImpossible, match="nothing to audit"):
        case.bundle()


def test_a_bundle_in_any_other_form_is_refused(case: Case) -> None:
    data = case.bundle().to_bytes()
    assert AuditBundle.from_bytes(data).to_bytes() == data
    for wrong in (
        b"",
        b"{}",
        data[:-1],
        data + b" ",
        data.replace(b'"version":"1"}', b'"version":"1","x":"y"}'),
    ):
        with pytest.raises(AuditMalformed):
            AuditBundle.from_bytes(wrong)
    changes: list[dict[str, Any]] = [
        {"session": bytes(31)},
        {"holder": bytes(21)},
        {"index": 1024},
        {"sealed": ()},
    ]
    for change in changes:
        with pytest.raises(AuditMalformed):
            AuditBundle.from_bytes(replace(case.bundle(), **change).to_bytes())
    huge = (SealedFor(bytes(32), bytes(513), b"", b""),)
    with pytest.raises(AuditMalformed):
        AuditBundle.from_bytes(replace(case.bundle(), sealed=huge).to_bytes())


# --- the seed never leaves -------------------------------------------------------------------------------------------


def test_seeds_appear_in_no_log_message_event_error_bundle_or_database(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        case = Case(tmp_path)
        verdicts = [case.audit(), case.audit(resealed(case, replace(own(case), blinding=1)))]
    hidden = [
        secret
        for member in case.world.members
        for mine in [SessionSecrets(member.store).of(case.request_id)]
        for secret in (mine.noise_seed, mine.blinding.to_bytes(32, "big"))
    ]
    hidden.append(snapshot_salt_key(case.member.signer, case.member.asset.asset_id))
    hidden += [case.source.key(lane) for lane in range(4)]
    frames = b"".join(case.world.broker.frames.values())
    databases = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    sent = b"".join(call.data for call in case.world.chain.sent.values())
    shown = repr((logs, verdicts, case.world.chain.events, case.bundle(), case.source, own(case)))
    everything = frames + databases + sent + case.bundle().to_bytes() + shown.encode()
    for secret in hidden:
        for form in (
            secret,
            secret.hex().encode(),
            repr(secret)[2:-1].encode(),
            str(int.from_bytes(secret, "big")).encode(),
        ):
            assert form not in everything


def test_a_plain_sum_brings_no_messages(tmp_path: Path) -> None:
    case = Case(tmp_path, until=Stage.CONTRIBUTED)
    case.bundle()
    assert case.messages.read_bytes() == b""


def test_stored_boxes_that_were_cut_off_are_refused() -> None:
    keys = [X25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(2)]
    context = AuditContext(bytes(32), 0, bytes(32))
    boxes = [seal(bytes(64), key, context, use=SEED_USE, ephemeral=bytes(31) + b"\1") for key in keys]
    assert stored_boxes(b"".join(boxes)) == dict(zip(keys, boxes, strict=True))
    for size in range(1, SEED_BOX_BYTES):
        with pytest.raises(AuditBoxClosed):
            stored_boxes(b"".join(boxes)[:-size])
