"""Which of a plan's values each sum of a join is: the sums of a sub-list come from one of the matcher's groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from privacy.plan import Plan


def side_groups(plan: Plan, columns: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Return for each of the plan's groups its number among the groups of some of its dimensions, and how many these are.

    Row-major over those dimensions in the plan's order, the last one fastest, as the plan's own groups are numbered.
    """
    rest = np.arange(plan.groups)
    numbers, weight = np.zeros(plan.groups, dtype=np.int64), 1
    for dimension in reversed(plan.group_by):
        rest, digit = np.divmod(rest, dimension.size)
        if dimension.column in columns:
            numbers += digit * weight
            weight *= dimension.size
    return numbers, weight


def value_places(plan: Plan, value: Sequence[str]) -> NDArray[np.int64]:
    """Return where each sum of each sub-list is among the plan's values.

    Args:
        plan: with lanes of one bin each.
        value: the value side's dimensions; the others are the matcher's.

    Returns:
        [matcher's groups, lanes · value side's groups]; sum `lane·groups + group` of a sub-list is of the value side's
        `group`.
    """
    matcher = [dimension.column for dimension in plan.group_by if dimension.column not in value]
    own, own_count = side_groups(plan, value)
    listed, listed_count = side_groups(plan, matcher)
    places = np.zeros((listed_count, len(plan.lanes) * own_count), dtype=np.int64)
    for lane in range(len(plan.lanes)):
        places[listed, lane * own_count + own] = lane * plan.groups + np.arange(plan.groups)
    return places
