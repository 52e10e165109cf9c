"""Join amplification: can who repeats joins, or stuffs its own list, learn whether one company is at the other side?

The attacker is the buyer together with the matcher. It lists the company 50 times in its own table, asks for COUNT and SUM of the
joined table again and again in other words, takes its own noise off each answer, and sees besides how many entries matched in each
of its sub-lists, dummies included. It knows every other row. All that is scored with the likelihood ratio, which no other test
beats (Neyman and Pearson). The advantage, true less false positives, may be 2Φ(√(2ρ)/2) − 1 for the ρ of all questions.

The path is the product's: SQL → plan → each side's DuckDB → noise and dummies from one seed of the value side. Of the rounds
only the blinding and the encryption are left out; `tests/holder/test_join.py` shows that they give the same integers.

Run it: python -m tests.attacks.join_amplification
"""

import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from holder.duckdb_engine import open_frame
from holder.join_data import SideRows, read_side
from holder.settings import EngineSettings
from privacy.join import MatcherState, matcher_round1
from privacy.join.dummies import draw_dummies
from privacy.join.errors import MultiplicityExceeded
from privacy.join.kind import JoinPlan, PlanSide
from privacy.join.layout import value_places
from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from privacy.planning import plan_parameters
from privacy.policy import Policy
from tests.attacks.bounds import advantage_max, at_least, at_most, mu_of
from tests.attacks.world import report
from tests.holder.join_tables import Row, example_fields
from tests.holder.join_world import customer, meter
from tests.privacy.join_plan_world import JOIN, join_plan, terms_of

Cells = NDArray[np.int64]
TARGET = "被查的公司"
STUFFED = 50
OTHERS = 40
RHO_MICRO = 50_000
ALPHA = 5e-7
"""For each of two rates."""

WHOLE = {"trials": 1000, "questions": 8}


@dataclass(frozen=True, slots=True)
class Question:
    """One question with what the attacker would see without noise, the company absent and present.

    Attributes:
        plan: of the question.
        cells: the sums of the joined table, absent and present.
        matches: of each sub-list, absent and present.
        rows: of the company that its own side let through, and the pairs that they made.
    """

    plan: Plan
    cells: tuple[Cells, Cells]
    matches: tuple[Cells, Cells]
    rows: tuple[int, int]


def run(*, trials: int, questions: int) -> dict[str, Any]:
    """Score sessions with and without the company at the other side."""
    asked = [_question(number) for number in range(questions)]
    rho = RHO_MICRO * questions
    bound = advantage_max(rho)
    found = _rates(asked, trials, noisy=True)
    without_dummies = _rates(asked[:1], trials, noisy=True, dummies=False)
    naked = _rates(asked[:1], trials, noisy=False)
    used = sum(_mu_squared(question) for question in asked) ** 0.5 / mu_of(rho)
    caught = min(_proved(naked, trials), _proved(without_dummies, trials)) > advantage_max(RHO_MICRO)
    rows, pairs = asked[0].rows
    return {
        "attack": "join amplification",
        "holds": _proved(found, trials) <= bound and caught and used <= 1 + 1e-9 and _is_capped(asked[0]),
        "trials": trials,
        "questions": questions,
        "rho": rho / 1e6,
        "advantage": round((found[0] - found[1]) / trials, 4),
        "advantage_proved": round(_proved(found, trials), 4),
        "advantage_allowed": round(bound, 4),
        "advantage_without_dummies": (without_dummies[0] - without_dummies[1]) / trials,
        "advantage_without_noise": (naked[0] - naked[1]) / trials,
        "rows_stuffed": STUFFED,
        "rows_that_count": rows,
        "pairs_of_the_company": pairs,
        "sensitivity_used": round(used, 4),
    }


def _question(number: int) -> Question:
    """Ask for the same in other words: a filter that every row passes makes another plan, which is charged anew."""
    policy = _policy()
    sql = f"SELECT COUNT(*), SUM(p.用电量) {JOIN} WHERE p.用电量 > {-1 - number}"
    plan = join_plan(sql, policy, rho_micro=RHO_MICRO)
    terms = terms_of(plan)
    bank = [customer(f"公司{n}", n) for n in range(OTHERS)]
    bank += [customer(TARGET, 1000 + n) for n in range(STUFFED)]
    others = [meter(f"公司{2 * n}", n, 1.5 * n) for n in range(OTHERS)]
    target = [meter(TARGET, 1000 + n, 1e9) for n in range(5)]
    matcher = read_rows(bank, plan, policy, terms.matcher)
    absent, present = (read_rows(rows, plan, policy, terms.value) for rows in (others, others + target))
    cells = joined(plan, matcher, absent), joined(plan, matcher, present)
    matches = matches_of(matcher, absent), matches_of(matcher, present)
    counted = sum(each.count(TARGET.encode()) for sublist in matcher.sublists or () for each in sublist)
    pairs = int(cells[1][0] - cells[0][0]) >> plan.lanes[0].grid_bits
    return Question(plan, cells, matches, (counted, pairs))


