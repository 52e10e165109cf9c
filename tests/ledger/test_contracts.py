"""The wrappers fit the compiled contracts, and a whole request passes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
from eth_abi.abi import encode
from sqlalchemy import Engine

from ledger import abi, eip712
from ledger import types as t
from ledger.chain import RawLog
from ledger.contracts import (
    Contracts,
    asset_id,
    commitment_hash,
    decode_revert,
    keys_hash,
    line_id,
    listing_id,
    members_from_events,
)
from ledger.encoding import keccak, tagged_hash
from ledger.errors import ContractReverted, MalformedLog, MalformedValue
from ledger.events import EVENTS
from ledger.indexer import Indexer
from ledger.signing import Signer
from ledger.submitter import Submitter
from ledger.types import Address, Deployment, RequestState, Roles, SessionKeys

A, B, C, D, E = (Address(bytes([i]) * 20) for i in range(1, 6))
DEPLOYMENT = Deployment(chain_id=1, participants=A, assets=B, ledger=C, settlement=D, manager=E, block=1)
OFFLINE = Contracts(None, DEPLOYMENT)  # type: ignore[arg-type]
EVENT_CONTRACTS = ("Participants", "AssetRegistry", "ComputeLedger", "Settlement")
FOREIGN = {"Approval", "AuthorityUpdated", "EIP712DomainChanged", "Transfer"}  # of the libraries
RENAMED = {"id": "request_id", "from": "previous", "to": "holder"}


def snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


# --- the compiled interfaces, without a chain ------------------------------------------------------------


@pytest.mark.parametrize("contract", EVENT_CONTRACTS)
def test_every_event_of_the_contracts_has_its_class_field_by_field(contract: str) -> None:
    for signature in abi.interface(contract).events.values():
        if signature.name in FOREIGN:
            continue
        declared = [field.name for field in fields(EVENTS[signature.name]) if field.name != "at"]
        written = [name for name, _ in signature.inputs]
        if signature.name != "AssetAdopted":
            written = [name for name in written if name != "to"]
        assert declared == [RENAMED.get(name, snake(name)) for name in written]


def test_every_event_class_is_an_event_of_a_contract() -> None:
    known = {signature.name for name in EVENT_CONTRACTS for signature in abi.interface(name).events.values()}
    assert set(EVENTS) <= known


def test_the_abi_signs_the_request_that_the_buyer_signs() -> None:
    types = abi.interface("ComputeLedger").functions["requestId"].types[0]
    declared = eip712.REQUEST_TYPE.removeprefix("Request(").removesuffix(")")
    assert types == "(" + ",".join(member.split(" ")[0] for member in declared.split(",")) + ")"


def log_of(name: str, topics: list[bytes], kinds: list[str], values: list[Any], address: Address) -> RawLog:
    (topic,) = (h for h, s in abi.interface("ComputeLedger").events.items() if s.name == name)
    data = encode(kinds, values)
    return RawLog(address, (topic, *topics), data, 7, b"\1" * 32, b"\2" * 32, 3)


def test_log_decodes_to_its_event() -> None:
    log = log_of("Sealed", [b"\3" * 32], ["uint16", "bytes"], [2, b"\4" * 128], DEPLOYMENT.ledger)
    event = OFFLINE.decode_log(log)
    at = t.EventRef(7, 3, b"\1" * 32, b"\2" * 32)
    assert event == t.Sealed(t.Digest(b"\3" * 32), 2, b"\4" * 128, at=at)


def test_log_of_another_address_or_topic_is_no_event() -> None:
    log = log_of("Sealed", [b"\3" * 32], ["uint16", "bytes"], [2, b""], Address(b"\x99" * 20))
    assert OFFLINE.decode_log(log) is None
    assert OFFLINE.decode_log(RawLog(DEPLOYMENT.ledger, (b"\5" * 32,), b"", 1, b"", b"", 0)) is None
    assert OFFLINE.decode_log(RawLog(DEPLOYMENT.ledger, (), b"", 1, b"", b"", 0)) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 64, bytes(31), encode(["uint256", "bytes"], [1 << 16, b""])],
    ids=["empty", "ones", "short", "over uint16"],
)
def test_log_that_does_not_decode_is_a_named_error(data: bytes) -> None:
    good = log_of("Sealed", [b"\3" * 32], ["uint16", "bytes"], [2, b""], DEPLOYMENT.ledger)
    with pytest.raises(MalformedLog):
        OFFLINE.decode_log(RawLog(good.address, good.topics, data, 1, b"", b"", 0))
    with pytest.raises(MalformedLog):
        OFFLINE.decode_log(RawLog(good.address, good.topics[:1], good.data, 1, b"", b"", 0))


def test_revert_is_named_with_its_arguments() -> None:
    signature = abi.interface("ComputeLedger").errors
    (selector,) = (h for h, s in signature.items() if s.name == "ComputeLedgerBudgetExceeded")
    error = decode_revert(selector + encode(["bytes32", "uint256", "uint256"], [b"\1" * 32, 5, 3]))
    assert isinstance(error, ContractReverted) and error.name == "ComputeLedgerBudgetExceeded"
    assert error.arguments == {"line": b"\1" * 32, "needed": 5, "available": 3}
    assert "needed=5" in str(error)


@pytest.mark.parametrize(
    "data, name",
    [(b"", "Unknown"), (b"\1\2\3", "Unknown"), (b"\xff" * 40, "Unknown"), (keccak(b"Error(string)")[:4], "Unknown"),
     (keccak(b"Error(string)")[:4] + encode(["string"], ["no"]), "Error"),
     (keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [0x11]), "Panic")],
)  # fmt: skip
def test_revert_without_a_name_of_ours_is_named_all_the_same(data: bytes, name: str) -> None:
    assert decode_revert(data).name == name


def test_argument_out_of_range_is_a_named_error() -> None:
    with pytest.raises(MalformedValue):
        OFFLINE.settlement.mint(Address(b"\1" * 19), 5)
    with pytest.raises(MalformedValue):
        OFFLINE.settlement.mint(Address(b"\1" * 20), -1)
    with pytest.raises(MalformedValue):
        OFFLINE.ledger.open_line("x", 1 << 64)


# --- a whole request on a chain --------------------------------------------------------------------------

INFINITY = bytes(128)  # a commitment to nothing at all: a point of the curve that needs no curve here


@dataclass
class Hand:
    """One participant and its submitter."""

    signer: Signer
    submitter: Submitter
    calls: int = 0

    @property
    def address(self) -> Address:
        return self.signer.address

    def start(self, call: t.Call) -> str:
        """Submit a call; `end` waits for it."""
        self.calls += 1
        key = f"{self.address.hex()} {self.calls}"
        self.submitter.submit(key, call)
        self.submitter.tick()
        return key

    def end(self, key: str) -> None:
        self.submitter.wait(key, 20)

    def do(self, call: t.Call) -> None:
        self.end(self.start(call))


def do_all(work: list[tuple[Hand, t.Call]]) -> None:
    """Send many calls at once and wait for all."""
    keys = [(hand, hand.start(call)) for hand, call in work]
    for hand, key in keys:
        hand.end(key)


@dataclass
class Stage:
    """A market with a buyer, a broker and three holders whose assets are entrusted."""

    market: Any
    contracts: Contracts
    hands: dict[str, Hand]
    holders: list[Hand]

    def request(self, make_request: Callable[..., t.Request], **changes: Any) -> t.Request:
        now = self.contracts.chain.block_number()
        deadlines = {name: now + 40 * (i + 1) for i, name in enumerate(DEADLINES)}
        listing = listing_id(self.hands["broker"].address, "electricity")
        base = {"listing": listing, "price_minor": 10_000, **deadlines}
        return make_request(self.hands["buyer"].address, self.hands["broker"].address, **{**base, **changes})

    def open(self, request: t.Request) -> t.Digest:
        deployment = self.contracts.deployment
        buyer = self.hands["buyer"].signer
        signature = eip712.sign_request(buyer, request, deployment.chain_id, deployment.ledger)
        self.hands["broker"].do(self.contracts.ledger.open(request, signature))
        return eip712.request_id(request, deployment.chain_id, deployment.ledger)


DEADLINES = ("approve_by", "share_by", "contribute_by", "answer_by")
BUDGET = 120_000


@pytest.fixture
def stage(market: Any, engine: Engine, make_signer: Callable[[str], Signer]) -> Iterator[Stage]:
    contracts: Contracts = market.contracts
    names = ("registrar", "bank", "buyer", "broker", "holder 1", "holder 2", "holder 3")
    signers = {name: make_signer(name) for name in names}
    hands = {
        name: Hand(signer, Submitter(engine, contracts.chain, signer)) for name, signer in signers.items()
    }
    for hand in hands.values():
        contracts.chain.request("anvil_setBalance", "0x" + hand.address.hex(), hex(10**19))
    roles = {"buyer": Roles.BUYER, "broker": Roles.BROKER}
    first = []
    for name in names[2:]:
        account = hands[name].address
        operator = Address(keccak(account)[:20])
        admit = contracts.participants.admit(account, operator, roles.get(name, Roles.HOLDER), b"\1" * 32)
        first.append((hands["registrar"], admit))
    for name in ("buyer", "broker"):
        first.append((hands["bank"], contracts.settlement.mint(hands[name].address, 1_000_000)))
    do_all(first)
    holders = sorted((hands[name] for name in names[4:]), key=lambda hand: hand.address)
    listing = listing_id(hands["broker"].address, "electricity")
    hashes = keccak(b"policy"), keccak(b"root"), keccak(b"descriptor")
    do_all([(hand, contracts.assets.register("meters", "persons", *hashes, 1)) for hand in holders])
    second = [(hands["broker"], contracts.settlement.post_bond(500_000))]
    for hand in holders:
        entrust = contracts.assets.entrust(asset_id(hand.address, "meters"), listing, hands["broker"].address)
        second += [(hand, entrust), (hand, contracts.ledger.open_line("persons", BUDGET))]
    do_all(second)
    yield Stage(market, contracts, hands, holders)


def keys_of(hand: Hand) -> SessionKeys:
    words = [keccak(hand.address + bytes([i])) for i in range(4)]
    return SessionKeys(words[0], words[1], words[2], 2, words[3])


def share_hashes(hand: Hand, request_id: bytes) -> dict[str, bytes]:
    fixed = commitment_hash(request_id, hand.address, INFINITY)
    return {"bundle_hash": keccak(b"bundle"), "seed_hash": keccak(b"seed"), "commitment_hash": fixed}


def test_registered_things_read_back_as_written(stage: Stage) -> None:
    holder, contracts = stage.holders[0], stage.contracts
    participant = contracts.participants.get(holder.address)
    assert (
        participant.has(Roles.HOLDER)
        and not participant.has(Roles.BROKER)
        and participant.x25519 == b"\1" * 32
    )
    assert contracts.participants.holder_of(participant.operator) == holder.address
    assert contracts.participants.root_of(holder.address) == holder.address
    assert contracts.participants.is_active(holder.address, Roles.HOLDER)
    assert contracts.participants.get(Address(b"\x42" * 20)).status is t.ParticipantStatus.NONE
    asset = contracts.assets.get(asset_id(holder.address, "meters"))
    assert (asset.holder, asset.version, asset.grade, asset.status) == (
        holder.address,
        1,
        1,
        t.AssetStatus.REGISTERED,
    )
    assert asset.line == line_id(holder.address, "persons") and asset.policy_hash == keccak(b"policy")
    assert contracts.ledger.line(asset.line) == t.Line(BUDGET, 0, 0)
    assert contracts.settlement.bond_of(stage.hands["broker"].address) == t.Bond(500_000, 0)
    assert contracts.settlement.balance_of(stage.hands["buyer"].address) == 1_000_000
    assert contracts.ledger.window() == 4


def test_request_passes_from_opening_to_settlement(
    stage: Stage, engine: Engine, make_request: Callable[..., t.Request]
) -> None:
    contracts, broker, deployment = stage.contracts, stage.hands["broker"], stage.contracts.deployment
    ledger = contracts.ledger
    indexer = Indexer(engine, contracts.chain, contracts)
    request = stage.request(make_request)
    request_id = stage.open(request)
    assert contracts.settlement.escrow_of(request_id) == 10_000
    do_all([(h, ledger.approve(request, asset_id(h.address, "meters"), keys_of(h))) for h in stage.holders])

    indexer.tick()
    members = members_from_events(indexer.events(request_id))
    session = tagged_session(deployment, request_id, request.plan_hash, members)
    assert ledger.session(request, members) == session
    for hand, member in zip(stage.holders, members, strict=True):
        hashes = share_hashes(hand, request_id)
        assert member.keys_hash == keys_hash(asset_id(hand.address, "meters"), 1, keys_of(hand))
        hand.do(ledger.share(request, line=member.line, keys_hash=member.keys_hash, **hashes))
    for index, (hand, member) in enumerate(zip(stage.holders, members, strict=True)):
        message = tagged_hash("message", 2, session, index, keccak(b"payload"))
        receipt = broker.signer.sign(tagged_hash("receipt", request_id, hand.address, message))
        contribution = t.Contribution(
            member.line,
            member.keys_hash,
            keccak(b"bundle"),
            keccak(b"seed"),
            session,
            index,
            keccak(b"payload"),
        )
        hand.do(ledger.contribute(request, contribution, INFINITY, receipt))

    indexer.tick()
    members = members_from_events(indexer.events(request_id))
    broker.do(ledger.seal(request, members))
    broker.do(ledger.answer(request, keccak(b"root")))
    assert ledger.answer_root(request_id) == keccak(b"root") and ledger.commitment_sum(request_id) == INFINITY
    buyer = stage.hands["buyer"].signer
    accept = eip712.sign_acceptance(buyer, request_id, deployment.chain_id, deployment.ledger)
    broker.do(ledger.release(request, members, accept))

    status = ledger.state(request_id)
    assert (status.state, status.approved, status.shared, status.contributed) == (
        RequestState.SETTLED,
        3,
        3,
        3,
    )
    assert all(ledger.line(member.line) == t.Line(BUDGET, 0, request.rho_micro) for member in members)
    assert contracts.settlement.escrow_of(request_id) == 0
    assert contracts.settlement.bond_of(broker.address) == t.Bond(500_000, 0)
    assert ledger.is_nonce_used(buyer.address, request.nonce)
    indexer.tick()
    events = indexer.events(request_id)
    kinds = [type(event).__name__ for event in events if not type(event).__name__.startswith("Escrow")]
    steps = [
        "Opened",
        *["Approved"] * 3,
        *["Shared"] * 3,
        *["Contributed"] * 3,
        "Sealed",
        "Answered",
        "Settled",
    ]
    assert kinds == steps
    (opened,) = indexer.events(request_id, [t.Opened])
    assert isinstance(opened, t.Opened) and opened.request == request and opened.request_id == request_id


def tagged_session(
    deployment: Deployment, request_id: bytes, plan_hash: bytes, members: list[t.Member]
) -> bytes:
    """The session id as docs/protocol.md §3 writes it."""
    roster = bytes(32)
    for member in members:
        roster = tagged_hash("roster", roster, member.holder, member.line, member.keys_hash)
    words = (deployment.chain_id, deployment.ledger, request_id, plan_hash, len(members), roster)
    return tagged_hash("session", *words)


def test_request_that_cannot_be_sealed_is_closed_and_refunded(
    stage: Stage, make_request: Callable[..., t.Request], engine: Engine
) -> None:
    request = stage.request(make_request)
    request_id = stage.open(request)
    holder = stage.holders[0]
    holder.do(stage.contracts.ledger.approve(request, asset_id(holder.address, "meters"), keys_of(holder)))
    line = line_id(holder.address, "persons")
    assert stage.contracts.ledger.line(line) == t.Line(BUDGET, request.rho_micro, 0)
    stage.contracts.chain.request("anvil_mine", hex(50))
    indexer = Indexer(engine, stage.contracts.chain, stage.contracts)
    indexer.tick()
    stage.hands["broker"].do(
        stage.contracts.ledger.close(request, members_from_events(indexer.events(request_id)))
    )
    assert stage.contracts.ledger.state(request_id).state is RequestState.CLOSED
    assert stage.contracts.ledger.line(line) == t.Line(BUDGET, 0, 0)
    assert stage.contracts.settlement.balance_of(stage.hands["buyer"].address) == 1_000_000


@pytest.mark.parametrize(
    "name", ["ComputeLedgerSignatureWrong", "ComputeLedgerNonceUsed", "ComputeLedgerCallerWrong"]
)
def test_opening_that_is_not_right_reverts_by_name(
    stage: Stage, make_request: Callable[..., t.Request], name: str
) -> None:
    contracts, deployment = stage.contracts, stage.contracts.deployment
    request = stage.request(make_request)
    broker, buyer = stage.hands["broker"], stage.hands["buyer"].signer
    signature = eip712.sign_request(buyer, request, deployment.chain_id, deployment.ledger)
    if name == "ComputeLedgerNonceUsed":
        stage.open(request)
        request = stage.request(make_request, rho_micro=1)
        signature = eip712.sign_request(buyer, request, deployment.chain_id, deployment.ledger)
    if name == "ComputeLedgerSignatureWrong":
        signature = buyer.sign(keccak(b"another digest"))
    sender = stage.holders[0] if name == "ComputeLedgerCallerWrong" else broker
    with pytest.raises(ContractReverted) as caught:
        sender.do(contracts.ledger.open(request, signature))
    assert caught.value.name == name


def test_budget_that_is_spent_reverts_by_name(stage: Stage, make_request: Callable[..., t.Request]) -> None:
    holder, ledger = stage.holders[0], stage.contracts.ledger
    for nonce in range(3):
        request = stage.request(make_request, nonce=nonce)
        stage.open(request)
        call = ledger.approve(request, asset_id(holder.address, "meters"), keys_of(holder))
        if nonce < 2:
            holder.do(call)
    with pytest.raises(ContractReverted) as caught:
        holder.do(call)
    assert caught.value.name == "ComputeLedgerBudgetExceeded"
    assert caught.value.arguments["available"] == 20_000
