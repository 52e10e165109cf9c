"""The chain as the state machine sees it: one request's final events, the registries, and our transactions.

Reads go to this holder's own node, which it trusts; what is not final does not exist here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from holder.errors import DeadlineTooNear
from ledger.contracts import Contracts
from ledger.errors import IntentUnknown, SubmitTimeout
from ledger.indexer import Indexer
from ledger.submitter import Submitter
from ledger.types import (
    AccountReplaced,
    Address,
    Answered,
    Approved,
    Asset,
    AssetAdopted,
    AssetRegistered,
    AssetRetired,
    AssetUpdated,
    Call,
    Closed,
    Contributed,
    Digest,
    Entrusted,
    EntrustmentWithdrawn,
    Event,
    EventRef,
    KeysRotated,
    Line,
    Opened,
    Participant,
    ParticipantAdmitted,
    ParticipantLifted,
    ParticipantStatus,
    ParticipantSuspended,
    Roles,
    RolesChanged,
    Sealed,
    Settled,
    Shared,
    UnmaskPosted,
    Withheld,
    to_hex,
)

T = TypeVar("T")
UNANSWERED: Final = 5  # the contract's reason for a close after the seal
# What the contract says when its state is behind the one that a holder acts on: the node answered from an older block, or
# the chain lost blocks and a transaction, sent again, came before those of others that it needs.
PASSING_REVERTS: Final = frozenset(
    {f"ComputeLedger{name}" for name in ("TooEarly", "StateWrong", "StageWrong", "MemberWrong")} | {"Unknown"}
)
_LAST_INDEX: Final = (1 << 31) - 1
_REGISTRY: Final = (
    AccountReplaced,
    AssetAdopted,
    AssetRegistered,
    AssetRetired,
    AssetUpdated,
    Entrusted,
    EntrustmentWithdrawn,
    KeysRotated,
    ParticipantAdmitted,
    ParticipantLifted,
    ParticipantSuspended,
    RolesChanged,
)


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request as the final chain shows it.

    Attributes:
        opened: its opening.
        approved, shared, contributed: by holder.
        sealed: the seal, None before.
        posted: the holders whose unmask message is on the chain.
        answered: whether the broker posted an answer, or the request ended after its seal.
        closed: the end before the seal, None otherwise.
        head: the newest final block.
    """

    opened: Opened
    approved: Mapping[Address, Approved]
    shared: Mapping[Address, Shared]
    contributed: Mapping[Address, Contributed]
    sealed: Sealed | None
    posted: frozenset[Address]
    answered: bool
    closed: Closed | None
    head: int

    @property
    def is_roster_closed(self) -> bool:
        """Whether no approval can come any more."""
        request = self.opened.request
        return len(self.approved) >= request.holders or self.head >= request.approve_by

    @property
    def is_sharing_closed(self) -> bool:
        """Whether no share can come any more."""
        everybody = len(self.shared) == len(self.approved)
        return self.is_roster_closed and (everybody or self.head >= self.opened.request.share_by)


def view_of(events: Sequence[Event], head: int) -> RequestView | None:
    """Fold a request's events; None without an opening."""
    opened = next((event for event in events if isinstance(event, Opened)), None)
    if opened is None:
        return None
    closed = _last(events, Closed)
    before_seal = closed is not None and closed.reason != UNANSWERED
    return RequestView(
        opened=opened,
        approved={e.holder: e for e in events if isinstance(e, Approved)},
        shared={e.holder: e for e in events if isinstance(e, Shared)},
        contributed={e.holder: e for e in events if isinstance(e, Contributed)},
        sealed=_last(events, Sealed),
        posted=frozenset(e.holder for e in events if isinstance(e, UnmaskPosted)),
        answered=any(isinstance(e, Answered | Settled | Withheld) for e in events)
        or (closed is not None and not before_seal),
        closed=closed if before_seal else None,
        head=head,
    )


def _last(events: Sequence[Event], kind: type[T]) -> T | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


class ChainSide(Protocol):
    """What the state machine asks of the chain."""

    def view(self, request_id: Digest) -> RequestView | None:
        """Return a request as the final chain shows it."""
        ...

    def head(self) -> int:
        """Return the newest indexed block, final or not: what the next transaction's deadline is compared with."""
        ...

    def participant(self, account: Address) -> Participant:
        """Read a participant."""
        ...

    def regulators(self) -> tuple[Participant, ...]:
        """Read the active regulators that have a key, by account."""
        ...

    def asset(self, asset: Digest) -> Asset:
        """Read an asset at its present version."""
        ...

    def entrusted_to(self, listing: Digest, asset: Digest) -> Address:
        """Read the broker that may list an asset under a listing."""
        ...

    def line(self, line: Digest) -> Line:
        """Read a budget line."""
        ...

    def send(self, step: str, request_id: Digest, call: Call, *, is_late: bool) -> None:
        """Make a transaction of ours, once.

        Raises:
            ContractReverted: it would revert, or did.
            DeadlineTooNear: it is late, and was never sent.
        """
        ...

    def send_again(self, step: str, request_id: Digest, call: Call) -> None:
        """Try a transaction again that reverted."""
        ...


