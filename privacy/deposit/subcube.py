"""Which cells of a cube a plan adds up: its groups, and what its filter takes of the cube's own groups.

A filter sees no row here, only the groups of the cube. For a declared value it is decided as in SQL. The group `other` holds
undeclared values and NULL, so that a condition may hold for some of its rows and not for others: such a filter is refused, not
guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privacy.columns import Column
from privacy.deposit.cube import Cube
from privacy.deposit.errors import CubeInvalid, FilterTooLong, FilterUndecided
from privacy.deposit.selection import Selection
from privacy.dimensions import Dimension
from privacy.lanes import lane_key
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.query import (
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Comparison,
    Condition,
    IsNull,
    Literal,
    Negation,
    Predicate,
)

Truths = NDArray[np.uint8]
"""The truth values that the rows of a group may have, as bits; one axis for each dimension of the cube."""
Integers = NDArray[np.int64]

TRUTHS_MAX: Final = 1 << 28
"""Truth values that are computed for one filter, about a second's work: 16 for each group of the largest cube."""

TRUE: Final = 1
FALSE: Final = 2
UNKNOWN: Final = 4
ANY: Final = TRUE | FALSE
_VALUES: Final = (TRUE, FALSE, UNKNOWN)
_RANK: Final = {FALSE: 0, UNKNOWN: 1, TRUE: 2}


def plan_selection(plan: Plan, policy: Policy, cube: Cube) -> Selection:
    """Return which cells of the cube add up to each value of a plan.

    Raises:
        CubeInvalid: the plan has a dimension or lane that the cube has not.
        FilterUndecided: the filter does not say whether it takes a group of the cube.
        FilterTooLong: it has too many conditions for the cube's size.
    """
    taken = np.flatnonzero(filtered_groups(plan.filter, policy, cube))
    groups = _plan_groups(plan, cube)[taken]
    cells, results = [], []
    first = 0
    for lane in plan.lanes:
        place = cube.lane_index(lane_key(lane))
        for bin_ in range(lane.bins):
            cells.append(cube.start(place, bin_) + taken)
            results.append(first + groups)
            first += plan.groups
    own, to = np.concatenate(cells).astype(np.int64), np.concatenate(results).astype(np.int64)
    order = np.argsort(own, kind="stable")
    return Selection(own[order], to[order], plan.values)


def filtered_groups(predicate: Predicate | None, policy: Policy, cube: Cube) -> NDArray[np.bool_]:
    """Return for each group of the cube whether a filter takes its rows.

    Raises:
        CubeInvalid, FilterUndecided, FilterTooLong: as `require_decided`.
    """
    taken = np.broadcast_to(require_decided(predicate, policy, cube), _shape(cube))
    return taken.reshape(-1)


def require_decided(predicate: Predicate | None, policy: Policy, cube: Cube) -> NDArray[np.bool_]:
    """Return what a filter takes, with one axis for each dimension of the cube; of length 1 where it says nothing of it.

    Raises:
        CubeInvalid: a condition on a column that is no dimension of the cube.
        FilterUndecided: it takes some rows of a group and not others.
        FilterTooLong: too many conditions for the cube's size.
    """
    if predicate is None:
        return np.ones((1,) * len(cube.dimensions), dtype=bool)
    truths = _Reading(policy, cube).truths(predicate)
    takes: NDArray[np.bool_] = (truths & TRUE) != 0
    leaves = (truths & (FALSE | UNKNOWN)) != 0
    undecided = np.argwhere(takes & leaves)
    if len(undecided):
        sizes = zip(cube.dimensions, undecided[0].tolist(), truths.shape, strict=True)
        shown = [f"{each.column} = {each.value(code)}" for each, code, size in sizes if size > 1]
        where = " and ".join(shown)
        raise FilterUndecided(f"the filter may take some rows of the group {where} and leave others of it")
    return takes


def _plan_groups(plan: Plan, cube: Cube) -> Integers:
    """Return for each group of the cube the plan's group that it is part of."""
    groups = np.zeros((1,) * len(cube.dimensions), dtype=np.int64)
    for dimension in plan.group_by:
        place = _place(cube, dimension.column)
        if cube.dimensions[place] != dimension:
            raise CubeInvalid(f"{dimension.column!r} has another domain in the cube")
        groups = groups * dimension.size + _along(np.arange(dimension.size), place, cube)
    return np.broadcast_to(groups, _shape(cube)).reshape(-1)


def _shape(cube: Cube) -> tuple[int, ...]:
    return tuple(dimension.size for dimension in cube.dimensions)


def _along(values: NDArray[Any], place: int, cube: Cube) -> NDArray[Any]:
    """Lay values along one dimension's axis."""
    shape = [1] * len(cube.dimensions)
    shape[place] = len(values)
    return values.reshape(shape)


def _place(cube: Cube, column: str) -> int:
    for place, dimension in enumerate(cube.dimensions):
        if dimension.column == column:
            return place
    raise CubeInvalid(f"{column!r} is no dimension of the cube")


