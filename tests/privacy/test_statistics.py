"""Quantiles, covariances, correlations, regressions and tests of independence against pandas and numpy."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from privacy.answer import AnswerTable, decode_answer
from privacy.expected import Assumption, expected_error95
from privacy.layout import cell_index, cells_from_sums
from privacy.plan import Plan
from privacy.policy import Policy
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import Row, params_of, plan_of, sums_of, table_policy, table_rows

COLUMNS = "QUANTILE(x, 0.9) AS q, COVAR(x, y) AS c, COVAR_POP(v, x) AS d, CORR(x, y) AS r, CORR(v, z) AS s"
COPIES = 150


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    return frame.astype(dict.fromkeys(("x", "y", "z", "v"), "float64"))


def answer(plan: Plan, cells: Sequence[int] | NDArray[np.int64]) -> AnswerTable:
    return decode_answer(plan, params_of(plan), plan.holders, [int(cell) for cell in cells])


def exact(plan: Plan, rows: Sequence[Row]) -> NDArray[np.int64]:
    return cells_from_sums(plan, sums_of(plan, rows))


def noisy(plan: Plan, cells: NDArray[np.int64]) -> NDArray[np.int64]:
    for _ in range(plan.holders):
        cells = cells + fresh_noise(plan, params_of(plan))
    return cells


def least_squares(frame: pd.DataFrame, names: list[str]) -> list[float]:
    """Coefficients and standard errors by numpy, of the rows where all is known."""
    known = frame[names].dropna()
    left = np.column_stack([np.ones(len(known)), known[names[1:]].to_numpy()])
    right = known[names[0]].to_numpy()
    beta = np.linalg.lstsq(left, right, rcond=None)[0]
    rest = right - left @ beta
    spread = rest @ rest / (len(known) - left.shape[1]) * np.linalg.inv(left.T @ left)
    return [*map(float, beta), *map(float, np.sqrt(np.diag(spread)))]


def pearson(table: NDArray[Any]) -> float:
    total = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / total
    return float(((table - expected) ** 2 / expected).sum())


def truths_of(rows: Sequence[Row]) -> list[float]:
    frame = frame_of(rows)
    both = frame[["v", "x"]].dropna()
    return [
        float(frame.x.quantile(0.9)),
        frame.x.cov(frame.y),
        float(((both.v - both.v.mean()) * (both.x - both.x.mean())).mean()),
        frame.x.corr(frame.y),
        frame.v.corr(frame.z),
    ]


# --- without noise ----------------------------------------------------------------------------------------------


def test_without_noise_they_are_those_of_pandas_and_numpy() -> None:
    rows = table_rows(6000, 1)
    plan = plan_of(f"SELECT {COLUMNS} FROM 用电", table_policy(), rho_micro=20_000_000)
    table = answer(plan, exact(plan, rows))
    truths = truths_of(rows)
    assert table.rows[0][1:] == pytest.approx(truths[1:], rel=2e-3, abs=2e-3)
    for value, truth, error in zip(table.rows[0], truths, table.error95[0], strict=True):
        assert abs(float(value or 0) - truth) <= float(error or 0)


@pytest.mark.parametrize(
    "names", [["y", "x"], ["y", "x", "z"], ["v", "z", "y", "x"], ["x", "y", "z", "v"]], ids=len
)
def test_a_regression_without_noise_is_least_squares(names: list[str]) -> None:
    rows = table_rows(6000, 2)
    plan = plan_of(f"SELECT LINREG({', '.join(names)}) AS l FROM 用电", table_policy(), rho_micro=20_000_000)
    table = answer(plan, exact(plan, rows))
    terms = ["intercept", *names[1:]]
    assert table.columns == (*(f"l[{term}]" for term in terms), *(f"l[se {term}]" for term in terms))
    assert table.rows[0] == pytest.approx(least_squares(frame_of(rows), names), rel=5e-3, abs=5e-3)


def test_a_test_of_independence_is_pearsons_on_the_declared_values() -> None:
    rows = table_rows(5000, 3)
    rows += [{**row, "a": other} for row, other in zip(rows[:300], ["z", None] * 150, strict=True)]
    plan = plan_of("SELECT CHI2(a, b) AS t, CHI2(a, f) AS i FROM 用电", table_policy(), rho_micro=20_000_000)
    table = answer(plan, exact(plan, rows))
    assert table.columns == ("t[statistic]", "t[df]", "t[p]", "i[statistic]", "i[df]", "i[p]")
    frame = frame_of(rows)
    for place, other in enumerate("bf"):
        truth = pearson(pd.crosstab(frame.a, frame[other]).drop("z").to_numpy())
        statistic, freedom, p = table.rows[0][3 * place : 3 * place + 3]
        assert statistic == pytest.approx(truth, abs=0.05)
        assert (freedom, isinstance(freedom, int)) == (2, True)
        assert p == pytest.approx(math.exp(-truth / 2), abs=0.02)


def test_a_quantile_lies_with_every_definition_within_its_bins() -> None:
    rows = table_rows(999, 4)
    values = frame_of(rows).x.dropna()
    for text in ("0.01", "0.25", "0.5", "0.75", "0.999"):
        plan = plan_of(f"SELECT QUANTILE(x, {text}, 20) AS q FROM 用电", table_policy(), rho_micro=20_000_000)
        table = answer(plan, exact(plan, rows))
        value, error = float(table.rows[0][0] or 0), float(table.error95[0][0] or 0)
        for interpolation in ("linear", "lower", "higher", "midpoint", "nearest"):
            truth = float(values.quantile(float(text), interpolation=interpolation))
            assert abs(value - truth) <= error
        assert error < 25


def test_too_few_rows_have_no_statistics() -> None:
    sql = f"SELECT {COLUMNS}, LINREG(y, x) AS l, CHI2(a, b) AS t FROM 用电"
    plan = plan_of(sql, table_policy(), rho_micro=20_000)
    table = answer(plan, exact(plan, table_rows(20, 5)))
    assert set(table.rows[0]) == set(table.error95[0]) == {None}


def test_predictors_that_are_one_another_have_no_coefficients() -> None:
    rows = [{**row, "v": row["y"] / 3} for row in table_rows(3000, 6, missing=False)]
    plan = plan_of("SELECT LINREG(x, y, v) AS l FROM 用电", table_policy(), rho_micro=20_000_000)
    table = answer(plan, noisy(plan, exact(plan, rows)))
    assert set(table.rows[0]) == {None}


# --- with noise -------------------------------------------------------------------------------------------------


def copies_policy(**changes: Any) -> Policy:
    """The same rows in each of many groups: one draw of noise is many trials."""
    columns = dict(table_policy().to_json()["columns"][0:0])
    for column in table_policy().columns:
        columns[column.name] = {k: v for k, v in column.to_json().items() if k != "name"}
    columns["g"] = {"type": "text", "domain": [f"g{number}" for number in range(COPIES)]}
    return table_policy(columns=columns, **changes)


def copied(plan: Plan, rows: Sequence[Row]) -> NDArray[np.int64]:
    one = exact(plan, [{**row, "g": "g0"} for row in rows])
    cells = np.zeros(plan.cells, dtype=np.int64)
    for number, lane in enumerate(plan.lanes):
        for bin_ in range(lane.bins):
            start = cell_index(plan, number, 0, bin_)
            cells[start : start + COPIES] = one[start]
    return cells


def covered(table: AnswerTable, truths: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Of each column, the part of the values within their errors, and the mean error over the values' deviation."""
    found = {}
    for place, truth in enumerate(truths, start=1):
        pairs = [
            (float(row[place] or 0), float(error[place] or 0))
            for row, error in zip(table.rows, table.error95, strict=True)
            if row[0] != "other" and row[place] is not None
        ]
        assert len(pairs) > 0.9 * COPIES, table.columns[place]
        values, errors = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        inside = float((np.abs(values - truth) <= errors).mean())
        found[table.columns[place]] = inside, float(errors.mean() / max(float(values.std()), 1e-12))
    return found


