"""Tracker: the answer about one person from questions that are each about many.

Where questions about few people are refused, a tracker T gets around it: q(C or T) + q(C or not T) − q(T) − q(not T) is
the answer about C alone, here one person and the secret flag (Denning, Denning, Schwartz 1979). Nothing is refused here
for being small, so that this gains nothing over asking directly; four answers are paid for.

Run it: python -m tests.attacks.tracker
"""

from typing import Any

from tests.attacks.bounds import Guesses, secret_bits
from tests.attacks.broken import SILENT
from tests.attacks.world import REAL, Mechanism, attack_policy, open_market, people, release, report

RHO_MICRO = 10_000
WHOLE = {"targets": 500}


def run(*, targets: int) -> dict[str, Any]:
    """Track `targets` people, each with questions of its own, and ask about each directly."""
    bits = secret_bits("tracker", targets)
    half = targets // 2
    table = people(targets, flag=bits)
    with open_market(attack_policy(), table.iloc[:half], table.iloc[half:]) as market:
        tracked = [[_ask(market, sql) for sql in _questions(person, half)] for person in range(targets)]
        direct = [[_ask(market, _direct(person))] for person in range(targets)]
    found, naked = (_guess(tracked, bits, mechanism) for mechanism in (REAL, SILENT))
    asked = _guess(direct, bits, REAL)
    return {
        "attack": "tracker",
        "holds": found.holds and asked.holds and not naked.holds,
        "guesses": found.to_json(),
        "asked_directly_at_a_quarter_of_the_rho": asked.to_json(),
        "without_noise": naked.to_json(),
    }


def _questions(person: int, half: int) -> list[str]:
    target, tracker = f"(person = {person} AND flag = 1)", f"(person < {half} AND month > {-1 - person})"
    return [
        f"SELECT COUNT(*) FROM 用电 WHERE {where}"
        for where in (
            f"{target} OR {tracker}",
            f"{target} OR NOT {tracker}",
            tracker,
            f"NOT {tracker}",
        )
    ]


def _direct(person: int) -> str:
    return f"SELECT COUNT(*) FROM 用电 WHERE person = {person} AND flag = 1"


def _ask(market: Any, sql: str) -> Any:
    plan = market.plan(sql, RHO_MICRO)
    return plan, market.cells(plan)


def _guess(asked: list[Any], bits: Any, mechanism: Mechanism) -> Guesses:
    right = 0
    for person, questions in enumerate(asked):
        values = [float(release(plan, cells, mechanism).values()[0]) for plan, cells in questions]
        total = values[0] + values[1] - values[2] - values[3] if len(values) > 1 else values[0]
        right += int((total > 0.5) == bool(bits[person]))
    return Guesses(right, len(asked), len(asked[0]) * RHO_MICRO)


if __name__ == "__main__":
    report(run, WHOLE)
