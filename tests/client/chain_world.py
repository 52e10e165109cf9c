"""The same market on a real chain: the contracts deployed on anvil, every step a transaction."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.buyer import Buyer
from client.settings import ClientSettings
from ledger.chain import Chain
from ledger.contracts import (
    Contracts,
    commitment_hash,
    decode_revert,
    listing_id,
    members_from_events,
)
from ledger.deploy import deploy
from ledger.encoding import keccak, tagged_hash
from ledger.errors import CallReverted, ChainUnreachable
from ledger.signing import Signer
from ledger.types import (
    Address,
    Approved,
    Call,
    Contribution,
    Deployment,
    Digest,
    Event,
    Request,
    Roles,
    SessionKeys,
    to_hex,
)
from privacy.messages import Kind, message_hash
from privacy.sealed_sum import answer_chunk, chunk_path
from privacy.session import Member, Session
from tests.client.world import CHAIN_ID, World, signer_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "contracts" / "node_modules" / "@foundry-rs"
WINDOW_BLOCKS = 6
GAS = 5_000_000
# The first of the accounts that every anvil makes and fills; it is worth nothing anywhere else.
RICH = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


@dataclass
class Anvil:
    """A development chain that mines each transaction at once and lets anybody speak for any account."""

    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Chain:
        """Start it and wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        quiet = ["--prune-history", "16", "--silent", "--auto-impersonate"]
        command = [str(program()), "--port", str(self.port), *quiet]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        chain = Chain(f"http://127.0.0.1:{self.port}", timeout_s=10)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert chain.chain_id() == CHAIN_ID
                return chain
            except ChainUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """End the process that `start` started."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


def program() -> Path:
    """Where the program itself is; it need not exist."""
    return next(iter(sorted(PACKAGES.glob("anvil-*/bin/anvil"))), PACKAGES / "anvil")


@dataclass
class ChainWorld(World):
    """A `World` whose chain is real.

    Args:
        node: an empty development chain.
    """

    node: Chain | None = None
    version: str = "1"

    def _make_chain(self) -> tuple[Any, Deployment]:
        assert self.node is not None
        registrar, bank = signer_for("registrar"), signer_for("bank")
        deployment = deploy(
            self.node,
            Signer(RICH),
            registrar=registrar.address,
            bank=bank.address,
            answer_window_blocks=WINDOW_BLOCKS,
        )
        return self.node, deployment

    def _register(self) -> None:
        self.contracts = Contracts(self.chain, self.deployment)
        participants, assets, ledger = (
            self.contracts.participants,
            self.contracts.assets,
            self.contracts.ledger,
        )
        settlement, registrar, bank = self.contracts.settlement, signer_for("registrar"), signer_for("bank")
        everybody = [self.buyer, self.broker, *self.holders, registrar, bank]
        for who in everybody:
            self.chain.request("anvil_setBalance", to_hex(who.address), hex(10**20))
        roles = {self.buyer.address: Roles.BUYER, self.broker.address: Roles.BROKER}
        for who in everybody[:5]:
            operator = Address(keccak(b"operator" + who.address)[:20])
            role = roles.get(who.address, Roles.HOLDER)
            self.send(registrar, participants.admit(who.address, operator, role, keccak(who.address)))
        for who in (self.buyer, self.broker):
            self.send(bank, settlement.mint(who.address, 1_000_000))
        self.send(self.broker, settlement.post_bond(500_000))
        policy_hash, broker = bytes(self.policy.hash()), self.broker.address
        for holder, ref in zip(self.holders, self.assets, strict=True):
            descriptor = keccak(b"descriptor")
            self.send(
                holder, assets.register("power", "meters", policy_hash, ref.snapshot_root, descriptor, 1)
            )
            self.send(holder, assets.entrust(ref.asset, listing_id(broker, "power"), broker))
            self.send(holder, ledger.open_line("meters", 10_000_000))

    def send(self, sender: Signer, call: Call) -> None:
        """Send a transaction as somebody, and require that it took effect."""
        try:
            self.chain.call(call.to, call.data, sender=sender.address)
        except CallReverted as err:
            raise decode_revert(err.data) from err
        transaction = {"from": to_hex(sender.address), "to": to_hex(call.to), "data": to_hex(call.data)}
        tx_hash = self.chain.request("eth_sendTransaction", {**transaction, "gas": hex(GAS)})
        receipt = None
        while receipt is None:  # the node answers before it has mined
            receipt = self.chain.receipt(bytes.fromhex(tx_hash[2:]))
        assert receipt.status == 1

    def make_scribe(self, request: Request, identity: Digest) -> Any:
        return ChainScribe(self, request, identity)

    def make_buyer(self, **changes: Any) -> Buyer:
        return super().make_buyer(**{"sleep": time.sleep, **changes})

    def make_settings(self) -> ClientSettings:
        settings = super().make_settings()
        return ClientSettings(
            home=settings.home,
            exchange_url=settings.exchange_url,
            rpc_url="http://127.0.0.1",
            deployment=self.deployment,
            poll_s=0.01,
            answer_timeout_s=1.0,
        )

    def events(self, identity: bytes) -> list[Event]:
        """The request's events."""
        last = self.chain.block_number()
        logs = self.chain.logs([self.deployment.ledger], 0, last, [None, to_hex(identity)])
        return [event for log in logs if (event := self.contracts.decode_log(log)) is not None]

    def mine(self, blocks: int) -> None:
        """Let blocks pass."""
        self.chain.request("anvil_mine", hex(blocks))

    def post_demanded_chunk(self, request: Request, identity: Digest) -> None:
        """The broker publishes the chunk that is demanded, if one is."""
        status = self.contracts.ledger.state(identity)
        if status.demanded_at == 0:
            return
        payload, session, chunk = self.answers[identity], self.sessions[identity], status.demanded_chunk
        call = self.contracts.ledger.post_chunk(
            request,
            members_from_events(self.events(identity)),
            cells=(len(payload) - 32) // 8,
            chunk=chunk,
            data=answer_chunk(payload, chunk),
            path=chunk_path(session.id, payload, chunk),
        )
        self.send(self.broker, call)


