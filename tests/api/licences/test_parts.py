"""The small parts of a service: challenges, duties, settings, checked tiles."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.licences.duties import DIED, Duties, Duty
from api.licences.http_post import ANSWER_MAX, Poster
from api.licences.nonces import Nonces
from api.licences.settings import AnchorAddress, CitySettings, Pace
from ledger.errors import ChainUnreachable, MalformedValue
from ledger.licences.online import CheckedTiles
from ledger.log.batch import Item
from ledger.log.errors import ProofInvalid, WitnessUnreachable
from ledger.log.notes import NoteSigner
from ledger.log.tree import leaf_hash
from ledger.log.writer import Log
from tests.api.licences.conftest import NOW, ORIGIN, make_city, seed


def test_a_nonce_is_used_once_and_ends() -> None:
    nonces = Nonces(age_s=10)
    first, ends_at = nonces.give(bytes(16), NOW)
    assert ends_at == NOW + 10
    assert nonces.use(first, NOW + 9)
    assert not nonces.use(first, NOW + 9)
    second, _ = nonces.give(b"\x01" * 16, NOW)
    assert not nonces.use(second, NOW + 10)
    assert not nonces.use("", NOW)


def test_too_many_nonces_drop_the_oldest() -> None:
    nonces = Nonces(count_max=2)
    given = [nonces.give(bytes([n]) * 16, NOW)[0] for n in range(3)]
    assert [nonces.use(nonce, NOW) for nonce in given] == [False, True, True]


def test_a_duty_that_fails_is_named_and_tried_again_when_poked() -> None:
    done, failing = threading.Event(), threading.Event()
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            failing.set()
            raise ChainUnreachable("away")
        done.set()

    duties = Duties([Duty("anchor", 3600, work)], now_s=lambda: NOW)
    duties.start()
    assert failing.wait(10)
    while duties.states()[0].fault is None:
        assert not done.is_set()
    assert duties.states()[0].fault == "ChainUnreachable"
    duties.poke("anchor")
    assert done.wait(10)
    duties.stop()
    assert duties.states()[0].fault is None
    assert duties.states()[0].done_at == NOW


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_duty_that_ended_by_an_error_nobody_foresaw_is_not_well() -> None:
    def work() -> None:
        raise ZeroDivisionError

    duties = Duties([Duty("anchor", 3600, work)], now_s=lambda: NOW)
    assert duties.states()[0].fault is None
    duties.start()
    ended = time.monotonic() + 10
    while duties.states()[0].fault is None:
        assert time.monotonic() < ended
    assert duties.states()[0].fault == DIED
    duties.stop()


def test_settings_are_read_back_as_written(tmp_path: Path) -> None:
    from dataclasses import replace

    from ledger.log.notes import COSIGNATURE

    witnesses = {
        f"w{n}": NoteSigner.from_seed(f"w{n}", seed(f"w{n}"), algorithm=COSIGNATURE) for n in range(4)
    }
    settings, _ = make_city(tmp_path, witnesses)
    anchored = replace(settings, anchor=AnchorAddress("http://node", 7, "0x" + "11" * 20))
    assert CitySettings.from_json(anchored.to_json()) == anchored
    assert anchored.city()["anchor"] == {"chain_id": 7, "contract": "0x" + "11" * 20, "validators": []}
    for broken in (
        {"threshold": 5},
        {"origin": "a b"},
        {"port": 65_536},
        {"version": 2},
        {"verify_workers": 1},
    ):
        with pytest.raises(MalformedValue):
            CitySettings.from_json({**settings.to_json(), **broken})
    with pytest.raises(MalformedValue):
        Pace(anchor_s=0)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_leaf_hashes_come_only_out_of_tiles_that_lead_to_the_root(tmp_path: Path, size: int) -> None:
    entries = [n.to_bytes(4, "big") for n in range(size)]
    with Log.create(tmp_path / "log", ORIGIN, NoteSigner.from_seed(ORIGIN, seed("log"))) as log:
        log.append([Item(entry.rjust(16, b"\0"), entry, b"", None) for entry in entries])
        tiles, head = CheckedTiles(log.reader, tiles_max=1), log.checkpoint
        for index in {0, size // 2, size - 1}:
            assert tiles.leaf_hash(index, size, head.root) == leaf_hash(entries[index])
        with pytest.raises(ProofInvalid):
            CheckedTiles(log.reader).leaf_hash(size - 1, size, bytes(32))


class Dripping(httpx.AsyncByteStream):
    """An answer of which a byte comes now and then, for ever."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.001)


def posting(answer: Callable[[httpx.Request], Any], **limits: float) -> Poster:
    return Poster(http=httpx.AsyncClient(transport=httpx.MockTransport(answer)), **limits)


def test_a_witness_that_drips_its_answer_is_given_up_in_time() -> None:
    post = posting(lambda _: httpx.Response(200, stream=Dripping()), deadline_s=0.02)
    with pytest.raises(WitnessUnreachable, match="within"):
        post("http://witness.example/add-checkpoint", b"")
    post.close()


async def never(_: httpx.Request) -> httpx.Response:
    """Answer no head, as one that drips it does."""
    await asyncio.Event().wait()
    raise AssertionError


def test_a_witness_that_never_ends_the_head_of_its_answer_is_given_up_in_time() -> None:
    post = posting(never, deadline_s=0.02)
    with pytest.raises(WitnessUnreachable, match="within"):
        post("http://witness.example/add-checkpoint", b"")
    post.close()


def test_who_waits_for_a_witness_when_the_service_ends_gets_an_error() -> None:
    asked = threading.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        return await never(request)

    post = posting(answer)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, "http://witness.example/add-checkpoint", b"")
        assert asked.wait(10)
        post.close()
        with pytest.raises(WitnessUnreachable, match="closed"):
            waiting.result(10)
    with pytest.raises(WitnessUnreachable, match="closed"):
        post("http://witness.example/add-checkpoint", b"")
    post.close()


def test_a_witness_answer_over_the_limit_is_refused() -> None:
    post = posting(lambda _: httpx.Response(200, stream=httpx.ByteStream(b"x" * (ANSWER_MAX + 1))))
    with pytest.raises(WitnessUnreachable, match="at most"):
        post("http://witness.example/add-checkpoint", b"")
    post.close()


def test_a_witness_that_answers_is_heard() -> None:
    post = posting(lambda request: httpx.Response(409, stream=httpx.ByteStream(request.content + b"\n")))
    assert post("http://witness.example/add-checkpoint", b"7") == (409, b"7\n")
    post.close()
