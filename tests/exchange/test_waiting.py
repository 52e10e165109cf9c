"""Waking those who wait, and nobody else."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from exchange.errors import MarketStopping
from exchange.pace import Pace
from exchange.waiting import Waiting
from ledger.encoding import keccak
from ledger.types import Digest

ONE, TWO = keccak(b"one"), keccak(b"two")


class Looker:
    """A condition that counts how often it is looked at."""

    def __init__(self) -> None:
        self.is_true = False
        self.looks = 0
        self.looked = threading.Event()

    def __call__(self) -> bool | None:
        self.looks += 1
        self.looked.set()
        return True if self.is_true else None


def wait(
    waiting: Waiting, looker: Looker, request: Digest, pool: ThreadPoolExecutor, **options: object
) -> Future[bool]:
    """Wait in a thread, and return once it has looked for the first time."""
    future = pool.submit(lambda: waiting.until(request, looker, **options))  # type: ignore[arg-type]
    assert looker.looked.wait(5)
    return future


def test_a_condition_that_holds_is_not_waited_for() -> None:
    looker = Looker()
    looker.is_true = True
    assert Waiting().until(ONE, looker)
    assert looker.looks == 1


def test_a_touch_wakes_the_request_that_it_names() -> None:
    waiting, looker, other = Waiting(), Looker(), Looker()
    with ThreadPoolExecutor(2) as pool:
        first = wait(waiting, looker, ONE, pool)
        second = wait(waiting, other, TWO, pool)
        looker.is_true = other.is_true = True
        waiting.touch(ONE)
        assert first.result(5)
        assert other.looks == 1
        waiting.touch_all()
        assert second.result(5)
    assert not waiting.is_waited_for()


def test_the_head_wakes_those_whose_block_it_has_reached() -> None:
    waiting, soon, late, each = Waiting(), Looker(), Looker(), Looker()
    with ThreadPoolExecutor(3) as pool:
        first = wait(waiting, soon, ONE, pool, block=10)
        second = wait(waiting, late, ONE, pool, block=12)
        third = wait(waiting, each, TWO, pool, each_look=True)
        soon.is_true = late.is_true = each.is_true = True
        waiting.advance(9)
        assert third.result(5)
        assert (soon.looks, late.looks) == (1, 1)
        waiting.advance(11)
        assert first.result(5)
        assert late.looks == 1
        waiting.advance(12)
        assert second.result(5)


def test_stopping_ends_every_wait_now_and_later() -> None:
    waiting, looker = Waiting(), Looker()
    with ThreadPoolExecutor(1) as pool:
        future = wait(waiting, looker, ONE, pool)
        waiting.stop()
        with pytest.raises(MarketStopping):
            future.result(5)
    with pytest.raises(MarketStopping):
        waiting.until(ONE, looker)
    with pytest.raises(MarketStopping):
        waiting.pause(60)


def test_a_listener_hears_its_request_until_it_leaves() -> None:
    waiting, heard = Waiting(), []
    with waiting.listening(ONE, lambda: heard.append("one")):
        waiting.announce(TWO)
        waiting.touch(ONE)
        waiting.announce(ONE)
        waiting.stop()
    waiting.announce(ONE)
    assert heard == ["one", "one"]


def test_a_chain_with_a_rhythm_is_looked_at_when_its_next_block_is_due() -> None:
    pace, now, looks = Pace(0.2, 1.0), 0.0, 0
    while now < 60:
        pace.saw(int(now), now)  # a block each second
        now += pace.delay_s(now, is_busy=True)
        looks += 1
    assert 60 <= looks <= 180


def test_a_look_that_was_late_is_made_good() -> None:
    pace = Pace(0.2, 1.0)
    for block in range(10):
        pace.saw(block, block + 0.15)  # each block is a whole second, and seen 0.15 s late
    assert pace.delay_s(9.15, is_busy=True) < 1.0


def test_an_idle_chain_is_looked_at_seldom_and_an_irregular_one_steadily() -> None:
    pace = Pace(0.2, 1.0)
    pace.saw(1, 0.0)
    assert pace.delay_s(0.0, is_busy=False) == 1.0
    assert pace.delay_s(0.0, is_busy=True) == 0.2
    pace.saw(2, 600.0)
    assert pace.delay_s(600.0, is_busy=True) == 0.2
