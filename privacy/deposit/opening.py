"""From what trustees sent to the values of a plan: noise added, partial decryptions checked, liars named, t good ones combined.

Everybody computes the same from the same messages: the trustees before they decrypt, the buyer, and whoever verifies a receipt.
No one but a trustee has the deposit, so its sums come from the trustees; a proof is bound to all of a sum, and t proofs of one
sum are one more than can lie together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from py_arkworks_bls12381 import G1Point

from privacy.deposit.decrypt import combine_verified, decrypt_partially, verify_partial
from privacy.deposit.elgamal import Ciphertexts
from privacy.deposit.errors import DepositError, NoiseRefused, PartialInvalid, RiderRefused, SumsDisputed
from privacy.deposit.logarithms import LogTable
from privacy.deposit.noise import read_noise
from privacy.deposit.points import generator, scalar
from privacy.deposit.riders import key_of_cells, unseal
from privacy.deposit.shares import KeyShare
from privacy.deposit.terms import DepositPlan, deposit_terms, value_bounds
from privacy.encoding import keccak, tagged_hash
from privacy.plan import Plan
from privacy.session import Session

Riders = Mapping[int, bytes]
"""What rode behind a message, by the sender's place in the roster."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with a trustee's part.

    Attributes:
        holder: the trustee's account.
        reason: what it did.
    """

    holder: bytes
    reason: str

    def __str__(self) -> str:
        return f"trustee 0x{self.holder.hex()}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of those that shared.

    Attributes:
        total: the sum of the ciphertexts that count.
        contributors: the roster indices of those whose ciphertexts count, ascending.
        faults: of the others.
    """

    total: Ciphertexts = field(repr=False)
    contributors: tuple[int, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """What t good partial decryptions give.

    Attributes:
        points: m_k·G of each value.
        contributors: how many noise shares are in each.
        used: the roster indices of the trustees whose partial decryptions were combined.
        faults: of all trustees that were found wrong.
    """

    points: list[G1Point] = field(repr=False)
    contributors: int
    used: tuple[int, ...]
    faults: tuple[Fault, ...]


def sum_noise(plan: Plan, session: Session, riders: Riders) -> Noise:
    """Add up the noise of those that shared, but for what is malformed or not proved.

    Args:
        plan: verified.
        session: the session.
        riders: behind the bundles of all that shared.

    Raises:
        SumsDisputed: more than c of them are wrong, so that the rest might be too little noise.
    """
    terms = deposit_terms(plan)
    total, contributors, faults = Ciphertexts.zero(plan.values), [], []
    for index, rider in sorted(riders.items()):
        holder = session.members[index].holder
        trustee = terms.trustee_of(holder)
        try:
            noise = read_noise(terms.key, rider, count=plan.values, trustee=trustee, session=session.id)
        except NoiseRefused as err:
            faults.append(Fault(holder, f"its noise is refused: {err}"))
            continue
        total = total.plus(noise)
        contributors.append(index)
    if len(faults) > plan.colluders:
        named = "; ".join(map(str, faults))
        raise SumsDisputed(f"noise of more than {plan.colluders} trustees is refused: {named}")
    return Noise(total, tuple(contributors), tuple(faults))


def partial_of(plan: Plan, session: Session, share: KeyShare, sums: Ciphertexts, noise: Noise) -> bytes:
    """Return a trustee's partial decryption of the deposit's sums with the noise.

    Raises:
        ShareMismatch, PointOutsideSubgroup: as `decrypt_partially`.
    """
    noisy = sums.plus(noise.total)
    return decrypt_partially(deposit_terms(plan).key, share, noisy, _context(session, noisy))


def require_partial(plan: Plan, session: Session, index: int, sums: Ciphertexts, partial: bytes) -> None:
    """Require that a partial decryption is of these sums, noise included.

    Args:
        plan: verified.
        session: the session.
        index: of the trustee in the roster.
        sums: the noisy sums.
        partial: what it sent.

    Raises:
        PartialInvalid: malformed, or its proof does not hold: there is one sequence of points for which it does.
    """
    terms = deposit_terms(plan)
    trustee, context = terms.trustee_of(session.members[index].holder), _context(session, sums)
    verify_partial(terms.key, sums, partial, trustee=trustee, session=context)


def open_riders(
    plan: Plan, session: Session, cells: Sequence[int], bundles: Riders, inputs: Riders
) -> Opening:
    """Check what trustees sent, and combine t good partial decryptions.

    Args:
        plan: verified.
        session: the session.
        cells: of the sum, without the buyer's pads.
        bundles: riders of the bundles of all that shared.
        inputs: riders of the masked vectors of all survivors.

    Raises:
        SumsDisputed: t good partial decryptions of the same sums are not among them, or noise is missing.
    """
    terms = deposit_terms(plan)
    noise = sum_noise(plan, session, bundles)
    faults = list(noise.faults)
    claims: dict[bytes, dict[int, bytes]] = {}
    for index, rider in sorted(inputs.items()):
        try:
            key = key_of_cells(cells, index)
            sums, partial = unseal(key, session.id, index, rider, count=plan.values)
        except RiderRefused as err:
            faults.append(Fault(session.members[index].holder, str(err)))
            continue
        claims.setdefault(sums, {})[index] = partial
    for data, partials in sorted(claims.items(), key=lambda claim: (-len(claim[1]), min(claim[1]))):
        found, bad = _verified(terms, session, data, partials, noise)
        if found is not None and len(found[1]) >= terms.key.threshold:
            others = sorted(set().union(*claims.values()) - partials.keys())
            strangers = [Fault(session.members[index].holder, "it decrypted other sums") for index in others]
            return _combined(terms, session, found, noise, (*faults, *bad, *strangers))
        faults += bad
    named = "".join(f"; {fault}" for fault in faults)
    raise SumsDisputed(f"fewer than {terms.key.threshold} good partial decryptions of one sum{named}")


def find_values(plan: Plan, opening: Opening, table: LogTable) -> list[int]:
    """Return the values behind decrypted points.

    Raises:
        LogarithmNotFound: a point that stands for no value within the plan's bound: some trustee added absurd noise.
    """
    return table.find(opening.points, value_bounds(plan))


def require_values(plan: Plan, opening: Opening, values: Sequence[int]) -> None:
    """Require that decrypted points stand for these values.

    Raises:
        SumsDisputed: another number of values, one beyond its bound, or another value.
    """
    if len(values) != plan.values:
        raise SumsDisputed(f"expected {plan.values} decrypted values, found {len(values)}")
    pairs = zip(values, value_bounds(plan), opening.points, strict=True)
    for place, (value, bound, point) in enumerate(pairs):
        if abs(value) > bound or generator() * scalar(value) != point:
            raise SumsDisputed(f"value {place} is not what the partial decryptions give")


_Verified = tuple[Ciphertexts, dict[int, list[G1Point]]]


def _verified(
    terms: DepositPlan, session: Session, data: bytes, partials: Riders, noise: Noise
) -> tuple[_Verified | None, list[Fault]]:
    """Return the good ones of some partial decryptions of one sum, and what is wrong with the others."""
    faults: list[Fault] = []
    try:
        sums = Ciphertexts.decode(data, count=len(noise.total)).plus(noise.total)
    except DepositError as err:
        return None, [Fault(session.members[index].holder, f"its sums: {err}") for index in partials]
    good: dict[int, list[G1Point]] = {}
    for index, partial in partials.items():
        holder = session.members[index].holder
        try:
            good[index] = verify_partial(
                terms.key,
                sums,
                partial,
                trustee=terms.trustee_of(holder),
                session=_context(session, sums),
            )
        except PartialInvalid as err:
            faults.append(Fault(holder, str(err)))
    return (sums, good), faults


def _combined(
    terms: DepositPlan, session: Session, found: _Verified, noise: Noise, faults: Sequence[Fault]
) -> Opening:
    sums, good = found
    used = sorted(good)[: terms.key.threshold]
    points = {terms.trustee_of(session.members[index].holder): good[index] for index in used}
    return Opening(combine_verified(sums, points), len(noise.contributors), tuple(used), tuple(faults))


def _context(session: Session, sums: Ciphertexts) -> bytes:
    """Return what a partial decryption is bound to, H("deposit-sums"; session, keccak(A_0 ‖ B_0 ‖ …)): both halves of each sum."""
    return tagged_hash("deposit-sums", session.id, keccak(sums.encode()))
