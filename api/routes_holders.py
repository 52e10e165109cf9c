"""Routes for data holders: their assets, and the messages that they exchange in a request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from api.edge import TheEdge, TheSpeaker, json_only, octets_only, once
from api.models import AssetIn
from api.once import TheCall
from api.views import asset_json, receipt_json
from ledger.types import digest_from_hex
from privacy.policy import Policy

router = APIRouter(tags=["holders"])


@router.post("/assets", status_code=201, dependencies=[Depends(json_only)])
def show_asset(edge: TheEdge, call: TheCall, speaker: TheSpeaker, body: AssetIn) -> Response:
    """Show an asset of the sender that the chain has with exactly this policy and descriptor."""

    def work() -> tuple[int, Any]:
        shown = edge.market.assets.show(
            speaker.address,
            name=body.name,
            title=body.title,
            policy=Policy.from_mapping(body.policy),
            descriptor=body.descriptor,
        )
        return 201, asset_json(shown)

    return once(edge, call, speaker, work)


@router.post("/requests/{request_id}/messages", status_code=201, dependencies=[Depends(octets_only)])
def send_message(edge: TheEdge, call: TheCall, speaker: TheSpeaker, request_id: str) -> Response:
    """Hand in one frame of docs/protocol.md §4. The same bytes again give the same receipt."""

    def work() -> tuple[int, Any]:
        wanted = digest_from_hex(request_id)
        message, is_new = edge.market.messages.take(speaker.address, wanted, call.body)
        return 201 if is_new else 200, receipt_json(message)

    return once(edge, call, speaker, work)


@router.get("/requests/{request_id}/messages")
def read_messages(
    edge: TheEdge,
    speaker: TheSpeaker,
    request_id: str,
    kind: int,
    round_: Annotated[int, Query(alias="round", ge=0, le=255)] = 0,
    part: Annotated[int, Query(ge=0, le=65535)] = 0,
) -> Response:
    """Return the frames of one kind, one after another. Masked inputs are given to nobody.

    Of a private join, some frames of a round from a part on: ask again from the part after the last one.
    """
    wanted = digest_from_hex(request_id)
    found = edge.market.messages.give(speaker.address, wanted, kind, (round_, part))
    return Response(b"".join(each.frame for each in found), media_type="application/octet-stream")
