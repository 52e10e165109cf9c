"""Typed wrappers of the contracts: calls to send, answers to read, events and errors by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.abi import decode_revert as decode_revert
from ledger.abi import interface
from ledger.chain import Chain, RawLog
from ledger.contract import Contract
from ledger.encoding import keccak
from ledger.events import EVENTS, build_event, request_to_tuple
from ledger.members import commitment_hash as commitment_hash
from ledger.members import detail_contributed as detail_contributed
from ledger.members import detail_shared as detail_shared
from ledger.members import keys_hash as keys_hash
from ledger.members import members_from_events as members_from_events
from ledger.names import asset_id as asset_id
from ledger.names import line_id as line_id
from ledger.names import listing_id as listing_id
from ledger.types import (
    Address,
    Asset,
    Bond,
    Contribution,
    Deployment,
    Digest,
    Event,
    EventRef,
    Line,
    Participant,
    ParticipantStatus,
    Request,
    RequestState,
    RequestStatus,
    Roles,
)
from ledger.types import Call as Call
from ledger.types import Member as Member
from ledger.types import SessionKeys as SessionKeys


class Participants(Contract):
    """Who takes part, in which roles, with which keys."""

    name = "Participants"

    def admit(self, account: Address, operator: Address, roles: Roles, x25519: bytes) -> Call:
        """Admit an account (registrar)."""
        return self._call("admit", account, operator, int(roles), x25519)

    def set_roles(self, account: Address, roles: Roles) -> Call:
        """Give an account other roles (registrar)."""
        return self._call("setRoles", account, int(roles))

    def replace_account(self, account: Address, successor: Address, x25519: bytes) -> Call:
        """Move a participant whose key is lost to a new account (registrar)."""
        return self._call("replaceAccount", account, successor, x25519)

    def suspend(self, account: Address) -> Call:
        """Stop an account at once (regulator)."""
        return self._call("suspend", account)

    def lift(self, account: Address) -> Call:
        """End a suspension (regulator)."""
        return self._call("lift", account)

    def rotate_keys(self, x25519: bytes) -> Call:
        """Replace the caller's own X25519 key."""
        return self._call("rotateKeys", x25519)

    def get(self, account: Address) -> Participant:
        """Read a participant; its status is NONE when the account was never admitted."""
        operator, roles, status, key_version, since, x25519 = self._read("get", account)
        return Participant(
            account, operator, Roles(roles), ParticipantStatus(status), key_version, since, x25519
        )

    def is_active(self, account: Address, roles: Roles) -> bool:
        """Say whether the account is active and has all of `roles`."""
        return bool(self._read("isActive", account, int(roles)))

    def holder_of(self, operator: Address) -> Address:
        """Read the holder account of an operator, zero if it has none."""
        return Address(self._read("holderOf", operator))

    def root_of(self, account: Address) -> Address:
        """Read the first account of the same participant, which its budget lines are bound to."""
        return Address(self._read("rootOf", account))


class Assets(Contract):
    """Data assets, their versions, and which broker may list them."""

    name = "AssetRegistry"

    def register(
        self,
        name: str,
        key_space: str,
        policy_hash: bytes,
        snapshot_root: bytes,
        descriptor_hash: bytes,
        grade: int,
    ) -> Call:
        """Register an asset of the caller, a holder; its id is `asset_id(caller, name)`."""
        hashes = keccak(name.encode()), keccak(key_space.encode())
        return self._call("register", *hashes, policy_hash, snapshot_root, descriptor_hash, grade)

    def update(
        self, asset: bytes, policy_hash: bytes, snapshot_root: bytes, descriptor_hash: bytes, grade: int
    ) -> Call:
        """Make a new version of the caller's asset."""
        return self._call("update", asset, policy_hash, snapshot_root, descriptor_hash, grade)

    def retire(self, asset: bytes) -> Call:
        """End the caller's asset for good."""
        return self._call("retire", asset)

    def adopt(self, asset: bytes) -> Call:
        """Take over an asset of the account that the caller replaced."""
        return self._call("adopt", asset)

    def entrust(self, asset: bytes, listing: bytes, broker: Address) -> Call:
        """Let a broker list the caller's asset under `listing`."""
        return self._call("entrust", asset, listing, broker)

    def withdraw(self, asset: bytes, listing: bytes) -> Call:
        """Take an entrustment back."""
        return self._call("withdraw", asset, listing)

    def get(self, asset: bytes, *, block: int | None = None) -> Asset:
        """Read an asset; its status is NONE (0) when it was never registered."""
        (holder, version, grade, status, line, policy, root, descriptor) = self._read(
            "get", asset, block=block
        )
        return Asset(Digest(asset), holder, version, grade, status, line, policy, root, descriptor)

    def entrusted_to(self, listing: bytes, asset: bytes) -> Address:
        """Read the broker that may list the asset under `listing`, zero if none."""
        return Address(self._read("entrustedTo", listing, asset))


