"""The access records beside the log, compared with the batches in it: none altered, left out or made up."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.licences.access import RECORD_SIZE, AccessFiles
from ledger.licences.errors import LicenceError
from ledger.licences.layout import BookFolder
from ledger.licences.store import BatchRow, BookStore
from ledger.log.tree import leaf_hash, root_of
from ledger.replay.findings import Difference, Rule


def check_uses(folder: BookFolder, store: BookStore, logged: dict[int, bytes]) -> Iterator[Difference]:
    """Compare the root and number of each batch's records with its leaf, and the batches with the leaves, one to one.

    Args:
        folder: of the book.
        store: the book's tables.
        logged: log index and extra of the log's access_batch leaves: root ‖ u32 number of records.
    """
    missing = dict(logged)
    if folder.access.is_dir():
        files = AccessFiles(folder.access)
        for row in (row for writer in files.writers() for row in _batches(store, writer)):
            derived, problem = _derived(files, row)
            index = row.log_index
            if index is None:
                # stored, and perhaps logged: a crash may come before the row is told where
                index = next((at for at, extra in missing.items() if extra == derived), None)
                missing.pop(-1 if index is None else index, None)
                continue
            extra = missing.pop(index, None)
            if extra is None:
                problem = f"the book has a batch of {row.count} access records here, the log has none"
            elif derived is not None and derived != extra:
                problem = f"the access records give {derived.hex()}, the leaf has {extra.hex()}"
            if problem is not None:
                yield Difference(Rule.ACCESS_BATCH, problem, index=index)
    for index in sorted(missing):
        yield Difference(Rule.ACCESS_BATCH, "the batch's access records are not kept", index=index)


def _batches(store: BookStore, writer: str) -> Iterator[BatchRow]:
    position = 0
    while (row := store.batch_of(writer, position)) is not None and row.count > 0:
        yield row
        position = row.first + row.count


def _derived(files: AccessFiles, row: BatchRow) -> tuple[bytes | None, str | None]:
    """Return the extra that a batch's records give, or why they cannot be read."""
    try:
        records = files.records(row.writer, row.first, row.count)
    except (LicenceError, OSError) as err:
        return None, f"{row.count} access records of {RECORD_SIZE} bytes cannot be read: {err}"
    return root_of([leaf_hash(record) for record in records]) + row.count.to_bytes(4, "big"), None
