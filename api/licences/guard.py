"""Around every request of a licence service: limits on its body, one measurement, a problem instead of any unforeseen exception.

The hot route is answered here, before the router and its layers, which would cost it more than its own cryptography.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL, BodyTooLarge, BodyTooSlow, headers_of, problem_of
from ledger.encoding import require_shallow

JSON_BYTES_MAX: Final = 8 << 20  # a bundle has at most 4 MiB, and grows in JSON
BODY_S: Final = 30.0  # for a whole body, however slowly it drips
STREAMS: Final = frozenset(
    {"/licence-events"}
)  # unbounded in all; each of their lines has a limit of its own
_log = structlog.get_logger("api.licences")

Note = Callable[[str, str, int, float], None]  # method, route, status, seconds


class HotRoute(Protocol):
    """The one route that is answered without the router."""

    path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST."""


class Guard:
    """The outermost layer of the application.

    Args:
        app: everything else.
        hot: answered by itself.
        note: told each request's method, route, status and seconds.
    """

    def __init__(self, app: ASGIApp, *, hot: HotRoute, note: Note) -> None:
        self._app, self._hot, self._note = app, hot, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, route = time.perf_counter(), 0, ""

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["path"] == self._hot.path and scope["method"] == "POST":
                route = self._hot.path
                await self._hot(scope, receive, noting_send)
            elif scope["path"] in STREAMS:
                await self._app(scope, receive, noting_send)
            else:
                await self._app(scope, await _received(receive), noting_send)
        except Exception as err:  # noqa: BLE001 - the one place that nothing may pass
            await _answer(scope, noting_send, err, is_begun=status != 0)
        finally:
            route = route or getattr(scope.get("route"), "path", "unknown")
            self._note(scope["method"], route, status, time.perf_counter() - begun)


async def _answer(scope: Scope, send: Send, err: Exception, *, is_begun: bool) -> None:
    problem = problem_of(err)
    if problem is INTERNAL:
        _log.error("internal_error", error=type(err).__name__, where=_where(err), path=scope["path"])
    if is_begun:
        return
    body = problem.to_json(scope["path"])
    headers = {**headers_of(problem), "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, limit: int, *, within_s: float = BODY_S) -> bytes:
    """Take a body in, up to a limit of bytes and of seconds.

    Raises:
        BodyTooLarge: it is longer; the rest is not read.
        BodyTooSlow: it is not there in time, or its sender has gone before its end.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyTooSlow(within_s)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise BodyTooLarge(limit)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as err:
        raise BodyTooSlow(within_s) from err


async def _received(receive: Receive) -> Receive:
    """Take the body in and hand it on in one piece.

    Raises:
        BodyTooLarge: it is longer than any route takes.
        MalformedValue: it nests deeper than any parser should follow.
    """
    body = await read_body(receive, JSON_BYTES_MAX)
    require_shallow(body)
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def handing_receive() -> Message:
        return whole.pop() if whole else await receive()

    return handing_receive


def _where(err: BaseException) -> str:
    """Return the place of an exception in the code, without any value."""
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
