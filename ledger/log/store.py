"""Finding entries: event ids and look-up keys, as plain columns and sorted runs, without a B-tree to write into."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ledger.log.batch import EVENT_ID_SIZE, KEY_HASH_SIZE, key_hash
from ledger.log.errors import LogDamaged
from ledger.log.files import Files

RUN_SIZE: Final = 1 << 16  # entries in the smallest run
MERGE_FACTOR: Final = 8
_MANY: Final = 1 << 10  # keys that touch so much of a long run that its pages are given back afterwards
_PART_SIZE: Final = 1 << 20  # records that are in memory at once while runs are merged
_RUN_NAME: Final = re.compile(r"([0-9]+)-([0-9]+)\.run", re.ASCII)
_KEY: Final = np.dtype(">u8")

Hashes = NDArray[np.uint64]


def hashes_from(data: bytes) -> Hashes:
    """Return concatenated 8-byte hashes as numbers."""
    return np.frombuffer(data, dtype=_KEY).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Some entries by ascending key hash; entries of one hash in their order."""

    keys: Hashes
    rows: Hashes

    @staticmethod
    def of(keys: Hashes, first: int) -> _Sorted:
        """Sort the hashes of the entries from `first` on; zero is no key."""
        order = np.argsort(keys, kind="stable")
        ascending = keys[order]
        start = np.searchsorted(ascending, np.uint64(1))
        return _Sorted(ascending[start:], order[start:].astype(np.uint64) + np.uint64(first))

    def only(self, wanted: NDArray[np.bool_]) -> _Sorted:
        """Return those of them that are wanted."""
        return _Sorted(self.keys[wanted], self.rows[wanted])


@dataclass(frozen=True, slots=True)
class _Run(_Sorted):
    """Entries [first, first + count), in a file."""

    first: int
    count: int
    path: Path
    pages: mmap.mmap | None = None

    @classmethod
    def open(cls, path: Path, first: int, count: int) -> _Run:
        records = path.stat().st_size // 16
        if path.stat().st_size % 16 or records > count:
            raise LogDamaged(f"index run {path.name} has {path.stat().st_size} bytes")
        if not records:
            nothing = np.empty(0, dtype=np.uint64)
            return cls(nothing, nothing, first, count, path)
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        data = np.frombuffer(pages, dtype=np.uint64)
        return cls(data[:records], data[records:], first, count, path, pages)

    def release(self) -> None:
        """Give the pages back that a look at the whole run touched; the system's cache keeps what it has room for."""
        if self.pages is not None and self.count > RUN_SIZE:
            self.pages.madvise(mmap.MADV_DONTNEED)


