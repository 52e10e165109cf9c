"""Side channels: do sizes of messages, or times, follow the data?

Sizes must not: plan, bundle, masked input, unmask message and answer are measured for tables that differ as much as
tables can. Times do: the engine reads more rows in more time, and Python's integers promise nothing (docs/threat-model.md
names timing as not hidden). They are a figure here and nothing is asserted about them.

Run it: python -m tests.attacks.channels
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from privacy.sealed_sum import mask_input
from tests.attacks.world import Cells, Market, attack_policy, open_market, people, release, report
from tests.privacy.sum_world import World

RHO_MICRO = 500_000
SQL = "SELECT a, COUNT(*) AS n, AVG(x) AS m, HISTOGRAM(y, 4) AS h FROM 用电 WHERE flag = 1 GROUP BY a"
WHOLE = {"rows": 100_000, "repeats": 40}


def run(*, rows: int, repeats: int) -> dict[str, Any]:
    """Measure an empty table, one of one group, and one of all groups at the ends of every interval."""
    ordinary = people(rows)
    tables = {
        "empty": ordinary.iloc[:0],
        "one row": ordinary.iloc[:1],
        "all rows alike": ordinary,
        "all rows extreme": ordinary.assign(x=1e9, y=-1e9, a=np.resize(["p", "q", "r", "z"], rows)),
    }
    sizes: dict[str, dict[str, int]] = {}
    times: dict[str, dict[str, float]] = {}
    for name, table in tables.items():
        sizes[name], times[name] = _measure(table, repeats)
    return {
        "attack": "side channels",
        "holds": len({tuple(each.items()) for each in sizes.values()}) == 1,
        "bytes": sizes["empty"],
        "rows": rows,
        "median_ms": times,
    }


def _measure(table: pd.DataFrame, repeats: int) -> tuple[dict[str, int], dict[str, float]]:
    with open_market(attack_policy(), table) as market:
        plan = market.plan(SQL, RHO_MICRO)
        released = release(plan, market.cells(plan))
        cells = released.cells
        messages = _messages(cells)
        sizes = {"plan": len(plan.to_bytes()), "rows of the table": len(released.table().rows), **messages}
        times = {
            "read and sum": _median_ms(lambda: _read(market), repeats),
            "mask": _median_ms(lambda: _messages(cells), repeats),
        }
    return sizes, times


def _read(market: Market) -> list[Cells]:
    return market.cells(market.plan(SQL, RHO_MICRO))


def _messages(cells: Cells) -> dict[str, int]:
    """Return the bytes of what holders and broker send in a sealed sum of these cells."""
    world = World(3, cells=len(cells))
    everybody = world.everybody
    masked = {
        holder: mask_input(
            world.secrets[holder],
            world.session,
            holder,
            sharers=everybody,
            buyer_key=world.buyer.compressed,
            cells=cells,
        )
        for holder in everybody
    }
    answer = world.aggregate(everybody, everybody, everybody, masked=masked)
    return {
        "bundle": len(world.bundles[0]),
        "masked input": len(masked[0]),
        "unmask message": len(world.unmask(0, everybody, everybody)),
        "answer": len(answer.payload),
    }


def _median_ms(action: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken), 2)


if __name__ == "__main__":
    report(run, WHOLE)
