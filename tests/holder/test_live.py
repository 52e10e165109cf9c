"""Three nodes on a real chain with the real contracts; the exchange is a broker in this process.

Registration, the whole path, a kill in the middle, a person's decision and memory are seen here once, for real.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from holder import operations
from holder.chain_side import RequestView, view_of
from holder.checks import build_session, members_of
from holder.errors import AssetNotRegistered, SnapshotChanged, StoreError, StoreInUse
from holder.node import Node, run
from holder.parts import NodeLock, Parts
from holder.registration import descriptor_hash, entrust, open_line, register_all, register_asset
from holder.settings import settings_from_mapping
from holder.types import Hold, Stage
from ledger.chain import Chain
from ledger.contracts import Contracts, asset_id, listing_id, members_from_events
from ledger.database import make_engine
from ledger.deploy import deploy, fund
from ledger.eip712 import request_id as id_of
from ledger.eip712 import sign_request
from ledger.encoding import keccak
from ledger.errors import ChainUnreachable
from ledger.indexer import Indexer
from ledger.keystore import Keys
from ledger.signing import Signer, require_signature
from ledger.store import create_tables
from ledger.submitter import Submitter
from ledger.types import Address, Deployment, Digest, Request, Roles, address_from_hex, to_hex
from privacy.generators import GeneratorCache
from privacy.messages import decode_frame, receipt_digest
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.sealed_sum import BuyerKey, aggregate, answer_root, buyer_pad, remove_pads, verify_opening
from privacy.sql import parse_query
from privacy.types import AssetRef, ListingRef
from tests.holder.tables import POLICY, columns_of, expected_cells, make_rows

pytestmark = pytest.mark.stack

ANVIL = Path(__file__).resolve().parents[2] / "contracts" / "node_modules" / ".bin" / "anvil"
# The first of the accounts that every anvil makes and fills; it is worth nothing anywhere else.
RICH = Signer(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
LISTING, SQL = "用电", "SELECT 城镇, COUNT(*), AVG(kwh) FROM 用电 GROUP BY 城镇"


def signer_for(name: str) -> Signer:
    return Signer(keccak(b"live " + name.encode()))


@dataclass
class Market:
    """A deployed market and a broker that answers the holders' HTTP calls."""

    url: str
    chain: Chain
    deployment: Deployment
    home: Path
    broker: Signer = field(default_factory=lambda: signer_for("broker"))
    buyer: Signer = field(default_factory=lambda: signer_for("buyer"))
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: dict[tuple[str, int, Address], bytes] = field(default_factory=dict)
    sent: list[tuple[Address, int, bytes]] = field(default_factory=list)
    is_away: bool = False

    def __post_init__(self) -> None:
        self.contracts = Contracts(self.chain, self.deployment)
        self.engine = make_engine(f"sqlite:///{self.home / 'broker.db'}")
        create_tables(self.engine)
        self.submitter = Submitter(self.engine, self.chain, self.broker)
        self.indexer = Indexer(self.engine, self.chain, self.contracts)
        self.listing = listing_id(self.broker.address, LISTING)
        self.generators = GeneratorCache(self.home.parent / "generators")
        self.keys: dict[Digest, BuyerKey] = {}
        self.requests: dict[Digest, Request] = {}
        self.plans: dict[Digest, Any] = {}

    # --- the exchange's side of HTTP

    def handle(self, call: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("away")
        path, sender = call.url.path, address_from_hex(call.headers["Shuyao-Address"])
        if path == "/assets":
            body = json.loads(call.content)
            self.shown[body["name"] + to_hex(sender)] = body
            return httpx.Response(201, json={})
        _, _, request_id, *rest = path.split("/")
        if request_id not in self.published:
            return httpx.Response(404)
        if not rest:
            return httpx.Response(200, json=self.published[request_id])
        if call.method == "GET":
            found = [f for (r, kind, _), f in self.frames.items() if r == request_id and kind == 1]
            return httpx.Response(200, content=b"".join(found))
        return self.take(request_id, sender, call.content)

    def take(self, request_id: str, sender: Address, data: bytes) -> httpx.Response:
        frame = decode_frame(data)
        require_signature(sender, Digest(frame.message_hash), frame.signature)
        self.sent.append((sender, int(frame.kind), data))
        key = (request_id, int(frame.kind), sender)
        if self.frames.setdefault(key, data) != data:
            return httpx.Response(409, json={"type": "urn:shuyao:problem:message-conflict"})
        digest = Digest(receipt_digest(bytes.fromhex(request_id[2:]), sender, frame.message_hash))
        receipt = {"message_hash": to_hex(frame.message_hash), "receipt": to_hex(self.broker.sign(digest))}
        return httpx.Response(201, json=receipt)

    # --- the broker's and the buyer's work

    def open(self, sql: str, policy: Policy, holders: list[Signer], *, wait: bool = True) -> Digest:
        assets = []
        for holder in holders:
            found = self.contracts.assets.get(asset_id(holder.address, LISTING))
            values = (found.asset_id, found.version, found.holder, found.policy_hash, found.snapshot_root)
            assets.append(AssetRef(*values))  # type: ignore[arg-type]
        query = parse_query(sql, policy)
        listing = ListingRef(self.listing, LISTING)  # type: ignore[arg-type]
        plan = build_plan(query, policy, listing, assets, purpose="research")
        key, head = BuyerKey.generate(secrets.token_bytes), self.chain.block_number()
        request = Request(
            buyer=self.buyer.address,
            broker=self.broker.address,
            listing=self.listing,
            plan_hash=plan.hash(),
            key_x=key.x,
            key_parity=key.parity,
            rho_micro=plan.rho_micro,
            price_minor=10,
            holders=plan.holders,
            min_holders=plan.min_holders,
            colluders=plan.colluders,
            dropouts=plan.dropouts,
            approve_by=head + 100,
            share_by=head + 200,
            contribute_by=head + 300,
            answer_by=head + 400,
            nonce=secrets.randbits(64),
        )
        at = (self.deployment.chain_id, self.deployment.ledger)
        signature, request_id = sign_request(self.buyer, request, *at), id_of(request, *at)
        body = {"request": request.to_json(), "signature": to_hex(signature), "plan": plan.to_json()}
        self.published[to_hex(request_id)] = body
        self.keys[request_id], self.requests[request_id], self.plans[request_id] = key, request, plan
        self.submitter.execute(
            f"open:{to_hex(request_id)}", self.contracts.ledger.open(request, signature), 20
        )
        return request_id

    def view(self, request_id: Digest) -> RequestView | None:
        self.indexer.tick()
        return view_of(self.indexer.events(request_id), self.indexer.head())

    def drive(self, request_id: Digest, timeout_s: float = 40) -> list[int]:
        """Seal, sum, answer; open and verify as the buyer does; return the cells."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            view = self.view(request_id)
            if view is not None and view.is_sharing_closed and view.shared:
                if len(view.contributed) == len(view.shared) and view.sealed is None:
                    rows = members_from_events(self.indexer.events(request_id))
                    call = self.contracts.ledger.seal(self.requests[request_id], rows)
                    self.submitter.execute(f"seal:{to_hex(request_id)}", call, 20)
                unmasked = [k for k in self.frames if k[0] == to_hex(request_id) and k[1] == 3]
                if view.sealed is not None and len(unmasked) == len(view.contributed):
                    return self.answer(request_id, view)
            time.sleep(0.05)
        raise AssertionError("the request was not answered in time")

    def answer(self, request_id: Digest, view: RequestView) -> list[int]:
        session = build_session(members_of(view), view, self.deployment)
        index = {member.holder: number for number, member in enumerate(session.members)}
        payloads: dict[int, dict[int, bytes]] = {2: {}, 3: {}}
        for (rid, kind, sender), frame in self.frames.items():
            if rid == to_hex(request_id) and kind in payloads:
                payloads[kind][index[sender]] = decode_frame(frame).payload
        plan = self.plans[request_id]
        total = aggregate(
            session,
            cells=plan.cells,
            sharers=[index[holder] for holder in view.shared],
            masked=payloads[2],
            unmasks=payloads[3],
            seed_hashes={index[holder]: event.seed_hash for holder, event in view.shared.items()},
        )
        root = answer_root(session.id, total.payload)
        call = self.contracts.ledger.answer(self.requests[request_id], root)
        self.submitter.execute(f"answer:{to_hex(request_id)}", call, 20)
        secret = self.keys[request_id].secret
        pads = [buyer_pad(session.id, i, secret, m.e_compressed) for i, m in enumerate(session.members)]
        cells, blinding = remove_pads(total.payload, pads)
        points = {index[holder]: event.commitment for holder, event in view.contributed.items()}
        verify_opening(self.generators.take(plan.cells), points, cells, blinding)
        return [int(cell) for cell in cells]


@dataclass
class Running:
    """A holder whose node runs in a thread."""

    name: str
    market: Market
    home: Path
    signer: Signer
    config: dict[str, Any]
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    parts: Parts | None = None

    def open(self) -> Parts:
        keys = Keys(self.signer, Keys.generate().x25519_private)
        settings = settings_from_mapping(self.config, self.home)
        self.parts = Parts(settings, keys, transport=httpx.MockTransport(self.market.handle))
        return self.parts

    def start(self) -> None:
        parts, self.stop = self.open(), threading.Event()

        def loop() -> None:
            with NodeLock(self.home), parts:
                Node(parts, self.stop).run()

        self.thread = threading.Thread(target=loop, name=self.name)
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.thread = None

    def cells(self, request_id: Digest) -> list[int]:
        assert self.parts is not None
        return [int(c) for c in np.frombuffer(self.parts.store.secret(request_id, "cells"), dtype="<i8")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    port = free_port()
    command = [str(ANVIL), "--port", str(port), "--prune-history", "16", "--silent", "--block-time", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        chain = Chain(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 20
        while True:
            try:
                chain.chain_id()
                break
            except ChainUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield make_market(f"http://127.0.0.1:{port}", chain, tmp_path_factory.mktemp("live"))
    finally:
        process.kill()
        process.wait(10)


def make_market(url: str, chain: Chain, home: Path) -> Market:
    registrar, bank = signer_for("registrar"), signer_for("bank")
    deployment = deploy(chain, RICH, registrar=registrar.address, bank=bank.address)
    market = Market(url, chain, deployment, home)
    names = ["broker", "buyer", "holder0", "holder1", "holder2", "two assets"]
    accounts = [signer_for(name) for name in names]
    fund(chain, RICH, [a.address for a in (registrar, bank, *accounts)], 10**18)
    engine = make_engine(f"sqlite:///{home / 'office.db'}")
    create_tables(engine)
    office = Submitter(engine, chain, registrar)
    roles = [Roles.BROKER, Roles.BUYER, *[Roles.HOLDER] * 4]
    for name, account, role in zip(names, accounts, roles, strict=True):
        operator = Address(keccak(name.encode())[:20])
        key = Keys.generate().x25519_public
        office.submit(name, market.contracts.participants.admit(account.address, operator, role, key))
    for name in names:
        office.wait(name, 20)
    bank_engine = make_engine(f"sqlite:///{home / 'bank.db'}")
    create_tables(bank_engine)
    money = Submitter(bank_engine, chain, bank)
    for name, address in (("buyer", market.buyer.address), ("broker", market.broker.address)):
        money.execute(name, market.contracts.settlement.mint(address, 1_000_000), 20)
    market.submitter.execute("bond", market.contracts.settlement.post_bond(100_000), 20)
    return market


def rows_of(number: int) -> list[dict[str, Any]]:
    return [row | {"age": abs(row["age"])} for row in make_rows(60 + number)]


@pytest.fixture(scope="module")
def holders(market: Market) -> Iterator[list[Running]]:
    made = []
    for number in range(3):
        name = f"holder{number}"
        home = market.home / name
        home.mkdir()
        pq.write_table(pa.table(dict(columns_of(rows_of(number)))), home / "rows.parquet")
        policy = {**POLICY, "colluders": 0, "dropouts": 1, "rho": {"per_request": "1", "total": "20"}}
        (home / "policy.yaml").write_text(yaml.safe_dump(policy, allow_unicode=True))
        config = {
            "rpc_url": market.url,
            "exchange_url": "http://exchange",
            "deployment": market.deployment.to_json(),
            "assets": [
                {
                    "name": LISTING,
                    "source": {"kind": "parquet", "path": "rows.parquet"},
                    "policy": "policy.yaml",
                    "key_space": "people",
                }
            ],
            "cache": "../cache",
            "poll_live_s": 0.1,
            "poll_idle_s": 0.1,
        }
        made.append(Running(name, market, home, signer_for(name), config))
    for holder in made:
        with holder.open() as parts:
            register_all(parts, market.broker.address)
        holder.start()
    yield made
    for holder in made:
        holder.end()


@pytest.fixture
def policy(holders: list[Running]) -> Policy:
    return Policy.from_yaml((holders[0].home / "policy.yaml").read_text())


def wait_for(holder: Running, request_id: Digest, stage: Stage, timeout_s: float = 20) -> None:
    assert holder.parts is not None
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if request_id in {r.request_id for r in holder.parts.store.list_requests(stage=stage)}:
            return
        time.sleep(0.05)
    found = [(r.stage, r.reason, r.detail) for r in holder.parts.store.list_requests()]
    raise AssertionError(f"{holder.name} is not at {stage}: {found}")


def test_registration_is_on_the_chain_and_may_be_repeated(holders: list[Running], market: Market) -> None:
    holder = holders[0]
    found = market.contracts.assets.get(asset_id(holder.signer.address, LISTING))
    assert found.version == 1
    shown = market.shown[LISTING + to_hex(holder.signer.address)]
    assert descriptor_hash(shown["descriptor"]) == found.descriptor_hash
    assert Policy.from_mapping(shown["policy"]).hash() == found.policy_hash
    parts = holder.parts
    assert parts is not None
    assert open_line(parts, LISTING).total == 20_000_000
    assert register_asset(parts, LISTING).stored.version == 1
    entrust(parts, LISTING, listing=LISTING, broker=market.broker.address)
    assert [e.listing for e in parts.store.entrustments()] == [market.listing]


def test_three_nodes_answer_and_the_answer_verifies(
    holders: list[Running], market: Market, policy: Policy
) -> None:
    request_id = market.open(SQL, policy, [holder.signer for holder in holders])
    cells = market.drive(request_id)
    for holder in holders:
        wait_for(holder, request_id, Stage.DONE)
    noisy = [holder.cells(request_id) for holder in holders]
    assert cells == [sum(column) for column in zip(*noisy, strict=True)]
    plan = market.plans[request_id]
    plain = [
        sum(column)
        for column in zip(
            *[expected_cells(rows_of(n), plan, policy, lambda row: True) for n in range(3)], strict=True
        )
    ]
    sigma = max(float(lane.sigma_squared) for lane in plan.lanes) ** 0.5
    assert max(abs(a - b) for a, b in zip(cells, plain, strict=True)) < 20 * sigma
    for holder in holders:
        assert holder.parts is not None
        (line,) = holder.parts.store.lines()
        shown = market.contracts.ledger.line(line.line)
        assert (line.reserved, line.spent) == (shown.reserved, shown.spent) == (0, 1_000_000)


def test_a_node_that_restarts_in_the_middle_sends_the_same_bytes(
    holders: list[Running], market: Market, policy: Policy
) -> None:
    victim = holders[1]
    sql = "SELECT COUNT(*) AS n FROM 用电"
    market.sent.clear()
    request_id = market.open(sql, policy, [holder.signer for holder in holders])
    for stage in (Stage.SHARED, Stage.CONTRIBUTED):
        with contextlib.suppress(AssertionError):  # it may have gone on already
            wait_for(victim, request_id, stage, 3)
        victim.end()
        victim.start()
    cells = market.drive(request_id)
    wait_for(victim, request_id, Stage.DONE)
    assert cells == [sum(column) for column in zip(*[h.cells(request_id) for h in holders], strict=True)]
    frames: dict[tuple[Address, int], set[bytes]] = {}
    for sender, kind, frame in market.sent:
        frames.setdefault((sender, kind), set()).add(frame)
    assert all(len(found) == 1 for found in frames.values())


def test_an_exchange_that_is_away_for_a_while_delays_and_nothing_more(
    holders: list[Running], market: Market, policy: Policy
) -> None:
    market.is_away = True
    request_id = market.open("SELECT SUM(kwh) AS total FROM 用电", policy, [h.signer for h in holders])
    time.sleep(1)
    market.is_away = False
    market.drive(request_id)
    for holder in holders:
        wait_for(holder, request_id, Stage.DONE)


def test_manual_approval_through_the_operations(
    holders: list[Running], market: Market, policy: Policy
) -> None:
    holder = holders[2]
    holder.end()
    holder.config["manual"] = True
    holder.start()
    try:
        request_id = market.open("SELECT COUNT(*) AS by_hand FROM 用电", policy, [h.signer for h in holders])
        wait_for(holder, request_id, Stage.PENDING_HUMAN)
        assert holder.parts is not None
        (waiting,) = operations.pending(holder.parts.store)
        assert operations.find(holder.parts.store, to_hex(request_id)[:12]).request_id == request_id
        operations.approve(holder.parts.store, waiting.request_id)
        market.drive(request_id)
        wait_for(holder, request_id, Stage.DONE)
        assert holder.parts.store.request(request_id).hold is Hold.SPENT
    finally:
        holder.end()
        holder.config["manual"] = False
        holder.start()


def test_a_second_node_on_the_same_home_is_refused(holders: list[Running]) -> None:
    holder = holders[0]
    settings = settings_from_mapping(holder.config, holder.home)
    with pytest.raises(StoreInUse):
        run(settings, Keys(holder.signer, Keys.generate().x25519_private), threading.Event())


@pytest.mark.slow
def test_ten_requests_in_flight_finish(holders: list[Running], market: Market, policy: Policy) -> None:
    signers = [holder.signer for holder in holders]
    sql = "SELECT COUNT(*) AS n{} FROM 用电"
    ids = [market.open(sql.format(k), policy, signers, wait=False) for k in range(10)]
    market.submitter.wait(f"open:{to_hex(ids[-1])}", 20)
    for request_id in ids:
        market.drive(request_id, 60)
    for holder in holders:
        for request_id in ids:
            wait_for(holder, request_id, Stage.DONE)


def test_a_changed_policy_or_file_becomes_the_next_version(holders: list[Running], market: Market) -> None:
    """Last, as it makes the earlier listing stale."""
    holder = holders[0]
    parts = holder.parts
    assert parts is not None
    pq.write_table(pa.table(dict(columns_of(rows_of(7)))), holder.home / "rows.parquet")
    stored = parts.store.newest_assets()[0]
    with pytest.raises(SnapshotChanged):
        parts.data.require_unchanged(stored)
    assert register_asset(parts, LISTING).stored.version == 2
    found = market.contracts.assets.get(stored.asset_id)
    assert found.version == 2 and found.snapshot_root != stored.snapshot_root
    text = (holder.home / "policy.yaml").read_text().replace("total: '20'", "total: '30'")
    (holder.home / "policy.yaml").write_text(text)
    with pytest.raises(StoreError, match="expected a total of 30000000"):
        open_line(parts, LISTING)


def test_each_asset_is_entrusted_to_the_listing_of_its_own_policy_alone(
    market: Market, tmp_path: Path
) -> None:
    assets = []
    for name, listing in (("甲", "买卖"), ("乙", "租赁")):
        pq.write_table(pa.table(dict(columns_of(rows_of(3)))), tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({**POLICY, "listing": listing}, allow_unicode=True)
        )
        source = {"kind": "parquet", "path": f"{name}.parquet"}
        assets.append({"name": name, "source": source, "policy": f"{name}.yaml"})
    config = {
        "rpc_url": market.url,
        "exchange_url": "http://exchange",
        "deployment": market.deployment.to_json(),
        "assets": assets,
    }
    holder = Running("two assets", market, tmp_path, signer_for("two assets"), config)
    broker = market.broker.address
    with holder.open() as parts:
        register_all(parts, broker)
        register_all(parts, broker)  # again, as after an interruption
        found = {(each.asset_id, each.listing) for each in parts.store.entrustments()}
    own = holder.signer.address
    pairs = {
        (asset_id(own, name), listing_id(broker, listing))
        for name, listing in (("甲", "买卖"), ("乙", "租赁"))
    }
    assert found == pairs
    for asset in {asset for asset, _ in pairs}:
        for listing in {listing for _, listing in pairs}:
            expected = broker if (asset, listing) in pairs else Address(bytes(20))
            assert market.contracts.assets.entrusted_to(listing, asset) == expected


def test_an_asset_must_be_registered_before_it_is_entrusted(market: Market, tmp_path: Path) -> None:
    keys = Keys.generate()
    config = {
        "rpc_url": market.url,
        "exchange_url": "http://exchange",
        "deployment": market.deployment.to_json(),
        "assets": [{"name": "a", "source": {"kind": "csv", "path": "x"}, "policy": "p.yaml"}],
    }
    transport = httpx.MockTransport(market.handle)
    with (
        Parts(settings_from_mapping(config, tmp_path), keys, transport=transport) as parts,
        pytest.raises(AssetNotRegistered),
    ):
        entrust(parts, "a", listing=LISTING, broker=market.broker.address)
