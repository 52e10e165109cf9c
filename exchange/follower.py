"""The one thread that looks at the chain, and what it knows: heads, progress of requests, the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from exchange.chainside import ChainSide, Tick
from exchange.mirror import Mirror, is_market_event
from exchange.pace import Pace
from exchange.progress import Progress, progress_of
from exchange.store import Store
from exchange.types import Stage
from exchange.waiting import Waiting
from ledger.errors import LedgerError
from ledger.types import Digest, Event, Request

CATCH_UP_S: Final = 2.0
REMEMBERED_MAX: Final = 4096  # requests whose events are kept in memory
_log = structlog.get_logger("exchange.follower")


class Follower:
    """Follows the chain in one thread and wakes whoever waits for what it finds.

    Args:
        chain: the chain side.
        store: where stages of requests are kept.
        waiting: who is woken.
        mirror: participants and assets, which it keeps up to date.
        pace: when to look next.
        on_taken_back: called when requests that had ended may go on, as the chain lost their end.
        now_s: the wall clock, for the times of events.
    """

    def __init__(
        self,
        *,
        chain: ChainSide,
        store: Store,
        waiting: Waiting,
        mirror: Mirror,
        pace: Pace,
        on_taken_back: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._chain, self._store, self._waiting, self._mirror = chain, store, waiting, mirror
        self._pace, self._on_taken_back, self._now_s = pace, on_taken_back, now_s
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._events: dict[Digest, tuple[Event, ...]] = {}
        self._head = 0
        self._fault = ""
        self._seen_at = time.monotonic()
        self._wake = threading.Event()
        self._looked = threading.Condition()
        self._looks_begun = self._looks_done = 0
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    # --- what it knows

    @property
    def head(self) -> int:
        """The newest block that counts."""
        return self._head

    @property
    def fault(self) -> str:
        """The kind of error that the last look ended in; empty if it went well."""
        return self._fault

    @property
    def lag_s(self) -> float:
        """Seconds since the chain was last looked at with success."""
        return time.monotonic() - self._seen_at

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def progress(self, request_id: Digest, request: Request) -> Progress:
        """Return what the chain says of a request."""
        with self._lock:
            events = self._events.get(request_id)
            if events is None:
                events = tuple(self._chain.request_events(request_id))
                if len(self._events) >= REMEMBERED_MAX:
                    self._events.pop(next(iter(self._events)))
                self._events[request_id] = events
            head = self._head
        return progress_of(request_id, request, self._chain.deployment, events, head)

    def sync_stage(self, request_id: Digest) -> Progress:
        """Keep the stage that the chain gives a request, and return its progress.

        One at a time: a stage that was read earlier is never written over one that was read later.
        """
        with self._syncing:
            record = self._store.request(request_id)
            progress = self.progress(request_id, record.request)
            stage = progress.stage
            is_refused = stage is Stage.SUBMITTED and record.stage is Stage.REFUSED
            if stage is not record.stage and not is_refused:
                self._store.set_stage(request_id, stage, int(self._now_s()), progress.reason)
        if stage is not record.stage:
            self._waiting.announce(request_id)
        return progress

    def catch_up(self, timeout_s: float = CATCH_UP_S) -> None:
        """Look at the chain now and wait until that is done, or for as long as given."""
        if not self._thread.is_alive():
            self._note_look()
            return
        with self._looked:
            wanted = self._looks_begun + 1
            self._wake.set()
            self._looked.wait_for(lambda: self._looks_done >= wanted, timeout_s)

    def nudge(self) -> None:
        """Look at the chain soon, without waiting for it."""
        self._wake.set()

    # --- the thread

    def start(self) -> None:
        """Learn what is indexed already, and begin to follow."""
        self._head = self._chain.head()
        self._mirror.rebuild(self._chain.market_events())
        for request_id in self._unsettled():
            self.sync_stage(request_id)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once `waiting` has been stopped, and wait for it."""
        self._wake.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._waiting.is_stopping:
            self._note_look()
            now = time.monotonic()
            self._pace.saw(self._head, now)
            self._wake.wait(self._pace.delay_s(now, is_busy=self._is_busy()))
            self._wake.clear()

    def _note_look(self) -> None:
        """Look once; a chain or database that is away is noted and asked again at the next look."""
        try:
            self._note(self._look())
        except LedgerError as err:
            self._note(type(err).__name__, str(err))

    def _is_busy(self) -> bool:
        return self._waiting.is_waited_for() or self._chain.waiting_count() > 0

    def _look(self) -> str:
        with self._looked:
            self._looks_begun += 1
            begun = self._looks_begun
        try:
            tick = self._chain.tick()
            self.apply(tick)
            self._seen_at = time.monotonic()
            return tick.fault
        finally:
            with self._looked:
                self._looks_done = begun
                self._looked.notify_all()

    def apply(self, tick: Tick) -> None:
        """Take in what one look at the chain found."""
        touched = {request_id for each in tick.events if (request_id := _request_of(each)) is not None}
        with self._lock:
            self._head = tick.head
            if tick.rolled_back:
                self._events.clear()
            for request_id in touched:
                self._events.pop(request_id, None)
        self._follow_registry(tick)
        unsettled = self._unsettled() if tick.rolled_back else set()
        for request_id in self._store.known_requests(touched) | unsettled:
            self.sync_stage(request_id)
        if tick.rolled_back:
            _log.warning("chain_rolled_back", head=tick.head)
            self._waiting.touch_all()
            self._on_taken_back()
        for request_id in touched:
            self._waiting.touch(request_id)
        self._waiting.advance(tick.head)

    def _unsettled(self) -> set[Digest]:
        """Return the requests in flight, and those that had ended by a block which the chain has lost since."""
        live = {record.request_id for record in self._store.live_requests()}
        return live | (self._store.ended_requests() - self._chain.ended_requests())

    def _follow_registry(self, tick: Tick) -> None:
        if tick.rolled_back:
            self._mirror.rebuild(self._chain.market_events())
        elif any(map(is_market_event, tick.events)):
            self._mirror.apply(tick.events)

    def _note(self, fault: str, detail: str = "") -> None:
        """Log a change between following and failing once, not at every look."""
        if fault != self._fault:
            self._fault = fault
            if fault:
                _log.warning("chain_not_followed", error=fault, detail=detail)
            else:
                _log.info("chain_followed", head=self._head)


def _request_of(event: Event) -> Digest | None:
    found: Digest | None = getattr(event, "request_id", None)
    return found