def is_regulator(participant: Participant) -> bool:
    """Say whether secrets may be sealed to this participant for an audit."""
    is_active = participant.status is ParticipantStatus.ACTIVE
    return is_active and Roles.REGULATOR in participant.roles and any(participant.x25519)


class LiveChain:
    """The chain behind the holder's own node.

    Args:
        contracts: the accepted deployment.
        indexer: follows its events.
        submitter: sends this holder's transactions.
        confirmations: blocks on top of an event's own before it counts.
    """

    def __init__(
        self, contracts: Contracts, indexer: Indexer, submitter: Submitter, *, confirmations: int
    ) -> None:
        self._contracts, self._indexer, self._submitter = contracts, indexer, submitter
        self._confirmations = confirmations
        self._lock = threading.Lock()
        self._cache: dict[tuple[Any, ...], Any] = {}  # registry reads
        self._cached_at = -1  # the newest block at which the cache was known to be right
        self._cleared = 0  # how often the cache was emptied

    def view(self, request_id: Digest) -> RequestView | None:
        """Return a request as the final chain shows it."""
        head = self._indexer.head() - self._confirmations
        return view_of(self._indexer.events(request_id), head)

    def head(self) -> int:
        """Return the newest indexed block, final or not."""
        return self._indexer.head()

    def opened_after(self, after: EventRef | None) -> list[Opened]:
        """Return the openings after an event, in the chain's order."""
        found = self._indexer.events(kinds=[Opened], after=after)
        return [event for event in found if isinstance(event, Opened)]

    def participant(self, account: Address) -> Participant:
        """Read a participant, once until it changes."""
        return self._once(("participant", account), lambda: self._contracts.participants.get(account))

    def regulators(self) -> tuple[Participant, ...]:
        """Read the active regulators that have a key, once until a participant changes."""
        return self._once(("regulators",), self._regulators)

    def asset(self, asset: Digest) -> Asset:
        """Read an asset at its present version, once until it changes."""
        return self._once(("asset", asset), lambda: self._contracts.assets.get(asset))

    def entrusted_to(self, listing: Digest, asset: Digest) -> Address:
        """Read the broker that may list an asset under a listing, once until it changes."""
        key = ("entrusted", listing, asset)
        return self._once(key, lambda: self._contracts.assets.entrusted_to(listing, asset))

    def line(self, line: Digest) -> Line:
        """Read a budget line."""
        return self._contracts.ledger.line(line)

    def send(self, step: str, request_id: Digest, call: Call, *, is_late: bool) -> None:
        """Make a transaction of ours, once.

        Raises:
            ContractReverted: it would revert, or did.
            DeadlineTooNear: it is late, and was never sent.
        """
        key = _key(step, request_id)
        try:
            self._submitter.wait(key, 0)
        except SubmitTimeout:
            return
        except IntentUnknown:
            if is_late:
                raise DeadlineTooNear(f"{step}: the next block is after its deadline") from None
            self._submitter.submit(key, call)
            self._submitter.tick()

    def send_again(self, step: str, request_id: Digest, call: Call) -> None:
        """Try a transaction again that reverted."""
        self._submitter.submit(_key(step, request_id), call)

    def forget(self) -> None:
        """Read the registries anew: the chain lost blocks."""
        with self._lock:
            self._clear()

    def _regulators(self) -> tuple[Participant, ...]:
        accounts: set[Address] = set()
        for event in self._indexer.events(kinds=(ParticipantAdmitted, RolesChanged, AccountReplaced)):
            if isinstance(event, AccountReplaced):
                if event.account in accounts:
                    accounts.add(event.successor)
            elif isinstance(event, ParticipantAdmitted | RolesChanged) and Roles.REGULATOR in event.roles:
                accounts.add(event.account)
        found = [self._contracts.participants.get(account) for account in sorted(accounts)]
        return tuple(each for each in found if is_regulator(each))

    def _once(self, key: tuple[Any, ...], read: Callable[[], T]) -> T:
        """Read from a registry once, until one of its events says that something there changed."""
        with self._lock:
            self._refresh()
            if key in self._cache:
                found: T = self._cache[key]
                return found
            cleared = self._cleared
        value = read()
        with self._lock:
            if cleared == self._cleared:  # else it may be from before the event that emptied the cache
                self._cache[key] = value
        return value

    def _refresh(self) -> None:
        head = self._indexer.head()
        if head == self._cached_at:
            return
        after = EventRef(self._cached_at, _LAST_INDEX, b"", b"")
        if self._indexer.events(kinds=_REGISTRY, after=after, unconfirmed=True, limit=1):
            self._clear()
        self._cached_at = head

    def _clear(self) -> None:
        self._cache.clear()
        self._cleared += 1


def _key(step: str, request_id: Digest) -> str:
    return f"{step}:{to_hex(request_id)}"
