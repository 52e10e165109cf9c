"""Requests that only some may make: a compact JWS of a department, the registrar or the operator over what is asked.

Header `{"alg","kid","typ":"licence-request+jwt"}`; payload JCS `{"act","arg","aud","iat","iss","jti"}`: what is asked with its
arguments (an object of strings), the log's origin, the time, who asks, and 16 random bytes. A request counts once, and for a minute.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from api.errors import LicenceRequestRejected
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import LicenceError
from ledger.licences.jws import parse_jws, sign_jws
from ledger.licences.keys import PublicKey, SigningKey

REQUEST_TYP: Final = "licence-request+jwt"
REQUEST_AGE_S: Final = 60
REQUEST_BYTES_MAX: Final = 16_384
_KEYS: Final = frozenset({"act", "arg", "aud", "iat", "iss", "jti"})

KeysOf = Callable[
    [str, str], PublicKey | None
]  # who asks, key id (b64u) -> the key that may speak for it now


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that verified. `issuer` is who asks; `request_id` the 16 bytes that make it one of its kind."""

    action: str
    arguments: Mapping[str, str]
    issuer: str
    request_id: bytes
    made_at: int

    def argument(self, name: str) -> str:
        """Return an argument.

        Raises:
            LicenceRequestRejected: it is not there.
        """
        if name not in self.arguments:
            raise LicenceRequestRejected("arguments", f"expected the argument {name!r}")
        return self.arguments[name]


def make_request(
    action: str,
    arguments: Mapping[str, str],
    *,
    origin: str,
    issuer: str,
    key: SigningKey,
    now_s: int,
    rand: bytes,
) -> str:
    """Return a signed request.

    Args:
        action: what is asked.
        arguments: of it.
        origin: of the log whose service is asked.
        issuer: who asks: `urn:shuyao:issuer:<USCC>`, `urn:shuyao:registrar:<origin>` or `urn:shuyao:service:<origin>`.
        key: of who asks.
        now_s: Unix seconds.
        rand: 16 random bytes.
    """
    payload = {
        "act": action,
        "arg": dict(arguments),
        "aud": origin,
        "iat": now_s,
        "iss": issuer,
        "jti": b64u(rand),
    }
    return sign_jws(REQUEST_TYP, payload, key)


def claimed_issuer(text: str) -> str:
    """Return who a request says that it is from, which proves nothing.

    Raises:
        LicenceRequestRejected: it is no request.
    """
    try:
        issuer = parse_jws(text, REQUEST_TYP, size_max=REQUEST_BYTES_MAX).payload.get("iss")
    except LicenceError as err:
        raise LicenceRequestRejected("signature", str(err)) from err
    if not isinstance(issuer, str):
        raise LicenceRequestRejected("issuer", "expected a text")
    return issuer


def verify_request(text: str, *, action: str, origin: str, now_s: int, keys_of: KeysOf) -> SignedRequest:
    """Verify a signed request.

    Args:
        text: the compact JWS.
        action: what the route does.
        origin: of the log of this service.
        now_s: Unix seconds.
        keys_of: finds the key that speaks for an issuer.

    Raises:
        LicenceRequestRejected: malformed, for another action or log, too old, by nobody who may ask, or forged.
    """
    try:
        jws = parse_jws(text, REQUEST_TYP, size_max=REQUEST_BYTES_MAX)
        request = _read(jws.payload, action, origin, now_s)
        key = keys_of(request.issuer, jws.kid)
        if key is None:
            raise LicenceRequestRejected("issuer", "expected a key that is active for the issuer")
        jws.verify(key)
    except LicenceError as err:
        raise LicenceRequestRejected("signature", str(err)) from err
    return request


def _read(payload: Mapping[str, object], action: str, origin: str, now_s: int) -> SignedRequest:
    if payload.keys() != _KEYS:
        raise LicenceRequestRejected("shape", f"expected the members {sorted(_KEYS)}")
    arguments, issuer, made_at = payload["arg"], payload["iss"], payload["iat"]
    if not isinstance(arguments, dict) or not all(isinstance(each, str) for each in arguments.values()):
        raise LicenceRequestRejected("arguments", "expected an object of strings")
    if not isinstance(issuer, str):
        raise LicenceRequestRejected("issuer", "expected a text")
    if payload["act"] != action:
        raise LicenceRequestRejected("action", f"expected {action!r}")
    if not isinstance(payload["aud"], str) or not hmac.compare_digest(
        payload["aud"].encode(), origin.encode()
    ):
        raise LicenceRequestRejected("audience", f"expected {origin!r}")
    if isinstance(made_at, bool) or not isinstance(made_at, int) or abs(now_s - made_at) > REQUEST_AGE_S:
        raise LicenceRequestRejected("time", f"expected a time within {REQUEST_AGE_S} s of now")
    return SignedRequest(action, arguments, issuer, parse_b64u(payload["jti"], "jti", 16), made_at)
