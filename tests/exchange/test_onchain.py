"""The real chain side against a development chain: index, transactions, reverts, lost blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from exchange.chainside import Close, Fate, Open
from exchange.mirror import Mirror
from exchange.onchain import OnChain
from exchange.progress import progress_of
from exchange.types import Stage
from ledger.chain import Chain
from ledger.deploy import fund
from ledger.eip712 import request_id, sign_request
from ledger.encoding import keccak
from ledger.errors import ChainUnreachable
from ledger.signing import Signer
from ledger.submitter import Submitter
from ledger.types import Call, Opened, ParticipantAdmitted, Request, Roles
from tests.exchange.world import signer_of
from tests.ledger.conftest import BANK, ETHER, REGISTRAR, RICH, Anvil, make_market
from tests.ledger.conftest import Market as Deployed
from tests.ledger.conftest import market as market
from tests.ledger.conftest import start_anvil as start_anvil

BROKER, BUYER = signer_of("broker"), signer_of("buyer")
PRICE = 500


def send(deployed: Deployed, engine: sa.Engine, signer: Signer, *calls: Call) -> None:
    """Send calls and wait for them."""
    submitter = Submitter(engine, deployed.chain, signer)
    for call in calls:
        submitter.execute(keccak(call.data).hex(), call, 20)


@pytest.fixture
def side(market: Deployed, sqlite_engine: sa.Engine) -> OnChain:
    """The broker's side of a market with a broker, a buyer, a bond and credits."""
    made = OnChain(sqlite_engine, market.chain, market.deployment, BROKER, confirmations=0)
    fund(market.chain, Signer(RICH), [BROKER.address, BUYER.address], ETHER)
    contracts = market.contracts
    admit, mint = contracts.participants.admit, contracts.settlement.mint
    send(
        market,
        sqlite_engine,
        REGISTRAR,
        admit(BROKER.address, BROKER.address, Roles.BROKER, keccak(b"x")),
        admit(BUYER.address, BUYER.address, Roles.BUYER, keccak(b"y")),
    )
    send(market, sqlite_engine, BANK, mint(BROKER.address, 1000), mint(BUYER.address, 1000))
    send(market, sqlite_engine, BROKER, contracts.settlement.post_bond(1000))
    return made


def request_for(side: OnChain, **changes: int) -> tuple[Request, bytes]:
    head = side.head()
    request = Request(
        buyer=BUYER.address,
        broker=BROKER.address,
        listing=keccak(b"listing"),
        plan_hash=keccak(b"plan"),
        key_x=keccak(b"key"),
        key_parity=2,
        rho_micro=5,
        price_minor=PRICE,
        holders=2,
        min_holders=1,
        colluders=0,
        dropouts=1,
        approve_by=head + 40,
        share_by=head + 50,
        contribute_by=head + 60,
        answer_by=head + 70,
        nonce=1,
    )
    request = replace(request, **changes)  # type: ignore[arg-type]
    deployment = side.deployment
    return request, sign_request(BUYER, request, deployment.chain_id, deployment.ledger)


def settle(side: OnChain, market: Deployed, key: str) -> Fate:
    """Look at the chain until a transaction is decided."""
    for _ in range(200):
        side.tick()
        if side.outcome(key).fate is not Fate.WAITING:
            break
        market.anvil.mine()
    return side.outcome(key).fate


