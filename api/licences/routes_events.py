"""Signed events in, receipts out, as one stream of lines each way: nothing is held but one batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.errors import BodyTooSlow, LineMalformed, MediaTypeUnsupported, problem_of
from api.licences.service import LicenceService, TheService
from ledger.encoding import parse_json
from ledger.errors import LedgerError, MalformedValue
from ledger.licences.book import Receipt

NDJSON: Final = "application/x-ndjson"
LINE_MAX: Final = 1 << 18
BATCH_LINES: Final = 1024
IDLE_S: Final = 60.0  # without a byte, before a stream is taken for given up
router = APIRouter(tags=["departments"])


@dataclass(frozen=True, slots=True)
class _Line:
    """One line as it came: its number from 1, and the signed event in it or why there is none."""

    number: int
    event: str | Exception


class LineStream(Response):
    """An answer that grows while the request is still read: Starlette's own would take the request's body for a disconnect."""

    def __init__(
        self, lines: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(None, headers=headers, media_type=media_type)
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines as they come."""
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for line in self._lines:
            try:
                async with asyncio.timeout(IDLE_S):
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            except TimeoutError as err:
                raise BodyTooSlow(IDLE_S) from err
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@router.post("/licence-events", response_class=Response)
async def post_events(service: TheService, request: Request) -> LineStream:
    """Log signed events: a line `{"event": <credential or JWS>}` each; answer lines of receipts as they become durable.

    A line that is refused is answered with its number and the problem, and stops nothing else. The same event
    again gets the same receipt.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != NDJSON:
        raise MediaTypeUnsupported(NDJSON)
    return LineStream(_answers(service, request), NDJSON)


async def _answers(service: LicenceService, request: Request) -> AsyncIterator[bytes]:
    async for batch in _batches(request):
        answers = await run_sync(_log, service, batch)
        yield b"".join(json.dumps(answer, ensure_ascii=False).encode() + b"\n" for answer in answers)


async def chunks(request: Request, *, idle_s: float = IDLE_S) -> AsyncIterator[bytes]:
    """Yield a body as it comes.

    Raises:
        BodyTooSlow: nothing more comes, or its sender has gone.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except (TimeoutError, ClientDisconnect) as err:
            raise BodyTooSlow(idle_s) from err
        yield chunk


async def _batches(request: Request) -> AsyncIterator[list[_Line]]:
    """Cut the body into lines, and group those that came together."""
    rest, number = b"", 0
    skipping = False  # inside a line that is over the limit already
    async for chunk in chunks(request):
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        batch: list[_Line] = []
        for piece in pieces:
            number += 1
            if skipping:
                skipping = False
                continue
            if piece.strip():
                batch.append(_line(number, piece))
        if len(rest) > LINE_MAX and not skipping:
            batch.append(_Line(number + 1, LineMalformed(f"a line of at most {LINE_MAX} bytes")))
            skipping = True
        if skipping:
            rest = b""
        for part in range(0, len(batch), BATCH_LINES):
            yield batch[part : part + BATCH_LINES]
    if rest.strip() and not skipping:
        yield [_line(number + 1, rest)]


def _line(number: int, data: bytes) -> _Line:
    if len(data) > LINE_MAX:
        return _Line(number, LineMalformed(f"a line of at most {LINE_MAX} bytes"))
    try:
        value = parse_json(data, size_max=LINE_MAX)
    except MalformedValue:
        return _Line(number, LineMalformed('a JSON object {"event": …} on each line'))
    if not isinstance(value, dict) or value.keys() != {"event"} or not isinstance(value["event"], str):
        return _Line(number, LineMalformed('a JSON object {"event": …} on each line'))
    return _Line(number, value["event"])


def _log(service: LicenceService, batch: list[_Line]) -> list[dict[str, Any]]:
    """Log what a batch has; when the log itself fails, that is the answer to each line that was not logged."""
    texts = [line.event for line in batch if isinstance(line.event, str)]
    try:
        outcomes: list[Receipt | Exception] = list(service.submit(texts)) if texts else []
    except LedgerError as err:
        outcomes = [err] * len(texts)
    answers, at = [], iter(outcomes)
    for line in batch:
        outcome = line.event if isinstance(line.event, Exception) else next(at)
        answers.append(_answer(line.number, outcome))
    return answers


def _answer(number: int, outcome: Receipt | Exception) -> dict[str, Any]:
    if isinstance(outcome, Receipt):
        return {"line": number, "index": str(outcome.index), "leaf": outcome.leaf_hash.hex()}
    problem = problem_of(outcome)
    error = {"type": f"urn:shuyao:problem:{problem.kind}", "title": problem.title, "detail": problem.detail}
    return {"line": number, "error": error}
