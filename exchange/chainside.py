"""What the market needs of the chain, as an interface; `exchange.onchain` has the real thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ledger.types import Address, Deployment, Digest, Event, Member, Request


class Fate(StrEnum):
    """What became of a transaction that was asked for."""

    WAITING = "waiting"  # stored; not sent, not mined or not final yet
    DONE = "done"
    FAILED = "failed"  # it reverted, or would


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one transaction; `reason` says why it failed, by the contract's error name."""

    fate: Fate
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look at the chain found.

    Attributes:
        head: the newest block that counts.
        events: new ones, in the chain's order.
        rolled_back: blocks were lost or replaced, so anything may have changed.
        fault: why nothing can be sent at present; empty if it can.
    """

    head: int
    events: tuple[Event, ...]
    rolled_back: bool = False
    fault: str = ""


# --- what the broker does on the chain -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Open a buyer's request."""

    request: Request
    signature: bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """Fix the survivors. `members`: all who approved, here and below."""

    request: Request
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """Fix the answer."""

    request: Request
    root: bytes


@dataclass(frozen=True, slots=True)
class PostChunk:
    """Publish a demanded chunk with its path in the answer's tree."""

    request: Request
    members: tuple[Member, ...]
    cells: int
    chunk: int
    data: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RefuteDemand:
    """Show that a demanded chunk does not exist."""

    request: Request
    members: tuple[Member, ...]
    cells: int
    tree_root: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """Pay broker and survivors: at once with the buyer's acceptance, without it after the window."""

    request: Request
    members: tuple[Member, ...]
    acceptance: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """End a request that can no longer be sealed."""

    request: Request
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Withhold:
    """End a request that was sealed and not answered in time."""

    request: Request
    members: tuple[Member, ...]


Act = Open | Seal | PostAnswer | PostChunk | RefuteDemand | Release | Close | Withhold


class ChainSide(Protocol):
    """The chain as the market sees it. What is indexed can be read while the chain is away.

    What is read from the node itself raises `ledger.errors.ChainUnreachable` when there is no answer.
    """

    @property
    def deployment(self) -> Deployment:
        """The contracts."""
        ...

    @property
    def broker(self) -> Address:
        """The account of this exchange."""
        ...

    def tick(self) -> Tick:
        """Index what is new, and send, replace and confirm what was asked for."""
        ...

    def head(self) -> int:
        """Return the newest indexed block."""
        ...

    def request_events(self, request_id: Digest) -> Sequence[Event]:
        """Return a request's indexed events, in the chain's order."""
        ...

    def ended_requests(self) -> set[Digest]:
        """Return the requests whose end is indexed: settled, closed or withheld."""
        ...

    def market_events(self) -> Sequence[Event]:
        """Return the indexed events of participants and assets, in the chain's order."""
        ...

    def submit(self, act: Act) -> str:
        """Ask for a transaction and return its key. The same act again is no new one, unless it failed."""
        ...

    def outcome(self, key: str) -> Outcome:
        """Return what became of a transaction that was asked for."""
        ...

    def waiting_count(self) -> int:
        """Return how many transactions wait."""
        ...

    # --- read from the node

    def balance(self, account: Address) -> int:
        """Read an account's credits."""
        ...

    def free_bond(self) -> int:
        """Read the part of the broker's bond that stands for nothing yet."""
        ...

    def is_open(self, request_id: Digest) -> bool:
        """Say whether the contract has opened the request."""
        ...

    def answer_window(self) -> int:
        """Read the window after an answer, in blocks; it never changes."""
        ...

    def gas_used(self, tx_hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Read the gas of mined transactions; those not found are left out."""
        ...
