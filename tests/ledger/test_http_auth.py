"""Signed HTTP requests of machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from ledger.encoding import keccak
from ledger.errors import HttpSignatureRejected
from ledger.http_auth import (
    ADDRESS_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignedAuth,
    http_nonce,
    sign_http,
    verify_http_signature,
)
from ledger.signing import Signer

SIGNER = Signer(keccak(b"machine"))
NOW = 1_800_000_000
TARGET = "/requests/0xab/messages?kind=1&q=%E6%95%B0"
HEADERS = sign_http(SIGNER, "POST", TARGET, b"body", now_s=NOW, nonce=bytes(range(16)))


def verify(headers: Mapping[str, str] = HEADERS, method: str = "POST", target: str = TARGET, body: bytes = b"body",
           now_s: float = NOW) -> bytes:  # fmt: skip
    return verify_http_signature(headers, method, target, body, now_s)


def test_signed_request_names_its_signer() -> None:
    assert verify() == SIGNER.address
    assert verify({name.lower(): value for name, value in HEADERS.items()}) == SIGNER.address
    assert verify(now_s=NOW + 60) == verify(now_s=NOW - 60) == SIGNER.address
    assert http_nonce(HEADERS) == bytes(range(16))


def test_other_method_target_or_body_is_rejected() -> None:
    others: list[dict[str, Any]] = [
        {"method": "PUT"},
        {"target": TARGET + "&"},
        {"body": b"Body"},
        {"body": b""},
    ]
    for changed in [*others, {"target": "/requests/0xab/messages?kind=1&q=数"}]:
        with pytest.raises(HttpSignatureRejected, match="signature"):
            verify(**changed)


def test_old_or_early_request_is_rejected() -> None:
    for now_s in (NOW + 61, NOW - 61):
        with pytest.raises(HttpSignatureRejected, match="age"):
            verify(now_s=now_s)


@pytest.mark.parametrize("name", [ADDRESS_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER])
@pytest.mark.parametrize(
    "value", [None, "", "0x", "zz", "-1", "0x" + "0" * 40, "1.5", "0" * 31, "0x" + "00" * 65]
)
def test_missing_or_malformed_header_is_rejected(name: str, value: str | None) -> None:
    headers = {**HEADERS, name: value}
    with pytest.raises(HttpSignatureRejected):
        verify({key: given for key, given in headers.items() if given is not None})


def test_upper_case_hex_is_rejected() -> None:
    with pytest.raises(HttpSignatureRejected, match="header"):
        verify({**HEADERS, ADDRESS_HEADER: HEADERS[ADDRESS_HEADER].upper().replace("0X", "0x")})


def test_client_signs_what_it_sends_and_each_request_anew() -> None:
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    auth = SignedAuth(SIGNER, now_s=lambda: NOW + 0.7)
    with httpx.Client(
        transport=httpx.MockTransport(serve), auth=auth, base_url="http://exchange/api"
    ) as client:
        client.post("/requests", params={"名": "数 钥"}, json={"a": [1, 2]})
        client.post("/requests", content=iter([b"stream", b"ed"]))
        client.get("/assets")
    nonces = set()
    for request in seen:
        target = request.url.raw_path.decode()
        assert (
            verify_http_signature(request.headers, request.method, target, request.content, NOW)
            == SIGNER.address
        )
        nonces.add(http_nonce(request.headers))
    assert len(nonces) == 3
