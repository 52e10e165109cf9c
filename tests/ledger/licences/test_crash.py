"""Kill -9 at random moments, with a chain that comes and goes: nothing lost, nothing doubled, every receipt honoured."""

from __future__ import annotations

from pathlib import Path

from tests.faults.licence_crash import run_crashes


def test_thirty_kills_lose_nothing_double_nothing_and_break_no_receipt(tmp_path: Path) -> None:
    report = run_crashes(30, tmp_path, operations=30)
    assert (report.lost, report.doubled, report.broken) == (0, 0, 0)
    assert report.kills >= 30 and report.operations >= 30
