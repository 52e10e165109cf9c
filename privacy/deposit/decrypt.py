"""Threshold decryption: partial decryptions with one proof each, and their combination.

Trustee i sends P_k = s_i·A_k for every result cell k and one proof that all have the logarithm of Y_i. Any t good ones give
m_k·G = B_k − Σ λ_i·P_ik; a bad one is named and left out.

Source: Y. Desmedt, Y. Frankel, Threshold Cryptosystems (CRYPTO 1989); docs/protocol.md, Encrypted deposit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from py_arkworks_bls12381 import G1Point

from privacy.deposit.elgamal import Ciphertexts
from privacy.deposit.errors import DepositError, EncodingRefused, PartialInvalid, PartialsTooFew
from privacy.deposit.keys import DepositKey, weights_at_zero
from privacy.deposit.points import (
    decode_points,
    encode_points,
    multiply_sum,
    require_subgroup,
    scalar,
)
from privacy.deposit.proofs import Proof, fold, is_equality, prove_equality
from privacy.deposit.shares import KeyShare
from privacy.deposit.sizes import PROOF_BYTES, partial_size
from privacy.encoding import keccak, tagged_hash


@dataclass(frozen=True, slots=True)
class Combined:
    """What t good partial decryptions give.

    Attributes:
        points: m_k·G of each result cell.
        used: the trustees whose partial decryptions were combined, ascending.
        faults: what was wrong with others that were looked at, each naming its trustee.
    """

    points: list[G1Point] = field(repr=False)
    used: tuple[int, ...]
    faults: tuple[PartialInvalid, ...]


def decrypt_partially(key: DepositKey, share: KeyShare, sums: Ciphertexts, session: bytes) -> bytes:
    """Return one trustee's partial decryption: P_k, 96 bytes each, and the proof.

    Every A_k is checked for the subgroup first: outside it, s_i·A_k would tell s_i modulo the point's small order.

    Args:
        key: the joint key.
        share: of this trustee.
        sums: the result cells, noise included: whoever gets t partial decryptions reads exactly these.
        session: 32 bytes that no other decryption has.

    Raises:
        ShareMismatch: the share is not of this key.
        PointOutsideSubgroup: of a result cell's points.
    """
    share.require_of(key)
    require_subgroup(sums.a)
    products = [point * scalar(share.secret) for point in sums.a]
    statement = _statement(key, share.trustee, sums, products, session)
    base, _ = fold(statement, sums.a, products)
    return encode_points(products) + prove_equality(share.secret, base, statement).encode()


def verify_partial(
    key: DepositKey, sums: Ciphertexts, partial: bytes, *, trustee: int, session: bytes
) -> list[G1Point]:
    """Return the points of a partial decryption whose proof holds.

    Args:
        key: the joint key.
        sums: the result cells, as this verifier computed them, in the subgroup.
        partial: what `decrypt_partially` returned.
        trustee: who sent it.
        session: as for the trustee.

    Raises:
        PartialInvalid: malformed, a point that is refused, or the proof does not hold.
    """
    if len(partial) != partial_size(len(sums)):
        raise PartialInvalid(
            f"expected {partial_size(len(sums))} bytes of a partial decryption, got {len(partial)}",
            trustee=trustee,
        )
    try:
        points = decode_points(partial[:-PROOF_BYTES], count=len(sums))
        proof = Proof.decode(partial[-PROOF_BYTES:])
        public = key.share_point(trustee)
    except (DepositError, EncodingRefused) as err:
        raise PartialInvalid(str(err), trustee=trustee) from err
    statement = _statement(key, trustee, sums, points, session)
    base, product = fold(statement, sums.a, points)
    if not is_equality(public, base, product, statement, proof):
        raise PartialInvalid("the proof does not hold", trustee=trustee)
    return points


def combine(key: DepositKey, sums: Ciphertexts, partials: Mapping[int, bytes], session: bytes) -> Combined:
    """Verify partial decryptions until t are good, and combine them.

    Args:
        key: the joint key.
        sums: the result cells, as this verifier computed them.
        partials: by the index of the trustee who sent them.
        session: as for the trustees.

    Raises:
        PointOutsideSubgroup: of a result cell's points.
        PartialsTooFew: fewer than t are good; it has the faults of the others.
    """
    require_subgroup(sums.a)
    require_subgroup(sums.b)
    good: dict[int, list[G1Point]] = {}
    faults: list[PartialInvalid] = []
    for trustee in sorted(partials):
        if len(good) == key.threshold:
            break
        try:
            good[trustee] = verify_partial(key, sums, partials[trustee], trustee=trustee, session=session)
        except PartialInvalid as err:
            faults.append(err)
    if len(good) < key.threshold:
        raise PartialsTooFew(expected=key.threshold, actual=len(good), faults=tuple(faults))
    return Combined(combine_verified(sums, good), tuple(good), tuple(faults))


def combine_verified(sums: Ciphertexts, partials: Mapping[int, list[G1Point]]) -> list[G1Point]:
    """Return m_k·G of each result cell from exactly t partial decryptions, as `verify_partial` returned them."""
    weights = weights_at_zero(list(partials))
    return [b - multiply_sum(shares, weights) for b, *shares in zip(sums.b, *partials.values(), strict=True)]


def _statement(
    key: DepositKey, trustee: int, sums: Ciphertexts, products: list[G1Point], session: bytes
) -> bytes:
    """Return H("deposit-partial"; session, key id, trustee, count, keccak(A …), keccak(P …))."""
    a, p = keccak(encode_points(sums.a)), keccak(encode_points(products))
    return tagged_hash("deposit-partial", session, key.id, trustee, len(sums), a, p)
