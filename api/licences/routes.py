"""Routes of departments, holders, verifiers, the registrar and the operator, but for the stream of events and the hot one."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from api.errors import LicenceRequestRejected, LineMalformed
from api.licences.models import CredentialIn, ErasureIn, HistoryIn, PresentationIn, RequestIn
from api.licences.service import TheService
from ledger.licences.encoding import TIME_MAX
from ledger.licences.leaf import NO_SLOT

SLOTS_MAX: Final = 65_536  # of one reservation
ListNumber = Annotated[int, Path(ge=0, lt=NO_SLOT)]
_BEARER: Final = "bearer "
_FRESH: Final = {"cache-control": "no-store"}
everybody = APIRouter(tags=["everybody"])
departments = APIRouter(tags=["departments"])
holders = APIRouter(tags=["holders"])
operations = APIRouter(tags=["operations"])


# --- everybody -------------------------------------------------------------------------------------------


@everybody.get("/city")
def read_city(service: TheService) -> dict[str, Any]:
    """Show the city as a verifier's policy names it. Compare it with what the city published elsewhere."""
    return service.settings.city()


@everybody.get("/status-lists/{number}", response_class=Response)
def read_status_list(
    service: TheService,
    request: Request,
    number: ListNumber,
    at: int | None = Query(None, ge=0, le=TIME_MAX, description="Unix seconds: the list as it was then."),
) -> Response:
    """Return a status list's token (or, for `Accept: application/vc+jwt`, its W3C form), now or as of a past time."""
    if "application/vc+jwt" in request.headers.get("accept", "") and at is None:
        return Response(service.bitstring(number), media_type="application/vc+jwt", headers=_FRESH)
    token = service.status_token(number, at)
    return Response(token, media_type="application/statuslist+jwt", headers=_FRESH)


@everybody.get("/status-lists/{number}/bitstring", response_class=Response)
def read_bitstring(service: TheService, number: ListNumber) -> Response:
    """Return a status list in the W3C form (BitstringStatusListCredential)."""
    return Response(service.bitstring(number), media_type="application/vc+jwt", headers=_FRESH)


@everybody.get("/issuers/{uscc}")
def read_issuer(service: TheService, uscc: str) -> dict[str, Any]:
    """Show an issuer's keys as the log has them, and its newest history signed by the registrar."""
    return service.issuer(uscc)


@everybody.get("/recognitions/{origin}")
def read_recognition(service: TheService, origin: str) -> dict[str, Any]:
    """Return the evidence that this city recognises another log: the member `recognition` of a bundle."""
    return service.recognition(origin)


@everybody.get("/anchors")
def read_anchors(service: TheService) -> dict[str, Any]:
    """List the newest heads on the chain."""
    return {"items": service.anchors()}


@everybody.post("/nonces", status_code=201)
def create_nonce(service: TheService) -> dict[str, Any]:
    """Give out a challenge for one presentation."""
    nonce, ends_at = service.nonces.give(secrets.token_bytes(16), service.now())
    return {"nonce": nonce, "expires_at": ends_at}


# --- departments and the registrar -----------------------------------------------------------------------


@departments.post("/slots", status_code=201)
def create_slots(service: TheService, body: RequestIn) -> dict[str, Any]:
    """Reserve status slots for licences that a department is about to sign (`reserve_slots`, argument `count`)."""
    asked = service.signed(body.request, "reserve_slots", is_once=False)
    count = _integer(asked.argument("count"), 1, SLOTS_MAX)
    return {"slots": service.reserve(asked, count)}


@departments.get("/licences")
def find_licences(service: TheService, request: Request, identifier: str) -> dict[str, Any]:
    """Find a department's own licences by their identifier (`find_licence`, as a bearer token). Not for strangers."""
    token = request.headers.get("authorization", "")
    if not token.lower().startswith(_BEARER):
        raise LicenceRequestRejected("signature", "expected a signed request as bearer token")
    asked = service.signed(token[len(_BEARER) :].strip(), "find_licence")
    if asked.argument("identifier") != identifier:
        raise LicenceRequestRejected("arguments", "expected the identifier of the query")
    return {"items": service.find(asked, identifier)}


@departments.post("/issuer-histories", status_code=201)
def create_history(service: TheService, body: HistoryIn) -> dict[str, Any]:
    """Publish an issuer's history, signed by the registrar."""
    return service.publish_history(body.history)


# --- holders and their issuers ---------------------------------------------------------------------------


@holders.post("/licences/bundles", response_class=Response)
def create_bundle(service: TheService, body: CredentialIn) -> Response:
    """Return everything that a verifier without a network needs for this credential."""
    made = service.bundle(body.credential, anchored=body.anchored)
    return Response(made, media_type="application/json", headers=_FRESH)


@holders.post("/licences/uses")
def list_uses(service: TheService, body: PresentationIn) -> dict[str, Any]:
    """List the uses of a licence to its holder, who presents it with audience `urn:shuyao:uses:<origin>` and our nonce."""
    return {"items": service.uses(body.presentation)}


@holders.post("/licences/erasures")
def erase_licence(service: TheService, body: ErasureIn) -> dict[str, Any]:
    """Destroy a credential, its salts, and the salts of its uses, on its holder's or its issuer's word."""
    if (body.presentation is None) == (body.request is None):
        raise LineMalformed("a presentation or a signed request, one of both")
    if body.presentation is not None:
        return service.erase_for_holder(body.presentation)
    return service.erase_for_issuer(service.signed(body.request or "", "erase"))


# --- the operator ----------------------------------------------------------------------------------------


@operations.post("/anchors", status_code=202)
def create_anchor(service: TheService, body: RequestIn) -> dict[str, Any]:
    """Anchor the newest cosigned head now (`anchor`, signed by the service's key)."""
    return service.anchor_now(service.signed(body.request, "anchor"))


@operations.get("/healthz")
def read_health(service: TheService, response: Response) -> dict[str, Any]:
    """Say whether the service works: 503 when it cannot, "degraded" while a duty fails: reading and logging go on."""
    health = service.health()
    if health["status"] == "down":
        response.status_code = 503
    return health


@operations.get("/metrics", response_class=Response)
def read_metrics(service: TheService) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise LineMalformed(f"an integer in [{low}, {high}]")
    return int(text)
