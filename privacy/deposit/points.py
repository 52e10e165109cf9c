"""Points of G1 as deposits store them, scalars, and the check of many points for the subgroup at once.

A point is x ‖ y, 96 bytes; infinity is 96 zero bytes. `privacy.curve` has the 128 bytes of EIP-2537, which a
contract takes; nothing of a deposit's points is for a contract, and a million cells are 64 MB less this way.

Source: docs/protocol.md, Encrypted deposit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from py_arkworks_bls12381 import G1Point, Scalar

from privacy.deposit.errors import LengthMismatch, PointOutsideSubgroup, PointRefused, ScalarRefused
from privacy.deposit.sizes import POINT_BYTES
from privacy.encoding import WORD_BYTES
from privacy.prg import CURVE_ORDER, derive_key, reduce_mod

STATISTICAL_BITS: Final = 80
_DIGITS_MAX = 9
_LEAST_ORDER = 3  # of a point outside the subgroup, modulo the subgroup: the cofactor's least prime factor
_ZERO_NONCE = bytes(16)


def generator() -> G1Point:
    """Return G, the generator of the subgroup that everybody uses."""
    return G1Point()


def encode_points(points: Iterable[G1Point]) -> bytes:
    """Encode points, 96 bytes each."""
    return b"".join([point.to_xy_bytes_be() for point in points])


def decode_curve_points(data: bytes) -> list[G1Point]:
    """Decode points of the curve, in the subgroup or not.

    Raises:
        LengthMismatch: not a whole number of points.
        PointRefused: a coordinate that is not below the prime, or a point that is not on the curve.
    """
    if len(data) % POINT_BYTES:
        raise LengthMismatch(
            "bytes of points", expected=-(-len(data) // POINT_BYTES) * POINT_BYTES, actual=len(data)
        )
    parts = np.frombuffer(data, dtype=f"V{POINT_BYTES}").tolist()
    try:
        return list(map(G1Point.from_xy_bytes_unchecked_be, parts))
    except ValueError:
        position = next(index for index, part in enumerate(parts) if not _is_on_curve(part))
        raise PointRefused(position, "not on the curve, or a coordinate not below the prime") from None


def decode_points(data: bytes, *, count: int) -> list[G1Point]:
    """Decode points of the subgroup; infinity is one.

    Args:
        data: 96 bytes each.
        count: how many are expected.

    Raises:
        LengthMismatch: another number of bytes.
        PointRefused: as `decode_curve_points`.
        PointOutsideSubgroup: a point on the curve, but outside the subgroup.
    """
    if len(data) != count * POINT_BYTES:
        raise LengthMismatch("bytes of points", expected=count * POINT_BYTES, actual=len(data))
    points = decode_curve_points(data)
    require_subgroup(points)
    return points


def require_subgroup(points: Iterable[G1Point]) -> None:
    """Check each point by itself, 35 µs a point.

    Raises:
        PointOutsideSubgroup: naming the first one outside.
    """
    for position, point in enumerate(points):
        if not point.is_in_subgroup():
            raise PointOutsideSubgroup(position, "on the curve, but outside the subgroup of order q")


def are_in_subgroup(points: Sequence[G1Point], rand: bytes) -> bool:
    """Check many points at once, about 5 µs a point: false positives with probability below 2^-80.

    Each sum Σ c_i·P_i with random c_i of 0, 1, 2 leaves the subgroup with probability at least 2/3 if one P_i is
    outside: whatever the rest is, two of the three values of c_i would put the sum at different places outside,
    since no multiple of P_i below 3 is in the subgroup. m sums are made at the cost of one, by adding each
    point to one of 3^m buckets, and repeated until the bound holds.

    Args:
        points: on the curve, fixed before `rand` was drawn.
        rand: 32 bytes that whoever made the points could not foresee.

    Source: S. Bowe et al., Zexe's batch check in its `ark-ec` (batch_bucketed_add); the digits are ours.
    """
    digits = max(1, min(_DIGITS_MAX, math.floor(math.log(max(len(points), 3), 3)) - 1))
    rounds = math.ceil(STATISTICAL_BITS / (digits * math.log2(_LEAST_ORDER)))
    coins = _uniform_below(3**digits, rounds * len(points), rand).reshape(rounds, len(points))
    return all(_is_sum_in_subgroup(points, coins[number], digits) for number in range(rounds))


def derive_scalar(secret: bytes, salt: bytes, name: str, number: int = 0) -> int:
    """Derive an integer uniform modulo q from a secret, by HKDF.

    Args:
        secret: the key material.
        salt: 32 bytes, of the ceremony, key or statement that the scalar is for.
        name: the use.
        number: tells scalars of one use apart, below 2^16.
    """
    halves = [derive_key(secret, salt, name, number, half) for half in (0, 1)]
    return reduce_mod(b"".join(halves), CURVE_ORDER)


def scalar(value: int) -> Scalar:
    """Return an integer modulo q as the library's scalar."""
    return Scalar.from_le_bytes((value % CURVE_ORDER).to_bytes(WORD_BYTES, "little"))


def multiply_sum(points: Sequence[G1Point], factors: Sequence[int]) -> G1Point:
    """Return Σ f_i·P_i."""
    if not points:
        return G1Point.identity()
    return G1Point.multiexp_unchecked(list(points), [scalar(factor) for factor in factors])


def encode_scalar(value: int) -> bytes:
    """Encode an integer below q as a word."""
    return value.to_bytes(WORD_BYTES, "big")


def decode_scalar(data: bytes) -> int:
    """Decode a word below q.

    Raises:
        ScalarRefused: another length, or not below q.
    """
    value = int.from_bytes(data, "big")
    if len(data) != WORD_BYTES or value >= CURVE_ORDER:
        raise ScalarRefused("expected a word below the order q")
    return value


def key_stream(key: bytes, size: int) -> bytes:
    """Return the first bytes of ChaCha20's stream under a key that is used once.

    Source: RFC 8439 §2.4; nonce and counter are zero.
    """
    return Cipher(algorithms.ChaCha20(key, _ZERO_NONCE), None).encryptor().update(bytes(size))


def _is_on_curve(part: bytes) -> bool:
    try:
        G1Point.from_xy_bytes_unchecked_be(part)
    except ValueError:
        return False
    return True


def _uniform_below(bound: int, count: int, rand: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return integers below a bound of at most 3^9, with bias below 2^-49 each."""
    key = derive_key(rand, bytes(WORD_BYTES), "deposit-subgroup", 0, 0)
    words = np.frombuffer(key_stream(key, 8 * count), dtype="<u8")
    return (words % np.uint64(bound)).astype(np.int64)


def _is_sum_in_subgroup(
    points: Sequence[G1Point], coins: np.ndarray[tuple[int], np.dtype[np.int64]], digits: int
) -> bool:
    """Check the `digits` sums whose coefficients are the base-3 digits of each point's coin."""
    identity = G1Point.identity()
    order = np.argsort(coins, kind="stable")
    starts = np.searchsorted(coins[order], np.arange(3**digits + 1)).tolist()
    ordered = [points[index] for index in order.tolist()]
    buckets = [sum(ordered[a:b], identity) for a, b in pairwise(starts)]
    for _ in range(digits):
        third = len(buckets) // 3
        zeros, ones, twos = (buckets[k * third : (k + 1) * third] for k in range(3))
        twice = sum(twos, identity)
        if not (sum(ones, twice) + twice).is_in_subgroup():
            return False
        buckets = [a + b + c for a, b, c in zip(zeros, ones, twos, strict=True)]
    return True
