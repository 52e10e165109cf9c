"""Steps that the chain lost, and whose transactions, sent again, came before those of others that they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from holder.types import Stage
from ledger.types import Approved, Contributed
from privacy.messages import Kind
from tests.holder.model_chain import revert
from tests.holder.world import World

SQL = "SELECT 城镇, COUNT(*), AVG(kwh) FROM 用电 GROUP BY 城镇"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.mark.parametrize("stage", [Stage.SHARED, Stage.CONTRIBUTED, Stage.UNMASKED])
@pytest.mark.parametrize("refused", [("share", "contribute"), ("approve", "share", "contribute")])
def test_steps_that_reverted_after_a_loss_are_taken_again(
    world: World, stage: Stage, refused: tuple[str, ...]
) -> None:
    request_id = world.open(SQL)
    world.run(request_id, stage)
    world.chain.mine()
    session = world.session(request_id).id
    before = [_kept(world, number, request_id) for number in range(3)]
    first = next(e.at.block for e in world.chain.events if isinstance(e, Approved))
    world.chain.lose(first)
    for sender, step, lost, _ in world.chain.mempool:
        if step in refused:
            world.chain.reverts[sender, step, lost] = revert("StateWrong")
    world.chain.mempool = [each for each in world.chain.mempool if each[1] not in refused]
    for member in world.members:
        member.machine.reopen(first)
    world.run(request_id, Stage.DONE)
    assert world.session(request_id).id == session
    assert len([e for e in world.chain.events if isinstance(e, Contributed)]) == 3
    for number, kept in enumerate(before):
        assert kept.items() <= _kept(world, number, request_id).items()
    noisy = [world.cells_of(member, request_id) for member in world.members]
    assert world.answer(request_id) == [sum(column) for column in zip(*noisy, strict=True)]


def test_revert_that_time_does_not_cure_is_refused_at_once(world: World) -> None:
    request_id = world.open(SQL)
    first, *_ = world.members
    world.chain.reverts[first.address, "approve", request_id] = revert("BudgetExceeded")
    world.step(request_id)
    assert first.store.request(request_id).reason == "TransactionReverted"


def test_passing_revert_is_refused_after_the_deadline(world: World) -> None:
    request_id = world.open(SQL)
    first, *others = world.members
    for _ in range(12):
        world.chain.reverts[first.address, "approve", request_id] = revert("StateWrong")
        world.step(request_id, only=others)
        first.machine.step(request_id)
        world.chain.mempool = [each for each in world.chain.mempool if each[0] != first.address]
    assert first.store.request(request_id).stage is Stage.REFUSED


def _kept(world: World, number: int, request_id: bytes) -> dict[Kind, bytes]:
    found = {kind: world.members[number].store.message(request_id, kind) for kind in Kind}
    return {kind: message.frame for kind, message in found.items() if message is not None}