@pytest.mark.parametrize(
    ("count", "rho_micro"), [(3000, 1_000_000), pytest.param(8000, 300_000, marks=pytest.mark.slow)]
)
def test_errors_hold_for_at_least_95_percent_of_draws(count: int, rho_micro: int) -> None:
    """Of 150 independent values a column, each within its error with probability ≥ 0.95, fewer than 124 (82.7 %) are
    with probability below exp(−150·KL(0.827‖0.95)) < 1e-7.
    """
    rows = table_rows(count, 7)
    frame = frame_of(rows)
    questions = {
        COLUMNS: truths_of(rows),
        "LINREG(y, x) AS l": least_squares(frame, ["y", "x"]),
        "LINREG(y, x, z) AS l": least_squares(frame, ["y", "x", "z"]),
        "CHI2(a, b) AS t": [
            pearson(pd.crosstab(frame.a, frame.b).to_numpy()),
            2.0,
            math.exp(-pearson(pd.crosstab(frame.a, frame.b).to_numpy()) / 2),
        ],
    }
    for columns, truths in questions.items():
        plan = plan_of(f"SELECT g, {columns} FROM 用电 GROUP BY g", copies_policy(), rho_micro=rho_micro)
        table = answer(plan, noisy(plan, copied(plan, rows)))
        for name, (inside, _) in covered(table, truths).items():
            assert inside >= 0.827, name


