"""The thread that follows the chain, and what it does when the chain is away."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from exchange.chainside import Tick
from exchange.follower import Follower
from exchange.mirror import Mirror
from exchange.pace import Pace
from exchange.types import Stage
from exchange.waiting import Waiting
from ledger.types import Answered, Closed, Sealed, Settled
from tests.exchange.test_progress import opened
from tests.exchange.world import World


def test_a_chain_that_is_away_is_logged_once_and_again_when_it_is_back(world: World) -> None:
    with capture_logs() as logs:
        world.chain.away = True
        for _ in range(5):
            world.follow()
        assert world.market.follower.fault == "ChainUnreachable"
        world.chain.away = False
        for _ in range(5):
            world.follow()
    assert [each["event"] for each in logs] == ["chain_not_followed", "chain_followed"]
    assert world.market.follower.fault == ""


def test_transactions_that_cannot_be_sent_are_a_fault_and_the_index_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = world.market.follower.head
    monkeypatch.setattr(world.chain, "tick", lambda: Tick(head + 5, (), fault="SubmitterBehindChain"))
    world.follow()
    assert world.market.follower.fault == "SubmitterBehindChain"
    assert world.market.follower.head == head + 5


def test_a_stage_is_kept_and_announced_when_the_chain_has_another(world: World) -> None:
    request, heard = opened(world), []
    with world.market.waiting.listening(request, lambda: heard.append(1)):
        world.follow()
        world.chain.emit(Sealed, request_id=request, survivors=3, commitment_sum=bytes(128))
        world.follow()
        world.follow()
    assert world.market.store.request(request).stage is Stage.SEALED
    assert heard == [1]


def test_a_refused_request_stays_refused(world: World) -> None:
    signed = world.submit(world.buyer())
    world.market.store.set_stage(signed.id, Stage.REFUSED, 1, "why")
    world.market.follower.sync_stage(signed.id)
    assert world.market.store.request(signed.id).stage is Stage.REFUSED


def test_events_of_requests_that_are_not_ours_are_ignored(world: World) -> None:
    world.chain.emit(Settled, request_id=bytes(32))
    world.follow()
    assert world.market.store.stage_counts() == {}


def test_a_stage_that_the_chain_lost_is_taken_back(world: World) -> None:
    request = opened(world)
    world.chain.emit(Answered, request_id=request, answer_root=bytes(32))
    world.follow()
    assert world.market.store.request(request).stage is Stage.ANSWERED
    world.chain.lose(lambda event: not isinstance(event, Answered))
    world.follow()
    assert world.market.store.request(request).stage is Stage.OPEN


@pytest.mark.parametrize(("end", "stage"), [(Settled, Stage.SETTLED), (Closed, Stage.CLOSED)])
def test_an_end_that_the_chain_lost_is_taken_back(
    world: World, end: type[Settled | Closed], stage: Stage
) -> None:
    request, values = opened(world), {"reason": 1} if end is Closed else {}
    world.chain.emit(end, request_id=request, **values)
    world.follow()
    assert world.market.store.request(request).stage is stage
    world.chain.lose(lambda event: not isinstance(event, end))
    world.follow()
    assert world.market.store.request(request).stage is Stage.OPEN


def test_an_end_that_the_chain_lost_while_nobody_looked_is_taken_back_at_the_start(world: World) -> None:
    request = opened(world)
    world.chain.emit(Settled, request_id=request)
    world.follow()
    world.chain.lose(lambda event: not isinstance(event, Settled))
    world.chain.tick()  # somebody else was told
    store, stopped = world.market.store, Waiting()
    stopped.stop()
    again = Follower(chain=world.chain, store=store, waiting=stopped, mirror=Mirror(), pace=Pace(1.0, 1.0))
    again.start()
    assert world.market.store.request(request).stage is Stage.OPEN


def test_an_end_that_the_chain_kept_stays(world: World) -> None:
    request = opened(world)
    world.chain.emit(Settled, request_id=request)
    world.follow()
    world.chain.lose(lambda _: True)
    world.follow()
    assert world.market.store.request(request).stage is Stage.SETTLED
