"""Commitments checked with a second library: py_ecc alone, every generator recomputed, no cache, no table.

A regulator who trusts neither our fast library nor our generator cache runs this. Two facts about groups make
it affordable without leaving py_ecc: clearing the cofactor is a multiplication, so it is done once on the sum
instead of once for each generator; and the sum is taken by buckets.

Source: RFC 9380 §3 and §8.8.1; EIP-2537; docs/protocol.md §0 and §5.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from py_ecc.bls.hash_to_curve import clear_cofactor_G1, hash_to_field_FQ, map_to_curve_G1
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.optimized_bls12_381.optimized_curve import (
    Z1,
    add,
    b,
    curve_order,
    double,
    eq,
    field_modulus,
    is_inf,
    is_on_curve,
    multiply,
    neg,
    normalize,
)

from privacy.errors import CellOutOfRange, CommitmentMismatch, PointEncodingInvalid, PointNotInSubgroup

Point = Any  # py_ecc's projective coordinates (x, y, z)
Progress = Callable[[int, int], None]

_POINT_BYTES = 128
_CELL_BOUND = 1 << 62
_DST_CELLS = b"SHUYAO-V1-BLS12381G1_XMD:SHA-256_SSWU_RO_G"
_DST_BLINDING = b"SHUYAO-V1-BLS12381G1_XMD:SHA-256_SSWU_RO_H"


def hash_to_point(message: bytes, dst: bytes) -> Point:
    """Hash to G1 with the suite BLS12381G1_XMD:SHA-256_SSWU_RO_."""
    return clear_cofactor_G1(_uncleared(message, dst))


def decode_point(data: bytes, *, sender: int | None = None) -> Point:
    """Decode the 128 bytes of EIP-2537 to a point of the subgroup of order q.

    Raises:
        PointEncodingInvalid: another length, padding or range, or not on the curve.
        PointNotInSubgroup: on the curve, but outside the subgroup.
    """
    point = decode_curve_point(data, sender=sender)
    if not is_inf(multiply(point, curve_order)):
        raise PointNotInSubgroup("the point is not in the subgroup of order q", sender=sender)
    return point


def decode_curve_point(data: bytes, *, sender: int | None = None) -> Point:
    """Decode the 128 bytes of EIP-2537 to any point of the curve.

    Raises:
        PointEncodingInvalid: as `decode_point`.
    """
    if len(data) != _POINT_BYTES:
        raise PointEncodingInvalid(f"a point must be {_POINT_BYTES} bytes, not {len(data)}", sender=sender)
    x, y = int.from_bytes(data[:64], "big"), int.from_bytes(data[64:], "big")
    if max(x, y) >= field_modulus:
        raise PointEncodingInvalid("a coordinate must be below the base field's prime", sender=sender)
    if x == y == 0:
        return Z1
    point = (FQ(x), FQ(y), FQ(1))
    if not is_on_curve(point, b):
        raise PointEncodingInvalid("the coordinates are not on the curve", sender=sender)
    return point


def encode_point(point: Point) -> bytes:
    """Encode a point as the 128 bytes of EIP-2537."""
    if is_inf(point):
        return bytes(_POINT_BYTES)
    x, y = normalize(point)
    return int(x).to_bytes(64, "big") + int(y).to_bytes(64, "big")


def commit(cells: Sequence[int], blinding: int, progress: Progress | None = None) -> bytes:
    """Return Σ x_j·G_j + r·H in 128 bytes; arguments and errors as `verify_opening`."""
    return encode_point(_commit_point(cells, blinding, progress))


def verify_opening(
    commitments: Mapping[int, bytes], cells: Sequence[int], blinding: int, progress: Progress | None = None
) -> None:
    """Require that the sum of the survivors' commitments opens to the cells and the blinding.

    Args:
        commitments: C_i in 128 bytes, by roster index of the survivors.
        cells: X, signed, |X_j| < 2^62.
        blinding: R mod q.
        progress: called with generators done and in all; they take about 2 ms each.

    Raises:
        PointEncodingInvalid, PointNotInSubgroup: naming the holder whose commitment it is.
        CellOutOfRange: |X_j| ≥ 2^62.
        CommitmentMismatch: ΣC_i is another point.
    """
    total = Z1
    for index, commitment in sorted(commitments.items()):
        total = add(total, decode_point(commitment, sender=index))
    if not _is_same(_commit_point(cells, blinding, progress), total):
        raise CommitmentMismatch("the sum does not open the sum of the survivors' commitments")


def multiply_sum(points: Sequence[Point], scalars: Sequence[int]) -> Point:
    """Return Σ k_j·P_j for signed integers, by buckets over windows of their bits.

    Source: Bernstein, Doumen, Lange, Oosterwijk, Faster batch forgery identification (2012), §4.
    """
    terms = [(neg(point) if k < 0 else point, abs(k)) for point, k in zip(points, scalars, strict=True) if k]
    if not terms:
        return Z1
    bits = max(k.bit_length() for _, k in terms)
    window = _window(len(terms), bits)
    total = Z1
    for shift in reversed(range(0, bits, window)):
        for _ in range(window):
            total = double(total)
        buckets: list[Point] = [Z1] * (1 << window)
        for point, k in terms:
            digit = k >> shift & (1 << window) - 1
            buckets[digit] = add(buckets[digit], point)
        total = add(total, _sum_of_buckets(buckets))
    return total


def _commit_point(cells: Sequence[int], blinding: int, progress: Progress | None) -> Point:
    if any(not -_CELL_BOUND < cell < _CELL_BOUND for cell in cells):
        raise CellOutOfRange("every cell must be within ±2^62")
    generators = []
    for index in range(len(cells)):
        generators.append(_uncleared(index.to_bytes(4, "big"), _DST_CELLS))
        if progress is not None:
            progress(index + 1, len(cells))
    blind = multiply(hash_to_point(b"", _DST_BLINDING), blinding % curve_order)
    return add(clear_cofactor_G1(multiply_sum(generators, cells)), blind)


def _uncleared(message: bytes, dst: bytes) -> Point:
    """Hash to the curve, all but the last step."""
    first, second = hash_to_field_FQ(message, 2, dst, cast(Any, hashlib.sha256))
    return add(map_to_curve_G1(first), map_to_curve_G1(second))


def _is_same(left: Point, right: Point) -> bool:
    """Tell whether two points are the same; py_ecc compares coordinates, which infinity does not have."""
    if is_inf(left) or is_inf(right):
        return bool(is_inf(left) and is_inf(right))
    return bool(eq(left, right))


def _sum_of_buckets(buckets: Sequence[Point]) -> Point:
    """Return Σ digit·bucket with two additions a bucket."""
    running = total = Z1
    for bucket in reversed(buckets[1:]):
        running = add(running, bucket)
        total = add(total, running)
    return total


def _window(terms: int, bits: int) -> int:
    """Return the window with the fewest additions."""
    return min(range(1, 13), key=lambda w: -(-bits // w) * (terms + (2 << w)))
