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
from itertools import combinations, pairwise
from typing import NamedTuple

from privacy.columns import Column, ColumnType
from privacy.decimals import RHO_SCALE, decimal_text
from privacy.dimensions import Dimension, Factor
from privacy.errors import NoiseInvalid, PlanInvalid
from privacy.fixed_point import EXACT_BITS, Grid, fits, power_of_two
from privacy.logistic import SCALE_BITS_COARSEST, SCALE_BITS_FINEST, Logistic
from privacy.query import MOMENT_KINDS, Output, OutputKind

SHARE_MIN = 16
"""A holder's noise share, in grid units², that makes the sum of shares as private as one draw (up to τ <
1e-60).

Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism", 2021, Theorem 1.
"""

GRID_BITS_MAX = 64
FACTOR_BITS_MIN = -100
WIDTH_BITS_MAX = 30
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
    PRODUCT = "product"
    CONTINGENCY = "contingency"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of a plan.

    Attributes:
        kind: what a row adds.
        column: the measure, the first one of a product, the first dimension of a contingency table, the target of a
            regression, or the unit column of a distinct count; None for a count of rows.
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
        by: the second factor of a product, else None; `low` to `half_width` are then the first one's.
        present: columns besides the lane's own that must not be NULL for a row to add anything.
        table: the two dimensions of a contingency table, else empty. Bin i·|b| + j holds the rows with the i-th
            declared value of the first and the j-th of the second.
        logistic: the features and coefficients of a step of a logistic regression, else None.
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
    by: Factor | None = None
    present: tuple[str, ...] = ()
    table: tuple[Dimension, ...] = ()
    logistic: Logistic | None = None

    def __post_init__(self) -> None:
        positive = (self.half_width, self.delta_squared, self.rho_micro)
        if (self.kind is LaneKind.PRODUCT) != (self.by is not None):
            raise PlanInvalid(f"{self.title}: expected a second factor of a product, and of nothing else")
        if len(self.table) != (2 if self.kind is LaneKind.CONTINGENCY else 0):
            raise PlanInvalid(f"{self.title}: expected two dimensions of a contingency table")
        if (self.kind is LaneKind.LOGISTIC) != (self.logistic is not None):
            raise PlanInvalid(
                f"{self.title}: expected features of a logistic regression, and of nothing else"
            )
        if self.by is not None and (self.by.half_width < 1 or abs(self.by.scale_bits) > SCALE_LIMIT):
            raise PlanInvalid(f"{self.title}: expected a width above zero of each factor")
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
        if self.table:
            return math.prod(len(dimension.domain) for dimension in self.table)
        if self.logistic is not None:
            return self.logistic.bins
        return max(1, len(self.edges) - 1)

    @property
    def row_max(self) -> int:
        """The largest integer that one row adds to a cell, in absolute value."""
        if self.by is not None:
            return self.half_width * self.by.half_width
        return self.half_width**2 if self.kind is LaneKind.SQUARE else self.half_width

    @property
    def value_bits(self) -> int:
        """Fractional bits of the lane's sums: s of a sum or step, 2s of a square, both of a product; counts have none."""
        if self.by is not None:
            return self.scale_bits + self.by.scale_bits
        if self.kind in (LaneKind.SUM, LaneKind.LOGISTIC):
            return self.scale_bits
        return 2 * self.scale_bits if self.kind is LaneKind.SQUARE else 0

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
        names = [self.column, self.by.column if self.by is not None else None]
        names += [dimension.column for dimension in self.table[1:]]
        columns = ", ".join(name for name in names if name is not None)
        return f"{self.kind.value}({columns})" if columns else self.kind.value

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in a plan; four of its members only where they say something."""
        more: dict[str, object] = {}
        if self.by is not None:
            more["by"] = self.by.to_json()
        if self.present:
            more["present"] = list(self.present)
        if self.table:
            more["table"] = [dimension.to_json() for dimension in self.table]
        if self.logistic is not None:
            more["logistic"] = self.logistic.to_json()
        return more | {
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


class LaneKey(NamedTuple):
    """What tells lanes of one plan apart.

    Attributes:
        kind, column: as in `Lane`.
        bins: as in `Lane`; 1 for a contingency table, whose dimensions fix it.
        by: the second column of a product or contingency table.
        present: as in `Lane`.
        features, coefficients: of a step of a logistic regression.
    """

    kind: LaneKind
    column: str | None
    bins: int = 1
    by: str | None = None
    present: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    coefficients: tuple[Decimal, ...] = ()


def needed_lanes(outputs: Sequence[Output], columns: Mapping[str, Column]) -> tuple[LaneKey, ...]:
    """Return the lanes that the outputs need, in the order in which they are first needed.

    SUM and AVG of x need the count of x and sum(x); VAR and STDDEV also square(x). The count of x is
    count_of(x), or the count of rows where x is never NULL.
    """
    return tuple(dict.fromkeys(key for output in outputs for key in _needs(output, columns)))


def derive_lane(key: LaneKey, columns: Mapping[str, Column], setting: Setting, rho_micro: int) -> Lane:
    """Return a lane with its sensitivity, its share of ρ and its grid."""
    kind, name, bins, by, present = key[:5]
    rows = setting.unit_holders * setting.rows_per_unit  # h·m
    if by is not None and name is not None:
        return _pair_lane(key, columns, setting, rho_micro)
    if kind is LaneKind.LOGISTIC:
        return _logistic_lane(key, columns, setting, rho_micro)
    counting = Lane(kind, name, None, None, None, 0, 0, 1, (), rows**2, 0, rho_micro, present=present)
    if kind is LaneKind.DISTINCT:
        # A unit is in at most min(m, groups) groups and adds 1 to each: Δ² is that number, at each of h
        # holders.
        units = setting.unit_holders**2 * min(setting.rows_per_unit, setting.groups)
        return with_grid(replace(counting, delta_squared=units), setting)
    if kind in (LaneKind.COUNT, LaneKind.COUNT_OF) or name is None:
        return with_grid(counting, setting)
    column = columns[name]
    counting = replace(counting, type=column.type, low=column.low, high=column.high)
    if kind is LaneKind.HISTOGRAM:
        grid = column.grid()
        edges = bin_edges(grid, bins)
        return with_grid(replace(counting, scale_bits=grid.scale_bits, edges=edges), setting)
    if kind is LaneKind.SUM:
        return _measuring(counting, column.grid(), setting)
    return _square(counting, column, setting)


def lane_key(lane: Lane) -> LaneKey:
    """Return the key of a lane."""
    if lane.table:
        return LaneKey(lane.kind, lane.column, by=lane.table[1].column)
    if lane.logistic is not None:
        features = tuple(feature.column for feature in lane.logistic.features)
        return LaneKey(lane.kind, lane.column, features=features, coefficients=lane.logistic.coefficients)
    by = None if lane.by is None else lane.by.column
    return LaneKey(lane.kind, lane.column, lane.bins, by, lane.present)


def find_lane(lanes: Sequence[Lane], key: LaneKey) -> int:
    """Return the number of the lane of this key; a count of x may be shared with the count of rows.

    Raises:
        PlanInvalid: there is none, which no verified plan lacks.
    """
    for number, lane in enumerate(lanes):
        # a buyer may ask for thousands of lanes: most differ in what costs nothing to compare
        if lane.kind is key.kind and lane.column == key.column and lane_key(lane) == key:
            return number
    if key.kind is LaneKind.COUNT_OF and not key.present:
        return find_lane(lanes, LaneKey(LaneKind.COUNT, None))
    raise PlanInvalid(f"the plan has no lane {key.kind.value}({key.column})")


def count_key(present: Sequence[str]) -> LaneKey:
    """Return the count of the rows where none of some columns is NULL; of all rows, if there are none."""
    if not present:
        return LaneKey(LaneKind.COUNT, None)
    return LaneKey(LaneKind.COUNT_OF, present[0], present=tuple(present[1:]))


def sum_key(kind: LaneKind, column: str, present: Sequence[str]) -> LaneKey:
    """Return the sum or sum of squares of a column over the rows where none of some columns is NULL."""
    return LaneKey(kind, column, present=tuple(name for name in present if name != column))


def product_key(first: str, second: str, present: Sequence[str]) -> LaneKey:
    """Return the sum of products of two columns, in their one order, by code point."""
    low, high = sorted((first, second))
    rest = tuple(name for name in present if name not in (first, second))
    return LaneKey(LaneKind.PRODUCT, low, by=high, present=rest)


def moment_keys(output: Output) -> list[LaneKey]:
    """Return the lanes of an aggregate of several measures: count, sums, squares where needed, products.

    The squares are of all columns, but for a covariance; the products are of all pairs. Columns in the order of the
    arguments.
    """
    names = [name for name in (output.column, *output.others) if name is not None]
    present = output.present
    keys = [count_key(present), *(sum_key(LaneKind.SUM, name, present) for name in names)]
    if output.kind in (OutputKind.CORR, OutputKind.LINREG):
        keys += [sum_key(LaneKind.SQUARE, name, present) for name in names]
    return keys + [product_key(first, second, present) for first, second in combinations(names, 2)]


def score_keys(output: Output) -> list[LaneKey]:
    """Return the lanes of a score: the count of the rows where no feature is NULL, and the sum of each feature over them."""
    names = [name for name in (output.column, *output.others) if name is not None]
    return [count_key(output.present), *(sum_key(LaneKind.SUM, name, output.present) for name in names)]


def step_key(output: Output) -> LaneKey:
    """Return the one lane of a step of a logistic regression."""
    return LaneKey(LaneKind.LOGISTIC, output.column, features=output.others, coefficients=output.coefficients)


def largest_cell(lane: Lane, setting: Setting) -> int:
    """Return a bound on the absolute sum of a lane's cells over all holders, noise tail included."""
    return value_bound(lane, rows=setting.holders * setting.rows_max, contributors=setting.holders)


