"""The error that a quote states for an aggregate with a bound is never below the one that the answer states."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.estimates import Z_THREE, Z_TWO, Noisy
from privacy.expected import MEANING, Assumption, expected_error95
from privacy.layout import cells_from_sums, lane_cells
from privacy.moments import Z_OF_CELLS
from privacy.plan import Plan
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import example as example_policy
from tests.privacy.plan_world import params_of, plan_of, sums_of, table_policy

BOUNDS = {"x": (0.0, 100.0), "y": (-50.0, 250.0), "z": (0, 20), "v": (-100.0, 100.0)}
BOUNDED = {
    "SUM(x)": Z_TWO,
    "SUM(z)": Z_TWO,
    "AVG(y)": Z_TWO,
    "AVG(z)": Z_TWO,
    "VAR(x)": Z_THREE,
    "VAR_POP(z)": Z_THREE,
    "STDDEV(y)": Z_THREE,
    "STDDEV_POP(v)": Z_THREE,
    "COVAR(x, y)": Z_OF_CELLS[4],
    "COVAR_POP(v, z)": Z_OF_CELLS[4],
}
SIGNS = (-1, 0, 1)
ENDS = [((0.0, 0.0), 500), ((1.0, 1.0), 500)]
ONE_END = [((0.0, 0.0), 1000)]


@cache
def plan_for(aggregate: str, rho_micro: int) -> Plan:
    return plan_of(f"SELECT {aggregate} AS value FROM 用电", table_policy(), rho_micro=rho_micro)


def row_at(first: float, second: float) -> dict[str, Any]:
    """A row whose values are at some part of their bounds: x and v at the first, y and z at the second."""
    parts = {"x": first, "v": first, "y": second, "z": second}
    row: dict[str, Any] = {"a": "p", "b": "u", "f": 1}
    for name, (low, high) in BOUNDS.items():
        value = low + parts[name] * (high - low)
        row[name] = round(value) if name == "z" else value
    return row


def cells_of(plan: Plan, points: Sequence[tuple[tuple[float, float], int]]) -> list[int]:
    """The cells of a table with some rows at each of some points, without noise."""
    sums = np.zeros(plan.cells, dtype=object)
    for place, count in points:
        sums += count * np.array(sums_of(plan, [row_at(*place)]), dtype=object)
    return [int(cell) for cell in cells_from_sums(plan, sums.tolist())]


def shifted(plan: Plan, cells: list[int], signs: Sequence[int], z: Fraction) -> list[int]:
    """The cells with the largest noise that the answer's errors allow for, up, down or none in each lane."""
    found = list(cells)
    for number, (lane, sign) in enumerate(zip(plan.lanes, signs, strict=False)):
        variance = params_of(plan).holders * lane.share(params_of(plan).divisor)
        margin = math.floor(Noisy(lane, Fraction(0), variance).error(z) / lane.unit)
        for place in lane_cells(plan, number):
            found[place] += sign * margin
    return found


def answered(plan: Plan, cells: list[int]) -> float | None:
    """The error that the answer states."""
    return decode_answer(plan, params_of(plan), plan.holders, cells).error95[0][0]


def quoted(plan: Plan, rows: int) -> float | None:
    """The error that the quote states."""
    [stated] = expected_error95(plan, params_of(plan), rows=rows)
    assert stated.assumption is Assumption.ANY
    return stated.error95


_parts = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)


@pytest.mark.parametrize("aggregate", BOUNDED)
@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.tuples(_parts, _parts), st.integers(100, 1000)), min_size=1, max_size=3),
    signs=st.lists(st.sampled_from(SIGNS), min_size=4, max_size=4),
    rho_micro=st.sampled_from([20_000, 200_000, 20_000_000]),
)
@example(points=ENDS, signs=[-1, 1, 1, 1], rho_micro=200_000)
@example(points=ONE_END, signs=[-1, -1, 1, 1], rho_micro=200_000)
@example(points=ONE_END, signs=[1, 1, 1, 1], rho_micro=20_000)
def test_no_answer_states_a_larger_error_than_its_quote(
    aggregate: str, points: list[tuple[tuple[float, float], int]], signs: list[int], rho_micro: int
) -> None:
    """Over every spread of values within the bounds, and all noise within the bounds that the answer's error rests on."""
    plan = plan_for(aggregate, rho_micro)
    stated = quoted(plan, sum(count for _, count in points))
    error = answered(plan, shifted(plan, cells_of(plan, points), signs, BOUNDED[aggregate]))
    if stated is not None:
        assert error is not None
        assert error <= stated


@pytest.mark.parametrize("aggregate", [each for each in BOUNDED if not each.startswith("SUM")])
@pytest.mark.parametrize("points", [ENDS, ONE_END], ids=["both ends", "one end"])
def test_the_bound_holds_for_every_larger_group_too(
    aggregate: str, points: list[tuple[tuple[float, float], int]]
) -> None:
    plan = plan_for(aggregate, 200_000)
    stated = quoted(plan, 1000) or 0
    for times in (1, 3, 10):
        larger = [(place, times * count) for place, count in points]
        assert (answered(plan, cells_of(plan, larger)) or math.inf) <= stated


@pytest.mark.parametrize("aggregate", BOUNDED)
def test_the_bound_is_no_more_than_twice_what_the_worst_table_has(aggregate: str) -> None:
    plan = plan_for(aggregate, 20_000_000)
    tables = [ENDS, *([((x, y), 1000)] for x in (0.0, 1.0) for y in (0.0, 1.0))]
    worst = max(answered(plan, cells_of(plan, table)) or math.inf for table in tables)
    assert 1 <= (quoted(plan, 1000) or 0) / worst < 2


