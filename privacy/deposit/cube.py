"""The cube of a deposit: which numbers are encrypted, and where each one stands. No row and no name is among them.

Cell `a + k·G + g` has bin k of group g of the lane that starts at cell a: the layout of a plan (docs/protocol.md §6) with
the cube's own dimensions. A lane's values are those of the plan's lanes, so that sums of cells over a sub-cube are the cells
of a plan; noise and grid come with the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from privacy.columns import Column, ColumnType
from privacy.deposit.errors import CubeInvalid
from privacy.deposit.sizes import BOUND_MAX
from privacy.dimensions import Dimension, Factor
from privacy.errors import PlanInvalid
from privacy.fixed_point import EXACT_BITS, Grid, fits
from privacy.lanes import (
    FACTOR_BITS_MIN,
    SHARE_MIN,
    Lane,
    LaneKey,
    LaneKind,
    Setting,
    bin_edges,
    with_grid,
)

CELLS_MAX: Final = 1 << 24
LANES_MAX: Final = 256
CONTENT_MAX: Final = BOUND_MAX >> 1
"""|sum| of a lane over all rows of a deposit: half of what a logarithm is searched for; the rest is the noise's."""

KINDS: Final = frozenset(
    (LaneKind.COUNT, LaneKind.COUNT_OF, LaneKind.SUM, LaneKind.SQUARE, LaneKind.HISTOGRAM, LaneKind.PRODUCT)
)
"""Kinds that add up over cells. Distinct counts do not; a contingency table is a selection of counts."""

_OF_THE_PLAN: Final = frozenset(("delta_squared", "grid_bits", "rho"))


@dataclass(frozen=True, slots=True)
class CubeLane:
    """One number of every group, or one for each bin.

    Attributes: as in `privacy.lanes.Lane`; sensitivity, grid and share of ρ are the plan's.
    """

    kind: LaneKind
    column: str | None = None
    type: ColumnType | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    scale_bits: int = 0
    center: int = 0
    half_width: int = 1
    edges: tuple[int, ...] = ()
    by: Factor | None = None
    present: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CubeInvalid(f"a lane of kind {self.kind.value} does not add up over cells")
        # the plan's lane checks the rest, with any sensitivity
        self._lane(delta_squared=1, rho_micro=1)

    @property
    def key(self) -> LaneKey:
        """What tells lanes of one cube apart, the same as for a plan's."""
        by = None if self.by is None else self.by.column
        return LaneKey(self.kind, self.column, self.bins, by, self.present)

    @property
    def bins(self) -> int:
        """The cells of one group."""
        return max(1, len(self.edges) - 1)

    @property
    def row_max(self) -> int:
        """The largest integer that one row adds to a cell, in absolute value."""
        return self._lane(delta_squared=1, rho_micro=1).row_max

    def plan_lane(self, setting: Setting, rho_micro: int) -> Lane:
        """Return a plan's lane over this one, with its sensitivity, its share of ρ and its grid.

        Δ = h·m·(what a row adds at most); the grid is the coarsest on which a noise share is at least 16 units².

        Raises:
            CubeInvalid: no grid is fine enough.
        """
        rows = setting.unit_holders * setting.rows_per_unit
        lane = self._lane(delta_squared=(rows * self.row_max) ** 2, rho_micro=rho_micro)
        lane = with_grid(lane, setting)
        if lane.sigma_squared < SHARE_MIN * setting.divisor:
            raise CubeInvalid(f"{lane.title}: no grid is fine enough for its noise")
        return lane

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a cube: a plan's lane without what the plan sets."""
        lane = self._lane(delta_squared=1, rho_micro=1).to_json()
        return {name: value for name, value in lane.items() if name not in _OF_THE_PLAN}

    def _lane(self, *, delta_squared: int, rho_micro: int) -> Lane:
        try:
            return Lane(
                kind=self.kind,
                column=self.column,
                type=self.type,
                low=self.low,
                high=self.high,
                scale_bits=self.scale_bits,
                center=self.center,
                half_width=self.half_width,
                edges=self.edges,
                delta_squared=delta_squared,
                grid_bits=0,
                rho_micro=rho_micro,
                by=self.by,
                present=self.present,
            )
        except PlanInvalid as err:
            raise CubeInvalid(str(err)) from err


