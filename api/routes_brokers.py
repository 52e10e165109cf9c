"""Routes for the broker of this exchange: its listings."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

from api.edge import TheEdge, TheSpeaker, json_only, once
from api.models import ListingIn
from api.once import TheCall
from api.views import listing_json
from ledger.types import digest_from_hex

router = APIRouter(tags=["brokers"])


@router.post("/listings", status_code=201, dependencies=[Depends(json_only)])
def put_listing(edge: TheEdge, call: TheCall, speaker: TheSpeaker, body: ListingIn) -> Response:
    """List assets that their holders entrusted to this broker under this listing; again to change it."""

    def work() -> tuple[int, Any]:
        listing = edge.market.listings.put(
            speaker.address,
            name=body.name,
            title=body.title,
            asset_ids=[digest_from_hex(each) for each in body.assets],
        )
        return 201, listing_json(edge.market, listing)

    return once(edge, call, speaker, work)
