"""A market whose parties may lie: real contracts on anvil, real holders' nodes, the real exchange, a real buyer.

The exchange answers over HTTP, and every holder reaches it through a `Middleman`, which a test makes dishonest. Nothing
moves by itself: holders work when `step` is called, and the test itself sends the broker's transactions, honest or not.
The chain mines each transaction at once; `mine` lets deadlines pass.
"""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.app import create_app
from client.buyer import Buyer
from client.settings import ClientSettings
from exchange.market import Market
from exchange.onchain import OnChain
from exchange.settings import Settings, Windows
from exchange.sums import Sums
from holder import registration
from holder.errors import ExchangeError, StoreError
from holder.exchange_client import ExchangeClient
from holder.node import Node
from holder.parts import Parts
from holder.settings import AssetSettings, EngineSettings, FileSource, HolderSettings
from holder.types import Stage
from ledger.chain import Chain
from ledger.contracts import Contracts, decode_revert, members_from_events
from ledger.database import make_engine
from ledger.deploy import deploy
from ledger.eip712 import request_id
from ledger.encoding import keccak
from ledger.errors import CallReverted, ChainUnreachable
from ledger.http_auth import SignedAuth
from ledger.keystore import Keys
from ledger.signing import Signer
from ledger.types import Address, Call, Contributed, Deployment, Digest, Member, Request, Roles, to_hex
from privacy.messages import Kind, decode_frame
from privacy.session import Session

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "contracts" / "node_modules" / "@foundry-rs"
# The first of the accounts that every anvil makes and fills; it is worth nothing anywhere else.
RICH = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
LISTING = "用电"
SQL = 'SELECT "城镇", COUNT(*) AS n, SUM(kwh) AS total FROM "用电" GROUP BY "城镇"'
ROWS = 40
CREDITS = 1_000_000_000
MINED_AT_ONCE = 100
POLICY: dict[str, Any] = {
    "version": 1,
    "listing": LISTING,
    "title": "Electricity use",
    "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
    "row_key": [],
    "rows_max": 1000,
    "columns": {
        "城镇": {"type": "text", "role": "dimension", "domain": ["南山", "福田"], "filter": True},
        "kwh": {
            "type": "number",
            "role": "measure",
            "low": 0,
            "high": 100,
            "nullable": False,
            "scale_bits": 0,
        },
    },
    "null_values": [],
    "aggregates": ["count", "sum", "avg"],
    "purposes": ["research"],
    "buyers": "*",
    "rho": {"per_request": "1", "total": "3"},
    "price": {"fee_minor": 1000, "rate_minor_per_rho": 20_000},
    "min_holders": 2,
    "colluders": 0,
    "dropouts": 1,
    "approval": "automatic",
}

Reply = Callable[[httpx.Request, httpx.Response], httpx.Response]