def value_bound(lane: Lane, *, rows: int, contributors: int) -> int:
    """Return a bound on the absolute value of a lane's cells over some rows, noise tail included.

    Args:
        lane: on its grid.
        rows: all that may be in the cells together.
        contributors: n, the most that add noise: n' ≤ n of them add σ²/m' each, m' ≥ 1, so that the sum's parameter is at
            most n·σ².
    """
    content = rows * lane.row_max << lane.grid_bits
    return content + TAIL_SIGMAS * (math.isqrt(math.ceil(contributors * lane.sigma_squared)) + 1)


def with_grid(lane: Lane, setting: Setting) -> Lane:
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
        return [LaneKey(LaneKind.COUNT, None)]
    if output.kind is OutputKind.COUNT_DISTINCT:
        return [LaneKey(LaneKind.DISTINCT, name)]
    if output.kind in (OutputKind.HISTOGRAM, OutputKind.QUANTILE):
        return [LaneKey(LaneKind.HISTOGRAM, name, output.bins or 1)]
    if output.kind is OutputKind.CHI2:
        return [LaneKey(LaneKind.CONTINGENCY, name, by=output.others[0])]
    if output.kind in MOMENT_KINDS:
        return moment_keys(output)
    if output.kind is OutputKind.LOGREG_STEP:
        return [step_key(output)]
    if output.kind is OutputKind.SCORE:
        return score_keys(output)
    keys = [count_key((name,) if columns[name].nullable else ()), LaneKey(LaneKind.SUM, name)]
    if output.kind in (OutputKind.SUM, OutputKind.AVG):
        return keys
    return [*keys, LaneKey(LaneKind.SQUARE, name)]


