"""The values of the market: participants, assets, listings, quotes, requests, messages and their states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from ledger.types import Address, Asset, AssetStatus, Digest, Participant, Request

T = TypeVar("T")


class Stage(StrEnum):
    """Where a request stands, as the exchange shows it: the chain's states, and two before them."""

    SUBMITTED = "submitted"  # taken by the exchange, not on the chain yet
    REFUSED = "refused"  # the contract did not open it: nothing was locked
    OPEN = "open"
    SHARING = "sharing"
    CONTRIBUTING = "contributing"
    SEALED = "sealed"
    ANSWERED = "answered"
    SETTLED = "settled"
    CLOSED = "closed"
    WITHHELD = "withheld"
    DISPUTED = "disputed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the request."""
        return self in FINAL_STAGES


FINAL_STAGES: Final = frozenset({Stage.REFUSED, Stage.SETTLED, Stage.CLOSED, Stage.WITHHELD})
ANSWERED_STAGES: Final = frozenset({Stage.ANSWERED, Stage.SETTLED, Stage.DISPUTED})


@dataclass(frozen=True, slots=True)
class NamedParticipant:
    """An account as the chain has it, with the display name it chose here, empty if none."""

    participant: Participant
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedLicence:
    """What the exchange remembers of a licence that admitted somebody: where it stands in its log, never what it says.

    Attributes:
        leaf_hash: of its issue in the log.
        operator: whose accounts it admits.
        origin: of the log.
        type_code, issuer, key_id: of which type it is, and which department signed it with which key.
        log_index: of its leaf.
        list, index: its status slot.
        expires_at: Unix seconds, exclusive; None for no end.
        as_of: when its status was last known, in Unix seconds.
        lapses_at: until when the facts known then may count, by their own times.
        fault: why it does not admit, as of `as_of`; empty while it does.
    """

    leaf_hash: Digest
    operator: Address
    origin: str
    type_code: str
    issuer: str
    key_id: bytes
    log_index: int
    list: int
    index: int
    expires_at: int | None
    as_of: int
    lapses_at: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """What a holder showed here of its asset. `policy` are canonical JSON bytes hash `policy_hash`."""

    asset_id: Digest
    holder: Address
    name: str
    title: str
    policy: bytes
    policy_hash: Digest
    descriptor: bytes


@dataclass(frozen=True, slots=True)
class ShownAsset:
    """An asset as its holder showed it and as the chain has it now.

    The two disagree while the holder has registered a new version without showing its policy here.
    """

    shown: AssetRecord
    registered: Asset

    @property
    def is_current(self) -> bool:
        """Whether the asset is registered with the policy that is shown here."""
        is_live = self.registered.status == AssetStatus.REGISTERED
        return is_live and self.registered.policy_hash == self.shown.policy_hash


@dataclass(frozen=True, slots=True)
class ListingRecord:
    """What buyers name after FROM: assets under one policy, ascending by id."""

    listing_id: Digest
    name: str
    title: str
    policy: bytes
    policy_hash: Digest
    assets: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class QuoteRecord:
    """The terms of a quote that was given out. `expires_at` is Unix seconds."""

    quote_id: str
    listing_id: Digest
    buyer: Address
    plan_hash: Digest
    rho_micro: int
    price_minor: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that the exchange took. `plan` are canonical JSON bytes, `acceptance` is empty at first."""

    request_id: Digest
    request: Request
    signature: bytes
    plan: bytes
    holders: tuple[Address, ...]
    stage: Stage
    reason: str
    runs: int
    acceptance: bytes
    created_at: int


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message of one holder, as it came, with the receipt that the broker signed for it."""

    kind: int
    sender: int
    holder: Address
    message_hash: Digest
    frame: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One change of a request's stage. Ids grow; `at` is Unix seconds."""

    event_id: int
    stage: Stage
    at: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the number after which the next page starts; None on the last page."""

    items: tuple[T, ...]
    after: int | None


@dataclass(frozen=True, slots=True)
class MaskedAnswer:
    """Y, still under the buyer's pads, and its root. `basis` names the session and survivors of the sum."""

    basis: bytes
    payload: bytes
    root: bytes
