"""The passes of a replay over one log, and the worker processes that share the chunks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from ledger.licences.policy import City
from ledger.replay.beside import Beside, Signatures
from ledger.replay.counts import Counts
from ledger.replay.errors import WorkerLost
from ledger.replay.evidence import EvidencePlan, scan_evidence
from ledger.replay.findings import Difference, Findings, Rule
from ledger.replay.keys import KeyBook
from ledger.replay.links import write_links
from ledger.replay.ordered import OrderedPass
from ledger.replay.runs import Run, repeated_ids
from ledger.replay.scan import ScanPlan, scan_chunk
from ledger.replay.slots import SlotPages
from ledger.replay.tree import UpperTree

_Plan = TypeVar("_Plan")
_Result = TypeVar("_Result")
Progress = Callable[[str, int, int], None]
WORKERS: Final = 2
_AHEAD: Final = 2  # chunks a worker may be ahead of the reader


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to run.

    Args:
        rand: 8 random bytes, by which ids are spread.
        work: folder for temporary files, removed afterwards; None for the system's.
        workers: processes that read and hash; 0 reads in this one.
    """

    rand: bytes
    work: Path | None = None
    workers: int = WORKERS


@dataclass(frozen=True, slots=True)
class SignedEvents:
    """How many signed events were checked, and how many credentials were erased by right."""

    checked: int
    erased: int


@dataclass(slots=True)
class Stages:
    """The passes over one log, to be made in order: `scan`, `join`, `ordered`, and then `evidence`.

    Args:
        plan: of the replay.
        options: how to run.
        findings: gets every difference.
        progress: told (stage, done, total).
    """

    plan: ScanPlan
    options: ReplayOptions
    findings: Findings
    progress: Progress
    _ids: list[Run] = field(default_factory=list)
    _leaves: list[Run] = field(default_factory=list)
    _needles: list[Run] = field(default_factory=list)

    def scan(self) -> tuple[UpperTree, Counts]:
        """Read, hash and compare every chunk, and the tiles above them."""
        tree, counts = UpperTree(self.plan), Counts()
        for scan in self._each_chunk(scan_chunk, self.plan):
            tree.add(scan)
            counts.add_days(scan)
            self.findings.extend(scan.differences)
            self._ids.append(scan.ids)
            self._leaves.append(scan.leaves)
            self._needles.append(scan.needles)
            self.progress("read", self.plan.first(scan.number) + self.plan.count(scan.number), self.plan.size)
        self.findings.extend(tree.check_tiles())
        return tree, counts

    def join(self) -> None:
        """Find repeated event ids, and the licences that events name."""
        for index, first in repeated_ids(self._ids, self.plan.bits):
            detail = f"the event id of entry {first} again"
            self.findings.add(Difference(Rule.EVENT_REPEATED, detail, index=index))
        _remove(self._ids)
        needles = sum(int(run.offsets[-1]) for run in self._needles)
        write_links(
            self.plan,
            self._needles,
            self._leaves,
            progress=lambda done: self.progress("join", min(done, needles), needles),
        )
        _remove(self._leaves)
        _remove(self._needles)

    def ordered(self, keys: KeyBook) -> OrderedPass:
        """Go through the log in order."""
        ordered = OrderedPass(self.plan, keys, SlotPages(self.plan.work), self.findings, self.plan.sizes)
        for number in range(self.plan.chunks):
            ordered.replay(number)
            self.progress("events", self.plan.first(number) + self.plan.count(number), self.plan.size)
        ordered.finish()
        return ordered

    def evidence(self, beside: Beside, ordered: OrderedPass, city: City | None) -> SignedEvents:
        """Check the signed events kept beside the log, as far as `beside.signatures` says."""
        if beside.signatures is Signatures.NONE:
            return SignedEvents(0, 0)
        known = [span.public for span in ordered.keys.spans]
        known += [city.registrar, city.service] if city else []
        plan = EvidencePlan(
            scan=self.plan,
            log=beside.folder.log,
            signatures=beside.signatures,
            database_url=beside.database_url,
            keys={key.key_id: key for key in known},
            attested=city is not None,
        )
        checked = erased = 0
        for number, scan in enumerate(self._each_chunk(scan_evidence, plan)):
            self.findings.extend(scan.differences)
            checked, erased = checked + scan.read, erased + scan.erased
            self.progress("signatures", self.plan.first(number) + self.plan.count(number), self.plan.size)
        return SignedEvents(checked, erased)

    def _each_chunk(self, task: Callable[[_Plan, int], _Result], plan: _Plan) -> Iterator[_Result]:
        """Yield a task's results for all chunks in order, from worker processes that are never far ahead.

        Raises:
            WorkerLost: a process ended.
        """
        chunks, workers = range(self.plan.chunks), self.options.workers
        if not workers:
            yield from (task(plan, number) for number in chunks)
            return
        with ExitStack() as stack:
            # not forked: a copy of a process that has threads may hang in a lock
            pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
            stack.callback(pool.shutdown, cancel_futures=True)
            waiting: list[Future[_Result]] = []
            try:
                for number in chunks:
                    waiting.append(pool.submit(task, plan, number))
                    if len(waiting) > workers * _AHEAD:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            except BrokenProcessPool as err:
                raise WorkerLost("a worker process ended; its memory or the work folder may be full") from err


def _remove(runs: list[Run]) -> None:
    for run in runs:
        run.path.unlink()
    runs.clear()
