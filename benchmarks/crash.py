"""Kill -9 of the book's process at random moments, with a chain that comes and goes: nothing lost, doubled or broken."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import machine
from benchmarks.report import Target, report
from tests.faults.licence_crash import ANCHORS, HONOURED_S, OUTAGES, RUN_MS, run_crashes

KILLS = 1_000
_TOLD_EVERY = 100


def run(count: int = KILLS) -> dict[str, Any]:
    """Run the harness of tests/faults/licence_crash.py.

    Args:
        count: how many kills.
    """
    env = machine()
    with tempfile.TemporaryDirectory(prefix="shuyao-bench-") as folder:
        found = run_crashes(count, Path(folder), progress=_tell)
    figures = {
        "lost": found.lost,
        "doubled": found.doubled,
        "broken_receipts": found.broken,
        "kills": found.kills,
        "chain_outages": found.outages,
        "operations": found.operations,
        "events": found.events,
        "anchors": found.anchors,
        "receipts_honoured_s": found.honoured_s,
        "seconds": found.seconds,
    }
    none = Target(at_most=0)
    targets = {
        "lost": none,
        "doubled": none,
        "broken_receipts": none,
        "kills": Target(at_least=count),
        "chain_outages": Target(at_least=OUTAGES),
        "anchors": Target(at_least=ANCHORS),
        "receipts_honoured_s": Target(at_most=HONOURED_S),
    }
    method = {
        "process": "the book: licences issued, suspended, resumed and revoked, access records, tokens, histories, anchors",
        "kill": f"SIGKILL at a random moment of the first {RUN_MS} ms, one in five while it starts and recovers",
        "lost": "events with a receipt that are not in the log, and durable access records that are not there",
        "doubled": "event ids or operations that are in the log more than once",
        "anchors": "heads that became final on the chain while the kills went on",
        "receipts_honoured_s": "the longest time from the begin of a recovery until every receipt was honoured, at the end under a quorum",
        "broken_receipts": "receipts whose leaf is not at their index, or a state that differs when made again from the log",
    }
    return report("crash", figures, targets, env | method)


def _tell(kills: int, operations: int) -> None:
    if kills % _TOLD_EVERY == 0:
        print(f"benchmark: {kills} kills, {operations} operations with receipts", file=sys.stderr)