def _policy() -> Policy:
    rho = {"per_request": "1000", "total": "100000"}
    return Policy.from_mapping({**example_fields(bank=2, power=3), "rho": rho})


def read_rows(rows: list[Row], plan: Plan, policy: Policy, side: PlanSide) -> SideRows:
    """Return what a side brings of its rows."""
    engine = open_frame(pd.DataFrame(rows), EngineSettings(Path(tempfile.gettempdir()), threads=1))
    try:
        return read_side(engine, plan, policy, side)
    finally:
        engine.close()


def joined(plan: Plan, matcher: SideRows, value: SideRows) -> Cells:
    """Return the sums of the joined table in the plan's order."""
    assert matcher.sublists is not None and value.values is not None
    places = value_places(plan, terms_of(plan).value.group_by)
    known = {key: value.values.dense(n, places.shape[1]) for n, key in enumerate(value.values.keys)}
    cells = np.zeros(plan.values, dtype=np.int64)
    for sublist, where in zip(matcher.sublists, places, strict=True):
        for key in sublist:
            if key in known:
                cells[where] += np.array(known[key], dtype=np.int64)
    return cells


def matches_of(matcher: SideRows, value: SideRows) -> Cells:
    """Return how many entries of each sub-list match."""
    assert matcher.sublists is not None and value.values is not None
    keys = set(value.values.keys)
    return np.array([sum(key in keys for key in sublist) for sublist in matcher.sublists], dtype=np.int64)


def _variances(plan: Plan) -> tuple[NDArray[np.float64], float]:
    """Return σ² of each cell and of each number of matches: the value side's own noise, as the matcher's is known."""
    divisor = plan_parameters(plan).divisor
    cells = [np.full(plan.groups * lane.bins, float(lane.share(divisor))) for lane in plan.lanes]
    return np.concatenate(cells), float(terms_of(plan).match.sigma_squared)


def _mu_squared(question: Question) -> float:
    of_cells, of_matches = _variances(question.plan)
    moved = question.cells[1] - question.cells[0]
    seen = question.matches[1] - question.matches[0]
    return float((moved.astype(np.float64) ** 2 / of_cells).sum() + (seen**2).sum() / of_matches)


def _score(question: Question, *, present: bool, noisy: bool, dummies: bool) -> float:
    """Return the log likelihood ratio of what one session shows."""
    plan = question.plan
    terms: JoinPlan = terms_of(plan)
    source = NoiseSource(secrets.token_bytes(32), secrets.token_bytes(32), 0)
    cells, matches = question.cells[present], question.matches[present] + terms.match.offset
    if noisy:
        cells = cells + draw_noise_share(plan, plan_parameters(plan), source)
    if noisy and dummies:
        matches = question.matches[present] + np.array(draw_dummies(plan, terms, source))
    of_cells, of_matches = _variances(plan)
    moved = (question.cells[1] - question.cells[0]).astype(np.float64)
    seen = question.matches[1] - question.matches[0]
    middle = (question.cells[0] + question.cells[1]) / 2
    expected = (question.matches[0] + question.matches[1]) / 2 + terms.match.offset
    score = float(((cells - middle) * moved / of_cells).sum())
    weight = 1.0 if dummies else 1e9  # without dummies the number of matches is exact
    return score + weight * float(((matches - expected) * seen).sum()) / of_matches


def _rates(asked: list[Question], trials: int, *, noisy: bool, dummies: bool = True) -> tuple[int, int]:
    """Return how often the company is said to be there, where it is and where it is not."""
    hits, alarms = (
        sum(
            sum(_score(each, present=present, noisy=noisy, dummies=dummies) for each in asked) > 0
            for _ in range(trials)
        )
        for present in (True, False)
    )
    return hits, alarms


def _proved(rates: tuple[int, int], trials: int) -> float:
    return at_least(rates[0], trials, ALPHA) - at_most(rates[1], trials, ALPHA)


def _is_capped(question: Question) -> bool:
    """Say whether one row more than m counts neither in the own table nor in the own list."""
    terms = terms_of(question.plan)
    most = terms.matcher.multiplicity
    state = MatcherState(terms.terms(question.plan, bytes(32)), bytes(32))
    try:
        matcher_round1(state, [[TARGET.encode()] * (most + 1)])
    except MultiplicityExceeded:
        return question.rows == (most, most * terms.value.multiplicity)
    return False


if __name__ == "__main__":
    report(run, WHOLE)
