import hashlib
import math
import statistics
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.answer import AnswerTable, decode_answer
from privacy.encoding import canonical_json
from privacy.errors import AnswerInvalid
from privacy.estimates import Z_ONE, Z_THREE, Z_TWO, root
from privacy.expected import expected_error95
from privacy.lanes import Lane, LaneKey, LaneKind, count_key, find_lane
from privacy.layout import cell_index, cells_from_sums
from privacy.plan import Plan
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import Row, params_of, plan_of, policy_of, sums_of, unit_of

ONE_ROW = policy_of(privacy_unit=unit_of(rows_per_unit=1, proved=True))


def exact_cells(plan: Plan, rows: list[Row]) -> list[int]:
    """The cells without noise."""
    return [int(cell) for cell in cells_from_sums(plan, sums_of(plan, rows))]


def noisy_cells(plan: Plan, rows: list[Row], survivors: int) -> list[int]:
    """The cells of a sum over some holders."""
    total = cells_from_sums(plan, sums_of(plan, rows))
    for _ in range(survivors):
        total = total + fresh_noise(plan, params_of(plan))
    return [int(cell) for cell in total]


def answer(plan: Plan, cells: list[int], survivors: int | None = None) -> AnswerTable:
    return decode_answer(plan, params_of(plan), plan.holders if survivors is None else survivors, cells)


def rows_of(count: int, town: str = "南山") -> list[Row]:
    """Deterministic rows that clipping does not change."""
    rows = []
    for number in range(count):
        seed = hashlib.sha256(number.to_bytes(4, "big")).digest()
        rows.append(
            {
                "户号": f"u{number}",
                "城镇": town,
                "Grade": seed[0] % 4 - 1,
                "kwh": seed[1] * 3 + 0.25,
                "age": seed[2] % 121,
            }
        )
    return rows


# --- the table --------------------------------------------------------------------------------------------------


def test_every_group_has_a_row_ascending_by_key() -> None:
    plan = plan_of("SELECT COUNT(*) AS n, grade, 城镇 FROM 用电 GROUP BY 城镇, grade", ONE_ROW)
    table = answer(plan, [0] * plan.cells)
    assert table.columns == ("n", "Grade", "城镇")
    towns = sorted(["南山", "福田", 'O\'Hara "x"', "other"])
    assert [row[1:] for row in table.rows] == [
        (grade, town) for town in towns for grade in (-1, 2, 3, "other")
    ]
    assert all(row[0] == 0 and isinstance(row[0], int) for row in table.rows)
    assert {error[1:] for error in table.error95} == {(None, None)}
    assert len(table.error95) == len(table.rows) == plan.groups


def test_without_noise_the_table_is_that_of_plain_statistics() -> None:
    plan = plan_of(
        "SELECT 城镇, COUNT(*), COUNT(DISTINCT 户号), SUM(kwh), AVG(kwh), SUM(age), AVG(age), VAR_SAMP(age), VAR_POP(kwh),"
        " STDDEV_SAMP(kwh), STDDEV_POP(age) FROM 用电 GROUP BY 城镇",
        ONE_ROW,
    )
    rows = rows_of(4000)
    kwh, age = [row["kwh"] for row in rows], [row["age"] for row in rows]
    table = answer(plan, exact_cells(plan, rows))
    (found,) = [row for row in table.rows if row[0] == "南山"]
    assert found[1:3] == (4000, 4000)
    expected = [
        sum(kwh),
        statistics.mean(kwh),
        sum(age),
        statistics.mean(age),
        statistics.variance(age),
        statistics.pvariance(kwh),
        statistics.stdev(kwh),
        statistics.pstdev(age),
    ]
    assert found[3:] == pytest.approx(expected, rel=1e-4)
    assert found[5] == sum(age)
    empty = next(row for row in table.rows if row[0] == "福田")
    assert empty[1:3] == (0, 0)
    assert empty[4] is empty[6] is empty[7] is empty[8] is empty[9] is empty[10] is None


