"""HTTP POSTs of a service to its witnesses: small, on kept connections, every failure a named error."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import CancelledError
from functools import cache
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

    A loop of its own sends them: a timeout of a socket begins anew with each byte, so that only a loop gives up an answer
    whose head drips.

    Args:
        timeout_s: for each step of one answer.
        deadline_s: for the whole of one answer.
        http: another client (in process, for one); None for the network.
    """

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._http, self._deadline_s = http or _client(timeout_s), deadline_s
        self._loop, self._lock, self._is_closed = asyncio.new_event_loop(), threading.Lock(), False
        self._thread = threading.Thread(target=self._loop.run_forever, name="poster", daemon=True)
        self._thread.start()

    def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Send one POST.

        Returns:
            HTTP status and body.

        Raises:
            WitnessUnreachable: no answer, or one that is too long or too slow.
        """
        with self._lock:
            if self._is_closed:
                raise WitnessUnreachable("the client is closed")
            answer = asyncio.run_coroutine_threadsafe(self._post(url, body), self._loop)
        try:
            return answer.result()
        except CancelledError as err:
            raise WitnessUnreachable("the client was closed meanwhile") from err

    def close(self) -> None:
        """Close the connections; who still waits for an answer gets an error."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        headers = {"accept-encoding": "identity"}  # and what comes packed all the same is not unpacked
        data = bytearray()
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._http.stream("POST", url, content=body, headers=headers) as answer,
            ):
                async for part in answer.aiter_raw():
                    data += part
                    if len(data) > ANSWER_MAX:
                        raise WitnessUnreachable(f"expected an answer of at most {ANSWER_MAX} bytes")
                return answer.status_code, bytes(data)
        except TimeoutError as err:
            raise WitnessUnreachable(f"expected an answer within {self._deadline_s:.0f} s") from err
        except httpx.HTTPError as err:
            raise WitnessUnreachable(f"no answer ({type(err).__name__})") from err

    async def _end(self) -> None:
        waiting = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._http.aclose()


def _client(timeout_s: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=timeout_s, verify=_authorities())


@cache
def _authorities() -> ssl.SSLContext:
    """Return whose certificates are believed: httpx reads them anew for each client, which takes 20 ms."""
    return httpx.create_ssl_context()
