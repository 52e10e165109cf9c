"""The loop: one request never holds up another, what is away is asked again, and it ends when told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from holder.errors import ExchangeUnreachable
from holder.node import AWAY_PAUSE_S, Node
from ledger.errors import ChainMismatch, ChainUnreachable
from ledger.types import Digest

IDS = [Digest(bytes([number]) * 32) for number in range(5)]


class FakeMachine:
    """Steps that do what a test says."""

    def __init__(self) -> None:
        self.steps: Counter[Digest] = Counter()
        self.act: dict[Digest, Callable[[], float | None]] = {}
        self.observed: list[Any] = []
        self.reopened: list[int] = []

    def step(self, request_id: Digest) -> float | None:
        self.steps[request_id] += 1
        return self.act.get(request_id, lambda: None)()

    def observe(self, opened: Any) -> bool:
        self.observed.append(opened)
        return True

    def reopen(self, first_lost: int) -> tuple[Digest, ...]:
        self.reopened.append(first_lost)
        return ()


class FakeIndexer:
    def __init__(self) -> None:
        self.number, self.error, self.lost = 1, None, list[Any]()

    def tick(self) -> int:
        if self.error is not None:
            raise self.error
        return 0

    def head(self) -> int:
        return self.number

    def rollbacks(self, after: int = 0) -> list[Any]:
        return [each for each in self.lost if each.generation > after]


class Bench:
    """A node over fakes, driven round by round on a clock of its own."""

    def __init__(self, live: list[Digest]) -> None:
        self.now, self.live, self.openings = 0.0, live, list[Any]()
        self.machine, self.indexer, self.ticks = FakeMachine(), FakeIndexer(), Counter[str]()
        self.regulators = ["the regulator"]
        side = SimpleNamespace(
            opened_after=lambda after: [o for o in self.openings if after is None or o.at > after],
            forget=lambda: self.ticks.update(["forget"]),
            regulators=lambda: self.regulators,
        )
        parts: Any = SimpleNamespace(
            settings=SimpleNamespace(workers=2, poll_live_s=0.2, poll_idle_s=0.5),
            store=SimpleNamespace(
                live_requests=lambda: tuple(self.live),
                lines=lambda: (),
                refuse_if_restored=lambda: (),
                is_behind_chain=lambda: False,
            ),
            indexer=self.indexer,
            submitter=SimpleNamespace(tick=lambda: self.ticks.update(["submitter"])),
            chain_side=side,
            data=SimpleNamespace(rest=lambda now: self.ticks.update(["rest"])),
            exchange=SimpleNamespace(close=lambda: self.ticks.update(["closed"])),
            chain=SimpleNamespace(close=lambda: self.ticks.update(["closed"])),
            keys=SimpleNamespace(signer=SimpleNamespace(address=bytes(20))),
        )
        self.stop = threading.Event()
        self.node = Node(parts, self.stop, machine=self.machine, clock=lambda: self.now)  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(2)

    def round(self, *, after_s: float = 0.0, blocks: int = 0) -> float:
        self.now += after_s
        self.indexer.number += blocks
        pause = self.node._round(self.pool)
        running = [job.running for job in self.node._jobs.values() if job.running is not None]
        wait(running, timeout=5)
        return pause


def test_every_live_request_is_stepped_once_a_block_and_not_between() -> None:
    bench = Bench(IDS)
    bench.round()
    bench.round(after_s=0.2)
    assert dict(bench.machine.steps) == dict.fromkeys(IDS, 1)
    bench.round(after_s=0.2, blocks=1)
    assert dict(bench.machine.steps) == dict.fromkeys(IDS, 2)


def test_a_request_that_blocks_or_fails_does_not_hold_up_the_others() -> None:
    bench, gate = Bench(IDS[:3]), threading.Event()

    def fail() -> float | None:
        raise ExchangeUnreachable("away")

    def block() -> float | None:
        gate.wait(5)
        return None

    bench.machine.act = {IDS[0]: fail, IDS[1]: block}
    bench.node._round(bench.pool)
    for _ in range(20):
        bench.indexer.number += 1
        bench.now += 0.2
        bench.node._round(bench.pool)
        if bench.machine.steps[IDS[2]] >= 3:
            break
        threading.Event().wait(0.01)
    gate.set()
    assert bench.machine.steps[IDS[2]] >= 3 and bench.machine.steps[IDS[1]] == 1


def test_a_failing_request_is_tried_again_after_growing_pauses() -> None:
    bench = Bench(IDS[:1])

    def fail() -> float | None:
        raise ExchangeUnreachable("away")

    bench.machine.act = {IDS[0]: fail}
    bench.round()
    tried = []
    for _ in range(120):
        before = bench.machine.steps[IDS[0]]
        bench.round(after_s=0.1, blocks=1)
        if bench.machine.steps[IDS[0]] > before:
            tried.append(bench.now)
    gaps = [round(b - a, 1) for a, b in pairwise(tried)]
    assert gaps == sorted(gaps) and gaps[-1] >= 3
    bench.machine.act.clear()
    bench.round(after_s=6)
    bench.round()
    steps = bench.machine.steps[IDS[0]]
    bench.round(after_s=0.1, blocks=1)
    assert bench.machine.steps[IDS[0]] == steps + 1


def test_an_error_that_nobody_expected_is_logged_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(IDS[:1])

    def fail() -> float | None:
        raise ValueError("a record: 张三")

    bench.machine.act = {IDS[0]: fail}
    bench.round()
    bench.round(after_s=1)
    shown = capsys.readouterr().out
    assert "ValueError" in shown and "张三" not in shown


def test_a_step_that_asks_to_be_called_again_is_called_again() -> None:
    bench = Bench(IDS[:1])
    bench.machine.act = {IDS[0]: lambda: 0.3}
    bench.round()
    assert bench.round(after_s=0.1) == pytest.approx(0.2)
    assert bench.machine.steps[IDS[0]] == 1
    bench.round(after_s=0.31)
    assert bench.machine.steps[IDS[0]] == 2


def test_pauses_are_short_while_requests_are_live_and_long_otherwise() -> None:
    bench = Bench(IDS[:1])
    bench.round()
    assert bench.round() == 0.2
    bench.live = []
    bench.round(blocks=1)
    assert bench.round() == 0.5
    assert bench.ticks["rest"] > 0


def test_a_chain_that_is_away_is_asked_again_for_as_long_as_it_takes() -> None:
    bench = Bench(IDS[:1])
    bench.round()
    bench.indexer.error = ChainUnreachable("away")
    assert [bench.round(after_s=1) for _ in range(3)] == [AWAY_PAUSE_S] * 3
    bench.indexer.error = None
    bench.round(blocks=1)
    assert bench.machine.steps[IDS[0]] == 2


def test_another_chain_at_the_start_ends_the_node() -> None:
    bench = Bench([])
    bench.indexer.error = ChainMismatch("another chain")
    with pytest.raises(ChainMismatch):
        bench.round()


def test_lost_blocks_are_taken_back_once_and_openings_are_read_anew() -> None:
    bench = Bench([])
    opening = SimpleNamespace(at=(5, 0))
    bench.openings = [opening]
    bench.round()
    bench.round(blocks=1)
    assert bench.machine.observed == [opening]
    bench.indexer.lost = [SimpleNamespace(generation=1, fork_block=3)]
    bench.round(blocks=1)
    bench.round(blocks=1)
    assert bench.machine.reopened == [4] and bench.ticks["forget"] == 1
    assert bench.machine.observed == [opening, opening]


def test_the_submitter_looks_at_every_block_and_once_a_second() -> None:
    bench = Bench(IDS[:1])
    bench.round()
    for _ in range(4):
        bench.round(after_s=0.2)
    assert bench.ticks["submitter"] == 1
    bench.round(after_s=0.3)
    bench.round(after_s=0.1, blocks=1)
    assert bench.ticks["submitter"] == 3


def test_the_node_ends_when_told_and_closes_what_it_waits_for() -> None:
    bench = Bench(IDS[:1])
    ready: list[bool] = []

    def on_ready() -> None:
        ready.append(True)
        bench.stop.set()

    bench.node.run(on_ready)
    assert ready == [True] and bench.ticks["closed"] == 2


def test_a_market_without_a_regulator_is_reported_once_at_the_start() -> None:
    for regulators, said in ((["the regulator"], 0), (list[str](), 1)):
        bench = Bench([])
        bench.regulators = regulators
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                bench.round()
        assert [entry["event"] for entry in logs].count("no regulator's key on the chain") == said
