"""Running one application of this package until a signal, on the fast loop and parser."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from api import serving


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_ready: Callable[[int], None] | None = None,
    connections: serving.Connections | None = None,
) -> None:
    """Serve an application until SIGTERM or SIGINT.

    Args:
        app: ASGI.
        host, port: where to listen; port 0 takes a free one.
        on_ready: called with the port once requests are answered.
        connections: takes them from elsewhere; host and port are then not looked at.
    """
    configuration = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        date_header=False,
        proxy_headers=False,
        backlog=4096,
        **serving.QUIET,
    )
    serving.serve(configuration, on_ready=on_ready, connections=connections)
