"""The node's loop: look at the chain, and work on the requests that something is due for.

One thread polls; a few work, one request each at a time, so that a request that fails or waits never holds
up the others. A chain or an exchange that is away is asked again, for as long as it takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from holder.errors import ExchangeError, SourceError, StoreError
from holder.machine import Machine
from holder.parts import NodeLock, Parts
from holder.settings import HolderSettings
from holder.warming import import_modules, prepare
from ledger.errors import ChainMismatch, LedgerError
from ledger.keystore import Keys
from ledger.types import Digest, EventRef
from privacy.errors import PrivacyError
from privacy.generators import GeneratorCache

if TYPE_CHECKING:
    from pandas import DataFrame

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
AWAY_PAUSE_S: Final = 1.0
SUBMITTER_S: Final = 1.0  # how often the submitter looks although the chain stands still

log = structlog.get_logger("shuyao.holder")


def run(
    settings: HolderSettings,
    keys: Keys,
    stop_event: threading.Event,
    *,
    frames: Mapping[str, DataFrame] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Run a holder's node until `stop_event` is set.

    Args:
        settings: from `holder.settings.load_settings`.
        keys: from `ledger.keystore.load`.
        stop_event: set it to end the node; it is seen within a poll.
        frames: pandas frames by asset name, for a holder that runs the node inside its own program.
        on_ready: called once the node has caught up with the chain for the first time.

    Raises:
        StoreInUse: another node runs on this home.
        StoreVersionUnknown, StoreError, DatabaseError: the store cannot be used.
        ChainMismatch: the RPC node serves another chain or deployment.
        EngineDisagrees: the data engine computes other numbers than every other.
    """
    configure_logs()
    import_modules(settings)
    with NodeLock(settings.home), Parts(settings, keys, frames=frames) as parts:
        generators = GeneratorCache(settings.cache)
        prepare(parts.data, generators, settings)
        Node(parts, stop_event, generators=generators).run(on_ready)