class SortedRuns:
    """A column of one 8-byte hash per entry, and what it takes to find the entries of a hash.

    The column is the truth: runs are made from it, each sorted and sealed once, and merged so that there are few.
    Hashes may repeat, and a caller checks the candidates. A zero hash is "no key" and is not found.
    """

    def __init__(self, folder: Path, *, files: Files) -> None:
        self._folder, self._files = folder, files
        self.column = folder / "column"
        self._runs: tuple[_Run, ...] = ()
        # what no run has yet: single hashes, and those that came by the thousand, each time sorted by themselves
        self._tail: dict[int, list[int]] = {}
        self._recent: tuple[_Sorted, ...] = ()
        self._size = 0

    def open(self, size: int) -> None:
        """Load the index of a log of `size` entries; what the files have beyond it is ignored.

        Raises:
            LogDamaged: the column is shorter than the log.
        """
        length = self.column.stat().st_size if self.column.exists() else 0
        if length < size * KEY_HASH_SIZE:
            raise LogDamaged(f"index column: expected {size * KEY_HASH_SIZE} bytes, got {length}")
        self._runs = self._load_runs(size)
        self._size = size
        self._seal()  # after a rebuilt column there may be far more than a tail
        self._tail, self._recent, self._size = {}, (), self._sealed
        self.advance(self._column_part(self._sealed, size))

    def _load_runs(self, size: int) -> tuple[_Run, ...]:
        named = [
            (match, path) for path in self._folder.iterdir() if (match := _RUN_NAME.fullmatch(path.name))
        ]
        # a merge leaves its inputs behind when it is interrupted: the longest run from each start is the newest
        found = sorted((int(m[1]), -int(m[2]), path) for m, path in named)
        runs: list[_Run] = []
        end = 0
        for first, minus_count, path in found:
            if first == end and first - minus_count <= size:
                runs.append(_Run.open(path, first, -minus_count))
                end = first - minus_count
            else:
                self._files.remove(path)
        return tuple(runs)

    @property
    def _sealed(self) -> int:
        return self._runs[-1].first + self._runs[-1].count if self._runs else 0

    def _column_part(self, start: int, end: int) -> bytes:
        if start == end:
            return b""
        descriptor = os.open(self.column, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, (end - start) * KEY_HASH_SIZE, start * KEY_HASH_SIZE)
        finally:
            os.close(descriptor)

    def stage(self, base: int, hashes: bytes) -> Path:
        """Write the hashes of entries from `base` on; they are found after `advance`. Returns the file to sync."""
        self._files.write_at(self.column, base * KEY_HASH_SIZE, hashes)
        return self.column

    def advance(self, hashes: bytes) -> None:
        """Find the next entries from now on."""
        keys = hashes_from(hashes)
        if len(keys) >= _MANY:
            self._recent = (*self._recent, _Sorted.of(keys, self._size))
        else:
            for row, key in enumerate(keys.tolist(), self._size):
                if key:
                    self._tail.setdefault(key, []).append(row)
        self._size += len(keys)

    def maintain(self) -> None:
        """Seal the runs that are full, and merge those that have become many.

        Raises:
            OSError: as the operating system says; the index stays as it was.
        """
        if self._size - self._sealed < RUN_SIZE:
            return
        self._seal()
        sealed = self._sealed
        # a new dictionary, because other threads may be reading the old one
        self._tail = {
            key: kept for key, rows in self._tail.items() if (kept := [row for row in rows if row >= sealed])
        }
        left = (block.only(block.rows >= sealed) for block in self._recent)
        self._recent = tuple(block for block in left if len(block.keys))

    def _seal(self) -> None:
        while self._size - self._sealed >= RUN_SIZE:
            first = self._sealed
            keys = hashes_from(self._column_part(first, first + RUN_SIZE))
            block = _Sorted.of(keys, first)
            path = self._folder / f"{first}-{RUN_SIZE}.run"
            self._files.replace(path, (block.keys.tobytes(), block.rows.tobytes()))
            self._runs = (*self._runs, _Run.open(path, first, RUN_SIZE))
            self._merge_equals()

    def _merge_equals(self) -> None:
        while len(self._runs) >= MERGE_FACTOR and len({run.count for run in self._runs[-MERGE_FACTOR:]}) == 1:
            inputs = self._runs[-MERGE_FACTOR:]
            first, count = inputs[0].first, sum(run.count for run in inputs)
            path = self._folder / f"{first}-{count}.run"
            self._files.replace_pieces(path, _merged(inputs))
            self._runs = (*self._runs[:-MERGE_FACTOR], _Run.open(path, first, count))
            for run in inputs:
                self._files.remove(run.path)

    def erase(self, row: int) -> None:
        """Forget the hash of one entry, durably; again after a crash. Other entries are found as before.

        The column, which says what is left to do, is written last.

        Raises:
            OSError: as the operating system says; the hash may still be there.
        """
        key = self._column_part(row, row + 1)
        (number,) = hashes_from(key).tolist()
        if not number:
            return
        if number in self._tail:
            self._tail[number] = [each for each in self._tail[number] if each != row]
        self._recent = tuple(block.only(block.rows != row) for block in self._recent)
        for run in self._runs:
            if run.first <= row < run.first + run.count:
                self._erase_in(run, key, row)
        self._files.write_at(self.column, row * KEY_HASH_SIZE, bytes(KEY_HASH_SIZE))
        self._files.sync([self.column])

    def _erase_in(self, run: _Run, key: bytes, row: int) -> None:
        """Put a copy of the record before a hash's records, which leaves the order as it is, in the place of one of them."""
        wanted = np.uint64(int.from_bytes(key, "big"))
        start, end = np.searchsorted(run.keys, wanted, "left"), np.searchsorted(run.keys, wanted, "right")
        found = run.rows[start:end].tolist()
        # what the column has under another hash is left from an erasure that was interrupted between its two writes
        kept = [each for each in found if each != row and self._column_part(each, each + 1) == key]
        count = len(found) - len(kept)
        if not count:
            return
        before = (int(run.keys[start - 1]), int(run.rows[start - 1])) if start else (0, 0)
        rows = np.array([before[1]] * count + kept, dtype=np.uint64)
        keys = np.array([before[0]] * count, dtype=np.uint64)
        self._files.write_at(run.path, (len(run.keys) + int(start)) * KEY_HASH_SIZE, rows.tobytes())
        self._files.write_at(run.path, int(start) * KEY_HASH_SIZE, keys.tobytes())
        self._files.sync([run.path])

    def find(self, key: bytes) -> list[int]:
        """Return the entries of one 8-byte hash, ascending."""
        wanted = np.uint64(int.from_bytes(key, "big"))
        # before the runs: what is sealed meanwhile is then found twice, not never
        tail, recent = self._tail.get(int(wanted), ()), self._recent
        found = set(tail)
        blocks: tuple[_Sorted, ...] = (*recent, *self._runs)
        for run in blocks:
            start, end = np.searchsorted(run.keys, wanted, "left"), np.searchsorted(run.keys, wanted, "right")
            found.update(run.rows[start:end].tolist())
        return sorted(found)

    def find_many(self, keys: bytes) -> list[tuple[int, int]]:
        """Return (position in `keys`, entry) of every hash that is there."""
        wanted = hashes_from(keys)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        tail, recent = self._tail, self._recent
        found = [(position, row) for position, key in enumerate(wanted.tolist()) for row in tail.get(key, ())]
        blocks: tuple[_Sorted, ...] = (*recent, *self._runs)
        for run in blocks:
            starts = np.searchsorted(run.keys, ascending, "left")
            inside = np.minimum(starts, max(len(run.keys) - 1, 0))
            hits = np.flatnonzero(run.keys[inside] == ascending) if len(run.keys) else ()
            for hit in hits:
                end = np.searchsorted(run.keys, ascending[hit], "right")
                found += [(int(order[hit]), row) for row in run.rows[starts[hit] : end].tolist()]
            if len(wanted) >= _MANY and isinstance(run, _Run):
                run.release()
        return found


