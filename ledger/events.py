"""From decoded logs to typed events: a class for each event of the contracts, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger import types as t
from ledger.errors import MalformedLog, MalformedValue

EVENTS: Final[Mapping[str, type[t.Event]]] = {
    kind.__name__: kind
    for kind in (
        t.AccountReplaced,
        t.Answered,
        t.Approved,
        t.AssetAdopted,
        t.AssetRegistered,
        t.AssetRetired,
        t.AssetUpdated,
        t.BondForfeited,
        t.BondPosted,
        t.BondWithdrawn,
        t.ChunkDemanded,
        t.ChunkPosted,
        t.Closed,
        t.Contributed,
        t.DemandRefuted,
        t.Entrusted,
        t.EntrustmentWithdrawn,
        t.EscrowRefunded,
        t.EscrowReleased,
        t.KeysRotated,
        t.LineOpened,
        t.Opened,
        t.ParticipantAdmitted,
        t.ParticipantLifted,
        t.ParticipantSuspended,
        t.Reclaimed,
        t.RolesChanged,
        t.Sealed,
        t.Settled,
        t.Shared,
        t.UnmaskPosted,
        t.Withheld,
    )
}


def build_event(name: str, arguments: Mapping[str, Any], at: t.EventRef) -> t.Event:
    """Build the typed event. The classes' fields stand in the order of the ABI's arguments.

    Raises:
        MalformedLog: an argument is out of its range.
    """
    values = [_value(key, value) for key, value in arguments.items()]
    try:
        return EVENTS[name](*values, at=at)
    except MalformedValue as err:
        raise MalformedLog(f"{name} in block {at.block}: {err}") from err


def request_to_tuple(request: t.Request) -> tuple[Any, ...]:
    """Return the request as the ABI's tuple, whose order is that of docs/protocol.md §2."""
    return tuple(getattr(request, name) for name in t.Request.__slots__)


def _value(name: str, value: Any) -> Any:
    if name == "request":
        return t.Request(*value)
    return t.Roles(value) if name == "roles" else value