def configure_logs() -> None:
    """Write JSON lines, unless the program has configured its logs already."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=False,
    )


@dataclass(slots=True)
class Job:
    """What the loop knows of one live request.

    Attributes:
        running: the work in progress, if any.
        dirty: the chain moved since the last work began.
        due_at: when to look again although it did not, monotonic seconds.
        failures: failures in a row.
    """

    running: Future[float | None] | None = None
    dirty: bool = True
    due_at: float | None = None
    failures: int = 0


class Node:
    """The loop.

    Args:
        parts: the holder's pieces.
        stop: ends the loop.
        machine: what works on requests; made from the parts if not given.
        generators: of the commitments, loaded ahead or not.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        parts: Parts,
        stop: threading.Event,
        *,
        machine: Machine | None = None,
        generators: GeneratorCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts, self._stop, self._clock = parts, stop, clock
        settings = parts.settings
        self._machine = machine or Machine(
            store=parts.store,
            chain=parts.chain_side,
            exchange=parts.exchange,
            data=parts.data,
            signer=parts.keys.signer,
            contracts=parts.contracts,
            generators=generators or GeneratorCache(settings.cache),
            manual=settings.manual,
            ack_timeout_s=settings.ack_timeout_s,
        )
        self._jobs: dict[Digest, Job] = {}
        self._wake = threading.Event()
        self._seen_head = -1
        self._opened_until: EventRef | None = None
        self._generation = 0
        self._submitted_at = -1e9
        self._trouble = ""  # why the chain could not be followed, as last logged

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Loop until stopped."""
        self._require_memory()
        pool = ThreadPoolExecutor(self._parts.settings.workers, thread_name_prefix="request")
        log.info("node started", holder=self._parts.keys.signer.address.hex())
        try:
            while not self._stop.is_set():
                pause = self._round(pool)
                if on_ready is not None and self._seen_head >= 0:
                    on_ready()
                    on_ready = None
                self._wake.wait(pause)
                self._wake.clear()
        finally:
            self._parts.exchange.close()  # whoever waits for an answer gets an error now
            self._parts.chain.close()
            pool.shutdown(wait=True, cancel_futures=True)
            log.info("node stopped")

    def _require_memory(self) -> None:
        """Refuse open sessions of a restored backup."""
        restored = self._parts.store.refuse_if_restored()
        self._generation = max((r.generation for r in self._parts.indexer.rollbacks()), default=0)
        if restored:
            log.error("restored backup", refused=[request_id.hex() for request_id in restored])

    # --- one round ----------------------------------------------------------------------------------------

    def _round(self, pool: ThreadPoolExecutor) -> float:
        """Look at the chain, hand out what is due, and return how long to pause."""
        try:
            moved = self._follow()
            self._trouble = ""
        except LedgerError as err:
            if isinstance(err, ChainMismatch) and self._seen_head < 0:
                raise
            self._complain(err)
            return AWAY_PAUSE_S
        self._hand_out(pool, moved)
        if not self._jobs:
            self._parts.data.rest(time.monotonic())
        return self._pause()

    def _follow(self) -> bool:
        """Catch up with the chain; True when it moved."""
        parts, first = self._parts, self._seen_head < 0
        new = parts.indexer.tick()
        head = parts.indexer.head()
        moved = bool(new) or head != self._seen_head
        if first:
            self._raise_lines()
            self._catch_up()
            self._look_for_regulator()
        if moved:
            self._look_for_rollbacks()
            self._look_for_openings()
            self._seen_head = head
        if moved or self._clock() - self._submitted_at >= SUBMITTER_S:
            self._submitted_at = self._clock()
            parts.submitter.tick()
        return moved

    def _raise_lines(self) -> None:
        """Take over spending that the chain knows and this store does not: it is a restored backup."""
        for line in self._parts.store.lines():
            shown = self._parts.chain_side.line(line.line)
            if self._parts.store.raise_spent(line.line, at_least=shown.reserved + shown.spent):
                log.error("own ledger was behind the chain", line=line.key_space)

    def _catch_up(self) -> None:
        """Go on with the account's next nonce where a restored backup only knows used ones."""
        if self._parts.store.is_behind_chain():
            self._parts.submitter.resume_backup()
            self._parts.store.set_caught_up()

    def _look_for_regulator(self) -> None:
        """Say if nobody could open a seed in an audit; the seeds stay under this holder's own key all the same."""
        if not self._parts.chain_side.regulators():
            log.warning("no regulator's key on the chain", effect="noise seeds are sealed to nobody yet")

    def _look_for_rollbacks(self) -> None:
        for rollback in self._parts.indexer.rollbacks(self._generation):
            self._generation = rollback.generation
            self._opened_until = None
            self._parts.chain_side.forget()
            reopened = self._machine.reopen(rollback.fork_block + 1)
            log.warning("chain lost blocks", fork_block=rollback.fork_block, reopened=len(reopened))

    def _look_for_openings(self) -> None:
        for opened in self._parts.chain_side.opened_after(self._opened_until):
            self._machine.observe(opened)
            self._opened_until = opened.at

    def _hand_out(self, pool: ThreadPoolExecutor, moved: bool) -> None:
        self._collect()
        if moved:
            live = set(self._parts.store.live_requests())
            for request_id in live:
                self._jobs.setdefault(request_id, Job()).dirty = True
            for request_id in [r for r, job in self._jobs.items() if r not in live and job.running is None]:
                del self._jobs[request_id]
        now = self._clock()
        for request_id, job in self._jobs.items():
            due = job.due_at is not None and job.due_at <= now
            if job.running is None and (due or (job.dirty and job.failures == 0)):
                job.dirty, job.due_at = False, None
                job.running = pool.submit(self._machine.step, request_id)
                job.running.add_done_callback(lambda _: self._wake.set())

    def _collect(self) -> None:
        """Take finished work: when to look again, or what failed."""
        for request_id, job in self._jobs.items():
            if job.running is None or not job.running.done():
                continue
            error = job.running.exception()
            if error is None:
                wait, job.failures = job.running.result(), 0
            else:
                wait = self._failed(request_id, job, error)
            job.running = None
            job.due_at = None if wait is None else self._clock() + wait

    def _failed(self, request_id: Digest, job: Job, error: BaseException) -> float:
        """Say once what failed, and return the growing pause before the next try."""
        job.failures += 1
        if job.failures == 1 or not isinstance(error, _PASSING):
            kind, known = type(error).__name__, isinstance(error, _PASSING)
            detail = str(error) if known else "not shown"  # a foreign message may hold anything
            log.warning("request waits", request=request_id.hex(), error=kind, detail=detail)
        return min(BACKOFF_FIRST_S * 2.0 ** (job.failures - 1), BACKOFF_MAX_S)

    def _pause(self) -> float:
        settings, now = self._parts.settings, self._clock()
        pause = settings.poll_live_s if self._jobs else settings.poll_idle_s
        due = [job.due_at - now for job in self._jobs.values() if job.due_at is not None]
        return max(0.0, min([pause, *due]))

    def _complain(self, error: LedgerError) -> None:
        """Log why the chain cannot be followed, once for each reason."""
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            log.warning("cannot follow the chain", detail=trouble)
        self._trouble = trouble


_PASSING: Final = (ExchangeError, LedgerError, SourceError, StoreError, PrivacyError)
