"""Routes of departments, holders, verifiers, the registrar and the operator, but for the stream of events and the hot one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request, Response

from api.errors import LicenceRequestRejected, LineMalformed, NotPublished
from api.licences.models import CredentialIn, ErasureIn, HistoryIn, PresentationIn, RequestIn
from api.licences.once import DOCUMENTED, claimed_licence
from api.licences.routes_events import NDJSON, LineStream
from api.licences.routes_log import FOR_EVER
from api.licences.service import LicenceService, TheService
from api.licences.signed import SignedRequest, claimed_issuer
from api.once import Call, TheCall
from ledger.licences.encoding import TIME_MAX
from ledger.licences.events import registrar_urn
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
    """Return a status list's token now or as of a past time; for `Accept: application/vc+jwt` the W3C form, of now only."""
    if "application/vc+jwt" in request.headers.get("accept", ""):
        if at is not None:
            raise NotPublished("the W3C form of a list at a past time")
        return Response(service.bitstring(number), media_type="application/vc+jwt", headers=_FRESH)
    token = service.status_token(number, at)
    return Response(token, media_type="application/statuslist+jwt", headers=_FRESH)


@everybody.get("/status-lists/{number}/bitstring", response_class=Response)
def read_bitstring(service: TheService, number: ListNumber) -> Response:
    """Return a status list in the W3C form (BitstringStatusListCredential)."""
    return Response(service.bitstring(number), media_type="application/vc+jwt", headers=_FRESH)


@everybody.get("/status-tokens/{digest}", response_class=Response)
def read_published_token(
    service: TheService, digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """Return a status token that was ever published, by its SHA-256: the evidence of its leaf, by which a reader of the log asks."""
    token = service.published_token(bytes.fromhex(digest))
    return Response(token, media_type="application/statuslist+jwt", headers={"cache-control": FOR_EVER})


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


@departments.post("/slots", status_code=201, response_class=Response, openapi_extra=DOCUMENTED)
def create_slots(service: TheService, call: TheCall, body: RequestIn) -> Response:
    """Reserve status slots for licences that a department is about to sign (`reserve_slots`, argument `count`)."""

    def work(asked: SignedRequest) -> tuple[int, Any]:
        count = _integer(asked.argument("count"), 1, SLOTS_MAX)
        return 201, {"slots": service.reserve(asked, count)}

    return _once_signed(service, call, body.request, "reserve_slots", work)


@departments.get("/licences")
def find_licences(
    service: TheService, request: Request, response: Response, identifier: str
) -> dict[str, Any]:
    """Find a department's own licences by their identifier (`find_licence`, as a bearer token). Not for strangers."""
    response.headers.update(_FRESH)
    asked = _bearer_request(service, request, "find_licence", "identifier", identifier)
    return {"items": service.find(asked, identifier)}


@departments.get("/licences/export", response_class=Response)
async def export_licences(
    service: TheService, request: Request, first: Annotated[str, Query(alias="from")] = "0"
) -> LineStream:
    """Export a department's own licences with their credentials, a part of the log at a time (`export_licences`, as a bearer token).

    Lines `{"index","leaf","status","credential"}`; the last one is `{"next","size"}`, and an answer without it broke off.
    """
    asked = await run_sync(_bearer_request, service, request, "export_licences", "from", first)
    part = service.own.part(asked, first)
    return LineStream(_pieces(part), NDJSON, _FRESH)


@departments.get("/licences/{lic}")
def fetch_credential(
    service: TheService,
    request: Request,
    response: Response,
    lic: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
) -> dict[str, Any]:
    """Return the credential of a department's own licence by its leaf hash (`fetch_credential`, as a bearer token)."""
    response.headers.update(_FRESH)
    asked = _bearer_request(service, request, "fetch_credential", "lic", lic)
    return service.own.fetch(asked, lic)


@departments.post("/issuer-histories", status_code=201, response_class=Response, openapi_extra=DOCUMENTED)
def create_history(service: TheService, call: TheCall, body: HistoryIn) -> Response:
    """Publish an issuer's history, signed by the registrar."""
    return service.answers.once(
        call,
        registrar_urn(service.origin),
        prove=lambda: service.signed_history(body.history),
        work=lambda _history: (201, service.publish_history(body.history)),
    )


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


@holders.post("/licences/erasures", response_class=Response, openapi_extra=DOCUMENTED)
def erase_licence(service: TheService, call: TheCall, body: ErasureIn) -> Response:
    """Destroy a credential, its salts, and the salts of its uses, on its holder's or its issuer's word."""
    if (body.presentation is None) == (body.request is None):
        raise LineMalformed("a presentation or a signed request, one of both")
    if body.presentation is None:
        work = service.erase_for_issuer
        return _once_signed(service, call, body.request or "", "erase", lambda asked: (200, work(asked)))
    shown = body.presentation
    return service.answers.once(
        call,
        claimed_licence(shown),
        prove=lambda: service.shown_for_erasure(shown),
        work=lambda proved: (200, service.erase_for_holder(proved)),
    )


# --- the operator ----------------------------------------------------------------------------------------


@operations.post("/anchors", status_code=202, response_class=Response, openapi_extra=DOCUMENTED)
def create_anchor(service: TheService, call: TheCall, body: RequestIn) -> Response:
    """Anchor the newest cosigned head now (`anchor`, signed by the service's key)."""
    return _once_signed(service, call, body.request, "anchor", lambda asked: (202, service.anchor_now(asked)))


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


def _bearer_request(
    service: LicenceService, request: Request, action: str, name: str, value: str
) -> SignedRequest:
    """Use the signed request in a GET's bearer token up; one argument of it repeats what the address says.

    Raises:
        LicenceRequestRejected: there is none, it does not verify, was made before, or asks something else than the address.
    """
    token = request.headers.get("authorization", "")
    if not token.lower().startswith(_BEARER):
        raise LicenceRequestRejected("signature", "expected a signed request as bearer token")
    asked = service.signed(token[len(_BEARER) :].strip(), action)
    service.require_new(asked)
    if asked.argument(name) != value:
        raise LicenceRequestRejected("arguments", f"expected the {name} of the address")
    return asked


async def _pieces(part: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Take the pieces of an answer one by one, each in a thread."""
    while (piece := await run_sync(next, part, None)) is not None:
        if piece:
            yield piece


def _once_signed(
    service: LicenceService,
    call: Call,
    text: str,
    action: str,
    work: Callable[[SignedRequest], tuple[int, Any]],
) -> Response:
    """Answer a POST of a signed request once for who signed it."""
    return service.answers.once(
        call, claimed_issuer(text), prove=lambda: service.signed(text, action), work=work
    )


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise LineMalformed(f"an integer in [{low}, {high}]")
    return int(text)