class ComputeLedger(Contract):
    """The life of a request."""

    name = "ComputeLedger"

    def open_line(self, key_space: str, total: int) -> Call:
        """Fix, once, the whole budget of one of the caller's lines, in micro-ρ."""
        return self._call("openLine", keccak(key_space.encode()), total)

    def open(self, request: Request, signature: bytes) -> Call:
        """Open a request for the buyer who signed it; only its broker can."""
        return self._call("open", request_to_tuple(request), signature)

    def approve(self, request: Request, asset: bytes, keys: SessionKeys) -> Call:
        """Take part with an asset; ρ is reserved on its line."""
        values = keys.mask_key, keys.share_key, keys.e_x, keys.e_parity, keys.noise_commitment
        return self._call("approve", request_to_tuple(request), asset, values)

    def share(
        self,
        request: Request,
        *,
        line: bytes,
        keys_hash: bytes,
        bundle_hash: bytes,
        seed_hash: bytes,
        commitment_hash: bytes,
    ) -> Call:
        """Record that the caller passed on its shares, and fix its commitment."""
        hashes = line, keys_hash, bundle_hash, seed_hash, commitment_hash
        return self._call("share", request_to_tuple(request), *hashes)

    def contribute(
        self, request: Request, contribution: Contribution, commitment: bytes, receipt: bytes
    ) -> Call:
        """Open the caller's commitment, for a masked input that the broker signed for."""
        c = contribution
        opened = (c.line, c.keys_hash, c.bundle_hash, c.seed_hash, c.session, c.sender, c.payload_hash)
        return self._call("contribute", request_to_tuple(request), opened, commitment, receipt)

    def seal(self, request: Request, members: Sequence[Member]) -> Call:
        """Fix the survivors. `members`: all who approved, ascending."""
        return self._call("seal", request_to_tuple(request), _rows(members))

    def post_unmask(self, request: Request, member: Member, payload: bytes) -> Call:
        """Publish the caller's unmask message, which the broker has not acknowledged."""
        return self._call("postUnmask", request_to_tuple(request), _rows([member])[0], payload)

    def answer(self, request: Request, answer_root: bytes) -> Call:
        """Fix the answer (broker)."""
        return self._call("answer", request_to_tuple(request), answer_root)

    def demand_chunk(self, request: Request, chunk: int) -> Call:
        """Demand a chunk of the answer on the chain (buyer)."""
        return self._call("demandChunk", request_to_tuple(request), chunk)

    def post_chunk(
        self,
        request: Request,
        members: Sequence[Member],
        *,
        cells: int,
        chunk: int,
        data: bytes,
        path: Sequence[bytes],
    ) -> Call:
        """Publish the demanded chunk with its path in the answer's tree (broker)."""
        rows = _rows(members)
        return self._call("postChunk", request_to_tuple(request), rows, cells, chunk, data, list(path))

    def refute_demand(
        self, request: Request, members: Sequence[Member], cells: int, tree_root: bytes
    ) -> Call:
        """Show that the demanded chunk does not exist (broker)."""
        return self._call("refuteDemand", request_to_tuple(request), _rows(members), cells, tree_root)

    def release(self, request: Request, members: Sequence[Member], accept_signature: bytes = b"") -> Call:
        """Pay broker and survivors: with the buyer's acceptance at once, without it after the window."""
        return self._call("release", request_to_tuple(request), _rows(members), accept_signature)

    def close(self, request: Request, members: Sequence[Member]) -> Call:
        """End a request that can no longer be sealed. `members`: all who approved, ascending."""
        return self._call("close", request_to_tuple(request), _rows(members))

    def withhold(self, request: Request, members: Sequence[Member]) -> Call:
        """End a request that was sealed and not answered, or whose demanded chunk did not come."""
        return self._call("withhold", request_to_tuple(request), _rows(members))

    def state(self, request_id: bytes, *, block: int | None = None) -> RequestStatus:
        """Read what changes about a request; its state is NONE when it was never opened."""
        state, *counters = self._read("status", request_id, block=block)
        return RequestStatus(RequestState(state), *counters)

    def line(self, line: bytes, *, block: int | None = None) -> Line:
        """Read a budget line; its total is 0 when it was never opened."""
        return Line(*self._read("line", line, block=block))

    def answer_root(self, request_id: bytes) -> bytes:
        """Read the answer's root, zero before it was posted."""
        return bytes(self._read("answerRoot", request_id))

    def commitment_sum(self, request_id: bytes) -> bytes:
        """Read the sum of the commitments so far, 128 bytes."""
        return bytes(self._read("commitmentSum", request_id))

    def is_nonce_used(self, buyer: Address, nonce: int) -> bool:
        """Say whether the buyer's nonce was used."""
        return bool(self._read("nonceUsed", buyer, nonce))

    def session(self, request: Request, members: Sequence[Member]) -> Digest:
        """Read the session id as the contract computes it."""
        return Digest(self._read("session", request_to_tuple(request), _rows(members)))

    def window(self) -> int:
        """Read the window after an answer, and for each demand, in blocks."""
        return int(self._read("window"))


