"""A plugin of `./shuyao test --full`: properties with more examples, and a table of what ran.

A property that says how many examples it takes keeps that number: it was chosen by what one costs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import settings

EXAMPLES: Final = 1000
REST: Final = "everything else"
FOLDERS: Final = {
    "faults": "kills and faults",
    "attacks": "attacks",
    "fuzz": "fuzzing",
    "misbehaviour": "misbehaviour",
}
GROUPS: Final = ("kills and faults", "attacks", "audits", "fuzzing", "misbehaviour", "properties", REST)
_GROUP: Final = "group"
_FIGURE: Final = "figure"  # what a test recorded of what it saw


@dataclass
class Tally:
    """What became of the tests of one group."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


_TALLIES: Final[defaultdict[str, Tally]] = defaultdict(Tally)


def pytest_configure() -> None:
    """Let every property that does not say otherwise take `EXAMPLES` examples."""
    settings.register_profile("whole", max_examples=EXAMPLES, deadline=None)
    settings.load_profile("whole")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note on each test the group that it counts in."""
    for item in items:
        item.user_properties.append((_GROUP, group_of(item)))


def group_of(item: pytest.Item) -> str:
    """Return the group of a test, by its folder, its name and what it is."""
    parts = item.nodeid.split("/")
    group = FOLDERS.get(parts[1]) if len(parts) > 1 else None
    if group == "attacks" and "audit" in item.name:
        return "audits"
    if group is None and getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        return "properties"
    return group or REST


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count one phase of one test."""
    properties = dict(report.user_properties)
    tally = _TALLIES[str(properties.get(_GROUP, REST))]
    tally.seconds += report.duration
    if report.failed:
        tally.failed += 1
    elif report.skipped:
        tally.skipped += 1
    elif report.when == "call":
        tally.passed += 1
        if _FIGURE in properties:
            case = report.nodeid.rpartition("[")[2].partition("]")[0]
            tally.notes.append(f"{case}: {properties[_FIGURE]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and each figure."""
    terminalreporter.section("whole")
    terminalreporter.write_line(f"{'group':18}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>10}")
    for group in GROUPS:
        tally = _TALLIES[group]
        counts = f"{tally.passed:8}{tally.failed:8}{tally.skipped:9}{tally.seconds:10.0f}"
        terminalreporter.write_line(f"{group:18}{counts}")
    for group in GROUPS:
        for note in sorted(_TALLIES[group].notes):
            terminalreporter.write_line(f"  {group}, {note}")
