"""A request's stage, read from its events and the head, against the contract's rules in the fake chain."""

from __future__ import annotations

from dataclasses import replace

from exchange.progress import progress_of
from exchange.types import Stage
from ledger.types import Closed, Contributed, Digest, Withheld
from tests.exchange.fake_chain import DEPLOYMENT, moved
from tests.exchange.world import World


def opened(world: World) -> Digest:
    """Take a request and mine its opening, without any workflow."""
    from exchange.chainside import Open

    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    world.follow()
    return signed.id


def test_the_roster_closes_when_all_have_approved_or_at_the_deadline(world: World) -> None:
    request = opened(world)
    assert world.progress(request).stage is Stage.OPEN
    world.holders[0].approve(request)
    world.holders[1].approve(request)
    assert not world.progress(request).is_roster_closed
    assert world.progress(request).session is None
    world.chain.mine_to(world.progress(request).request.approve_by - 1)
    assert not world.progress(request).is_roster_closed
    world.chain.mine()
    progress = world.progress(request)
    assert progress.stage is Stage.SHARING
    assert progress.session is not None
    assert [each.holder for each in progress.approvals] == sorted(h.address for h in world.holders[:2])


def test_the_order_of_mining_does_not_change_the_session(world: World) -> None:
    request = opened(world)
    for holder in world.holders:
        holder.approve(request)
    progress = world.progress(request)
    reordered = [moved(each, 200 - k) for k, each in enumerate(reversed(progress.events))]
    again = progress_of(progress.request_id, progress.request, DEPLOYMENT, reordered, progress.head)
    assert progress.session is not None
    assert again.session == progress.session


def test_a_roster_below_the_fewest_holders_is_closable_and_not_before_its_deadline(world: World) -> None:
    request = opened(world)
    world.holders[0].approve(request)
    assert not world.progress(request).is_closable
    world.chain.mine_to(world.progress(request).request.approve_by)
    progress = world.progress(request)
    assert progress.is_closable
    assert not progress.is_sealable


def test_a_request_is_sealable_only_when_contributing_is_closed(world: World) -> None:
    request = opened(world)
    for holder in world.holders:
        holder.approve(request)
    for holder in world.holders:
        holder.share(request)
    for holder in world.holders[:2]:
        holder.contribute(request)
        assert not world.progress(request).is_sealable
    world.holders[2].contribute(request)
    progress = world.progress(request)
    assert progress.is_sealable
    assert progress.survivors == {0, 1, 2}
    too_few = [each for each in progress.events if not isinstance(each, Contributed)]
    after = replace(progress, head=progress.request.contribute_by, events=tuple(too_few), contributions={})
    assert after.is_closable
    assert not after.is_sealable


def test_a_seal_that_comes_after_the_answer_was_due_is_a_close(world: World) -> None:
    request = opened(world)
    for holder in world.holders:
        holder.approve(request)
    for holder in world.holders:
        holder.share(request)
    for holder in world.holders:
        holder.contribute(request)
    world.chain.mine_to(world.progress(request).request.answer_by)
    progress = world.progress(request)
    assert progress.is_closable
    assert not progress.is_sealable


def test_the_end_of_a_request_has_a_reason_in_words(world: World) -> None:
    request = opened(world)
    world.chain.emit(Closed, request_id=request, reason=2)
    progress = world.progress(request)
    assert progress.stage is Stage.CLOSED
    assert progress.reason == "too few holders shared"
    assert replace(progress, ended=None).reason == ""


def test_a_withheld_request_is_final(world: World) -> None:
    request = opened(world)
    world.chain.emit(Withheld, request_id=request)
    assert world.progress(request).stage is Stage.WITHHELD
    assert world.progress(request).stage.is_final
