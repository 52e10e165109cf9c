"""The events of one deployment, kept in step with a chain that may lose or replace its last blocks.

Every row keeps its block's hash. Before anything new is read, the last block known is read again: when
the chain has another one there, or none, the index goes back to the newest block that both know, and
reads on from there. What is stored depends on the chain alone, so an index that is rebuilt has the same
rows.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from typing import Any, Final

from sqlalchemy import Engine

from ledger.chain import (
    BlockRef,
    Chain,
    RawLog,
    block_call,
    logs_call,
    parse_block,
    parse_logs,
)
from ledger.contracts import Contracts
from ledger.errors import ChainError, ChainUnreachable, MalformedLog
from ledger.store import IndexedLog, LogStore, Position, Rollback
from ledger.types import Event, EventRef, to_hex

SPAN_MAX: Final = 2_000
RECENT: Final = 256  # heads that are remembered to find where a fork began
_SAVE_EVERY: Final = 64  # blocks without events after which the position is stored all the same
_CACHE_MAX: Final = 20_000
_MALFORMED: Final = "malformed"  # kind of a log that has an event's topic and no valid value; never given out


class Indexer:
    """Follows one deployment's events. Safe to share between threads.

    Args:
        engine: holds the tables (`ledger.store.create_tables`).
        chain: the node.
        contracts: the deployment.
        confirmations: blocks on top of an event's own before it is final.
        on_rollback: called, after it is stored, with every rollback that this object makes.
        sentinel_s: how often the newest block is read again while the chain stands still.
        span_max: blocks of one reading of logs, for nodes that limit it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: Engine,
        chain: Chain,
        contracts: Contracts,
        *,
        confirmations: int = 0,
        on_rollback: Callable[[Rollback], None] | None = None,
        sentinel_s: float = 1.0,
        span_max: int = SPAN_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain, self._contracts = chain, contracts
        self._confirmations, self._on_rollback = confirmations, on_rollback
        self._sentinel_s, self._span_max, self._clock = sentinel_s, span_max, clock
        deployment = contracts.deployment
        self._start = max(0, deployment.block - 1)
        self._store = LogStore(engine, deployment.chain_id, deployment.ledger)
        self._topics = [[to_hex(topic) for topic in contracts.event_topics()]]
        self._lock = threading.Lock()
        self._stored: Position | None = None  # what the database says
        self._here = Position(self._start, None)  # how far this object has read: at or after `_stored`
        self._recent: deque[Position] = deque(maxlen=RECENT)
        self._checked_at = 0.0
        self._decoded: OrderedDict[tuple[bytes, int], Event] = OrderedDict()

    # --- following ---------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Catch up with the chain and return the number of new events. Another thread's tick counts.

        Raises:
            ChainUnreachable: no usable answer; try again.
            ChainMismatch: the node, or the database, is of another deployment.
        """
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            return self._follow()
        finally:
            self._lock.release()

    def rebuild(self) -> int:
        """Forget every event and read all again from the chain; return how many there are."""
        with self._lock:
            self._store.clear(self._start)
            self._go_to(self._store.position(self._start))
            return self._follow()

    def head(self) -> int:
        """Return the number of the newest block whose events are indexed."""
        if self._stored is None:
            return self._store.position(self._start).number
        return self._here.number

    # --- reading -----------------------------------------------------------------------------------------

    def events(
        self,
        request_id: bytes | None = None,
        kinds: Collection[type[Event]] | None = None,
        after: EventRef | None = None,
        *,
        unconfirmed: bool = False,
        limit: int | None = None,
    ) -> list[Event]:
        """Return events in the chain's order.

        Args:
            request_id: of this request only.
            kinds: of these classes only.
            after: later than this event only.
            unconfirmed: those that are mined and not final yet, too.
            limit: at most that many.
        """
        names = None if kinds is None else [kind.__name__ for kind in kinds]
        to_block = self.head() if unconfirmed else self.head() - self._confirmations
        found = self._store.find(
            request_id=request_id, kinds=names, after=after, to_block=to_block, limit=limit
        )
        return [event for log in found if (event := self._decode(log)) is not None]

    def is_final(self, at: EventRef) -> bool:
        """Say whether an event has its confirmations."""
        return at.block <= self.head() - self._confirmations

    def rollbacks(self, after_generation: int = 0) -> list[Rollback]:
        """Return the rollbacks after one, oldest first: for a reader that keeps its own place."""
        return self._store.rollbacks_after(after_generation)

    # --- one round ---------------------------------------------------------------------------------------

    def _follow(self) -> int:
        if self._stored is None:
            self._contracts.require_deployed()
            self._go_to(self._store.position(self._start))
        head = self._chain.block_number()
        idle = head == self._here.number and self._here.hash is not None
        if idle and self._clock() - self._checked_at < self._sentinel_s:
            return 0
        count, found = 0, 1
        while found:
            found = self._read_span(head)
            count += max(found - 1, 0)
            found = found if self._here.number < head else 0
        return count

    def _read_span(self, head: int) -> int:
        """Read the next span of blocks, or go back when the last known block was lost.

        Returns:
            1 + the number of events stored; 0 when nothing can be read before the chain moves.
        """
        here = self._here
        to_block = min(head, here.number + self._span_max)
        wanted = logs_call(self._contracts.addresses, here.number + 1, to_block, self._topics)
        calls = [block_call(here.number), block_call(max(to_block, here.number))]
        known, last, *logs = self._batch([*calls, wanted] if to_block > here.number else calls)
        self._checked_at = self._clock()
        if not self._is_same(parse_block(known), here):
            self._roll_back()
            return 1
        end = parse_block(last)
        if to_block <= here.number or end is None:
            return 0
        found = parse_logs(logs[0])
        if not self._is_settled(found, end):
            return 0
        return self._append(end, found)

    def _append(self, end: BlockRef, found: list[RawLog]) -> int:
        after = Position(end.number, end.hash)
        stored = self._stored or self._here
        if found or after.number - stored.number >= _SAVE_EVERY or stored.hash is None:
            if not self._store.append(stored, after, [self._indexed(log) for log in found]):
                self._go_to(self._store.position(self._start))  # another process was here
                return 1
            self._stored = after
        self._here = after
        self._recent.append(after)
        return 1 + len(found)

    def _is_settled(self, found: list[RawLog], end: BlockRef) -> bool:
        """Check that the logs are of the chain that ends with `end`, which may have changed meanwhile."""
        hashes = {log.block: log.block_hash for log in found}
        if not found:
            return True
        *blocks, last = map(parse_block, self._batch([block_call(n) for n in (*hashes, end.number)]))
        same = all(block is not None and block.hash == hashes[block.number] for block in blocks)
        return same and last is not None and last.hash == end.hash

    def _roll_back(self) -> None:
        """Go back to the newest block that index and chain both know."""
        before, fork = self._stored or self._here, self._fork()
        rollback = self._store.roll_back(before, fork, head_before=self._here.number)
        self._go_to(self._store.position(self._start))
        self._recent = deque((p for p in self._recent if p.number <= self._here.number), RECENT)
        if rollback is not None and self._on_rollback is not None:
            self._on_rollback(rollback)

    def _fork(self) -> Position:
        """Find the newest known block that is still on the chain."""
        recent = [p for p in reversed(self._recent) if p.number < self._here.number]
        stored = [p for p in (self._stored,) if p is not None and p.hash is not None]
        candidates = sorted({*recent, *stored}, key=lambda p: p.number, reverse=True)
        while True:
            for start in range(0, len(candidates), 32):
                chunk = candidates[start : start + 32]
                blocks = map(parse_block, self._batch([block_call(p.number) for p in chunk]))
                for position, block in zip(chunk, blocks, strict=True):
                    if self._is_same(block, position):
                        return position
            below = candidates[-1].number if candidates else self._here.number
            candidates = self._store.known_blocks(below, RECENT)
            if not candidates:
                self._contracts.require_deployed()  # or it is another chain altogether
                return Position(self._start, None)

    # --- small things ------------------------------------------------------------------------------------

    def _go_to(self, stored: Position) -> None:
        self._stored = self._here = stored

    def _batch(self, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        answers = self._chain.batch(calls)
        for answer in answers:
            if isinstance(answer, ChainError):
                raise ChainUnreachable(f"the node refuses to be read: {answer}") from answer
        return answers

    @staticmethod
    def _is_same(block: BlockRef | None, known: Position) -> bool:
        return known.hash is None or (block is not None and block.hash == known.hash)

    def _indexed(self, log: RawLog) -> IndexedLog:
        try:
            event = self._contracts.decode_log(log)
        except MalformedLog:
            event = None
        if event is None:
            return IndexedLog(log, _MALFORMED, None)
        return IndexedLog(log, type(event).__name__, getattr(event, "request_id", None))

    def _decode(self, log: RawLog) -> Event | None:
        key = (log.block_hash, log.log_index)
        event = self._decoded.get(key)
        if event is None:
            try:
                event = self._contracts.decode_log(log)
            except MalformedLog:
                return None
            if event is not None:
                self._decoded[key] = event
                while len(self._decoded) > _CACHE_MAX:
                    self._decoded.popitem(last=False)
        return event
