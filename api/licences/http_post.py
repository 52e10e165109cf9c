"""HTTP POSTs of a service to its witnesses: small, on kept connections, every failure a named error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx

from ledger.log.errors import WitnessUnreachable

ANSWER_MAX: Final = 1 << 16
TIMEOUT_S: Final = 5.0
DEADLINE_S: Final = (
    10.0  # of one answer, however slowly it drips: who waits for all witnesses waits for the slowest
)


class Poster:
    """Sends POSTs of bytes. Safe to share between threads.

    Args:
        timeout_s: for each step of one answer.
        http: another client (in process, for one); None for the network.
        clock_s: a clock that only goes on, for the deadline of an answer.
    """

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        http: httpx.Client | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http or httpx.Client(timeout=timeout_s)
        self._clock_s = clock_s

    def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Send one POST.

        Returns:
            HTTP status and body.

        Raises:
            WitnessUnreachable: no answer, or one that is too long or too slow.
        """
        ends_at = self._clock_s() + DEADLINE_S
        headers = {"accept-encoding": "identity"}  # and what comes packed all the same is not unpacked
        try:
            with self._http.stream("POST", url, content=body, headers=headers) as answer:
                data = bytearray()
                for part in answer.iter_raw():
                    data += part
                    if len(data) > ANSWER_MAX or self._clock_s() > ends_at:
                        raise WitnessUnreachable(
                            f"expected an answer of at most {ANSWER_MAX} bytes within {DEADLINE_S:.0f} s"
                        )
                return answer.status_code, bytes(data)
        except httpx.HTTPError as err:
            raise WitnessUnreachable(f"no answer ({type(err).__name__})") from err

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
