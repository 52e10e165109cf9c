"""Who waits for what: threads and event streams that go on when a request, or the head, has moved.

Nothing here polls. A waiter names a request and, when a deadline matters to it, a block; it is woken when the
request is touched, when the head reaches that block, and when the process stops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from exchange.errors import MarketStopping
from ledger.types import Digest

T = TypeVar("T")
RECHECK_S: Final = 60.0  # a lost wake-up costs this much and no more


@dataclass(slots=True, eq=False)
class _Waiter:
    """One thread in `Waiting.until`."""

    block: int | None
    each_look: bool
    event: threading.Event = field(default_factory=threading.Event)


class Waiting:
    """All waiters of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[Digest, set[_Waiter]] = {}
        self._listeners: dict[Digest, set[Callable[[], None]]] = {}
        self._head = 0
        self._stop = threading.Event()

    def until(
        self,
        request_id: Digest,
        ready: Callable[[], T | None],
        *,
        block: int | None = None,
        each_look: bool = False,
    ) -> T:
        """Wait until `ready` returns something, and return that.

        Args:
            request_id: what is waited for.
            ready: called at the start and after each wake-up, in this thread.
            block: also look again when the head reaches this block, and at every block after it.
            each_look: also look again after every look at the chain: a transaction is under way.

        Raises:
            MarketStopping: the process stops.
        """
        waiter = _Waiter(block, each_look)
        with self._lock:
            self._waiters.setdefault(request_id, set()).add(waiter)
        try:
            while True:
                waiter.event.clear()
                if self._stop.is_set():
                    raise MarketStopping
                value = ready()
                if value is not None:
                    return value
                waiter.event.wait(RECHECK_S)
        finally:
            self._remove(request_id, waiter)

    def touch(self, request_id: Digest) -> None:
        """Wake whoever waits for this request."""
        with self._lock:
            waiters = list(self._waiters.get(request_id, ()))
        for waiter in waiters:
            waiter.event.set()

    def announce(self, request_id: Digest) -> None:
        """Wake whoever waits for this request, and tell its listeners: it has another stage."""
        with self._lock:
            listeners = list(self._listeners.get(request_id, ()))
        for listener in listeners:
            listener()
        self.touch(request_id)

    def touch_all(self) -> None:
        """Wake everybody: the chain has lost or replaced blocks."""
        with self._lock:
            requests = set(self._waiters)
        for request_id in requests:
            self.touch(request_id)

    def advance(self, head: int) -> None:
        """Note a look at the chain: wake whoever waits for that, or for a block up to `head`."""
        with self._lock:
            moved, self._head = head != self._head, head
            due = [
                waiter
                for waiters in self._waiters.values()
                for waiter in waiters
                if waiter.each_look or (moved and waiter.block is not None and head >= waiter.block)
            ]
        for waiter in due:
            waiter.event.set()

    def is_waited_for(self) -> bool:
        """Say whether any thread waits."""
        with self._lock:
            return bool(self._waiters)

    @contextmanager
    def listening(self, request_id: Digest, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` whenever this request has another stage while the block runs. It must not block."""
        with self._lock:
            self._listeners.setdefault(request_id, set()).add(listener)
        try:
            yield
        finally:
            with self._lock:
                listeners = self._listeners[request_id]
                listeners.discard(listener)
                if not listeners:
                    del self._listeners[request_id]

    def stop(self) -> None:
        """End every wait with MarketStopping, now and later."""
        self._stop.set()
        with self._lock:
            waiters = [waiter for waiters in self._waiters.values() for waiter in waiters]
            listeners = [listener for listeners in self._listeners.values() for listener in listeners]
        for waiter in waiters:
            waiter.event.set()
        for listener in listeners:
            listener()

    def pause(self, seconds: float) -> None:
        """Wait that long.

        Raises:
            MarketStopping: the process stops.
        """
        if self._stop.wait(seconds):
            raise MarketStopping

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def _remove(self, request_id: Digest, waiter: _Waiter) -> None:
        with self._lock:
            waiters = self._waiters[request_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[request_id]
