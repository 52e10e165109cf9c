"""HTTP POSTs of a service to its witnesses: small, on kept connections, every failure a named error."""

from __future__ import annotations

from typing import Final

import httpx

from ledger.log.errors import WitnessUnreachable

ANSWER_MAX: Final = 1 << 16
TIMEOUT_S: Final = 5.0


class Poster:
    """Sends POSTs of bytes. Safe to share between threads."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = httpx.Client(timeout=timeout_s)

    def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Send one POST.

        Returns:
            HTTP status and body.

        Raises:
            WitnessUnreachable: no answer, or one that is too long.
        """
        try:
            with self._http.stream("POST", url, content=body) as answer:
                data = b""
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > ANSWER_MAX:
                        raise WitnessUnreachable(f"expected an answer of at most {ANSWER_MAX} bytes")
                return answer.status_code, data
        except httpx.HTTPError as err:
            raise WitnessUnreachable(f"no answer ({type(err).__name__})") from err

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
