"""The exchange as the buyer's machine sees it: signed HTTP, named errors, event streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx

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
from client.events import KEEP_ALIVE, ServerEvent, parse_events
from client.types import (
    ListedAsset,
    Listing,
    MarketDeployment,
    RequestEvent,
    RequestView,
    Transaction,
)
from ledger.encoding import parse_hex, parse_json, printable
from ledger.errors import MalformedValue
from ledger.http_auth import SignedAuth
from ledger.signing import Signer
from ledger.types import Deployment, Digest, address_from_hex, digest_from_hex, to_hex
from privacy.types import Violation

T = TypeVar("T")

_PROBLEMS: Final[Mapping[int, type[ExchangeProblem]]] = {
    401: SignInRefused,
    403: SignInRefused,
    404: NotFound,
    409: Conflict,
    422: QueryRejected,
    429: TooManyRequests,
}
_REPLY_BYTES_MAX: Final = 1 << 26
_STREAM_SILENCE_S: Final = 60.0  # the exchange sends a comment far more often
_EVENT_CHARS_MAX: Final = 1 << 16


class Market:
    """One exchange. Every call is signed with the buyer's account key, which never leaves the signer.

    Args:
        base_url: the exchange's address, without a trailing slash.
        signer: the buyer's account.
        timeout_s: for one exchange of messages.
        transport: another way to reach the exchange (in process, for one); None for the network.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        *,
        timeout_s: float = 15.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            base_url=base_url, auth=SignedAuth(signer), timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def deployment(self) -> MarketDeployment:
        """Ask which contracts and broker the exchange uses."""
        return self._read("GET /deployment", self._json("GET", "/deployment"), _read_deployment)

    def listing(self, name_or_id: str) -> Listing:
        """Ask for one listing with its policy and assets."""
        target = f"/listings/{_path_segment(name_or_id)}"
        return self._read(target, self._json("GET", target), _read_listing)

    def quote(
        self,
        *,
        listing: str,
        sql: str,
        purpose: str | None,
        rho_micro: int | None,
        idempotency_key: str,
        asked: Any = None,
    ) -> Mapping[str, Any]:
        """Ask for a quote and return it as it came: the caller derives every field itself.

        `asked` is what the listing's kind of plans takes from the buyer besides, None for plain sums.
        """
        body: dict[str, Any] = {"listing": listing, "sql": sql}
        if asked is not None:
            body["asked"] = asked
        if purpose is not None:
            body["purpose"] = purpose
        if rho_micro is not None:
            body["rho_micro"] = str(rho_micro)
        reply = self._json("POST", "/quotes", body=body, idempotency_key=idempotency_key)
        return self._read("POST /quotes", reply, _require_object)

    def submit(
        self, *, plan_json: bytes, request: Mapping[str, str], signature: bytes, idempotency_key: str
    ) -> Digest:
        """Hand in a signed request.

        Returns:
            The request id that the exchange computed.
        """
        body = {"plan": json.loads(plan_json), "request": dict(request), "signature": to_hex(signature)}
        reply = self._json("POST", "/requests", body=body, idempotency_key=idempotency_key)
        return self._read("POST /requests", reply, lambda value: digest_from_hex(value["request_id"]))

    def request(self, request_id: Digest) -> RequestView:
        """Ask where a request stands."""
        target = f"/requests/{to_hex(request_id)}"
        return self._read(target, self._json("GET", target), _read_request)

    def events(self, request_id: Digest, *, last_event_id: str = "") -> Iterator[RequestEvent | None]:
        """Follow a request's progress until the exchange ends the stream; None is a sign of life.

        Args:
            last_event_id: the last event already seen, "" for all from the start.
        """
        target = f"/requests/{to_hex(request_id)}/events"
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = httpx.Timeout(self._timeout_s, read=_STREAM_SILENCE_S)
        with (
            _reachable(target),
            self._client.stream("GET", target, headers=headers, timeout=timeout) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _problem(_read_reply(target, response))
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise ExchangeReplyInvalid(target, "expected an event stream")
            for event in parse_events(_lines(target, response)):
                if event.name == KEEP_ALIVE:
                    yield None
                elif event.name == "state":
                    yield self._read(target, event, _read_event)

    def answer(self, request_id: Digest) -> bytes:
        """Fetch the masked answer Y: d cells of 8 bytes and the Z_q lane."""
        return self._send("GET", f"/requests/{to_hex(request_id)}/answer").content

    def messages(self, request_id: Digest, kind: int) -> bytes:
        """Fetch the frames of one kind of an answer over an encrypted deposit, one after another."""
        return self._send("GET", f"/requests/{to_hex(request_id)}/messages?kind={int(kind)}").content

    def accept(self, request_id: Digest, *, signature: bytes, idempotency_key: str) -> None:
        """Hand in the buyer's acceptance, which releases the payment."""
        target = f"/requests/{to_hex(request_id)}/acceptances"
        self._send("POST", target, body={"signature": to_hex(signature)}, idempotency_key=idempotency_key)

    def _json(
        self, method: str, target: str, *, body: Mapping[str, Any] | None = None, idempotency_key: str = ""
    ) -> Any:
        response = self._send(method, target, body=body, idempotency_key=idempotency_key)
        try:
            return parse_json(response.content)
        except MalformedValue as err:
            raise ExchangeReplyInvalid(f"{method} {target}", "expected JSON") from err

    def _send(
        self, method: str, target: str, *, body: Mapping[str, Any] | None = None, idempotency_key: str = ""
    ) -> httpx.Response:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        name = f"{method} {target}"
        with (
            _reachable(name),
            self._client.stream(method, target, json=body, headers=headers) as streamed,
        ):
            response = _read_reply(name, streamed)
        if response.is_success:
            return response
        raise _problem(response)

    @staticmethod
    def _read(target: str, value: Any, read: Callable[[Any], T]) -> T:
        try:
            return read(value)
        except (KeyError, TypeError, ValueError, OverflowError, MalformedValue) as err:
            raise ExchangeReplyInvalid(target, f"{type(err).__name__}: {err}") from err


@contextmanager
def _reachable(target: str) -> Iterator[None]:
    """Turn the transport's failures into the one that callers may repeat."""
    try:
        yield
    except httpx.TransportError as err:
        raise ExchangeUnreachable(target, f"{type(err).__name__}: {err}") from err
    except (httpx.InvalidURL, httpx.StreamError, httpx.DecodingError) as err:
        raise ExchangeReplyInvalid(target, type(err).__name__) from err


def _read_reply(target: str, streamed: httpx.Response) -> httpx.Response:
    """Read a reply up to a limit: what an exchange sends may have no end, and be larger unpacked than packed."""
    content = bytearray()
    for part in streamed.iter_bytes():
        content += part
        if len(content) > _REPLY_BYTES_MAX:
            raise ExchangeReplyInvalid(target, f"longer than {_REPLY_BYTES_MAX} bytes")
    return httpx.Response(streamed.status_code, content=bytes(content))


def _lines(target: str, streamed: httpx.Response) -> Iterator[str]:
    """Cut a stream into lines; a piece that ends no event counts as a sign of life, and no event is without end."""
    rest, held = "", 0
    for part in streamed.iter_text():
        *lines, rest = (rest + part).split("\n")
        for line in lines:
            text = line.removesuffix("\r")
            held = held + len(text) if text else 0
            yield text
        if held + len(rest) > _EVENT_CHARS_MAX:
            raise ExchangeReplyInvalid(target, f"an event longer than {_EVENT_CHARS_MAX} characters")
        if held or rest:
            yield ":"


def _path_segment(text: str) -> str:
    """Quote a listing's name for a path: Chinese names work, a slash does not change the route."""
    return quote(text, safe="")


def _problem(response: httpx.Response) -> ExchangeProblem:
    """Read a problem document; anything else with an error status becomes a problem without details."""
    status = response.status_code
    try:
        given = parse_json(response.content)
    except MalformedValue:
        given = {}
    problem = given if isinstance(given, dict) else {}
    violations = problem.get("violations")
    kind = (
        ExchangeFailed
        if status >= httpx.codes.INTERNAL_SERVER_ERROR
        else _PROBLEMS.get(status, ExchangeProblem)
    )
    return kind(
        status=status,
        type_=printable(problem.get("type", "about:blank")),
        title=printable(problem.get("title") or response.reason_phrase or f"status {status}"),
        detail=printable(problem.get("detail") or ""),
        violations=tuple(map(_read_violation, violations)) if isinstance(violations, list) else (),
    )


def _read_violation(value: Any) -> Violation:
    given = value if isinstance(value, dict) else {}
    column, line, position = given.get("column"), given.get("line"), given.get("position")
    return Violation(
        rule=printable(given.get("rule", "unknown")),
        message=printable(given.get("message", "")),
        column=None if column is None else printable(column),
        line=line if isinstance(line, int) else None,
        position=position if isinstance(position, int) else None,
    )


def _require_object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def _read_deployment(value: Any) -> MarketDeployment:
    contracts = _require_object(value["contracts"])
    return MarketDeployment(
        deployment=Deployment(
            chain_id=int(value["chain_id"]),
            participants=address_from_hex(contracts["participants"]),
            assets=address_from_hex(contracts["assets"]),
            ledger=address_from_hex(contracts["ledger"]),
            settlement=address_from_hex(contracts["settlement"]),
            manager=address_from_hex(contracts["manager"]),
            block=int(value["block"]),
        ),
        broker=address_from_hex(value["broker"]),
    )


def _read_listing(value: Any) -> Listing:
    return Listing(
        listing_id=digest_from_hex(value["id"]),
        name=str(value["name"]),
        title=str(value.get("title") or value["name"]),
        broker=address_from_hex(value["broker"]),
        policy=_require_object(value["policy"]),
        policy_hash=parse_hex(value["policy_hash"], "policy_hash", 32),
        assets=tuple(_read_asset(asset) for asset in value["assets"]),
    )


def _read_asset(value: Any) -> ListedAsset:
    return ListedAsset(
        asset=digest_from_hex(value["asset"]),
        version=int(value["version"]),
        holder=address_from_hex(value["holder"]),
        policy_hash=parse_hex(value["policy_hash"], "policy_hash", 32),
        snapshot_root=parse_hex(value["snapshot_root"], "snapshot_root", 32),
    )


def _read_request(value: Any) -> RequestView:
    return RequestView(
        request_id=digest_from_hex(value["request_id"]),
        state=str(value["state"]),
        transactions=tuple(_read_transaction(event) for event in value.get("events", [])),
    )


def _read_transaction(value: Any) -> Transaction:
    block, gas_used = _require_object(value).get("block"), value.get("gas_used")
    return Transaction(
        name=str(value["name"]),
        tx_hash=str(value["tx_hash"]),
        block=None if block is None else int(block),
        gas_used=None if gas_used is None else int(gas_used),
    )


def _read_event(event: ServerEvent) -> RequestEvent:
    value = _require_object(parse_json(event.data.encode()))
    return RequestEvent(id=event.id, state=str(value["state"]), at=str(value.get("at", "")))
