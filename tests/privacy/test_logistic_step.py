"""Steps of a logistic regression: what a row may add, what an answer says, and what a query may not ask."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.columns import ColumnType
from privacy.dimensions import Dimension, Factor
from privacy.errors import PlanInvalid, PlanRejected
from privacy.expected import expected_error95
from privacy.layout import cells_from_sums
from privacy.logistic import FEATURES_MAX, ROW_ERROR, Logistic, step_names, term_pairs
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from tests.privacy.logistic_world import gaussians, step_amounts, tangent
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import (
    POLICY,
    Row,
    params_of,
    plan_of,
    policy_of,
    sums_of,
    table_policy,
    table_rows,
)

STEP = "SELECT LOGREG_STEP(b, x, z, -0.25, 1.5, 0.75) AS l FROM 用电"


def feature(name: str, half_width: int) -> Factor:
    return Factor(name, ColumnType.NUMBER, Decimal(-half_width), Decimal(half_width), 0, 0, half_width)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Logistic, Row]:
    """A step and a row of it, its features often at their ends and its logit often far out."""
    size = draw(st.integers(1, FEATURES_MAX))
    widths = draw(st.lists(st.integers(1, 1 << 30), min_size=size, max_size=size))
    features = tuple(feature(f"x{k}", width) for k, width in enumerate(widths))
    number = st.decimals(-1000, 1000, places=9) | st.sampled_from([Decimal(0), Decimal(28), Decimal(-28)])
    coefficients = tuple(draw(st.lists(number, min_size=size + 1, max_size=size + 1)))
    target = draw(st.sampled_from([None, Dimension("y", ColumnType.TEXT, ("a", "b"))]))
    row: Row = {"y": draw(st.integers(0, 1)) if target is None else draw(st.sampled_from("ab"))}
    for each in features:
        width = float(each.half_width)
        row[each.column] = draw(st.sampled_from([-width, width]) | st.floats(-width, width))
    return Logistic(target, features, coefficients), row


@settings(max_examples=400)
@given(steps(), st.sampled_from([8, 20, 40]))
def test_no_row_adds_more_than_the_sensitivity_whatever_the_coefficients(
    given_: tuple[Logistic, Row], bits: int
) -> None:
    step, row = given_
    amounts = step_amounts(step, "y", bits, row)
    assert sum(amount * amount for amount in amounts) <= step.row_length_squared(bits)
    assert max(map(abs, amounts)) <= 1 << bits


def test_the_worst_row_uses_the_sensitivity_to_its_end() -> None:
    step = Logistic(None, (feature("x", 7), feature("v", 9)), (Decimal(20), Decimal(4), Decimal(4)))
    amounts = step_amounts(step, "y", 40, {"y": 0, "x": 7, "v": 9})
    assert sum(amount * amount for amount in amounts) / step.row_length_squared(40) == pytest.approx(
        1, abs=1e-9
    )


def test_the_curvature_is_free_up_to_eight_features() -> None:
    """The lemma of privacy.logistic: q²·(1 + (1 − q)²·(p + 2)/2) ≤ 1, on a fine grid of q."""
    q = np.linspace(0, 1, 100_001)
    for features in range(1, FEATURES_MAX + 1):
        assert np.max(q**2 * (1 + (1 - q) ** 2 * (features + 2) / 2)) <= 1


@given(st.floats(-14, 14))
def test_the_fraction_is_the_tangent_within_the_stated_error(x: float) -> None:
    assert abs(tangent(x) - math.tanh(x)) <= 2.0**-47
    assert abs(tangent(x)) <= 1


def test_cutting_the_logit_changes_less_than_is_stated() -> None:
    assert 1 / (1 + math.exp(28)) < float(ROW_ERROR) / 4


# --- answers ----------------------------------------------------------------------------------------------------


def exact_of(plan: Plan, rows: list[Row]) -> tuple[list[float], list[float]]:
    cells = cells_from_sums(plan, sums_of(plan, rows))
    table = decode_answer(plan, params_of(plan), plan.holders, [int(cell) for cell in cells])
    return [float(value or 0) for value in table.rows[0]], [float(each or 0) for each in table.error95[0]]


def loss_parts(rows: list[Row], coefficients: list[float]) -> list[float]:
    """Gradient and curvature by numpy, of the rows where all is known."""
    known = [row for row in rows if row["x"] is not None and row["b"] in ("u", "w")]
    z = np.array([[1.0, (row["x"] - 50) / 50, (row["z"] - 10) / 10] for row in known])
    y = np.array([row["b"] == "w" for row in known])
    p = 1 / (1 + np.exp(-z @ np.array(coefficients)))
    curvature = z.T @ (z * (p * (1 - p))[:, None])
    return [*map(float, z.T @ (p - y)), *(float(curvature[pair]) for pair in term_pairs(3))]


def test_without_noise_a_step_is_gradient_and_curvature_of_the_loss() -> None:
    rows = [*table_rows(3000, 21), {"x": 1.0, "z": 1, "b": None}, {"x": 1.0, "z": 1, "b": "other"}]
    plan = plan_of(STEP, table_policy(), rho_micro=20_000_000)
    values, _ = exact_of(plan, rows)
    assert values == pytest.approx(loss_parts(rows, [-0.25, 1.5, 0.75]), abs=1e-4)
    assert plan.columns == tuple(step_names("l", ("x", "z")))


def test_the_stated_error_holds_for_at_least_95_percent_of_draws() -> None:
    rows = table_rows(500, 22)
    plan = plan_of(STEP, table_policy(), rho_micro=500_000)
    exact = cells_from_sums(plan, sums_of(plan, rows))
    truth, error = exact_of(plan, rows)
    assert [each.error95 for each in expected_error95(plan, params_of(plan))] == error
    inside = np.zeros(plan.cells)
    draws = 400
    for _ in range(draws):
        noise = sum(fresh_noise(plan, params_of(plan)) for _ in range(plan.holders))
        table = decode_answer(plan, params_of(plan), plan.holders, [int(cell) for cell in exact + noise])
        inside += [
            abs(float(value or 0) - each) <= bound
            for value, each, bound in zip(table.rows[0], truth, error, strict=True)
        ]
    assert inside.sum() >= 0.95 * draws * plan.cells - 5.2 * math.sqrt(0.95 * 0.05 * draws * plan.cells)
    assert inside.sum() <= 0.95 * draws * plan.cells + 5.2 * math.sqrt(0.95 * 0.05 * draws * plan.cells)


def test_its_cost_in_noise_is_that_of_a_gradient_alone() -> None:
    plan = plan_of(STEP, table_policy(), rho_micro=500_000)
    (lane,) = plan.lanes
    assert lane.bins == 9
    assert lane.delta_squared / 4.0**lane.scale_bits == pytest.approx(3, abs=1e-9)
    assert lane.rho_micro == 500_000


def test_many_rows_are_on_a_coarser_scale() -> None:
    few, many = (plan_of(STEP, table_policy(rows_max=rows)).lanes[0].scale_bits for rows in (1000, 1 << 40))
    assert few == 40
    assert many == 20


# --- queries ----------------------------------------------------------------------------------------------------


def step_policy() -> Policy:
    more = {"y": {"type": "integer", "low": 0, "high": 1}, "b": {"type": "text", "domain": ["no", "yes"]}}
    return policy_of(columns={**POLICY["columns"], **more})


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ("LOGREG_STEP(y, kwh, 0)", "argument"),
        ("LOGREG_STEP(y, 0)", "argument"),
        ("LOGREG_STEP()", "argument"),
        ("LOGREG_STEP(y, kwh, 0, age)", "argument"),
        ("LOGREG_STEP(y, kwh, 0, '1')", "argument"),
        ("LOGREG_STEP(y, kwh, 0, - -1)", "argument"),
        ("LOGREG_STEP(y, kwh, 0, 1 - 1)", "argument"),
        ("LOGREG_STEP(kwh, age, 0, 1)", "not-binary"),
        ("LOGREG_STEP(城镇, age, 0, 1)", "not-binary"),
        ("LOGREG_STEP(secret, age, 0, 1)", "not-binary"),
        ("LOGREG_STEP(y, secret, 0, 1)", "not-measure"),
        ("LOGREG_STEP(y, y, 0, 1)", "repeated-column"),
        ("LOGREG_STEP(y, kwh, kwh, 0, 1, 1)", "repeated-column"),
        ("LOGREG_STEP(y, kwh, 0, 1000.1)", "coefficient"),
        ("LOGREG_STEP(y, kwh, 0, 1e-10)", "coefficient"),
        ("LOGREG_STEP(y, nothing, 0, 1)", "unknown-column"),
    ],
)
def test_what_is_no_step_is_refused_by_name(call: str, rule: str) -> None:
    with pytest.raises(PlanRejected) as caught:
        plan_of(f"SELECT {call} AS l FROM 用电", step_policy())
    assert rule in {violation.rule for violation in caught.value.violations}


def test_a_target_that_is_grouped_by_is_refused() -> None:
    with pytest.raises(PlanRejected, match="grouped-column"):
        plan_of("SELECT b, LOGREG_STEP(b, kwh, 0, 1) AS l FROM 用电 GROUP BY b", step_policy())


def test_a_policy_must_allow_it() -> None:
    with pytest.raises(PlanRejected, match="aggregate-not-allowed"):
        plan_of(STEP, table_policy(aggregates=["count", "linreg"]))


def test_the_same_numbers_in_another_spelling_are_the_same_plan() -> None:
    plans = [
        plan_of(f"SELECT LOGREG_STEP(y, kwh, {numbers}) AS l FROM 用电", step_policy())
        for numbers in ("0, -0.5", "-0.0, -5e-1", "0.000, -0.50")
    ]
    assert len({plan.hash() for plan in plans}) == 1
    verify_plan(plans[0], step_policy())


def changed(value: Any, path: list[str | int], to: Any) -> Any:
    if not path:
        return to
    first, *rest = path
    if isinstance(value, list):
        return [changed(each, rest, to) if k == first else each for k, each in enumerate(value)]
    return {**value, first: changed(value.get(first), rest, to)}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (["coefficients"], []),
        (["coefficients"], ["0"]),
        (["coefficients"], "0"),
        (["coefficients", 0], "1001"),
        (["coefficients", 0], "0.0000000001"),
        (["coefficients", 0], "0.50"),
        (["coefficients", 0], 0),
        (["features"], []),
        (["features", 0, "half_width"], "0"),
        (["target"], {"column": "b", "type": "text", "domain": ["u"]}),
        (["more"], None),
    ],
)
def test_a_malformed_step_in_a_plan_is_refused(path: list[str | int], to: Any) -> None:
    whole = plan_of(STEP, table_policy()).to_json()
    with pytest.raises(PlanInvalid):
        Plan.from_json(changed(whole, ["lanes", 0, "logistic", *path], to))


def test_a_step_with_other_coefficients_than_its_output_is_found() -> None:
    plan = plan_of(STEP, table_policy())
    other = Plan.from_json(changed(plan.to_json(), ["lanes", 0, "logistic", "coefficients", 0], "1"))
    with pytest.raises(PlanInvalid, match="lanes"):
        verify_plan(other, table_policy())


def test_gaussians_for_tests_are_gaussians() -> None:
    draws = gaussians(100_000, 1)
    assert abs(draws.mean()) < 0.02
    assert draws.std() == pytest.approx(1, abs=0.02)
