"""Machines that sign their HTTP requests, for tests."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
from fastapi.testclient import TestClient

from ledger.http_auth import sign_http
from ledger.signing import Signer

_counter = itertools.count(1)


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def fresh_key() -> str:
    """Return an Idempotency-Key that was never used."""
    return f"key-{next(_counter)}"


class Machine:
    """A participant's machine."""

    def __init__(self, client: TestClient, signer: Signer, clock: Clock) -> None:
        self.client, self.signer, self.clock = client, signer, clock

    def signed(self, method: str, target: str, body: bytes = b"", **changes: Any) -> dict[str, str]:
        """Return signature headers."""
        given = {"now_s": int(self.clock()), "nonce": next(_counter).to_bytes(16, "big"), **changes}
        return sign_http(self.signer, method, target, body, **given)

    def get(self, target: str, **headers: str) -> httpx.Response:
        """Send a signed GET."""
        found: httpx.Response = self.client.get(target, headers={**self.signed("GET", target), **headers})
        return found

    def post(
        self, target: str, value: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a signed POST of JSON."""
        body = json.dumps(value, ensure_ascii=False).encode()
        return self.post_bytes(target, body, key=key, kind="application/json", **headers)

    def post_bytes(
        self,
        target: str,
        body: bytes,
        *,
        key: str | None = None,
        kind: str = "application/octet-stream",
        **headers: str,
    ) -> httpx.Response:
        """Send a signed POST of bytes."""
        given = {
            "content-type": kind,
            "idempotency-key": key or fresh_key(),
            **self.signed("POST", target, body),
        }
        found: httpx.Response = self.client.post(target, content=body, headers={**given, **headers})
        return found


def problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Require a problem of this status and type, and return it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: dict[str, Any] = response.json()
    assert (response.status_code, found["type"]) == (status, f"urn:shuyao:problem:{kind}"), found
    assert set(found) == {"type", "title", "status", "detail", "instance", "violations"}
    assert found["status"] == status
    return found
