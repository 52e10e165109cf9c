"""Routes for everybody: the deployment, participants, assets and listings, and signing in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

from api.edge import TheEdge, ThePage, TheSpeaker, bearer_of, json_only, once, page_json
from api.models import ParticipantIn, SessionIn
from api.once import TheCall, idempotency_key_hash
from api.views import asset_json, listing_json, participant_json, time_text
from ledger.types import address_from_hex, digest_from_hex, to_hex

router = APIRouter()


@router.get("/deployment", tags=["market"])
def read_deployment(edge: TheEdge) -> dict[str, Any]:
    """Show the contracts, the broker and the windows. A buyer compares them with its own settings."""
    market = edge.market
    deployment = market.chain.deployment
    names = ("participants", "assets", "ledger", "settlement", "manager")
    return {
        "chain_id": str(deployment.chain_id),
        "contracts": {name: to_hex(getattr(deployment, name)) for name in names},
        "block": deployment.block,
        "broker": to_hex(market.chain.broker),
        "windows": market.settings.windows.to_json(),
        "manual_windows": market.settings.manual_windows.to_json(),
    }


# --- signing in ------------------------------------------------------------------------------------------


@router.post("/nonces", status_code=201, tags=["sign-in"])
def make_nonce(edge: TheEdge, call: TheCall) -> Response:
    """Give out a nonce for one sign-in message."""

    def work() -> tuple[int, Any]:
        nonce, expires_at = edge.sign_in.give_nonce(edge.now())
        return 201, {"nonce": nonce, "expires_at": time_text(expires_at)}

    return once(edge, call, None, work)


@router.post("/sessions", status_code=201, tags=["sign-in"], dependencies=[Depends(json_only)])
def make_session(edge: TheEdge, call: TheCall, body: SessionIn) -> dict[str, Any]:
    """Sign in with a signed EIP-4361 message; the token goes into `Authorization: Bearer`."""
    session = edge.sign_in.sign_in(
        body.message,
        bytes.fromhex(body.signature[2:]),
        key_hash=idempotency_key_hash(call),
        now_s=edge.now(),
    )
    return {
        "token": session.token,
        "address": to_hex(session.address),
        "expires_at": time_text(session.expires_at),
    }


@router.delete("/sessions/current", status_code=204, tags=["sign-in"])
def end_session(edge: TheEdge, call: TheCall) -> None:
    """Sign out: the token that is sent ends."""
    edge.sign_in.sign_out(bearer_of(call))


# --- participants ----------------------------------------------------------------------------------------


@router.post("/participants", status_code=201, tags=["market"], dependencies=[Depends(json_only)])
def name_participant(edge: TheEdge, call: TheCall, speaker: TheSpeaker, body: ParticipantIn) -> Response:
    """Choose the sender's display name. Admission itself is on the chain."""

    def work() -> tuple[int, Any]:
        return 201, participant_json(edge.market.participants.set_name(speaker.address, body.name))

    return once(edge, call, speaker, work)


@router.get("/participants", tags=["market"])
def list_participants(edge: TheEdge, page: ThePage) -> dict[str, Any]:
    """List participants in the order of their admission."""
    return page_json(edge.market.participants.page(page.after, page.limit), participant_json)


@router.get("/participants/{address}", tags=["market"])
def read_participant(edge: TheEdge, address: str) -> dict[str, Any]:
    """Show one participant."""
    return participant_json(edge.market.participants.get(address_from_hex(address)))


# --- assets and listings ---------------------------------------------------------------------------------


@router.get("/assets", tags=["market"])
def list_assets(edge: TheEdge, page: ThePage) -> dict[str, Any]:
    """List assets in the order in which they were shown first."""
    return page_json(edge.market.assets.page(page.after, page.limit), asset_json)


@router.get("/assets/{asset_id}", tags=["market"])
def read_asset(edge: TheEdge, asset_id: str) -> dict[str, Any]:
    """Show one asset."""
    return asset_json(edge.market.assets.get(digest_from_hex(asset_id)))


@router.get("/listings", tags=["market"])
def list_listings(edge: TheEdge, page: ThePage) -> dict[str, Any]:
    """List listings in the order in which they were made."""
    market = edge.market
    return page_json(market.listings.page(page.after, page.limit), lambda each: listing_json(market, each))


@router.get("/listings/{name_or_id}", tags=["market"])
def read_listing(edge: TheEdge, name_or_id: str) -> dict[str, Any]:
    """Show one listing, by its name or its id."""
    return listing_json(edge.market, edge.market.listings.get(name_or_id))
