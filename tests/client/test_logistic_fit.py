"""A logistic regression as a buyer runs it: on one budget, resumable, each step an ordinary verified request."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model

from client.buyer import Buyer
from client.errors import FitImpossible, QueryRejected, RequestExpired, StoreError
from client.logistic import FitBudget, LogisticFit, LogisticQuestion, Stage, fit_logistic
from client.types import Status
from privacy.curve import SignedCells
from privacy.layout import cells_from_sums
from privacy.plan import Plan
from privacy.policy import Policy
from tests.client.world import POLICY, World
from tests.privacy.logistic_world import simulated_rows
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import Row, params_of, sums_of

QUESTION = LogisticQuestion("power", "paid", ("kwh", "age"), where="town = 'east'")
BUDGET = FitBudget(rho_micro=900_000, steps=6)
ROWS = 1800  # at three holders together
FIT_POLICY = {
    **POLICY,
    "columns": {
        "town": POLICY["columns"]["town"],
        "paid": {"type": "text", "domain": ["否", "是"]},
        "kwh": {"type": "number", "low": 0, "high": 100, "scale_bits": 4},
        "age": {"type": "number", "low": 20, "high": 80, "scale_bits": 4},
    },
    "aggregates": ["count", "logreg"],
}


def all_rows() -> list[Row]:
    features, target = simulated_rows(ROWS, 11)
    return [
        {"town": "east", "paid": "否是"[int(y)], "kwh": 50 + 50 * x1, "age": 50 + 30 * x2}
        for (x1, x2), y in zip(features.tolist(), target.tolist(), strict=True)
    ]


@dataclass
class FitWorld(World):
    """A market whose holders have rows, and add noise as they should."""

    policy: Policy = field(default_factory=lambda: Policy.from_mapping(FIT_POLICY))
    rows: list[Row] = field(default_factory=all_rows)

    def cells_of(self, holder: int, plan: Plan) -> SignedCells:  # type: ignore[override] # it needs the rows
        """What a holder counts, noise included."""
        exact = cells_from_sums(plan, sums_of(plan, self.rows[holder::3]))
        return exact + fresh_noise(plan, params_of(plan))


class Killed(Exception):
    """The process ends here."""


@pytest.fixture
def world(tmp_path: Path) -> FitWorld:
    return FitWorld(tmp_path)


def fit(buyer: Buyer, **changes: Any) -> LogisticFit:
    return fit_logistic(buyer, QUESTION, BUDGET, **changes)


def truth(rows: list[Row]) -> list[float]:
    raw = np.array([[row["kwh"], row["age"]] for row in rows])
    target = np.array([row["paid"] == "是" for row in rows])
    found = linear_model.LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(raw, target)
    return [float(found.intercept_[0]), *map(float, found.coef_[0])]


def test_a_fit_is_that_of_all_rows_within_its_error_and_its_budget(world: FitWorld) -> None:
    found = fit(world.make_buyer())
    assert found.terms == ("intercept", "kwh", "age")
    for value, each, error in zip(found.found.values, truth(world.rows), found.found.error95, strict=True):
        assert error is not None
        assert abs(value - each) <= 2 * error  # 4.5 deviations
    assert len(found.steps) == len(found.answers) == len(world.submissions) <= BUDGET.steps
    assert found.rho_micro == sum(int(each["request"]["rho"]) for each in world.submissions) <= 900_000
    assert 450_000 <= found.steps[-1].rho_micro <= 500_000  # the policy's most for one request
    assert [step.stage for step in found.steps[-2:]] == [Stage.REFINE, Stage.LAST]
    assert all(answer.verdict.status is Status.VALID for answer in found.answers)
    assert len({answer.receipt_path for answer in found.answers if answer.receipt_path.exists()}) == len(
        found.steps
    )
    assert found.to_json()["settled"] is True


@pytest.mark.parametrize("state", ["open", "answered"])
def test_a_killed_fit_goes_on_and_pays_nothing_twice(world: FitWorld, state: str) -> None:
    def kill(number: int, reached: str) -> None:
        if (number, reached) == (2, state):
            raise Killed

    with pytest.raises(Killed):
        fit(world.make_buyer(), on_step=kill)
    before = [each["request"]["nonce"] for each in world.submissions]
    assert len(before) == 2
    found = fit(world.make_buyer())
    assert [each["request"]["nonce"] for each in world.submissions][:2] == before
    assert len(world.submissions) == len(found.steps)
    again = fit(world.make_buyer())
    assert again.to_json() == found.to_json()
    assert len(world.submissions) == len(found.steps)


def test_a_step_that_was_never_opened_is_asked_again_for_the_same_budget(world: FitWorld) -> None:
    world.is_open = False
    buyer = world.make_buyer(sleep=lambda _: setattr(world.chain, "head", world.chain.head + 50))
    with pytest.raises(RequestExpired):
        fit(buyer)
    world.is_open = True
    found = fit(world.make_buyer())
    assert len(world.submissions) == 1 + len(found.steps)
    assert found.rho_micro <= BUDGET.rho_micro


def test_a_fit_that_starts_near_takes_fewer_steps(world: FitWorld) -> None:
    found = fit(world.make_buyer())
    budget = FitBudget(rho_micro=500_000, steps=1)
    again = fit_logistic(world.make_buyer(), QUESTION, budget, start=found.scaled)
    assert [step.coefficients for step in again.steps] == [found.scaled]
    assert again.steps[0].rho_micro == 500_000
    for value, each, error in zip(again.found.values, truth(world.rows), again.found.error95, strict=True):
        assert abs(value - each) <= 2 * (error or 0)


def test_what_cannot_be_fitted_is_refused_before_anything_is_signed(world: FitWorld) -> None:
    buyer = world.make_buyer()
    for question in (
        LogisticQuestion("power", "paid", ("kwh",), where="town = 'east' GROUP BY town"),
        LogisticQuestion("power", "paid", ("kwh",), where="1 = 1"),
        LogisticQuestion("power", "kwh", ("age",)),
        LogisticQuestion("power", "paid", ("kwh", "paid")),
        LogisticQuestion("power", 'paid", "kwh', ("age",)),
    ):
        with pytest.raises((FitImpossible, QueryRejected)):
            fit_logistic(buyer, question, BUDGET)
    for start in ((Decimal(0),), (Decimal(0), Decimal(1001), Decimal(0)), (Decimal("NaN"),) * 3):
        with pytest.raises(FitImpossible):
            fit(buyer, start=start)
    assert world.submissions == []


def test_a_journal_that_is_damaged_is_a_named_error(world: FitWorld) -> None:
    fit(world.make_buyer())
    (path,) = (world.settings.home / "fits").iterdir()
    for data in (b"", b"{}", b'[{"rho": "x"}]', b"\xff", b"[1]"):
        path.write_bytes(data)
        with pytest.raises(StoreError):
            fit(world.make_buyer())


@given(st.integers(1, 32), st.integers(128, 10**7), st.integers(1, 10**7), st.integers(0, 31))
def test_no_fit_spends_more_than_its_budget(steps: int, rho: int, request_max: int, settled_at: int) -> None:
    budget, spent = FitBudget(rho, steps), 0
    stage, made = budget.first_stage(), 0
    while True:
        share = budget.share(stage, spent, request_max=request_max)
        assert 1 <= share <= request_max
        spent, made = spent + share, made + 1
        if stage is Stage.LAST:
            break
        stage = budget.next_stage(stage, made, is_settled=made > settled_at)
    assert spent <= rho
    assert made <= steps
    assert share >= min(rho // 2, request_max)


@pytest.mark.parametrize(("rho", "steps"), [(0, 1), (23, 6), (100, 0), (1000, 33)])
def test_a_budget_without_room_for_its_steps_is_refused(rho: int, steps: int) -> None:
    with pytest.raises(FitImpossible):
        FitBudget(rho, steps)
