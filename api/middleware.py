"""Around every request: one measurement, and a problem instead of any unforeseen exception."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL, headers_of, problem_of

_log = structlog.get_logger("api")

Note = Callable[[str, str, int, float], None]  # method, route, status, seconds


class Guard:
    """The outermost layer of an application.

    Args:
        app: everything behind.
        note: told each request's method, route, status and seconds.
    """

    def __init__(self, app: ASGIApp, note: Note) -> None:
        self._app, self._note = app, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception as err:  # noqa: BLE001 - the one place that nothing may pass
            await _answer(scope, noting_send, err, is_begun=status != 0)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
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


def _where(err: BaseException) -> str:
    """Return the place of an exception in the code, without any value."""
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
