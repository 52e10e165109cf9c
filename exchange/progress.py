"""What the chain says of one request: a pure function of its events and the head.

Deadlines are inclusive block numbers and the next transaction is mined in block head + 1, so a phase is over
for whoever acts now as soon as the head has reached its deadline.

Source: docs/protocol.md §3 and §5; contracts/src/ComputeLedger.sol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from exchange.types import Stage
from ledger.contracts import members_from_events
from ledger.types import (
    Address,
    Answered,
    Approved,
    ChunkDemanded,
    ChunkPosted,
    Closed,
    Contributed,
    DemandRefuted,
    Deployment,
    Digest,
    Event,
    Member,
    Opened,
    Request,
    Sealed,
    Settled,
    Shared,
    UnmaskPosted,
    Withheld,
)
from privacy.errors import ParametersInvalid, RosterInvalid
from privacy.session import Member as SessionMember
from privacy.session import Session, SumParameters

END_EVENTS: Final = (Settled, Closed, Withheld)
CLOSED_REASONS = {
    1: "too few holders approved",
    2: "too few holders shared",
    3: "too few holders contributed",
    4: "not sealed in time",
    5: "sealed, but not answered in time",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One request as the chain has it at `head`.

    Attributes:
        approvals: in ascending order of the holder, which is the roster once it is closed.
        shares, contributions, posted: by holder; `posted` are unmask payloads put on the chain.
        open_demand: the chunk that the buyer waits for, None if there is none.
        events: all of the request's, in the chain's order.
    """

    request_id: Digest
    request: Request
    deployment: Deployment
    head: int
    events: tuple[Event, ...]
    opened: Opened | None
    approvals: tuple[Approved, ...]
    shares: dict[Address, Shared]
    contributions: dict[Address, Contributed]
    sealed: Sealed | None
    posted: dict[Address, bytes]
    answered: Answered | None
    open_demand: int | None
    ended: Settled | Closed | Withheld | None
    window_from: int

    # --- phases

    @property
    def is_roster_closed(self) -> bool:
        """Whether nobody can approve any more."""
        return len(self.approvals) == self.request.holders or self.head >= self.request.approve_by

    @property
    def is_sharing_closed(self) -> bool:
        """Whether nobody can share any more."""
        everybody = len(self.shares) == len(self.approvals)
        return self.is_roster_closed and (everybody or self.head >= self.request.share_by)

    @property
    def is_contributing_closed(self) -> bool:
        """Whether nobody can contribute any more."""
        everybody = len(self.contributions) == len(self.shares)
        return self.is_sharing_closed and (everybody or self.head >= self.request.contribute_by)

    @property
    def stage(self) -> Stage:
        """Where the request stands; the contract's state, but for phases that ended without a transaction."""
        if self.ended is not None:
            return Stage(type(self.ended).__name__.lower())
        if self.answered is not None:
            return Stage.ANSWERED
        if self.sealed is not None:
            return Stage.SEALED
        if self.opened is None:
            return Stage.SUBMITTED
        if self.contributions or self.is_sharing_closed:
            return Stage.CONTRIBUTING
        return Stage.SHARING if self.is_roster_closed else Stage.OPEN

    @property
    def reason(self) -> str:
        """Why the request was closed, in words; empty if it was not."""
        if isinstance(self.ended, Closed):
            return CLOSED_REASONS.get(self.ended.reason, f"reason {self.ended.reason}")
        return ""

    @property
    def is_closable(self) -> bool:
        """Whether the contract would close the request now: a floor is missed, or the seal came too late."""
        if self.opened is None or self.sealed is not None or self.ended is not None:
            return False
        if not self.is_roster_closed:
            return False
        parameters = self.parameters
        if parameters is None:
            return True
        if self.is_sharing_closed and len(self.shares) < parameters.floor:
            return True
        if not self.is_contributing_closed:
            return False
        return len(self.contributions) < parameters.floor or self.head >= self.request.answer_by

    @property
    def is_sealable(self) -> bool:
        """Whether the contract would seal the request now."""
        live = self.opened is not None and self.sealed is None and self.ended is None
        return live and self.is_contributing_closed and not self.is_closable

    # --- roster and session

    @property
    def parameters(self) -> SumParameters | None:
        """What the number of approvals allows; None when no sum is possible with it."""
        try:
            return SumParameters.of(
                n=len(self.approvals),
                colluders=self.request.colluders,
                dropouts=self.request.dropouts,
                min_holders=self.request.min_holders,
            )
        except ParametersInvalid:
            return None

    @property
    def session(self) -> Session | None:
        """The session of the closed roster; None while it is open, or when no sum is possible with it."""
        if not self.is_roster_closed:
            return None
        members = tuple(map(_session_member, self.approvals))
        return _session_of(self.request_id, self.request, self.deployment, members)

    @property
    def members(self) -> list[Member]:
        """The roster's rows as the contract's calls want them, ascending by holder."""
        return members_from_events(self.events)

    @property
    def sharers(self) -> set[int]:
        """The roster indices of those who shared."""
        return {index for index, event in enumerate(self.approvals) if event.holder in self.shares}

    @property
    def survivors(self) -> set[int]:
        """The roster indices of those who contributed; final once the request is sealed."""
        return {index for index, event in enumerate(self.approvals) if event.holder in self.contributions}

    def holder_at(self, index: int) -> Address:
        """Return the account of a roster index."""
        return self.approvals[index].holder


