"""Backfill: the licences of a Parquet file, signed by worker processes and logged by this one.

Before the first signature the job has a licence number for each row, so a row is done exactly if its status slot has a licence:
that follows from the log, and is all there is to know after a kill. Whole stretches of 256 rows become whole bundles of the log;
when other entries have come in between, single rows fill up to the next bundle. Memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ledger.licences.backfill_worker import Issuer, Plan, Stretch, issue_bundles, start_worker
from ledger.licences.book import LicenceBook
from ledger.licences.checks import IssueTerms
from ledger.licences.encoding import canonical
from ledger.licences.errors import BackfillFailed, BackfillRefused
from ledger.licences.keys import SigningKey
from ledger.licences.mapping import BackfillMapping
from ledger.licences.schema import LicenceType
from ledger.licences.store import JobRow
from ledger.licences.template import Template
from ledger.log.batch import Bundle, Item
from ledger.log.tiles import TILE_WIDTH

LICENCE_BYTES: Final = 1200  # on the disk, all told, with room to spare
MARGIN_BYTES: Final = 1 << 30
_STRETCH: Final = 16 * TILE_WIDTH  # rows that a worker takes at once
COMMIT_BUNDLES: Final = 256
_AHEAD: Final = 3  # stretches waiting for each worker
_READ_BYTES: Final = 1 << 18  # of one column at once, however long the file's row groups are


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is. `issued` counts what this run has logged, `seconds` since it began."""

    done: int
    total: int
    issued: int
    seconds: float

    @property
    def rate(self) -> float:
        """Licences a second, of this run."""
        return self.issued / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows of the file that are not logged yet: some multiple of 256, or fewer than 256."""

    batch: pa.RecordBatch
    lists: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int64]

    def part(self, start: int, end: int) -> _Chunk:
        """Return the rows from `start` to `end` of these."""
        batch = self.batch.slice(start, end - start)
        return _Chunk(batch, self.lists[start:end], self.indexes[start:end])

    @property
    def stretch(self) -> Stretch:
        """The same as a worker takes it."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.batch.schema) as writer:
            writer.write_batch(self.batch)
        return Stretch(sink.getvalue().to_pybytes(), self.lists.tolist(), self.indexes.tolist())

    def __len__(self) -> int:
        return len(self.lists)


