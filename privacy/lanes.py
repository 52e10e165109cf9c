"""Lanes: the vectors of integers that a query needs, their sensitivities and their share of the budget.

Each lane spans all groups (and, for a histogram, all bins of all groups) and gets one share of ρ: one
unit's m rows may fall anywhere in it, and the worst case, all of them in one cell, bounds the L2 norm of
the whole lane.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from privacy.columns import Column, ColumnType
from privacy.decimals import RHO_SCALE, decimal_text
from privacy.errors import NoiseInvalid, PlanInvalid
from privacy.fixed_point import EXACT_BITS, Grid, fits, power_of_two
from privacy.query import Output, OutputKind

SHARE_MIN = 16
"""A holder's noise share, in grid units², that makes the sum of shares as private as one draw (up to τ <
1e-60).

Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism", 2021, Theorem 1.
"""

GRID_BITS_MAX = 64
FACTOR_BITS_MIN = -100
SCALE_LIMIT = 128
SQUARES_MAX = 1 << 61
CELL_MAX = 1 << 62
TAIL_SIGMAS = 16
"""|noise| > 16σ has probability below 2·exp(−128) < 2^-183 a cell: discrete Gaussians have this tail too."""


class LaneKind(StrEnum):
    """What a row adds to its cell."""

    COUNT = "count"
    COUNT_OF = "count_of"
    DISTINCT = "distinct"
    SUM = "sum"
    SQUARE = "square"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of a plan.

    Attributes:
        kind: what a row adds.
        column: the measure, or the unit column of a distinct count; None for a count of rows.
        type: the measure's type; None where no value is read.
        low, high: the clipping interval; None where no value is read.
        scale_bits: s; values are integers in units of 2^-s. The scale of one factor for a square; may be
            negative.
        center: the integer subtracted from each value (from each factor of a square).
        half_width: w, the largest |integer − centre|; 1 for counts.
        edges: for a histogram of B bins the B + 1 integers of its bins' ends, else empty. Bin k holds
            edges[k] ≤ integer < edges[k + 1]; the last bin holds its upper end too.
        delta_squared: Δ², the squared L2 sensitivity in units of the lane's integers.
        grid_bits: g; a cell is the integer sum · 2^g plus noise.
        rho_micro: the lane's share of the budget.
    """

    kind: LaneKind
    column: str | None
    type: ColumnType | None
    low: Decimal | None
    high: Decimal | None
    scale_bits: int
    center: int
    half_width: int
    edges: tuple[int, ...]
    delta_squared: int
    grid_bits: int
    rho_micro: int

    def __post_init__(self) -> None:
        positive = (self.half_width, self.delta_squared, self.rho_micro)
        if min(positive) < 1:
            raise PlanInvalid(
                f"{self.title}: expected width, sensitivity and rho above zero, found {positive}"
            )
        if not 0 <= self.grid_bits <= GRID_BITS_MAX or abs(self.scale_bits) > SCALE_LIMIT:
            raise PlanInvalid(f"{self.title}: expected grid bits in [0, {GRID_BITS_MAX}]")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise PlanInvalid(f"{self.title}: expected bins' ends in ascending order")

    @property
    def bins(self) -> int:
        """The cells of one group."""
        return max(1, len(self.edges) - 1)

    @property
    def row_max(self) -> int:
        """The largest integer that one row adds to a cell, in absolute value."""
        return self.half_width**2 if self.kind is LaneKind.SQUARE else self.half_width

    @property
    def value_bits(self) -> int:
        """Fractional bits of the lane's sums: s of a sum, 2s of a square; counts, of bins too, have none."""
        return {LaneKind.SUM: self.scale_bits, LaneKind.SQUARE: 2 * self.scale_bits}.get(self.kind, 0)

    @property
    def unit(self) -> Fraction:
        """The value of one grid unit, 2^-(value bits + g)."""
        return power_of_two(-self.value_bits - self.grid_bits)

    @property
    def sigma_squared(self) -> Fraction:
        """σ² = Δ²/(2ρ), in grid units²: the parameter that honest holders' noise reaches together."""
        return Fraction(self.delta_squared * RHO_SCALE, 2 * self.rho_micro) * power_of_two(2 * self.grid_bits)

    def share(self, divisor: int) -> Fraction:
        """Return σ²/m, the parameter of one holder's noise, in grid units².

        Args:
            divisor: m = n − c − d of the session's roster.

        Raises:
            NoiseInvalid: m is not positive, or the share is below 16 grid units², which no roster of the
            plan allows.
        """
        if divisor < 1:
            raise NoiseInvalid(f"the noise divisor must be at least 1, not {divisor}")
        share = self.sigma_squared / divisor
        if share < SHARE_MIN:
            raise NoiseInvalid(f"{self.title}: a share must be at least {SHARE_MIN} grid units², not {share}")
        return share

    @property
    def title(self) -> str:
        """A name for messages, for example `sum(kwh)`."""
        return self.kind.value if self.column is None else f"{self.kind.value}({self.column})"

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in a plan."""
        return {
            "kind": self.kind.value,
            "column": self.column,
            "type": None if self.type is None else self.type.value,
            "low": None if self.low is None else decimal_text(self.low),
            "high": None if self.high is None else decimal_text(self.high),
            "scale_bits": str(self.scale_bits),
            "center": str(self.center),
            "half_width": str(self.half_width),
            "edges": [str(edge) for edge in self.edges],
            "delta_squared": str(self.delta_squared),
            "grid_bits": str(self.grid_bits),
            "rho": str(self.rho_micro),
        }


@dataclass(frozen=True, slots=True)
class Setting:
    """What sensitivities and scales depend on besides the column.

    Attributes:
        rows_per_unit: m.
        unit_holders: h, the holders that one unit can be at.
        holders: n, as planned.
        divisor: n − c − d_max, as planned; the noise shares that are counted on.
        rows_max: the ceiling on one holder's rows.
        groups: the number of groups, `other` ones included.
    """

    rows_per_unit: int
    unit_holders: int
    holders: int
    divisor: int
    rows_max: int
    groups: int


LaneKey = tuple[LaneKind, str | None, int]
"""What tells lanes of one plan apart: kind, column, bins."""


def needed_lanes(outputs: Sequence[Output], columns: Mapping[str, Column]) -> tuple[LaneKey, ...]:
    """Return the lanes that the outputs need, in the order in which they are first needed.

    SUM and AVG of x need the count of x and sum(x); VAR and STDDEV also square(x). The count of x is
    count_of(x), or the count of rows where x is never NULL.
    """
    needed: list[LaneKey] = []
    for output in outputs:
        needed += [key for key in _needs(output, columns) if key not in needed]
    return tuple(needed)


def derive_lane(key: LaneKey, columns: Mapping[str, Column], setting: Setting, rho_micro: int) -> Lane:
    """Return a lane with its sensitivity, its share of ρ and its grid."""
    kind, name, bins = key
    rows = setting.unit_holders * setting.rows_per_unit  # h·m
    counting = Lane(kind, name, None, None, None, 0, 0, 1, (), rows**2, 0, rho_micro)
    if kind is LaneKind.DISTINCT:
        # A unit is in at most min(m, groups) groups and adds 1 to each: Δ² is that number, at each of h
        # holders.
        units = setting.unit_holders**2 * min(setting.rows_per_unit, setting.groups)
        return _with_grid(replace(counting, delta_squared=units), setting)
    if kind in (LaneKind.COUNT, LaneKind.COUNT_OF) or name is None:
        return _with_grid(counting, setting)
    column = columns[name]
    counting = replace(counting, type=column.type, low=column.low, high=column.high)
    if kind is LaneKind.HISTOGRAM:
        grid = column.grid()
        edges = bin_edges(grid, bins)
        return _with_grid(replace(counting, scale_bits=grid.scale_bits, edges=edges), setting)
    if kind is LaneKind.SUM:
        return _measuring(counting, column.grid(), setting)
    return _square(counting, column, setting)


def find_lane(lanes: Sequence[Lane], kind: LaneKind, column: str | None, bins: int = 1) -> int:
    """Return the number of the lane of this kind and column; a count of x may be shared with the count of
    rows.

    Raises:
        PlanInvalid: there is none, which no verified plan lacks.
    """
    for number, lane in enumerate(lanes):
        if (lane.kind, lane.column, lane.bins) == (kind, column, bins):
            return number
    if kind is LaneKind.COUNT_OF:
        return find_lane(lanes, LaneKind.COUNT, None)
    raise PlanInvalid(f"the plan has no lane {kind.value}({column})")


def largest_cell(lane: Lane, setting: Setting) -> int:
    """Return a bound on the absolute sum of a lane's cells over all holders, noise tail included.

    Noise: with n' ≤ n contributors, each adding σ²/m', m' ≥ 1, the sum's parameter is at most n·σ².
    """
    content = setting.holders * setting.rows_max * lane.row_max << lane.grid_bits
    variance = setting.holders * lane.sigma_squared
    return content + TAIL_SIGMAS * (math.isqrt(math.ceil(variance)) + 1)


def bin_edges(grid: Grid, bins: int) -> tuple[int, ...]:
    """Return the ends of equal-width bins on the grid, each rounded up to a grid point.

    Then integer v is in bin min(B − 1, ⌊(v − low)·B / (high − low)⌋).
    """
    width = grid.high - grid.low
    return tuple(grid.low - (-index * width) // bins for index in range(bins + 1))


def _needs(output: Output, columns: Mapping[str, Column]) -> list[LaneKey]:
    name = output.column
    if output.kind is OutputKind.GROUP:
        return []
    if output.kind is OutputKind.COUNT or name is None:
        return [(LaneKind.COUNT, None, 1)]
    if output.kind is OutputKind.COUNT_DISTINCT:
        return [(LaneKind.DISTINCT, name, 1)]
    if output.kind is OutputKind.HISTOGRAM:
        return [(LaneKind.HISTOGRAM, name, output.bins or 1)]
    count: LaneKey = (LaneKind.COUNT_OF, name, 1) if columns[name].nullable else (LaneKind.COUNT, None, 1)
    if output.kind in (OutputKind.SUM, OutputKind.AVG):
        return [count, (LaneKind.SUM, name, 1)]
    return [count, (LaneKind.SUM, name, 1), (LaneKind.SQUARE, name, 1)]


def _measuring(lane: Lane, grid: Grid, setting: Setting) -> Lane:
    """Return a lane of centred values, or of products of centred factors, with Δ = h·m·w or h·m·w²."""
    lane = replace(lane, scale_bits=grid.scale_bits, center=grid.center, half_width=grid.half_width)
    rows = setting.unit_holders * setting.rows_per_unit
    return _with_grid(replace(lane, delta_squared=(rows * lane.row_max) ** 2), setting)


def _square(lane: Lane, column: Column, setting: Setting) -> Lane:
    """Return a square lane: the most factor bits with rows·n·w² < 2^61 and cells below 2^62."""
    grid = column.grid()
    for bits in range(EXACT_BITS, FACTOR_BITS_MIN - 1, -1):
        if column.low is None or column.high is None or not fits(column.low, column.high, bits):
            continue
        grid = Grid.of(column.low, column.high, bits)
        if grid.half_width < 1:
            break
        if setting.holders * setting.rows_max * grid.half_width**2 >= SQUARES_MAX:
            continue
        square = _measuring(lane, grid, setting)
        if largest_cell(square, setting) < CELL_MAX:
            return square
    return _measuring(lane, column.grid(), setting)


def _with_grid(lane: Lane, setting: Setting) -> Lane:
    """Return the lane on the coarsest grid whose noise share is at least 16 grid units².

    The share is that of the planned roster. A smaller roster n' has a divisor n' − c − d' no larger than the
    planned one (it is the maximum of n' − c − dropouts and ⌊(n' − c)/2⌋ + 1, which both grow with n'), so
    that each of its shares is at least as large.
    """
    for bits in range(GRID_BITS_MAX):
        candidate = replace(lane, grid_bits=bits)
        if candidate.sigma_squared >= SHARE_MIN * setting.divisor:
            return candidate
    return replace(lane, grid_bits=GRID_BITS_MAX)
