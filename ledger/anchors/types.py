"""The values of LogAnchor and IssuerRegistry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

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
from ledger.types import Address, Digest, Event, to_hex

EMPTY_ROOT: Final = Digest(
    bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
)  # RFC 6962 §2.1: SHA-256 of nothing
_CONTRACT_NAMES: Final = ("manager", "anchor", "issuers")


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
class TrustDeployment:
    """Where the trust contracts are. `block` is the block of the first of them."""

    chain_id: int
    manager: Address
    anchor: Address
    issuers: Address
    block: int

    def __post_init__(self) -> None:
        require_range("trust.chain_id", self.chain_id, 1, U256_MAX)
        require_range("trust.block", self.block, 0, U64_MAX)
        for name in _CONTRACT_NAMES:
            require_length(f"trust.{name}", getattr(self, name), 20)

    def to_json(self) -> dict[str, str]:
        """Return the JSON form: decimal strings and lower-case hex."""
        contracts = {name: to_hex(getattr(self, name)) for name in _CONTRACT_NAMES}
        return {"chain_id": decimal(self.chain_id), **contracts, "block": decimal(self.block)}

    @classmethod
    def from_json(cls, value: object) -> TrustDeployment:
        """Read the JSON form, strictly.

        Raises:
            MalformedValue: a key missing or unknown, an encoding not canonical, a value out of range.
        """
        given = require_keys("trust", value, frozenset({"chain_id", "block", *_CONTRACT_NAMES}))
        return cls(
            chain_id=parse_decimal(given["chain_id"], "trust.chain_id", 1, U256_MAX),
            block=parse_decimal(given["block"], "trust.block", 0, U64_MAX),
            **{n: Address(parse_hex(given[n], f"trust.{n}", 20)) for n in _CONTRACT_NAMES},
        )


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