def test_errors_are_not_far_wider_than_the_noise() -> None:
    """A bound that always holds is worth nothing if it is far too wide: 1.96 deviations would be enough."""
    rows = table_rows(6000, 8)
    plan = plan_of(
        "SELECT g, COVAR(x, y) AS c, CORR(x, y) AS r, LINREG(y, x, z) AS l FROM 用电 GROUP BY g",
        copies_policy(),
        rho_micro=1_000_000,
    )
    truths = [0.0] * (len(plan.columns) - 1)
    for name, (_, width) in covered(answer(plan, noisy(plan, copied(plan, rows))), truths).items():
        assert width < 14, name


# --- the test of independence under independence ----------------------------------------------------------------


def test_p_values_of_independent_columns_are_right_though_the_noise_is_large() -> None:
    """Of 600 tables 5 % are below 0.05, and not above 9 % but with probability below 1e-4; without the correction
    most of them would be."""
    groups = [f"g{number}" for number in range(600)]
    columns = {
        "a": {"type": "text", "domain": ["p", "q", "r"]},
        "b": {"type": "text", "domain": ["u", "w"]},
        "g": {"type": "text", "domain": groups},
    }
    plan = plan_of(
        "SELECT g, CHI2(a, b) AS t FROM 用电 GROUP BY g", table_policy(columns=columns), rho_micro=10_000
    )
    cells = np.zeros(plan.cells, dtype=np.int64)
    for group in range(len(groups)):
        drawn = np.frombuffer(hashlib.shake_256(b"%d" % group).digest(2 * 600), dtype=np.uint16)
        counts = np.bincount(drawn % 6, minlength=6)
        for bin_, rows in enumerate(counts):
            cells[cell_index(plan, 0, group, bin_)] = int(rows) << plan.lanes[0].grid_bits
    cells = noisy(plan, cells)
    found = [float(row[3]) for row in answer(plan, cells).rows if row[3] is not None]
    assert len(found) > 590
    assert 0.015 < sum(p < 0.05 for p in found) / len(found) < 0.09
    assert 0.4 < sum(p < 0.5 for p in found) / len(found) < 0.6
    tables = cells.reshape(6, -1)[:, : len(groups)].T.reshape(-1, 3, 2) * float(plan.lanes[0].unit)
    uncorrected = [math.exp(-pearson(each) / 2) for each in tables]
    assert sum(p < 0.05 for p in uncorrected) / len(found) > 0.15


def test_a_quote_states_bounds_and_errors_for_a_thousand_evenly_spread_rows() -> None:
    sql = f"SELECT {COLUMNS}, LINREG(y, x, z) AS l, CHI2(a, b) AS t FROM 用电"
    plan = plan_of(sql, table_policy(), rho_micro=20_000_000)
    quoted = expected_error95(plan, params_of(plan))
    assert [each.column for each in quoted] == list(plan.columns)
    assert {each.rows for each in quoted} == {1000}
    true = answer(plan, exact(plan, table_rows(1000, 9))).error95[0]
    for each, error in zip(quoted, true, strict=True):
        if each.column in ("t[df]", "t[p]"):
            continue
        assert each.error95 is not None and error is not None
        if each.assumption is Assumption.SPREAD:
            assert 1 / 25 < each.error95 / error < 5, each.column
        else:
            assert 1 <= each.error95 / error < 10, each.column
