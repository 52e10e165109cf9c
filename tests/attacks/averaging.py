"""Averaging: the same question again and again, so that the noise cancels.

The identical plan is answered once for each buyer and replayed from what is stored (`AlreadyAnswered`; the test asks real
holders twice). So the buyer asks k questions that mean the same and differ in a filter that every row passes. The mean of
k answers, each of ρ, must be worth no more than k·ρ allows, nor than one answer of k·ρ; and the budget ends it.

Run it: python -m tests.attacks.averaging
"""

from typing import Any

import numpy as np

from tests.attacks.bounds import Guesses, secret_bits
from tests.attacks.broken import SILENT
from tests.attacks.world import (
    REAL,
    Mechanism,
    attack_policy,
    open_market,
    own_ledger,
    people,
    release,
    report,
)

RHO_MICRO = 50_000
WHOLE = {"questions": 100, "slots": 1000, "total_micro": 1_000_000}


def run(*, questions: int, slots: int, total_micro: int) -> dict[str, Any]:
    """Ask until the budget is spent, at most `questions` times, about one person in each of `slots` groups."""
    bits = secret_bits("averaging", slots)
    half = slots // 2
    table = people(slots, slot=np.arange(slots), flag=bits)
    asked, refused, spent_micro = [], 0, 0
    with (
        own_ledger(total_micro) as charge,
        open_market(attack_policy(slots=slots), table.iloc[:half], table.iloc[half:]) as market,
    ):
        for number in range(questions):
            charged = charge(RHO_MICRO)
            if charged is None:
                refused += 1
                continue
            spent_micro = charged
            sql = f"SELECT COUNT(*) FROM 用电 WHERE flag = 1 AND month > {-1 - number} GROUP BY slot"
            plan = market.plan(sql, RHO_MICRO)
            asked.append((plan, market.cells(plan)))
        one = market.plan("SELECT COUNT(*) FROM 用电 WHERE flag = 1 GROUP BY slot", spent_micro)
        cells = market.cells(one)
    hashes = {plan.hash() for plan, _ in asked}
    found, naked = (_guess(asked, bits, mechanism) for mechanism in (REAL, SILENT))
    whole = _guess([(one, cells)], bits, REAL)
    mean = np.mean([_values(plan, exact, REAL) for plan, exact in asked], axis=0)[:slots]
    claimed = float(one.lanes[0].sigma_squared * one.lanes[0].unit ** 2)
    return {
        "attack": "averaging",
        "holds": found.holds and whole.holds and not naked.holds and len(hashes) == len(asked),
        "answers": len(asked),
        "refused_by_budget": refused,
        "guesses": found.to_json(),
        "one_answer_of_the_same_rho": whole.to_json(),
        "variance_of_the_mean_over_that_of_one_answer": round(
            float(np.mean((mean - bits) ** 2)) / claimed, 3
        ),
        "without_noise": naked.to_json(),
    }


def _values(plan: Any, exact: Any, mechanism: Mechanism) -> Any:
    return release(plan, exact, mechanism).values()


def _guess(asked: list[Any], bits: Any, mechanism: Mechanism) -> Guesses:
    mean = np.mean([_values(plan, exact, mechanism) for plan, exact in asked], axis=0)[: len(bits)]
    return Guesses(int(((mean > 0.5) == bits).sum()), len(bits), sum(plan.rho_micro for plan, _ in asked))


if __name__ == "__main__":
    report(run, WHOLE)
