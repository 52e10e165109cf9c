"""The layers around every request of a licence service.

The hot route is answered here, before the router and its layers, which would cost it more than its own cryptography.
"""

from __future__ import annotations

from typing import Final, Protocol

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.body import BodyLimit, WholeBody
from api.middleware import Guard, Note

_LIMIT: Final = BodyLimit(8 << 20)  # a bundle has at most 4 MiB, and grows in JSON
STREAMS: Final = frozenset(
    {"/licence-events"}
)  # unbounded in all; each of their lines has a limit of its own


class HotRoute(Protocol):
    """The one route that is answered without the router."""

    path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST."""


class HotFirst:
    """Answers the hot route, and passes the others on.

    Args:
        app: the others.
        hot: answered here.
    """

    def __init__(self, app: ASGIApp, hot: HotRoute) -> None:
        self._app, self._hot = app, hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "http" and scope["path"] == self._hot.path and scope["method"] == "POST":
            scope["route"] = self._hot  # for the measurement, as the router says it of its own
            await self._hot(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def layers(hot: HotRoute, note: Note) -> list[Middleware]:
    """Return the layers, the outermost first.

    Args:
        hot: answered by itself.
        note: told each request's method, route, status and seconds.
    """
    return [
        Middleware(Guard, note=note),
        Middleware(HotFirst, hot=hot),
        Middleware(WholeBody, limit_of=_limit),
    ]


def _limit(path: str) -> BodyLimit | None:
    return None if path in STREAMS else _LIMIT
