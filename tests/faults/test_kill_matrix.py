"""Every step of every process, on both databases; and everything killed at once. Minutes: only in `./shuyao test --full`."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.kills import EVERYTHING, survive
from tests.faults.world import Step
from tests.stack import ANVIL, Stack

PROCESSES = ("exchange", "holder-1", ANVIL, "chain", EVERYTHING)
PAIRS = list(itertools.product(PROCESSES, Step))
every_pair = pytest.mark.parametrize(
    ("process", "step"), PAIRS, ids=[f"{p}-{s.name.lower()}" for p, s in PAIRS]
)


@pytest.mark.slow
@every_pair
def test_every_step_survives_a_kill(stack: Stack, process: str, step: Step) -> None:
    survive(stack, process, step)


@pytest.mark.slow
@pytest.mark.postgres
@every_pair
def test_every_step_survives_a_kill_on_postgresql(postgres_stack: Stack, process: str, step: Step) -> None:
    survive(postgres_stack, process, step)
