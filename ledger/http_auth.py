"""Signed HTTP requests of machines: four headers over method, target, time, nonce and body.

The signed digest is H("http"; keccak(method), keccak(target), timestamp, nonce, keccak(body)), target
being the path with its query as they stand on the request line. A verifier remembers the nonces of its
window.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Mapping
from typing import Final

import httpx

from ledger.encoding import U64_MAX, keccak, parse_decimal, parse_hex, tagged_hash
from ledger.errors import BadSignature, HttpSignatureRejected, MalformedValue
from ledger.signing import Signer, recover
from ledger.types import Address, Digest, to_hex

ADDRESS_HEADER: Final = "Shuyao-Address"
TIMESTAMP_HEADER: Final = "Shuyao-Timestamp"
NONCE_HEADER: Final = "Shuyao-Nonce"
SIGNATURE_HEADER: Final = "Shuyao-Signature"
NONCE_BYTES: Final = 16


def http_digest(method: str, target: str, timestamp: int, nonce: bytes, body: bytes) -> Digest:
    """Return the digest that a machine signs for one HTTP request.

    Args:
        method: as sent, upper case.
        target: path and query as sent, such as `/requests?limit=5`.
        timestamp: Unix seconds.
        nonce: 16 bytes, enters as an integer.
        body: the exact bytes.
    """
    return tagged_hash(
        "http",
        keccak(method.encode()),
        keccak(target.encode()),
        timestamp,
        int.from_bytes(nonce, "big"),
        keccak(body),
    )


def sign_http(
    signer: Signer, method: str, target: str, body: bytes, *, now_s: int, nonce: bytes
) -> dict[str, str]:
    """Return the four headers for one HTTP request."""
    signature = signer.sign(http_digest(method, target, now_s, nonce, body))
    return {
        ADDRESS_HEADER: to_hex(signer.address),
        TIMESTAMP_HEADER: str(now_s),
        NONCE_HEADER: nonce.hex(),
        SIGNATURE_HEADER: to_hex(signature),
    }


class SignedAuth(httpx.Auth):
    """Signs every request of an httpx client, each with a fresh nonce.

    Args:
        signer: the account that speaks.
        now_s: clock, Unix seconds.
    """

    requires_request_body = True

    def __init__(self, signer: Signer, *, now_s: Callable[[], float] = time.time) -> None:
        self._signer, self._now_s = signer, now_s

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the headers to one outgoing request."""
        target = request.url.raw_path.decode("ascii")
        request.headers.update(
            sign_http(
                self._signer,
                request.method,
                target,
                request.content,
                now_s=int(self._now_s()),
                nonce=secrets.token_bytes(NONCE_BYTES),
            )
        )
        yield request


def verify_http_signature(
    headers: Mapping[str, str], method: str, target: str, body: bytes, now_s: float, max_age_s: float = 60
) -> Address:
    """Return the account that signed this HTTP request.

    The nonce's uniqueness is the caller's to keep: see `http_nonce`.

    Raises:
        HttpSignatureRejected: a header missing or malformed, too old or too far ahead, or the signature is
            not by the account named.
    """
    given = _headers(headers)
    try:
        address = Address(parse_hex(given[ADDRESS_HEADER], ADDRESS_HEADER, 20))
        timestamp = parse_decimal(given[TIMESTAMP_HEADER], TIMESTAMP_HEADER, 0, U64_MAX)
        nonce = parse_hex("0x" + given[NONCE_HEADER], NONCE_HEADER, NONCE_BYTES)
        signature = parse_hex(given[SIGNATURE_HEADER], SIGNATURE_HEADER, 65)
    except MalformedValue as err:
        raise HttpSignatureRejected("header", str(err)) from err
    if abs(now_s - timestamp) > max_age_s:
        raise HttpSignatureRejected(
            "age", f"expected a timestamp within {max_age_s} s, got {now_s - timestamp:.0f} s"
        )
    try:
        actual = recover(http_digest(method, target, timestamp, nonce, body), signature)
    except BadSignature as err:
        raise HttpSignatureRejected("signature", str(err)) from err
    if actual != address:
        raise HttpSignatureRejected("signature", f"expected {to_hex(address)}, recovered {to_hex(actual)}")
    return address


def http_nonce(headers: Mapping[str, str]) -> bytes:
    """Return the nonce of a signed request; a verifier refuses one that it saw within the window.

    Raises:
        HttpSignatureRejected: the header is missing or malformed.
    """
    try:
        return parse_hex("0x" + _headers(headers)[NONCE_HEADER], NONCE_HEADER, NONCE_BYTES)
    except MalformedValue as err:
        raise HttpSignatureRejected("header", str(err)) from err


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    found = {}
    for name in (ADDRESS_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER):
        if name.lower() not in lower:
            raise HttpSignatureRejected("header", f"expected {name}, got none")
        found[name] = lower[name.lower()]
    return found
