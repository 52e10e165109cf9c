"""Running one application of this package until a signal, and how its process logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any, Final, Protocol, TextIO, cast

import structlog
import uvicorn

QUIET: Final[dict[str, Any]] = {
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 3,
}  # of every server's configuration: the applications log and measure by themselves


class Connections(Protocol):
    """Takes a server's connections in place of its own listening sockets."""

    @property
    def port(self) -> int:
        """Where it listens."""

    def start(self, protocol: Callable[[], asyncio.Protocol], open_count: Callable[[], int]) -> None:
        """Begin; `protocol` makes one connection's, `open_count` says how many are open."""

    def note(self) -> None:
        """Called some times a second."""

    def stop(self) -> None:
        """Take no more."""


class _StandardError:
    """Standard error as it is at each line: a process may put another stream in its place and close the former."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logs(level: int = logging.INFO) -> None:
    """Write logs as one JSON object a line to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
    )


def serve(
    configuration: uvicorn.Config,
    *,
    on_ready: Callable[[int], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    connections: Connections | None = None,
) -> None:
    """Serve an application until SIGTERM or SIGINT.

    Args:
        configuration: the application, and where to listen; port 0 takes a free one.
        on_ready: called with the port once requests are answered.
        on_stop: called before open answers are waited for, to end those that would not end by themselves.
        connections: takes them from elsewhere; host and port are then not looked at.
    """
    with _signals_kept():
        _Server(configuration, on_ready, on_stop, connections).run(None if connections is None else [])


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let the server end at a signal without ending the process: uvicorn raises the signal once more afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


class _Server(uvicorn.Server):
    """Says when it answers and when it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[int], None] | None,
        on_stop: Callable[[], None] | None,
        connections: Connections | None,
    ) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop, self._connections = on_ready, on_stop, connections

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind and listen, then say so."""
        await super().startup(sockets)
        if not self.started:
            return
        if self._connections is not None:
            self._connections.start(self._protocol, lambda: len(self.server_state.connections))
        if self._on_ready is not None:
            own = self._connections
            self._on_ready(self.servers[0].sockets[0].getsockname()[1] if own is None else own.port)

    async def on_tick(self, counter: int) -> bool:
        """Note how many connections are open."""
        if self._connections is not None:
            self._connections.note()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Say so, then wait for the open answers."""
        if self._connections is not None:
            self._connections.stop()
        if self._on_stop is not None:
            self._on_stop()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        made = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
