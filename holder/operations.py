"""What a person at the holder sees and decides: requests that wait, decisions, refusals, budgets.

The functions work on the store alone, so they can run beside a node or without one; the node acts on a
decision at its next look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holder.errors import NotPending, RequestUnknown
from holder.store import HolderStore
from holder.types import BudgetLine, Decision, Stage, StoredRequest
from ledger.types import Digest, to_hex


@dataclass(frozen=True, slots=True)
class HolderStatus:
    """The holder at a glance."""

    stages: dict[str, int]
    lines: tuple[BudgetLine, ...]
    assets: tuple[dict[str, Any], ...]


def pending(store: HolderStore) -> tuple[StoredRequest, ...]:
    """Return the requests that wait for a person, newest first."""
    found = store.list_requests(stage=Stage.PENDING_HUMAN, limit=1000)
    return tuple(request for request in found if request.decision is None)


def approve(store: HolderStore, request_id: Digest, note: str = "") -> StoredRequest:
    """Approve a request that waits.

    Raises:
        RequestUnknown: it was never seen here.
        NotPending: it does not wait.
    """
    return _decide(store, request_id, Decision.APPROVE, note)


def deny(store: HolderStore, request_id: Digest, note: str = "") -> StoredRequest:
    """Deny a request that waits; the note is stored as the reason's detail.

    Raises:
        RequestUnknown: it was never seen here.
        NotPending: it does not wait.
    """
    return _decide(store, request_id, Decision.DENY, note)


def find(store: HolderStore, prefix: str) -> StoredRequest:
    """Return the one request whose id starts with these hex digits, with or without `0x`.

    Raises:
        RequestUnknown: none, or several.
    """
    digits = prefix.lower().removeprefix("0x")
    found = [
        r for r in store.list_requests(limit=100_000) if digits and r.request_id.hex().startswith(digits)
    ]
    if len(found) != 1:
        raise RequestUnknown(f"expected one request whose id starts with {prefix}, found {len(found)}")
    return found[0]


def status(store: HolderStore) -> HolderStatus:
    """Return how many requests stand at each stage, the budget lines and the assets."""
    assets = tuple(
        {
            "name": asset.name,
            "asset": to_hex(asset.asset_id),
            "version": asset.version,
            "rows": asset.rows,
            "snapshot_root": to_hex(asset.snapshot_root),
            "policy_hash": to_hex(asset.policy_hash),
        }
        for asset in store.newest_assets()
    )
    return HolderStatus(store.count_stages(), store.lines(), assets)


def describe(request: StoredRequest) -> dict[str, Any]:
    """Return a request as plain values for a table or JSON: what is asked, where it stands, and why."""
    plan = request.plan or {}
    return {
        "request_id": to_hex(request.request_id),
        "stage": request.stage.value,
        "reason": request.reason,
        "detail": request.detail,
        "buyer": to_hex(request.request.buyer),
        "listing": plan.get("listing_name"),
        "purpose": plan.get("purpose"),
        "outputs": plan.get("outputs"),
        "group_by": [dimension.get("column") for dimension in plan.get("group_by", [])],
        "filter": plan.get("filter"),
        "rho_micro": request.request.rho_micro,
        "approve_by": request.request.approve_by,
        "budget": request.hold.value,
        "decision": None if request.decision is None else request.decision.value,
        "updated_at_s": request.updated_at_s,
    }


def _decide(store: HolderStore, request_id: Digest, decision: Decision, note: str) -> StoredRequest:
    stage = store.decide(request_id, decision, note)
    if stage is not Stage.PENDING_HUMAN:
        raise NotPending(stage.value)
    return store.request(request_id)
