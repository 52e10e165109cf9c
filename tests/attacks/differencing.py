"""Differencing: two questions that differ by one person.

For each of N people the buyer asks twice how many have the secret flag, with and without that person in the filter, and
takes the difference. Both questions are paid for. Then each pair counts against one budget line: the figure says how many
pairs the total of the examples' policies lets through.

Run it: python -m tests.attacks.differencing
"""

from typing import Any

from tests.attacks.bounds import Guesses, secret_bits
from tests.attacks.broken import SILENT
from tests.attacks.world import (
    REAL,
    Cells,
    Market,
    Mechanism,
    attack_policy,
    open_market,
    people,
    release,
    report,
)

RHO_MICRO = 50_000
EXAMPLE_TOTAL_MICRO = 50_000_000
WHOLE = {"pairs": 1000}


def run(*, pairs: int) -> dict[str, Any]:
    """Attack `pairs` people, and the same without noise."""
    bits = secret_bits("differencing", pairs)
    half = pairs // 2
    table = people(pairs, flag=bits)
    with open_market(attack_policy(), table.iloc[:half], table.iloc[half:]) as market:
        asked = [_ask(market, person) for person in range(pairs)]
    found, naked = (_guess(asked, bits, mechanism) for mechanism in (REAL, SILENT))
    return {
        "attack": "differencing",
        "pairs": pairs,
        "holds": found.holds and not naked.holds,
        "guesses": found.to_json(),
        "without_noise": naked.to_json(),
        "pairs_within_the_examples_total": EXAMPLE_TOTAL_MICRO // (2 * RHO_MICRO),
    }


def _ask(market: Market, person: int) -> list[tuple[Any, list[Cells]]]:
    # The month makes each question its own: the same one again would be answered from the store, without new noise.
    everybody = f"SELECT COUNT(*) FROM 用电 WHERE flag = 1 AND month > {-1 - person}"
    plans = [market.plan(sql, RHO_MICRO) for sql in (everybody, f"{everybody} AND person <> {person}")]
    return [(plan, market.cells(plan)) for plan in plans]


def _guess(asked: list[list[tuple[Any, list[Cells]]]], bits: Any, mechanism: Mechanism) -> Guesses:
    right = 0
    for person, pair in enumerate(asked):
        with_, without = (float(release(plan, cells, mechanism).values()[0]) for plan, cells in pair)
        right += int((with_ - without > 0.5) == bool(bits[person]))
    return Guesses(right, len(asked), 2 * RHO_MICRO)


if __name__ == "__main__":
    report(run, WHOLE)
