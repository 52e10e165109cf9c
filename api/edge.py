"""Who speaks, what they sent, and answering each POST once: the dependencies that every route shares."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from api.errors import CredentialsMissing, MediaTypeUnsupported
from api.signin import SignIn
from api.store import EdgeStore, HttpNonce, Once, StoredAnswer
from exchange.errors import IdempotencyKeyInvalid
from exchange.market import Market
from exchange.store import decode_cursor, encode_cursor
from exchange.types import Page
from ledger.http_auth import SIGNATURE_HEADER, http_nonce, verify_http_signature
from ledger.types import Address

PAGE_DEFAULT: Final = 50
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


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
class Call:
    """One HTTP request as it came: its target is the path with its query, as on the request line."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: an account, proved by a signature or a session. `nonce` is that of a signed POST."""

    address: Address
    nonce: HttpNonce | None = None


def edge_of(request: Request) -> Edge:
    """Return the edge of the application that a request came to."""
    edge: Edge = request.app.state.edge
    return edge


async def call_of(request: Request) -> Call:
    """Read the request in full."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope["query_string"]
    target = path.decode("latin-1") + ("?" + query.decode("latin-1") if query else "")
    return Call(request.method, target, request.headers, await request.body())


TheEdge = Annotated[Edge, Depends(edge_of)]
TheCall = Annotated[Call, Depends(call_of)]


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
    this = Once(
        scope=b"" if speaker is None else bytes(speaker.address),
        key_hash=idempotency_key_hash(call),
        body_hash=_hash(call.method.encode(), call.target.encode(), call.body),
        owner=edge.owner,
        now_s=edge.now(),
    )
    known = edge.store.begin(this, None if speaker is None else speaker.nonce)
    if known is not None:
        return _json_response(known.status, known.body)
    try:
        status, body = work()
        answer = StoredAnswer(status, json.dumps(body, ensure_ascii=False).encode())
    except BaseException:
        edge.store.give_up(this)
        raise
    edge.store.finish(this, answer)
    return _json_response(answer.status, answer.body)


def idempotency_key_hash(call: Call) -> bytes:
    """Return the hash of a POST's Idempotency-Key.

    Raises:
        IdempotencyKeyInvalid: the header is missing or malformed.
    """
    key = call.headers.get("idempotency-key")
    if key is None or not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalid("none" if key is None else f"{len(key)} characters")
    return hashlib.sha256(key.encode()).digest()


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


def _json_response(status: int, body: bytes) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
