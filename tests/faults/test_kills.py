"""kill -9 of every kind of process at named steps of a request: it completes or closes cleanly, with the same bytes."""

from __future__ import annotations

import pytest

from tests.faults.kills import survive
from tests.faults.world import Step
from tests.stack import Stack

PAIRS = [
    ("exchange", Step.SUBMITTED),
    ("exchange", Step.SHARED),
    ("exchange", Step.SEALED),
    ("holder-1", Step.APPROVED),
    ("holder-1", Step.SHARED),
    ("holder-1", Step.UNMASKED),
    ("anvil", Step.SEEN),
    ("anvil", Step.CONTRIBUTED),
    ("chain", Step.ANSWERED),
]
POSTGRES_PAIRS = [("exchange", Step.CONTRIBUTED), ("holder-1", Step.CONTRIBUTED), ("anvil", Step.SHARED)]


@pytest.mark.parametrize(("process", "step"), PAIRS, ids=[f"{p}-{s.name.lower()}" for p, s in PAIRS])
def test_killed_process_changes_nothing(stack: Stack, process: str, step: Step) -> None:
    survive(stack, process, step)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("process", "step"), POSTGRES_PAIRS, ids=[f"{p}-{s.name.lower()}" for p, s in POSTGRES_PAIRS]
)
def test_killed_process_changes_nothing_on_postgresql(
    postgres_stack: Stack, process: str, step: Step
) -> None:
    survive(postgres_stack, process, step)
