"""What holders hand in: receipted once, in time, from the roster, and given to nobody whom it does not concern."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.chainside import Close, Open, Seal
from exchange.errors import (
    MessageConflict,
    MessageNotCommitted,
    MessagePrivate,
    MessageTooEarly,
    MessageTooLate,
    NotYours,
    RequestUnknown,
)
from ledger.encoding import keccak
from ledger.errors import BadSignature
from ledger.signing import recover
from ledger.types import Digest
from privacy.errors import (
    BadUnmask,
    FrameTrailing,
    FrameTruncated,
    PayloadMalformed,
    SenderUnknown,
    SessionMismatch,
)
from privacy.messages import Frame, Kind, decode_frame, receipt_digest
from tests.exchange.world import World


@pytest.fixture
def request_id(world: World) -> Digest:
    """A request that all three holders approved."""
    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    for holder in world.holders:
        holder.approve(signed.id)
    world.follow()
    return signed.id


def share_all(world: World, request: Digest) -> None:
    for holder in world.holders:
        holder.share(request)


def seal(world: World, request: Digest) -> None:
    share_all(world, request)
    for holder in world.holders:
        holder.contribute(request)
    progress = world.progress(request)
    world.chain.submit(Seal(progress.request, tuple(progress.members)))
    world.follow()


def reframe(frame: bytes, **changes: Any) -> bytes:
    """Return a frame with fields replaced and its signature as it was."""
    old = decode_frame(frame)
    fields = {name: getattr(old, name) for name in ("kind", "session", "sender", "payload", "signature")}
    return Frame(**{**fields, **changes}).encode()


def test_a_receipt_is_the_brokers_signature_over_the_message(world: World, request_id: Digest) -> None:
    holder = world.holders[0]
    frame = holder.bundle(request_id)
    receipt = holder.send(request_id, frame)
    digest = receipt_digest(request_id, holder.address, decode_frame(frame).message_hash)
    assert recover(Digest(digest), receipt) == world.broker.address


def test_the_same_bytes_again_get_the_same_receipt_and_other_bytes_a_conflict(
    world: World, request_id: Digest
) -> None:
    holder = world.holders[0]
    frame = holder.bundle(request_id)
    receipt = holder.send(request_id, frame)
    assert world.market.messages.take(holder.address, request_id, frame)[1] is False
    assert holder.send(request_id, frame) == receipt
    payload = decode_frame(frame).payload
    other = holder.frame(request_id, Kind.BUNDLE, payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(MessageConflict):
        holder.send(request_id, other)
    assert holder.send(request_id, frame) == receipt


def test_a_receipt_can_be_fetched_again_after_the_deadline(world: World, request_id: Digest) -> None:
    share_all(world, request_id)
    holder = world.holders[0]
    frame = holder.masked_input(request_id)
    receipt = holder.send(request_id, frame)
    world.chain.mine(500)
    world.follow()
    assert holder.send(request_id, frame) == receipt


def test_a_forged_frame_is_refused(world: World, request_id: Digest) -> None:
    holder, other = world.holders[:2]
    frame = holder.bundle(request_id)
    with pytest.raises(BadSignature):
        holder.send(request_id, reframe(frame, signature=decode_frame(other.bundle(request_id)).signature))
    with pytest.raises(SenderUnknown):
        other.send(request_id, frame)  # another's frame under the own name
    with pytest.raises(SessionMismatch):
        holder.send(request_id, reframe(frame, session=keccak(b"another session")))
    with pytest.raises(FrameTruncated):
        holder.send(request_id, frame[:-1])
    with pytest.raises(FrameTrailing):
        holder.send(request_id, frame + b"\0")


def test_a_frame_of_another_request_is_refused(world: World, request_id: Digest) -> None:
    second = world.submit(world.buyer("other"))
    world.chain.submit(Open(second.request, second.signature))
    for holder in world.holders:
        holder.approve(second.id)
    holder = world.holders[0]
    with pytest.raises(SessionMismatch):
        holder.send(request_id, holder.bundle(second.id))


def test_strangers_and_buyers_cannot_send(world: World, request_id: Digest) -> None:
    frame = world.holders[0].bundle(request_id)
    for stranger in (world.buyer("other").address, world.broker.address):
        with pytest.raises(NotYours):
            world.market.messages.take(stranger, request_id, frame)
    with pytest.raises(RequestUnknown):
        world.holders[0].send(keccak(b"nothing"), frame)


def test_a_stranger_does_not_make_the_exchange_look_at_the_chain(world: World) -> None:
    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    for holder in world.holders:
        holder.approve(signed.id)
    world.follow()
    frame = world.holders[0].bundle(signed.id)
    early = frame[:4] + bytes([int(Kind.MASKED_INPUT)]) + frame[5:]  # of a step that has not begun
    stranger, head = world.buyer("other").address, world.market.follower.head
    world.chain.mine()
    with pytest.raises(NotYours):
        world.market.messages.take(stranger, signed.id, early)
    assert world.market.follower.head == head


def test_a_holder_that_did_not_approve_cannot_send(world: World) -> None:
    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    first, second, late = world.holders
    for holder in (first, second):
        holder.approve(signed.id)
    with pytest.raises(MessageTooEarly):  # the roster is still open
        late.send(signed.id, Frame(Kind.BUNDLE, bytes(32), 0, b"\0\0", bytes(65)).encode())
    world.chain.mine_to(signed.request.approve_by)
    frame = first.bundle(signed.id)
    with pytest.raises(NotYours):
        late.send(signed.id, frame)


def test_a_bundle_must_be_the_one_on_the_chain_and_in_time(world: World, request_id: Digest) -> None:
    first, second, third = world.holders
    hashes = {"bundle_hash": keccak(b"another"), "seed_hash": bytes(32), "commitment_hash": bytes(32)}
    world.chain.share(request_id, first.address, hashes)
    world.follow()
    with pytest.raises(MessageNotCommitted):
        first.send(request_id, first.bundle(request_id))
    second.share(request_id)
    world.chain.mine_to(world.progress(request_id).request.share_by)
    with pytest.raises(MessageTooLate):
        third.send(request_id, third.bundle(request_id))


def test_a_malformed_bundle_is_refused(world: World, request_id: Digest) -> None:
    holder = world.holders[0]
    with pytest.raises(PayloadMalformed):
        holder.send(request_id, holder.frame(request_id, Kind.BUNDLE, b"\0\0"))


def test_a_masked_input_is_refused_before_sharing_closed_and_after_contributing_did(
    world: World, request_id: Digest
) -> None:
    first, second, third = world.holders
    first.share(request_id)
    second.share(request_id)
    early = first.frame(request_id, Kind.MASKED_INPUT, bytes(8 * 6 + 32))
    with pytest.raises(MessageTooEarly):
        first.send(request_id, early)
    world.chain.mine_to(world.progress(request_id).request.share_by)
    first.send(request_id, first.masked_input(request_id))
    with pytest.raises(MessageTooLate, match="did not share"):
        third.send(request_id, third.frame(request_id, Kind.MASKED_INPUT, bytes(8 * 6 + 32)))
    frame = second.masked_input(request_id)
    world.chain.mine_to(world.progress(request_id).request.contribute_by)
    world.follow()
    with pytest.raises(MessageTooLate):
        second.send(request_id, frame)


def test_a_masked_input_of_another_length_or_with_a_lane_beyond_q_is_refused(
    world: World, request_id: Digest
) -> None:
    share_all(world, request_id)
    holder = world.holders[0]
    for payload in (bytes(8 * 5 + 32), bytes(8 * 7 + 32), b"", bytes(8 * 6) + b"\xff" * 32):
        with pytest.raises(PayloadMalformed):
            holder.send(request_id, holder.frame(request_id, Kind.MASKED_INPUT, payload))


def test_an_unmask_message_is_taken_from_survivors_after_the_seal_with_one_share_each(
    world: World, request_id: Digest
) -> None:
    share_all(world, request_id)
    first = world.holders[0]
    with pytest.raises(MessageTooEarly):
        first.send(request_id, first.frame(request_id, Kind.UNMASK, bytes(2)))
    for holder in world.holders:
        holder.contribute(request_id)
    progress = world.progress(request_id)
    world.chain.submit(Seal(progress.request, tuple(progress.members)))
    good = decode_frame(first.unmask(request_id)).payload
    mask_key_of_a_survivor = good[:4] + b"\x02" + good[5:]
    for payload in (good[:-35], mask_key_of_a_survivor, good + good[2:]):
        with pytest.raises((BadUnmask, PayloadMalformed)):
            first.send(request_id, first.frame(request_id, Kind.UNMASK, payload))
    assert first.send(request_id, first.unmask(request_id))


def test_nothing_is_taken_for_a_request_that_was_closed(world: World, request_id: Digest) -> None:
    holder = world.holders[0]
    frame = holder.bundle(request_id)
    world.chain.mine_to(world.progress(request_id).request.share_by)
    progress = world.progress(request_id)
    world.chain.submit(Close(progress.request, tuple(progress.members)))
    with pytest.raises(MessageTooLate):
        holder.send(request_id, frame)


def test_bundles_are_given_to_the_roster_and_masked_inputs_to_nobody(
    world: World, request_id: Digest
) -> None:
    seal(world, request_id)
    world.holders[0].send(request_id, world.holders[0].unmask(request_id))
    give = world.market.messages.give
    stranger, buyer = world.buyer("other").address, world.progress(request_id).request.buyer
    for holder in world.holders:
        assert len(give(holder.address, request_id, 1)) == 3
    for viewer in (stranger, buyer):
        with pytest.raises(NotYours):
            give(viewer, request_id, 1)
    for viewer in (stranger, buyer, world.holders[1].address, world.broker.address):
        with pytest.raises(MessagePrivate):
            give(viewer, request_id, 2)
    for viewer in (stranger, buyer, world.holders[1].address):
        with pytest.raises(MessagePrivate):
            give(viewer, request_id, 3)
    assert len(give(world.broker.address, request_id, 3)) == 1


def test_a_message_that_the_index_does_not_know_the_time_for_yet_is_taken_after_one_more_look(
    world: World,
) -> None:
    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    world.follow()
    for holder in world.holders:
        holder.approve(signed.id)  # nobody has looked at the chain since
    assert world.market.requests.progress(world.market.store.request(signed.id)).session is None
    holder = world.holders[0]
    assert holder.send(signed.id, holder.bundle(signed.id))
