import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.columns import OTHER
from privacy.errors import CellOutOfRange, PlanInvalid
from privacy.fixed_point import Grid, quantise
from privacy.lanes import LaneKind, bin_edges
from privacy.layout import cell_index, cells_from_sums, group_index, group_key, group_order, lane_cells
from tests.privacy.plan_world import Row, plan_of, policy_of, sums_of, unit_of

PLAN = plan_of(
    "SELECT COUNT(*), SUM(kwh), HISTOGRAM(age, 5) AS h FROM 用电 GROUP BY 城镇, grade", policy_of(), holders=3
)


# --- cells ------------------------------------------------------------------------------------------------------


def test_lanes_are_outermost_then_bins_then_groups() -> None:
    assert [lane.title for lane in PLAN.lanes] == ["count", "count_of(kwh)", "sum(kwh)", "histogram(age)"]
    assert PLAN.groups == 16
    assert [lane_cells(PLAN, number) for number in range(4)] == [
        range(16),
        range(16, 32),
        range(32, 48),
        range(48, 128),
    ]
    assert cell_index(PLAN, 2, 3) == 35
    assert cell_index(PLAN, 3, 5, 2) == 48 + 2 * 16 + 5
    every = [
        cell_index(PLAN, n, g, b)
        for n, lane in enumerate(PLAN.lanes)
        for b in range(lane.bins)
        for g in range(16)
    ]
    assert every == list(range(PLAN.cells))


def test_groups_are_row_major_in_the_order_of_the_domains_with_other_last() -> None:
    assert group_key(PLAN, 0) == ("南山", 3)
    assert group_key(PLAN, 1) == ("南山", -1)
    assert group_key(PLAN, 3) == ("南山", OTHER)
    assert group_key(PLAN, 4) == ("福田", 3)
    assert group_key(PLAN, 15) == (OTHER, OTHER)
    for group in range(16):
        assert group_index(PLAN, group_key(PLAN, group)) == group


def test_undeclared_and_null_keys_are_other() -> None:
    for key in (("东莞", 99), (None, None), ("", 0), ("3", "3")):
        assert group_index(PLAN, key) == 15


def test_groups_are_shown_ascending_with_other_among_texts_and_after_integers() -> None:
    keys = [group_key(PLAN, group) for group in group_order(PLAN)]
    assert [key[1] for key in keys[:4]] == [-1, 2, 3, OTHER]
    assert [key[0] for key in keys[::4]] == sorted(["南山", "福田", 'O\'Hara "x"', OTHER])


def test_no_group_by_is_one_group() -> None:
    plan = plan_of("SELECT COUNT(*) FROM 用电", policy_of())
    assert (plan.groups, plan.cells, group_key(plan, 0), group_index(plan, [])) == (1, 1, (), 0)


def test_what_is_outside_is_refused() -> None:
    for lane, group, bin_ in ((4, 0, 0), (-1, 0, 0), (0, 16, 0), (0, -1, 0), (0, 0, 1)):
        with pytest.raises(PlanInvalid):
            cell_index(PLAN, lane, group, bin_)
    with pytest.raises(PlanInvalid):
        group_key(PLAN, 16)


def test_sums_are_put_on_the_grid_of_their_lane() -> None:
    cells = cells_from_sums(PLAN, [1] * PLAN.cells)
    assert cells.dtype == np.int64
    for number, lane in enumerate(PLAN.lanes):
        assert set(cells[list(lane_cells(PLAN, number))].tolist()) == {1 << lane.grid_bits}
    assert {lane.grid_bits for lane in PLAN.lanes} != {0}


def test_sums_beyond_the_ceiling_on_rows_are_refused() -> None:
    sums = [0] * PLAN.cells
    sums[0] = PLAN.rows_max
    cells_from_sums(PLAN, sums)
    for index, value in ((0, PLAN.rows_max + 1), (32, -PLAN.rows_max * 2007 - 1)):
        with pytest.raises(CellOutOfRange):
            cells_from_sums(PLAN, [value if cell == index else 0 for cell in range(PLAN.cells)])
    with pytest.raises(CellOutOfRange):
        cells_from_sums(PLAN, sums[1:])


# --- fixed point ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (2.5, 0, 3),
        (-2.5, 0, -2),
        (0.5, 0, 1),
        (-0.5, 0, 0),
        (0.25, 1, 1),
        (-0.25, 1, 0),
        (-0.0, 5, 0),
        (7.0, -1, 4),
        (5.0, -2, 1),
    ],
)
def test_halves_are_rounded_up(value: float, bits: int, expected: int) -> None:
    assert quantise(value, bits) == expected


@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.integers(-8, 20))
def test_rounding_is_monotone_and_within_half_a_unit(first: float, second: float, bits: int) -> None:
    low, high = sorted((first, second))
    assert quantise(low, bits) <= quantise(high, bits)
    assert abs(quantise(low, bits) * 2.0**-bits - low) <= 0.5000001 * 2.0**-bits


