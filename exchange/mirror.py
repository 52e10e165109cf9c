"""Participants, assets and entrustments as the chain has them, folded from its events and kept in memory.

So they can be read while the chain is away; when the chain has lost blocks, its events are folded again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ledger.types import (
    AccountReplaced,
    Address,
    Asset,
    AssetAdopted,
    AssetRegistered,
    AssetRetired,
    AssetStatus,
    AssetUpdated,
    Digest,
    Entrusted,
    EntrustmentWithdrawn,
    Event,
    KeysRotated,
    Participant,
    ParticipantAdmitted,
    ParticipantLifted,
    ParticipantStatus,
    ParticipantSuspended,
    RolesChanged,
)


@dataclass(slots=True)
class _State:
    """What the events so far come to, in the order of the chain."""

    participants: dict[Address, Participant] = field(default_factory=dict)
    assets: dict[Digest, Asset] = field(default_factory=dict)
    brokers: dict[tuple[Digest, Digest], Address] = field(default_factory=dict)  # by listing and asset


class Mirror:
    """The market's membership and registry at the indexed head."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = _State()

    def apply(self, events: Iterable[Event]) -> None:
        """Follow new events, in the chain's order. Events of other kinds are ignored."""
        with self._lock:
            for event in events:
                _follow(self._state, event)

    def rebuild(self, events: Iterable[Event]) -> None:
        """Start again from all events."""
        state = _State()
        for event in events:
            _follow(state, event)
        with self._lock:
            self._state = state

    def participant(self, account: Address) -> Participant | None:
        """Return an admitted account, or None."""
        with self._lock:
            return self._state.participants.get(account)

    def participants(self, after: int, limit: int) -> tuple[list[Participant], int | None]:
        """Return accounts in the order of their admission, and where the next page starts."""
        with self._lock:
            found = list(self._state.participants.values())[after : after + limit + 1]
        return found[:limit], after + limit if len(found) > limit else None

    def asset(self, asset_id: Digest) -> Asset | None:
        """Return a registered asset, or None."""
        with self._lock:
            return self._state.assets.get(asset_id)

    def entrusted_to(self, listing_id: Digest, asset_id: Digest) -> Address | None:
        """Return the broker that may list the asset under the listing, or None."""
        with self._lock:
            return self._state.brokers.get((listing_id, asset_id))


def is_market_event(event: Event) -> bool:
    """Say whether an event changes the mirror."""
    return type(event) in MARKET_EVENTS


def _follow(state: _State, event: Event) -> None:
    follower = _FOLLOWERS.get(type(event))
    if follower is not None:
        follower(state, event)


def _admitted(state: _State, event: ParticipantAdmitted) -> None:
    state.participants[event.account] = Participant(
        account=event.account,
        operator=event.operator,
        roles=event.roles,
        status=ParticipantStatus.ACTIVE,
        key_version=1,
        since=event.at.block,
        x25519=event.x25519,
    )


def _replaced(state: _State, event: AccountReplaced) -> None:
    former = state.participants[event.account]
    state.participants[event.account] = replace(former, status=ParticipantStatus.REPLACED)
    state.participants[event.successor] = replace(
        former,
        account=event.successor,
        key_version=event.key_version,
        x25519=event.x25519,
        since=event.at.block,
    )


def _registered(state: _State, event: AssetRegistered) -> None:
    state.assets[event.asset] = Asset(
        asset_id=event.asset,
        holder=event.holder,
        version=1,
        grade=event.grade,
        status=AssetStatus.REGISTERED,
        line=event.line,
        policy_hash=event.policy_hash,
        snapshot_root=event.snapshot_root,
        descriptor_hash=event.descriptor_hash,
    )


def _updated(state: _State, event: AssetUpdated) -> None:
    state.assets[event.asset] = replace(
        state.assets[event.asset],
        version=event.version,
        grade=event.grade,
        policy_hash=event.policy_hash,
        snapshot_root=event.snapshot_root,
        descriptor_hash=event.descriptor_hash,
    )


def _change_participant(state: _State, account: Address, **changes: Any) -> None:
    state.participants[account] = replace(state.participants[account], **changes)


def _change_asset(state: _State, asset: Digest, **changes: Any) -> None:
    state.assets[asset] = replace(state.assets[asset], **changes)


_FOLLOWERS: Final[dict[type[Event], Callable[[_State, Any], object]]] = {
    ParticipantAdmitted: _admitted,
    AccountReplaced: _replaced,
    ParticipantSuspended: lambda state, event: _change_participant(
        state, event.account, status=ParticipantStatus.SUSPENDED
    ),
    ParticipantLifted: lambda state, event: _change_participant(
        state, event.account, status=ParticipantStatus.ACTIVE
    ),
    RolesChanged: lambda state, event: _change_participant(state, event.account, roles=event.roles),
    KeysRotated: lambda state, event: _change_participant(
        state, event.account, key_version=event.key_version, x25519=event.x25519
    ),
    AssetRegistered: _registered,
    AssetUpdated: _updated,
    AssetRetired: lambda state, event: _change_asset(state, event.asset, status=AssetStatus.RETIRED),
    AssetAdopted: lambda state, event: _change_asset(state, event.asset, holder=event.holder),
    Entrusted: lambda state, event: state.brokers.__setitem__((event.listing, event.asset), event.broker),
    EntrustmentWithdrawn: lambda state, event: state.brokers.pop((event.listing, event.asset), None),
}
MARKET_EVENTS: Final = frozenset(_FOLLOWERS)  # the events that change the mirror
