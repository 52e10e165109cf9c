"""The HTTP client of a city's licence service, for departments, holders, registrars and operators."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from cli.broker import problem
from cli.errors import CliError
from ledger.encoding import parse_json, printable
from ledger.errors import LedgerError, MalformedValue

if TYPE_CHECKING:
    from ledger.licences.keys import SigningKey
    from ledger.log.tiles import TileReader

T = TypeVar("T")

TIMEOUT_S: Final = 30.0


class ServiceRefused(CliError):
    """The service answered with a problem. `status` is the HTTP status, `kind` the last part of the problem's type."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        self.status, self.kind = status, kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an event was logged."""

    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who signs requests to a service: a department, the registrar or the operator, with its key."""

    issuer: str
    key: SigningKey


class CityClient:
    """One city's service.

    Args:
        url: of the service.
        now_s: clock, Unix seconds.
        http: what sends, where it is not to be made here.

    Raises:
        CliError: from each method, when the service cannot be reached or refuses.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        now_s: Callable[[], float] = time.time,
        http: httpx.Client | None = None,
    ) -> None:
        self.url, self._now_s = url.rstrip("/"), now_s
        self._http = http or httpx.Client(base_url=self.url, timeout=timeout_s)

    def __enter__(self) -> CityClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- for everybody -------------------------------------------------------------------------------------

    def is_healthy(self) -> bool:
        """Say whether the service answers."""
        try:
            return self._http.get("/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def health(self) -> dict[str, Any]:
        """Return what the service says of itself."""
        return self._json("GET", "/healthz", ok=(200, 503))

    def city(self) -> dict[str, Any]:
        """Return the city as a verifier's policy names it. Compare it with what its keeper published elsewhere."""
        return self._json("GET", "/city")

    @property
    def origin(self) -> str:
        """The log's origin."""
        from ledger.licences.identifiers import require_origin

        return self._read(self.city(), lambda city: require_origin(city["origin"]))

    def checkpoint(self, *, is_cosigned: bool = True) -> str:
        """Return the newest checkpoint, by default the newest that a quorum cosigned."""
        return self._send("GET", "/checkpoint.cosigned" if is_cosigned else "/checkpoint").text

    def status_list(self, number: int, *, at_s: int | None = None, is_bitstring: bool = False) -> str:
        """Return a status list's token, the newest or that of a past time; or the W3C form of the newest."""
        path = f"/status-lists/{number}" + ("/bitstring" if is_bitstring else "")
        return self._send("GET", path, params={} if at_s is None else {"at": str(at_s)}).text

    def published_token(self, digest: bytes) -> str:
        """Return a status token that was ever published, by its SHA-256: the `evidence` of its leaf."""
        return self._send("GET", f"/status-tokens/{digest.hex()}").text

    def tiles(self) -> TileReader:
        """Return a reader of the log's tiles; what it reads is not checked."""
        from exchange.city import HttpCity

        return HttpCity(self.url, http=self._http).tiles()

    def issuer(self, uscc: str) -> dict[str, Any]:
        """Return an issuer's keys as the log has them, and its newest signed history."""
        return self._json("GET", f"/issuers/{uscc}")

    def nonce(self) -> str:
        """Return a fresh challenge for a presentation."""
        return self._read(self._json("POST", "/nonces"), lambda given: str(given["nonce"]))

    def verify(
        self, presentation: str, *, nonce: str | None = None, audience: str | None = None
    ) -> dict[str, Any]:
        """Have the service verify a presentation."""
        body: dict[str, str] = {"presentation": presentation}
        if nonce is not None and audience is not None:
            body |= {"nonce": nonce, "audience": audience}
        return self._json("POST", "/licences/verify", body=body)

    def bundle(self, credential: str, *, is_anchored: bool = False) -> bytes:
        """Return what a verifier without a network needs for this credential.

        Args:
            credential: or a presentation of it.
            is_anchored: over the newest checkpoint that is on the chain, which may be older than the newest.
        """
        body = {"credential": credential, "anchored": is_anchored}
        return self._send("POST", "/licences/bundles", body=body).content

    def recognition(self, origin: str) -> dict[str, Any]:
        """Return the evidence that this city recognises another log: the member `recognition` of its bundles."""
        return self._json("GET", f"/recognitions/{origin}")

    def uses(self, presentation: str) -> list[dict[str, Any]]:
        """List the uses of a licence to its holder, who presents it for that purpose."""
        return self._read(self._json("POST", "/licences/uses", body={"presentation": presentation}), _items)

    def erase(self, presentation: str) -> dict[str, Any]:
        """Have the service destroy a credential and its salts, on its holder's word."""
        return self._once("/licences/erasures", {"presentation": presentation})

    def anchors(self) -> list[dict[str, Any]]:
        """List the anchors, newest first."""
        return self._read(self._json("GET", "/anchors"), _items)

    # --- for departments, registrar and operator -------------------------------------------------------------

    def reserve(self, speaker: Speaker, count: int) -> list[tuple[int, int]]:
        """Reserve status slots: (list, index) each."""
        found = self._signed("/slots", "reserve_slots", {"count": str(count)}, speaker)
        return self._read(
            found, lambda given: [(int(number), int(index)) for number, index in given["slots"]]
        )

    def find(self, speaker: Speaker, identifier: str) -> dict[str, Any]:
        """Look a licence of the speaker's own up by its identifier."""
        arguments = {"identifier": identifier}
        bearer = self._bearer("find_licence", arguments, speaker)
        return self._json("GET", "/licences", params=arguments, headers=bearer)

    def fetch(self, speaker: Speaker, leaf_hash: bytes) -> dict[str, Any]:
        """Return a licence of the speaker's own with its credential: `{"index","leaf","status","credential"}`."""
        lic = leaf_hash.hex()
        bearer = self._bearer("fetch_credential", {"lic": lic}, speaker)
        return self._json("GET", f"/licences/{lic}", headers=bearer)

    def export_part(self, speaker: Speaker, first: int) -> Iterator[dict[str, Any]]:
        """Yield the speaker's own licences from a log index on, as far as one request goes.

        Returns:
            Objects as of `fetch`, ascending by index, the credential None where it was destroyed; the last is `{"next","size"}`:
            where the next part begins, and where the log ends.

        Raises:
            CliError: the answer broke off.
        """
        arguments = {"from": str(first)}
        bearer = self._bearer("export_licences", arguments, speaker)
        is_whole = False
        try:
            with self._http.stream("GET", "/licences/export", params=arguments, headers=bearer) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _refusal(answer)
                for line in answer.iter_lines():
                    value = self._read(line.encode(), _object)
                    is_whole = "next" in value
                    yield value
        except httpx.HTTPError as err:
            raise CliError(f"{self.url} does not answer: {type(err).__name__}") from err
        if not is_whole:
            raise CliError(f"{self.url}: the export broke off; the same command goes on")

    def erase_as_issuer(self, speaker: Speaker, leaf_hash: bytes) -> dict[str, Any]:
        """Have the service destroy a credential and its salts, on its issuer's word."""
        return self._signed("/licences/erasures", "erase", {"lic": leaf_hash.hex()}, speaker)

    def publish_history(self, history: str) -> None:
        """Hand a signed issuer history in."""
        self._once("/issuer-histories", {"history": history})

    def anchor(self, speaker: Speaker) -> dict[str, Any]:
        """Anchor the log's head now (operator)."""
        return self._signed("/anchors", "anchor", {}, speaker)

    def submit(self, event: str) -> Receipt:
        """Log one event.

        Raises:
            ServiceRefused: with the reason.
        """
        line = json.dumps({"event": event}).encode() + b"\n"
        headers = {"content-type": "application/x-ndjson"}
        outcome = self._json("POST", "/licence-events", content=line, headers=headers)
        if "error" in outcome:
            raise self._read(outcome["error"], _refusal_of_event)
        return self._read(outcome, lambda given: Receipt(int(given["index"]), bytes.fromhex(given["leaf"])))

    # --- transport -------------------------------------------------------------------------------------------

    def _request(self, action: str, arguments: Mapping[str, str], speaker: Speaker) -> str:
        from api.licences.signed import make_request

        return make_request(
            action,
            arguments,
            origin=self.origin,
            issuer=speaker.issuer,
            key=speaker.key,
            now_s=int(self._now_s()),
            rand=secrets.token_bytes(16),
        )

    def _bearer(self, action: str, arguments: Mapping[str, str], speaker: Speaker) -> dict[str, str]:
        return {"authorization": f"Bearer {self._request(action, arguments, speaker)}"}

    def _signed(
        self, path: str, action: str, arguments: Mapping[str, str], speaker: Speaker
    ) -> dict[str, Any]:
        return self._once(path, {"request": self._request(action, arguments, speaker)})

    def _once(self, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        """Send a POST that changes something, under a key of its own."""
        return self._json("POST", path, body=body, headers={"idempotency-key": secrets.token_hex(16)})

    def _json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (200, 201, 202),
    ) -> dict[str, Any]:
        answer = self._send(method, path, body=body, content=content, params=params, headers=headers, ok=ok)
        try:
            value = parse_json(answer.content)
        except MalformedValue as err:
            raise CliError(f"{self.url}{path}: expected JSON, got something else") from err
        if not isinstance(value, dict):
            raise CliError(f"{self.url}{path}: expected a JSON object, got {type(value).__name__}")
        return value

    def _read(self, value: Any, read: Callable[[Any], T]) -> T:
        """Read a value out of an answer.

        Raises:
            CliError: it is not there, or has another form.
        """
        try:
            return read(value)
        except (KeyError, TypeError, ValueError, OverflowError, LedgerError) as err:
            raise CliError(f"{self.url} does not answer as it should: {type(err).__name__}") from err

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (200, 201, 202),
    ) -> httpx.Response:
        try:
            answer = self._http.request(
                method,
                path,
                json=body,
                content=content,
                params=dict(params or {}) or None,
                headers=dict(headers or {}) or None,
            )
        except httpx.HTTPError as err:
            raise CliError(f"{self.url} does not answer: {type(err).__name__}") from err
        if answer.status_code not in ok:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> ServiceRefused:
    try:
        body = parse_json(answer.content)
    except MalformedValue:
        body = None
    kind = printable(body.get("type", "")) if isinstance(body, dict) else ""
    return ServiceRefused(answer.status_code, kind.rpartition(":")[2], problem(answer))


def _refusal_of_event(error: Any) -> ServiceRefused:
    return ServiceRefused(409, printable(error["type"]).rpartition(":")[2], printable(error["detail"]))


def _object(line: bytes) -> dict[str, Any]:
    value = parse_json(line)
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def _items(given: Any) -> list[dict[str, Any]]:
    items = given["items"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise TypeError("expected a list of objects")
    return items
