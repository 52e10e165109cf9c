"""The index of hashes: candidates are found whatever the runs and merges, and it can be written again."""

import tempfile
from functools import cache
from hashlib import shake_128
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.log.errors import LogDamaged
from ledger.log.files import Files
from ledger.log.store import MERGE_FACTOR, RUN_SIZE, SortedRuns


@cache
def all_hashes() -> bytes:
    return shake_128(b"hashes").digest(8 * (MERGE_FACTOR + 1) * RUN_SIZE)


def hashes(start: int, end: int) -> bytes:
    return all_hashes()[8 * start : 8 * end]


def runs(folder: Path, size: int = 0) -> SortedRuns:
    folder.mkdir(exist_ok=True)
    index = SortedRuns(folder, files=Files())
    if not index.column.exists():
        index.column.touch()
    index.open(size)
    return index


def add(index: SortedRuns, base: int, data: bytes) -> None:
    index.stage(base, data)
    index.advance(data)
    index.maintain()


def one(number: int) -> bytes:
    return hashes(number, number + 1)


def test_entries_are_found_before_and_after_they_are_sealed(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    size = RUN_SIZE + 1000
    for base in range(0, size, 40_000):
        add(index, base, hashes(base, min(base + 40_000, size)))
    assert [path.name for path in (tmp_path / "runs").glob("*.run")] == [f"0-{RUN_SIZE}.run"]
    for number in (0, 39_999, RUN_SIZE - 1, RUN_SIZE, size - 1):
        assert index.find(one(number)) == [number]
    assert index.find(one(size)) == []
    assert sorted(index.find_many(one(size) + one(3) + one(size - 1))) == [(1, 3), (2, size - 1)]


def test_a_hash_may_repeat_and_zero_is_no_key(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    data = one(7) + b"\0" * 8 + one(7)
    add(index, 0, data + b"\0" * 8 * (RUN_SIZE - 3))
    add(index, RUN_SIZE, one(7))
    assert index.find(one(7)) == [0, 2, RUN_SIZE]
    assert sorted(index.find_many(one(7))) == [(0, 0), (0, 2), (0, RUN_SIZE)]
    assert index.find(b"\0" * 8) == []


def test_runs_are_merged_and_still_find_everything(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    numbers = [number * RUN_SIZE + number * 17 for number in range(MERGE_FACTOR)]
    for number in range(MERGE_FACTOR):
        add(index, number * RUN_SIZE, hashes(number * RUN_SIZE, (number + 1) * RUN_SIZE))
    assert [path.name for path in (tmp_path / "runs").glob("*.run")] == [f"0-{RUN_SIZE * MERGE_FACTOR}.run"]
    again = runs(tmp_path / "runs", RUN_SIZE * MERGE_FACTOR)
    for found in (index, again):
        assert [found.find(one(number)) for number in numbers] == [[number] for number in numbers]


def test_what_is_beyond_the_log_is_ignored(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, 10))
    index.stage(10, hashes(10, 20) + b"torn")
    again = runs(tmp_path / "runs", 10)
    assert again.find(one(9)) == [9] and again.find(one(10)) == []
    add(again, 10, hashes(30, 32))
    assert again.find(one(31)) == [11]


def test_runs_beyond_the_log_or_left_by_a_merge_are_removed(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, 2 * RUN_SIZE))
    stale = tmp_path / "runs" / f"{2 * RUN_SIZE}-{RUN_SIZE}.run"
    stale.write_bytes((tmp_path / "runs" / f"0-{RUN_SIZE}.run").read_bytes())
    again = runs(tmp_path / "runs", RUN_SIZE + 5)
    assert again.find(one(RUN_SIZE + 4)) == [RUN_SIZE + 4]
    assert again.find(one(RUN_SIZE + 5)) == []
    assert not stale.exists()


def test_lost_runs_are_made_again_from_the_column(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, 2 * RUN_SIZE + 3))
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    for path in (tmp_path / "runs").glob("*.run"):
        path.unlink()
    again = runs(tmp_path / "runs", 2 * RUN_SIZE + 3)
    assert again.find(one(RUN_SIZE + 1)) == [RUN_SIZE + 1]
    assert {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()} == before


def test_a_column_shorter_than_the_log_is_damage(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, 10))
    with pytest.raises(LogDamaged):
        runs(tmp_path / "runs", 11)


