"""Running one application of this package until a signal, on the fast loop and parser."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any, Final

import uvicorn

_GRACE_S: Final = 3


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    on_ready: Callable[[int], None] | None = None,
    listening: socket | None = None,
) -> None:
    """Serve an application until SIGTERM or SIGINT.

    Args:
        app: ASGI.
        host, port: where to listen; port 0 takes a free one.
        on_ready: called with the port once requests are answered.
        listening: a socket that listens already, which processes may share; host and port are then not looked at.
    """
    configuration = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_graceful_shutdown=_GRACE_S,
    )
    with _signals_kept():
        _Server(configuration, on_ready).run(None if listening is None else [listening])


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
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind and listen, then say so."""
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])
