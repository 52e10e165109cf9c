"""The audit of a trustee of an encrypted deposit: its noise, the sums that it decrypted, and its part of the decryption.

All but one thing follows from seed and deposit, and is made again. The partial decryption follows from the trustee's share s_i
of the joint key, which no auditor may have; its points are the only ones for which its proof holds, and that is checked. The
proof's own 64 bytes e ‖ z cannot be made again by anybody who is not to have the share: z = u + e·s_i gives s_i to who knows u.

Source: docs/protocol.md §5.2 and §11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holder.deposit import add_up, noise_rider, sealing_key
from holder.deposit_data import HeldDeposit
from holder.errors import AuditContradicted, AuditFactMissing, DataRefused
from privacy.errors import NoiseInvalid, PayloadMalformed, PlanInvalid
from privacy.messages import Kind
from privacy.payloads import split_rider

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.audit_subject import Subject


def check_noise(subject: Subject) -> str:
    """The encrypted noise behind the bundle on the chain is that of the seed, to the last byte."""
    try:
        expected = noise_rider(subject.plan, subject.session, subject.source)
    except (NoiseInvalid, PlanInvalid) as err:
        raise AuditContradicted(f"no honest contribution exists: {err}") from err
    if _bundle_rider(subject, subject.bundle.index) != expected:
        raise AuditContradicted("the encrypted noise is not that of this seed")
    return f"{subject.plan.values} ciphertexts"


def check_decryption(subject: Subject) -> str:
    """What rides behind the masked input is the sums of the deposit's cells, and with all noise their partial decryption."""
    from privacy.deposit.errors import DepositError
    from privacy.deposit.opening import require_partial, sum_noise
    from privacy.deposit.riders import unseal

    if not subject.has_contributed:
        return "never sent"
    plan, session, index = subject.plan, subject.session, subject.bundle.index
    rider = _rider(subject, Kind.MASKED_INPUT, index, plan.input_rider_size)
    try:
        sums, partial = unseal(sealing_key(subject.source), session.id, index, rider, count=plan.values)
        own = add_up(_held(subject), plan, subject.policy)
    except (DepositError, DataRefused) as err:
        raise AuditContradicted(str(err)) from err
    if sums != own.encode():
        raise AuditContradicted("the sums are not those of the deposit's cells that the plan selects")
    shared = [each for each, member in enumerate(session.members) if member.holder in subject.view.shared]
    riders = {each: _bundle_rider(subject, each) for each in shared}
    try:
        noise = sum_noise(plan, session, riders)
        require_partial(plan, session, index, own.plus(noise.total), partial)
    except (DepositError, PlanInvalid) as err:
        raise AuditContradicted(f"the partial decryption: {err}") from err
    return f"with the noise of {len(noise.contributors)} trustees"


def vector(subject: Subject, noise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the vector of keys, in which there is no noise."""
    from privacy.deposit.riders import key_cells

    return key_cells(sealing_key(subject.source), subject.bundle.index, subject.plan.holders)


def _held(subject: Subject) -> HeldDeposit:
    if not isinstance(subject.data, HeldDeposit):
        raise AuditFactMissing("the room has rows, and no encrypted deposit")
    return subject.data


def _bundle_rider(subject: Subject, index: int) -> bytes:
    return _rider(subject, Kind.BUNDLE, index, subject.plan.bundle_rider_size)


def _rider(subject: Subject, kind: Kind, index: int, size: int) -> bytes:
    try:
        return split_rider(subject.fixed(kind, index), size, sender=index)[1]
    except PayloadMalformed as err:
        raise AuditContradicted(str(err)) from err
