"""The values of the holder's node: stages, stored requests, assets, messages and budget lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ledger.types import Address, Digest, Request
from privacy.messages import Kind


class Stage(StrEnum):
    """Where a request stands at this holder. Each stage is entered once, with what it sends already on disk."""

    SEEN = "SEEN"  # opened on the chain, for a listing of ours
    PENDING_HUMAN = "PENDING_HUMAN"  # every check passed; a person decides
    APPROVED = "APPROVED"  # secrets made, budget reserved, approval on its way
    SHARED = "SHARED"  # data read, noise drawn, bundle of shares on its way
    CONTRIBUTED = "CONTRIBUTED"  # masked input on its way
    UNMASKED = "UNMASKED"  # one share per peer on its way
    DONE = "DONE"  # the broker has everything, or the chain has
    REFUSED = "REFUSED"  # see the reason
    CLOSED = "CLOSED"  # closed by the contract before its seal


ENDED: Final = frozenset({Stage.DONE, Stage.REFUSED, Stage.CLOSED})


class Hold(StrEnum):
    """What became of a reservation in the holder's own ledger."""

    NONE = "none"
    RESERVED = "reserved"
    SPENT = "spent"
    RELEASED = "released"


class Decision(StrEnum):
    """What a person decided about a request that waited."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class StoredAsset:
    """One version of an asset as this holder registered it.

    Attributes:
        policy: the policy's JSON form, the holder's own copy.
        source: the source's settings, without credentials.
        fingerprint: what is compared before each run.
    """

    asset_id: Digest
    version: int
    name: str
    line: Digest
    policy: Mapping[str, Any]
    policy_hash: Digest
    snapshot_root: Digest
    descriptor_hash: Digest
    source: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    rows: int


@dataclass(frozen=True, slots=True)
class Entrustment:
    """An asset given to a broker's listing."""

    asset_id: Digest
    listing: Digest
    listing_name: str
    broker: Address


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """A budget line in the holder's own ledger, in micro-ρ. Invariant: reserved + spent <= total."""

    line: Digest
    key_space: str
    total: int
    reserved: int
    spent: int

    @property
    def left(self) -> int:
        """What can still be reserved."""
        return self.total - self.reserved - self.spent


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request as this holder knows it."""

    request_id: Digest
    request: Request
    stage: Stage
    reason: str | None = None
    detail: str | None = None
    plan: Mapping[str, Any] | None = None
    asset_id: Digest | None = None
    asset_version: int | None = None
    line: Digest | None = None
    session: Digest | None = None
    hold: Hold = Hold.NONE
    sealed: bool = False
    decision: Decision | None = None
    updated_at_s: int = 0

    @property
    def is_live(self) -> bool:
        """Say whether anything is still to be done or watched for it."""
        return self.stage not in ENDED or self.hold is Hold.RESERVED


@dataclass(frozen=True, slots=True)
class OutMessage:
    """A signed frame that goes out exactly as stored, with the broker's receipt once it came."""

    kind: Kind
    frame: bytes = field(repr=False)
    message_hash: Digest
    receipt: bytes | None = None
