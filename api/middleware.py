"""Around every request: a limit on its body, one measurement, and a problem instead of any unforeseen exception."""

from __future__ import annotations

import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL, BodyTooLarge, Problem, headers_of, problem_of
from api.metrics import Metrics
from exchange.settings import HOLDER_MESSAGE_BYTES_MAX
from ledger.encoding import require_shallow

JSON_BYTES_MAX: Final = 1 << 20  # SQL of 64 KB and a plan over large domains fit many times over
LICENCE_BYTES_MAX: Final = (4 << 20) + 4096  # a bundle (docs/licence.md §8), and the member around it
_log = structlog.get_logger("api")


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

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
            await self._app(scope, await _received(scope, receive), noting_send)
        except Exception as err:  # noqa: BLE001 - the one place that nothing may pass
            await self._answer(scope, noting_send, err, is_begun=status != 0)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.note(scope["method"], route, status, time.perf_counter() - begun)

    @staticmethod
    async def _answer(scope: Scope, send: Send, err: Exception, *, is_begun: bool) -> None:
        problem = problem_of(err)
        if problem is INTERNAL:
            _log.error("internal_error", error=type(err).__name__, where=_where(err), path=scope["path"])
        if not is_begun:
            await send_problem(scope, send, problem)


async def send_problem(scope: Scope, send: Send, problem: Problem) -> None:
    """Send a problem as the whole answer."""
    body = problem.to_json(scope["path"])
    headers = {**headers_of(problem), "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _received(scope: Scope, receive: Receive) -> Receive:
    """Take the body in, up to the limit of its route, and hand it on in one piece.

    Raises:
        BodyTooLarge: it is longer; the rest is not read.
    """
    limit = _limit(scope["path"])
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > limit:
        raise BodyTooLarge(limit)
    body, message = b"", await receive()
    while message["type"] == "http.request":
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body", False):
            break
        message = await receive()
    if not scope["path"].endswith("/messages"):
        require_shallow(body)
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    if message["type"] != "http.request":
        whole = [message]  # the sender left

    async def handing_receive() -> Message:
        return whole.pop() if whole else await receive()

    return handing_receive


def _limit(path: str) -> int:
    if path.endswith("/messages"):
        return HOLDER_MESSAGE_BYTES_MAX
    return LICENCE_BYTES_MAX if path.endswith("/licence") else JSON_BYTES_MAX


def _where(err: BaseException) -> str:
    """Return the place of an exception in the code, without any value."""
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
