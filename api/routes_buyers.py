"""Routes for buyers: quotes, requests, answers and acceptances."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

from api.edge import TheEdge, ThePage, TheSpeaker, json_only, once, page_json
from api.models import AcceptanceIn, QuoteIn, RequestIn
from api.once import TheCall
from api.views import quote_json, request_json, request_summary
from ledger.types import Request, digest_from_hex

router = APIRouter(tags=["buyers"])


@router.post("/quotes", status_code=201, dependencies=[Depends(json_only)])
def make_quote(edge: TheEdge, call: TheCall, speaker: TheSpeaker, body: QuoteIn) -> Response:
    """Plan and price a query. Nothing is touched: no data, no budget, no credits."""

    def work() -> tuple[int, Any]:
        quote = edge.market.quotes.make(
            speaker.address,
            listing=body.listing,
            sql=body.sql,
            purpose=body.purpose,
            rho_micro=None if body.rho_micro is None else int(body.rho_micro),
            asked=body.asked,
        )
        return 201, quote_json(quote)

    return once(edge, call, speaker, work)


@router.post("/requests", status_code=202, dependencies=[Depends(json_only)])
def take_request(edge: TheEdge, call: TheCall, speaker: TheSpeaker, body: RequestIn) -> Response:
    """Take a signed request and relay it to the chain."""

    def work() -> tuple[int, Any]:
        record = edge.market.requests.take(
            speaker.address,
            plan_json=body.plan,
            request=Request.from_json(body.request),
            signature=bytes.fromhex(body.signature[2:]),
        )
        return 202, request_summary(record)

    return once(edge, call, speaker, work)


@router.get("/requests")
def list_requests(edge: TheEdge, speaker: TheSpeaker, page: ThePage) -> dict[str, Any]:
    """List the sender's requests: as their buyer, as a holder of their data, or all for regulators."""
    return page_json(edge.market.requests.page(speaker.address, page.after, page.limit), request_summary)


@router.get("/requests/{request_id}")
def read_request(edge: TheEdge, speaker: TheSpeaker, request_id: str) -> dict[str, Any]:
    """Show a request with its plan and transactions, to its buyer, holders, broker and regulators."""
    requests = edge.market.requests
    record = requests.get(speaker.address, digest_from_hex(request_id))
    progress = requests.progress(record)
    return request_json(record, progress, requests.gas(progress))


@router.get("/requests/{request_id}/answer")
def read_answer(edge: TheEdge, speaker: TheSpeaker, request_id: str) -> Response:
    """Return Y, still masked for the buyer, to the buyer alone."""
    answer = edge.market.requests.answer(speaker.address, digest_from_hex(request_id))
    return Response(answer, media_type="application/octet-stream", headers={"cache-control": "no-store"})


@router.get("/requests/{request_id}/receipt")
def read_receipt(edge: TheEdge, speaker: TheSpeaker, request_id: str) -> dict[str, Any]:
    """Return what the exchange can show of a request: roster, commitments, receipts, answer root."""
    record = edge.market.requests.get(speaker.address, digest_from_hex(request_id))
    return edge.market.evidence(record)


@router.post("/requests/{request_id}/acceptances", status_code=202, dependencies=[Depends(json_only)])
def accept_answer(
    edge: TheEdge, call: TheCall, speaker: TheSpeaker, request_id: str, body: AcceptanceIn
) -> Response:
    """Take the buyer's acceptance of the answer: holders and broker are paid at once."""

    def work() -> tuple[int, Any]:
        signature = bytes.fromhex(body.signature[2:])
        record = edge.market.requests.accept(speaker.address, digest_from_hex(request_id), signature)
        return 202, request_summary(record)

    return once(edge, call, speaker, work)
