"""The rounds of a private join through the exchange: from one side to the other, each part once, in time, to nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from exchange import join_store
from exchange.chainside import Close, Open
from exchange.errors import (
    MessageConflict,
    MessagePrivate,
    MessageTooEarly,
    MessageTooLate,
    NotYours,
    RequestInvalid,
)
from exchange.joining import GIVEN_MAX
from exchange.types import Stage
from holder.chain_side import RequestView, view_of
from holder.errors import ExchangeMalformed, JoinMismatch, OnceOnly
from holder.exchange_client import Acknowledgement
from holder.join_mail import JoinMail
from holder.join_store import JoinStore, Round
from holder.tables import metadata
from ledger.database import make_engine
from ledger.errors import BadSignature
from ledger.signing import recover
from ledger.types import Address, Digest
from privacy.errors import FrameKindUnknown, PayloadMalformed
from privacy.join.parts import PART_BYTES_MAX, cut
from privacy.join.transport import round_parts, round_size
from privacy.messages import Kind, decode_frame, receipt_digest
from privacy.plan import Plan
from privacy.session import Session
from tests.exchange.test_messages import reframe
from tests.exchange.world import HolderNode, Signed, World
from tests.privacy.join_plan_world import BANK, FOLDER, POWER, fields, terms_of

SQL = (FOLDER / "query.sql").read_text(encoding="utf8")
# the market of these tests calls its listing so; long lists make rounds of several parts
POLICY: dict[str, Any] = {**fields(), "listing": "power", "rows_max": 600_000}
for _side in POLICY["join"]["sides"].values():
    _side["list_max"] = 50_000


@pytest.fixture
def world(sqlite_engine: Engine, tmp_path: Path) -> World:
    """A market of both sides, whose listing is made."""
    names = (POWER, BANK)
    made = World(sqlite_engine, f"sqlite:///{tmp_path}/workflows.db", n=2, policy=POLICY, asset_names=names)
    made.list_power()
    return made


@pytest.fixture
def signed(world: World) -> Signed:
    """A request for the join, opened."""
    made = world.submit(world.buyer(), SQL, purpose="research")
    world.chain.submit(Open(made.request, made.signature))
    return made


@pytest.fixture
def request_id(world: World, signed: Signed) -> Digest:
    """The same, approved by both sides."""
    for holder in world.holders:
        holder.approve(signed.id)
    world.follow()
    return signed.id


def value_holder(world: World) -> HolderNode:
    return world.holders[0]


def matcher(world: World) -> HolderNode:
    return world.holders[1]


def session_of(world: World, request: Digest) -> Session:
    session = world.progress(request).session
    assert session is not None
    return session


def payloads(world: World, signed: Signed, number: int, fill: int = 0) -> list[bytes]:
    """The parts of a round, of the right lengths."""
    plan, session = signed.quote.plan, session_of(world, signed.id)
    size = round_size(plan, terms_of(plan), session, number)
    return list(cut(number, size, [bytes([fill]) * size]))


def frames(world: World, signed: Signed, holder: HolderNode, number: int, fill: int = 0) -> list[bytes]:
    return [holder.frame(signed.id, Kind.JOIN, each) for each in payloads(world, signed, number, fill)]


def give(world: World, viewer: Address, request: Digest, number: int, first: int = 0) -> list[bytes]:
    given = world.market.messages.give(viewer, request, int(Kind.JOIN), (number, first))
    return [each.frame for each in given]


def test_a_round_goes_from_one_side_to_the_other_part_by_part(
    world: World, signed: Signed, request_id: Digest
) -> None:
    sender, other = matcher(world), value_holder(world)
    sent = frames(world, signed, sender, 1)
    assert len(sent) == round_parts(
        signed.quote.plan, terms_of(signed.quote.plan), session_of(world, request_id), 1
    )
    assert len(sent) > 1 and len(decode_frame(sent[0]).payload) == PART_BYTES_MAX
    for frame in reversed(sent):
        receipt = sender.send(request_id, frame)
        digest = receipt_digest(request_id, sender.address, decode_frame(frame).message_hash)
        assert recover(Digest(digest), receipt) == world.broker.address
    assert give(world, other.address, request_id, 1) == sent
    assert give(world, other.address, request_id, 1, first=1) == sent[1:]
    assert give(world, other.address, request_id, 2) == []
    assert world.market.messages.give(other.address, request_id, int(Kind.BUNDLE)) == []


def test_a_reply_has_a_few_parts(world: World, signed: Signed, request_id: Digest) -> None:
    sent = frames(world, signed, value_holder(world), 2)[: GIVEN_MAX + 3]
    for frame in sent:
        value_holder(world).send(request_id, frame)
    me = matcher(world).address
    assert give(world, me, request_id, 2) == sent[:GIVEN_MAX]
    assert give(world, me, request_id, 2, first=GIVEN_MAX) == sent[GIVEN_MAX:]


def test_a_part_again_gets_its_receipt_and_other_bytes_a_conflict(
    world: World, signed: Signed, request_id: Digest
) -> None:
    sender = matcher(world)
    first, second = frames(world, signed, sender, 1)[:2]
    receipt = sender.send(request_id, first)
    sender.send(request_id, second)
    assert world.market.messages.take(sender.address, request_id, first)[1] is False
    with pytest.raises(MessageConflict) as caught:
        sender.send(request_id, frames(world, signed, sender, 1, fill=7)[0])
    assert caught.value.place == (1, 0)
    for holder in world.holders:
        holder.share(request_id)
    assert sender.send(request_id, first) == receipt  # after its time, too


def test_a_part_of_another_round_side_length_or_signer_is_refused(
    world: World, signed: Signed, request_id: Digest
) -> None:
    sender, other = matcher(world), value_holder(world)
    payload = payloads(world, signed, 1)[0]
    for wrong in (
        b"",
        payload[:4],
        payload[:-1],
        payload + b"\0",
        b"\2" + payload[1:],
        b"\0" + payload[1:],
        payload[:1] + b"\xff\xff" + payload[3:],
        payload[:3] + b"\0\1" + payload[5:],
    ):
        with pytest.raises(PayloadMalformed):
            sender.send(request_id, sender.frame(request_id, Kind.JOIN, wrong))
    with pytest.raises(PayloadMalformed):
        other.send(request_id, other.frame(request_id, Kind.JOIN, payload))
    frame = sender.frame(request_id, Kind.JOIN, payload)
    with pytest.raises(BadSignature):
        sender.send(request_id, reframe(frame, signature=decode_frame(other.bundle(request_id)).signature))


def test_no_part_is_taken_once_sharing_is_over(world: World, signed: Signed, request_id: Digest) -> None:
    sender = matcher(world)
    first, second = frames(world, signed, sender, 1)[:2]
    matcher(world).share(signed.id)
    world.follow()
    sender.send(signed.id, first)
    value_holder(world).share(signed.id)
    world.follow()
    with pytest.raises(MessageTooLate):
        sender.send(signed.id, second)


def test_a_frame_before_the_roster_is_closed_is_too_early(world: World, signed: Signed) -> None:
    sender = matcher(world)
    sender.approve(signed.id)
    value_holder(world).approve(signed.id)
    frame = frames(world, signed, sender, 1)[0]
    other = world.submit(world.buyer("second"), SQL, purpose="research")
    with pytest.raises(MessageTooEarly):
        sender.send(other.id, frame)


def test_nobody_but_the_two_sides_is_given_a_part(world: World, signed: Signed, request_id: Digest) -> None:
    sender = matcher(world)
    sender.send(request_id, frames(world, signed, sender, 1)[0])
    for viewer in (world.broker.address, world.buyer("other").address, signed.request.buyer):
        with pytest.raises(MessagePrivate):
            give(world, viewer, request_id, 1)
        with pytest.raises((NotYours, MessagePrivate)):
            world.market.messages.take(viewer, request_id, frames(world, signed, sender, 1)[0])


def test_a_plain_sum_has_no_rounds(sqlite_engine: Engine, tmp_path: Path) -> None:
    plain = World(sqlite_engine, f"sqlite:///{tmp_path}/workflows.db")
    plain.list_power()
    made = plain.submit(plain.buyer())
    plain.chain.submit(Open(made.request, made.signature))
    for holder in plain.holders:
        holder.approve(made.id)
    plain.follow()
    sender = plain.holders[0]
    with pytest.raises(FrameKindUnknown):
        sender.send(made.id, sender.frame(made.id, Kind.JOIN, b"\1\0\0\0\1x"))


def test_a_join_has_longer_to_share(world: World, signed: Signed) -> None:
    plan, request = signed.quote.plan, signed.request
    entries = terms_of(plan).entries(plan)
    wanted = world.window + -(-entries // world.settings.join_entries_per_block)
    assert request.share_by - request.approve_by == wanted > world.window
    quote = world.quote(world.buyer("third"), SQL, purpose="research")
    short = {**quote.draft, "share_by": str(int(quote.draft["approve_by"]) + world.window)}
    short["contribute_by"] = str(int(short["share_by"]) + world.window)
    short["answer_by"] = str(int(short["contribute_by"]) + world.window)
    changes = {name: int(short[name]) for name in ("share_by", "contribute_by", "answer_by")}
    buyer = world.buyer("third")
    with pytest.raises(RequestInvalid):
        world.take(world.sign(buyer, quote, **changes))


def test_the_parts_of_a_request_that_ended_are_forgotten(
    world: World, signed: Signed, request_id: Digest
) -> None:
    sender = matcher(world)
    sender.send(request_id, frames(world, signed, sender, 1)[0])
    store, session = world.market.store, session_of(world, request_id)
    assert store.read(lambda c: join_store.find_part(c, request_id, session.id, (1, 0))) is not None
    store.write(lambda c: join_store.drop_parts(c, request_id))
    assert store.read(lambda c: join_store.find_part(c, request_id, session.id, (1, 0))) is None


# --- a holder's mail through this exchange ------------------------------------------------------------------


class Relay:
    """The exchange as a holder calls it."""

    def __init__(self, world: World, me: Address) -> None:
        self.world, self.me, self.calls = world, me, 0
        self.tamper = bytes

    def request(self, request_id: Digest) -> Any:
        raise AssertionError("not asked for")

    def post_message(self, request_id: Digest, frame: bytes) -> Acknowledgement:
        self.calls += 1
        taken, _ = self.world.market.messages.take(self.me, request_id, frame)
        return Acknowledgement(taken.message_hash, taken.receipt)

    def bundles(self, request_id: Digest) -> bytes:
        raise AssertionError("not asked for")

    def join_parts(self, request_id: Digest, round_: int, first: int) -> bytes:
        return self.tamper(b"".join(give(self.world, self.me, request_id, round_, first)))


class Post:
    """One holder's mail of a join, on a fresh store."""

    def __init__(self, world: World, holder: HolderNode, plan: Plan, request: Digest) -> None:
        engine = make_engine("sqlite://")
        metadata.create_all(engine)
        view = view_of(world.progress(request).events, world.chain.head())
        assert isinstance(view, RequestView)
        self.store, self.relay = JoinStore(engine), Relay(world, holder.address)
        session = session_of(world, request)
        self.round = Round(request, session.id, 1)
        self.mail = JoinMail(self.store, self.relay, holder.signer, view=view, session=session, plan=plan)


