"""A load generator for one HTTP/1.1 route: raw sockets with keep-alive, one request in flight on each connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_OK = b"HTTP/1.1 200"


@dataclass(frozen=True, slots=True)
class Load:
    """What a run saw: seconds from the first request to the last answer, and the milliseconds of each request, ascending."""

    seconds: float
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return the latency below which so many per cent of the requests stayed."""
        last = len(self.latencies_ms) - 1
        return self.latencies_ms[min(last, int(len(self.latencies_ms) * percent / 100))]


def post(host: str, port: int, path: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Return POST requests with these JSON bodies."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: "
    )
    return [b"%b%d%b%b" % (head.encode("ascii"), len(body), _HEAD_END, body) for body in bodies]


def send_all(host: str, port: int, requests: Sequence[bytes], connections: int, wanted: bytes) -> Load:
    """Send every request once and wait for all answers.

    Args:
        host, port: of the server.
        requests: whole requests.
        connections: how many are open, each with one request in flight.
        wanted: must be in the body of every answer.

    Raises:
        AssertionError: an answer is not 200, or is another one.
        OSError: the server cannot be reached.
    """
    return uvloop.run(_send_all(host, port, requests, connections, wanted))


async def _send_all(host: str, port: int, requests: Sequence[bytes], connections: int, wanted: bytes) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(iter(requests), wanted, loop.create_future(), connections)
    opened = [await loop.create_connection(lambda: _Connection(run), host, port) for _ in range(connections)]
    begin = time.perf_counter()
    for _, connection in opened:
        connection.send_next()
    await run.ended
    seconds = time.perf_counter() - begin
    for transport, _ in opened:
        transport.close()
    if len(run.latencies_ms) != len(requests):
        raise AssertionError(f"{len(requests)} requests were sent, {len(run.latencies_ms)} answered")
    return Load(seconds, sorted(run.latencies_ms))


class _Run:
    """What the connections of a run share."""

    def __init__(
        self, requests: Iterator[bytes], wanted: bytes, ended: asyncio.Future[None], connections: int
    ) -> None:
        self.requests, self.wanted, self.ended = requests, wanted, ended
        self.latencies_ms: list[float] = []
        self._open = connections

    def idle(self) -> None:
        """Note that a connection has nothing left to send."""
        self._open -= 1
        if not self._open and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, why: str) -> None:
        """End the run."""
        if not self.ended.done():
            self.ended.set_exception(AssertionError(why))


class _Connection(asyncio.Protocol):
    """One connection; it sends its next request when the answer to the last one is whole."""

    def __init__(self, run: _Run) -> None:
        self._run, self._buffer, self._begin = run, b"", 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's derive from no class of asyncio

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.fail("a connection was closed")

    def send_next(self) -> None:
        """Send a request, or say that none is left."""
        request = next(self._run.requests, None)
        if request is None:
            self._run.idle()
            return
        assert self._transport is not None
        self._begin = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_HEAD_END)
        if head < 0:
            return
        at = self._buffer.find(_LENGTH, 0, head) + len(_LENGTH)
        end = head + len(_HEAD_END) + int(self._buffer[at : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < end:
            return
        self._run.latencies_ms.append((time.perf_counter() - self._begin) * 1e3)
        if not self._buffer.startswith(_OK) or self._run.wanted not in self._buffer:
            self._run.fail(f"expected an answer with {self._run.wanted!r}, got {self._buffer[:300]!r}")
            return
        self._buffer = b""
        self.send_next()
