"""The values of the trust base: participants, assets, states of requests, and the events of the contracts."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

from ledger.encoding import (
    U64_MAX,
    U256_MAX,
    decimal,
    parse_decimal,
    parse_hex,
    require_keys,
    require_length,
    require_range,
)
from ledger.encoding import Address as Address
from ledger.encoding import Digest as Digest
from ledger.encoding import address_from_hex as address_from_hex
from ledger.encoding import digest_from_hex as digest_from_hex
from ledger.encoding import to_hex as to_hex
from ledger.request import MAX_HOLDERS as MAX_HOLDERS
from ledger.request import Request as Request
from ledger.request import RequestState as RequestState


class Roles(IntFlag):
    """What a participant may do, as bits."""

    REGISTRAR = 1
    HOLDER = 2
    BROKER = 4
    BUYER = 8
    REGULATOR = 16
    ISSUER = 32
    TRUSTEE = 64
    WITNESS = 128


@dataclass(frozen=True, slots=True)
class DeployedContracts:
    """Where contracts that were deployed together are: a subclass adds the address of each.

    Args:
        chain_id: of the chain.
        block: of the first of them.
    """

    _what: ClassVar[str]  # names the value in errors
    chain_id: int
    _: KW_ONLY
    block: int

    def __post_init__(self) -> None:
        require_range(f"{self._what}.chain_id", self.chain_id, 1, U256_MAX)
        require_range(f"{self._what}.block", self.block, 0, U64_MAX)
        for name in self._names():
            require_length(f"{self._what}.{name}", getattr(self, name), 20)

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name not in ("chain_id", "block")]

    def to_json(self) -> dict[str, str]:
        """Return the JSON form: decimal strings and lower-case hex."""
        contracts = {name: to_hex(getattr(self, name)) for name in self._names()}
        return {"chain_id": decimal(self.chain_id), **contracts, "block": decimal(self.block)}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read the JSON form, strictly.

        Raises:
            MalformedValue: a key missing or unknown, an encoding not canonical, a value out of range.
        """
        what, names = cls._what, cls._names()
        given = require_keys(what, value, frozenset({"chain_id", "block", *names}))
        return cls(
            chain_id=parse_decimal(given["chain_id"], f"{what}.chain_id", 1, U256_MAX),
            block=parse_decimal(given["block"], f"{what}.block", 0, U64_MAX),
            **{name: Address(parse_hex(given[name], f"{what}.{name}", 20)) for name in names},
        )


@dataclass(frozen=True, slots=True)
class Deployment(DeployedContracts):
    """Where the market's five contracts are."""

    _what = "deployment"
    participants: Address
    assets: Address
    ledger: Address
    settlement: Address
    manager: Address


# --- what the contracts keep -----------------------------------------------------------------------------


class ParticipantStatus(IntEnum):
    """Whether an account may act. REPLACED: another account took its place."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    REPLACED = 3


class AssetStatus(IntEnum):
    """Where an asset stands. 1 to 4 and 7 to 15 are reserved."""

    NONE = 0
    REGISTERED = 5
    RETIRED = 6


@dataclass(frozen=True, slots=True)
class Participant:
    """An admitted account: its operator (the body behind it), roles and present X25519 key."""

    account: Address
    operator: Address
    roles: Roles
    status: ParticipantStatus
    key_version: int
    since: int
    x25519: bytes

    @property
    def active(self) -> bool:
        """Whether the account may act."""
        return self.status is ParticipantStatus.ACTIVE

    def has(self, roles: Roles) -> bool:
        """Say whether the account is active and has all of `roles`."""
        return self.active and (self.roles & roles) == roles


@dataclass(frozen=True, slots=True)
class Asset:
    """A registered asset at its present version; `line` is the budget line that it charges."""

    asset_id: Digest
    holder: Address
    version: int
    grade: int
    status: int
    line: Digest
    policy_hash: bytes
    snapshot_root: bytes
    descriptor_hash: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A budget line, in micro-ρ. Invariant, held by the contract: reserved + spent <= total."""

    total: int
    reserved: int
    spent: int

    @property
    def left(self) -> int:
        """What can still be reserved, in micro-ρ."""
        return self.total - self.reserved - self.spent


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """What the contract keeps of one request.

    `since` is the block from which the running window counts: of the opening, the seal, the answer or the
    last chunk posted. `demanded_chunk` is the chunk on demand while `demanded_at` is not 0, else the lowest
    that may still be demanded.
    """

    state: RequestState
    approved: int
    shared: int
    contributed: int
    unmasked: int
    since: int
    demanded_chunk: int
    demanded_at: int


