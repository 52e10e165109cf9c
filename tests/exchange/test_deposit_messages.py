"""Who is given what rides beside an answered sum over an encrypted deposit: its buyer alone, and only after the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from exchange.chainside import Open, PostAnswer
from exchange.errors import MessagePrivate, NotYours
from exchange.quotes import windows_of
from exchange.sums import Sums
from ledger.types import Digest
from privacy.errors import PayloadMalformed
from privacy.messages import Kind, decode_frame
from privacy.policy import Policy
from privacy.types import to_hex
from tests.exchange.test_messages import seal
from tests.exchange.world import World, signer_of
from tests.privacy.deposit.deposit_world import key
from tests.privacy.deposit.plan_world import policy_mapping

SQL = "SELECT town, COUNT(*) AS n FROM power GROUP BY town"
STRANGERS = (bytes([254]) * 20, bytes([255]) * 20)


def deposit_policy() -> dict[str, Any]:
    """A policy whose trustees are the world's three holders and two that are not listed."""
    accounts = sorted([*(signer_of(f"holder {number}").address for number in range(3)), *STRANGERS])
    given = policy_mapping(min_holders=3)
    points = zip(accounts, key().verification, strict=True)
    member = {**given["deposit"], "trustees": {to_hex(a): to_hex(point) for a, point in points}}
    return {**given, "deposit": member, "row_key": [], "null_values": [], "buyers": "*"}


@pytest.fixture
def world(sqlite_engine: sa.Engine, tmp_path: Path) -> World:
    """Three trustees of one deposit, and an exchange."""
    built = World(
        sqlite_engine,
        f"sqlite:///{tmp_path / 'workflows.db'}",
        policy=deposit_policy(),
        root=b"\x07" * 32,
    )
    built.list_power()
    return built


@pytest.fixture
def request_id(world: World) -> Digest:
    """A request that all three trustees approved."""
    signed = world.submit(world.buyer(), SQL)
    world.chain.submit(Open(signed.request, signed.signature))
    for holder in world.holders:
        holder.approve(signed.id)
    world.follow()
    return signed.id


def senders(world: World, viewer: Any, request: Digest, kind: Kind) -> list[int]:
    found = world.market.messages.give(viewer.address, request, kind)
    return sorted(decode_frame(each.frame).sender for each in found)


def answer(world: World, request: Digest) -> None:
    seal(world, request)
    for holder in world.holders:
        holder.send(request, holder.unmask(request))
    made = Sums(world.market.store).answer(world.progress(request))
    assert made is not None
    progress = world.progress(request)
    world.chain.submit(PostAnswer(progress.request, made.root))
    world.follow()


def test_riders_go_to_the_buyer_once_the_request_is_answered(world: World, request_id: Digest) -> None:
    buyer = signer_of("buyer")
    for stage in (seal, None):
        for kind in (Kind.BUNDLE, Kind.MASKED_INPUT):
            with pytest.raises(MessagePrivate):
                senders(world, buyer, request_id, kind)
        if stage is not None:
            stage(world, request_id)


def test_after_the_answer_only_its_buyer_is_given_the_masked_vectors(
    world: World, request_id: Digest
) -> None:
    answer(world, request_id)
    buyer = signer_of("buyer")
    assert senders(world, buyer, request_id, Kind.BUNDLE) == [0, 1, 2]
    assert senders(world, buyer, request_id, Kind.MASKED_INPUT) == [0, 1, 2]
    for kind in (Kind.UNMASK, Kind.JOIN):
        with pytest.raises(MessagePrivate):
            senders(world, buyer, request_id, kind)
    for viewer in (world.buyer("another buyer"), world.holders[0].signer, world.broker):
        with pytest.raises((MessagePrivate, NotYours)):
            senders(world, viewer, request_id, Kind.MASKED_INPUT)


def test_a_message_without_its_rider_is_refused(world: World, request_id: Digest) -> None:
    holder = world.holders[0]
    session = world.progress(request_id).session
    assert session is not None
    whole = decode_frame(holder.bundle(request_id)).payload
    for payload in (whole[:-1], whole + b"\x00", whole[: -holder.plan(request_id).bundle_rider_size]):
        with pytest.raises(PayloadMalformed):
            holder.send(request_id, holder.frame(request_id, Kind.BUNDLE, payload))


def test_the_window_for_sharing_is_longer_for_a_larger_cube(world: World) -> None:
    small = world.quote(world.buyer(), SQL)
    given = deposit_policy()
    given["columns"]["year"] = {**given["columns"]["year"], "domain": list(range(4000))}
    large = Policy.from_mapping(given)
    own = world.settings.windows.share
    assert windows_of(world.settings, world.the_policy, small.plan).share == own
    assert windows_of(world.settings, large, small.plan).share == own + 4001 * 3 * 8 // 50_000
