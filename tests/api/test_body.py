"""Bodies are taken in whole, in time and within their limits, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.body import BodyLimit, WholeBody, read_body
from api.errors import BodyTooLarge, BodyTooSlow
from ledger.errors import MalformedValue

DEEP = b"[" * 100_000


def body_of(*messages: Message, limit: int = 8) -> bytes:
    """Read a body that comes in these messages, and then no more."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0) if left else await asyncio.Future()

    return asyncio.run(asyncio.wait_for(read_body(receive, limit, within_s=0.01), 10))


def part(body: bytes, *, more: bool = True) -> Message:
    """Return one message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_is_read_whole_in_time_or_not_at_all() -> None:
    assert body_of(part(b"ab"), part(b""), part(b"cd", more=False)) == b"abcd"
    with pytest.raises(BodyTooLarge):
        body_of(part(b"abcd"), part(b"efghi"))
    with pytest.raises(BodyTooSlow):
        body_of(part(b"ab"))
    with pytest.raises(BodyTooSlow):
        body_of(part(b"ab"), {"type": "http.disconnect"})


def handed_on(limit: BodyLimit | None, *messages: Message, declared: bytes | None = None) -> list[Message]:
    """Return what comes behind the layer when these messages come before it, which is asked for no more."""
    left, seen = list(messages), list[Message]()

    async def receive() -> Message:
        return left.pop(0)

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        asked = len(left) + (limit is not None)  # the layer's own piece, and what is left
        seen.extend([await receive() for _ in range(asked)])

    async def send(_message: Message) -> None:
        raise AssertionError("the layer answers nothing")

    headers = [] if declared is None else [(b"content-length", declared)]
    scope = {"type": "http", "path": "/x", "headers": headers}
    asyncio.run(WholeBody(app, lambda _path: limit)(scope, receive, send))
    return seen


def test_a_body_is_handed_on_in_one_piece_and_then_what_comes_after_it() -> None:
    gone: Message = {"type": "http.disconnect"}
    assert handed_on(BodyLimit(8), part(b"[1,"), part(b"2]", more=False), gone) == [
        {"type": "http.request", "body": b"[1,2]", "more_body": False},
        gone,
    ]


def test_a_body_that_declares_more_than_its_limit_is_not_read() -> None:
    for declared in (b"9", b"-1", b"many"):
        with pytest.raises(BodyTooLarge):
            handed_on(BodyLimit(8), declared=declared)


def test_a_body_of_json_nests_no_deeper_than_a_parser_follows_and_others_may() -> None:
    with pytest.raises(MalformedValue):
        handed_on(BodyLimit(1 << 20), part(DEEP, more=False))
    found = handed_on(BodyLimit(1 << 20, is_json=False), part(DEEP, more=False))
    assert found[0]["body"] == DEEP


def test_a_route_that_reads_by_itself_gets_each_part_as_it_comes() -> None:
    parts = [part(b"ab"), part(b"cd", more=False)]
    assert handed_on(None, *parts)[0] == parts[0]
