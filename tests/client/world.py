"""A whole market in one process, for tests of the buyer: real cryptography, a chain of encoded logs, no socket."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from eth_abi.abi import decode, encode

from client.buyer import Buyer
from client.curves import ArkworksCurves
from client.market import Market
from client.settings import ClientSettings
from ledger.abi import artifact, interface
from ledger.chain import Chain, parse_logs
from ledger.contracts import asset_id, line_id, listing_id
from ledger.eip712 import request_id, require_request_signature
from ledger.encoding import keccak, tagged_hash
from ledger.errors import ChainError, ChainUnreachable
from ledger.events import request_to_tuple
from ledger.http_auth import verify_http_signature
from ledger.signing import Signer
from ledger.types import Address, Deployment, Digest, Request, RequestState, to_hex
from privacy.curve import SignedCells
from privacy.expected import expected_error95
from privacy.generators import GeneratorCache
from privacy.messages import Kind, message_hash
from privacy.plan import Plan
from privacy.planning import build_plan, plan_parameters
from privacy.policy import Policy
from privacy.sealed_sum import (
    HolderSecrets,
    aggregate,
    answer_chunk,
    answer_root,
    commit,
    commitment_hash,
    compressed_key,
    make_bundle,
    mask_input,
    open_bundles,
    unmask_payload,
)
from privacy.session import Member, Session
from privacy.sql import parse_query
from privacy.types import AssetRef, ListingRef

SQL = "SELECT town, COUNT(*) AS n, SUM(kwh) AS total, AVG(kwh) AS mean FROM power GROUP BY town"
CHAIN_ID = 31337
NONCE_USED = keccak(b"nonceUsed(address,uint256)")[:4]
STATUS = interface("ComputeLedger").encode("status", bytes(32))[:4]
REACHED = {
    "Opened": RequestState.OPEN,
    "Shared": RequestState.SHARING,
    "Contributed": RequestState.CONTRIBUTING,
    "Sealed": RequestState.SEALED,
    "Answered": RequestState.ANSWERED,
    "Settled": RequestState.SETTLED,
    "Closed": RequestState.CLOSED,
}
NOW_S = 1_800_000_000
GENERATORS = GeneratorCache(None)

POLICY: dict[str, Any] = {
    "version": 1,
    "listing": "power",
    "title": "Electricity use",
    "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
    "row_key": [],
    "rows_max": 100_000,
    "columns": {
        "town": {"type": "text", "role": "dimension", "domain": ["east", "west", "杭州"], "filter": True},
        "kwh": {"type": "number", "role": "measure", "low": 0, "high": 100, "scale_bits": 4},
    },
    "aggregates": ["count", "sum", "avg"],
    "purposes": ["research"],
    "buyers": "*",
    "rho": {"per_request": "0.5", "total": "10"},
    "price": {"fee_minor": 100, "rate_minor_per_rho": 1_000},
    "min_holders": 2,
    "colluders": 0,
    "approval": "automatic",
}


def signer_for(name: str) -> Signer:
    """A key that depends on its name alone."""
    return Signer(keccak(b"test key " + name.encode()))


def rand_of(seed: str) -> Callable[[int], bytes]:
    """A deterministic source of bytes: SHA-256 in counter mode."""
    drawn = 0

    def rand(count: int) -> bytes:
        nonlocal drawn
        stream = b""
        while len(stream) < count:
            stream += hashlib.sha256(f"{seed}/{drawn}".encode()).digest()
            drawn += 1
        return stream[:count]

    return rand


class FakeChain(Chain):
    """A JSON-RPC node that answers from lists of logs and calls; everything above the transport is real."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.head = 100
        self.served_chain_id = deployment.chain_id
        self.is_away = False
        self.requests_seen: list[str] = []
        self.logs_kept: list[dict[str, Any]] = []
        self.calls: dict[tuple[str, str], bytes] = {}
        self.nonces_used: set[tuple[Address, int]] = set()
        self.codes = {deployment.ledger: ledger_code()}
        self.request = self._request
        self.batch = self._batch
        self.close = lambda: None

    def emit(self, name: str, *values: Any, indexed: Collection[bytes]) -> None:
        """Add one event of the ledger, in a block of its own."""
        signature = next(s for s in interface("ComputeLedger").events.values() if s.name == name)
        kinds = [
            kind
            for (_, kind), is_indexed in zip(signature.inputs, signature.indexed, strict=True)
            if not is_indexed
        ]
        self.head += 1
        block = self.head.to_bytes(32, "big")
        self.logs_kept.append(
            {
                "address": to_hex(self.deployment.ledger),
                "topics": [to_hex(topic.rjust(32, b"\0")) for topic in (signature.hash, *indexed)],
                "data": to_hex(encode(kinds, values)),
                "blockNumber": hex(self.head),
                "blockHash": to_hex(keccak(block)),
                "transactionHash": to_hex(keccak(b"tx" + block)),
                "logIndex": "0x0",
            }
        )

    def _batch(self, calls: Any) -> list[Any]:
        return [self._request(method, *params) for method, params in calls]

    def _request(self, method: str, *params: Any) -> Any:
        self.requests_seen.append(method)
        if self.is_away:
            raise ChainUnreachable("the node does not answer (test)")
        if method == "eth_chainId":
            return hex(self.served_chain_id)
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getCode":
            return to_hex(self.codes.get(Address(bytes.fromhex(params[0][2:])), b""))
        if method == "eth_call":
            return to_hex(self._called(params[0]["to"], params[0]["data"]))
        if method == "eth_getLogs":
            return self._logs(params[0])
        raise ChainError(f"unexpected {method}")

    def _called(self, to: str, data: str) -> bytes:
        asked = bytes.fromhex(data[2:])
        if asked[:4] == STATUS:
            return self._status(to_hex(asked[4:]))
        if asked[:4] != NONCE_USED:
            return self.calls[to, data]
        buyer, nonce = decode(["address", "uint256"], asked[4:])
        return encode(["bool"], [(Address(bytes.fromhex(buyer[2:])), nonce) in self.nonces_used])

    def _status(self, identity: str) -> bytes:
        logs = parse_logs([log for log in self.logs_kept if log["topics"][1] == identity])
        names = {interface("ComputeLedger").events[log.topics[0]].name for log in logs}
        reached = [state for name, state in REACHED.items() if name in names]
        kinds = interface("ComputeLedger").functions["status"].outputs
        return encode(list(kinds), [(int(max(reached, default=RequestState.NONE)), *[0] * 7)])

    def _logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        return [
            log
            for log in self.logs_kept
            if first <= int(log["blockNumber"], 16) <= last
            and log["address"] in wanted["address"]
            and all(
                topic in (None, found) for topic, found in zip(wanted["topics"], log["topics"], strict=False)
            )
        ]

    def names(self) -> list[str]:
        """The events so far, by name."""
        return [interface("ComputeLedger").events[log.topics[0]].name for log in parse_logs(self.logs_kept)]


