"""What one group's noisy sums say, each number with a bound that holds with probability 95 %.

All arithmetic is exact in rationals, and roots are rounded up, so that anybody computes the same doubles.
The noise of a lane's cell has parameter V = survivors·σ²/m grid units²; half a grid unit is added for its
discreteness. The errors count the noise and the rounding of values to their grid, not what clipping and
the ceilings on rows change.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from privacy.columns import ColumnType
from privacy.dimensions import Factor
from privacy.fixed_point import power_of_two
from privacy.lanes import Lane

Z_ONE = Fraction(1_959_964, 1_000_000)
"""|Gaussian| < z with probability 95 %: for one noisy number."""
Z_TWO = Fraction(2_241_403, 1_000_000)
"""97.5 %: two numbers hold their bounds together with 95 %."""
Z_THREE = Fraction(2_393_980, 1_000_000)
"""98.33 %: three numbers do."""

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and a bound on its distance from the true one."""

    value: Fraction
    error: Fraction


@dataclass(frozen=True, slots=True)
class Noisy:
    """One cell: its lane, its value in the lane's own unit, and the noise parameter V in grid units².

    For a sum the value is that of the centred sum, for a square of the sum of squared centred factors.
    """

    lane: Lane
    value: Fraction
    variance: Fraction

    def error(self, z: Fraction) -> Fraction:
        """Return z standard deviations and half a grid unit, in the lane's unit."""
        return (root(z * z * self.variance) + HALF) * self.lane.unit

    @property
    def center(self) -> Fraction:
        """The value of the lane's centre, of a product its first factor's."""
        return self.lane.center * power_of_two(-self.lane.scale_bits)

    @property
    def center_by(self) -> Fraction:
        """The value of the second factor's centre; the first one's without a second."""
        factor = self.lane.by or self.lane
        return factor.center * power_of_two(-factor.scale_bits)

    @property
    def rounding(self) -> Fraction:
        """The most by which one value is rounded: half a unit; nothing for integers on a whole grid."""
        return _rounding(self.lane)

    @property
    def rounding_by(self) -> Fraction:
        """The same of the second factor."""
        return _rounding(self.lane.by or self.lane)


def _rounding(factor: Lane | Factor) -> Fraction:
    exact = factor.type is ColumnType.INTEGER and factor.scale_bits >= 0
    return Fraction(0) if exact else power_of_two(-factor.scale_bits - 1)


@lru_cache(maxsize=4096)
def root(value: Fraction) -> Fraction:
    """Return √value rounded up to a multiple of 2^-k, 0 for a negative value.

    k = 64 + max(0, bits of the denominator − bits of the numerator), of the fraction in lowest terms.
    """
    if value <= 0:
        return Fraction(0)
    bits = 64 + max(0, value.denominator.bit_length() - value.numerator.bit_length())
    scaled = math.ceil(value * power_of_two(2 * bits))
    floor = math.isqrt(scaled)
    return (floor + (floor * floor < scaled)) * power_of_two(-bits)


def estimate_count(count: Noisy) -> Estimate:
    """Return a count, rounded to an integer; the rounding is in the error."""
    return Estimate(Fraction(math.floor(count.value + HALF)), count.error(Z_ONE) + HALF)


def estimate_sum(count: Noisy, total: Noisy) -> Estimate:
    """Return the sum, S + c·N with c the centre: its error is √(a² + (c·b)²), as the two noises are independent.

    a and b are the 97.5 % errors of S and N, as for an average: above 95 % for their combination, on purpose.
    """
    center, error, error_rows = total.center, total.error(Z_TWO), count.error(Z_TWO)
    noise = root(error**2 + (center * error_rows) ** 2)
    rows = abs(count.value) + error_rows
    return Estimate(total.value + center * count.value, noise + total.rounding * rows)


def estimate_average(count: Noisy, total: Noisy) -> Estimate | None:
    """Return the average with error (a + |r|·b)/(N − b), r the centred average; None when N ≤ b."""
    ratio = ratio_of(count, total, Z_TWO)
    if ratio is None:
        return None
    return Estimate(total.center + ratio.value, ratio.error + total.rounding)


def estimate_variance(count: Noisy, total: Noisy, square: Noisy, *, sample: bool) -> Estimate | None:
    """Return the variance, at least 0, with a conservative error; None when N ≤ b, or N − 1 ≤ b for a
    sample's.

    With the mean square Q/N and the mean t, both about the square's centre, V = Q/N − t². Each of three
    cells holds its bound with 98.33 %, and then |error of V| ≤ e(Q/N) + e(t)·(2|t| + e(t)). A sample's
    V·N/(N − 1) adds (V + e)·b/((N − 1)(N − 1 − b)).
    """
    mean_square, mean = ratio_of(count, square, Z_THREE), ratio_of(count, total, Z_THREE)
    rows, error_rows = count.value, count.error(Z_THREE)
    if mean_square is None or mean is None:
        return None
    about = mean.value + total.center - square.center
    error_mean = mean.error + total.rounding
    half_width = square.lane.half_width * power_of_two(-square.lane.scale_bits)
    error_square = mean_square.error + square.rounding * (2 * half_width + square.rounding)
    value = max(Fraction(0), mean_square.value - about * about)
    error = error_square + error_mean * (2 * abs(about) + error_mean)
    found = Estimate(value, error)
    return of_sample(found, rows, error_rows) if sample else found


def of_sample(population: Estimate, rows: Fraction, error_rows: Fraction) -> Estimate | None:
    """Return the sample's V·N/(N − 1) of a population's (co)variance V; None when N − 1 ≤ b.

    Its error is e·N/(N − 1) + (|V| + e)·b/((N − 1)(N − 1 − b)).

    Args:
        population: V and e.
        rows: N.
        error_rows: b.
    """
    if rows - 1 <= error_rows:
        return None
    value, error = population.value, population.error
    more = (abs(value) + error) * error_rows / ((rows - 1) * (rows - 1 - error_rows))
    return Estimate(value * rows / (rows - 1), error * rows / (rows - 1) + more)


def estimate_deviation(variance: Estimate) -> Estimate:
    """Return the standard deviation; its error is the farther end of the variance's interval, under the root."""
    value = root(variance.value)
    above = root(variance.value + variance.error) - value
    below = value - root(variance.value - variance.error)
    return Estimate(value, max(above, below))


def ratio_of(count: Noisy, total: Noisy, z: Fraction) -> Estimate | None:
    """Return total/count with error (a + |r|·b)/(N − b), or None when N ≤ b."""
    rows, error_rows = count.value, count.error(z)
    if rows <= error_rows:
        return None
    ratio = total.value / rows
    return Estimate(ratio, (total.error(z) + abs(ratio) * error_rows) / (rows - error_rows))