def signer_of(name: str) -> Signer:
    return Signer(keccak(b"misbehaviour " + name.encode()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Anvil:
    """A development chain that mines each transaction at once and lets anybody speak for any account."""

    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Chain:
        program = next(iter(sorted(PACKAGES.glob("anvil-*/bin/anvil"))))
        self.port = free_port()
        command = [str(program), "--port", str(self.port), "--silent", "--auto-impersonate"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        chain, end = Chain(self.url, timeout_s=10), time.monotonic() + 20
        while True:
            try:
                chain.chain_id()
                return chain
            except ChainUnreachable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class Middleman(httpx.BaseTransport):
    """What stands between one holder and the exchange: it sees everything and may answer something else.

    Attributes:
        alter: makes the answer that the holder gets from the one that the exchange gave.
        drop: requests that it answers with an error instead of passing them on.
        sent: path and bytes of every frame that the holder sent, in order.
    """

    def __init__(self) -> None:
        self.inner = httpx.HTTPTransport()
        self.alter: Reply = lambda request, response: response
        self.drop: Callable[[httpx.Request], bool] = lambda request: False
        self.sent: list[tuple[str, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/messages"):
            self.sent.append((request.url.path, request.read()))
        if self.drop(request):
            return httpx.Response(503, json={"type": "urn:shuyao:problem:away", "title": "Away"})
        response = self.inner.handle_request(request)
        response.read()
        response.close()
        altered = self.alter(request, response)
        kept = {"content-type": altered.headers.get("content-type", "")}
        return httpx.Response(altered.status_code, headers=kept, content=altered.content)

    def honest(self) -> None:
        """Pass everything on again."""
        self.alter, self.drop = (lambda request, response: response), (lambda request: False)

    def of_kind(self, request_id: Digest, kind: Kind) -> set[bytes]:
        """The different frames of one kind that the holder sent for a request."""
        mine = [frame for path, frame in self.sent if to_hex(request_id) in path]
        return {frame for frame in mine if decode_frame(frame).kind is kind}


@dataclass
class Holder:
    """One holder: the files and keys of its node, and the node."""

    number: int
    keys: Keys
    settings: HolderSettings
    middleman: Middleman = field(default_factory=Middleman)
    parts: Parts = field(init=False)
    node: Node = field(init=False)

    @property
    def address(self) -> Address:
        return self.keys.signer.address

    def start(self) -> None:
        """(Re)start the node on its files, as a new process would."""
        self.parts = Parts(self.settings, self.keys)
        self.parts.exchange.close()
        self.parts.exchange = ExchangeClient(
            self.settings.exchange_url, self.keys.signer, transport=self.middleman, pause=lambda _: None
        )
        self.node = Node(self.parts, threading.Event())
        self.node._require_memory()

    def restart(self) -> None:
        self.parts.close()
        self.start()

    def step(self, request_id: Digest) -> None:
        """Look at the chain and do what is due, once."""
        self.node._follow()
        self.node._machine.step(request_id)
        self.parts.submitter.tick()
        self.parts.indexer.tick()

    def try_step(self, request_id: Digest) -> None:
        """The same, with an exchange that may be away."""
        with suppress(ExchangeError):
            self.step(request_id)

    def stage(self, request_id: Digest) -> Stage:
        return self.parts.store.request(request_id).stage

    def reason(self, request_id: Digest) -> str | None:
        """The named error that ended the request at this holder."""
        return self.parts.store.request(request_id).reason

    def detail(self, request_id: Digest) -> str:
        return self.parts.store.request(request_id).detail or ""

    def secrets(self, request_id: Digest) -> list[bytes]:
        """What must never be seen: session secrets, cells, shares."""
        found = []
        for name in ("session", "cells", "received"):
            with suppress(StoreError):
                found.append(self.parts.store.secret(request_id, name))
        return found


class World:
    """The market.

    Args:
        home: a fresh directory.
        holders: how many hold a listed asset.
        policy: fields that replace those of the usual policy.
    """

    def __init__(self, home: Path, *, holders: int = 3, policy: dict[str, Any] | None = None) -> None:
        self.home, self.policy = home, {**POLICY, **(policy or {})}
        self._numbers = itertools.count(1)
        self.anvil = Anvil()
        self.chain = self.anvil.start()
        self.broker, self.buyer_signer = signer_of("broker"), signer_of("buyer")
        self.registrar, self.bank = signer_of("registrar"), signer_of("bank")
        self.deployment: Deployment = deploy(
            self.chain,
            Signer(RICH),
            registrar=self.registrar.address,
            bank=self.bank.address,
            answer_window_blocks=5,
        )
        self.contracts = Contracts(self.chain, self.deployment)
        for who, role in ((self.buyer_signer, Roles.BUYER), (self.broker, Roles.BROKER)):
            self.admit(who, role)
            self.send(self.bank, self.contracts.settlement.mint(who.address, CREDITS))
        self.send(self.broker, self.contracts.settlement.post_bond(CREDITS // 2))
        self._start_exchange()
        self.holders = [self._holder(number) for number in range(1, holders + 1)]
        self._list()
        self.buyer = Buyer(self._client_settings(), self.buyer_signer)

    def close(self) -> None:
        self.buyer.close()
        for holder in self.holders:
            holder.parts.close()
        self.server.should_exit = True
        self._thread.join(10)
        self.market.waiting.stop()
        self.market.engine.dispose()
        self.anvil.stop()

    # --- building

    def _start_exchange(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = Settings(
            deployment=self.deployment,
            rpc_url=self.anvil.url,
            database_url=f"sqlite:///{self.home / 'exchange.db'}",
            workflow_database_url=f"sqlite:///{self.home / 'workflows.db'}",
            public_url=self.url,
            port=port,
            windows=Windows(approve=300, share=60, contribute=60, answer=60),
        )
        engine = make_engine(settings.database_url)
        side = OnChain(engine, Chain(self.anvil.url), self.deployment, self.broker, confirmations=0)
        self.market = Market(settings, engine=engine, chain=side, signer=self.broker)
        self.server = uvicorn.Server(uvicorn.Config(create_app(self.market), port=port, log_level="error"))
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 10
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.01)

    def _holder(self, number: int) -> Holder:
        home = self.home / f"holder{number}"
        home.mkdir(parents=True)
        rows = [
            {"城镇": ("南山", "福田", "罗湖")[n % 3], "kwh": float((n * 7 + number) % 100)}
            for n in range(ROWS)
        ]
        pq.write_table(pa.Table.from_pylist(rows), home / "rows.parquet")
        (home / "policy.yaml").write_text(json.dumps(self.policy, ensure_ascii=False), "utf-8")
        source = FileSource("parquet", home / "rows.parquet")
        asset = AssetSettings(LISTING, LISTING, source, home / "policy.yaml", "meters")
        settings = HolderSettings(
            home=home,
            rpc_url=self.anvil.url,
            exchange_url=self.url,
            deployment=self.deployment,
            database_url=f"sqlite:///{home / 'holder.db'}",
            assets=(asset,),
            engine=EngineSettings(home / "tmp", threads=1),
            cache=self.home / "cache",
            ack_timeout_s=0.001,
        )
        keys = Keys(
            signer_of(f"holder {number}"), X25519PrivateKey.from_private_bytes(keccak(b"%d" % number))
        )
        self.admit(keys.signer, Roles.HOLDER)
        holder = Holder(number, keys, settings)
        holder.start()
        self.market.chain.tick()
        self.market.mirror.rebuild(self.market.chain.market_events())
        registration.register_all(holder.parts, self.broker.address)
        return holder

    def _list(self) -> None:
        self.market.follower.catch_up()
        self.market.mirror.rebuild(self.market.chain.market_events())
        assets = [registration.newest(h.parts, LISTING).asset_id for h in self.holders]
        self.market.listings.put(self.broker.address, name=LISTING, title=LISTING, asset_ids=assets)

    def _client_settings(self) -> ClientSettings:
        return ClientSettings(
            home=self.home / "buyer",
            exchange_url=self.url,
            rpc_url=self.anvil.url,
            deployment=self.deployment,
            cache=self.home / "cache",
            poll_s=0.02,
            answer_timeout_s=0.5,
        )

    # --- the chain

    def admit(self, who: Signer, role: Roles, *, operator: Address | None = None) -> None:
        operator = operator or Address(keccak(b"operator" + who.address)[:20])
        self.chain.request("anvil_setBalance", to_hex(who.address), hex(10**20))
        call = self.contracts.participants.admit(who.address, operator, role, keccak(who.address))
        self.send(self.registrar, call)

    def send(self, sender: Signer, call: Call) -> None:
        """Send a transaction as somebody; a revert is raised by its name.

        Raises:
            ContractReverted
        """
        self.chain.request("anvil_setBalance", to_hex(sender.address), hex(10**20))
        try:
            self.chain.call(call.to, call.data, sender=sender.address)
        except CallReverted as err:
            raise decode_revert(err.data) from err
        transaction = {"from": to_hex(sender.address), "to": to_hex(call.to), "data": to_hex(call.data)}
        tx_hash = self.chain.request("eth_sendTransaction", {**transaction, "gas": hex(5_000_000)})
        receipt = None
        while receipt is None:  # the node answers before it has mined
            receipt = self.chain.receipt(bytes.fromhex(tx_hash[2:]))
        assert receipt.status == 1

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks, not so many in one call that a busy machine has not answered when the client gives up."""
        for first in range(0, blocks, MINED_AT_ONCE):
            self.chain.request("anvil_mine", hex(min(MINED_AT_ONCE, blocks - first)))

    def mine_past(self, block: int) -> None:
        """Let a deadline pass."""
        self.mine(max(1, block + 1 - self.chain.block_number()))

    # --- a request

    def submit(self, sql: str = SQL, *, rho_micro: int | None = None) -> Digest:
        """The buyer quotes and hands in a request, a new one if no ρ is given; nothing is on the chain yet."""
        self.market.follower.catch_up()
        rho_micro = rho_micro or 500_000 + next(self._numbers)
        return self.buyer.submit(self.buyer.quote(LISTING, sql, rho_micro=rho_micro))

    def open(self, sql: str = SQL, *, rho_micro: int | None = None) -> Digest:
        """Submit, and open it on the chain as the broker does."""
        request_id = self.submit(sql, rho_micro=rho_micro)
        record = self.market.store.request(request_id)
        self.send(self.broker, self.contracts.ledger.open(record.request, record.signature))
        self.market.follower.catch_up()
        return request_id

    def open_raw(self, request: Request, *, signer: Signer | None = None) -> None:
        """Open a request that did not pass the exchange."""
        signature = self.sign(signer or self.buyer_signer, request)
        self.send(self.broker, self.contracts.ledger.open(request, signature))

    def sign(self, signer: Signer, request: Request) -> bytes:
        """Sign a request, whoever its buyer is."""
        return signer.sign(request_id(request, self.deployment.chain_id, self.deployment.ledger))

    def request_of(self, request_id: Digest) -> Request:
        return self.market.store.request(request_id).request

    def members(self, request_id: Digest) -> list[Member]:
        self.market.follower.catch_up()
        return members_from_events(self.market.chain.request_events(request_id))

    def session(self, request_id: Digest) -> Session:
        self.market.follower.catch_up()
        session = self.market.requests.progress(self.market.store.request(request_id)).session
        assert session is not None
        return session

    def index_of(self, holder: Holder, request_id: Digest) -> int:
        return self.session(request_id).index_of(holder.address)

    def step(self, request_id: Digest, holders: list[Holder] | None = None) -> None:
        for holder in self.holders if holders is None else holders:
            holder.try_step(request_id)
        self.market.follower.catch_up()

    def run_to(self, request_id: Digest, stage: Stage, holders: list[Holder] | None = None) -> None:
        """Let holders work until all of them are at a stage."""
        chosen = self.holders if holders is None else holders
        for _ in range(8):
            self.step(request_id, chosen)
            if all(holder.stage(request_id) is stage for holder in chosen):
                return
        shown = [
            (h.number, str(h.stage(request_id)), h.reason(request_id), h.detail(request_id)) for h in chosen
        ]
        raise AssertionError(f"not at {stage}: {shown}")

    def settle_down(self, request_id: Digest, rounds: int = 4) -> None:
        """Let everybody do whatever they would do."""
        for _ in range(rounds):
            self.step(request_id)

    def shared(self, request_id: Digest) -> None:
        """Bring a request to where everybody's shares are on the chain and nobody has masked."""
        for _ in range(8):
            if self.contracts.ledger.state(request_id).shared == len(self.holders):
                break
            for holder in self.holders:
                self._step_without_bundles(holder, request_id)
        self.market.follower.catch_up()
        assert {holder.stage(request_id) for holder in self.holders} == {Stage.SHARED}

    def _step_without_bundles(self, holder: Holder, request_id: Digest) -> None:
        """Step a holder that must not go on to mask: the bundles are kept from it for the moment."""
        drop = holder.middleman.drop
        holder.middleman.drop = lambda request: is_bundles(request) or drop(request)
        holder.try_step(request_id)
        holder.middleman.drop = drop

    def contributed(self, request_id: Digest, holders: list[Holder] | None = None) -> None:
        """Bring a request to where the contributions of all, or of some, are on the chain."""
        chosen = self.holders if holders is None else holders
        self.shared(request_id)
        for _ in range(8):
            if self._contributions(request_id) == len(chosen):
                return
            self.step(request_id, chosen)
        raise AssertionError(
            [(h.stage(request_id), h.reason(request_id), h.detail(request_id)) for h in chosen]
        )

    def _contributions(self, request_id: Digest) -> int:
        """Count those whose events are there: the node shows a block's state a moment before its events."""
        self.market.follower.catch_up()
        events = self.market.chain.request_events(request_id)
        return sum(isinstance(event, Contributed) for event in events)

    def contributed_but(self, request_id: Digest, late: Holder) -> None:
        """Let all contribute but one, whose vector is made and stays where it is; afterwards it is honest again."""
        for _ in range(8):
            for holder in self.holders:
                holder.try_step(request_id)
            if self._contributions(request_id) == len(self.holders) - 1:
                break
        self.market.follower.catch_up()
        assert late.stage(request_id) is Stage.CONTRIBUTED
        late.middleman.honest()

    def seal(self, request_id: Digest) -> None:
        self.market.follower.catch_up()  # the last contribution may have been mined after the last look
        call = self.contracts.ledger.seal(self.request_of(request_id), self.members(request_id))
        self.send(self.broker, call)
        self.market.follower.catch_up()

    def payload(self, request_id: Digest) -> bytes | None:
        """Y, as the real exchange sums it from what it was given."""
        self.market.follower.catch_up()
        progress = self.market.requests.progress(self.market.store.request(request_id))
        made = Sums(self.market.store).answer(progress)
        return None if made is None else made.payload

    def answer(self, request_id: Digest, root: bytes) -> None:
        self.send(self.broker, self.contracts.ledger.answer(self.request_of(request_id), root))
        self.market.follower.catch_up()

    def answered(self, request_id: Digest, holders: list[Holder] | None = None) -> None:
        """Take a contributed request to its answer; all or some holders unmask."""
        self.seal(request_id)
        self.step(request_id, holders)
        self.step(request_id, holders)
        assert self.payload(request_id) is not None
        stored = self.market.store.answer(request_id)
        assert stored is not None
        self.answer(request_id, stored.root)

    # --- speaking to the exchange directly

    def http(self, who: Signer) -> httpx.Client:
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no certificates: the exchange speaks HTTP here
        return httpx.Client(base_url=self.url, auth=SignedAuth(who), timeout=20, verify=plain)

    def post_frame(self, holder: Holder, request_id: Digest, frame: bytes) -> httpx.Response:
        headers = {"Idempotency-Key": keccak(frame).hex(), "Content-Type": "application/octet-stream"}
        with self.http(holder.keys.signer) as http:
            return http.post(f"/requests/{to_hex(request_id)}/messages", content=frame, headers=headers)


def is_bundles(request: httpx.Request) -> bool:
    """Whether a holder asks for its peers' bundles."""
    return request.method == "GET" and request.url.path.endswith("/messages")


def is_post(request: httpx.Request, kind: Kind) -> bool:
    """Whether a holder hands in a frame of this kind."""
    is_message = request.method == "POST" and request.url.path.endswith("/messages")
    return is_message and decode_frame(request.read()).kind is kind


def is_body(request: httpx.Request) -> bool:
    """Whether a holder asks for a request's body and plan."""
    return request.method == "GET" and request.url.path.startswith("/requests/0x") and not is_bundles(request)


def replaced(response: httpx.Response, content: bytes) -> httpx.Response:
    """The same answer with other bytes."""
    return httpx.Response(response.status_code, headers=response.headers, content=content)


def with_json(response: httpx.Response, **fields: Any) -> httpx.Response:
    """The same answer with other fields."""
    return httpx.Response(response.status_code, json={**response.json(), **fields})


def flipped(data: bytes, position: int) -> bytes:
    """The same bytes with one bit changed."""
    at = position % len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def require_silence(world: World, request_id: Digest) -> None:
    """Nothing went out twice, and no error says anything of what must stay secret."""
    for holder in world.holders:
        for kind in Kind:
            assert len(holder.middleman.of_kind(request_id, kind)) <= 1, (holder.number, kind)
        detail = holder.detail(request_id)
        for secret in holder.secrets(request_id):
            for start in range(0, len(secret) - 8, 8):
                word = secret[start : start + 8]
                assert word.hex() not in detail or not any(word)
                assert len(set(word)) < 3 or str(int.from_bytes(word, "little")) not in detail


def problem(response: httpx.Response) -> str:
    """The name of a problem: the exception's words, such as `message-conflict`."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    return str(response.json()["type"]).removeprefix("urn:shuyao:problem:")