def ledger_code() -> bytes:
    """The ledger's code as deployed, with values in its immutable places."""
    compiled = artifact("ComputeLedger")
    code = bytearray.fromhex(compiled["deployedBytecode"].removeprefix("0x"))
    for places in compiled["immutableReferences"].values():
        for place in places:
            code[place["start"] : place["start"] + place["length"]] = b"\x11" * place["length"]
    return bytes(code)


@dataclass
class World:
    """Holders, a broker with its exchange, a buyer and a chain."""

    home: Path
    dropped: Collection[int] = ()  # roster indices that share and then vanish
    policy: Policy = field(default_factory=lambda: Policy.from_mapping(POLICY))
    answers: dict[bytes, bytes] = field(default_factory=dict)
    sessions: dict[bytes, Session] = field(default_factory=dict)
    refusals: list[httpx.Response] = field(default_factory=list)  # what the next POSTs of requests get
    submissions: list[dict[str, Any]] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    count: int = 3  # holders
    is_open: bool = True  # whether the broker opens what it is given
    version: str = "2"
    tamper: Callable[[bytes], bytes] = bytes  # what the broker does to Y before it fixes its root
    serve: Callable[[bytes], bytes | None] = bytes  # what the exchange hands out as Y

    def __post_init__(self) -> None:
        self.buyer, self.broker = signer_for("buyer"), signer_for("broker")
        self.holders = sorted((signer_for(f"holder{k}") for k in range(self.count)), key=lambda s: s.address)
        self.chain, self.deployment = self._make_chain()
        self.listing = listing_id(self.broker.address, "power")
        self.assets = [self._asset(holder) for holder in self.holders]
        self._register()
        self.settings = self.make_settings()

    def _make_chain(self) -> tuple[FakeChain, Deployment]:
        names = ("participants", "assets", "ledger", "settlement", "manager")
        addresses = {name: Address(keccak(name.encode())[:20]) for name in names}
        deployment = Deployment(chain_id=CHAIN_ID, block=5, **addresses)
        return FakeChain(deployment), deployment

    def make_settings(self) -> ClientSettings:
        """The buyer's settings."""
        return ClientSettings(
            home=self.home / "buyer",
            exchange_url="http://exchange.test",
            rpc_url="http://chain.test",
            deployment=self.deployment,
            poll_s=0.001,
            answer_timeout_s=0.02,
        )

    def make_buyer(self, **changes: Any) -> Buyer:
        """A buyer process; call it again for a restarted one."""
        market = Market("http://exchange.test", self.buyer, transport=httpx.MockTransport(self.handle))
        given = {
            "market": market,
            "chain": self.chain,
            "now_s": lambda: float(NOW_S),
            "sleep": lambda _: None,
            **changes,
        }
        return Buyer(self.settings, self.buyer, **given)

    # --- the exchange

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Serve the routes that a buyer uses."""
        target = request.url.raw_path.decode()
        sender = verify_http_signature(
            dict(request.headers), request.method, target, request.content, time.time()
        )
        assert sender == self.buyer.address
        parts = [part for part in target.split("/") if part]
        match request.method, *parts:
            case "GET", "listings", _:
                return httpx.Response(200, json=self.listing_json())
            case "POST", "quotes":
                return httpx.Response(201, json=self.quote_json(json.loads(request.content)))
            case "POST", "requests":
                self.idempotency_keys.append(request.headers["Idempotency-Key"])
                return self._take(json.loads(request.content))
            case "GET", "requests", _, "events":
                return self._events(bytes.fromhex(parts[1][2:]))
            case "GET", "requests", _, "answer":
                payload = self.serve(self.answers[bytes.fromhex(parts[1][2:])])
                return httpx.Response(404) if payload is None else httpx.Response(200, content=payload)
            case "GET", "requests", _:
                return httpx.Response(200, json={"request_id": parts[1], "state": "open", "events": []})
            case "POST", "requests", _, "acceptances":
                return httpx.Response(202, json={})
        return httpx.Response(404)

    def listing_json(self) -> dict[str, Any]:
        """The listing as the exchange shows it."""
        return {
            "id": to_hex(self.listing),
            "name": "power",
            "title": "Electricity use",
            "broker": to_hex(self.broker.address),
            "policy": self.policy.to_json(),
            "policy_hash": to_hex(self.policy.hash()),
            "assets": [asset.to_json() for asset in self.assets],
        }

    def quote_json(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A quote as the exchange gives it."""
        plan = self.plan(asked["sql"], int(asked["rho_micro"]), asked.get("asked"))
        price = self.policy.price.total_minor(plan.rho_micro, self.count)
        expires_at = NOW_S + 600
        terms = tagged_hash("quote", plan.hash(), self.buyer.address, plan.rho_micro, price, expires_at)
        head = self.chain.block_number()
        return {
            "id": "quote-1",
            "plan": plan.to_json(),
            "plan_hash": to_hex(plan.hash()),
            "rho_micro": str(plan.rho_micro),
            "price_minor": str(price),
            "columns": list(plan.columns),
            "expected_error95": [e.to_json() for e in expected_error95(plan, plan_parameters(plan))],
            "request": {
                "buyer": to_hex(self.buyer.address),
                "broker": to_hex(self.broker.address),
                "listing": to_hex(self.listing),
                "plan_hash": to_hex(plan.hash()),
                "rho": str(plan.rho_micro),
                "price": str(price),
                "holders": str(plan.holders),
                "min_holders": str(plan.min_holders),
                "colluders": str(plan.colluders),
                "dropouts": str(plan.dropouts),
                "approve_by": str(head + 40),
                "share_by": str(head + 80),
                "contribute_by": str(head + 160),
                "answer_by": str(head + 240),
            },
            "expires_at": expires_at,
            "signature": to_hex(self.broker.sign(terms)),
            "existing_request": None,
        }

    def plan(self, sql: str = SQL, rho_micro: int = 500_000, asked: Any = None) -> Plan:
        """The plan of a query."""
        listing = ListingRef(self.listing, "power")  # type: ignore[arg-type]
        query = parse_query(sql, self.policy)
        return build_plan(
            query,
            self.policy,
            listing,
            self.assets,
            purpose="research",
            rho_micro=rho_micro,
            asked=asked,
        )

    def _take(self, body: dict[str, Any]) -> httpx.Response:
        self.submissions.append(body)
        if self.refusals:
            return self.refusals.pop(0)
        request = Request.from_json(body["request"])
        signature = bytes.fromhex(body["signature"][2:])
        identity = require_request_signature(request, signature, CHAIN_ID, self.deployment.ledger)
        if self.is_open and identity not in self.answers:
            self.answer(request, signature, Plan.from_json(body["plan"]))
        return httpx.Response(202, json={"request_id": to_hex(identity), "state": "submitted"})

    def _events(self, identity: bytes) -> httpx.Response:
        states = ["open", "sharing", "contributing", "sealed", "answered"] if identity in self.answers else []
        body = ": hello\n\n" + "".join(
            f'id: {k}\nevent: state\ndata: {{"state":"{state}","at":"2027"}}\n\n'
            for k, state in enumerate(states)
        )
        return httpx.Response(200, text=body, headers={"Content-Type": "text/event-stream"})

    # --- holders, broker and chain

    def answer(self, request: Request, signature: bytes, plan: Plan) -> None:
        """Run a request to its answer, every step on the chain."""
        identity = request_id(request, CHAIN_ID, self.deployment.ledger)
        drawn = [HolderSecrets.generate(rand_of(f"secrets/{k}")) for k in range(self.count)]
        members = [self._member(asset, secrets) for asset, secrets in zip(self.assets, drawn, strict=True)]
        scribe = self.make_scribe(request, identity)
        scribe.open(signature)
        for member in reversed(members):
            scribe.approve(member)
        session = Session.build(
            chain_id=CHAIN_ID,
            ledger=self.deployment.ledger,
            request_id=identity,
            plan_hash=request.plan_hash,
            members=members,
            colluders=request.colluders,
            dropouts=request.dropouts,
            min_holders=request.min_holders,
        )
        payload = self._sum(session, drawn, plan, scribe, compressed_key(request.key_x, request.key_parity))
        self.answers[identity] = self.tamper(payload)
        self.sessions[identity] = session
        scribe.answer(answer_root(session.id, self.answers[identity]))

    def make_scribe(self, request: Request, identity: Digest) -> Scribe:
        """What puts a request's steps on the chain."""
        return Scribe(self.chain, request, identity)

    def _sum(
        self, session: Session, drawn: list[HolderSecrets], plan: Plan, scribe: Scribe, key: bytes
    ) -> bytes:
        """The holders' and the broker's part between roster and answer."""
        everybody = range(self.count)
        survivors = [i for i in everybody if i not in self.dropped]
        cells = {i: self.cells_of(i, plan) for i in everybody}
        commitments = {i: commit(GENERATORS.take(plan.cells), cells[i], drawn[i].blinding) for i in everybody}
        bundles = {i: make_bundle(drawn[i], session, i) for i in everybody}
        seeds = {i: drawn[i].seed_hash(session, i) for i in everybody}
        for i in everybody:
            scribe.share(session, i, bundles[i], seeds[i], commitments[i])
        masked = {
            i: mask_input(drawn[i], session, i, sharers=everybody, buyer_key=key, cells=cells[i])
            for i in survivors
        }
        for i in survivors:
            scribe.contribute(session, i, masked[i], commitments[i], self.broker)
        scribe.seal(session, survivors, commitments)
        received = {i: open_bundles(drawn[i], session, i, bundles) for i in survivors}
        unmasks = {
            i: unmask_payload(received[i], session, i, sharers=everybody, survivors=survivors)
            for i in survivors
        }
        return aggregate(
            session, cells=plan.cells, sharers=everybody, masked=masked, unmasks=unmasks, seed_hashes=seeds
        ).payload

    def post_chunks(self, identity: bytes, count: int) -> None:
        """Put demanded chunks on the chain."""
        for chunk in range(count):
            self.chain.emit("ChunkDemanded", chunk, indexed=[identity])
            data = answer_chunk(self.answers[identity], chunk)
            self.chain.emit("ChunkPosted", chunk, data, indexed=[identity])

    @staticmethod
    def cells_of(holder: int, plan: Plan) -> SignedCells:
        """What a holder counts, noise included: a thousand rows or so in every group."""
        return np.arange(plan.cells, dtype=np.int64) * 7_001 + 1_000_000 * (holder + 1)

    def _asset(self, holder: Signer) -> AssetRef:
        return AssetRef.from_json(
            {
                "asset": to_hex(asset_id(holder.address, "power")),
                "version": self.version,
                "holder": to_hex(holder.address),
                "policy_hash": to_hex(self.policy.hash()),
                "snapshot_root": to_hex(keccak(b"rows of " + holder.address)),
            }
        )

    def _member(self, asset: AssetRef, secrets: HolderSecrets) -> Member:
        keys = secrets.public_keys()
        return Member(
            holder=asset.holder,
            asset=asset.asset,
            asset_version=asset.version,
            line=line_id(Address(asset.holder), "meters"),
            mask_key=keys.mask_key,
            share_key=keys.share_key,
            e_x=keys.e_x,
            e_parity=keys.e_parity,
            noise_commitment=keys.noise_commitment,
        )

    def _register(self) -> None:
        """Let the chain know the assets and their entrustment."""
        abi, to = interface("AssetRegistry"), to_hex(self.deployment.assets)
        for ref in self.assets:
            holder = Address(ref.holder)
            row = (
                holder,
                ref.version,
                1,
                5,
                line_id(holder, "meters"),
                ref.policy_hash,
                ref.snapshot_root,
                bytes(32),
            )
            kinds = ",".join(abi.functions["get"].outputs)
            self.chain.calls[to, to_hex(abi.encode("get", ref.asset))] = encode([kinds], [row])
            broker = encode(["address"], [self.broker.address])
            self.chain.calls[to, to_hex(abi.encode("entrustedTo", self.listing, ref.asset))] = broker


