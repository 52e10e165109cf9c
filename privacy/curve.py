"""Vector Pedersen commitments on BLS12-381 G1, the fast implementation.

`privacy.curve_reference` does the same with another library; the two share no code.

Source: docs/protocol.md §0 and §5; RFC 9380; EIP-2537.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point, Scalar

from privacy.errors import CellOutOfRange, CommitmentMismatch, PointEncodingInvalid, PointNotInSubgroup
from privacy.prg import CURVE_ORDER

POINT_BYTES = 128
COORDINATE_BYTES = 48
_PADDING = bytes(16)
# the base field's prime
BASE_PRIME = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16
)
DST_CELLS = b"SHUYAO-V1-BLS12381G1_XMD:SHA-256_SSWU_RO_G"
DST_BLINDING = b"SHUYAO-V1-BLS12381G1_XMD:SHA-256_SSWU_RO_H"
CELL_BOUND = 1 << 62  # |x| below it: in a holder's vector and in the sum

SignedCells = NDArray[np.int64]


class Generators(Protocol):
    """G_0 … G_{d−1} and H, as `privacy.generators` provides them."""

    @property
    def points(self) -> list[G1Point]:
        """G_0 … G_{d−1}."""

    @property
    def blinding(self) -> G1Point:
        """H, the base of the blinding."""


def hash_to_point(message: bytes, dst: bytes) -> G1Point:
    """Hash to G1 with the suite BLS12381G1_XMD:SHA-256_SSWU_RO_.

    Source: RFC 9380 §8.8.1.
    """
    return G1Point.hash_to_curve(message, dst)


def cell_generator(index: int) -> G1Point:
    """Return G_j."""
    return hash_to_point(index.to_bytes(4, "big"), DST_CELLS)


def blinding_generator() -> G1Point:
    """Return H."""
    return hash_to_point(b"", DST_BLINDING)


def encode_point(point: G1Point) -> bytes:
    """Encode a point as the 128 bytes of EIP-2537; infinity is zero bytes."""
    xy = point.to_xy_bytes_be()
    return _PADDING + xy[:COORDINATE_BYTES] + _PADDING + xy[COORDINATE_BYTES:]


def decode_point(data: bytes, *, sender: int | None = None) -> G1Point:
    """Decode the 128 bytes of EIP-2537 to a point of the subgroup of order q.

    Raises:
        PointEncodingInvalid: another length, non-zero padding, a coordinate not below the prime, or a point
            not on the curve.
        PointNotInSubgroup: on the curve, but outside the subgroup.
    """
    point = decode_curve_point(data, sender=sender)
    if not point.is_in_subgroup():
        raise PointNotInSubgroup("the point is not in the subgroup of order q", sender=sender)
    return point


def decode_curve_point(data: bytes, *, sender: int | None = None) -> G1Point:
    """Decode the 128 bytes of EIP-2537 to any point of the curve, in the subgroup or not, as G1ADD does.

    Raises:
        PointEncodingInvalid: as `decode_point`.
    """
    if len(data) != POINT_BYTES:
        raise PointEncodingInvalid(f"a point must be {POINT_BYTES} bytes, not {len(data)}", sender=sender)
    x, y = data[16:64], data[80:128]
    if data[:16] != _PADDING or data[64:80] != _PADDING:
        raise PointEncodingInvalid("a coordinate's first 16 bytes must be zero", sender=sender)
    if any(int.from_bytes(coordinate, "big") >= BASE_PRIME for coordinate in (x, y)):
        raise PointEncodingInvalid("a coordinate must be below the base field's prime", sender=sender)
    if not any(data):
        return G1Point.identity()
    try:
        return G1Point.from_xy_bytes_unchecked_be(x + y)
    except ValueError as err:
        raise PointEncodingInvalid("the coordinates are not on the curve", sender=sender) from err


def require_cells(cells: SignedCells) -> None:
    """Refuse cells whose sum could wrap.

    Raises:
        CellOutOfRange: |x| ≥ 2^62 somewhere.
    """
    if len(cells) and not -CELL_BOUND < int(cells.min()) <= int(cells.max()) < CELL_BOUND:
        raise CellOutOfRange("every cell must be within ±2^62")


def commit_point(generators: Generators, cells: SignedCells, blinding: int) -> G1Point:
    """Return Σ x_j·G_j + r·H.

    Scalars are |x| and the point carries the sign: −x as q − x has 255 bits and doubles the multiplication.

    Args:
        generators: at least as many as cells.
        cells: int64, |x| < 2^62.
        blinding: r, reduced mod q.

    Raises:
        CellOutOfRange: a cell outside the range.
    """
    require_cells(cells)
    points = [
        -point if negative else point
        for point, negative in zip(generators.points[: len(cells)], (cells < 0).tolist(), strict=True)
    ]
    total = generators.blinding * Scalar(blinding % CURVE_ORDER)
    return total + G1Point.multiexp_unchecked(points, _scalars(np.abs(cells))) if points else total


def commit(generators: Generators, cells: SignedCells, blinding: int) -> bytes:
    """Return C = Σ x_j·G_j + r·H in 128 bytes; arguments and errors as `commit_point`."""
    return encode_point(commit_point(generators, cells, blinding))


def verify_opening(
    generators: Generators, commitments: Mapping[int, bytes], cells: SignedCells, blinding: int
) -> None:
    """Require that the sum of the survivors' commitments opens to the cells and the blinding.

    Args:
        generators: at least as many as cells.
        commitments: C_i in 128 bytes, by roster index of the survivors.
        cells: X, the signed sums.
        blinding: R mod q.

    Raises:
        PointEncodingInvalid, PointNotInSubgroup: naming the holder whose commitment it is.
        CellOutOfRange: |X_j| ≥ 2^62.
        CommitmentMismatch: ΣC_i is another point.
    """
    points = [decode_point(data, sender=index) for index, data in sorted(commitments.items())]
    total = sum(points, start=G1Point.identity())
    if commit_point(generators, cells, blinding) != total:
        raise CommitmentMismatch("the sum does not open the sum of the survivors' commitments")


def _scalars(magnitudes: SignedCells) -> list[Scalar]:
    """Turn magnitudes into scalars: from bytes, because from Python integers takes ten times as long."""
    words = np.zeros((len(magnitudes), 4), dtype="<u8")
    words[:, 0] = magnitudes
    return list(map(Scalar.from_le_bytes, words.view("V32").ravel().tolist()))
