"""A quantile from a noisy histogram, with the interval that its noise and its bins leave open."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

from privacy.estimates import HALF, Z_ONE, Estimate, Noisy, root
from privacy.fixed_point import power_of_two


def estimate_quantile(bins: Sequence[Noisy], quantile: Decimal) -> Estimate | None:
    """Return the q-quantile; None when the noisy number of rows is within its error.

    D(k) = Σ_{j<k} h_j − q·Σ h_j changes its sign where the quantile is. The value is the middle of its first and last
    change of sign, each interpolated within its bin. The interval goes from the lowest bin to the highest that the
    noise does not exclude. A bin that holds one of the two rows between which q falls has D ≤ 1 − q at its lower end and
    D ≥ −q at its upper one; each of the two conditions fails with 2.5 % at most, so the interval holds both rows, and
    every definition of a quantile between them, with 95 %.

    Args:
        bins: the cells of the histogram's bins, ascending.
        quantile: q, 0 < q < 1.
    """
    lane, variance, q = bins[0].lane, bins[0].variance, Fraction(quantile)
    count = len(bins)
    rows = sum((cell.value for cell in bins), Fraction(0))
    if rows <= _error(count * variance, lane.unit):
        return None
    below = [Fraction(0), *accumulate(cell.value for cell in bins)]
    balance = [each - q * rows for each in below]
    errors = [_error((k * (1 - q) ** 2 + (count - k) * q**2) * variance, lane.unit) for k in range(count + 1)]
    places = range(count)
    first = next(k for k in places if balance[k + 1] >= 0)
    last = next(k for k in reversed(places) if balance[k] <= 0)
    lowest = next(k for k in places if balance[k + 1] >= -errors[k + 1] - q)
    highest = next(k for k in reversed(places) if balance[k] <= errors[k] + 1 - q)
    edges = [edge * power_of_two(-lane.scale_bits) for edge in lane.edges]
    value = (_crossing(edges, balance, first) + _crossing(edges, balance, last)) / 2
    return Estimate(value, max(edges[highest + 1] - value, value - edges[lowest]) + bins[0].rounding)


def _error(variance: Fraction, unit: Fraction) -> Fraction:
    return (root(Z_ONE**2 * variance) + HALF) * unit


def _crossing(edges: Sequence[Fraction], balance: Sequence[Fraction], bin_: int) -> Fraction:
    """Return where the line between a bin's two ends crosses zero."""
    low, high = balance[bin_], balance[bin_ + 1]
    if low == high:  # both are zero
        return (edges[bin_] + edges[bin_ + 1]) / 2
    return edges[bin_] + (edges[bin_ + 1] - edges[bin_]) * -low / (high - low)