@dataclass
class Scribe:
    """Writes a request's events to the fake chain."""

    chain: FakeChain
    request: Request
    identity: Digest

    def open(self, signature: bytes) -> None:
        """The broker opens."""
        self.chain.emit("Opened", request_to_tuple(self.request), signature, indexed=[self.identity])
        self.chain.nonces_used.add((self.request.buyer, self.request.nonce))

    def approve(self, m: Member) -> None:
        """A holder approves."""
        keys = m.mask_key, m.share_key, m.e_x, m.e_parity, m.noise_commitment
        values = (m.asset, m.asset_version, m.line, *keys)
        self.chain.emit("Approved", *values, indexed=[self.identity, m.holder])

    def share(self, session: Session, index: int, bundle: bytes, seed: bytes, commitment: bytes) -> None:
        """A holder shares."""
        holder = session.members[index].holder
        fixed = commitment_hash(self.identity, holder, commitment)
        bundle_hash = message_hash(Kind.BUNDLE, session.id, index, bundle)
        self.chain.emit("Shared", bundle_hash, seed, fixed, indexed=[self.identity, holder])

    def contribute(
        self, session: Session, index: int, masked: bytes, commitment: bytes, broker: Signer
    ) -> None:
        """A holder contributes."""
        input_hash = message_hash(Kind.MASKED_INPUT, session.id, index, masked)
        holder = session.members[index].holder
        self.chain.emit("Contributed", commitment, input_hash, indexed=[self.identity, holder])

    def seal(self, session: Session, survivors: list[int], commitments: dict[int, bytes]) -> None:
        """Anybody seals."""
        total = ArkworksCurves().sum({i: commitments[i] for i in survivors})
        self.chain.emit("Sealed", len(survivors), total, indexed=[self.identity])

    def answer(self, root: bytes) -> None:
        """The broker answers."""
        self.chain.emit("Answered", root, indexed=[self.identity])


def ask(world: World, buyer: Buyer, sql: str = SQL) -> Digest:
    """Quote and submit."""
    return buyer.submit(buyer.quote("power", sql))
