"""Who speaks, what they sent, and answering each POST once: the dependencies that every route shares."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from api.errors import CredentialsMissing, MediaTypeUnsupported
from api.once import Call, TheCall, finished, response_of
from api.signin import SignIn
from api.store import EdgeStore, HttpNonce
from exchange.market import Market
from exchange.store import decode_cursor, encode_cursor
from exchange.types import Page
from ledger.http_auth import SIGNATURE_HEADER, http_nonce, verify_http_signature
from ledger.types import Address

PAGE_DEFAULT: Final = 50


class Edge:
    """The HTTP edge of one market."""

    def __init__(self, market: Market, *, now_s: Callable[[], float] = time.time) -> None:
        self.market, self.now_s = market, now_s
        self.store = EdgeStore(market.engine)
        self.sign_in = SignIn(market.settings, self.store)
        self.owner = secrets.token_hex(8)
        market.add_chore(lambda: self.store.forget_expired(int(now_s())))

    def now(self) -> int:
        """Return the time in whole Unix seconds."""
        return int(self.now_s())


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: an account, proved by a signature or a session. `nonce` is that of a signed POST."""

    address: Address
    nonce: HttpNonce | None = None


def edge_of(request: Request) -> Edge:
    """Return the edge of the application that a request came to."""
    edge: Edge = request.app.state.edge
    return edge


TheEdge = Annotated[Edge, Depends(edge_of)]


def speaker_of(edge: TheEdge, call: TheCall) -> Speaker:
    """Return who speaks. The nonce of a signed POST is used up when the POST is answered (`once`).

    Raises:
        CredentialsMissing, SessionInvalid, HttpSignatureRejected
    """
    if SIGNATURE_HEADER.lower() in call.headers:
        max_age_s = edge.market.settings.signature_age_s
        address = verify_http_signature(
            call.headers, call.method, call.target, call.body, edge.now_s(), max_age_s
        )
        if call.method != "POST":
            return Speaker(address)
        expires_at = edge.now() + 2 * max_age_s + 1  # a timestamp may lie as far ahead as behind
        return Speaker(address, HttpNonce(address, http_nonce(call.headers), expires_at))
    return Speaker(edge.sign_in.address_of(bearer_of(call), edge.now()))


def bearer_of(call: Call) -> str:
    """Return the bearer token of a request.

    Raises:
        CredentialsMissing: there is none.
    """
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise CredentialsMissing
    return token.strip()


TheSpeaker = Annotated[Speaker, Depends(speaker_of)]


def json_only(request: Request) -> None:
    """Refuse a body that is not JSON."""
    _require_type(request, "application/json")


def octets_only(request: Request) -> None:
    """Refuse a body that is not plain bytes."""
    _require_type(request, "application/octet-stream")


def once(edge: Edge, call: Call, speaker: Speaker | None, work: Callable[[], tuple[int, Any]]) -> Response:
    """Answer a POST once for each sender and Idempotency-Key, and the same again at every repetition.

    A POST that fails is forgotten: the same key may be used to try it again.

    Args:
        edge: the edge.
        call: the POST.
        speaker: who sent it; None for the one POST that needs nobody.
        work: does it, and returns status and JSON body.

    Raises:
        IdempotencyKeyInvalid, IdempotencyConflict, IdempotencyInProgress, RequestReplayed
    """
    this = call.once(b"" if speaker is None else bytes(speaker.address), owner=edge.owner, now_s=edge.now())
    known = edge.store.begin(this, None if speaker is None else speaker.nonce)
    return finished(edge.store, this, work) if known is None else response_of(known)


def page_json(page: Page[Any], show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return one page of a list as JSON, with the cursor of the next one."""
    return {"items": [show(item) for item in page.items], "next": encode_cursor(page.after)}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page of a list is asked for."""

    after: int
    limit: int


def page_query(cursor: str | None = None, limit: int = PAGE_DEFAULT) -> PageQuery:
    """Read `cursor` and `limit` of a list's query.

    Raises:
        CursorInvalid: the cursor is not one of ours.
    """
    return PageQuery(decode_cursor(cursor), max(1, min(limit, 200)))


ThePage = Annotated[PageQuery, Depends(page_query)]


def _require_type(request: Request, expected: str) -> None:
    actual = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if actual != expected:
        raise MediaTypeUnsupported(expected)
