"""What the exchange can show of a request: everything public about it, with the broker's receipts."""

from __future__ import annotations

import json
from typing import Any

from exchange.progress import Progress
from exchange.store import Store
from exchange.types import MessageRecord, RequestRecord
from ledger.types import Approved, to_hex


def evidence_of(record: RequestRecord, progress: Progress, store: Store) -> dict[str, Any]:
    """Return the evidence as JSON: request, plan, roster, commitments, receipts, answer root.

    It holds no message, no cell and no answer: a masked input is shown by its hash.
    """
    session = progress.session
    messages = [] if session is None else store.receipts(record.request_id, session.id)
    return {
        "version": "1",
        "chain_id": str(progress.deployment.chain_id),
        "ledger": to_hex(progress.deployment.ledger),
        "request_id": to_hex(record.request_id),
        "request": record.request.to_json(),
        "request_signature": to_hex(record.signature),
        "plan": json.loads(record.plan),
        "state": progress.stage.value,
        "session": None if session is None else to_hex(session.id),
        "roster": [_roster_row(event) for event in progress.approvals],
        "sharers": sorted(progress.sharers),
        "survivors": _survivors(progress),
        "commitment_sum": None if progress.sealed is None else to_hex(progress.sealed.commitment_sum),
        "answer_root": None if progress.answered is None else to_hex(progress.answered.answer_root),
        "messages": [_message_row(message) for message in messages],
    }


def _survivors(progress: Progress) -> list[dict[str, Any]]:
    found = []
    for index in sorted(progress.survivors):
        event = progress.contributions[progress.holder_at(index)]
        row = {"commitment": to_hex(event.commitment), "input_hash": to_hex(event.input_hash)}
        found.append({"index": index, **row})
    return found


def _roster_row(event: Approved) -> dict[str, Any]:
    return {
        "holder": to_hex(event.holder),
        "asset": to_hex(event.asset),
        "asset_version": str(event.asset_version),
        "line": to_hex(event.line),
        "mask_key": to_hex(event.mask_key),
        "share_key": to_hex(event.share_key),
        "e_x": to_hex(event.e_x),
        "e_parity": str(event.e_parity),
        "noise_commitment": to_hex(event.noise_commitment),
    }


def _message_row(message: MessageRecord) -> dict[str, Any]:
    return {
        "kind": message.kind,
        "sender": message.sender,
        "message_hash": to_hex(message.message_hash),
        "receipt": to_hex(message.receipt),
    }