def test_a_request_is_opened_and_closed_and_its_events_are_indexed(market: Deployed, side: OnChain) -> None:
    side.tick()
    request, signature = request_for(side)
    wanted = request_id(request, side.deployment.chain_id, side.deployment.ledger)
    assert side.balance(BUYER.address) == 1000
    assert not side.is_open(wanted)
    assert settle(side, market, side.submit(Open(request, signature))) is Fate.DONE
    assert side.is_open(wanted)
    assert (side.balance(BUYER.address), side.free_bond()) == (500, 500)
    side.tick()
    opened = side.request_events(wanted)
    assert [type(event) for event in opened] == [Opened]
    assert side.gas_used([opened[0].at.tx_hash])[opened[0].at.tx_hash] > 50_000
    market.anvil.mine(max(1, request.approve_by - side.head()))
    side.tick()
    progress = progress_of(wanted, request, side.deployment, side.request_events(wanted), side.head())
    assert progress.is_closable
    assert settle(side, market, side.submit(Close(request, tuple(progress.members)))) is Fate.DONE
    side.tick()
    ended = progress_of(wanted, request, side.deployment, side.request_events(wanted), side.head())
    assert ended.stage is Stage.CLOSED
    assert side.balance(BUYER.address) == 1000
    assert side.waiting_count() == 0


def test_a_revert_is_named_and_the_same_act_can_be_tried_again(market: Deployed, side: OnChain) -> None:
    side.tick()
    request, signature = request_for(side, price_minor=1001)
    key = side.submit(Open(request, signature))
    assert settle(side, market, key) is Fate.FAILED
    assert side.outcome(key).reason == "SettlementBondTooSmall"
    assert side.submit(Open(request, signature)) == key
    assert side.outcome(key).fate is Fate.WAITING


def test_each_event_is_given_once_and_participants_are_mirrored(market: Deployed, side: OnChain) -> None:
    first = side.tick()
    mirror = Mirror()
    mirror.rebuild(side.market_events())
    assert mirror.participant(BROKER.address) is not None
    assert {type(event) for event in side.market_events()} == {ParticipantAdmitted}
    assert first.events  # all that happened since this object was made
    assert side.tick().events == ()


def test_lost_blocks_are_reported_and_their_events_are_gone(market: Deployed, side: OnChain) -> None:
    side.tick()
    market.chain.request("evm_setIntervalMining", 0)
    snapshot = market.anvil.snapshot()
    request, signature = request_for(side)
    assert settle(side, market, side.submit(Open(request, signature))) is Fate.DONE
    wanted = request_id(request, side.deployment.chain_id, side.deployment.ledger)
    side.tick()
    assert side.request_events(wanted)
    market.anvil.revert(snapshot)
    market.anvil.mine(1)
    ticks = [side.tick() for _ in range(3)]
    while not any(tick.rolled_back for tick in ticks):
        market.anvil.mine(1)
        ticks.append(side.tick())
        assert len(ticks) < 200
    assert not side.request_events(wanted) or side.is_open(wanted)  # sent again from the journal, at most


def test_a_node_that_is_away_is_named_and_what_is_indexed_can_be_read(
    market: Deployed, side: OnChain
) -> None:
    side.tick()
    head = side.head()
    market.anvil.kill()
    with pytest.raises(ChainUnreachable):
        side.tick()
    with pytest.raises(ChainUnreachable):
        side.balance(BUYER.address)
    assert side.head() == head
    assert side.market_events()
    request, signature = request_for(side)
    assert side.outcome(side.submit(Open(request, signature))).fate is Fate.WAITING


def test_an_event_counts_when_it_is_confirmed(
    start_anvil: Callable[..., Anvil], sqlite_engine: sa.Engine
) -> None:
    deployed = make_market(start_anvil("--block-time", "0.1"))
    deployed.chain.request("evm_setIntervalMining", 0)
    side = OnChain(sqlite_engine, Chain(deployed.anvil.url), deployed.deployment, BROKER, confirmations=3)
    admitted = deployed.contracts.participants.admit(BUYER.address, BUYER.address, Roles.BUYER, keccak(b"y"))
    submitter = Submitter(sqlite_engine, deployed.chain, REGISTRAR)
    submitter.submit("admit", admitted)
    submitter.tick()
    deployed.anvil.mine()
    side.tick()
    assert side.market_events() == []
    deployed.anvil.mine(3)
    assert [type(event) for event in side.tick().events] == [ParticipantAdmitted]