@dataclass(frozen=True, slots=True)
class Bond:
    """A broker's bond in credit minor units; `locked` stands for requests in flight."""

    total: int
    locked: int


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """A holder's public keys for one request: two X25519 keys, E_i on secp256k1, compressed, and what fixes its noise."""

    mask_key: bytes
    share_key: bytes
    e_x: bytes
    e_parity: int
    noise_commitment: bytes

    def __post_init__(self) -> None:
        for name in ("mask_key", "share_key", "e_x", "noise_commitment"):
            require_length(name, getattr(self, name), 32)
        require_range("e_parity", self.e_parity, 2, 3)


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a request's roster as `seal`, `close` and `release` want it, ascending by holder."""

    holder: Address
    line: bytes
    keys_hash: bytes
    detail: bytes


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a holder said before it contributes, and the frame that carried its masked input."""

    line: bytes
    keys_hash: bytes
    bundle_hash: bytes
    seed_hash: bytes
    session: bytes
    sender: int
    payload_hash: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A contract call that is still to be sent: where to, the encoded call, and wei."""

    to: Address
    data: bytes
    value: int = 0

    def __post_init__(self) -> None:
        require_length("call.to", self.to, 20)
        require_range("call.value", self.value, 0, U256_MAX)


# --- events ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class EventRef:
    """Where an event stands on the chain. Order is the chain's order."""

    block: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything that a contract reported."""

    at: EventRef


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """A buyer's request was opened and its escrow locked."""

    request_id: Digest
    request: Request
    signature: bytes


@dataclass(frozen=True, slots=True)
class Approved(Event):
    """A holder approved: its session keys, and the reservation on its line."""

    request_id: Digest
    holder: Address
    asset: Digest
    asset_version: int
    line: Digest
    mask_key: bytes
    share_key: bytes
    e_x: bytes
    e_parity: int
    noise_commitment: bytes

    @property
    def keys(self) -> SessionKeys:
        """The session keys as one value."""
        return SessionKeys(self.mask_key, self.share_key, self.e_x, self.e_parity, self.noise_commitment)


@dataclass(frozen=True, slots=True)
class Shared(Event):
    """A holder's bundle of shares, by hash, with the hashes of its seed and coming commitment."""

    request_id: Digest
    holder: Address
    bundle_hash: bytes
    seed_hash: bytes
    commitment_hash: bytes


@dataclass(frozen=True, slots=True)
class Contributed(Event):
    """A holder's commitment (128 bytes, EIP-2537) and the hash of its masked input."""

    request_id: Digest
    holder: Address
    commitment: bytes
    input_hash: bytes


@dataclass(frozen=True, slots=True)
class Sealed(Event):
    """The survivors are fixed; `commitment_sum` is the sum of their commitments (128 bytes)."""

    request_id: Digest
    survivors: int
    commitment_sum: bytes


@dataclass(frozen=True, slots=True)
class UnmaskPosted(Event):
    """A survivor posted the payload of its unmask message."""

    request_id: Digest
    holder: Address
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The broker posted the root of the masked answer."""

    request_id: Digest
    answer_root: bytes


@dataclass(frozen=True, slots=True)
class ChunkDemanded(Event):
    """The buyer demanded a chunk of the answer on the chain."""

    request_id: Digest
    chunk: int


@dataclass(frozen=True, slots=True)
class ChunkPosted(Event):
    """The broker posted a demanded chunk."""

    request_id: Digest
    chunk: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Settled(Event):
    """Holders and broker were paid."""

    request_id: Digest


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The request was closed before its seal: escrow refunded, reservations released."""

    request_id: Digest
    reason: int


