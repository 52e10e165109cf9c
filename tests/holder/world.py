"""A market in one process: real stores, real cryptography, a model of the contract, and a broker to misuse.

The chain is a model of ComputeLedger's rules that decodes our real calls. Nothing here opens a socket or sleeps:
blocks come when `mine` is called, time is a number.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from holder.data import DataRoom
from holder.epoch import EpochFile
from holder.errors import ExchangeMissing, ExchangeProblem, ExchangeUnreachable
from holder.exchange_client import Acknowledgement, PublishedRequest
from holder.machine import Machine
from holder.settings import AssetSettings, EngineSettings, FileSource, HolderSettings
from holder.store import HolderStore
from holder.types import Entrustment, Stage, StoredAsset
from holder.vault import Vault
from ledger.contracts import asset_id, line_id, listing_id
from ledger.database import make_engine
from ledger.eip712 import sign_request
from ledger.encoding import keccak
from ledger.signing import Signer, require_signature
from ledger.types import (
    Address,
    Asset,
    AssetStatus,
    Digest,
    Opened,
    Participant,
    ParticipantStatus,
    Request,
    Roles,
)
from privacy.generators import GeneratorCache
from privacy.messages import Kind, decode_frame, receipt_digest
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.sealed_sum import BuyerKey, aggregate, buyer_pad, remove_pads, verify_opening
from privacy.session import Session
from privacy.sql import parse_query
from privacy.types import AssetRef, ListingRef
from privacy.types import Digest as PrivacyDigest
from tests.holder.model_chain import CONTRACTS, DEPLOYMENT, ChainOf, ModelChain
from tests.holder.tables import POLICY, Row, columns_of, make_rows

LISTING = "用电"
CONFLICT = "urn:shuyao:problem:message-conflict"


def signer_for(name: str) -> Signer:
    return Signer(keccak(b"holder test " + name.encode()))


@dataclass
class Broker:
    """The exchange's messages, and what a dishonest one would do."""

    model: ModelChain
    signer: Signer
    published: dict[Digest, PublishedRequest] = field(default_factory=dict)
    frames: dict[tuple[Digest, int, Address], bytes] = field(default_factory=dict)
    parts: dict[tuple[Digest, int], dict[int, bytes]] = field(default_factory=dict)
    arrivals: list[tuple[Address, int, bytes]] = field(default_factory=list)
    is_away: bool = False
    withhold: set[int] = field(default_factory=set)  # kinds that get no receipt
    tamper: Callable[[bytes], bytes] = bytes
    tamper_parts: Callable[[list[bytes]], bytes] = b"".join
    receipts_by: Signer | None = None

    def take(self, sender: Address, request_id: Digest, data: bytes) -> Acknowledgement:
        frame = decode_frame(data)
        self.arrivals.append((sender, int(frame.kind), data))
        require_signature(sender, Digest(frame.message_hash), frame.signature)
        if self.is_away or int(frame.kind) in self.withhold:
            raise ExchangeUnreachable("the exchange is away")
        if frame.kind is Kind.JOIN:
            of_round = self.parts.setdefault((request_id, frame.payload[0]), {})
            if of_round.setdefault(int.from_bytes(frame.payload[1:3], "big"), data) != data:
                raise ExchangeProblem(status=409, kind=CONFLICT, title="Conflict", detail="")
            receipt = self.signer.sign(Digest(receipt_digest(request_id, sender, frame.message_hash)))
            return Acknowledgement(Digest(frame.message_hash), receipt)
        key = (request_id, int(frame.kind), sender)
        if self.frames.setdefault(key, data) != data:
            raise ExchangeProblem(status=409, kind=CONFLICT, title="Conflict", detail="")
        signer = self.receipts_by or self.signer
        receipt = signer.sign(Digest(receipt_digest(request_id, sender, frame.message_hash)))
        return Acknowledgement(Digest(frame.message_hash), receipt)