@pytest.mark.parametrize("aggregate", BOUNDED)
def test_with_noise_as_it_is_drawn_the_bound_holds_in_95_percent(aggregate: str) -> None:
    plan = plan_for(aggregate, 200_000)
    stated, cells = quoted(plan, 1000) or 0, np.array(cells_of(plan, ONE_END), dtype=np.int64)
    held = 0
    for _ in range(200):
        drawn = cells + sum(fresh_noise(plan, params_of(plan)) for _ in range(plan.holders))
        held += (answered(plan, [int(cell) for cell in drawn]) or math.inf) <= stated
    assert held >= 178  # of 200 at 95 %, four deviations below


def test_a_deviation_of_rows_that_are_alike_is_quoted_with_the_error_it_has() -> None:
    """Half of the rows at each end, which was stated once, has a tenth of the error of rows that are all alike."""
    plan = plan_for("STDDEV(y)", 20_000_000)
    halves, alike = (answered(plan, cells_of(plan, table)) or 0 for table in (ENDS, ONE_END))
    assert halves < alike / 10
    assert alike <= (quoted(plan, 1000) or 0)


def test_where_a_count_may_be_within_its_error_no_error_is_stated() -> None:
    plan = plan_for("STDDEV(y)", 2000)
    assert quoted(plan, 50) is None
    assert quoted(plan, 100_000) is not None


def test_larger_groups_are_quoted_smaller_errors() -> None:
    for aggregate in BOUNDED:
        plan = plan_for(aggregate, 200_000)
        few, many = quoted(plan, 1000) or math.inf, quoted(plan, 100_000) or math.inf
        assert few < many if aggregate == "SUM(x)" else many <= few


def test_each_column_names_what_its_error_assumes() -> None:
    """COUNT and SUM of integers rest on nothing, bounds on the declared interval, the rest on values spread evenly."""
    sql = (
        "SELECT a, COUNT(*) AS n, SUM(z) AS s, AVG(x) AS m, STDDEV(x) AS d, COVAR(x, y) AS c, CORR(x, y) AS r,"
        " QUANTILE(x, 0.5) AS q, LINREG(y, x) AS l, CHI2(b, f) AS t, HISTOGRAM(z, 2) AS h FROM 用电 GROUP BY a"
    )
    plan = plan_of(sql, table_policy(), rho_micro=20_000_000)
    found = expected_error95(plan, params_of(plan))
    assert tuple(each.column for each in found) == plan.columns
    by_name = {each.column.split("[")[0]: (each.assumption, each.rows) for each in found}
    free, bound, spread = (Assumption.ANY, None), (Assumption.ANY, 1000), (Assumption.SPREAD, 1000)
    assert by_name == {
        "a": (None, None),
        **dict.fromkeys("nsh", free),
        **dict.fromkeys("mdc", bound),
        **dict.fromkeys("rqlt", spread),
    }
    assert set(MEANING) == set(Assumption)
    assert found[3].to_json() == {
        "column": "m",
        "error95": found[3].error95,
        "rows": "1000",
        "assumption": "any",
        "error95_bunched": None,
    }
    assert all((each.bunched95 is None) or each.assumption is Assumption.SPREAD for each in found)


def test_bunched_values_are_quoted_a_larger_error_or_none() -> None:
    """A correlation, regression, median or test over the lowest tenth of the bounds: what an even spread does not show."""
    sql = "SELECT CORR(x, y) AS r, LINREG(y, x) AS l, QUANTILE(x, 0.5) AS q, CHI2(a, b) AS t FROM 用电"
    plan = plan_of(sql, table_policy(), rho_micro=20_000_000)
    few, many = (expected_error95(plan, params_of(plan), rows=rows) for rows in (1000, 1_000_000))
    assert [each.bunched95 is None for each in few[:5]] == [True] * 5
    for each in many:
        assert each.error95 is not None and each.bunched95 is not None
        if each.column.startswith(("r", "l")):
            assert each.bunched95 > 5 * each.error95


def test_what_is_quoted_for_bunched_values_is_what_they_are_answered_with() -> None:
    sql = "SELECT CORR(x, y) AS r, LINREG(y, x) AS l FROM 用电"
    plan = plan_of(sql, table_policy(rows_max=10_000_000), rho_micro=20_000_000)
    points = [((k / 100 + 0.005, j / 100 + 0.005), 10_000) for k in range(10) for j in range(10)]
    cells = cells_of(plan, points)
    errors = decode_answer(plan, params_of(plan), plan.holders, cells).error95[0]
    stated = expected_error95(plan, params_of(plan), rows=1_000_000)
    for each, error in zip(stated, errors, strict=True):
        assert each.bunched95 == pytest.approx(error, rel=0.05), each.column


def test_over_the_demos_columns_no_stddev_is_answered_with_more_than_was_quoted() -> None:
    """Enterprises' use of electricity is bunched at the lower end: the case in which quotes were a tenth of the truth."""
    sql = "SELECT AVG(kwh) AS m, STDDEV(kwh) AS d, VAR(kwh) AS w, COVAR(kwh, peak_kwh) AS c FROM electricity"
    plan = plan_of(sql, example_policy("electricity"), rho_micro=500_000)
    rows = 10_000
    values = [(float(9000 + 90 * (k % 97)), float(3000 + 31 * (k % 89))) for k in range(200)]
    table = [{"kwh": kwh, "peak_kwh": peak, "employees": 9} for kwh, peak in values]
    sums = [rows // len(table) * each for each in sums_of(plan, table)]
    errors = decode_answer(
        plan, params_of(plan), plan.holders, [int(cell) for cell in cells_from_sums(plan, sums)]
    ).error95[0]
    for each, error in zip(expected_error95(plan, params_of(plan), rows=rows), errors, strict=True):
        assert each.error95 is not None and error is not None
        assert error <= each.error95
