"""A whole market for tests: real services and real cryptography on a fake chain; holders and buyers are played here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import Engine

from exchange.assets import descriptor_hash
from exchange.market import Market
from exchange.progress import Progress
from exchange.quotes import Quote
from exchange.settings import Settings, Windows
from exchange.types import RequestRecord, Stage
from ledger.contracts import asset_id, line_id, listing_id
from ledger.eip712 import request_id, sign_acceptance, sign_request
from ledger.encoding import keccak
from ledger.signing import Signer
from ledger.types import (
    Approved,
    AssetRegistered,
    AssetUpdated,
    Digest,
    Entrusted,
    ParticipantAdmitted,
    Request,
    Roles,
)
from privacy.messages import Frame, Kind, decode_frame, message_hash
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.sealed_sum import (
    BuyerKey,
    HolderSecrets,
    make_bundle,
    mask_input,
    open_bundles,
    release,
    remove_pads,
)
from privacy.sealed_sum_answer import buyer_pad
from privacy.sealed_sum_holder import commitment_hash
from tests.exchange.fake_chain import DEPLOYMENT, FakeChain

NOW = 1_790_000_000
SQL = "SELECT town, COUNT(*) AS n, AVG(kwh) AS mean FROM power GROUP BY town"
POLICY: dict[str, Any] = {
    "version": 1,
    "listing": "power",
    "title": "Electricity use",
    "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
    "row_key": [],
    "rows_max": 1000,
    "null_values": [],
    "aggregates": ["count", "sum", "avg"],
    "purposes": ["research"],
    "buyers": "*",
    "rho": {"per_request": "0.5", "total": "50"},
    "price": {"fee_minor": 1000, "rate_minor_per_rho": 20000},
    "min_holders": 2,
    "approval": "automatic",
    "columns": {
        "town": {"type": "text", "role": "dimension", "domain": ["east", "north"], "filter": True},
        "kwh": {
            "type": "number",
            "role": "measure",
            "low": 0,
            "high": 100,
            "nullable": False,
            "scale_bits": 0,
        },
    },
}
DESCRIPTOR = {"title": "Electricity use", "publisher": "a utility"}


def signer_of(name: str) -> Signer:
    """Return the key of a name."""
    return Signer(hashlib.sha256(name.encode()).digest())


def rand_of(seed: str) -> Any:
    """Return a deterministic source of bytes."""
    drawn = 0

    def rand(count: int) -> bytes:
        nonlocal drawn
        stream = b""
        while len(stream) < count:
            stream += hashlib.sha256(f"{seed}/{drawn}".encode()).digest()
            drawn += 1
        return stream[:count]

    return rand


@dataclass
class Signed:
    """A request that a buyer signed."""

    quote: Quote
    request: Request
    signature: bytes
    key: BuyerKey

    @property
    def plan_json(self) -> dict[str, Any]:
        return self.quote.plan.to_json()

    @property
    def id(self) -> Digest:
        return request_id(self.request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)


class HolderNode:
    """A data holder, with the steps of the protocol as methods."""

    def __init__(self, world: World, name: str, asset_name: str = "power") -> None:
        self.world, self.name, self.signer = world, name, signer_of(name)
        self.asset_name = asset_name
        self.secrets: dict[Digest, HolderSecrets] = {}

    @property
    def address(self) -> Any:
        return self.signer.address

    @property
    def asset(self) -> Digest:
        return asset_id(self.address, self.asset_name)

    def session_secrets(self, request: Digest) -> HolderSecrets:
        if request not in self.secrets:
            self.secrets[request] = HolderSecrets.generate(rand_of(f"{self.name}/{request.hex()}"))
        return self.secrets[request]

    def approve(self, request: Digest) -> None:
        """Approve on the chain."""
        keys = self.session_secrets(request).public_keys()
        event = Approved(
            request_id=request,
            holder=self.address,
            asset=self.asset,
            asset_version=1,
            line=line_id(self.address, "meters"),
            mask_key=keys.mask_key,
            share_key=keys.share_key,
            e_x=keys.e_x,
            e_parity=keys.e_parity,
            noise_commitment=keys.noise_commitment,
            at=None,  # type: ignore[arg-type]
        )
        self.world.chain.approve(request, event)

    def frame(self, request: Digest, kind: Kind, payload: bytes) -> bytes:
        """Sign a payload as a frame."""
        session = self.progress(request).session
        assert session is not None
        me = session.index_of(self.address)
        digest = message_hash(kind, session.id, me, payload)
        return Frame(kind, session.id, me, payload, self.signer.sign(digest)).encode()

    def progress(self, request: Digest) -> Progress:
        return self.world.progress(request)

    def bundle(self, request: Digest) -> bytes:
        """Return the frame of kind 1."""
        session = self.progress(request).session
        assert session is not None
        payload = make_bundle(self.session_secrets(request), session, session.index_of(self.address))
        return self.frame(request, Kind.BUNDLE, payload + bytes(self.plan(request).bundle_rider_size))

    def plan(self, request: Digest) -> Plan:
        """Return a request's plan."""
        return Plan.from_bytes(self.world.market.store.request(request).plan)

    def cells(self, request: Digest) -> Any:
        """Return this holder's cells."""
        count = self.plan(request).cells
        return np.arange(count, dtype=np.int64) + int.from_bytes(self.address[:2], "big")

    def masked_input(self, request: Digest) -> bytes:
        """Return the frame of kind 2."""
        progress = self.progress(request)
        session = progress.session
        assert session is not None
        payload = mask_input(
            self.session_secrets(request),
            session,
            session.index_of(self.address),
            sharers=progress.sharers,
            buyer_key=bytes([progress.request.key_parity]) + progress.request.key_x,
            cells=self.cells(request),
        )
        return self.frame(request, Kind.MASKED_INPUT, payload + bytes(self.plan(request).input_rider_size))

    def unmask(self, request: Digest) -> bytes:
        """Return the frame of kind 3."""
        progress = self.progress(request)
        session = progress.session
        assert session is not None
        me = session.index_of(self.address)
        bundles = {
            each.sender: split_rider(
                decode_frame(each.frame).payload, self.plan(request).bundle_rider_size, sender=each.sender
            )[0]
            for each in self.world.market.store.message_list(request, session.id, int(Kind.BUNDLE))
        }
        received = open_bundles(self.session_secrets(request), session, me, bundles)
        made = release(received, session, me, sharers=progress.sharers, survivors=progress.survivors)
        return self.frame(request, Kind.UNMASK, made.payload())

    def send(self, request: Digest, frame: bytes) -> bytes:
        """Hand a frame to the exchange and return its receipt."""
        return self.world.market.messages.take(self.address, request, frame)[0].receipt

    def share(self, request: Digest) -> None:
        """Send the bundle and put its hash on the chain."""
        frame = self.bundle(request)
        self.send(request, frame)
        session = self.progress(request).session
        assert session is not None
        secrets = self.session_secrets(request)
        hashes = {
            "bundle_hash": decode_frame(frame).message_hash,
            "seed_hash": secrets.seed_hash(session, session.index_of(self.address)),
            "commitment_hash": commitment_hash(request, self.address, self.commitment(request)),
        }
        self.world.chain.share(request, self.address, hashes)

    def commitment(self, request: Digest) -> bytes:
        """Return 128 bytes in the place of C_i: the fake chain does not look at them."""
        return keccak(self.address + request) * 4

    def contribute(self, request: Digest) -> None:
        """Send the masked input and put the commitment on the chain."""
        frame = self.masked_input(request)
        self.send(request, frame)
        input_hash = decode_frame(frame).message_hash
        self.world.chain.contribute(request, self.address, self.commitment(request), input_hash)


