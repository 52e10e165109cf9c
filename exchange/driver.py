"""What a request's workflow does: look at the chain and our tables, and do the one thing that is due.

Nothing is remembered between two steps: each is found out from the chain and the tables. So each may be repeated
after a crash, and a chain that lost blocks is followed back and forth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from exchange.chainside import (
    Act,
    ChainSide,
    Close,
    Fate,
    Open,
    PostAnswer,
    PostChunk,
    RefuteDemand,
    Release,
    Seal,
    Withhold,
)
from exchange.follower import Follower
from exchange.join_store import drop_parts
from exchange.progress import Progress
from exchange.store import Store
from exchange.sums import Sums, basis_of, tree_root_of
from exchange.types import RequestRecord, Stage
from exchange.waiting import Waiting
from ledger.errors import LedgerError
from ledger.types import Digest, to_hex
from privacy.sealed_sum_answer import answer_chunk, cell_count, chunk_count, chunk_path

PAUSE_S: Final = 1.0
BACK_OFF_MAX: Final = 32  # blocks between two tries of a transaction that keeps failing
_BEFORE_SEAL: Final = (Stage.OPEN, Stage.SHARING, Stage.CONTRIBUTING)
_log = structlog.get_logger("exchange.driver")


@dataclass(slots=True)
class _Failures:
    """How often the due transaction has failed in a row, and from which block it may be tried again."""

    count: int = 0
    again_at: int = 0

    def add(self, head: int) -> None:
        self.again_at = head + min(1 << self.count, BACK_OFF_MAX)
        self.count += 1


class Driver:
    """Drives requests from one stage to the next. Safe to use from many threads, one for each request."""

    def __init__(
        self,
        *,
        chain: ChainSide,
        store: Store,
        follower: Follower,
        waiting: Waiting,
        sums: Sums,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._chain, self._store, self._follower = chain, store, follower
        self._waiting, self._sums, self._now_s = waiting, sums, now_s

    def leave(self, request_id: Digest, stage: Stage) -> Stage:
        """Do what is due until the request has left this stage, and return the one that it is at then.

        Raises:
            MarketStopping: the process stops; the request goes on after a restart.
        """
        while True:
            try:
                return self._leave(self._store.request(request_id), stage)
            except LedgerError as err:  # chain or database are away: neither is the request's fault
                _log.warning("driver_waits", request=to_hex(request_id), error=type(err).__name__)
                self._waiting.pause(PAUSE_S)

    def _leave(self, record: RequestRecord, stage: Stage) -> Stage:
        if record.stage is Stage.REFUSED:
            return Stage.REFUSED
        failures = _Failures()
        while True:
            progress = self._await_due(record, stage, failures)
            if progress.stage is not stage:
                self._follower.sync_stage(record.request_id)
                if progress.stage.is_final:
                    self._store.write(lambda connection: drop_parts(connection, record.request_id))
                return progress.stage
            act = self._due(progress)
            if act is None:
                continue
            reason = self._attempt(record, stage, act)
            if reason and stage is Stage.SUBMITTED and not self._follower_knows_open(record):
                return self._refuse(record, reason)
            if reason:
                failures.add(self._follower.head)
                self._log_failure(record, act, reason)

    # --- waiting

    def _await_due(self, record: RequestRecord, stage: Stage, failures: _Failures) -> Progress:
        """Wait until the request has left the stage, or something is due that has not just failed."""

        def ready() -> Progress | None:
            progress = self._progress(record)
            if progress.stage is not stage:
                return progress
            if progress.head < failures.again_at or self._due(progress) is None:
                return None
            return progress

        is_backing_off = failures.again_at > self._follower.head
        block = failures.again_at if is_backing_off else self._next_block(record, stage)
        return self._waiting.until(record.request_id, ready, block=block)

    def _attempt(self, record: RequestRecord, stage: Stage, act: Act) -> str:
        """Send a transaction and wait until it took effect or is no longer due.

        Returns:
            Why it failed; empty if it did not.
        """
        key = self._chain.submit(act)
        self._follower.nudge()

        def ready() -> str | None:
            progress = self._progress(record)
            if progress.stage is not stage or self._due(progress) != act:
                return ""
            outcome = self._chain.outcome(key)
            return outcome.reason or "unknown" if outcome.fate is Fate.FAILED else None

        return self._waiting.until(record.request_id, ready, each_look=True)

    def _next_block(self, record: RequestRecord, stage: Stage) -> int:
        """Return the next block at which something may become due without an event."""
        request = record.request
        deadlines = [request.approve_by, request.share_by, request.contribute_by, request.answer_by]
        if stage is Stage.SEALED:
            deadlines.append(request.answer_by + self._chain.answer_window())
        if stage is Stage.ANSWERED:
            progress = self._progress(record)
            deadlines = [progress.window_from + self._chain.answer_window()]
        return next((block for block in deadlines if block > self._follower.head), 0)

    def _progress(self, record: RequestRecord) -> Progress:
        return self._follower.progress(record.request_id, record.request)

    # --- what is due

    def _due(self, progress: Progress) -> Act | None:
        """Return the transaction that is due at the request's stage, None if there is nothing to do."""
        stage, request = progress.stage, progress.request
        if stage is Stage.SUBMITTED:
            return Open(request, self._store.request(progress.request_id).signature)
        if stage in _BEFORE_SEAL:
            members = tuple(progress.members)
            if progress.is_closable:
                return Close(request, members)
            return Seal(request, members) if progress.is_sealable else None
        if stage is Stage.SEALED:
            return self._due_sealed(progress)
        return self._due_answered(progress) if stage is Stage.ANSWERED else None

    def _due_sealed(self, progress: Progress) -> Act | None:
        request, members = progress.request, tuple(progress.members)
        if progress.head >= request.answer_by + self._chain.answer_window():
            return Withhold(request, members)
        answer = self._sums.answer(progress)
        return None if answer is None else PostAnswer(request, answer.root)

    def _due_answered(self, progress: Progress) -> Act | None:
        request, members = progress.request, tuple(progress.members)
        acceptance = self._store.request(progress.request_id).acceptance
        if acceptance:
            return Release(request, members, acceptance)
        if progress.open_demand is not None:
            return self._meet_demand(progress, progress.open_demand)
        is_over = progress.head >= progress.window_from + self._chain.answer_window()
        return Release(request, members, b"") if is_over else None

    def _meet_demand(self, progress: Progress, chunk: int) -> Act | None:
        stored, session = self._store.answer(progress.request_id), progress.session
        if stored is None or session is None or stored.basis != basis_of(session, progress.survivors):
            return None  # the answer on the chain is not one that this exchange made
        members, cells = tuple(progress.members), cell_count(stored.payload)
        if chunk >= chunk_count(cells):
            return RefuteDemand(progress.request, members, cells, tree_root_of(session.id, stored.payload))
        return PostChunk(
            request=progress.request,
            members=members,
            cells=cells,
            chunk=chunk,
            data=answer_chunk(stored.payload, chunk),
            path=tuple(chunk_path(session.id, stored.payload, chunk)),
        )

    # --- failures

    @staticmethod
    def _log_failure(record: RequestRecord, act: Act, reason: str) -> None:
        _log.warning("act_failed", request=to_hex(record.request_id), act=type(act).__name__, reason=reason)

    def _follower_knows_open(self, record: RequestRecord) -> bool:
        """Say whether the request is open after all: an attempt before a crash may have opened it."""
        self._follower.catch_up()
        return self._progress(record).opened is not None

    def _refuse(self, record: RequestRecord, reason: str) -> Stage:
        _log.info("request_refused", request=to_hex(record.request_id), reason=reason)
        self._store.set_stage(record.request_id, Stage.REFUSED, int(self._now_s()), reason)
        self._waiting.announce(record.request_id)
        return Stage.REFUSED