@dataclass
class ExchangeOf:
    """The exchange as one holder calls it."""

    broker: Broker
    me: Address

    def request(self, request_id: Digest) -> PublishedRequest:
        if self.broker.is_away:
            raise ExchangeUnreachable("the exchange is away")
        if request_id not in self.broker.published:
            raise ExchangeMissing(status=404, kind="", title="Unknown", detail="")
        return self.broker.published[request_id]

    def post_message(self, request_id: Digest, frame: bytes) -> Acknowledgement:
        return self.broker.take(self.me, request_id, frame)

    def bundles(self, request_id: Digest) -> bytes:
        found = [f for (r, kind, _), f in self.broker.frames.items() if r == request_id and kind == 1]
        return b"".join(self.broker.tamper(frame) for frame in found)

    def join_parts(self, request_id: Digest, round_: int, first: int) -> bytes:
        found = self.broker.parts.get((request_id, round_), {})
        return self.broker.tamper_parts([found[n] for n in range(first, first + 2) if n in found])


@dataclass
class Member:
    """One holder of the world."""

    name: str
    home: Path
    signer: Signer
    asset: StoredAsset
    rows: list[Row]
    settings: HolderSettings
    store: HolderStore = field(init=False)
    machine: Machine = field(init=False)

    @property
    def address(self) -> Address:
        return self.signer.address


