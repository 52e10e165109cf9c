"""Kill -9 at random moments, with a chain that comes and goes: nothing lost, nothing doubled, every receipt honoured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.licence_crash import ANCHORS, HONOURED_S, OUTAGES, run_crashes


def test_thirty_kills_lose_nothing_double_nothing_and_break_no_receipt(tmp_path: Path) -> None:
    report = run_crashes(30, tmp_path, operations=30)
    assert (report.lost, report.doubled, report.broken) == (0, 0, 0)
    assert report.kills >= 30 and report.operations >= 30
    assert report.recoveries > 1 and 0 < report.honoured_s <= HONOURED_S
    if not report.with_chain:
        pytest.skip(
            "anvil is not installed (run ./shuyao once): 30 kills passed, without a chain and its outages"
        )
    assert report.outages >= OUTAGES and report.anchors >= ANCHORS
