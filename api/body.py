"""Taking a request's body in: up to a limit of bytes and of seconds, and of nesting where it is JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, BodyTooSlow
from ledger.encoding import require_shallow
from ledger.errors import MalformedValue

_DIGITS_MAX: Final = 18  # of a Content-Length
BODY_S: Final = 30.0  # for a whole body, however slowly it drips


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """What a route takes.

    Args:
        size: bytes.
        is_json: whether it nests no deeper than any parser should follow.
    """

    size: int
    is_json: bool = True


class WholeBody:
    """Hands each request on with its body in one piece.

    Args:
        app: everything behind.
        limit_of: asked with a path; None for a route that reads its body by itself.

    Raises:
        BodyTooLarge, BodyTooSlow, MalformedValue: by a request; the rest of the body is not read.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], BodyLimit | None]) -> None:
        self._app, self._limit_of = app, limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        limit = self._limit_of(scope["path"]) if scope["type"] == "http" else None
        if limit is not None:
            receive = await _received(scope, receive, limit)
        await self._app(scope, receive, send)


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


def require_json(body: bytes) -> None:
    """Refuse what no parser of JSON should see.

    The parsers behind take UTF-16 and UTF-32 as well. There a bracket inside a string and one outside look alike to whoever
    counts bytes, so that those texts could nest as deep as they like.

    Raises:
        MalformedValue: it nests too deep, or is not in UTF-8.
    """
    require_shallow(body)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as err:
        raise MalformedValue("JSON", "UTF-8", "another encoding") from err
    if b"\0" in body:
        raise MalformedValue("JSON", "UTF-8 without NUL", "another encoding")


async def _received(scope: Scope, receive: Receive, limit: BodyLimit) -> Receive:
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > _DIGITS_MAX or int(declared) > limit.size:
        raise BodyTooLarge(limit.size)
    body = await read_body(receive, limit.size)
    if limit.is_json:
        require_json(body)
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def handing_receive() -> Message:
        return whole.pop() if whole else await receive()

    return handing_receive
