"""Ciphertexts by tables of multiples of one point: an addition for each 12 bits of a factor, no doubling.

There are two arithmetics with the same results: blst's (`privacy.deposit.blst`), two and a half times as fast, and arkworks' here, for a
platform on which blst is not to be had. Neither takes the same time for all secrets: whoever can time the depositor's
own processor closely is not defended against.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import add
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.deposit.points import encode_points, generator

WINDOW_BITS: Final = 12
WINDOW: Final = 1 << WINDOW_BITS
FACTOR_BYTES: Final = 33  # 22 windows: every factor below q
WINDOWS: Final = 8 * FACTOR_BYTES // WINDOW_BITS
SMALL_WINDOWS: Final = 6  # of a value below 2^62
TABLES_KEPT: Final = 4

Digits = NDArray[np.int64]
"""Of shape [factors, windows], the least significant window first, each below 2^12."""

Columns = tuple[bytes, bytes]
"""r·G of each value, and m·G + r·K of each, 96 bytes a point."""


class Arithmetic(Protocol):
    """What computes ciphertexts."""

    def ciphertexts(self, key: bytes, factors: Digits, values: NDArray[np.int64]) -> Columns:
        """Return the ciphertexts of values.

        Args:
            key: K in 96 bytes, of a checked `DepositKey`.
            factors: digits of r of each value.
            values: m of each, |m| < 2^62.
        """


class Arkworks:
    """The arithmetic of py_arkworks_bls12381: one call for each addition, and an inversion for each point that is encoded."""

    def ciphertexts(self, key: bytes, factors: Digits, values: NDArray[np.int64]) -> Columns:
        """Return the ciphertexts of values; see `Arithmetic`."""
        base, joint = table_of(encode_points([generator()])), table_of(key)
        nothing = [G1Point.identity()] * len(values)
        magnitudes = base.add_multiples(nothing, small_digits(np.abs(values)))
        contents = [
            -point if value < 0 else point for point, value in zip(magnitudes, values.tolist(), strict=True)
        ]
        a, b = base.add_multiples(nothing, factors), joint.add_multiples(contents, factors)
        return encode_points(a), encode_points(b)


class FixedBase:
    """A table of d·2^(12·w)·P for each digit d of each window w: 90,112 points, 15 MB, made in 60 ms.

    Source: Brickell, Gordon, McCurley, Wilson, Fast Exponentiation with Precomputation (EUROCRYPT 1992).
    """

    __slots__ = ("_table",)

    def __init__(self, base: G1Point) -> None:
        """Compute the table of a point."""
        self._table: list[list[G1Point]] = []
        step = base
        for _ in range(WINDOWS):
            row = [G1Point.identity()]
            for _ in range(WINDOW - 1):
                row.append(row[-1] + step)
            self._table.append(row)
            step = row[-1] + step

    def add_multiples(self, start: Sequence[G1Point], digits: Digits) -> list[G1Point]:
        """Return each start plus the multiple for its factor.

        Many factors are taken together and window by window: then the 4,096 entries in use stay in the
        processor's cache, which saves a quarter.

        Args:
            start: as many as factors.
            digits: of the factors, in at most 22 windows.
        """
        totals = list(start)
        for row, column in zip(self._table, digits.T.tolist(), strict=False):
            totals = list(map(add, totals, map(row.__getitem__, column)))
        return totals


def factor_digits(factors: bytes) -> Digits:
    """Cut factors into 22 windows.

    Args:
        factors: 33 bytes each, little-endian.
    """
    triples = np.frombuffer(factors, dtype=np.uint8).reshape(-1, FACTOR_BYTES // 3, 3).astype(np.int64)
    pairs = triples @ np.array([1, 1 << 8, 1 << 16])
    return np.stack([pairs & (WINDOW - 1), pairs >> WINDOW_BITS], axis=-1).reshape(len(triples), WINDOWS)


def small_digits(magnitudes: NDArray[np.int64]) -> Digits:
    """Cut integers in [0, 2^62) into as few windows as the largest needs."""
    windows = max(1, -(-int(magnitudes.max(initial=0)).bit_length() // WINDOW_BITS))
    shifts = np.arange(windows, dtype=np.int64) * WINDOW_BITS
    return (magnitudes[:, None] >> shifts) & (WINDOW - 1)


@lru_cache(maxsize=TABLES_KEPT)
def table_of(encoded: bytes) -> FixedBase:
    """Return the table of a checked point by its 96 bytes: a process makes each only once."""
    return FixedBase(G1Point.from_xy_bytes_unchecked_be(encoded))
