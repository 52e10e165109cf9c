"""The exchange as the buyer's machine sees it, over a transport in process."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import client.market
from client.errors import (
    Conflict,
    ExchangeFailed,
    ExchangeProblem,
    ExchangeReplyInvalid,
    ExchangeUnreachable,
    NotFound,
    QueryRejected,
    SignInRefused,
    TooManyRequests,
)
from client.market import Market
from client.types import RequestEvent
from ledger.http_auth import verify_http_signature
from ledger.signing import Signer
from ledger.types import Digest

BUYER = Signer(bytes(31) + b"\x07")
REQUEST = Digest(bytes(range(32)))
REQUEST_HEX = "0x" + REQUEST.hex()
Handler = Callable[[httpx.Request], httpx.Response]


def market(handler: Handler) -> Market:
    return Market("http://exchange.test", BUYER, transport=httpx.MockTransport(handler))


def replying(status: int = 200, **kwargs: Any) -> Market:
    return market(lambda request: httpx.Response(status, **kwargs))


def test_every_call_is_signed_with_target_and_body() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"id": "q"})

    market(handler).quote(
        listing="用电", sql="SELECT COUNT(*) FROM 用电", purpose=None, rho_micro=50_000, idempotency_key="k"
    )
    (request,) = seen
    signed_by = verify_http_signature(
        dict(request.headers), "POST", request.url.raw_path.decode(), request.content, time.time()
    )
    assert signed_by == BUYER.address
    assert request.headers["Idempotency-Key"] == "k"
    assert json.loads(request.content) == {
        "listing": "用电",
        "sql": "SELECT COUNT(*) FROM 用电",
        "rho_micro": "50000",
    }


def test_a_listing_name_cannot_change_the_route() -> None:
    paths: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(404)

    with pytest.raises(NotFound):
        market(handler).listing("../requests?x=1")
    assert paths == [b"/listings/..%2Frequests%3Fx%3D1"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ExchangeProblem),
        (401, SignInRefused),
        (403, SignInRefused),
        (404, NotFound),
        (409, Conflict),
        (422, QueryRejected),
        (429, TooManyRequests),
        (500, ExchangeFailed),
        (503, ExchangeFailed),
    ],
)
def test_an_error_status_has_its_named_error(status: int, error: type[ExchangeProblem]) -> None:
    problem = {"type": "/problems/x", "title": "No", "status": status, "detail": "because"}
    with pytest.raises(ExchangeProblem) as caught:
        replying(status, json=problem).request(REQUEST)
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.type, caught.value.detail) == (status, "/problems/x", "because")


def test_every_violation_is_reported_with_column_and_position() -> None:
    violations = [
        {"rule": "unknown-column", "message": "no column 'x'", "column": "x", "line": 1, "position": 8},
        {"rule": "query-too-deep", "message": "too deep", "column": None, "line": None, "position": None},
    ]
    with pytest.raises(QueryRejected) as caught:
        replying(422, json={"title": "Rejected", "violations": violations}).request(REQUEST)
    assert [violation.to_json() for violation in caught.value.violations] == violations
    assert "no column 'x' (line 1, position 8)" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'{"violations":[1]}'])
def test_an_error_without_a_problem_document_is_still_named(content: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="502"):
        replying(502, content=content).request(REQUEST)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"request_id":"0x1","state":"open"}'])
def test_a_reply_of_another_shape_is_refused(content: bytes) -> None:
    with pytest.raises(ExchangeReplyInvalid):
        replying(content=content).request(REQUEST)


def test_an_exchange_that_cannot_be_reached_is_named() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ExchangeUnreachable, match="GET /requests/0x"):
        market(handler).request(REQUEST)


def test_the_event_stream_resumes_after_the_last_event_seen() -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Last-Event-ID"))
        body = (
            ': hello\n\nid: 4\nevent: state\ndata: {"state":"sealed","at":"t"}\n\n'
            'event: other\ndata: x\n\nid: 5\nevent: state\ndata: {"state":"answered"}\n\n'
        )
        return httpx.Response(200, text=body, headers={"Content-Type": "text/event-stream; charset=utf-8"})

    events = list(market(handler).events(REQUEST, last_event_id="3"))
    assert events == [None, RequestEvent("4", "sealed", "t"), RequestEvent("5", "answered", "")]
    assert seen == ["3"]


def test_a_stream_of_another_type_is_refused() -> None:
    with pytest.raises(ExchangeReplyInvalid, match="event stream"):
        list(replying(json={}).events(REQUEST))


def test_an_event_that_is_no_json_is_refused() -> None:
    stream = replying(text="event: state\ndata: nothing\n\n", headers={"Content-Type": "text/event-stream"})
    with pytest.raises(ExchangeReplyInvalid):
        list(stream.events(REQUEST))


def test_a_refused_stream_has_the_named_error() -> None:
    with pytest.raises(NotFound):
        list(replying(404, json={"title": "No such request"}).events(REQUEST))


@pytest.mark.parametrize("piece", ["data: x", "data: x\n", "x" * 1000, ":\n"])
def test_an_event_without_end_is_cut_off_and_each_piece_is_a_sign_of_life(piece: str) -> None:
    pieces = (piece.encode() for _ in itertools.count())
    stream = replying(content=pieces, headers={"Content-Type": "text/event-stream"})
    signs = 0
    with pytest.raises(ExchangeReplyInvalid, match="an event longer"):
        for event in stream.events(REQUEST):
            assert event is None
            signs += 1
    assert signs >= (1 << 16) // len(piece) - 1


@pytest.mark.parametrize("size", [1, 2, 7])
def test_events_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    body = 'id: 4\r\nevent: state\r\ndata: {"state":"已封存","at":"t"}\r\n\r\n'.encode()
    pieces = (body[k : k + size] for k in range(0, len(body), size))
    stream = replying(content=pieces, headers={"Content-Type": "text/event-stream; charset=utf-8"})
    assert [event for event in stream.events(REQUEST) if event] == [RequestEvent("4", "已封存", "t")]


@pytest.mark.parametrize("status", [200, 404, 502])
def test_a_reply_without_end_is_cut_off(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.market, "_REPLY_BYTES_MAX", 1 << 20)
    endless = (bytes(1 << 16) for _ in itertools.count())
    with pytest.raises(ExchangeReplyInvalid, match="longer than"):
        replying(status, content=endless).answer(REQUEST)


def test_the_answer_comes_as_bytes() -> None:
    assert replying(content=bytes(40)).answer(REQUEST) == bytes(40)


def test_the_request_id_of_a_submission_is_the_exchanges() -> None:
    given = replying(202, json={"request_id": REQUEST_HEX, "state": "accepted"}).submit(
        plan_json=b"{}", request={}, signature=bytes(65), idempotency_key="k"
    )
    assert given == REQUEST


def test_the_private_key_is_in_no_message() -> None:
    bodies: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(str(request.url).encode() + str(request.headers.raw).encode() + request.content)
        return httpx.Response(202, json={"request_id": REQUEST_HEX})

    market(handler).submit(plan_json=b"{}", request={"a": "b"}, signature=bytes(65), idempotency_key="k")
    secret = BUYER.raw_private_key()
    assert all(secret not in body and secret.hex().encode() not in body for body in bodies)
