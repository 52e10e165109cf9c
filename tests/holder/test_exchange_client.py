"""The exchange over HTTP: signed, tried again, never believed, every failure named."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from holder.errors import ExchangeMalformed, ExchangeMissing, ExchangeProblem, ExchangeUnreachable
from holder.exchange_client import ExchangeClient
from ledger.encoding import keccak
from ledger.http_auth import verify_http_signature
from ledger.signing import Signer
from ledger.types import Digest, to_hex
from tests.holder.store_world import request_for

SIGNER = Signer(keccak(b"exchange client"))
ID = Digest(bytes([7]) * 32)
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, pauses: list[float] | None = None) -> ExchangeClient:
    transport = httpx.MockTransport(handler)
    pause = (lambda _: None) if pauses is None else pauses.append
    return ExchangeClient("http://exchange", SIGNER, transport=transport, pause=pause)


def test_every_call_is_signed_over_method_path_query_and_body() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        now = int(request.headers["Shuyao-Timestamp"])
        signer = verify_http_signature(request.headers, request.method, target, request.content, now)
        seen.append((request.method, target, signer))
        return httpx.Response(200, content=b"frames")

    assert client_of(handler).bundles(ID) == b"frames"
    assert seen == [("GET", f"/requests/{to_hex(ID)}/messages?kind=1", SIGNER.address)]


def test_a_message_goes_out_as_it_is_with_one_idempotency_key_for_all_tries() -> None:
    seen, pauses = [], list[float]()

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["Idempotency-Key"], request.headers["Content-Type"], request.content))
        if len(seen) < 3:
            return httpx.Response(503)
        receipt = {"message_hash": to_hex(ID), "receipt": to_hex(bytes(65))}
        return httpx.Response(201, json=receipt)

    given = client_of(handler, pauses).post_message(ID, b"frame")
    assert (given.message_hash, given.receipt) == (ID, bytes(65))
    assert len(set(seen)) == 1 and seen[0][1:] == ("application/octet-stream", b"frame")
    assert pauses == [0.2, 0.4]


def test_a_refusal_is_not_tried_again_and_keeps_its_kind() -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        problem = {
            "type": "urn:shuyao:problem:message-conflict",
            "title": "Conflict",
            "detail": "other bytes",
        }
        return httpx.Response(409, json=problem)

    with pytest.raises(ExchangeProblem) as caught:
        client_of(handler).post_message(ID, b"frame")
    assert caught.value.kind.endswith("message-conflict") and caught.value.status == 409
    assert len(calls) == 1


@pytest.mark.parametrize("status", [404, 500, 429])
def test_statuses_have_their_errors(status: int) -> None:
    with pytest.raises(ExchangeProblem) as caught:
        client_of(lambda _: httpx.Response(status, content=b"not json")).request(ID)
    assert isinstance(caught.value, ExchangeMissing) == (status == 404)


def test_an_exchange_that_does_not_answer_is_unreachable() -> None:
    tries = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        raise httpx.ConnectError("refused")

    with pytest.raises(ExchangeUnreachable):
        client_of(handler).request(ID)
    assert len(tries) == 3


def test_a_published_request_is_read_strictly() -> None:
    request = request_for(1)
    body = {"request": request.to_json(), "signature": to_hex(bytes(65)), "plan": {"version": "1"}}
    found = client_of(lambda _: httpx.Response(200, json=body)).request(ID)
    assert (found.request, found.signature, found.plan) == (request, bytes(65), {"version": "1"})


@pytest.mark.parametrize(
    "change",
    [{"signature": "0x00"}, {"plan": "text"}, {"request": {}}, {"signature": None}],
    ids=["short signature", "no plan", "empty request", "no signature"],
)
def test_a_malformed_body_is_a_named_error(change: dict[str, object]) -> None:
    body = {"request": request_for(1).to_json(), "signature": to_hex(bytes(65)), "plan": {}} | change
    with pytest.raises(ExchangeMalformed):
        client_of(lambda _: httpx.Response(200, json=body)).request(ID)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"message_hash": "0x"}', b"\xff"])
def test_a_malformed_acknowledgement_is_a_named_error(content: bytes) -> None:
    with pytest.raises(ExchangeMalformed):
        client_of(lambda _: httpx.Response(200, content=content)).post_message(ID, b"x")


def test_chinese_listing_names_stay_one_path_segment() -> None:
    paths = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        body = {"id": to_hex(bytes(32)), "broker": to_hex(bytes(20))}
        return httpx.Response(200, content=json.dumps(body).encode())

    client_of(handler).listing("用电/x")
    assert paths == [b"/listings/%E7%94%A8%E7%94%B5%2Fx"]


def test_parts_of_a_join_are_asked_for_by_round_and_first_part() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(200, content=b"frames")

    assert client_of(handler).join_parts(ID, 2, 16) == b"frames"
    assert seen == [f"/requests/{to_hex(ID)}/messages?kind=4&round=2&part=16"]