def _pair_lane(key: LaneKey, columns: Mapping[str, Column], setting: Setting, rho_micro: int) -> Lane:
    """Return the lane of a contingency table (Δ = h·m) or of a product (Δ = h·m·w_x·w_y)."""
    first, second = columns[str(key.column)], columns[str(key.by)]
    if key.kind is LaneKind.PRODUCT:
        return _product(key, first, second, setting, rho_micro)
    rows = setting.unit_holders * setting.rows_per_unit
    table = tuple(Dimension(each.name, each.type, each.domain or ()) for each in (first, second))
    counting = Lane(key.kind, key.column, None, None, None, 0, 0, 1, (), rows**2, 0, rho_micro, table=table)
    return with_grid(counting, setting)


def _product(key: LaneKey, first: Column, second: Column, setting: Setting, rho_micro: int) -> Lane:
    """Return a product lane: the most bits b with rows·n·2^(2b) < 2^61 and cells below 2^62.

    Each factor is on the finest grid on which its interval is exact and its half width at most 2^b.
    """
    rows = setting.unit_holders * setting.rows_per_unit
    for bits in range(WIDTH_BITS_MAX, -1, -1):
        if setting.holders * setting.rows_max << 2 * bits >= SQUARES_MAX and bits:
            continue
        x, y = _factor(first, bits), _factor(second, bits)
        delta_squared = (rows * x.half_width * y.half_width) ** 2
        lane = Lane(
            kind=key.kind,
            column=x.column,
            type=x.type,
            low=x.low,
            high=x.high,
            scale_bits=x.scale_bits,
            center=x.center,
            half_width=x.half_width,
            edges=(),
            delta_squared=delta_squared,
            grid_bits=0,
            rho_micro=rho_micro,
            by=y,
            present=key.present,
        )
        lane = with_grid(lane, setting)
        if largest_cell(lane, setting) < CELL_MAX:
            break
    return lane