@given(st.integers(-(10**6), 10**6), st.integers(2, 10**6), st.integers(1, 64))
def test_bins_are_those_of_the_integer_formula(low: int, width: int, bins: int) -> None:
    grid = Grid(0, low, low + width)
    bins = min(bins, width)
    edges = bin_edges(grid, bins)
    assert (edges[0], edges[-1], len(edges)) == (low, low + width, bins + 1)
    for value in {low, low + width, low + width // 2, *(edge - 1 for edge in edges[1:]), *edges}:
        number = min(bins - 1, (value - low) * bins // width)
        assert edges[number] <= value <= edges[number + 1]
        assert value < edges[number + 1] or number == bins - 1


@given(st.decimals(-1000, 1000, places=2), st.decimals("0.5", 1000, places=2), st.integers(1, 10))
def test_centred_values_are_within_the_half_width(low: Decimal, width: Decimal, bits: int) -> None:
    grid = Grid.of(low, low + width, bits)
    assert max(grid.high - grid.center, grid.center - grid.low) == grid.half_width
    assert 2 * grid.half_width - (grid.high - grid.low) in (0, 1)


# --- sensitivity ------------------------------------------------------------------------------------------------

_SQL = (
    "SELECT COUNT(*), SUM(kwh), VAR(kwh), COUNT(DISTINCT 户号), HISTOGRAM(kwh, 4) AS h, HISTOGRAM(age, 3) AS i"
    " FROM 用电 GROUP BY 城镇"
)
_rows = st.fixed_dictionaries(
    {
        "城镇": st.sampled_from(["南山", "福田", "x", None]),
        "kwh": st.none()
        | st.sampled_from([-1e308, -2.75, 0.125, 498.9, 1000.5, 1e308, math.nan])
        | st.floats(),
        "age": st.integers(-10, 200),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_rows, max_size=4), st.lists(_rows, min_size=1, max_size=3))
def test_one_unit_moves_no_lane_by_more_than_its_sensitivity(others: list[Row], unit: list[Row]) -> None:
    plan = plan_of(_SQL, policy_of(privacy_unit=unit_of(rows_per_unit=3)))
    before = [{**row, "户号": f"u{number}"} for number, row in enumerate(others)]
    after = before + [{**row, "户号": "me"} for row in unit]
    difference = [b - a for a, b in zip(sums_of(plan, before), sums_of(plan, after), strict=True)]
    for number, lane in enumerate(plan.lanes):
        assert sum(difference[cell] ** 2 for cell in lane_cells(plan, number)) <= lane.delta_squared


@pytest.mark.parametrize(
    ("rows_per_unit", "disjoint", "holders"), [(1, True, 3), (3, True, 3), (3, False, 3), (2, False, 1)]
)
def test_the_worst_unit_reaches_the_sensitivity(rows_per_unit: int, disjoint: bool, holders: int) -> None:
    """All m rows at one end of the interval, in one cell, at each holder that the unit can be at."""
    policy = policy_of(privacy_unit=unit_of(rows_per_unit=rows_per_unit, disjoint=disjoint))
    sql = _SQL.replace("COUNT(DISTINCT 户号), ", "") if holders > 1 and not disjoint else _SQL
    plan = plan_of(sql, policy, holders=holders)
    present = 1 if disjoint else holders
    assert plan.unit.holders == present
    row: dict[str, Any] = {"户号": "me", "城镇": "南山", "kwh": 1e9, "age": 1}
    sums = sums_of(plan, [row] * rows_per_unit)
    for number, lane in enumerate(plan.lanes):
        norm = present**2 * sum(sums[cell] ** 2 for cell in lane_cells(plan, number))
        if lane.kind is not LaneKind.DISTINCT:
            assert norm == lane.delta_squared


def test_a_distinct_count_moves_by_the_root_of_the_fewer_of_rows_and_groups() -> None:
    for rows, expected in ((1, 1), (3, 3), (4, 4), (100, 4)):
        policy = policy_of(privacy_unit=unit_of(rows_per_unit=rows))
        lanes = plan_of("SELECT COUNT(DISTINCT 户号) FROM 用电 GROUP BY 城镇", policy).lanes
        assert [lane.delta_squared for lane in lanes] == [expected]


def test_factors_of_squares_are_as_fine_as_the_ring_allows() -> None:
    for rows_max in (10, 10_000, 10**7, 2**40):
        plan = plan_of(
            "SELECT VAR(kwh) FROM 用电", policy_of(rows_max=rows_max, privacy_unit=unit_of(rows_per_unit=1))
        )
        lane = plan.lanes[2]
        assert lane.kind is LaneKind.SQUARE
        assert 3 * rows_max * lane.half_width**2 < 2**61
        finer = Grid.of(Decimal("-2.75"), Decimal("1000.5"), lane.scale_bits + 1)
        assert 3 * rows_max * finer.half_width**2 >= 2**61 or finer.high > 2**50 or rows_max == 10


def test_factors_of_wide_intervals_have_a_negative_scale() -> None:
    columns = {"x": {"type": "integer", "low": 0, "high": 10**9}}
    lane = plan_of("SELECT VAR(x) FROM 用电", policy_of(columns=columns, rows_max=2**20)).lanes[2]
    assert (lane.kind, lane.scale_bits) == (LaneKind.SQUARE, -10)
    assert lane.high is not None
    assert lane.half_width == quantise(float(lane.high), -10) - lane.center
