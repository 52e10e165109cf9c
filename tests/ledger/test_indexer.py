"""The index follows a chain that may lose or replace blocks, and depends on the chain alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine, read_transaction
from ledger.errors import ChainMismatch, ChainUnreachable
from ledger.indexer import Indexer
from ledger.rpc import RpcCall
from ledger.signing import Signer
from ledger.store import Rollback, create_tables, logs
from ledger.submitter import Settings, Submitter
from ledger.types import KeysRotated, ParticipantAdmitted, Roles, RolesChanged


def rows(engine: Engine) -> list[tuple[Any, ...]]:
    with read_transaction(engine) as c:
        return [tuple(row) for row in c.execute(select(logs).order_by(logs.c.block, logs.c.log_index))]


class World:
    """A market that mines when told to, and the registrar's hand."""

    def __init__(
        self, market: Any, engine: Engine, registrar: Signer, make_signer: Callable[[str], Signer]
    ) -> None:
        self.market, self.engine, self.make_signer = market, engine, make_signer
        self.chain: Chain = market.chain
        self.contracts: Contracts = market.contracts
        self.submitter = Submitter(engine, self.chain, registrar, settings=Settings(resend_s=0, sentinel_s=0))
        self.rollbacks: list[Rollback] = []

    def indexer(self, engine: Engine | None = None, **options: Any) -> Indexer:
        options = {"on_rollback": self.rollbacks.append, "sentinel_s": 0, **options}
        return Indexer(engine or self.engine, self.chain, self.contracts, **options)

    def admit(self, *names: str) -> None:
        """Admit accounts, all in the next block."""
        for name in names:
            account = self.make_signer(name).address
            self.submitter.submit(
                name, self.contracts.participants.admit(account, account, Roles.HOLDER, b"\1" * 32)
            )
        self.submitter.tick()
        self.market.anvil.mine()
        self.submitter.tick()
        assert all(self.submitter.result(name) is not None for name in names)

    def names(self, indexer: Indexer, **options: Any) -> list[bytes]:
        return [event.account for event in indexer.events(kinds=[ParticipantAdmitted], **options)]  # type: ignore

    def address(self, name: str) -> bytes:
        return self.make_signer(name).address


@pytest.fixture
def world(still_market: Any, engine: Engine, make_signer: Callable[[str], Signer]) -> World:
    return World(still_market, engine, make_signer("registrar"), make_signer)


@pytest.fixture
def other_engine(tmp_path: Path) -> Engine:
    made = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    create_tables(made)
    return made