def test_a_value_is_null_where_the_count_is_within_its_error() -> None:
    plan = plan_of(
        "SELECT COUNT(*) AS n, AVG(age) AS a, VAR(age) AS v, STDDEV_POP(age) AS s, SUM(age) AS t FROM 用电",
        ONE_ROW,
    )
    lane = plan.lanes[0]
    bound = math.ceil((root(Z_TWO**2 * 3 * lane.share(plan.divisor)) + Fraction(1, 2)) * lane.unit)
    few, enough = (answer(plan, exact_cells(plan, rows_of(n))) for n in (bound - 1, bound))
    assert few.rows[0][1] is None
    assert few.error95[0][1] is None
    assert enough.rows[0][1] is not None
    assert few.rows[0][2] is few.rows[0][3] is None
    assert few.rows[0][4] is not None


def test_a_histogram_has_a_column_for_each_bin() -> None:
    plan = plan_of("SELECT HISTOGRAM(age, 7) AS h, HISTOGRAM(kwh, 3) AS k FROM 用电", ONE_ROW)
    rows = [
        {**row, "kwh": value}
        for row, value in zip(rows_of(5), (-50.0, -2.75, 331.5, 1000.5, math.nan), strict=True)
    ]
    table = answer(plan, exact_cells(plan, rows))
    assert table.columns[:2] == ("h[0,18)", "h[18,35)")
    assert table.columns[6:] == ("h[103,120]", "k[-2.75,331.75)", "k[331.75,666.25)", "k[666.25,1000.5]")
    assert table.rows[0][7:] == (3, 0, 1)
    assert sum(int(value or 0) for value in table.rows[0][:7]) == 5


def test_receipt_form_has_decimal_strings_for_integers_and_is_canonical() -> None:
    plan = plan_of("SELECT grade, COUNT(*), AVG(age) FROM 用电 GROUP BY grade", ONE_ROW)
    value = answer(plan, exact_cells(plan, rows_of(1000))).to_json()
    assert value["rows"][0][0] == "-1"
    assert isinstance(value["rows"][0][1], str)
    assert isinstance(value["rows"][0][2], float)
    assert value["rows"][2] == ["3", "0", None]
    assert value["rows"][3][0] == "other"
    assert canonical_json(value)


def test_numbers_that_cannot_belong_to_the_plan_are_refused() -> None:
    plan = plan_of("SELECT COUNT(*) FROM 用电 GROUP BY 城镇", ONE_ROW)
    for cells in (
        [0] * (plan.cells - 1),
        [2**62] + [0] * (plan.cells - 1),
        [-(2**62)] + [0] * (plan.cells - 1),
    ):
        with pytest.raises(AnswerInvalid):
            answer(plan, cells)
    for survivors in (0, 1, 4):
        with pytest.raises(AnswerInvalid, match="survivors"):
            answer(plan, [0] * plan.cells, survivors)


# --- errors, by hand --------------------------------------------------------------------------------------------


def _deviation(plan: Plan, kind: LaneKind, column: str | None, survivors: int) -> tuple[float, Lane]:
    key = count_key((column,)) if kind is LaneKind.COUNT_OF and column else LaneKey(kind, column)
    lane = plan.lanes[find_lane(plan.lanes, key)]
    sigma_squared = lane.delta_squared / (2 * lane.rho_micro / 1e6)  # in the lane's integers
    return math.sqrt(survivors / plan.divisor * sigma_squared) * 2.0**-lane.value_bits, lane


@pytest.mark.parametrize("survivors", [2, 3])
def test_errors_follow_the_formulas_and_the_number_of_survivors(survivors: int) -> None:
    plan = plan_of("SELECT COUNT(*), SUM(age), AVG(age) FROM 用电", ONE_ROW, rho_micro=200_000)
    rows = rows_of(700)
    table = answer(plan, exact_cells(plan, rows), survivors)
    of_count, count = _deviation(plan, LaneKind.COUNT, None, survivors)
    of_sum, total = _deviation(plan, LaneKind.SUM, "age", survivors)
    half_count, half_sum = float(count.unit) / 2, float(total.unit) / 2
    a, b = 2.241403 * of_sum + half_sum, 2.241403 * of_count + half_count
    centred = sum(row["age"] for row in rows) / 700 - 60
    assert table.error95[0] == pytest.approx(
        (1.959964 * of_count + half_count + 0.5, math.hypot(a, 60 * b), (a + abs(centred) * b) / (700 - b)),
        rel=1e-9,
    )


def test_fewer_survivors_have_less_noise() -> None:
    plan = plan_of("SELECT COUNT(*), SUM(kwh), AVG(kwh), STDDEV(kwh) FROM 用电", ONE_ROW)
    cells = exact_cells(plan, rows_of(5000))
    two, three = answer(plan, cells, 2).error95[0], answer(plan, cells, 3).error95[0]
    assert all(
        less is not None and more is not None and less < more for less, more in zip(two, three, strict=True)
    )


