"""A listening socket that processes share: all have about as many connections, and nobody waits for one that is not there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from api.licences.shared_listener import LEFT_S, NOT_TAKING, SharedListener


class Part(asyncio.Protocol):
    """One process's connections; each is told whose it is."""

    def __init__(self, name: bytes, opened: set[Part]) -> None:
        self._name, self._opened = name, opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        transport.write(self._name)
        self._opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._opened.discard(self)


class Parts:
    """Several listeners in one loop, as processes would have them: each with a socket of its own number, and shared counts."""

    def __init__(self, count: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self.counts = [NOT_TAKING] * count
        self.opened: list[set[Part]] = [set() for _ in range(count)]
        self.listeners = [SharedListener(self._listening.dup(), self.counts, n) for n in range(count)]

    def start(self, number: int) -> None:
        mine, name = self.opened[number], b"%d" % number
        self.listeners[number].start(lambda: Part(name, mine), lambda: len(mine))

    @asynccontextmanager
    async def connected(self, count: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
        """Open connections, and wait until each was taken."""
        opened = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(count)]
        for reader, _ in opened:
            async with asyncio.timeout(30):
                await reader.readexactly(1)
        yield [writer for _, writer in opened]
        for _, writer in opened:
            writer.close()

    def sizes(self) -> list[int]:
        return [len(each) for each in self.opened]

    def stop(self) -> None:
        for number, listener in enumerate(self.listeners):
            if self.counts[number] != NOT_TAKING:
                listener.stop()
        self._listening.close()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


def test_all_have_about_as_many(runner: asyncio.Runner) -> None:
    async def run() -> list[int]:
        parts = Parts(3)
        for number in range(3):
            parts.start(number)
        async with parts.connected(60):
            sizes = parts.sizes()
        parts.stop()
        return sizes

    with runner:
        sizes = runner.run(run())
    assert sum(sizes) == 60
    assert max(sizes) - min(sizes) <= 2


def test_whoever_comes_later_gets_what_comes_until_all_have_as_many(runner: asyncio.Runner) -> None:
    async def run() -> tuple[list[int], list[int]]:
        parts = Parts(2)
        parts.start(0)
        async with parts.connected(10):
            alone = parts.sizes()
            parts.start(1)
            async with parts.connected(10):
                both = parts.sizes()
        parts.stop()
        return alone, both

    with runner:
        alone, both = runner.run(run())
    assert alone == [10, 0], "nothing is left to one that is not there"
    assert sum(both) == 20
    assert abs(both[0] - both[1]) <= 2


def test_nobody_waits_for_one_that_hangs(runner: asyncio.Runner) -> None:
    async def run() -> tuple[list[int], float]:
        parts = Parts(2)
        parts.counts[1] = 0  # it says that it has none, and takes none
        parts.start(0)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with parts.connected(5):
            sizes, took_s = parts.sizes(), loop.time() - begun
        parts.counts[1] = NOT_TAKING
        parts.stop()
        return sizes, took_s

    with runner:
        sizes, took_s = runner.run(run())
    assert sizes == [5, 0]
    assert took_s < 5 * LEFT_S + 10, "each was left to the other for a moment only"


def test_closed_connections_count_no_more(runner: asyncio.Runner) -> None:
    async def run() -> list[int]:
        parts = Parts(1)
        parts.start(0)
        seen = []
        async with parts.connected(4):
            while parts.listeners[0]._opening:  # its last step may be to come
                await asyncio.sleep(0.001)
            parts.listeners[0].note()
            seen.append(parts.counts[0])
        while parts.sizes() != [0]:
            await asyncio.sleep(0.001)
        parts.listeners[0].note()
        seen.append(parts.counts[0])
        parts.stop()
        return [*seen, parts.counts[0]]

    with runner:
        assert runner.run(run()) == [4, 0, NOT_TAKING]


def test_a_system_without_a_connection_to_give_is_asked_again(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.licences.shared_listener.FAULT_S", 0.01)

    class Poor(socket.socket):
        refusals = 2

        def accept(self) -> tuple[socket.socket, object]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(24, "too many open files")
            return super().accept()

    async def run() -> list[int]:
        parts = Parts(1)
        poor = Poor(fileno=parts._listening.dup().detach())
        parts.listeners[0] = SharedListener(poor, parts.counts, 0)
        parts.start(0)
        async with parts.connected(3):
            sizes = parts.sizes()
        parts.stop()
        assert poor.refusals == 0
        return sizes

    with runner:
        assert runner.run(run()) == [3]
