"""Crashes at every place, chains that lose blocks, backups: the same bytes again, noise never redrawn."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from holder.machine import Machine
from holder.types import Hold, Stage
from ledger.errors import ChainUnreachable
from ledger.types import Approved, Contributed, Digest, Sealed
from tests.holder.model_chain import ChainOf
from tests.holder.world import ExchangeOf, Member, World

SQL = "SELECT COUNT(*), SUM(kwh) FROM 用电"


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nothing catches it."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def assert_same_bytes(world: World, request_id: Digest) -> None:
    """Each holder sent one and the same frame of each kind, however often."""
    sent = defaultdict(set)
    for sender, kind, frame in world.broker.arrivals:
        sent[sender, kind].add(frame)
    assert {key: len(frames) for key, frames in sent.items() if len(frames) != 1} == {}
    noisy = [world.cells_of(member, request_id) for member in world.members]
    assert world.answer(request_id) == [sum(column) for column in zip(*noisy, strict=True)]
    for member in world.members:
        assert [(line.reserved, line.spent) for line in member.store.lines()] == [(0, 1_000_000)]


def test_a_restart_after_every_step_sends_the_same_bytes(world: World) -> None:
    request_id = world.open(SQL)
    cells: dict[str, list[int]] = {}
    for _ in range(14):
        world.step(request_id)
        world.seal_if_due(request_id)
        world.answer_if_due(request_id, world.members)
        for member in world.members:
            member.store.engine.dispose()
            world.start(member)
            if member.store.request(request_id).stage not in (Stage.SEEN, Stage.APPROVED):
                found = world.cells_of(member, request_id)
                assert cells.setdefault(member.name, found) == found
    assert {m.store.request(request_id).stage for m in world.members} == {Stage.DONE}
    assert_same_bytes(world, request_id)


class Tripwire:
    """Kills the process at the n-th call of a method, before or after it took effect."""

    def __init__(self, target: Any, method: str, *, after: bool) -> None:
        self.target, self.method, self.after = target, method, after
        self.inner = getattr(target, method)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        setattr(self.target, self.method, self.inner)
        if self.after:
            self.inner(*arguments, **options)
        raise Killed


PLACES = [
    ("store", "approve"),
    ("store", "advance"),
    ("store", "put_receipt"),
    ("store", "mark_sealed"),
    ("store", "finish"),
    ("_chain", "send"),
    ("_exchange", "post_message"),
]


def arm(member: Member, place: tuple[str, str], *, after: bool) -> None:
    owner, method = place
    target = member.store if owner == "store" else getattr(member.machine, owner)
    if owner == "_exchange":
        target = member.machine._mail._exchange
    setattr(target, method, Tripwire(target, method, after=after))


def kills(who: Sequence[tuple[str, Any]], places: Sequence[tuple[str, Any]]) -> list[Any]:
    """Return each pair with a kill before and one after, as (who, place, after).

    Every pair comes up in the small run: with one of the two, by turns, as on a chess-board; the other is slow.
    """
    return [
        pytest.param(
            each,
            place,
            after,
            id=f"{name}-{where}-{when}",
            marks=[pytest.mark.slow] if (i + j + after) % 2 else [],
        )
        for i, (name, each) in enumerate(who)
        for j, (where, place) in enumerate(places)
        for after, when in ((False, "before"), (True, "after"))
    ]


STAGES = (Stage.SEEN, Stage.APPROVED, Stage.SHARED, Stage.CONTRIBUTED, Stage.UNMASKED)


@pytest.mark.parametrize(
    ("stage", "place", "after"),
    kills([(stage.value, stage) for stage in STAGES], [(place[1], place) for place in PLACES]),
)
def test_a_kill_at_any_place_of_any_stage_changes_nothing(
    world: World, stage: Stage, place: tuple[str, str], after: bool
) -> None:
    request_id = world.open(SQL)
    if stage is not Stage.SEEN:
        world.run(request_id, stage)
    victim = world.members[0]
    arm(victim, place, after=after)
    for _ in range(3):
        try:
            world.step(request_id)
        except Killed:
            victim.store.engine.dispose()
            world.start(victim)
            world.chain.mine()
        world.seal_if_due(request_id)
        world.answer_if_due(request_id, world.members)
    world.start(victim)  # disarmed, if the place was never reached
    world.run(request_id, Stage.DONE)
    assert_same_bytes(world, request_id)


def test_a_chain_that_lost_blocks_replays_to_the_same_session_and_bytes(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.CONTRIBUTED)
    world.chain.mine()
    session = world.session(request_id).id
    first = next(e.at.block for e in world.chain.events if isinstance(e, Approved))
    world.chain.lose(first)
    for member in world.members:
        member.machine.reopen(first)
    world.step(request_id)  # approvals are mined again; everybody waits for the rest
    world.run(request_id, Stage.DONE)
    assert world.session(request_id).id == session
    assert_same_bytes(world, request_id)


@pytest.mark.parametrize("lost", ["the answer", "the seal"])
def test_a_seal_or_answer_that_the_chain_lost_is_charged_once(world: World, lost: str) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    sealed = next(e.at.block for e in world.chain.events if isinstance(e, Sealed))
    first = sealed if lost == "the seal" else sealed + 1
    world.chain.lose(first)
    for member in world.members:
        assert member.machine.reopen(first) == (request_id,)
        assert member.store.request(request_id).stage is Stage.UNMASKED
    world.run(request_id, Stage.DONE)
    assert_same_bytes(world, request_id)


def test_a_roster_that_changed_is_refused_after_sharing(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    changed = next(e for e in world.chain.events if isinstance(e, Approved))
    object.__setattr__(changed, "e_x", world.keys[request_id].x)
    world.step(request_id)
    found = [member.store.request(request_id).reason for member in world.members]
    assert found.count("SessionChanged") == 2 and found.count("RestoredBackup") == 1


def test_other_survivors_than_unmasked_for_are_refused(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.UNMASKED)
    frames = [frame for _, kind, frame in world.broker.arrivals if kind == 3]
    gone = next(e for e in world.chain.events if isinstance(e, Contributed))
    world.chain.events.remove(gone)
    sealed = next(e for e in world.chain.events if isinstance(e, Sealed))
    object.__setattr__(sealed, "survivors", 2)
    survivors = [member for member in world.members if member.address != gone.holder]
    world.step(request_id, only=survivors)
    assert {m.store.request(request_id).reason for m in survivors} == {"SessionChanged"}
    assert set(frames) >= {frame for _, kind, frame in world.broker.arrivals if kind == 3}


# --- restored backups -------------------------------------------------------------------------------------


def copy_of(member: Member) -> Path:
    member.store.engine.dispose()
    copy = member.home / "backup"
    copy.mkdir(exist_ok=True)
    for path in member.home.glob("holder.db*"):
        shutil.copy(path, copy / path.name)
    shutil.copy(member.home / "epoch", copy / "epoch")
    return copy


def restore(world: World, member: Member, copy: Path, *, epoch_too: bool) -> None:
    member.store.engine.dispose()
    for path in member.home.glob("holder.db*"):
        path.unlink()
    for path in copy.glob("holder.db*"):
        shutil.copy(path, member.home / path.name)
    if epoch_too:
        shutil.copy(copy / "epoch", member.home / "epoch")
    world.start(member)


@pytest.mark.parametrize("epoch_too", [False, True], ids=["database", "database and epoch file"])
@pytest.mark.parametrize("stage", [Stage.SEEN, Stage.APPROVED, Stage.SHARED, Stage.CONTRIBUTED])
def test_a_restored_backup_refuses_the_session_and_sends_nothing_new(
    world: World, stage: Stage, epoch_too: bool
) -> None:
    request_id = world.open(SQL)
    member = world.members[0]
    if stage is not Stage.SEEN:
        world.run(request_id, stage)
    copy = copy_of(member)
    world.start(member)
    later = {Stage.SEEN: Stage.APPROVED, Stage.APPROVED: Stage.SHARED, Stage.SHARED: Stage.CONTRIBUTED}
    world.run(request_id, later.get(stage, Stage.DONE))
    world.chain.mine()
    restore(world, member, copy, epoch_too=epoch_too)
    before = [arrival for arrival in world.broker.arrivals if arrival[0] == member.address]
    for _ in range(3):
        world.step(request_id)
    if not epoch_too or stage in (Stage.SEEN, Stage.APPROVED, Stage.SHARED):
        stored = member.store.request(request_id)
        assert (stored.stage, stored.reason) == (Stage.REFUSED, "RestoredBackup")
    after = [arrival for arrival in world.broker.arrivals if arrival[0] == member.address]
    assert {frame for _, _, frame in after} == {frame for _, _, frame in before}


def test_a_full_restore_to_before_anything_masked_left_draws_again_safely(world: World) -> None:
    """Database and epoch file both come back, and the chain shows nothing newer: no masked input ever left."""
    request_id = world.open(SQL)
    world.run(request_id, Stage.APPROVED)
    member = world.members[0]
    copy = copy_of(member)
    world.start(member)
    member.machine.step(request_id)  # deals its shares and hands them in; the transaction is lost
    assert member.store.request(request_id).stage is Stage.SHARED
    world.chain.mempool.clear()
    world.chain.sent = {k: v for k, v in world.chain.sent.items() if k[:2] != (member.address, "share")}
    restore(world, member, copy, epoch_too=True)
    assert not any(kind == 2 for _, kind, _ in world.broker.arrivals)
    world.run(request_id, Stage.DONE)
    assert_same_bytes(world, request_id)


def test_the_exchange_having_other_bytes_of_ours_is_a_restored_backup(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    member = world.members[0]
    world.broker.frames[request_id, 2, member.address] = b"other bytes"
    world.step(request_id)
    stored = member.store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "RestoredBackup")


# --- things that are away ---------------------------------------------------------------------------------


def test_an_exchange_that_is_away_delays_and_nothing_more(world: World) -> None:
    request_id = world.open(SQL)
    for stage in (Stage.APPROVED, Stage.SHARED, Stage.CONTRIBUTED, Stage.DONE):
        world.broker.is_away = True
        world.step(request_id)
        world.broker.is_away = False
        world.run(request_id, stage)
    assert_same_bytes(world, request_id)


def test_a_chain_that_is_away_is_an_error_for_now(world: World) -> None:
    request_id = world.open(SQL)
    member = world.members[0]

    class Away(ChainOf):
        def view(self, request_id: Digest) -> Any:
            raise ChainUnreachable("away")

    chain = member.machine._chain
    member.machine._chain = Away(world.chain, member.address)
    with pytest.raises(ChainUnreachable):
        member.machine.step(request_id)
    member.machine._chain = chain
    world.run(request_id, Stage.DONE)
    assert isinstance(member.machine, Machine) and isinstance(member.machine._exchange, ExchangeOf)
    assert member.store.request(request_id).hold is Hold.SPENT
