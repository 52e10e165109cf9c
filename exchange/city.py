"""A city's licence service as the exchange asks it: four questions and the log's tiles, over HTTP with bounds.

Nothing that comes from here is believed: `exchange.standing` verifies it with the keys of the exchange's own trust policy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import httpx

from exchange.errors import CityAway
from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.licences.bundle import BUNDLE_MAX
from ledger.licences.issuers import HISTORY_SIZE_MAX
from ledger.licences.status import TOKEN_MAX
from ledger.log.errors import EntryMissing
from ledger.log.notes import NOTE_SIZE_MAX
from ledger.log.tiles import CachedTiles, TileReader

TIMEOUT_S: Final = 5.0
DEADLINE_S: Final = 10.0  # of one answer, however slowly it drips
_OK: Final = 200
_NOT_FOUND: Final = 404
_ANSWER_MAX: Final = 2 * HISTORY_SIZE_MAX  # an issuer's history twice: signed, and as the log has it


class CityService(Protocol):
    """What the exchange asks a city's licence service. Each method raises `CityAway` when there is no answer to use."""

    def checkpoint(self) -> str:
        """Return the newest cosigned checkpoint."""
        ...

    def status_token(self, number: int, at_s: int | None = None) -> str:
        """Return a status list's newest token, or the newest as of a past time (Unix seconds)."""
        ...

    def history(self, issuer: str) -> str | None:
        """Return an issuer's newest signed history, None where none is published. `issuer` is a unified social credit code."""
        ...

    def bundle(self, credential: str, *, is_anchored: bool) -> bytes:
        """Return the bundle of a credential, over the newest checkpoint or the newest that is on the chain."""
        ...

    def tiles(self) -> TileReader:
        """Return a reader of the log's tiles as they are published now."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class HttpCity:
    """One city's service over HTTP. Safe to share between threads.

    Args:
        url: of the service.
        http: another client for it (in process, for one); None for the network.
        clock_s: a clock that only goes on, for the deadline of an answer.
    """

    def __init__(
        self, url: str, *, http: httpx.Client | None = None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._clock_s = url.rstrip("/"), clock_s
        self._http = http or httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def checkpoint(self) -> str:
        """Return the newest cosigned checkpoint; see `CityService`."""
        return _text(self.ask("GET", "/checkpoint.cosigned", NOTE_SIZE_MAX))

    def status_token(self, number: int, at_s: int | None = None) -> str:
        """Return a status list's token; see `CityService`."""
        params = {} if at_s is None else {"at": str(at_s)}
        return _text(self.ask("GET", f"/status-lists/{number}", TOKEN_MAX, params=params))

    def history(self, issuer: str) -> str | None:
        """Return an issuer's newest signed history; see `CityService`."""
        try:
            found = parse_json(self.ask("GET", f"/issuers/{issuer}", _ANSWER_MAX))
        except MalformedValue as err:
            raise CityAway("expected JSON") from err
        history = found.get("history") if isinstance(found, dict) else None
        if history is not None and not isinstance(history, str):
            raise CityAway("expected an issuer's history")
        return history

    def bundle(self, credential: str, *, is_anchored: bool) -> bytes:
        """Return the bundle of a credential; see `CityService`."""
        body = {"credential": credential, "anchored": is_anchored}
        return self.ask("POST", "/licences/bundles", BUNDLE_MAX, json=body)

    def tiles(self) -> TileReader:
        """Return a reader of the log's tiles; see `CityService`. A wrong tile is forgotten with its reader."""
        return _RemoteTiles(self)

    def ask(self, method: str, path: str, size_max: int, **arguments: Any) -> bytes:
        """Return what the service answers, at most `size_max` bytes of it.

        Raises:
            EntryMissing: it has nothing under this path.
            CityAway: it is not reached, answers something else, too much or too slowly.
        """
        ends_at = self._clock_s() + DEADLINE_S
        headers = {"accept-encoding": "identity"}  # and what comes packed all the same is not unpacked
        try:
            with self._http.stream(
                method, self._url + path, headers=headers, follow_redirects=False, **arguments
            ) as answer:
                if answer.status_code == _NOT_FOUND:
                    raise EntryMissing(path)
                if answer.status_code != _OK:
                    raise CityAway(f"status {answer.status_code}")
                data = bytearray()
                for part in answer.iter_raw():
                    data += part
                    if len(data) > size_max or self._clock_s() > ends_at:
                        raise CityAway(f"expected at most {size_max} bytes within {DEADLINE_S:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
            raise CityAway(type(err).__name__) from err
        except RuntimeError as err:
            raise CityAway("the client is closed") from err
        return bytes(data)


class _RemoteTiles(CachedTiles):
    """The tiles of a city's log, each asked for once."""

    def __init__(self, city: HttpCity) -> None:
        super().__init__()
        self._city = city

    def _fetch(self, path: str, size_max: int) -> bytes:
        return self._city.ask("GET", f"/{path}", size_max)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        raise CityAway("expected text") from err