def test_a_holder_writes_delivers_and_the_other_fetches_and_reads_the_same(
    world: World, signed: Signed, request_id: Digest
) -> None:
    plan = signed.quote.plan
    one, two = (Post(world, holder, plan, request_id) for holder in (matcher(world), value_holder(world)))
    wanted = payloads(world, signed, 1, fill=3)
    one.mail.write(1, wanted[:1])
    assert not one.mail.is_written(1)
    one.mail.deliver(1)
    assert not two.mail.fetch(1) and two.store.count(two.round) == 1
    one.mail.write(1, wanted)  # made again after a crash: the same bytes
    assert one.mail.is_written(1)
    one.mail.deliver(1)
    one.mail.deliver(1)
    assert one.relay.calls == len(wanted)
    assert two.mail.fetch(1) and two.mail.is_written(1)
    assert list(two.mail.read(1)) == wanted
    with pytest.raises(OnceOnly):
        one.mail.write(1, payloads(world, signed, 1, fill=4))
    one.store.drop(request_id)
    assert one.store.count(one.round) == 0


def test_a_holder_believes_neither_the_exchange_nor_another_sender(
    world: World, signed: Signed, request_id: Digest
) -> None:
    plan, sender = signed.quote.plan, matcher(world)
    post = Post(world, value_holder(world), plan, request_id)
    sent = frames(world, signed, sender, 1)
    own = value_holder(world).frame(request_id, Kind.JOIN, payloads(world, signed, 1)[0])
    flipped = bytearray(sent[0])
    flipped[100] ^= 1
    for given in (b"x", own, bytes(flipped), sent[1], sent[0] + sent[0]):
        fresh = Post(world, value_holder(world), plan, request_id)
        fresh.relay.tamper = lambda _, given=given: given  # type: ignore[assignment]
        with pytest.raises(ExchangeMalformed):
            fresh.mail.fetch(1)
    short = sender.frame(request_id, Kind.JOIN, payloads(world, signed, 1)[0][:-1])
    post.relay.tamper = lambda _: short  # type: ignore[assignment]
    with pytest.raises(JoinMismatch):
        post.mail.fetch(1)


def test_a_closed_request_takes_no_part(world: World, signed: Signed, request_id: Digest) -> None:
    sender = matcher(world)
    frame = frames(world, signed, sender, 1)[0]
    world.chain.mine(10_000)
    progress = world.progress(request_id)
    world.chain.submit(Close(progress.request, tuple(progress.members)))
    world.follow()
    assert world.progress(request_id).stage is Stage.CLOSED
    with pytest.raises(MessageTooLate):
        sender.send(request_id, frame)