@dataclass
class ChainScribe:
    """Takes a request's steps by transactions of those who take them."""

    world: ChainWorld
    request: Request
    identity: Digest
    said: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # bundle and seed hash, by index

    def open(self, signature: bytes) -> None:
        self.world.send(self.world.broker, self.world.contracts.ledger.open(self.request, signature))

    def approve(self, m: Member) -> None:
        keys = SessionKeys(m.mask_key, m.share_key, m.e_x, m.e_parity, m.noise_commitment)
        self._as(m.holder, self.world.contracts.ledger.approve(self.request, m.asset, keys))

    def share(self, session: Session, index: int, bundle: bytes, seed: bytes, commitment: bytes) -> None:
        member = session.members[index]
        bundle_hash = message_hash(Kind.BUNDLE, session.id, index, bundle)
        self.said[index] = (bundle_hash, seed)
        call = self.world.contracts.ledger.share(
            self.request,
            line=member.line,
            keys_hash=member.keys_hash,
            bundle_hash=bundle_hash,
            seed_hash=seed,
            commitment_hash=commitment_hash(self.identity, Address(member.holder), commitment),
        )
        self._as(member.holder, call)

    def contribute(
        self, session: Session, index: int, masked: bytes, commitment: bytes, broker: Signer
    ) -> None:
        member, (bundle_hash, seed) = session.members[index], self.said[index]
        input_hash = message_hash(Kind.MASKED_INPUT, session.id, index, masked)
        receipt = broker.sign(tagged_hash("receipt", self.identity, member.holder, input_hash))
        said = Contribution(
            member.line, member.keys_hash, bundle_hash, seed, session.id, index, keccak(masked)
        )
        self._as(
            member.holder, self.world.contracts.ledger.contribute(self.request, said, commitment, receipt)
        )

    def seal(self, session: Session, survivors: list[int], commitments: dict[int, bytes]) -> None:
        if len(survivors) < session.n:
            self.world.mine(self.request.contribute_by + 1 - self.world.chain.block_number())
        members = members_from_events(self.world.events(self.identity))
        assert len([e for e in self.world.events(self.identity) if isinstance(e, Approved)]) == session.n
        self.world.send(self.world.broker, self.world.contracts.ledger.seal(self.request, members))

    def answer(self, root: bytes) -> None:
        self.world.send(self.world.broker, self.world.contracts.ledger.answer(self.request, root))

    def _as(self, holder: bytes, call: Call) -> None:
        (signer,) = [signer for signer in self.world.holders if signer.address == holder]
        self.world.send(signer, call)