def test_a_torn_run_is_damage(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, RUN_SIZE))
    path = tmp_path / "runs" / f"0-{RUN_SIZE}.run"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LogDamaged):
        runs(tmp_path / "runs", RUN_SIZE)


def test_an_erased_hash_is_in_no_file_and_the_others_are_found(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    order = sorted(range(RUN_SIZE), key=one)
    first, last, beside = order[0], order[-1], order[1000]
    twice = (beside + 1) % RUN_SIZE if (beside + 1) % RUN_SIZE not in (first, last) else beside + 2
    data = bytearray(hashes(0, RUN_SIZE))
    data[8 * twice : 8 * twice + 8] = one(beside)  # two entries of one hash, as of a licence issued again
    size = RUN_SIZE + 2
    add(index, 0, bytes(data) + one(RUN_SIZE) + one(beside))
    kept = {n: bytes(data[8 * n : 8 * n + 8]) for n in range(0, RUN_SIZE, 997)}
    gone = [first, last, order[500], order[501], beside, RUN_SIZE]
    for number in gone:
        index.erase(number)
        index.erase(number)
    for made in (index, runs(tmp_path / "runs", size)):
        assert [made.find(one(number)) for number in gone if number != beside] == [[]] * (len(gone) - 1)
        assert made.find(one(beside)) == [min(twice, RUN_SIZE + 1), max(twice, RUN_SIZE + 1)]
        for number, key in kept.items():
            assert (number in made.find(key)) == (number not in gone)
    for path in (tmp_path / "runs").iterdir():
        everything = path.read_bytes()
        keys = {everything[at : at + 8] for at in range(0, len(everything), 8)}
        for number in gone:
            if number != beside:
                assert not keys & {one(number), one(number)[::-1]}


def test_an_erasure_is_completed_after_a_kill_between_its_writes(tmp_path: Path) -> None:
    class Killed(Files):
        left = 1

        def write_at(self, path: Path, offset: int, data: bytes) -> None:
            if path.suffix == ".run":
                if not self.left:
                    raise OSError("killed")
                self.left -= 1
            super().write_at(path, offset, data)

    add(runs(tmp_path / "runs"), 0, hashes(0, RUN_SIZE))
    broken = SortedRuns(tmp_path / "runs", files=Killed())
    broken.open(RUN_SIZE)
    with pytest.raises(OSError, match="killed"):
        broken.erase(7)
    index = runs(tmp_path / "runs", RUN_SIZE)
    assert 7 not in index.find(one(7))
    index.erase(7)
    assert index.find(one(7)) == []
    assert [index.find(one(number)) for number in (6, 8, 9)] == [[6], [8], [9]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.data())
def test_hashes_that_came_by_the_thousand_are_found_like_those_that_came_alone(
    sizes: list[int], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index, base = runs(Path(folder) / "runs"), 0
        everything = [number % 700 for number in range(sum(sizes))]  # so that each comes again and again
        column = b"".join(one(number) if number else bytes(8) for number in everything)
        for size in sizes:
            add(index, base, column[8 * base : 8 * (base + size)])
            base += size
        gone = set(data.draw(st.lists(st.integers(0, base - 1), max_size=5)))
        for row in gone:
            index.erase(row)
        for found in (index, runs(Path(folder) / "runs", base)):
            for number in data.draw(st.lists(st.integers(1, 699), max_size=5)):
                rows = [row for row in range(number, base, 700) if row not in gone]
                assert found.find(one(number)) == rows
                assert sorted(found.find_many(one(number))) == [(0, row) for row in rows]
            assert found.find(bytes(8)) == []


def test_what_is_left_unsealed_of_many_hashes_is_found_and_erased(tmp_path: Path) -> None:
    index = runs(tmp_path / "runs")
    add(index, 0, hashes(0, 3))
    add(index, 3, hashes(3, RUN_SIZE + 2000))
    assert (tmp_path / "runs" / f"0-{RUN_SIZE}.run").exists()
    for number in (2, 3, RUN_SIZE - 1, RUN_SIZE, RUN_SIZE + 1999):
        assert index.find(one(number)) == [number]
    index.erase(RUN_SIZE + 7)
    assert index.find(one(RUN_SIZE + 7)) == [] and index.find(one(RUN_SIZE + 8)) == [RUN_SIZE + 8]