def test_rounding_of_values_is_in_the_error_of_numbers_but_not_of_integers() -> None:
    coarse = {
        "x": {"type": "number", "low": 0, "high": 100, "scale_bits": -3},
        "y": {"type": "integer", "low": 0, "high": 100},
    }
    plan = plan_of("SELECT AVG(x), AVG(y) FROM 用电", policy_of(columns=coarse))
    rows = [{"x": 3.99, "y": 3} for _ in range(9000)]
    table = answer(plan, exact_cells(plan, rows))
    assert table.rows[0] == (0.0, 3.0)
    assert table.error95[0][0] is not None
    assert table.error95[0][0] > 4
    assert table.error95[0][1] is not None
    assert table.error95[0][1] < 1


def test_the_constants_are_the_quantiles_they_stand_for() -> None:
    for z, tails in ((Z_ONE, 0.05), (Z_TWO, 0.025), (Z_THREE, 0.05 / 3)):
        assert math.erfc(float(z) / math.sqrt(2)) == pytest.approx(tails, abs=1e-7)


@given(
    st.fractions(min_value=0, max_value=10**30)
    | st.builds(Fraction, st.integers(1, 9), st.integers(1, 10**60))
)
def test_roots_are_rounded_up_and_close(value: Fraction) -> None:
    found = root(value)
    assert found**2 >= value
    assert value == 0 or float(found**2 / value - 1) < 1e-9
    assert root(-value) == 0


# --- errors, by trial -------------------------------------------------------------------------------------------


def _truths(rows: list[Row]) -> list[float]:
    kwh, age = [row["kwh"] for row in rows], [row["age"] for row in rows]
    return [
        len(rows),
        len({row["户号"] for row in rows}),
        sum(kwh),
        sum(age),
        statistics.mean(kwh),
        statistics.mean(age),
        statistics.variance(kwh),
        statistics.pstdev(age),
        sum(1 for value in age if value < 60),
    ]


@pytest.mark.parametrize(
    ("holders", "survivors", "rho_micro"), [(1, 1, 1_000_000), (3, 2, 300_000), (10, 10, 1_000_000)]
)
def test_errors_hold_for_at_least_95_percent_of_draws(holders: int, survivors: int, rho_micro: int) -> None:
    """Of 800 independent cells a column, each within its error with probability ≥ 0.95, fewer than 704 (88 %) are
    with probability below exp(−800·KL(0.88‖0.95)) < 1e-12."""
    towns: list[Any] = [f"t{number}" for number in range(800)]
    columns = {**_COLUMNS, "城镇": {"type": "text", "domain": towns}}
    policy = policy_of(columns=columns, privacy_unit=unit_of(rows_per_unit=1, proved=True))
    plan = plan_of(
        "SELECT 城镇, COUNT(*), COUNT(DISTINCT 户号), SUM(kwh), SUM(age), AVG(kwh), AVG(age), VAR(kwh), STDDEV_POP(age),"
        " HISTOGRAM(age, 2) AS h FROM 用电 GROUP BY 城镇",
        policy,
        holders=holders,
        rho_micro=rho_micro,
    )
    rows = rows_of(150)
    one = exact_cells(plan, [{**row, "城镇": "t0"} for row in rows])
    cells = np.zeros(plan.cells, dtype=np.int64)
    for number, lane in enumerate(plan.lanes):
        for bin_ in range(lane.bins):
            start = cell_index(plan, number, 0, bin_)
            cells[start : start + len(towns)] = one[start]
    for _ in range(survivors):
        cells = cells + fresh_noise(plan, params_of(plan))
    table = answer(plan, [int(cell) for cell in cells], survivors)
    truths = _truths(rows)
    for column, truth in enumerate(truths, start=1):
        pairs = [
            (row[column], error[column])
            for row, error in zip(table.rows, table.error95, strict=True)
            if row[0] != "other"
        ]
        inside = [abs(float(value or 0) - truth) <= error for value, error in pairs if error is not None]
        assert sum(inside) >= 0.88 * len(inside), table.columns[column]


_COLUMNS: dict[str, Any] = {
    "kwh": {"type": "number", "low": "-2.75", "high": "1000.5", "scale_bits": 2},
    "age": {"type": "integer", "low": 0, "high": 120, "nullable": False},
}


