"""Group isolation and small cells: a person alone in a group, and groups that nobody is in.

Isolation: GROUP BY is chosen so that each group has one person or none; the buyer reads each cell, of COUNT and of SUM
together, as the evidence about that person. Small cells: every declared group must come back, the empty ones like the
full ones: what is missing or zero would be an answer without noise.

Run it: python -m tests.attacks.isolation
"""

from typing import Any

import numpy as np

from tests.attacks.audit import likelihoods
from tests.attacks.bounds import Guesses, mu_of, secret_bits
from tests.attacks.broken import SILENT
from tests.attacks.world import (
    REAL,
    Market,
    Mechanism,
    attack_policy,
    honest,
    open_market,
    people,
    release,
    report,
)

RHO_MICRO = 500_000
SQL = "SELECT slot, COUNT(*) AS n, SUM(x) AS s FROM 用电 GROUP BY slot"
WHOLE = {"slots": 10_000}


def run(*, slots: int) -> dict[str, Any]:
    """Tell full groups, of one person with the largest value, from empty ones."""
    bits = secret_bits("isolation", slots)
    everybody = people(slots, slot=np.arange(slots), x=1e9)
    present = everybody[bits == 1]
    half = len(present) // 2
    with open_market(attack_policy(slots=slots), everybody) as market:
        plan = market.plan(SQL, RHO_MICRO)
        full = honest(market.cells(plan))
    with open_market(attack_policy(slots=slots), present.iloc[:half], present.iloc[half:]) as market:
        found, rows, zeros = _attack(market, bits, full, REAL)
        naked, _, _ = _attack(market, bits, full, SILENT)
    return {
        "attack": "group isolation and small cells",
        "holds": found.holds and not naked.holds and rows == slots + 1,
        "guesses": found.to_json(),
        "without_noise": naked.to_json(),
        "groups_returned": rows,
        "groups_declared": slots + 1,
        "noisy_counts_of_zero_in_empty_and_full_groups": zeros,
    }


def _attack(market: Market, bits: Any, full: Any, mechanism: Mechanism) -> tuple[Guesses, int, list[int]]:
    plan = market.plan(SQL, RHO_MICRO)
    released = release(plan, market.cells(plan), mechanism)
    scores, mu = likelihoods(released.view, np.zeros_like(full), full, plan, 1)
    assert float(mu.max()) <= mu_of(RHO_MICRO) * (1 + 1e-9)
    right = int(((scores > mu / 2) == bits).sum())
    table = released.table()
    counts = {row[0]: row[1] for row in table.rows}
    zeros = [
        sum(1 for slot, bit in enumerate(bits) if bit == value and counts[slot] == 0) for value in (0, 1)
    ]
    return Guesses(right, len(bits), RHO_MICRO), len(table.rows), zeros


if __name__ == "__main__":
    report(run, WHOLE)
