"""Events in, receipts out."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import Request
from starlette.types import Message

from api.errors import BodyTooSlow
from api.licences.routes_events import chunks
from cli.licence.client import ServiceRefused
from cli.licence.department import ref_of
from ledger.licences.events import Code, Kind
from tests.api.clients import problem
from tests.api.licences.conftest import LicenceWorld

NDJSON = {"content-type": "application/x-ndjson"}


def lines(world: LicenceWorld, body: bytes) -> list[dict[str, object]]:
    answer = world.http.post("/licence-events", content=body, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def event_line(text: str) -> bytes:
    return json.dumps({"event": text}).encode() + b"\n"


def test_a_bad_line_is_answered_with_its_number_and_stops_nothing_else(world: LicenceWorld) -> None:
    department = world.department()
    slots = department.client.reserve(department.speaker, 2)
    good = [department.sign(world.order(), slot) for slot in slots]
    bad = [b"not json\n", b'{"other":1}\n', b'{"event":"a.b.c"}\n', b"\n", b'{"event":7}\n']
    found = lines(world, event_line(good[0]) + b"".join(bad) + event_line(good[1]))
    assert [answer["line"] for answer in found] == [1, 2, 3, 4, 6, 7]
    assert ["index" in answer for answer in found] == [True, False, False, False, False, True]
    assert int(str(found[-1]["index"])) == int(str(found[0]["index"])) + 1
    assert {answer["error"]["type"] for answer in found[1:5]} == {  # type: ignore[index]  # an object
        "urn:shuyao:problem:line-malformed",
        "urn:shuyao:problem:malformed",
    }


def test_a_line_over_the_limit_is_refused_and_the_next_one_logged(world: LicenceWorld) -> None:
    department = world.department()
    slot = department.client.reserve(department.speaker, 1)[0]
    good = department.sign(world.order(), slot)
    found = lines(world, b'{"event":"' + b"x" * (1 << 19) + b'"}\n' + event_line(good))
    assert [answer["line"] for answer in found] == [1, 2]
    assert "error" in found[0]
    assert "index" in found[1]


def test_the_same_event_again_gets_the_same_receipt(world: LicenceWorld) -> None:
    made = world.department().issue(world.order())
    size = world.service.book.size
    assert world.client.submit(made.credential) == made.receipt
    assert world.service.book.size == size


def test_one_stream_answers_each_event_for_itself(world: LicenceWorld) -> None:
    department = world.department()
    made = department.issue(world.order())
    resume = department.sign_change(Kind.RESUME, Code.VALID, ref_of(made.credential))
    refused, again = lines(world, event_line(resume) + event_line(made.credential))
    assert refused["error"]["type"] == "urn:shuyao:problem:transition-refused"  # type: ignore[index]  # an object
    assert (again["index"], again["leaf"]) == (str(made.receipt.index), made.receipt.leaf_hash.hex())
    with pytest.raises(ServiceRefused) as caught:
        world.client.submit(resume)
    assert (caught.value.status, caught.value.kind) == (409, "transition-refused")


def test_many_events_are_logged_in_order(world: LicenceWorld) -> None:
    department = world.department()
    slots = department.client.reserve(department.speaker, 40)
    found = lines(world, b"".join(event_line(department.sign(world.order(), slot)) for slot in slots))
    indexes = [int(str(answer["index"])) for answer in found]
    assert indexes == list(range(indexes[0], indexes[0] + 40))


def test_a_body_of_another_type_is_refused(world: LicenceWorld) -> None:
    answer = world.http.post("/licence-events", content=b"{}", headers={"content-type": "application/json"})
    problem(answer, 415, "media-type-unsupported")


@pytest.mark.parametrize("end", ["silence", "http.disconnect"])
def test_a_stream_that_goes_silent_or_away_is_ended(end: str) -> None:
    sent: list[Message] = [{"type": "http.request", "body": b"first", "more_body": True}]
    if end != "silence":
        sent.append({"type": end})

    async def receive() -> Message:
        return sent.pop(0) if sent else await asyncio.Future()

    async def read() -> list[bytes]:
        seen: list[bytes] = []
        with pytest.raises(BodyTooSlow):
            async for chunk in chunks(Request({"type": "http"}, receive), idle_s=0.01):
                seen.append(chunk)
        return seen

    assert asyncio.run(asyncio.wait_for(read(), 10)) == [b"first"]
