"""Key injection: a holder on the buyer's side adds rows of the people it is after.

If a person's rows at one holder pushed out or weighed those at another, or if an injected key raised what an honest
holder adds, the sum would tell more about that person. The colluding holder injects 1,000 rows for each person; the attacker
subtracts what it injected. What injection does do is falsify the sum, by as many rows as are injected: that a contribution
is true is not promised (docs/threat-model.md), and the figure says by how much.

Run it: python -m tests.attacks.injection
"""

from typing import Any

import numpy as np
import pandas as pd

from privacy.errors import PlanRejected
from tests.attacks.bounds import Guesses, secret_bits
from tests.attacks.broken import SILENT
from tests.attacks.world import (
    HONEST,
    REAL,
    Market,
    Mechanism,
    Release,
    attack_policy,
    open_market,
    people,
    release,
    report,
)
from tests.privacy.plan_world import plan_of, policy_of, unit_of

RHO_MICRO = 200_000
SQL = "SELECT slot, COUNT(*) AS n FROM 用电 WHERE flag = 1 GROUP BY slot"
WHOLE = {"slots": 1000, "injected": 99}


def run(*, slots: int, injected: int) -> dict[str, Any]:
    """Guess each person's flag, with `injected` rows of the same person at the colluding holder."""
    bits = secret_bits("injection", slots)
    table = people(slots, slot=np.arange(slots), flag=bits)
    forged = pd.concat([table.assign(flag=1, month=month) for month in range(1, injected + 1)])
    half = slots // 2
    halves = (table.iloc[:half], table.iloc[half:])
    policy = attack_policy(slots=slots)
    with open_market(policy, *halves) as market:
        plan = market.plan(SQL, RHO_MICRO)
        plain = market.cells(plan)
    with open_market(policy, *halves, forged) as market:
        found, released = _attack(market, bits, REAL)
        naked, _ = _attack(market, bits, SILENT)
        cells = market.cells(plan)
    same = all((cells[k] == plain[k]).all() for k in range(HONEST))
    shift = np.median([int(row[1] or 0) for row in released.table().rows if row[0] != "other"])
    return {
        "attack": "key injection",
        "holds": found.holds and not naked.holds and same and distinct_over_holders_is_refused(),
        "guesses": found.to_json(),
        "without_noise": naked.to_json(),
        "honest_cells_unchanged": same,
        "answer_falsified_by_rows_a_group": float(shift),
    }


def _attack(market: Market, bits: Any, mechanism: Mechanism) -> tuple[Guesses, Release]:
    plan = market.plan(SQL, RHO_MICRO)
    released = release(plan, market.cells(plan), mechanism)
    right = int(((released.values()[: len(bits)] > 0.5) == bits).sum())
    return Guesses(right, len(bits), RHO_MICRO), released


def distinct_over_holders_is_refused() -> bool:
    """Tell whether COUNT(DISTINCT) over holders that may share units is refused, where a key counts once for each."""
    shared = policy_of(privacy_unit=unit_of(disjoint=False))
    try:
        plan_of("SELECT COUNT(DISTINCT 户号) FROM 用电", shared)
    except PlanRejected:
        return True
    return False


if __name__ == "__main__":
    report(run, WHOLE)