@dataclass(frozen=True, slots=True)
class Cube:
    """A declared cube.

    Attributes:
        dimensions: with public domains; the group `other` comes after the last value of each.
        lanes: no two with one key.
        rows_max: the most rows of a deposit.
        rows_per_unit: m, the most rows of one unit; more are left out before cells are made.
    """

    dimensions: tuple[Dimension, ...]
    lanes: tuple[CubeLane, ...]
    rows_max: int
    rows_per_unit: int

    def __post_init__(self) -> None:
        names = [dimension.column for dimension in self.dimensions]
        if len(set(names)) != len(names) or any(not dimension.domain for dimension in self.dimensions):
            raise CubeInvalid("expected different dimensions, each with a domain")
        if not 1 <= len(self.lanes) <= LANES_MAX or len({lane.key for lane in self.lanes}) != len(self.lanes):
            raise CubeInvalid(f"expected 1 to {LANES_MAX} different lanes")
        if not 1 <= self.rows_per_unit <= self.rows_max:
            raise CubeInvalid("expected rows per unit of at least 1 and at most the most rows")
        if self.cells > CELLS_MAX:
            raise CubeInvalid(f"expected at most {CELLS_MAX} cells, found {self.cells}")
        for lane in self.lanes:
            if self.rows_max * lane.row_max > CONTENT_MAX:
                message = (
                    f"sums of up to {self.rows_max * lane.row_max}: at most {CONTENT_MAX} can be decrypted"
                )
                raise CubeInvalid(f"lane {lane.key.kind.value}({lane.column}): {message}")

    @property
    def groups(self) -> int:
        """G, the product of the dimensions' sizes."""
        return math.prod(dimension.size for dimension in self.dimensions)

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.groups * sum(lane.bins for lane in self.lanes)

    def lane_index(self, key: LaneKey) -> int:
        """Return the place of the lane with this key.

        Raises:
            CubeInvalid: there is none.
        """
        for index, lane in enumerate(self.lanes):
            if lane.key == key:
                return index
        raise CubeInvalid(f"the cube has no lane {key.kind.value}({key.column})")

    def start(self, lane: int, bin_: int = 0) -> int:
        """Return the first cell of a bin of a lane: the others of it follow by group.

        Raises:
            CubeInvalid: there is no such lane or bin.
        """
        if not 0 <= lane < len(self.lanes) or not 0 <= bin_ < self.lanes[lane].bins:
            raise CubeInvalid(f"the cube has no lane {lane} with bin {bin_}")
        return self.groups * (sum(each.bins for each in self.lanes[:lane]) + bin_)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a policy and in a deposit's manifest."""
        return {
            "dimensions": [dimension.to_json() for dimension in self.dimensions],
            "lanes": [lane.to_json() for lane in self.lanes],
            "rows_max": str(self.rows_max),
            "rows_per_unit": str(self.rows_per_unit),
        }


def make_lane(key: LaneKey, columns: Mapping[str, Column], rows_max: int) -> CubeLane:
    """Return the lane of a cube for a key: values as a plan's; squares and products as fine as can be decrypted.

    Args:
        key: of a kind that adds up.
        columns: the policy's, by name.
        rows_max: the most rows of a deposit.

    Raises:
        CubeInvalid: no such lane can be, or no column of that name.
    """
    names = [name for name in (key.column, key.by, *key.present) if name is not None]
    if unknown := [name for name in names if name not in columns]:
        raise CubeInvalid(f"the policy has no column {unknown[0]!r}")
    if key.column is None or key.kind is LaneKind.COUNT_OF:
        return CubeLane(key.kind, key.column, present=key.present)
    column = columns[key.column]
    width_max = math.isqrt(CONTENT_MAX // rows_max)
    if key.kind is LaneKind.PRODUCT and key.by is not None:
        first, second = _finest(column, width_max), columns[key.by]
        other = _finest(second, width_max)
        by = Factor(
            second.name, second.type, *_bounds(second), other.scale_bits, other.center, other.half_width
        )
        return _measuring(key, column, first, by=by)
    if key.kind is LaneKind.SQUARE:
        return _measuring(key, column, _finest(column, width_max))
    _bounds(column)
    if key.kind is LaneKind.HISTOGRAM:
        edges = bin_edges(column.grid(), key.bins)
        return replace(_measuring(key, column, column.grid()), center=0, half_width=1, edges=edges)
    return _measuring(key, column, column.grid())


def _measuring(key: LaneKey, column: Column, grid: Grid, *, by: Factor | None = None) -> CubeLane:
    low, high = _bounds(column)
    return CubeLane(
        kind=key.kind,
        column=column.name,
        type=column.type,
        low=low,
        high=high,
        scale_bits=grid.scale_bits,
        center=grid.center,
        half_width=grid.half_width,
        by=by,
        present=key.present,
    )


def _bounds(column: Column) -> tuple[Decimal, Decimal]:
    if column.low is None or column.high is None:
        raise CubeInvalid(f"{column.name!r} is no measure")
    return column.low, column.high


def _finest(column: Column, width_max: int) -> Grid:
    """Return the finest grid on which the interval is exact and its half width at most `width_max`."""
    low, high = _bounds(column)
    for bits in range(EXACT_BITS, FACTOR_BITS_MIN - 1, -1):
        if fits(low, high, bits):
            grid = Grid.of(low, high, bits)
            if 1 <= grid.half_width <= width_max:
                return grid
    raise CubeInvalid(f"{column.name!r}: no grid on which its squares can be decrypted")
