"""An exchange that sends nonsense: every reply is read to a named error, and never without end."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest

from holder import exchange_client
from holder.errors import ExchangeError, ExchangeMalformed
from holder.exchange_client import ExchangeClient
from ledger.types import Digest
from privacy.errors import PrivacyError
from privacy.plan import Plan
from tests.holder.tables import make_plan, policy
from tests.misbehaviour.world import signer_of

QUESTION = 'SELECT "城镇", COUNT(*) AS n, AVG(kwh) FROM "用电" WHERE NOT age > 3 AND kwh BETWEEN 1 AND 2 GROUP BY "城镇"'
NONSENSE: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    1,
    1.5,
    True,
    [[]],
    {"a": 1},
    "9" * 5000,
    "-1",
    "1e99999",
    "0x",
    "\ud800",
    10**400,
]


def client_of(response: httpx.Response) -> ExchangeClient:
    transport = httpx.MockTransport(lambda _: response)
    return ExchangeClient("http://exchange", signer_of("holder"), transport=transport, pause=lambda _: None)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested JSON, by its path."""
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*before, key))


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = deepcopy(value)
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return copy


def test_nonsense_at_any_place_of_a_plan_is_a_named_error() -> None:
    plan = make_plan(QUESTION, policy()).to_json()
    for place in places(plan):
        for nonsense in NONSENSE:
            try:
                Plan.from_json(changed(plan, place, nonsense))
            except PrivacyError as err:
                assert len(str(err)) < 2000  # and the nonsense is not repeated at length


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"plan": 1}', b"[" * 100_000])
def test_a_reply_that_is_no_reply_is_named(content: bytes) -> None:
    client = client_of(httpx.Response(200, content=content))
    with pytest.raises(ExchangeMalformed):
        client.request(Digest(bytes(32)))
    with pytest.raises(ExchangeMalformed):
        client.post_message(Digest(bytes(32)), b"frame")


def test_a_reply_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_client, "REPLY_BYTES_MAX", 1 << 20)
    packed = gzip.compress(bytes(64 << 20))
    bomb = httpx.Response(200, headers={"content-encoding": "gzip"}, content=iter([packed]))
    with pytest.raises(ExchangeMalformed, match="at most"):
        client_of(bomb).bundles(Digest(bytes(32)))


@pytest.mark.parametrize("status", [100, 204, 301, 400, 404, 418, 500, 599])
def test_every_status_is_a_named_error(status: int) -> None:
    with pytest.raises(ExchangeError):
        client_of(httpx.Response(status, content=b"<html>")).request(Digest(bytes(32)))
