"""Covariance, correlation and linear regression from noisy moments, each with its 95 % error.

Every cell that is used holds its bound together with all others with 95 % (Bonferroni: k cells, each with
1 − 0.05/k). From there on the bounds are interval arithmetic, so that what is stated is conservative. All is exact in
rationals, roots rounded up; the formulas are those of docs/protocol.md §6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from privacy.estimates import Estimate, Noisy, of_sample, ratio_of, root
from privacy.fixed_point import power_of_two

Z_OF_CELLS: Mapping[int, Fraction] = {
    4: Fraction(2_497_706, 1_000_000),
    6: Fraction(2_638_258, 1_000_000),
    10: Fraction(2_807_034, 1_000_000),
    15: Fraction(2_935_200, 1_000_000),
    21: Fraction(3_038_075, 1_000_000),
}
"""|Gaussian| < z with probability 1 − 0.05/k: k numbers hold their bounds together with 95 %."""

_ZERO = Fraction(0)
Vector = list[Fraction]
Matrix = list[Vector]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one group that an aggregate of p + 1 measures is made from.

    Attributes:
        count: the rows where all of the measures are known.
        totals: Σ x for each measure, in the order of the arguments.
        squares: Σ x² for each; empty for a covariance.
        products: Σ x·y for each pair (i, j), i < j, by the places of its measures.
    """

    count: Noisy
    totals: Sequence[Noisy]
    squares: Sequence[Noisy]
    products: Mapping[tuple[int, int], Noisy]

    @property
    def z(self) -> Fraction:
        """The z of as many cells."""
        return Z_OF_CELLS[1 + len(self.totals) + len(self.squares) + len(self.products)]


class Moments:
    """Means and covariances of one group, each with its error.

    Attributes:
        rows, rows_error: N and b.
        means: of each measure.
        spread: the covariance of each pair that there is a cell for, of all of N; both orders.
    """

    def __init__(self, cells: Cells, means: Sequence[Estimate]) -> None:
        self.rows, self.rows_error = cells.count.value, cells.count.error(cells.z)
        self.means = means
        pairs = [((place, place), square) for place, square in enumerate(cells.squares)]
        self.spread: dict[tuple[int, int], Estimate] = {}
        for (first, second), cell in [*pairs, *cells.products.items()]:
            is_swapped = cell.lane.by is not None and cells.totals[first].lane.column == cell.lane.by.column
            x, y = (means[second], means[first]) if is_swapped else (means[first], means[second])
            found = _covariance(cells, cell, x, y)
            self.spread[first, second] = self.spread[second, first] = found

    @classmethod
    def of(cls, cells: Cells) -> "Moments | None":
        """Return the moments; None when N ≤ b."""
        means = []
        for total in cells.totals:
            centred = ratio_of(cells.count, total, cells.z)
            if centred is None:
                return None
            means.append(Estimate(total.center + centred.value, centred.error + total.rounding))
        return cls(cells, means)


def _covariance(cells: Cells, cell: Noisy, x: Estimate, y: Estimate) -> Estimate:
    """Return P/N − t_x·t_y, the means t about the centres of the product's factors.

    |error| ≤ e(P/N) + |t_x|·e_y + |t_y|·e_x + e_x·e_y + what the factors' rounding changes.
    """
    mean = ratio_of(cells.count, cell, cells.z)
    if mean is None:  # N ≤ b, which `Moments.of` has refused
        return Estimate(_ZERO, _ZERO)
    by = cell.lane.by
    (center_x, half_x, round_x) = (cell.center, _half_width(cell), cell.rounding)
    (center_y, half_y, round_y) = (center_x, half_x, round_x)
    if by is not None:
        center_y, half_y, round_y = (
            cell.center_by,
            by.half_width * power_of_two(-by.scale_bits),
            cell.rounding_by,
        )
    t_x, t_y = x.value - center_x, y.value - center_y
    rounding = round_x * half_y + round_y * half_x + round_x * round_y
    error = abs(t_x) * y.error + abs(t_y) * x.error + x.error * y.error
    return Estimate(mean.value - t_x * t_y, mean.error + rounding + error)