def test_error_of_a_sum_is_not_far_from_what_the_noise_is() -> None:
    """A bound that always holds is worth nothing if it is ten times too wide: here it is below 2 deviations · 1.3."""
    plan = plan_of("SELECT SUM(age) FROM 用电", ONE_ROW)
    of_count, _ = _deviation(plan, LaneKind.COUNT, None, 3)
    of_sum, _ = _deviation(plan, LaneKind.SUM, "age", 3)
    error = answer(plan, exact_cells(plan, rows_of(100))).error95[0][0]
    assert error is not None
    assert error < 2.6 * math.hypot(of_sum, 60 * of_count)


# --- what a quote says ------------------------------------------------------------------------------------------


def test_a_quote_states_the_error_of_every_column() -> None:
    plan = plan_of(
        "SELECT 城镇, COUNT(*) AS n, SUM(age) AS s, SUM(kwh) AS k, AVG(age) AS a, STDDEV(age) AS d, HISTOGRAM(age, 2) AS h"
        " FROM 用电 GROUP BY 城镇",
        ONE_ROW,
    )
    quoted = {each.column: each for each in expected_error95(plan, params_of(plan))}
    assert tuple(quoted) == plan.columns
    assert (quoted["城镇"].error95, quoted["城镇"].rows) == (None, None)
    found = answer(plan, exact_cells(plan, rows_of(1000)))
    town = [row[0] for row in found.rows].index("南山")
    true = dict(zip(found.columns, found.error95[town], strict=True))
    for name in ("n", "s", "h[0,60)", "h[60,120]"):
        assert (quoted[name].error95, quoted[name].rows) == (true[name], None)
    for name in ("a", "d", "k"):
        assert quoted[name].rows == 1000
    assert 0.5 < (quoted["a"].error95 or 0) / (true["a"] or 1) < 2
    for name in ("a", "d", "k"):
        assert (quoted[name].error95 or 0) >= (true[name] or math.inf)
    shown = {"column": "d", "error95": quoted["d"].error95, "rows": "1000", "assumption": "any"}
    assert quoted["d"].to_json() == {**shown, "error95_bunched": None}


def test_more_rho_means_a_smaller_error() -> None:
    errors = []
    for rho_micro in (10_000, 100_000, 1_000_000):
        plan = plan_of("SELECT COUNT(*), SUM(kwh), AVG(kwh) FROM 用电", ONE_ROW, rho_micro=rho_micro)
        errors.append([each.error95 or math.inf for each in expected_error95(plan, params_of(plan))])
    for more, less in pairwise(errors):
        assert all(big > small for big, small in zip(more, less, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**61), 2**61), min_size=12, max_size=12))
def test_any_cells_give_a_table_of_finite_numbers(cells: list[int]) -> None:
    sql = "SELECT COUNT(*), SUM(kwh), AVG(kwh), VAR(kwh), STDDEV(kwh) FROM 用电 GROUP BY 城镇"
    plan = plan_of(sql, policy_of(columns={**_COLUMNS, "城镇": {"type": "text", "domain": ["a", "b"]}}))
    assert plan.cells == 12
    table = answer(plan, cells)
    for row, errors in zip(table.rows, table.error95, strict=True):
        for value, error in zip(row, errors, strict=True):
            assert (value is None) == (error is None)
            assert (
                value is None
                or error is None
                or (math.isfinite(float(value)) and math.isfinite(error) and error > 0)
            )


def test_a_quote_for_hundreds_of_histograms_does_not_take_hours() -> None:
    names = [f"m{number}" for number in range(8)]
    measure = {"type": "integer", "role": "measure", "low": 0, "high": 4096, "nullable": False}
    policy = policy_of(
        columns=dict.fromkeys(names, measure),
        aggregates=["histogram"],
        privacy_unit=unit_of(column=None, rows_per_unit=1),
        row_key=[],
    )
    asked = ", ".join(
        f"HISTOGRAM({name}, {bins}) AS {name}_{bins}" for name in names for bins in range(2, 41)
    )
    plan = plan_of(f'SELECT {asked} FROM "{policy.listing}"', policy)
    found = expected_error95(plan, params_of(plan))
    assert len(plan.lanes) == 312 and [each.column for each in found] == list(plan.columns)
