"""After the unmask message has left there is no way back: it is charged, and the broker cannot claim it lacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from holder.errors import ExchangeProblem
from holder.types import Hold, Stage
from ledger.types import Digest, Sealed
from tests.holder.world import World

SQL = "SELECT 城镇, COUNT(*), AVG(kwh) FROM 用电 GROUP BY 城镇"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def unmasked(world: World) -> Digest:
    request_id = world.open(SQL)
    world.run(request_id, Stage.UNMASKED)
    return request_id


def lose_the_seal(world: World) -> None:
    first = next(event.at.block for event in world.chain.events if isinstance(event, Sealed))
    world.chain.lose(first)
    for member in world.members:
        member.machine.reopen(first)
    world.chain.mine()


def test_a_request_that_is_closed_on_another_chain_after_its_unmask_stays_charged(world: World) -> None:
    request_id = unmasked(world)
    lose_the_seal(world)
    world.chain.close(request_id, reason=3)
    world.chain.mine()
    world.step(request_id)
    for member in world.members:
        stored = member.store.request(request_id)
        assert (stored.stage, stored.hold) == (Stage.CLOSED, Hold.SPENT)
        (line,) = member.store.lines()
        assert (line.reserved, line.spent) == (0, stored.request.rho_micro)


def test_a_broker_that_claims_to_have_another_unmask_message_gets_it_on_the_chain(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.CONTRIBUTED)
    world.chain.mine()
    for member in world.members:
        world.broker.frames[request_id, 3, member.address] = b"a message that nobody sent"
    world.seal_if_due(request_id)
    for member in world.members:
        with pytest.raises(ExchangeProblem):
            member.machine.step(request_id)
    assert {member.store.request(request_id).stage for member in world.members} == {Stage.UNMASKED}
    world.now += 21
    world.step(request_id)
    world.step(request_id)
    view = world.chain.view(request_id)
    assert view is not None and len(view.posted) == 3
    assert {member.store.request(request_id).stage for member in world.members} == {Stage.DONE}
