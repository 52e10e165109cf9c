"""Membership inference: was this person in the tables that the answers are from?

The attacker knows every other row and the person's own, sees six released answers of different kinds, and scores them with
the likelihood ratio, which no other test beats (Neyman and Pearson). The advantage, true less false positives, may be
2Φ(√(2ρ)/2) − 1 for the ρ of all six.

Run it: python -m tests.attacks.membership
"""

from typing import Any

import pandas as pd

from tests.attacks.audit import likelihoods
from tests.attacks.bounds import advantage_max, at_least, at_most
from tests.attacks.broken import SILENT
from tests.attacks.world import REAL, Mechanism, attack_policy, honest, open_market, people, release, report

RHO_MICRO = 50_000
QUESTIONS = (
    "SELECT COUNT(*) FROM 用电 GROUP BY a",
    "SELECT COUNT(DISTINCT person) FROM 用电 WHERE flag = 1",
    "SELECT AVG(x) FROM 用电 GROUP BY b",
    "SELECT VAR(y) FROM 用电",
    "SELECT QUANTILE(x, 0.5, 8) FROM 用电",
    "SELECT CORR(x, y) FROM 用电",
)
ALPHA = 5e-7
"""For each of two rates."""

WHOLE = {"trials": 1000}


def run(*, trials: int) -> dict[str, Any]:
    """Score releases with and without the person."""
    others = people(200, x=[(37 * k) % 101 for k in range(200)], y=[(53 * k) % 101 - 50 for k in range(200)])
    target = people(1, person=[10**6], x=1e9, y=1e9, a="p", b="u")
    policy, half = attack_policy(), 100
    asked = []
    with open_market(policy, others.iloc[:half], others.iloc[half:]) as market:
        asked += [(plan, market.cells(plan)) for plan in (market.plan(sql, RHO_MICRO) for sql in QUESTIONS)]
    with open_market(policy, pd.concat([others.iloc[:half], target]), others.iloc[half:]) as market:
        pairs = [(plan, without, market.cells(plan)) for plan, without in asked]
    rho = RHO_MICRO * len(QUESTIONS)
    found, bound = _rates(pairs, trials, REAL), advantage_max(rho)
    naked = _rates(pairs, trials, SILENT)
    return {
        "attack": "membership inference",
        "holds": _proved(found, trials) <= bound < _proved(naked, trials),
        "trials": trials,
        "rho": rho / 1e6,
        "advantage": round((found[0] - found[1]) / trials, 4),
        "advantage_proved": round(_proved(found, trials), 4),
        "advantage_allowed": round(bound, 4),
        "advantage_without_noise": (naked[0] - naked[1]) / trials,
    }


def _rates(pairs: list[Any], trials: int, mechanism: Mechanism) -> tuple[int, int]:
    """Return how often the person is said to be in, where it is and where it is not."""
    hits, alarms = (
        sum(_is_in(pairs, mechanism, present=present) for _ in range(trials)) for present in (True, False)
    )
    return hits, alarms


def _is_in(pairs: list[Any], mechanism: Mechanism, *, present: bool) -> bool:
    score = level = 0.0
    for plan, without, with_ in pairs:
        released = release(plan, with_ if present else without, mechanism)
        base, moved = honest(without), honest(with_)
        # One run over all groups: the ratio of the whole answer.
        scores, mu = likelihoods(released.view, base, moved, plan, plan.groups)
        score, level = score + float(scores[0] * mu[0]), level + float(mu[0] ** 2)
    return score > level / 2


def _proved(rates: tuple[int, int], trials: int) -> float:
    return at_least(rates[0], trials, ALPHA) - at_most(rates[1], trials, ALPHA)


if __name__ == "__main__":
    report(run, WHOLE)