@dataclass(frozen=True, slots=True)
class Withheld(Event):
    """The broker withheld the answer: the buyer is refunded from its bond."""

    request_id: Digest


@dataclass(frozen=True, slots=True)
class DemandRefuted(Event):
    """The demanded chunk does not exist: the answer has only `cells` cells."""

    request_id: Digest
    chunk: int
    cells: int


@dataclass(frozen=True, slots=True)
class LineOpened(Event):
    """A holder fixed the whole budget of one of its lines, in micro-ρ."""

    line: Digest
    holder: Address
    key_space_hash: bytes
    total: int


@dataclass(frozen=True, slots=True)
class ParticipantAdmitted(Event):
    """An account was admitted."""

    account: Address
    operator: Address
    roles: Roles
    x25519: bytes


@dataclass(frozen=True, slots=True)
class ParticipantSuspended(Event):
    """The regulator stopped an account."""

    account: Address


@dataclass(frozen=True, slots=True)
class ParticipantLifted(Event):
    """The regulator ended a suspension."""

    account: Address


@dataclass(frozen=True, slots=True)
class RolesChanged(Event):
    """An account has other roles."""

    account: Address
    roles: Roles


@dataclass(frozen=True, slots=True)
class KeysRotated(Event):
    """An account has another X25519 key."""

    account: Address
    key_version: int
    x25519: bytes


@dataclass(frozen=True, slots=True)
class AccountReplaced(Event):
    """A participant moved to another account."""

    account: Address
    successor: Address
    key_version: int
    x25519: bytes


@dataclass(frozen=True, slots=True)
class AssetRegistered(Event):
    """A holder registered an asset, version 1."""

    asset: Digest
    holder: Address
    name_hash: bytes
    key_space_hash: bytes
    line: Digest
    policy_hash: bytes
    snapshot_root: bytes
    descriptor_hash: bytes
    grade: int


@dataclass(frozen=True, slots=True)
class AssetUpdated(Event):
    """An asset has a new version."""

    asset: Digest
    version: int
    policy_hash: bytes
    snapshot_root: bytes
    descriptor_hash: bytes
    grade: int


@dataclass(frozen=True, slots=True)
class AssetRetired(Event):
    """An asset ended."""

    asset: Digest


@dataclass(frozen=True, slots=True)
class AssetAdopted(Event):
    """An asset followed its participant to another account."""

    asset: Digest
    previous: Address
    holder: Address


@dataclass(frozen=True, slots=True)
class Entrusted(Event):
    """A broker may list the asset under `listing`."""

    asset: Digest
    listing: Digest
    broker: Address


@dataclass(frozen=True, slots=True)
class EntrustmentWithdrawn(Event):
    """No later request can be approved for the asset under `listing`."""

    asset: Digest
    listing: Digest


@dataclass(frozen=True, slots=True)
class BondPosted(Event):
    """A broker added to its bond."""

    broker: Address
    amount: int


@dataclass(frozen=True, slots=True)
class BondWithdrawn(Event):
    """A broker took back a free part of its bond."""

    broker: Address
    amount: int


@dataclass(frozen=True, slots=True)
class EscrowReleased(Event):
    """Platform, broker and each surviving holder were paid."""

    request_id: Digest
    to_platform: int
    to_broker: int
    to_each_holder: int


@dataclass(frozen=True, slots=True)
class EscrowRefunded(Event):
    """The price went back to the buyer."""

    request_id: Digest
    amount: int


@dataclass(frozen=True, slots=True)
class BondForfeited(Event):
    """The broker withheld: `amount` of its bond went to the buyer."""

    request_id: Digest
    broker: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Reclaimed(Event):
    """Credits and bond followed their participant to another account."""

    account: Address
    successor: Address
    balance: int
    bond: int
