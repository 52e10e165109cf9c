"""Sorted runs on disk: equal 128-bit ids, and which leaf a hash names, over a whole log in flat memory.

Each chunk of the log is sorted by a 64-bit key when it is read. Afterwards the key space is walked in ranges of about a
million records, each gathered from all runs, so that equals stand side by side. Exact, no sketch: ids are compared
in all 128 bits; a leaf that a key finds is compared in all 256 with its tile.

Whoever made the log chose what is in it, and may have chosen one id, one leaf or one named licence for all entries, so
that one range has everything. A range is therefore taken in pieces, and of equals only the first few are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.replay.leaves import U8

RANGE_RECORDS: Final = 1 << 20
_PIECE_RECORDS: Final = 2 * RANGE_RECORDS  # a range of an honest log is one piece
_CANDIDATES: Final = 4  # leaves of one 64-bit key that are looked at; a fifth takes 2^80 hashes to make
ID_RECORD: Final = np.dtype([("key", "<u8"), ("low", "<u8"), ("position", "<u4")])
LEAF_RECORD: Final = np.dtype([("key", "<u8"), ("position", "<u4")])
NEEDLE_RECORD: Final = np.dtype([("key", "<u8"), ("position", "<u4"), ("hash", "u1", (32,))])
MATCH: Final = np.dtype([("needle", "<u8"), ("leaf", "<u8"), ("hash", "u1", (32,))])
Records = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One sorted file.

    Args:
        path: of the file.
        first: log index of the chunk's first entry.
        offsets: record number at which each range begins, and the number of records: shape (ranges + 1,).
    """

    path: Path
    first: int
    offsets: NDArray[np.uint32]


def range_bits(size: int) -> int:
    """Return log2 of the number of ranges for a log of this size."""
    return max(0, (size - 1) // RANGE_RECORDS).bit_length()


def write_run(path: Path, records: Records, *, first: int, bits: int) -> Run:
    """Sort records by key and write them."""
    records = records[np.argsort(records["key"], kind="stable")]
    records.tofile(path)
    bounds = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits if bits else 0)
    offsets = np.append(np.searchsorted(records["key"], bounds), len(records))
    return Run(path, first, offsets.astype(np.uint32))


def id_records(event_ids: U8, positions: NDArray[np.int64], factor: int) -> Records:
    """Return records of event ids, whose (key, low) is a bijection of the 128-bit id.

    Args:
        event_ids: uint8 of shape (n, 16).
        positions: of the entries in their chunk.
        factor: odd, 64 random bits: ids chosen to fall into one range would make it outgrow the memory.
    """
    halves = np.ascontiguousarray(event_ids).view(np.uint64)
    records = np.empty(len(event_ids), ID_RECORD)
    mixed = halves[:, 0] + halves[:, 1] * np.uint64(factor)
    records["key"] = mixed * np.uint64(factor)
    records["low"], records["position"] = halves[:, 1], positions
    return records


def leaf_records(hashes: U8, factor: int) -> Records:
    """Return records of leaf hashes, uint8 of shape (n, 32), spread by the factor as in `id_records`."""
    records = np.empty(len(hashes), LEAF_RECORD)
    records["key"], records["position"] = _keys(hashes, factor), np.arange(len(hashes))
    return records


def needle_records(previous: U8, positions: NDArray[np.int64], factor: int) -> Records:
    """Return records of leaf hashes that are looked for, uint8 of shape (n, 32), spread by the same factor."""
    records = np.empty(len(previous), NEEDLE_RECORD)
    records["key"], records["position"], records["hash"] = _keys(previous, factor), positions, previous
    return records


def repeated_ids(
    runs: Sequence[Run], bits: int, *, piece_records: int = _PIECE_RECORDS
) -> Iterator[tuple[int, int]]:
    """Yield (index, index of the first) for each entry whose event id stood in the log before it."""
    for number in range(1 << bits):
        known, known_index = np.empty(0, ID_RECORD), np.empty(0, np.uint64)
        for piece, piece_index in _gather(runs, number, ID_RECORD, piece_records):
            records, index = np.concatenate([known, piece]), np.concatenate([known_index, piece_index])
            order = np.lexsort((index, records["low"], records["key"]))
            records, index = records[order], index[order]
            keys, low = records["key"], records["low"]
            same = np.append(False, (keys[1:] == keys[:-1]) & (low[1:] == low[:-1]))
            begins = np.flatnonzero(~same)
            for position in np.flatnonzero(same):
                first = begins[np.searchsorted(begins, position, "right") - 1]
                yield int(index[position]), int(index[first])
            known, known_index = records[begins], index[begins]


def matches(
    needles: Sequence[Run], leaves: Sequence[Run], bits: int, *, piece_records: int = _PIECE_RECORDS
) -> Iterator[Records]:
    """Yield, piece by piece, which leaf may be the one that a needle names: same 64 bits, and before it in the log."""
    for number in range(1 << bits):
        keys: NDArray[np.uint64] | None = None
        index = np.empty(0, np.uint64)
        for wanted, at in _gather(needles, number, NEEDLE_RECORD, piece_records):
            if keys is None:
                keys, index = _first_leaves(leaves, number, piece_records)
            low = np.searchsorted(keys, wanted["key"], "left")
            high = np.searchsorted(keys, wanted["key"], "right")
            for step in range(min(_CANDIDATES, int((high - low).max(initial=0)))):
                has = low + step < high
                leaf = index[np.minimum(low + step, max(0, len(index) - 1))]
                has &= leaf < at
                pairs = np.empty(int(has.sum()), MATCH)
                pairs["needle"], pairs["leaf"], pairs["hash"] = at[has], leaf[has], wanted["hash"][has]
                yield pairs


def _first_leaves(
    leaves: Sequence[Run], number: int, piece_records: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the keys of one range's leaves, ascending, and their log indexes; of equal keys the first ones only."""
    keys, index = np.empty(0, np.uint64), np.empty(0, np.uint64)
    for piece, piece_index in _gather(leaves, number, LEAF_RECORD, piece_records):
        keys, index = np.concatenate([keys, piece["key"]]), np.concatenate([index, piece_index])
        order = np.lexsort((index, keys))
        keys, index = keys[order], index[order]
        kept = np.append(
            np.ones(min(_CANDIDATES, len(keys)), np.bool_), keys[_CANDIDATES:] != keys[:-_CANDIDATES]
        )
        keys, index = keys[kept], index[kept]
    return keys, index


def _keys(hashes: U8, factor: int) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64).ravel() * np.uint64(factor)


def _gather(
    runs: Sequence[Run], number: int, kind: np.dtype[Any], piece_records: int
) -> Iterator[tuple[Records, NDArray[np.uint64]]]:
    """Yield the records of one range from all runs, and their log indexes, in the order of the runs."""
    parts: list[Records] = []
    indexes: list[NDArray[np.uint64]] = []
    for run in runs:
        begin, end = int(run.offsets[number]), int(run.offsets[number + 1])
        if begin < end:
            part = np.fromfile(run.path, kind, end - begin, offset=begin * kind.itemsize)
            parts.append(part)
            indexes.append(part["position"].astype(np.uint64) + np.uint64(run.first))
        if sum(map(len, parts)) >= piece_records:
            yield np.concatenate(parts), np.concatenate(indexes)
            parts, indexes = [], []
    if parts:
        yield np.concatenate(parts), np.concatenate(indexes)
