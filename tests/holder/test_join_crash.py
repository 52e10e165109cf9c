"""A holder that is killed in the rounds of a join: the same bytes again, nothing drawn twice, the same answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holder.join import STATE_NAME
from holder.join_store import JoinStore
from holder.types import Stage
from ledger.types import Digest
from privacy.messages import Kind, decode_frame
from privacy.terms import PlanKind
from tests.holder.join_world import SHORT, JoinWorld, customer, meter, parts_sent
from tests.holder.test_crash import Killed, Tripwire, kills
from tests.holder.world import Member


@pytest.fixture
def world(tmp_path: Path) -> JoinWorld:
    bank = [customer(key, n) for n, key in enumerate(("甲公司", "乙公司", "丙公司"))]
    power = [meter(key, n, 10.0 * (n + 1)) for n, key in enumerate(("甲公司", "丙公司", "丁公司"))]
    return JoinWorld(tmp_path / "world", bank, power)


def require_same(world: JoinWorld, request_id: Digest) -> None:
    """Each place of each round was sent with one content only, and the answer is right."""
    assert {key: len(found) for key, found in parts_sent(world).items() if len(found) != 1} == {}
    assert world.sums(request_id) == world.plain(world.plan_of(request_id))
    for kind in (Kind.BUNDLE, Kind.MASKED_INPUT, Kind.UNMASK):
        frames = [(sender, frame) for sender, each, frame in world.broker.arrivals if each == kind]
        assert len(set(frames)) == 2


def restart(world: JoinWorld, member: Member) -> None:
    member.store.engine.dispose()
    world.start(member)


def test_restarts_of_both_sides_between_all_steps_send_the_same_bytes(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    for _ in range(12):
        world.step(request_id)
        world.seal_if_due(request_id)
        world.answer_if_due(request_id, world.members)
        for member in world.members:
            restart(world, member)
    assert {member.store.request(request_id).stage for member in world.members} == {Stage.DONE}
    require_same(world, request_id)


def arm(member: Member, place: str, *, after: bool) -> None:
    """Kill the member at its next use of something."""
    computation: Any = member.machine._computations[PlanKind.JOIN]
    owner, method = {
        "state": (member.store, "keep"),
        "part on disk": (computation._parts, "put"),
        "part sent": (computation._exchange, "post_message"),
        "receipt": (computation._parts, "put_receipt"),
        "fetched": (computation._exchange, "join_parts"),
        "vector": (member.store, "advance"),
        "forgotten": (computation._parts, "drop"),
    }[place]
    setattr(owner, method, Tripwire(owner, method, after=after))


@pytest.mark.parametrize(
    ("victim", "place", "after"),
    kills(
        [("matcher", 0), ("value side", 1)],
        [
            (each, each)
            for each in ("state", "part on disk", "part sent", "receipt", "fetched", "vector", "forgotten")
        ],
    ),
)
def test_a_kill_at_any_place_of_the_rounds_changes_nothing(
    world: JoinWorld, victim: int, place: str, after: bool
) -> None:
    request_id = world.open(SHORT)
    world.step(request_id)  # both approve
    member = world.members[victim]
    killed = 0
    for _ in range(5):
        arm(member, place, after=after)
        try:
            world.step(request_id)
        except Killed:
            killed += 1
            world.chain.mine()
        restart(world, member)
    assert killed
    world.run(request_id, Stage.DONE)
    require_same(world, request_id)


def test_the_state_is_on_disk_before_the_first_part_leaves(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    seen: list[bool] = []
    take = world.broker.take

    def watched(sender: bytes, request: Digest, data: bytes) -> object:
        if decode_frame(data).kind is Kind.JOIN:
            (member,) = [each for each in world.members if each.address == sender]
            parts = JoinStore(member.store.engine)
            seen.append(member.store.has_secret(request, STATE_NAME) and parts.holds(request))
        return take(sender, request, data)  # type: ignore[arg-type]

    world.broker.take = watched  # type: ignore[method-assign,assignment]
    world.run(request_id, Stage.SHARED)
    assert seen == [True] * 3


def test_parts_that_were_forgotten_are_taken_again_only_if_they_are_the_same(world: JoinWorld) -> None:
    from holder.errors import OnceOnly
    from holder.join_store import Round, StoredPart

    request_id = world.open(SHORT)
    world.step(request_id)
    world.step(request_id, only=[world.bank])
    parts, session = JoinStore(world.bank.store.engine), world.session(request_id).id
    round_ = Round(request_id, session, 1)
    (kept,) = parts.read(round_)
    parts.drop(request_id)
    assert (parts.count(round_), list(parts.read(round_)), parts.holds(request_id)) == (0, [], False)
    with pytest.raises(OnceOnly):
        parts.put(round_, StoredPart(0, b"other", Digest(bytes(32))))
    parts.put(round_, StoredPart(0, kept.frame, kept.message_hash))
    assert [part.frame for part in parts.read(round_)] == [kept.frame]
