"""The values of LogAnchor and IssuerRegistry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ledger.encoding import U64_MAX, require_length, require_range
from ledger.log import tree
from ledger.types import Address, DeployedContracts, Digest, Event

EMPTY_ROOT: Final = Digest(tree.EMPTY_ROOT)


@dataclass(frozen=True, slots=True)
class AnchorHead:
    """A log's head as the chain keeps it. `status_root` belongs to `size`, `time_s` is the block's."""

    root: Digest
    size: int
    status_root: Digest
    time_s: int

    def __post_init__(self) -> None:
        require_length("head.root", self.root, 32)
        require_length("head.status_root", self.status_root, 32)
        require_range("head.size", self.size, 0, U64_MAX)
        require_range("head.time_s", self.time_s, 0, U64_MAX)


@dataclass(frozen=True, slots=True)
class Anchored:
    """One anchored head, and the transaction that anchored it."""

    size: int
    root: Digest
    status_root: Digest
    time_s: int
    block: int
    block_hash: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class TrustDeployment(DeployedContracts):
    """Where the trust contracts are."""

    _what = "trust"
    manager: Address
    anchor: Address
    issuers: Address


# --- issuers ---------------------------------------------------------------------------------------------


class KeyStatus(IntEnum):
    """Where an issuer's key stands. A state is never left backwards."""

    NONE = 0
    ACTIVE = 1
    RETIRED = 2
    COMPROMISED = 3


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key as the registry keeps it: since when it is active, and when that ended (0 while it has not)."""

    status: KeyStatus
    since_s: int
    until_s: int


@dataclass(frozen=True, slots=True)
class IssuerRecognised(Event):
    """An issuer may issue a licence type in a city."""

    issuer: Digest
    licence_type: Digest
    city: Digest


@dataclass(frozen=True, slots=True)
class RecognitionWithdrawn(Event):
    """An issuer may no longer issue a licence type in a city."""

    issuer: Digest
    licence_type: Digest
    city: Digest


@dataclass(frozen=True, slots=True)
class IssuerBound(Event):
    """An account acts for an issuer, instead of its former one."""

    issuer: Digest
    account: Address


@dataclass(frozen=True, slots=True)
class KeyRegistered(Event):
    """An issuer registered a key."""

    issuer: Digest
    key_id: Digest


@dataclass(frozen=True, slots=True)
class KeyRetired(Event):
    """A key signs nothing new."""

    issuer: Digest
    key_id: Digest


@dataclass(frozen=True, slots=True)
class KeyCompromised(Event):
    """A key is in other hands."""

    issuer: Digest
    key_id: Digest