class Settlement(Contract):
    """Credits, escrows and bonds, in credit minor units."""

    name = "Settlement"

    def mint(self, to: Address, amount: int) -> Call:
        """Make credits against a payment (bank)."""
        return self._call("mint", to, amount)

    def transfer(self, to: Address, amount: int) -> Call:
        """Give credits of the caller to another account."""
        return self._call("transfer", to, amount)

    def post_bond(self, amount: int) -> Call:
        """Add to the caller's bond, from its credits."""
        return self._call("postBond", amount)

    def withdraw_bond(self, amount: int) -> Call:
        """Take back a free part of the caller's bond."""
        return self._call("withdrawBond", amount)

    def reclaim(self, account: Address) -> Call:
        """Move the credits and free bond of the account that the caller replaced to the caller."""
        return self._call("reclaim", account)

    def balance_of(self, account: Address) -> int:
        """Read an account's credits."""
        return int(self._read("balanceOf", account))

    def bond_of(self, broker: Address) -> Bond:
        """Read a broker's bond."""
        return Bond(*self._read("bondOf", broker))

    def escrow_of(self, request_id: bytes) -> int:
        """Read what is locked for a request."""
        return int(self._read("escrowOf", request_id))


class Contracts:
    """The contracts of one deployment."""

    def __init__(self, chain: Chain, deployment: Deployment) -> None:
        self.chain, self.deployment = chain, deployment
        self.participants = Participants(chain, deployment.participants)
        self.assets = Assets(chain, deployment.assets)
        self.ledger = ComputeLedger(chain, deployment.ledger)
        self.settlement = Settlement(chain, deployment.settlement)
        self._by_address: Final = {
            contract.address: contract.name
            for contract in (self.participants, self.assets, self.ledger, self.settlement)
        }

    @property
    def addresses(self) -> list[Address]:
        """The contracts whose events count."""
        return list(self._by_address)

    def event_topics(self) -> list[bytes]:
        """Return the first topics of all events that have a type."""
        names = self._by_address.values()
        return sorted({h for n in names for h, s in interface(n).events.items() if s.name in EVENTS})

    def require_deployed(self) -> None:
        """Require that the node serves the deployment's chain and that its contracts are there.

        Raises:
            ChainMismatch: another chain, or a chain that was reset.
        """
        self.chain.require_chain(self.deployment.chain_id)
        for address, name in self._by_address.items():
            self.chain.require_code(address, name)

    def decode_log(self, log: RawLog) -> Event | None:
        """Decode a log into its event, None when it is no event of ours.

        Raises:
            MalformedLog: it has an event's topic and does not decode to a valid value.
        """
        name = self._by_address.get(log.address)
        decoded = None if name is None else interface(name).decode_event(log)
        if decoded is None or decoded[0] not in EVENTS:
            return None
        return build_event(*decoded, EventRef(log.block, log.log_index, log.block_hash, log.tx_hash))

    def decode_revert(self, data: bytes) -> Exception:
        """Name the error that a contract reverted with, as a ContractReverted to raise."""
        return decode_revert(data)


def _rows(members: Sequence[Member]) -> list[tuple[Address, bytes, bytes, bytes]]:
    return [(m.holder, m.line, m.keys_hash, m.detail) for m in members]