def _logistic_lane(key: LaneKey, columns: Mapping[str, Column], setting: Setting, rho_micro: int) -> Lane:
    """Return the lane of a step: the finest scale, from 2^-40 on, on which cells stay below 2^62.

    Δ² is (h·m)² times the squared length of the longest vector that a row adds.
    """
    column = columns[str(key.column)]
    is_dimension = not is_zero_one(column)
    features = tuple(_factor(columns[name], WIDTH_BITS_MAX) for name in key.features)
    target = Dimension(column.name, column.type, column.domain or ()) if is_dimension else None
    logistic = Logistic(target, features, key.coefficients)
    rows = setting.unit_holders * setting.rows_per_unit
    bounds = (None, None) if is_dimension else (column.low, column.high)
    for bits in range(SCALE_BITS_FINEST, SCALE_BITS_COARSEST - 1, -1):
        lane = Lane(
            kind=key.kind,
            column=column.name,
            type=column.type,
            low=bounds[0],
            high=bounds[1],
            scale_bits=bits,
            center=0,
            half_width=1 << bits,
            edges=(),
            delta_squared=rows**2 * logistic.row_length_squared(bits),
            grid_bits=0,
            rho_micro=rho_micro,
            logistic=logistic,
        )
        lane = with_grid(lane, setting)
        if largest_cell(lane, setting) < CELL_MAX:
            break
    return lane


def is_zero_one(column: Column) -> bool:
    """Tell whether a column is a measure of 0 and 1."""
    return column.type is ColumnType.INTEGER and (column.low, column.high) == (Decimal(0), Decimal(1))


def _factor(column: Column, width_bits: int) -> Factor:
    """Return a measure on the finest grid on which its interval is exact and its half width at most 2^b.

    Raises:
        PlanInvalid: the column is no measure, which no verified query asks for.
    """
    if column.low is None or column.high is None:
        raise PlanInvalid(f"{column.name!r} is no measure")
    grid = column.grid()
    for bits in range(EXACT_BITS, FACTOR_BITS_MIN - 1, -1):
        if not fits(column.low, column.high, bits):
            continue
        finer = Grid.of(column.low, column.high, bits)
        if finer.half_width < 1:
            break
        grid = finer
        if finer.half_width <= 1 << width_bits:
            break
    return Factor(
        column.name, column.type, column.low, column.high, grid.scale_bits, grid.center, grid.half_width
    )


def _measuring(lane: Lane, grid: Grid, setting: Setting) -> Lane:
    """Return a lane of centred values, or of products of centred factors, with Δ = h·m·w or h·m·w²."""
    lane = replace(lane, scale_bits=grid.scale_bits, center=grid.center, half_width=grid.half_width)
    rows = setting.unit_holders * setting.rows_per_unit
    return with_grid(replace(lane, delta_squared=(rows * lane.row_max) ** 2), setting)


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
