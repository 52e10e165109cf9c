"""Where each number sits in the vector of cells.

Lanes come one after the other, in the plan's order. In a lane of B bins (1 but for histograms and tables) and G
groups, bin k of group g is cell `start + k·G + g`. Groups are numbered row-major over the plan's
dimensions: the last one varies fastest, its declared values in order and `other` last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.dimensions import Dimension
from privacy.errors import CellOutOfRange, PlanInvalid
from privacy.plan import Plan

Key = tuple[str | int, ...]


def group_key(plan: Plan, group: int) -> Key:
    """Return the key of a group: a declared value, or `other`, for each dimension."""
    if not 0 <= group < plan.groups:
        raise PlanInvalid(f"a group must be in [0, {plan.groups}), not {group}")
    key: list[str | int] = []
    for dimension in reversed(plan.group_by):
        group, index = divmod(group, dimension.size)
        key.append(dimension.value(index))
    return tuple(reversed(key))


def group_index(plan: Plan, key: Sequence[str | int | None]) -> int:
    """Return the number of the group of these values; undeclared ones and None are `other`."""
    group = 0
    for dimension, value in zip(plan.group_by, key, strict=True):
        group = group * dimension.size + _value_index(dimension, value)
    return group


def group_order(plan: Plan) -> list[int]:
    """Return the groups' numbers ascending by key: `other` is a text among texts, and after all integers."""
    keys = [group_key(plan, group) for group in range(plan.groups)]
    return sorted(range(plan.groups), key=lambda group: [_sortable(value) for value in keys[group]])


def lane_cells(plan: Plan, lane: int) -> range:
    """Return the cells of a lane: all groups of its first bin, then of its second, and so on."""
    if not 0 <= lane < len(plan.lanes):
        raise PlanInvalid(f"a lane must be in [0, {len(plan.lanes)}), not {lane}")
    start = plan.groups * sum(each.bins for each in plan.lanes[:lane])
    return range(start, start + plan.groups * plan.lanes[lane].bins)


def cell_index(plan: Plan, lane: int, group: int, bin_: int = 0) -> int:
    """Return the cell of one bin of one group in a lane."""
    cells = lane_cells(plan, lane)
    if not 0 <= group < plan.groups or not 0 <= bin_ < plan.lanes[lane].bins:
        raise PlanInvalid(f"lane {lane} has no group {group} with bin {bin_}")
    return cells[bin_ * plan.groups + group]


def cells_from_sums(plan: Plan, sums: Sequence[int]) -> NDArray[np.int64]:
    """Put one holder's integer sums on the grids of their lanes: each is multiplied by 2^grid_bits.

    Args:
        plan: the plan.
        sums: an integer for each value, in the layout's order, as the holder's engine computed them, without noise.

    Raises:
        CellOutOfRange: not d of them, or one that the plan's ceiling on rows excludes.
    """
    if len(sums) != plan.values:
        raise CellOutOfRange(f"expected {plan.values} sums, got {len(sums)}")
    cells = np.zeros(plan.values, dtype=np.int64)
    for number, lane in enumerate(plan.lanes):
        most = plan.rows_max * lane.row_max
        for cell in lane_cells(plan, number):
            value = int(sums[cell])
            if abs(value) > most:
                raise CellOutOfRange(
                    f"cell {cell} of {lane.title}: expected at most {most} in absolute value"
                )
            cells[cell] = value << lane.grid_bits
    return cells


def _value_index(dimension: Dimension, value: str | int | None) -> int:
    return dimension.domain.index(value) if value in dimension.domain else len(dimension.domain)


def _sortable(value: str | int) -> tuple[int, int, str]:
    """Order integers before the `other` among them, and texts as Python does."""
    return (0, value, "") if isinstance(value, int) else (1, 0, value)
