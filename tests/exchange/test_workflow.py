"""Requests driven to their end by durable workflows, whatever happens on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from dbos import DBOS

from exchange import workflow
from exchange.chainside import Close, Open, PostAnswer, PostChunk, RefuteDemand, Release, Seal
from exchange.driver import Driver
from exchange.types import Stage
from ledger.types import Answered, Digest, Sealed, Settled
from privacy.messages import Frame, Kind, decode_frame
from tests.exchange.fake_chain import WINDOW
from tests.exchange.world import HolderNode, Signed, World


def play_to_seal(world: World, request: Digest, holders: list[HolderNode]) -> None:
    """Let holders play their part until the request is sealed."""
    world.await_stage(request, Stage.OPEN)
    for holder in holders:
        holder.approve(request)
    if len(holders) < world.n:
        world.chain.mine_to(world.progress(request).request.approve_by)
    world.await_stage(request, Stage.SHARING)
    for holder in holders:
        holder.share(request)
    world.await_stage(request, Stage.CONTRIBUTING)
    for holder in holders:
        holder.contribute(request)
    world.await_stage(request, Stage.SEALED)


def play_to_answer(world: World, request: Digest, holders: list[HolderNode] | None = None) -> None:
    """Let holders play their part until the request is answered."""
    present = world.holders if holders is None else holders
    play_to_seal(world, request, present)
    for holder in present:
        holder.send(request, holder.unmask(request))
    world.await_stage(request, Stage.ANSWERED, Stage.SETTLED)


def expected_sum(world: World, request: Digest, holders: list[HolderNode] | None = None) -> Any:
    """Return what the answer must be."""
    return sum(holder.cells(request) for holder in holders or world.holders)


def mine_until(world: World, signed: Signed, condition: Callable[[], bool]) -> None:
    """Mine a block at every look at the chain until the condition holds."""

    def ready() -> bool | None:
        if condition():
            return True
        world.chain.mine()
        return None

    world.market.waiting.until(signed.id, ready, each_look=True)


def acts(world: World, *kinds: type) -> list[Any]:
    """Return what the broker did on the chain."""
    return [act for act in world.chain.mined if isinstance(act, kinds or object)]


def test_a_request_is_answered_and_settled_at_the_buyers_acceptance(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_answer(running, signed.id)
    payload = running.market.requests.answer(buyer.address, signed.id)
    assert np.array_equal(running.open_sum(signed, payload), expected_sum(running, signed.id))
    running.accept(buyer, signed.id)
    running.await_stage(signed.id, Stage.SETTLED)
    assert [type(act) for act in acts(running)] == [Open, Seal, PostAnswer, Release]


def test_every_stage_is_kept_as_an_event_in_order(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_answer(running, signed.id)
    running.accept(buyer, signed.id)
    running.await_stage(signed.id, Stage.SETTLED)
    found = running.market.store.events_after(signed.id, 0)
    names = ["submitted", "open", "sharing", "contributing", "sealed", "answered", "settled"]
    assert [event.stage.value for event in found] == names
    assert [event.event_id for event in found] == sorted({event.event_id for event in found})


def test_without_acceptance_the_payment_is_released_after_the_window(running: World) -> None:
    signed = running.submit(running.buyer())
    play_to_answer(running, signed.id)
    running.chain.mine(WINDOW - 2)
    running.follow()
    assert acts(running, Release) == []
    running.chain.mine(3)
    running.await_stage(signed.id, Stage.SETTLED)
    assert [act.acceptance for act in acts(running, Release)] == [b""]


def test_a_request_that_too_few_approve_is_closed_and_refunded(running: World) -> None:
    buyer = running.buyer(credits_minor=31_000)
    signed = running.submit(buyer)
    running.await_stage(signed.id, Stage.OPEN)
    assert running.chain.balances[buyer.address] == 0
    running.holders[0].approve(signed.id)
    running.chain.mine_to(signed.request.approve_by)
    running.await_stage(signed.id, Stage.CLOSED)
    assert running.market.store.request(signed.id).reason == "too few holders approved"
    assert running.chain.balances[buyer.address] == 31_000


def test_a_request_that_too_few_share_is_closed(running: World) -> None:
    signed = running.submit(running.buyer())
    running.await_stage(signed.id, Stage.OPEN)
    for holder in running.holders:
        holder.approve(signed.id)
    running.await_stage(signed.id, Stage.SHARING)
    running.holders[0].share(signed.id)
    running.chain.mine_to(signed.request.share_by)
    running.await_stage(signed.id, Stage.CLOSED)
    assert running.market.store.request(signed.id).reason == "too few holders shared"


def test_a_holder_that_drops_out_before_the_seal_is_left_out_of_the_sum(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    running.await_stage(signed.id, Stage.OPEN)
    for holder in running.holders:
        holder.approve(signed.id)
    running.await_stage(signed.id, Stage.SHARING)
    for holder in running.holders:
        holder.share(signed.id)
    running.await_stage(signed.id, Stage.CONTRIBUTING)
    survivors = running.holders[:2]
    for holder in survivors:
        holder.contribute(signed.id)
    running.follow()
    assert acts(running, Seal) == []  # never early
    running.chain.mine_to(signed.request.contribute_by)
    running.await_stage(signed.id, Stage.SEALED)
    for holder in survivors:
        holder.send(signed.id, holder.unmask(signed.id))
    running.await_stage(signed.id, Stage.ANSWERED)
    payload = running.market.requests.answer(buyer.address, signed.id)
    expected = expected_sum(running, signed.id, survivors)
    assert np.array_equal(running.open_sum(signed, payload), expected)


def test_threshold_many_unmask_messages_suffice(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_seal(running, signed.id, running.holders)
    for holder in running.holders[1:]:
        holder.send(signed.id, holder.unmask(signed.id))
    running.await_stage(signed.id, Stage.ANSWERED)
    payload = running.market.requests.answer(buyer.address, signed.id)
    assert np.array_equal(running.open_sum(signed, payload), expected_sum(running, signed.id))


def test_unmask_payloads_posted_on_the_chain_are_used(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_seal(running, signed.id, running.holders)
    first, second, _ = running.holders
    first.send(signed.id, first.unmask(signed.id))
    running.chain.post_unmask(signed.id, second.address, decode_frame(second.unmask(signed.id)).payload)
    running.await_stage(signed.id, Stage.ANSWERED)
    payload = running.market.requests.answer(buyer.address, signed.id)
    assert np.array_equal(running.open_sum(signed, payload), expected_sum(running, signed.id))


def test_a_wrong_share_delays_the_answer_and_never_changes_it(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_seal(running, signed.id, running.holders)
    liar, *honest = running.holders
    true = decode_frame(liar.unmask(signed.id))
    wrong = true.payload[:-1] + bytes([true.payload[-1] ^ 1])
    liar.send(signed.id, liar.frame(signed.id, Kind.UNMASK, wrong))
    for holder in honest:
        holder.send(signed.id, holder.unmask(signed.id))
    running.await_stage(signed.id, Stage.ANSWERED)
    payload = running.market.requests.answer(buyer.address, signed.id)
    assert np.array_equal(running.open_sum(signed, payload), expected_sum(running, signed.id))


def test_a_sealed_request_that_nobody_unmasks_is_ended_after_the_window(running: World) -> None:
    buyer = running.buyer(credits_minor=31_000)
    signed = running.submit(buyer)
    play_to_seal(running, signed.id, running.holders)
    running.chain.mine_to(signed.request.answer_by + WINDOW)
    running.await_stage(signed.id, Stage.CLOSED)
    assert running.market.store.request(signed.id).reason == "sealed, but not answered in time"
    assert running.chain.balances[buyer.address] == 31_000


def test_a_demanded_chunk_is_posted_and_a_chunk_that_does_not_exist_is_refuted(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_answer(running, signed.id)
    running.chain.demand(signed.id, 0)
    payload = running.market.requests.answer(buyer.address, signed.id)
    running.market.waiting.until(signed.id, lambda: acts(running, PostChunk) or None, each_look=True)
    assert acts(running, PostChunk)[0].data == payload
    running.chain.demand(signed.id, 300)
    running.market.waiting.until(signed.id, lambda: acts(running, RefuteDemand) or None, each_look=True)
    running.accept(buyer, signed.id)
    running.await_stage(signed.id, Stage.SETTLED)


def test_a_request_that_the_contract_refuses_ends_with_its_reason(running: World) -> None:
    running.chain.failing[Open] = "ParticipantsOperatorShared"
    signed = running.submit(running.buyer())
    running.await_stage(signed.id, Stage.REFUSED)
    assert running.market.store.request(signed.id).reason == "ParticipantsOperatorShared"


def test_a_transaction_that_fails_is_tried_again_at_later_blocks(running: World) -> None:
    signed = running.submit(running.buyer())
    running.chain.failing[Seal] = "OutOfGas"
    running.await_stage(signed.id, Stage.OPEN)
    for holder in running.holders:
        holder.approve(signed.id)
    running.await_stage(signed.id, Stage.SHARING)
    for holder in running.holders:
        holder.share(signed.id)
    running.await_stage(signed.id, Stage.CONTRIBUTING)
    for holder in running.holders:
        holder.contribute(signed.id)
    mine_until(running, signed, lambda: len(running.chain.failed) > 1)
    running.chain.failing.clear()
    mine_until(running, signed, lambda: running.market.store.request(signed.id).stage is Stage.SEALED)


def test_a_chain_that_lost_the_seal_and_the_answer_is_followed_back_and_forth(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_answer(running, signed.id)
    before = running.market.requests.answer(buyer.address, signed.id)
    running.chain._acts.clear()
    running.chain.lose(lambda event: not isinstance(event, Sealed | Answered))
    running.await_stage(signed.id, Stage.CONTRIBUTING, Stage.SEALED)
    running.await_stage(signed.id, Stage.ANSWERED)
    assert running.market.requests.answer(buyer.address, signed.id) == before


def test_a_chain_that_lost_the_release_is_sent_it_again(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_answer(running, signed.id)
    running.accept(buyer, signed.id)
    running.await_stage(signed.id, Stage.SETTLED)
    bond = running.chain.free_bond()
    ended = workflow._workflow_id(running.market.store.request(signed.id))
    assert DBOS.retrieve_workflow(ended).get_result() == Stage.SETTLED
    running.chain._acts.clear()
    running.chain.lose(lambda event: not isinstance(event, Settled))
    assert running.chain.free_bond() < bond

    def stages() -> list[Stage] | None:
        found = [each.stage for each in running.market.store.events_after(signed.id, 0)]
        return found if found.count(Stage.SETTLED) == 2 else None

    found = running.market.waiting.until(signed.id, stages, each_look=True)
    assert found[-3:] == [Stage.SETTLED, Stage.ANSWERED, Stage.SETTLED]
    assert running.chain.free_bond() == bond


def test_while_the_chain_is_away_reads_go_on_and_a_request_waits(running: World) -> None:
    buyer = running.buyer()
    quote = running.quote(buyer)
    running.chain.away = True
    running.follow()
    signed = running.sign(buyer, quote)
    running.take(signed)
    assert running.market.listings.get("power").name == "power"
    assert running.market.store.request(signed.id).stage is Stage.SUBMITTED
    running.chain.away = False
    running.chain.mine()
    running.await_stage(signed.id, Stage.OPEN)


def test_twenty_requests_in_flight_finish(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    world = World(sqlite_engine, f"sqlite:///{tmp_path}/workflows.db", window=2000)
    world.list_power()
    buyers = [world.buyer(f"buyer {k}") for k in range(20)]
    world.market.start()
    try:
        signed = [world.submit(buyer) for buyer in buyers]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda each: play_to_answer(world, each.id), signed))
        for buyer, each in zip(buyers, signed, strict=True):
            payload = world.market.requests.answer(buyer.address, each.id)
            assert np.array_equal(world.open_sum(each, payload), expected_sum(world, each.id))
            world.accept(buyer, each.id)
        for each in signed:
            world.await_stage(each.id, Stage.SETTLED)
        assert len(acts(world, Close)) == 0
    finally:
        world.market.stop()


# --- restarts --------------------------------------------------------------------------------------------


@pytest.fixture
def restartable(world: World) -> Iterator[World]:
    """A running market that the test may restart; it is stopped at the end."""
    world.market.start()
    yield world
    world.market.stop()


def restart(world: World) -> None:
    """Stop the market and start another over the same databases."""
    world.market.stop()
    world.market = world.make_market()
    world.market.start()


def test_a_request_goes_on_after_a_restart_at_every_stage(restartable: World) -> None:
    world, buyer = restartable, restartable.buyer()
    signed = world.submit(buyer)
    world.await_stage(signed.id, Stage.OPEN)
    restart(world)
    for holder in world.holders:
        holder.approve(signed.id)
    world.await_stage(signed.id, Stage.SHARING)
    restart(world)
    for holder in world.holders:
        holder.share(signed.id)
    world.await_stage(signed.id, Stage.CONTRIBUTING)
    restart(world)
    for holder in world.holders:
        holder.contribute(signed.id)
    world.await_stage(signed.id, Stage.SEALED)
    for holder in world.holders[:1]:
        holder.send(signed.id, holder.unmask(signed.id))
    restart(world)
    for holder in world.holders[1:]:
        holder.send(signed.id, holder.unmask(signed.id))
    world.await_stage(signed.id, Stage.ANSWERED)
    restart(world)
    payload = world.market.requests.answer(buyer.address, signed.id)
    assert np.array_equal(world.open_sum(signed, payload), expected_sum(world, signed.id))
    world.accept(buyer, signed.id)
    world.await_stage(signed.id, Stage.SETTLED)
    assert [type(act) for act in acts(world)] == [Open, Seal, PostAnswer, Release]
    assert world.market.store.request(signed.id).runs == 0  # the one workflow was taken up each time


def test_a_request_that_was_taken_just_before_a_crash_is_started_at_the_next_start(world: World) -> None:
    signed = world.submit(world.buyer())  # the workflows do not run: nothing was started
    world.market.start()
    try:
        world.await_stage(signed.id, Stage.OPEN)
        assert world.market.store.request(signed.id).runs == 1
    finally:
        world.market.stop()


def test_what_holders_did_while_the_exchange_was_down_is_seen_at_the_next_start(restartable: World) -> None:
    world, buyer = restartable, restartable.buyer()
    signed = world.submit(buyer)
    world.await_stage(signed.id, Stage.OPEN)
    world.market.stop()
    for holder in world.holders:
        holder.approve(signed.id)
    world.market = world.make_market()
    world.market.start()
    world.await_stage(signed.id, Stage.SHARING)


def test_the_workflow_of_an_older_version_is_replaced_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(workflow, "APPLICATION_VERSION", "0")
        world.market.start()
        signed = world.submit(world.buyer())
        world.await_stage(signed.id, Stage.OPEN)
        world.market.stop()
    world.market = world.make_market()
    world.market.start()
    try:
        for holder in world.holders:
            holder.approve(signed.id)
        world.await_stage(signed.id, Stage.SHARING)
        assert world.market.store.request(signed.id).runs == 1
    finally:
        world.market.stop()


def test_a_workflow_that_ended_in_an_error_is_started_anew(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(*_: object) -> Stage:
        failed.set()
        raise RuntimeError("an error that nobody foresaw")

    with monkeypatch.context() as broken:
        broken.setattr(Driver, "leave", fail)
        signed = running.submit(running.buyer())
        assert failed.wait(10)
    while running.market.store.request(signed.id).runs == 0:
        running.market.workflows.sweep()  # nothing is started while the failed one is not yet recorded
    running.await_stage(signed.id, Stage.OPEN)


@pytest.mark.postgres
def test_a_request_is_answered_on_postgresql(engine: sa.Engine, database_url: str, tmp_path: Path) -> None:
    journal = database_url if database_url.startswith("postgres") else f"sqlite:///{tmp_path}/workflows.db"
    world = World(engine, journal)
    world.list_power()
    world.market.start()
    try:
        buyer = world.buyer()
        signed: Signed = world.submit(buyer)
        play_to_answer(world, signed.id)
        payload = world.market.requests.answer(buyer.address, signed.id)
        assert np.array_equal(world.open_sum(signed, payload), expected_sum(world, signed.id))
    finally:
        world.market.stop()


def test_a_frame_of_another_session_is_not_part_of_the_sum(running: World) -> None:
    buyer = running.buyer()
    signed = running.submit(buyer)
    play_to_seal(running, signed.id, running.holders)
    holder = running.holders[0]
    frame = decode_frame(holder.unmask(signed.id))
    foreign = Frame(frame.kind, bytes(32), frame.sender, frame.payload, frame.signature).encode()
    with pytest.raises(Exception, match="another session"):
        holder.send(signed.id, foreign)