class World:
    """Holders, a broker, a buyer and a chain.

    Args:
        home: a fresh directory.
        holders: how many.
        policy: fields that replace those of the usual policy.
        manual: every request waits for a person.
        database_url: of the first holder's store; SQLite files for the others.
    """

    def __init__(
        self,
        home: Path,
        *,
        holders: int = 3,
        policy: Mapping[str, Any] | None = None,
        manual: bool = False,
        database_url: str | None = None,
    ) -> None:
        self.home, self.manual = home, manual
        self.policy = Policy.from_mapping({**POLICY, "colluders": 0, "dropouts": 1, **(policy or {})})
        self.chain = ModelChain()
        self.buyer, self.broker_signer = signer_for("buyer"), signer_for("broker")
        self.listing = listing_id(self.broker_signer.address, LISTING)
        self.broker = Broker(self.chain, self.broker_signer)
        self.generators = GeneratorCache(home.parent / "generators")
        self.now = 1_000_000.0
        self.keys: dict[Digest, BuyerKey] = {}
        self._admit(self.buyer, Roles.BUYER)
        self._admit(self.broker_signer, Roles.BROKER)
        urls = [database_url, *[None] * holders]
        self.members = [self._holder(number, url) for number, url in zip(range(holders), urls, strict=False)]

    # --- setting up

    def _admit(self, signer: Signer, roles: Roles, operator: Address | None = None) -> None:
        body = operator or Address(keccak(b"operator" + signer.address)[:20])
        self.chain.participants[signer.address] = Participant(
            signer.address, body, roles, ParticipantStatus.ACTIVE, 1, 0, bytes(32)
        )

    def asset_name(self, number: int) -> str:
        """What a holder calls its asset."""
        return LISTING

    def rows_of(self, number: int) -> list[Row]:
        """A holder's rows."""
        return [row | {"age": abs(row["age"])} for row in make_rows(60 + number)]

    def table_of(self, number: int, rows: list[Row]) -> pa.Table:
        """A holder's rows as they are in its file."""
        return pa.table(dict(columns_of(rows)))

    def _holder(self, number: int, database_url: str | None) -> Member:
        name, asset_name = f"holder{number}", self.asset_name(number)
        signer, home = signer_for(name), self.home / name
        home.mkdir(parents=True)
        rows = self.rows_of(number)
        pq.write_table(self.table_of(number, rows), home / "rows.parquet")
        (home / "policy.yaml").write_text("unused: true\n")
        source = FileSource("parquet", home / "rows.parquet")
        asset = AssetSettings(asset_name, asset_name, source, home / "policy.yaml", "people")
        from holder.duckdb_engine import file_fingerprint

        stored = StoredAsset(
            asset_id=asset_id(signer.address, asset_name),
            version=1,
            name=asset_name,
            line=line_id(signer.address, "people"),
            policy=self.policy.to_json(),
            policy_hash=Digest(self.policy.hash()),
            snapshot_root=Digest(keccak(name.encode())),
            descriptor_hash=Digest(bytes(32)),
            source=source.to_json(),
            fingerprint=file_fingerprint(source),
            rows=len(rows),
        )
        settings = self._settings(home, asset, database_url)
        return self._enrolled(Member(name, home, signer, stored, rows, settings))

    def _settings(self, home: Path, asset: AssetSettings, database_url: str | None = None) -> HolderSettings:
        return HolderSettings(
            home=home,
            rpc_url="http://127.0.0.1:9",
            exchange_url="http://127.0.0.1:9",
            deployment=DEPLOYMENT,
            database_url=database_url or f"sqlite:///{home / 'holder.db'}",
            assets=(asset,),
            engine=EngineSettings(home / "tmp"),
            cache=self.home / "cache",
        )

    def _enrolled(self, member: Member) -> Member:
        """Put a member on the chain, start it, and store what it registered."""
        self._register(member)
        self.start(member)
        asset = member.asset
        member.store.put_line(asset.line, "people", self.policy.rho_total_micro)
        member.store.put_asset(asset)
        member.store.put_entrustment(
            Entrustment(asset.asset_id, self.listing, LISTING, self.broker_signer.address)
        )
        return member

    def _register(self, member: Member) -> None:
        asset = member.asset
        self._admit(member.signer, Roles.HOLDER)
        self.chain.totals[asset.line] = self.policy.rho_total_micro
        self.chain.assets[asset.asset_id] = Asset(
            asset.asset_id,
            member.address,
            1,
            1,
            AssetStatus.REGISTERED,
            asset.line,
            asset.policy_hash,
            asset.snapshot_root,
            asset.descriptor_hash,
        )
        self.chain.entrusted[self.listing, asset.asset_id] = self.broker_signer.address

    def start(self, member: Member) -> None:
        """(Re)start a holder on its files, as a new process would."""
        engine = make_engine(member.settings.database_url)
        vault, epoch = Vault(member.signer), EpochFile(member.home / "epoch")
        member.store = HolderStore(engine, vault, epoch, now_s=lambda: self.now)
        member.store.create_tables()
        member.store.refuse_if_restored()
        member.machine = Machine(
            store=member.store,
            chain=ChainOf(self.chain, member.address),
            exchange=ExchangeOf(self.broker, member.address),
            data=DataRoom(member.settings),
            signer=member.signer,
            contracts=CONTRACTS,
            generators=self.generators,
            manual=self.manual,
            rand=secrets.token_bytes,
            now_s=lambda: self.now,
        )

    # --- requests

    def plan(
        self, sql: str, *, rho_micro: int | None = None, purpose: str = "research", asked: Any = None
    ) -> Plan:
        assets = [
            AssetRef(
                PrivacyDigest(asset.asset_id),
                asset.version,
                asset.holder,  # type: ignore[arg-type]
                PrivacyDigest(asset.policy_hash),
                PrivacyDigest(asset.snapshot_root),
            )
            for asset in self.chain.assets.values()
        ]
        listing = ListingRef(PrivacyDigest(self.listing), LISTING)
        query = parse_query(sql, self.policy)
        return build_plan(
            query, self.policy, listing, assets, purpose=purpose, rho_micro=rho_micro, asked=asked
        )

    def open(self, sql: str, *, plan: Plan | None = None, nonce: int | None = None, **changes: Any) -> Digest:
        """Open a request on the chain and publish its body; every holder sees it."""
        plan = plan or self.plan(sql)
        key = BuyerKey.generate(secrets.token_bytes)
        start = self.chain.block
        values: dict[str, Any] = {
            "buyer": self.buyer.address,
            "broker": self.broker_signer.address,
            "listing": self.listing,
            "plan_hash": plan.hash(),
            "key_x": key.x,
            "key_parity": key.parity,
            "rho_micro": plan.rho_micro,
            "price_minor": 10,
            "holders": plan.holders,
            "min_holders": plan.min_holders,
            "colluders": plan.colluders,
            "dropouts": plan.dropouts,
            "approve_by": start + 10,
            "share_by": start + 20,
            "contribute_by": start + 30,
            "answer_by": start + 40,
            "nonce": secrets.randbits(64) if nonce is None else nonce,
        }
        request = Request(**{**values, **changes})
        signature = sign_request(self.buyer, request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
        request_id = ModelChain.id_of(request)
        self.keys[request_id] = key
        self.broker.published[request_id] = PublishedRequest(request, signature, plan.to_json())
        self.chain.emit(Opened, request_id, request, signature)
        opened = self.chain.events[-1]
        assert isinstance(opened, Opened)
        for member in self.members:
            member.machine.observe(opened)
        return request_id

    def step(self, request_id: Digest, *, only: list[Member] | None = None) -> None:
        """Let every holder (or some) do what is due, and mine a block."""
        for member in self.members if only is None else only:
            try:
                member.machine.step(request_id)
            except ExchangeUnreachable:
                continue
        self.chain.mine()

    def run(self, request_id: Digest, until: Stage, *, only: list[Member] | None = None) -> None:
        """Go on until the (chosen) holders are at a stage; the broker seals and answers when it can."""
        chosen = self.members if only is None else only
        for _ in range(12):
            if all(member.store.request(request_id).stage is until for member in chosen):
                return
            self.step(request_id, only=chosen)
            self.seal_if_due(request_id)
            if until is Stage.DONE:
                self.answer_if_due(request_id, chosen)
        stages = [m.store.request(request_id) for m in chosen]
        raise AssertionError(f"not at {until}: {[(s.stage, s.reason, s.detail) for s in stages]}")

    def seal_if_due(self, request_id: Digest) -> None:
        view = self.chain.view(request_id)
        assert view is not None
        everybody = view.is_sharing_closed and view.shared and len(view.contributed) == len(view.shared)
        if view.sealed is None and everybody:
            self.chain.seal(request_id)
            self.chain.mine()

    def answer_if_due(self, request_id: Digest, chosen: list[Member]) -> None:
        view = self.chain.view(request_id)
        assert view is not None
        unmasked = [m for m in chosen if (request_id, 3, m.address) in self.broker.frames]
        if view.sealed is not None and not view.answered and len(unmasked) == len(view.contributed):
            self.chain.answer(request_id)
            self.chain.mine()

    # --- the other parties' sides

    def session(self, request_id: Digest) -> Session:
        from holder.checks import build_session, members_of

        view = self.chain.view(request_id)
        assert view is not None
        return build_session(members_of(view), view, DEPLOYMENT)

    def answer(self, request_id: Digest) -> list[int]:
        """Sum as the broker does, open and verify as the buyer does; return the noisy cells."""
        view, session = self.chain.view(request_id), self.session(request_id)
        assert view is not None
        index = {member.holder: number for number, member in enumerate(session.members)}
        survivors = {index[holder]: event for holder, event in view.contributed.items()}
        payloads = {
            kind: {
                index[sender]: decode_frame(frame).payload
                for (rid, k, sender), frame in self.broker.frames.items()
                if rid == request_id and k == kind
            }
            for kind in (Kind.MASKED_INPUT, Kind.UNMASK)
        }
        plan = Plan.from_json(self.broker.published[request_id].plan)
        total = aggregate(
            session,
            cells=plan.cells,
            sharers=[index[holder] for holder in view.shared],
            masked={
                i: split_rider(payloads[Kind.MASKED_INPUT][i], plan.input_rider_size, sender=i)[0]
                for i in survivors
            },
            unmasks=payloads[Kind.UNMASK],
            seed_hashes={index[holder]: event.seed_hash for holder, event in view.shared.items()},
        )
        assert not total.rejected
        secret = self.keys[request_id].secret
        pads = [buyer_pad(session.id, i, secret, session.members[i].e_compressed) for i in survivors]
        cells, blinding = remove_pads(total.payload, pads)
        commitments = {i: event.commitment for i, event in survivors.items()}
        verify_opening(self.generators.take(plan.cells), commitments, cells, blinding)
        return [int(cell) for cell in cells]

    def cells_of(self, member: Member, request_id: Digest) -> list[int]:
        """The stored, noisy cells of one holder."""
        return [int(c) for c in np.frombuffer(member.store.secret(request_id, "cells"), dtype="<i8")]
