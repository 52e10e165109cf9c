"""Taking connections from one listening socket that several processes share, so that all have about as many.

Left alone, whichever process runs at the moment takes all that come: of 64 connections, two processes were seen to have 64 and 0, so that
one of them did nothing while requests waited at the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSequence
from socket import socket
from typing import Final

import structlog

# of a process that is not there (yet, or any more): nobody leaves it anything
NOT_TAKING: Final = (1 << 31) - 1
LEFT_S: Final = 0.01  # how long a connection is left to those who have fewer; then it is taken all the same
FAULT_S: Final = 1.0  # until the next try, where the system gives no connection: too many files, for one
_log = structlog.get_logger("api.licences")


class SharedListener:
    """One process's part in the socket. For one event loop, `start` and `stop` once each.

    Args:
        listening: the socket.
        counts: how many connections each process has, in memory that they share; NOT_TAKING at first.
        own: this process's place in it.
    """

    def __init__(self, listening: socket, counts: MutableSequence[int], own: int) -> None:
        listening.setblocking(False)
        self._listening, self._counts, self._own = listening, counts, own
        self._opening: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listening.getsockname()[1]
        return port

    def start(self, protocol: Callable[[], asyncio.Protocol], open_count: Callable[[], int]) -> None:
        """Begin to take connections.

        Args:
            protocol: makes the protocol of one connection.
            open_count: how many this process has.
        """
        self._loop = asyncio.get_running_loop()
        self._protocol, self._open_count = protocol, open_count
        self.note()
        self._loop.add_reader(self._listening, self._ready)

    def note(self) -> None:
        """Tell the others how many this process has; to be called now and then, since connections close by themselves."""
        self._counts[self._own] = self._open_count() + len(self._opening)

    def stop(self) -> None:
        """Take no more, and let go of the socket."""
        self._counts[self._own] = NOT_TAKING
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _ready(self) -> None:
        self.note()
        if self._counts[self._own] > min(self._counts):
            self._wait(LEFT_S)
        else:
            self._take()

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        self._loop.add_reader(self._listening, self._ready)
        self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process has it, or nobody wants it any more
        except OSError as err:
            _log.error("no_connection_taken", error=type(err).__name__, code=err.errno)
            self._wait(FAULT_S)
            return
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # it is gone again
            connection.close()