def _half_width(cell: Noisy) -> Fraction:
    return cell.lane.half_width * power_of_two(-cell.lane.scale_bits)


def estimate_covariance(cells: Cells, *, sample: bool) -> Estimate | None:
    """Return the covariance of two measures; None when N ≤ b, or N − 1 ≤ b for a sample's."""
    moments = Moments.of(cells)
    if moments is None:
        return None
    found = moments.spread[0, 1]
    return of_sample(found, moments.rows, moments.rows_error) if sample else found


def estimate_correlation(cells: Cells) -> Estimate | None:
    """Return Pearson's correlation within [−1, 1]; None when N ≤ b or a variance is within its error.

    Its error is the farthest of the four quotients of the ends of V_xy's interval and those of √(V_xx·V_yy)'s.
    """
    moments = Moments.of(cells)
    if moments is None:
        return None
    xx, yy, xy = (moments.spread[pair] for pair in ((0, 0), (1, 1), (0, 1)))
    if xx.value <= xx.error or yy.value <= yy.error:
        return None
    widths = [root((xx.value + sign * xx.error) * (yy.value + sign * yy.error)) for sign in (-1, 1)]
    value = _within_one(xy.value / root(xx.value * yy.value))
    ends = [_within_one((xy.value + sign * xy.error) / width) for sign in (-1, 1) for width in widths]
    return Estimate(value, max(abs(end - value) for end in ends))


def _within_one(value: Fraction) -> Fraction:
    return max(Fraction(-1), min(Fraction(1), value))


# --- regression ------------------------------------------------------------------------------------------------------


class _System:
    """A·v = f with A the predictors' noisy covariances: solutions, and how far the true ones may be.

    If (A + E)·v' = f + g with |E| ≤ e and |g| ≤ d, elementwise, then |v' − v| ≤ (I − |A⁻¹|·e)⁻¹·|A⁻¹|·(d + e·|v|), as long
    as I − |A⁻¹|·e is an M-matrix, which Gaussian elimination without exchanges shows by its positive pivots.
    """

    def __init__(self, inverse: Matrix, errors: Matrix) -> None:
        size = range(len(errors))
        self.inverse, self.errors = inverse, errors
        self._absolute = [[abs(value) for value in row] for row in inverse]
        growth = [[_dot(self._absolute[i], [row[j] for row in errors]) for j in size] for i in size]
        self._contracted = [[Fraction(i == j) - growth[i][j] for j in size] for i in size]

    @classmethod
    def of(cls, matrix: Matrix, errors: Matrix) -> "_System | None":
        """Return the system; None unless every matrix within the errors is positive definite."""
        size = range(len(matrix))
        inverse = _solve(matrix, [[Fraction(i == j) for j in size] for i in size])
        if inverse is None:
            return None
        system = cls(inverse, errors)
        unit = [[Fraction(1)] for _ in size]
        return None if _solve(system._contracted, unit) is None else system

    def solve(self, right: Vector, right_errors: Vector) -> tuple[Vector, Vector]:
        """Return v and a bound on each |v' − v|."""
        found = [_dot(row, right) for row in self.inverse]
        moved = [
            error + _dot(row, [abs(each) for each in found])
            for row, error in zip(self.errors, right_errors, strict=True)
        ]
        first = [[_dot(row, moved)] for row in self._absolute]
        bound = _solve(self._contracted, first)
        return found, [row[0] for row in bound or first]


