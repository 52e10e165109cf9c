"""Sorted runs find exactly the repeated ids and the leaves that are named, whatever the number of runs and ranges."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.replay.runs import (
    NEEDLE_RECORD,
    Run,
    id_records,
    leaf_records,
    matches,
    needle_records,
    range_bits,
    repeated_ids,
    write_run,
)

IDS = st.lists(
    st.sampled_from([bytes([i]) * 8 + bytes([j]) * 8 for i in range(4) for j in range(4)]), max_size=40
)


def array(rows: list[bytes], width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)


@settings(deadline=None)
@given(
    ids=IDS,
    bits=st.integers(0, 5),
    chunk=st.integers(1, 9),
    factor=st.integers(0, (1 << 63) - 1),
    piece=st.integers(1, 50),
)
def test_repeated_ids_are_found_with_their_first(
    ids: list[bytes], bits: int, chunk: int, factor: int, piece: int
) -> None:
    with TemporaryDirectory() as folder:
        runs: list[Run] = []
        for first in range(0, len(ids), chunk):
            part = array(ids[first : first + chunk], 16)
            records = id_records(part, np.arange(len(part)), 2 * factor + 1)
            runs.append(write_run(Path(folder) / str(first), records, first=first, bits=bits))
        expected = sorted((i, ids.index(one)) for i, one in enumerate(ids) if ids.index(one) < i)
        assert sorted(repeated_ids(runs, bits, piece_records=piece)) == expected


@settings(deadline=None)
@given(
    leaves=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    named=st.lists(
        st.tuples(st.integers(0, 29), st.integers(0, 14)), max_size=10, unique_by=lambda pair: pair[0]
    ),
    bits=st.integers(0, 4),
    chunk=st.integers(1, 7),
    factor=st.integers(0, (1 << 63) - 1),
    piece=st.integers(1, 50),
)
def test_leaves_before_a_needle_with_its_prefix_are_found(
    leaves: list[int], named: list[tuple[int, int]], bits: int, chunk: int, factor: int, piece: int
) -> None:
    hashes = [bytes([value * 17]) * 32 for value in leaves]
    with TemporaryDirectory() as folder:
        runs, needles = [], []
        for first in range(0, 30, chunk):
            part = array(hashes[first : first + chunk], 32)
            runs.append(
                write_run(
                    Path(folder) / f"l{first}", leaf_records(part, 2 * factor + 1), first=first, bits=bits
                )
            )
            here = [(at - first, value) for at, value in named if first <= at < first + chunk]
            wanted = array([bytes([value * 17]) * 32 for _, value in here], 32)
            records = needle_records(wanted, np.array([at for at, _ in here], np.int64), 2 * factor + 1)
            needles.append(write_run(Path(folder) / f"n{first}", records, first=first, bits=bits))
        pairs = [
            (int(p["needle"]), int(p["leaf"]))
            for part in matches(needles, runs, bits, piece_records=piece)
            for p in part
        ]
        for at, value in named:
            before = [i for i, one in enumerate(leaves) if one == value and i < at]
            assert [leaf for needle, leaf in sorted(pairs) if needle == at] == before[:4]


def test_ranges_stay_small() -> None:
    assert [range_bits(size) for size in (0, 1, 1 << 20, (1 << 20) + 1, 52_150_000)] == [0, 0, 0, 1, 6]


def peak_bytes(work: Callable[[], object]) -> int:
    """Memory that a call takes at its most, as Python and numpy count it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_log_of_one_leaf_repeated_takes_no_memory_for_each(tmp_path: Path) -> None:
    each, chunks = 4_000, 10
    hashes, ids = np.full((each, 32), 7, np.uint8), np.full((each, 16), 9, np.uint8)
    positions = np.arange(each)

    def runs(name: str, records: Any) -> list[Run]:
        paths = [tmp_path / f"{name}-{number}" for number in range(chunks)]
        return [write_run(path, records, first=at * each, bits=3) for at, path in enumerate(paths)]

    leaves, needles = runs("l", leaf_records(hashes, 5)), runs("n", needle_records(hashes, positions, 5))
    repeated = runs("i", id_records(ids, positions, 5))

    def walk() -> None:
        assert sum(len(pairs) for pairs in matches(needles, leaves, 3, piece_records=each)) > 4 * each
        assert sum(1 for _ in repeated_ids(repeated, 3, piece_records=each)) == each * chunks - 1

    every_record = each * chunks * (NEEDLE_RECORD.itemsize + 8)
    assert peak_bytes(walk) < every_record