class CountingChain(Chain):
    """A chain that notes the methods it is asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[str] = []
        request, batch = self.request, self.batch

        def counted_request(method: str, *params: Any) -> Any:
            self.asked.append(method)
            return request(method, *params)

        def counted_batch(calls: Sequence[RpcCall]) -> list[Any]:
            self.asked.extend(method for method, _ in calls)
            return batch(calls)

        self.request, self.batch = counted_request, counted_batch


# --- following -------------------------------------------------------------------------------------------


def test_events_come_typed_and_in_the_chains_order(world: World) -> None:
    world.admit("a", "b")
    world.admit("c")
    indexer = world.indexer()
    assert indexer.tick() == 3 and indexer.tick() == 0
    events = indexer.events()
    assert [type(event) for event in events] == [ParticipantAdmitted] * 3
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert world.names(indexer) == [world.address(name) for name in "abc"]
    assert indexer.events(after=events[1].at) == events[2:]
    assert indexer.events(limit=1) == events[:1]
    assert indexer.events(kinds=[RolesChanged]) == [] and indexer.events(request_id=bytes(32)) == []
    block = world.chain.block(events[0].at.block)
    assert block is not None and block.hash == events[0].at.block_hash
    assert indexer.head() == world.chain.block_number()


def test_tick_on_a_standing_chain_asks_for_one_number(world: World) -> None:
    chain, now = CountingChain(world.market.anvil.url), [0.0]
    asked = chain.asked
    indexer = Indexer(world.engine, chain, world.contracts, clock=lambda: now[0])
    indexer.tick()
    asked.clear()
    indexer.tick()
    assert asked == ["eth_blockNumber"]
    now[0] += 1
    indexer.tick()
    assert asked[1:] == ["eth_blockNumber", "eth_getBlockByNumber", "eth_getBlockByNumber"]


def test_index_goes_on_where_it_stood_after_a_restart(world: World) -> None:
    world.admit("a")
    assert world.indexer().tick() == 1
    world.admit("b")
    again = world.indexer()
    assert world.names(again) == [world.address("a")]
    assert again.tick() == 1
    assert world.names(again) == [world.address("a"), world.address("b")]


def test_long_history_is_read_in_spans(world: World) -> None:
    for name in "abcd":
        world.admit(name)
        world.market.anvil.mine(5)
    indexer = world.indexer(span_max=3)
    assert indexer.tick() == 4
    assert world.names(indexer) == [world.address(name) for name in "abcd"]
    assert indexer.head() == world.chain.block_number()


def test_event_is_given_out_after_its_confirmations(world: World) -> None:
    indexer = world.indexer(confirmations=2)
    world.admit("a")
    for mined in range(3):
        indexer.tick()
        (seen,) = indexer.events(unconfirmed=True)
        assert (indexer.events() == [seen]) is indexer.is_final(seen.at) is (mined == 2)
        world.market.anvil.mine()


def test_two_processes_index_into_one_database(world: World, any_engine: Engine) -> None:
    one, two = world.indexer(any_engine), world.indexer(any_engine)
    for name in "abcd":
        world.admit(name)
        one.tick()
        two.tick()
        one, two = two, one
    assert world.names(one) == world.names(two) == [world.address(name) for name in "abcd"]


# --- a chain that loses blocks ---------------------------------------------------------------------------


def test_lost_blocks_are_noticed_and_read_anew(world: World, any_engine: Engine) -> None:
    indexer = world.indexer(any_engine)
    world.admit("a")
    indexer.tick()
    snapshot = world.market.anvil.snapshot()
    world.admit("b", "c")
    world.admit("d")
    indexer.tick()
    world.market.anvil.revert(snapshot)
    indexer.tick()
    assert world.names(indexer) == [world.address("a")]
    (rollback,) = world.rollbacks
    assert rollback.events_lost == 3 and rollback.fork_block < rollback.head_before
    assert indexer.rollbacks() == [rollback] and indexer.rollbacks(rollback.generation) == []
    world.market.anvil.mine(5)  # the submitter sends the lost bytes again
    world.submitter.tick()
    world.market.anvil.mine()
    indexer.tick()
    assert world.names(indexer) == [world.address(name) for name in "abcd"]


def test_replaced_block_of_the_same_height_is_noticed(world: World) -> None:
    indexer = world.indexer()
    indexer.tick()
    snapshot = world.market.anvil.snapshot()
    world.admit("a")
    indexer.tick()
    head = indexer.head()
    assert world.names(indexer) == [world.address("a")]
    world.market.anvil.revert(snapshot)
    world.chain.request("anvil_dropAllTransactions")
    world.chain.request("evm_increaseTime", 1000)
    world.market.anvil.mine()
    assert world.chain.block_number() == head
    indexer.tick()
    assert world.names(indexer) == [] and world.rollbacks[0].events_lost == 1


def test_lost_blocks_without_events_lose_nothing(world: World) -> None:
    world.admit("a")
    indexer = world.indexer()
    indexer.tick()
    snapshot = world.market.anvil.snapshot()
    world.market.anvil.mine(5)
    indexer.tick()
    world.market.anvil.revert(snapshot)
    world.market.anvil.mine(2)
    indexer.tick()
    assert world.names(indexer) == [world.address("a")]
    assert [rollback.events_lost for rollback in world.rollbacks] == [0]


def test_blocks_lost_while_the_index_was_away_are_noticed(world: World) -> None:
    world.admit("a")
    snapshot = world.market.anvil.snapshot()
    world.admit("b")
    world.indexer().tick()
    world.market.anvil.revert(snapshot)
    world.chain.request("anvil_dropAllTransactions")
    world.market.anvil.mine(80)
    again = world.indexer()
    again.tick()
    assert world.names(again) == [world.address("a")] and world.rollbacks[0].events_lost == 1


def test_rebuilt_index_has_the_same_rows(world: World, other_engine: Engine) -> None:
    indexer = world.indexer()
    for name in "ab":
        world.admit(name)
        indexer.tick()
    snapshot = world.market.anvil.snapshot()
    world.admit("c", "d")
    world.market.anvil.mine(3)
    indexer.tick()
    world.market.anvil.revert(snapshot)
    world.market.anvil.mine()
    indexer.tick()
    world.submitter.tick()
    world.market.anvil.mine()
    world.admit("e")
    indexer.tick()
    world.indexer(other_engine).tick()
    assert rows(world.engine) == rows(other_engine) and len(rows(other_engine)) == 5
    assert indexer.rebuild() == 5
    assert rows(world.engine) == rows(other_engine)


def test_chain_that_changes_under_the_reading_stores_nothing_wrong(
    world: World, other_engine: Engine
) -> None:
    """The node answers logs of one fork, and is on another before their blocks are read."""
    snapshot = world.market.anvil.snapshot()
    world.admit("a", "b")
    chain = Chain(world.market.anvil.url)
    batch, rounds = chain.batch, [0]

    def switching(calls: Sequence[RpcCall]) -> list[Any]:
        answers = batch(calls)
        rounds[0] += any(method == "eth_getLogs" for method, _ in calls)
        if rounds[0] == 1:
            rounds[0] += 1
            world.market.anvil.revert(snapshot)
            world.chain.request("anvil_dropAllTransactions")
            world.chain.request("evm_increaseTime", 1000)
            world.market.anvil.mine(2)
        return answers

    chain.batch = switching
    indexer = Indexer(other_engine, chain, world.contracts, sentinel_s=0)
    for _ in range(3):
        indexer.tick()
        assert rows(other_engine) == [] and indexer.events(unconfirmed=True) == []
    assert rounds[0] >= 2 and rows(other_engine) == []
    assert indexer.head() == world.chain.block_number()


# --- refusals --------------------------------------------------------------------------------------------


def test_chain_that_was_reset_is_a_named_error(world: World, start_anvil: Callable[..., Any]) -> None:
    world.admit("a")
    indexer = world.indexer()
    indexer.tick()
    port = world.market.anvil.port
    world.market.anvil.kill()
    world.market.anvil.arguments = ("--no-mining",)
    world.market.anvil.start()
    assert world.market.anvil.port == port
    for follower in (indexer, world.indexer()):
        with pytest.raises(ChainMismatch):
            follower.tick()
    assert len(rows(world.engine)) == 1


def test_database_of_another_deployment_is_refused(world: World) -> None:
    world.indexer().tick()
    deployment = world.contracts.deployment
    swapped = type(deployment)(
        deployment.chain_id,
        deployment.participants,
        deployment.assets,
        ledger=deployment.settlement,
        settlement=deployment.ledger,
        manager=deployment.manager,
        block=deployment.block,
    )
    with pytest.raises(ChainMismatch):
        Indexer(world.engine, world.chain, Contracts(world.chain, swapped)).tick()


def test_node_that_is_away_changes_nothing(world: World) -> None:
    world.admit("a")
    indexer = world.indexer()
    indexer.tick()
    world.market.anvil.kill()
    with pytest.raises(ChainUnreachable):
        indexer.tick()
    assert world.names(indexer) == [world.address("a")]


def test_events_of_several_kinds_are_told_apart(world: World, make_signer: Callable[[str], Signer]) -> None:
    world.admit("a")
    holder = make_signer("a")
    world.chain.request("anvil_setBalance", "0x" + holder.address.hex(), hex(10**18))
    own = Submitter(world.engine, world.chain, holder, settings=Settings(resend_s=0, sentinel_s=0))
    own.submit("rotate", world.contracts.participants.rotate_keys(b"\2" * 32))
    own.tick()
    world.market.anvil.mine()
    indexer = world.indexer()
    indexer.tick()
    (rotated,) = indexer.events(kinds=[KeysRotated])
    assert isinstance(rotated, KeysRotated)
    assert (rotated.account, rotated.key_version, rotated.x25519) == (holder.address, 2, b"\2" * 32)
    assert len(indexer.events(kinds=[KeysRotated, ParticipantAdmitted])) == 2