@dataclass
class World:
    """One market with its holders and buyers. With `start` its threads and workflows run."""

    engine: Engine
    workflow_url: str
    n: int = 3
    policy: dict[str, Any] = field(default_factory=dict)
    automine: bool = True
    window: int = 40
    asset_names: tuple[str, ...] = ()
    root: bytes | None = None  # of everybody's snapshot, where all hold the same
    chain: FakeChain = field(init=False)
    market: Market = field(init=False)
    holders: list[HolderNode] = field(init=False)

    def __post_init__(self) -> None:
        self.broker = signer_of("broker")
        self.chain = FakeChain(self.broker.address)
        names = self.asset_names or ("power",) * self.n
        self.holders = [HolderNode(self, f"holder {k}", name) for k, name in enumerate(names)]
        self.listing = listing_id(self.broker.address, "power")
        self.the_policy = Policy.from_mapping({**POLICY, **self.policy})
        self._found()
        self.market = self.make_market()
        self.follow()

    def make_market(self, **changes: Any) -> Market:
        """Return a market over the same database and chain, as after a restart."""
        settings = Settings(
            deployment=DEPLOYMENT,
            rpc_url="http://127.0.0.1:1",
            database_url=str(self.engine.url),
            workflow_database_url=self.workflow_url,
            public_url="http://market.example:8700",
            windows=Windows(
                approve=self.window, share=self.window, contribute=self.window, answer=self.window
            ),
            poll_s=0.005,
            idle_poll_s=0.005,
        )
        self.settings = replace(settings, **changes)
        return Market(
            self.settings, engine=self.engine, chain=self.chain, signer=self.broker, now_s=lambda: NOW
        )

    def _found(self) -> None:
        """Admit everybody and register the assets on the chain."""
        self.admit(self.broker, Roles.BROKER)
        for holder in self.holders:
            self.admit(holder.signer, Roles.HOLDER)
            asset = holder.asset
            self.chain.emit(
                AssetRegistered,
                asset=asset,
                holder=holder.address,
                name_hash=keccak(holder.asset_name.encode()),
                key_space_hash=keccak(b"meters"),
                line=line_id(holder.address, "meters"),
                policy_hash=bytes(self.the_policy.hash()),
                snapshot_root=self.root or keccak(holder.address),
                descriptor_hash=bytes(descriptor_hash(DESCRIPTOR)),
                grade=1,
            )
            self.chain.emit(Entrusted, asset=asset, listing=self.listing, broker=self.broker.address)

    def admit(self, signer: Signer, roles: Roles) -> None:
        """Admit an account on the chain."""
        self.chain.emit(
            ParticipantAdmitted,
            account=signer.address,
            operator=signer.address,
            roles=roles,
            x25519=keccak(signer.address),
        )

    def buyer(self, name: str = "buyer", credits_minor: int = 10**6) -> Signer:
        """Admit a buyer with credits."""
        signer = signer_of(name)
        self.admit(signer, Roles.BUYER)
        self.chain.balances[signer.address] = credits_minor
        self.follow()
        return signer

    def follow(self) -> None:
        """Look at the chain once, when no thread does."""
        self.market.follower.catch_up()

    def list_power(self) -> None:
        """Have the holders show their assets, and the broker list them."""
        for holder in self.holders:
            self.show(holder)
        assets = [holder.asset for holder in self.holders]
        self.market.listings.put(self.broker.address, name="power", title="Electricity", asset_ids=assets)

    def show(self, holder: HolderNode) -> None:
        """Have a holder show its asset."""
        self.market.assets.show(
            holder.address,
            name=holder.asset_name,
            title="Electricity",
            policy=self.the_policy,
            descriptor=DESCRIPTOR,
        )

    def update_asset(self, holder: HolderNode, policy_hash: bytes) -> None:
        """Register a new version of a holder's asset."""
        self.chain.emit(
            AssetUpdated,
            asset=asset_id(holder.address, "power"),
            version=2,
            policy_hash=policy_hash,
            snapshot_root=keccak(b"new rows"),
            descriptor_hash=bytes(descriptor_hash(DESCRIPTOR)),
            grade=1,
        )

    # --- requests

    def quote(self, buyer: Signer, sql: str = SQL, **options: Any) -> Quote:
        """Ask for a quote."""
        given = {"listing": "power", "purpose": None, "rho_micro": None, **options}
        return self.market.quotes.make(buyer.address, sql=sql, **given)

    def sign(self, buyer: Signer, quote: Quote, *, nonce: int = 1, **changes: Any) -> Signed:
        """Complete a quote's draft and sign it."""
        key = BuyerKey.generate(rand_of(f"{buyer.address.hex()}/{nonce}"))
        draft = {
            **quote.draft,
            "buyer": "0x" + buyer.address.hex(),
            "key_x": "0x" + key.x.hex(),
            "key_parity": str(key.parity),
            "nonce": str(nonce),
        }
        request = replace(Request.from_json(draft), **changes)
        signature = sign_request(buyer, request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
        return Signed(quote, request, signature, key)

    def take(self, signed: Signed) -> RequestRecord:
        """Hand a signed request in."""
        return self.market.requests.take(
            signed.request.buyer,
            plan_json=signed.plan_json,
            request=signed.request,
            signature=signed.signature,
        )

    def submit(self, buyer: Signer, sql: str = SQL, *, nonce: int = 1, **options: Any) -> Signed:
        """Quote, sign and hand in."""
        signed = self.sign(buyer, self.quote(buyer, sql, **options), nonce=nonce)
        self.take(signed)
        return signed

    def progress(self, request: Digest) -> Progress:
        """Return the newest progress of a request."""
        self.follow()
        return self.market.requests.progress(self.market.store.request(request))

    def accept(self, buyer: Signer, request: Digest) -> None:
        """Hand in the buyer's acceptance."""
        signature = sign_acceptance(buyer, request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
        self.market.requests.accept(buyer.address, request, signature)

    def await_stage(self, request: Digest, *stages: Stage) -> Stage:
        """Wait until the store has a request at one of these stages; the threads of the market are running."""

        def ready() -> Stage | None:
            stage = self.market.store.request(request).stage
            return stage if stage in stages else None

        return self.market.waiting.until(request, ready, each_look=True)

    def open_sum(self, signed: Signed, payload: bytes) -> Any:
        """Remove the buyer's pads from Y, and return the signed sums."""
        progress = self.progress(signed.id)
        session = progress.session
        assert session is not None
        pads = [
            buyer_pad(session.id, index, signed.key.secret, session.members[index].e_compressed)
            for index in sorted(progress.survivors)
        ]
        return remove_pads(payload, pads)[0]