class Backfill:
    """One file into one book.

    Args:
        book: open for writing.
        source: a Parquet file.
        mapping: of its columns.
        kind: the licence type that the mapping names.
        key: of the issuer that the mapping names, active in the log.
    """

    def __init__(
        self, book: LicenceBook, source: Path, *, mapping: BackfillMapping, kind: LicenceType, key: SigningKey
    ) -> None:
        mapping.require_kind(kind)
        self._book, self._source, self._mapping, self._kind, self._key = book, source, mapping, kind, key
        self._template = Template.of(
            kind, issuer=mapping.issuer, origin=book.parties.origin, holder=mapping.holder, signer=key.public
        )
        try:
            # pyarrow's default keeps every compressed byte that it has read until the file is closed
            self._file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_READ_BYTES)
        except (OSError, pa.ArrowInvalid) as err:
            raise BackfillRefused(f"{source.name} is no Parquet file that can be read") from err
        self.rows: int = self._file.metadata.num_rows
        if missing := [name for name in mapping.columns if name not in self._file.schema_arrow.names]:
            raise BackfillRefused(f"{source.name} has no column {', '.join(missing)}")
        if not self.rows:
            raise BackfillRefused(f"{source.name} has no rows")

    # --- for callers -------------------------------------------------------------------------------------

    @property
    def job(self) -> str:
        """The name of the job: the same file with the same mapping and key is the same job."""
        return hashlib.sha256(self._description()).hexdigest()[:32]

    def needed_bytes(self, rows: int) -> int:
        """Return the disk space that so many more licences need, with a margin."""
        return rows * LICENCE_BYTES + MARGIN_BYTES

    def run(
        self,
        *,
        now_s: int,
        workers: int = 2,
        progress: Callable[[Progress], None] | None = None,
        commit_bundles: int = COMMIT_BUNDLES,
    ) -> Progress:
        """Log all rows that are not logged yet. After a kill, the same call goes on where it was.

        Other threads may log other entries meanwhile, and publish, cosign and anchor what there is.

        Args:
            now_s: Unix seconds: `iat` of the job's licences, where the job is new.
            workers: processes that sign.
            progress: told after each commit.
            commit_bundles: bundles of 256 under one checkpoint.

        Raises:
            BackfillRefused: the disk is too small, a row cannot be a licence, or the job is of another file.
            BackfillFailed: a worker died; call again.
            EventRefused: the key may not sign, or a slot is taken; nothing of the commit was kept.
            LogError, DatabaseError, BookFull: call again.
        """
        job = self._start(now_s)
        done = self._done_count(job)
        self._require_disk(self.rows - done)
        run = _Run(self, job, done, workers=workers, commit=commit_bundles, tell=progress)
        run.go()
        self._book.finish_backfill(job.job)
        return run.progress()

    # --- the job -----------------------------------------------------------------------------------------

    def _description(self) -> bytes:
        """Return what makes this job this job. The file's footer has the sizes and statistics of all its columns."""
        with self._source.open("rb") as file:
            file.seek(-8, 2)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-8 - length, 2)
            footer = hashlib.sha256(file.read(length)).hexdigest()
        described = {
            "footer": footer,
            "bytes": self._source.stat().st_size,
            "rows": self.rows,
            "mapping": self._mapping.describe(),
            "key": self._key.public.kid,
        }
        return canonical(described, "backfill")

    def _start(self, now_s: int) -> JobRow:
        description = self._description()
        self._book.store.put_template(self._template.id, self._template.encode())
        job = self._book.start_backfill(self.job, description.decode("utf-8"), self.rows, now_s)
        if job.description != description.decode("utf-8") or job.count != self.rows:
            raise BackfillRefused("the job was begun with another file")
        return job

    def _require_disk(self, rows: int) -> None:
        needed, free = self.needed_bytes(rows), shutil.disk_usage(self._book.folder.root).free
        if rows and free < needed:
            raise BackfillRefused(
                f"{rows} licences need {needed >> 20} MiB on the disk, {free >> 20} MiB are free"
            )

    def _done_count(self, job: JobRow) -> int:
        step = 1 << 20
        return sum(
            int(self._done(job, first, min(step, job.count - first)).sum())
            for first in range(0, job.count, step)
        )

    def _done(self, job: JobRow, first: int, count: int) -> npt.NDArray[np.bool_]:
        """Say for each row of a range whether it is logged."""
        lists, indexes = self._book.slot_columns(job.first + first, count)
        done = np.zeros(count, dtype=np.bool_)
        for number in np.unique(lists).tolist():
            here = lists == number
            done[here] = self._book.state.slots.taken(number, indexes[here])
        return done

    def chunks(self, job: JobRow) -> Iterator[_Chunk]:
        """Return the rows that are not logged yet: whole stretches of 256 together, and what is left of broken ones apart."""
        first = 0
        for batch in self._file.iter_batches(batch_size=_STRETCH, columns=self._mapping.columns):
            lists, indexes = self._book.slot_columns(job.first + first, batch.num_rows)
            whole = _Chunk(batch, lists, indexes)
            done = self._done(job, first, batch.num_rows)
            first += batch.num_rows
            if not done.any() and len(whole) % TILE_WIDTH == 0:
                yield whole
            elif not done.all():
                yield from _pieces(whole, done)

    def plan(self, job: JobRow) -> Plan:
        """Return what the workers of a job share."""
        return Plan(
            mapping=self._mapping,
            kind=self._kind,
            template=self._template,
            alg=self._key.alg,
            secret=self._key.secret,
            lookup_key=self._book.lookup_key,
            issued_at=job.issued_at,
        )

    @property
    def book(self) -> LicenceBook:
        """The book."""
        return self._book

    def terms(self, job: JobRow) -> IssueTerms:
        """Return whose licences they are, and which numbers they have."""
        key_id = self._key.public.key_id
        return IssueTerms(
            self._mapping.issuer, self._mapping.type_code, key_id, job.first, job.first + job.count
        )