def estimate_regression(cells: Cells) -> list[Estimate | None]:
    """Return least squares with an intercept: intercept, slopes, then the standard error of each.

    The first measure is explained by the others. What is estimated are the numbers that least squares over the rows
    would give, so the error is that of the noise; the standard errors are those of ordinary least squares. All are
    None unless the predictors' covariances are positive definite within their errors; the standard errors are None
    when N − p − 1 ≤ b.
    """
    places = range(1, len(cells.totals))
    nothing: list[Estimate | None] = [None] * (2 * len(cells.totals))
    moments = Moments.of(cells)
    if moments is None:
        return nothing
    spread = moments.spread
    errors = [[spread[i, j].error for j in places] for i in places]
    system = _System.of([[spread[i, j].value for j in places] for i in places], errors)
    if system is None:
        return nothing
    slopes, bounds = system.solve([spread[0, j].value for j in places], [spread[0, j].error for j in places])
    means = [moments.means[j] for j in places]
    intercept = moments.means[0].value - _dot(slopes, [mean.value for mean in means])
    error = moments.means[0].error
    for slope, bound, mean in zip(slopes, bounds, means, strict=True):
        error += abs(slope) * mean.error + bound * (abs(mean.value) + mean.error)
    found = [Estimate(intercept, error), *map(Estimate, slopes, bounds)]
    return [*found, *_standard_errors(moments, system, slopes, bounds)]


def _standard_errors(
    moments: Moments, system: _System, slopes: Vector, bounds: Vector
) -> list[Estimate | None]:
    """Return √(R·h/(N − p − 1)) for each coefficient: R the residual variance, h its leverage.

    h is (A⁻¹)_jj for slope j, and 1 + m·A⁻¹·m for the intercept, m the predictors' means.
    """
    size = len(slopes)
    freedom = moments.rows - size - 1
    if freedom <= moments.rows_error:
        return [None] * (size + 1)
    spread, places = moments.spread, range(1, size + 1)
    right = [spread[0, j] for j in places]
    residual = spread[0, 0].value - _dot(slopes, [each.value for each in right])
    reach = [abs(slope) + bound for slope, bound in zip(slopes, bounds, strict=True)]
    error = spread[0, 0].error + 2 * _dot(reach, [each.error for each in right])
    error += _dot(reach, [_dot(row, reach) for row in system.errors])
    leverages = [_leverage(moments, system)]
    for j in range(size):
        unit = [Fraction(i == j) for i in range(size)]
        column, column_bounds = system.solve(unit, [_ZERO] * size)
        leverages.append(Estimate(column[j], column_bounds[j]))
    low, high = max(_ZERO, residual - error), residual + error
    found: list[Estimate | None] = []
    for leverage in leverages:
        value = root(max(_ZERO, residual) * leverage.value / freedom)
        below = low * max(_ZERO, leverage.value - leverage.error) / (freedom + moments.rows_error)
        above = max(_ZERO, high) * (leverage.value + leverage.error) / (freedom - moments.rows_error)
        found.append(Estimate(value, max(value - root(below), root(above) - value)))
    return found


def _leverage(moments: Moments, system: _System) -> Estimate:
    """Return 1 + m·A⁻¹·m."""
    means = moments.means[1:]
    values, errors = [mean.value for mean in means], [mean.error for mean in means]
    found, bounds = system.solve(values, errors)
    error = _dot([abs(value) for value in values], bounds)
    error += _dot(errors, [abs(each) + bound for each, bound in zip(found, bounds, strict=True)])
    return Estimate(1 + _dot(values, found), error)


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(left, right, strict=True)), _ZERO)


def _solve(matrix: Matrix, right: Matrix) -> Matrix | None:
    """Return matrix⁻¹·right by elimination without exchanges; None if a pivot is not positive."""
    size = len(matrix)
    rows = [[*left, *more] for left, more in zip(matrix, right, strict=True)]
    for place in range(size):
        pivot = rows[place][place]
        if pivot <= 0:
            return None
        rows[place] = [value / pivot for value in rows[place]]
        for other in range(size):
            if other != place and rows[other][place]:
                factor = rows[other][place]
                rows[other] = [
                    value - factor * base for value, base in zip(rows[other], rows[place], strict=True)
                ]
    return [row[size:] for row in rows]
