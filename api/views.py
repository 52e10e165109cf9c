"""What the routes show: the market's values as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from exchange.market import Market
from exchange.progress import Progress
from exchange.quotes import Quote
from exchange.types import ListingRecord, MessageRecord, NamedParticipant, RequestRecord, ShownAsset
from ledger.types import Roles, to_hex


def time_text(unix_s: int) -> str:
    """Return a time as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")


def participant_json(found: NamedParticipant) -> dict[str, Any]:
    """Show a participant."""
    participant = found.participant
    return {
        "address": to_hex(participant.account),
        "name": found.name,
        "operator": to_hex(participant.operator),
        "roles": [role.name.lower() for role in Roles if role in participant.roles and role.name],
        "active": participant.active,
        "x25519": to_hex(participant.x25519),
        "key_version": participant.key_version,
    }


def asset_json(found: ShownAsset) -> dict[str, Any]:
    """Show an asset with its policy and descriptor, as the holder gave them, and what the chain says."""
    return {
        "id": to_hex(found.registered.asset_id),
        **_reference(found),
        "name": found.shown.name,
        "title": found.shown.title,
        "line": to_hex(found.registered.line),
        "grade": found.registered.grade,
        "current": found.is_current,
        "descriptor_hash": to_hex(found.registered.descriptor_hash),
        "policy": json.loads(found.shown.policy),
        "descriptor": json.loads(found.shown.descriptor),
    }


def listing_json(market: Market, listing: ListingRecord) -> dict[str, Any]:
    """Show a listing with its policy and its assets, ascending by holder."""
    return {
        "id": to_hex(listing.listing_id),
        "name": listing.name,
        "title": listing.title,
        "broker": to_hex(market.chain.broker),
        "policy": json.loads(listing.policy),
        "policy_hash": to_hex(listing.policy_hash),
        "assets": [_reference(asset) for asset in market.listings.assets(listing)],
    }


def quote_json(quote: Quote) -> dict[str, Any]:
    """Show a quote. `request` is the draft that the buyer completes with its key and a nonce, and signs."""
    existing = quote.existing_request
    return {
        "id": quote.record.quote_id,
        "plan": quote.plan.to_json(),
        "plan_hash": to_hex(quote.record.plan_hash),
        "rho_micro": str(quote.record.rho_micro),
        "price_minor": str(quote.record.price_minor),
        "columns": list(quote.plan.columns),
        "expected_error95": list(quote.expected_error95),
        "request": quote.draft,
        "expires_at": quote.record.expires_at,
        "signature": to_hex(quote.signature),
        "existing_request": None if existing is None else to_hex(existing),
    }


def request_summary(record: RequestRecord) -> dict[str, Any]:
    """Show where a request stands."""
    return {
        "request_id": to_hex(record.request_id),
        "state": record.stage.value,
        "reason": record.reason,
        "buyer": to_hex(record.request.buyer),
        "listing": to_hex(record.request.listing),
        "created_at": time_text(record.created_at),
    }


def request_json(record: RequestRecord, progress: Progress, gas: dict[bytes, int]) -> dict[str, Any]:
    """Show a request with its plan and its transactions."""
    events = [
        {
            "name": type(event).__name__,
            "tx_hash": to_hex(event.at.tx_hash),
            "block": event.at.block,
            "gas_used": gas.get(event.at.tx_hash),
        }
        for event in progress.events
    ]
    return {
        **request_summary(record),
        "request": record.request.to_json(),
        "signature": to_hex(record.signature),
        "plan": json.loads(record.plan),
        "events": events,
        "answer_root": None if progress.answered is None else to_hex(progress.answered.answer_root),
    }


def receipt_json(message: MessageRecord) -> dict[str, Any]:
    """Show the broker's receipt for a message."""
    return {"message_hash": to_hex(message.message_hash), "receipt": to_hex(message.receipt)}


def _reference(found: ShownAsset) -> dict[str, Any]:
    return {
        "asset": to_hex(found.registered.asset_id),
        "version": found.registered.version,
        "holder": to_hex(found.registered.holder),
        "policy_hash": to_hex(found.registered.policy_hash),
        "snapshot_root": to_hex(found.registered.snapshot_root),
    }
