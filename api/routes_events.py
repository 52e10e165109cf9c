"""The event stream of a request: its stages as they come, until the last one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.edge import Edge, TheEdge, TheSpeaker
from api.views import time_text
from exchange.errors import Invalid
from exchange.types import ProgressEvent
from ledger.types import Digest, digest_from_hex

PING_S = 15
router = APIRouter(tags=["buyers"])


@router.get("/requests/{request_id}/events")
async def follow_request(
    edge: TheEdge, speaker: TheSpeaker, request: Request, request_id: str
) -> EventSourceResponse:
    """Stream a request's stages, from the start or after `Last-Event-ID`; the stream ends with the last stage."""
    last = _last_event_id(request.headers.get("last-event-id"))
    wanted = digest_from_hex(request_id)
    record = await run_sync(edge.market.requests.get, speaker.address, wanted)
    return EventSourceResponse(_events(edge, record.request_id, last), ping=PING_S)


def _last_event_id(given: str | None) -> int:
    if given is None or given == "":
        return 0
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise Invalid("Last-Event-ID", "the id of a former event", "another value")
    return int(given)


async def _events(edge: Edge, request_id: Digest, last: int) -> AsyncIterator[ServerSentEvent]:
    """Yield the events after `last`. The listener stands before the first reading, so none is missed."""
    market, wake, loop = edge.market, asyncio.Event(), asyncio.get_running_loop()

    def touched() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(wake.set)

    with market.waiting.listening(request_id, touched):
        while not market.waiting.is_stopping:
            wake.clear()
            for event in await run_sync(market.store.events_after, request_id, last):
                last = event.event_id
                yield _shown(event)
            record = await run_sync(market.store.request, request_id)
            if record.stage.is_final:
                for event in await run_sync(market.store.events_after, request_id, last):
                    yield _shown(event)
                return
            await wake.wait()


def _shown(event: ProgressEvent) -> ServerSentEvent:
    data = json.dumps({"state": event.stage.value, "at": time_text(event.at)})
    return ServerSentEvent(data, event="state", id=str(event.event_id))
