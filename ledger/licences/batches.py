"""Batches of access records: each becomes a leaf once, and a holder gets the proof that its records are in them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.encoding import Digest
from ledger.licences.access import BATCH_MAX, AccessFiles, ListedUse
from ledger.licences.book import LicenceBook
from ledger.licences.events import AccessBatch, make_event
from ledger.licences.keys import SigningKey
from ledger.log.tree import inclusion_path, leaf_hash, root_of

_PIECE: Final = 256  # records; a power of two
_REST: Final = 3  # times as long as the work before it


@dataclass(frozen=True, slots=True)
class BatchProof:
    """Where a record is: position among `count` records of the batch at `log_index`, and the way to the batch's root."""

    log_index: int
    position: int
    count: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ProvedUse:
    """A use as its holder is listed it; `batch` is None until its batch is logged."""

    listed: ListedUse
    batch: BatchProof | None


class AccessBatches:
    """The access records of one book.

    Args:
        book: open for writing.
        service: the service's key.
        rand: the system's randomness.
    """

    def __init__(self, book: LicenceBook, service: SigningKey, *, rand: Callable[[int], bytes]) -> None:
        self._book, self._service, self._rand = book, service, rand
        self._files = AccessFiles(book.folder.access)
        self._sealing = threading.RLock()  # a duty seals, and so does each holder that has its uses listed

    def seal(self, now_s: int) -> list[int]:
        """Log all records that are in no batch yet; return the log indexes of the new batches.

        Raises:
            LogError, DatabaseError: call again; no record comes into two batches.
            BookDamaged: a file of records is altered.
        """
        with self._sealing:
            self.prepare(now_s)
            indexes = []
            for row in self._book.store.open_batches():
                receipt = self._book.submit(row.event, now_s=now_s)
                self._book.store.set_batch_logged(row.seq, receipt.index)
                indexes.append(receipt.index)
            return indexes

    def prepare(self, now_s: int) -> None:
        """Sign and store the batches of what is in none yet; `seal` logs them, after a crash too.

        Raises:
            DatabaseError.
            BookDamaged: a file of records is altered.
        """
        with self._sealing:
            for name in self._files.writers():
                self._prepare(name, now_s)

    def _prepare(self, name: str, now_s: int) -> None:
        first, durable = self._book.store.batched_count(name), self._files.durable_count(name)
        while first < durable:
            count = min(BATCH_MAX, durable - first)
            event = AccessBatch(
                event_id=self._rand(16),
                issued_at=now_s,
                origin=self._book.parties.origin,
                root=self._root(name, first, count),
                count=count,
            )
            self._book.store.add_batch(name, first, count, make_event(event, self._service))
            first += count

    def _root(self, name: str, first: int, count: int) -> bytes:
        """Return a batch's root, made in pieces with rests between them: verifying processes answer on the same cores meanwhile.

        A tree is a tree over the roots of its pieces, where their length is a power of two.
        """
        roots = []
        for at in range(first, first + count, _PIECE):
            begun = time.perf_counter()
            records = self._files.records(name, at, min(_PIECE, first + count - at))
            roots.append(root_of([leaf_hash(record) for record in records]))
            time.sleep(_REST * (time.perf_counter() - begun))
        return root_of(roots)

    def uses_of(self, leaf_index: int, leaf_hash_of_issue: Digest) -> list[ProvedUse]:
        """List the uses of one licence, with their salts and the proofs of their batches."""
        listed = self._files.uses_of(leaf_index, leaf_hash_of_issue)
        return [ProvedUse(use, self._proof(use)) for use in listed]

    def erase(self, leaf_index: int) -> int:
        """Destroy the salts of one licence's records, durably, and return how many there were."""
        return self._files.erase(leaf_index)

    def _proof(self, use: ListedUse) -> BatchProof | None:
        row = self._book.store.batch_of(use.writer, use.position)
        if row is None or row.log_index is None:
            return None
        hashes = [leaf_hash(record) for record in self._files.records(use.writer, row.first, row.count)]
        position = use.position - row.first
        return BatchProof(row.log_index, position, row.count, tuple(inclusion_path(hashes, position)))