class _Reading:
    """One filter being weighed against the groups of a cube, up to a bound on the work: whoever asks chooses its length."""

    def __init__(self, policy: Policy, cube: Cube) -> None:
        self._policy, self._cube, self._left = policy, cube, TRUTHS_MAX

    def truths(self, predicate: Predicate) -> Truths:
        """Return the truth values that the rows of each group may have.

        Raises:
            CubeInvalid: a condition on a column that is no dimension of the cube.
            FilterTooLong: too many conditions for the cube's size.
        """
        if isinstance(predicate, AllOf):
            return self._all(self.truths(term) for term in predicate.terms)
        if isinstance(predicate, AnyOf):
            return self._not(self._all(self._not(self.truths(term)) for term in predicate.terms))
        if isinstance(predicate, Negation):
            return self._not(self.truths(predicate.term))
        place = _place(self._cube, predicate.column)
        column = self._policy.column(predicate.column)
        if column is None:
            raise CubeInvalid(f"the policy has no column {predicate.column!r}")
        return _along(_of_values(predicate, self._cube.dimensions[place], column), place, self._cube)

    def _all(self, parts: Iterable[Truths]) -> Truths:
        """Return what AND may be: first of conditions on the same dimensions, which are small, then of them together."""
        known: dict[tuple[int, ...], Truths] = {}
        for part in parts:
            known[part.shape] = self._both(known[part.shape], part) if part.shape in known else part
        return reduce(self._both, sorted(known.values(), key=lambda each: each.size))

    def _both(self, first: Truths, second: Truths) -> Truths:
        self._charge(np.broadcast_shapes(first.shape, second.shape))
        return _CONJUNCTION[first, second]

    def _not(self, truths: Truths) -> Truths:
        self._charge(truths.shape)
        return _NEGATION[truths]

    def _charge(self, shape: tuple[int, ...]) -> None:
        self._left -= math.prod(shape)
        if self._left < 0:
            raise FilterTooLong(
                f"the filter has too many conditions for a cube of {self._cube.groups} groups: {TRUTHS_MAX} truth values "
                "are weighed at most"
            )


def _of_values(predicate: Condition, dimension: Dimension, column: Column) -> Truths:
    """Return the truth values of one condition for each declared value, and for the rows of `other`."""
    found = [TRUE if _holds(predicate, value) else FALSE for value in dimension.domain]
    return np.array([*found, _of_other(predicate, dimension, column)], dtype=np.uint8)


def _of_other(predicate: Condition, dimension: Dimension, column: Column) -> int:
    """Return what a condition may be for undeclared values and NULL."""
    null = column.nullable
    if isinstance(predicate, IsNull):
        return ANY if null else FALSE
    declared: tuple[Literal, ...] = ()
    if isinstance(predicate, Among):
        declared = predicate.values
    elif isinstance(predicate, Compare) and predicate.comparison in (
        Comparison.EQUAL,
        Comparison.NOT_EQUAL,
    ):
        declared = (predicate.value,)
    if not declared or any(value not in dimension.domain for value in declared):
        return ANY | (UNKNOWN if null else 0)
    is_not = isinstance(predicate, Compare) and predicate.comparison is Comparison.NOT_EQUAL
    return (TRUE if is_not else FALSE) | (UNKNOWN if null else 0)


def _holds(predicate: Condition, value: str | int) -> bool:
    """Tell whether a condition holds for a declared value; texts are compared by code point."""
    if isinstance(predicate, IsNull):
        return False
    if isinstance(predicate, Among):
        return value in predicate.values
    if isinstance(predicate, Between):
        return _compared(value, predicate.low) >= 0 and _compared(value, predicate.high) <= 0
    sign = _compared(value, predicate.value)
    return {
        Comparison.EQUAL: sign == 0,
        Comparison.NOT_EQUAL: sign != 0,
        Comparison.LESS: sign < 0,
        Comparison.LESS_OR_EQUAL: sign <= 0,
        Comparison.GREATER: sign > 0,
        Comparison.GREATER_OR_EQUAL: sign >= 0,
    }[predicate.comparison]


def _compared(value: str | int, literal: Literal) -> int:
    """Return -1, 0 or 1. Values and literals of one column have one type; integers compare with decimals."""
    if isinstance(value, str) and isinstance(literal, str):
        return (value > literal) - (value < literal)
    if isinstance(value, str) or isinstance(literal, str):
        raise CubeInvalid("a text compared with a number")
    return (value > literal) - (value < literal)


def _table() -> tuple[Truths, Truths]:
    """Return NOT and AND on sets of truth values, by SQL's three-valued logic."""
    swapped = {TRUE: FALSE, FALSE: TRUE, UNKNOWN: UNKNOWN}
    negation = np.zeros(8, dtype=np.uint8)
    conjunction = np.zeros((8, 8), dtype=np.uint8)
    for first in range(8):
        own = [value for value in _VALUES if first & value]
        negation[first] = sum(swapped[value] for value in own)
        for second in range(8):
            others = [value for value in _VALUES if second & value]
            both = {min(a, b, key=_RANK.__getitem__) for a in own for b in others}
            conjunction[first, second] = sum(both)
    return negation, conjunction


_NEGATION, _CONJUNCTION = _table()