def _merged(inputs: Sequence[_Run]) -> Iterator[tuple[int, bytes]]:
    """Yield the merged run's bytes with their offsets, a part of the hashes' range at a time."""
    total = sum(len(run.keys) for run in inputs)
    parts = total // _PART_SIZE + 1
    bounds = np.array([(part << 64) // parts for part in range(1, parts)], dtype=np.uint64)
    cuts = [[0, *np.searchsorted(run.keys, bounds).tolist(), len(run.keys)] for run in inputs]
    at = 0
    for part in range(parts):
        slices = [slice(cut[part], cut[part + 1]) for cut in cuts]
        keys = np.concatenate([run.keys[piece] for run, piece in zip(inputs, slices, strict=True)])
        rows = np.concatenate([run.rows[piece] for run, piece in zip(inputs, slices, strict=True)])
        order = np.argsort(keys, kind="stable")  # equal hashes keep the order of their entries
        yield at * KEY_HASH_SIZE, keys[order].tobytes()
        yield (total + at) * KEY_HASH_SIZE, rows[order].tobytes()
        at += len(keys)
        for run in inputs:
            run.release()


class EventIndex:
    """The private index of a log: event ids, which are unique, and look-up keys, which may repeat."""

    def __init__(self, folder: Path, *, files: Files) -> None:
        """Use the index in a folder.

        Args:
            folder: private to the log's writer.
            files: the file system.
        """
        self._files = files
        self._ids = folder / "event-ids"
        self._by_id = SortedRuns(folder / "by-event-id", files=files)
        self._by_key = SortedRuns(folder / "by-key", files=files)
        self._descriptor: int | None = None

    def open(self, size: int) -> None:
        """Load the index of a log of `size` entries.

        Raises:
            LogDamaged: a column is shorter than the log.
        """
        length = self._ids.stat().st_size if self._ids.exists() else 0
        if length < size * EVENT_ID_SIZE:
            raise LogDamaged(f"event ids: expected {size * EVENT_ID_SIZE} bytes, got {length}")
        self._by_id.open(size)
        self._by_key.open(size)

    def close(self) -> None:
        """Close the file of event ids."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def stage(self, base: int, event_ids: bytes, lookups: bytes) -> list[Path]:
        """Write the keys of entries from `base` on; they are found after `advance`. Returns the files to sync."""
        self._files.write_at(self._ids, base * EVENT_ID_SIZE, event_ids)
        return [self._ids, self._by_id.stage(base, _id_hashes(event_ids)), self._by_key.stage(base, lookups)]

    def advance(self, event_ids: bytes, lookups: bytes) -> None:
        """Find the next entries from now on."""
        self._by_id.advance(_id_hashes(event_ids))
        self._by_key.advance(lookups)

    def maintain(self) -> None:
        """Seal and merge runs where it is due.

        Raises:
            OSError: as the operating system says; the index stays as it was.
        """
        self._by_id.maintain()
        self._by_key.maintain()

    def _event_id(self, index: int) -> bytes:
        if self._descriptor is None:
            self._descriptor = os.open(self._ids, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._descriptor, EVENT_ID_SIZE, index * EVENT_ID_SIZE)

    def find(self, event_id: bytes) -> int | None:
        """Return the entry of an event id, or None."""
        candidates = self._by_id.find(key_hash(event_id))
        return next((index for index in candidates if self._event_id(index) == event_id), None)

    def find_many(self, event_ids: bytes) -> dict[int, int]:
        """Return the entries of those event ids that are there, by their position.

        Args:
            event_ids: 16 bytes each.
        """
        found = {}
        for position, index in self._by_id.find_many(_id_hashes(event_ids)):
            wanted = event_ids[position * EVENT_ID_SIZE : (position + 1) * EVENT_ID_SIZE]
            if self._event_id(index) == wanted:
                found[position] = index
        return found

    def erase_lookup(self, index: int) -> None:
        """Forget an entry's look-up key, durably; its event id stays.

        Raises:
            OSError: as the operating system says; the key may still be there.
        """
        self._by_key.erase(index)

    def lookup(self, key: bytes) -> list[int]:
        """Return the entries that may have this look-up key, ascending; the caller checks each."""
        return self._by_key.find(key_hash(key))


@lru_cache(maxsize=2)  # a batch's ids are looked for, staged and found: three times the same bytes
def _id_hashes(event_ids: bytes) -> bytes:
    return b"".join(
        [key_hash(event_ids[i : i + EVENT_ID_SIZE]) for i in range(0, len(event_ids), EVENT_ID_SIZE)]
    )