def progress_of(
    request_id: Digest, request: Request, deployment: Deployment, events: Iterable[Event], head: int
) -> Progress:
    """Read a request's state from its events, in the chain's order."""
    ordered = tuple(events)
    by_kind = {type(event): event for event in ordered}  # the last of each kind
    opened, sealed, answered = by_kind.get(Opened), by_kind.get(Sealed), by_kind.get(Answered)
    ended = by_kind.get(Settled) or by_kind.get(Closed) or by_kind.get(Withheld)
    approvals = {event.holder: event for event in ordered if isinstance(event, Approved)}
    return Progress(
        request_id=request_id,
        request=request,
        deployment=deployment,
        head=head,
        events=ordered,
        opened=opened if isinstance(opened, Opened) else None,
        approvals=tuple(approvals[holder] for holder in sorted(approvals)),
        shares={event.holder: event for event in ordered if isinstance(event, Shared)},
        contributions={event.holder: event for event in ordered if isinstance(event, Contributed)},
        sealed=sealed if isinstance(sealed, Sealed) else None,
        posted={event.holder: event.payload for event in ordered if isinstance(event, UnmaskPosted)},
        answered=answered if isinstance(answered, Answered) else None,
        open_demand=_open_demand(ordered),
        ended=ended if isinstance(ended, END_EVENTS) else None,
        window_from=_window_from(ordered),
    )


def _open_demand(events: tuple[Event, ...]) -> int | None:
    demanded: int | None = None
    for event in events:
        if isinstance(event, ChunkDemanded):
            demanded = event.chunk
        elif isinstance(event, ChunkPosted | DemandRefuted):
            demanded = None
    return demanded


def _window_from(events: tuple[Event, ...]) -> int:
    """Return the block that the window after the answer counts from, 0 before there is one."""
    blocks = [each.at.block for each in events if isinstance(each, Answered | ChunkPosted | DemandRefuted)]
    return blocks[-1] if blocks else 0


@lru_cache(maxsize=256)  # the same roster is asked for with every message, and its keys take time to check
def _session_of(
    request_id: Digest, request: Request, deployment: Deployment, members: tuple[SessionMember, ...]
) -> Session | None:
    try:
        return Session.build(
            chain_id=deployment.chain_id,
            ledger=deployment.ledger,
            request_id=request_id,
            plan_hash=request.plan_hash,
            members=members,
            colluders=request.colluders,
            dropouts=request.dropouts,
            min_holders=request.min_holders,
        )
    except (ParametersInvalid, RosterInvalid):
        return None  # an unusable key in the roster: no honest holder shares, and the request closes


def _session_member(event: Approved) -> SessionMember:
    return SessionMember(
        holder=event.holder,
        asset=event.asset,
        asset_version=event.asset_version,
        line=event.line,
        mask_key=event.mask_key,
        share_key=event.share_key,
        e_x=event.e_x,
        e_parity=event.e_parity,
        noise_commitment=event.noise_commitment,
    )