def _pieces(chunk: _Chunk, done: npt.NDArray[np.bool_]) -> Iterator[_Chunk]:
    """Cut a chunk, some rows of which are logged, into stretches of 256 of which none is, and what is left of the others."""
    for start in range(0, len(chunk), TILE_WIDTH):
        end = min(start + TILE_WIDTH, len(chunk))
        left = np.flatnonzero(~done[start:end]) + start
        if len(left) == end - start:
            yield chunk.part(start, end)
        elif len(left):
            yield _Chunk(chunk.batch.take(pa.array(left)), chunk.lists[left], chunk.indexes[left])


class _Run:
    """One run of a job: chunks to workers, bundles back, and into the book in commits."""

    def __init__(
        self,
        backfill: Backfill,
        job: JobRow,
        done: int,
        *,
        workers: int,
        commit: int,
        tell: Callable[[Progress], None] | None,
    ) -> None:
        self._backfill, self._job, self._workers, self._tell = backfill, job, workers, tell
        self._most = commit
        self._book, self._terms = backfill.book, backfill.terms(job)
        self._plan = backfill.plan(job)
        self._alone = Issuer(self._plan)  # for the rows that this process signs itself
        self._begun, self._done, self._issued = time.monotonic(), done, 0
        self._waiting: deque[tuple[_Chunk, Future[list[Bundle]]]] = deque()
        self._ready: list[tuple[_Chunk, Bundle]] = []
        self._loose: list[_Chunk] = []

    def progress(self) -> Progress:
        """Say how far it is."""
        seconds = time.monotonic() - self._begun
        return Progress(self._done, self._job.count, self._issued, seconds)

    def go(self) -> None:
        """Issue everything that is left."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self._workers, context, initializer=start_worker, initargs=(self._plan,))
        try:
            for chunk in self._backfill.chunks(self._job):
                if len(chunk) % TILE_WIDTH or self._needs_loose():
                    self._loose.append(chunk)
                else:
                    self._waiting.append((chunk, pool.submit(issue_bundles, chunk.stretch)))
                self._collect(self._workers * _AHEAD)
            self._collect(0)
            self._commit()
            self._issue_loose(sum(map(len, self._loose)))
        except BrokenProcessPool as err:
            raise BackfillFailed("a worker process died; call again to go on") from err
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _needs_loose(self) -> bool:
        """Say whether rows must be kept back, to fill the log up to its next bundle."""
        missing = -self._book.size % TILE_WIDTH
        return missing > sum(map(len, self._loose))

    def _collect(self, most: int) -> None:
        """Take finished work until at most `most` pieces are on their way, committing as it comes."""
        while len(self._waiting) > most:
            chunk, work = self._waiting.popleft()
            for n, bundle in enumerate(work.result()):
                self._ready.append((chunk.part(n * TILE_WIDTH, (n + 1) * TILE_WIDTH), bundle))
            if len(self._ready) >= self._most:
                self._commit()

    def _commit(self) -> None:
        """Log the bundles that are ready, after filling the log up to where bundles begin."""
        while self._ready:
            with self._book.writing():
                missing = -self._book.size % TILE_WIDTH
                while missing > sum(map(len, self._loose)) and self._ready:
                    self._loose.append(self._ready.pop()[0])  # its rows are signed again, one by one
                self._issue_loose(missing)
                now, self._ready = self._ready[: self._most], self._ready[self._most :]
                if now:
                    self._book.append_issues([bundle for _, bundle in now], self._terms)
                    self._count(len(now) * TILE_WIDTH)

    def _issue_loose(self, count: int) -> None:
        """Sign and log that many of the rows kept back, or all of them if they are fewer."""
        while count > 0 and self._loose:
            items: list[Item] = []
            most = min(count, TILE_WIDTH)
            while len(items) < most and self._loose:
                chunk = self._loose.pop()
                size = min(most - len(items), len(chunk))
                if size < len(chunk):
                    self._loose.append(chunk.part(size, len(chunk)))
                items += self._alone.items(chunk.part(0, size).stretch)
            self._book.append_loose_issues(items, self._terms)
            self._count(len(items))
            count -= len(items)

    def _count(self, rows: int) -> None:
        self._done += rows
        self._issued += rows
        if self._tell is not None:
            self._tell(self.progress())
