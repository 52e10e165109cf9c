"""The exchange as a holder's node sees it: signed HTTP, retries with growing pauses, named errors.

Nothing that comes from here is believed: bodies are compared with the chain, frames with their hashes and signatures.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import quote

import httpx

from holder.errors import ExchangeMalformed, ExchangeMissing, ExchangeProblem, ExchangeUnreachable
from ledger.encoding import parse_hex, parse_json, printable
from ledger.errors import MalformedValue
from ledger.http_auth import SignedAuth
from ledger.signing import Signer
from ledger.types import Address, Digest, Request, address_from_hex, digest_from_hex, to_hex

REPLY_BYTES_MAX: Final = 1 << 28
SIGNATURE_BYTES: Final = 65
_TRIES: Final = 3
_PAUSE_S: Final = 0.2
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class PublishedRequest:
    """A request's body as the exchange hands it out."""

    request: Request
    signature: bytes
    plan: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The exchange's answer to a message: its hash and the broker's signature over the receipt digest."""

    message_hash: Digest
    receipt: bytes


class Exchange(Protocol):
    """What the state machine asks of the exchange."""

    def request(self, request_id: Digest) -> PublishedRequest:
        """Fetch a request's body and plan."""
        ...

    def post_message(self, request_id: Digest, frame: bytes) -> Acknowledgement:
        """Hand in a frame; the same bytes again give the same answer."""
        ...

    def bundles(self, request_id: Digest) -> bytes:
        """Fetch the peers' bundles of shares, frames one after another."""
        ...

    def join_parts(self, request_id: Digest, round_: int, first: int) -> bytes:
        """Fetch parts of a round of a private join, from one on, frames one after another: some, or none yet."""
        ...


class ExchangeClient:
    """One exchange over HTTP. Safe to share between threads.

    Args:
        base_url: the exchange's address, without a trailing slash.
        signer: the holder's account, which signs every call.
        timeout_s: for one exchange of messages.
        transport: another way to reach the exchange (in process, for one); None for the network.
        pause: sleeps between tries.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            auth=SignedAuth(signer),
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
        )
        self._pause = pause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- requests and messages ----------------------------------------------------------------------------

    def request(self, request_id: Digest) -> PublishedRequest:
        """Fetch a request's body and plan.

        Raises:
            ExchangeMissing: the exchange does not have it, perhaps not yet.
        """
        given = self._json("GET", f"/requests/{to_hex(request_id)}")
        try:
            plan = given["plan"]
            if not isinstance(plan, dict):
                raise ExchangeMalformed("expected a plan object")
            signature = parse_hex(given["signature"], "signature", SIGNATURE_BYTES)
            return PublishedRequest(Request.from_json(given["request"]), signature, plan)
        except (KeyError, TypeError, MalformedValue) as err:
            raise ExchangeMalformed("expected a request with plan and signature") from err

    def post_message(self, request_id: Digest, frame: bytes) -> Acknowledgement:
        """Hand in a frame; the same bytes again give the same answer.

        Raises:
            ExchangeProblem: 409 when other bytes of this kind were accepted before.
        """
        headers = {"Content-Type": "application/octet-stream"}
        target = f"/requests/{to_hex(request_id)}/messages"
        given = _read_json(self._send("POST", target, content=frame, headers=headers))
        try:
            receipt = parse_hex(given["receipt"], "receipt", SIGNATURE_BYTES)
            return Acknowledgement(digest_from_hex(given["message_hash"]), receipt)
        except (KeyError, TypeError, MalformedValue) as err:
            raise ExchangeMalformed("expected a message hash and a receipt") from err

    def bundles(self, request_id: Digest) -> bytes:
        """Fetch the peers' bundles of shares, frames one after another."""
        return self._send("GET", f"/requests/{to_hex(request_id)}/messages?kind=1").content

    def join_parts(self, request_id: Digest, round_: int, first: int) -> bytes:
        """Fetch parts of a round of a private join, from one on: some, or none yet."""
        target = f"/requests/{to_hex(request_id)}/messages?kind=4&round={round_}&part={first}"
        return self._send("GET", target).content

    # --- registration -------------------------------------------------------------------------------------

    def post_asset(self, asset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Publish an asset that is registered on the chain."""
        return self._json("POST", "/assets", body=asset)

    def listing(self, name_or_id: str) -> tuple[Digest, Address]:
        """Fetch a listing's id and broker.

        Raises:
            ExchangeMissing: there is none of this name or id.
        """
        given = self._json("GET", f"/listings/{quote(name_or_id, safe='')}")
        try:
            return digest_from_hex(given["id"]), address_from_hex(given["broker"])
        except (KeyError, TypeError, MalformedValue) as err:
            raise ExchangeMalformed("expected a listing with id and broker") from err

    # --- transport ----------------------------------------------------------------------------------------

    def _json(self, method: str, target: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _read_json(self._send(method, target, json=body))

    def _send(
        self,
        method: str,
        target: str,
        *,
        content: bytes | None = None,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        given = dict(headers or {})
        if method == "POST":
            given["Idempotency-Key"] = secrets.token_hex(16)  # one key for all tries of one call
        for attempt in range(1, _TRIES + 1):
            try:
                return self._once(method, target, content=content, json=json, headers=given)
            except (ExchangeUnreachable, ExchangeProblem) as err:
                if attempt == _TRIES or not _is_passing(err):
                    raise
            self._pause(_PAUSE_S * 2 ** (attempt - 1))
        raise ExchangeUnreachable("the exchange was not asked")

    def _once(self, method: str, target: str, **arguments: Any) -> httpx.Response:
        try:
            with self._http.stream(method, target, **arguments) as streamed:
                response = _read_reply(streamed)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
            raise ExchangeUnreachable(f"the exchange does not answer ({type(err).__name__})") from err
        except RuntimeError as err:
            raise ExchangeUnreachable("the client is closed") from err
        if not response.is_success:
            raise _problem(response)
        return response


def _read_reply(streamed: httpx.Response) -> httpx.Response:
    """Read a reply up to the limit: what an exchange sends packed may be endless once unpacked."""
    content = bytearray()
    for part in streamed.iter_bytes():
        content += part
        if len(content) > REPLY_BYTES_MAX:
            raise ExchangeMalformed(f"expected at most {REPLY_BYTES_MAX} bytes")
    return httpx.Response(streamed.status_code, content=bytes(content))


def _is_passing(error: Exception) -> bool:
    if isinstance(error, ExchangeProblem):
        return error.status == _TOO_MANY or error.status >= _SERVER_ERROR
    return True


def _read_json(response: httpx.Response) -> dict[str, Any]:
    try:
        given = parse_json(response.content)
    except MalformedValue as err:
        raise ExchangeMalformed("expected JSON") from err
    if not isinstance(given, dict):
        raise ExchangeMalformed("expected a JSON object")
    return given


def _problem(response: httpx.Response) -> ExchangeProblem:
    try:
        given = parse_json(response.content)
    except MalformedValue:
        given = {}
    problem = given if isinstance(given, dict) else {}
    kind = ExchangeMissing if response.status_code == _NOT_FOUND else ExchangeProblem
    return kind(
        status=response.status_code,
        kind=printable(problem.get("type", "about:blank"))[:200],
        title=printable(problem.get("title") or response.reason_phrase)[:200],
        detail=printable(problem.get("detail") or "")[:500],
    )
