"""Fixed-point grids: how a measure's doubles become integers, the same on every engine.

A row's value x is cast to an IEEE double, clipped to [low, high] in double, and becomes `floor(x·2^s +
0.5)`, evaluated in double. Engines differ in `round` (2.5 is 3 in DuckDB, 2 in PostgreSQL), not in this.
The integer centre is then subtracted, so that the sensitivity of a sum is half the interval's width.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

EXACT_BITS = 50
"""|bound|·2^s ≤ 2^50: then x·2^s + 0.5 is exact to the half, and every integer of the grid is a double."""

SCALE_BITS_MIN = -40
SCALE_BITS_MAX = 40


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers of a clipped measure.

    Attributes:
        scale_bits: s; a grid unit is 2^-s. May be negative.
        low, high: the integers of the interval's ends.
    """

    scale_bits: int
    low: int
    high: int

    @classmethod
    def of(cls, low: Decimal, high: Decimal, scale_bits: int) -> "Grid":
        """Return the grid of an interval."""
        return cls(scale_bits, quantise(float(low), scale_bits), quantise(float(high), scale_bits))

    @property
    def center(self) -> int:
        """The integer that is subtracted from each value: the interval's middle, rounded down."""
        return (self.low + self.high) // 2

    @property
    def half_width(self) -> int:
        """The largest |integer − centre|, w."""
        return self.high - self.center

    @property
    def unit(self) -> Fraction:
        """The value of one grid unit, 2^-s."""
        return power_of_two(-self.scale_bits)


def quantise(value: float, scale_bits: int) -> int:
    """Return floor(x·2^s + 0.5) in double arithmetic, for an x that is already clipped."""
    return math.floor(value * 2.0**scale_bits + 0.5)


def fits(low: Decimal, high: Decimal, scale_bits: int) -> bool:
    """Tell whether every value of an interval is exact on the grid."""
    return Fraction(max(abs(low), abs(high))) * power_of_two(scale_bits) <= 1 << EXACT_BITS


def power_of_two(exponent: int) -> Fraction:
    """Return 2^exponent exactly."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
