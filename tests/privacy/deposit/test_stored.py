"""Deposits on disk: the same bytes after a crash, sums over sub-cubes, and nothing changed unseen."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privacy.deposit import Deposit, DepositHeader, Selection, check_points, sum_cells, write_deposit
from privacy.deposit.errors import DepositInUse, DepositInvalid, LengthMismatch, SelectionInvalid
from privacy.deposit.sizes import POINT_BYTES
from privacy.deposit.stored import BLOCK_CELLS, FRAGMENT_CELLS, fragment_name, leaf_of, tree_root
from privacy.types import Digest
from tests.privacy.deposit.deposit_world import (
    ORDER_THREE,
    SEED,
    Rounds,
    ceremony,
    cheaply,
    decrypted,
    key,
    values_of,
)

COUNT = FRAGMENT_CELLS + BLOCK_CELLS + 100  # a whole file, and one with a whole and a short block
CELLS = values_of("cells", COUNT, 6)
HEADER = DepositHeader(Digest(bytes(32)), key().id, {"dimensions": [], "lanes": []}, COUNT)


class CrashError(Exception):
    """The machine stops."""


@pytest.fixture(scope="module")
def deposit(tmp_path_factory: pytest.TempPathFactory) -> Deposit:
    return write_deposit(tmp_path_factory.mktemp("deposit"), HEADER, key(), CELLS, seed=SEED, mapper=cheaply)


@pytest.fixture
def small(tmp_path: Path) -> Deposit:
    return write_deposit(tmp_path / "small", replace(HEADER, cells=50), key(), CELLS[:50], seed=SEED)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Write a file's column `a` anew, in the right form."""
    table = pq.read_table(path)
    column = table.column("a").combine_chunks()
    data = change(b"".join(column.to_pylist()))
    array = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(POINT_BYTES), len(table), [None, pa.py_buffer(data)]
    )
    pq.write_table(table.set_column(0, table.schema.field(0), array), path)


def test_a_deposit_opens_as_it_was_written(deposit: Deposit) -> None:
    again = Deposit.open(deposit.folder)
    assert again == deposit
    assert again.root == deposit.root
    again.require_root(deposit.root)
    again.require_of(HEADER)
    assert sorted(contents(deposit.folder)) == [
        "fragment-00000.parquet",
        "fragment-00001.parquet",
        "leaves.bin",
        "manifest.json",
    ]


def test_a_crash_at_any_file_leaves_a_deposit_that_is_finished_to_the_same_bytes(
    deposit: Deposit, tmp_path: Path
) -> None:
    def dying(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for number, block in enumerate(cheaply(function, jobs)):
            if number == 9:
                raise CrashError
            yield block

    with pytest.raises(CrashError):
        write_deposit(tmp_path, HEADER, key(), CELLS, seed=SEED, mapper=dying)
    with pytest.raises(DepositInvalid):
        Deposit.open(tmp_path)
    (tmp_path / "fragment-00001.tmp").write_bytes(b"torn")
    finished = write_deposit(tmp_path, HEADER, key(), CELLS, seed=SEED, mapper=cheaply)
    assert finished.root == deposit.root
    assert contents(tmp_path) == contents(deposit.folder)


@pytest.mark.parametrize("what", ["cells", "seed", "header"])
def test_an_unfinished_deposit_is_not_finished_with_other_values(tmp_path: Path, what: str) -> None:
    def dying(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        raise CrashError
        yield

    own = replace(HEADER, cells=50)
    with pytest.raises(CrashError):
        write_deposit(tmp_path, own, key(), CELLS[:50], seed=SEED, mapper=dying)
    header = replace(own, policy=Digest(b"\x01" * 32)) if what == "header" else own
    cells = CELLS[:50] + 1 if what == "cells" else CELLS[:50]
    with pytest.raises(DepositInUse):
        write_deposit(tmp_path, header, key(), cells, seed=bytes(32) if what == "seed" else SEED)


def test_a_crash_before_the_folder_was_claimed_does_no_harm(tmp_path: Path, small: Deposit) -> None:
    again = tmp_path / "again"
    again.mkdir()
    (again / "unfinished.tmp").write_bytes(b"torn")
    assert write_deposit(again, small.header, key(), CELLS[:50], seed=SEED).root == small.root


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, small: Deposit) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, small.folder):
        before = contents(folder) if folder is small.folder else None
        with pytest.raises(DepositInUse):
            write_deposit(folder, small.header, key(), CELLS[:50], seed=SEED)
        assert before is None or contents(folder) == before


def test_numbers_and_keys_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = Rounds.begin(ceremony(label=b"\x09" * 32))
    other.complain()
    with pytest.raises(LengthMismatch):
        write_deposit(tmp_path, HEADER, key(), CELLS[1:], seed=SEED)
    with pytest.raises(LengthMismatch):
        write_deposit(tmp_path, HEADER, key(), CELLS, seed=SEED[1:])
    with pytest.raises(DepositInvalid):
        write_deposit(tmp_path, HEADER, other.finish().key, CELLS, seed=SEED)
    assert not list(tmp_path.iterdir())


def test_sums_over_sub_cubes_decrypt_to_the_sums_of_their_cells(deposit: Deposit) -> None:
    ranges = [
        [(0, COUNT)],
        [(0, 1), (BLOCK_CELLS - 1, BLOCK_CELLS + 1), (COUNT - 1, COUNT)],
        [(FRAGMENT_CELLS - 5, FRAGMENT_CELLS + 5)],
        [],
        [(100, 200)],
    ]
    found = decrypted(sum_cells(deposit, Selection.of_ranges(ranges)), 1 << 23)
    assert found == [sum(int(CELLS[a:b].sum()) for a, b in own) for own in ranges]


def test_scattered_cells_add_up_too(deposit: Deposit) -> None:
    lists = [np.arange(k, COUNT, 7_001) for k in (0, 3, 3)]
    found = decrypted(sum_cells(deposit, Selection.of_cells(lists)))
    assert found == [int(CELLS[own].sum()) for own in lists]


@pytest.mark.parametrize(
    "ranges",
    [[[(5, 5)]], [[(5, 4)]], [[(0, 5), (4, 6)]], [[(6, 8), (0, 2)]], [[(-1, 3)]], [], [[(COUNT, COUNT + 1)]]],
)
def test_ranges_that_are_no_selection_are_refused(
    deposit: Deposit, ranges: list[list[tuple[int, int]]]
) -> None:
    with pytest.raises(SelectionInvalid):
        sum_cells(deposit, Selection.of_ranges(ranges))


def test_cells_that_are_no_selection_are_refused() -> None:
    with pytest.raises(SelectionInvalid):
        Selection.of_cells([np.array([3, 3])])
    with pytest.raises(SelectionInvalid):
        Selection(np.array([1, 2]), np.array([0, 2]), 2)
    with pytest.raises(SelectionInvalid):
        Selection(np.array([2, 1]), np.array([0, 0]), 1)


def test_the_points_of_a_deposit_are_in_the_subgroup(deposit: Deposit) -> None:
    check_points(deposit, bytes(32))


def test_a_depositor_who_writes_a_point_outside_the_subgroup_is_found_out(tmp_path: Path) -> None:
    def spoiled(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for job in jobs:
            a, b = function(job)
            yield a, b[: 7 * POINT_BYTES] + ORDER_THREE + b[8 * POINT_BYTES :]

    bad = write_deposit(tmp_path, replace(HEADER, cells=500), key(), CELLS[:500], seed=SEED, mapper=spoiled)
    Deposit.open(tmp_path).require_root(bad.root)
    with pytest.raises(DepositInvalid, match="fragment 0: a point outside the subgroup"):
        check_points(bad, bytes(32))


def test_a_depositor_who_writes_no_points_is_found_out_by_the_sum(tmp_path: Path) -> None:
    def spoiled(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for job in jobs:
            a, b = function(job)
            yield a[:-1] + bytes([a[-1] ^ 1]), b

    bad = write_deposit(tmp_path, replace(HEADER, cells=50), key(), CELLS[:50], seed=SEED, mapper=spoiled)
    with pytest.raises(DepositInvalid, match="point 49"):
        sum_cells(bad, Selection.of_ranges([[(0, 50)]]))
    with pytest.raises(DepositInvalid):
        check_points(bad, bytes(32))


def test_a_changed_block_is_not_the_roots(small: Deposit) -> None:
    path = small.folder / fragment_name(0)
    rewritten(path, lambda data: data[POINT_BYTES:] + data[:POINT_BYTES])
    with pytest.raises(DepositInvalid, match="block 0"):
        sum_cells(small, Selection.of_ranges([[(0, 50)]]))


@pytest.mark.parametrize("damage", ["missing", "no parquet", "rows", "columns"])
def test_a_file_of_another_form_is_refused(small: Deposit, damage: str) -> None:
    path = small.folder / fragment_name(0)
    if damage == "missing":
        path.unlink()
    elif damage == "no parquet":
        path.write_bytes(b"PAR1" + bytes(100))
    elif damage == "rows":
        pq.write_table(pq.read_table(path).slice(1), path)
    else:
        pq.write_table(pq.read_table(path).rename_columns(["a", "c"]), path)
    with pytest.raises(DepositInvalid, match=r"fragment-00000\.parquet"):
        sum_cells(small, Selection.of_ranges([[(0, 50)]]))


@pytest.mark.parametrize("file", ["manifest.json", "leaves.bin"])
def test_a_changed_manifest_or_leaf_does_not_open(small: Deposit, file: str) -> None:
    path = small.folder / file
    data = path.read_bytes()
    for changed in (data[:-1], data + b" ", data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], b""):
        path.write_bytes(changed)
        with pytest.raises(DepositInvalid):
            Deposit.open(small.folder)


def test_a_deposit_with_another_root_or_header_is_refused(small: Deposit) -> None:
    with pytest.raises(DepositInvalid):
        small.require_root(bytes(32))
    with pytest.raises(DepositInvalid):
        small.require_of(replace(small.header, policy=Digest(b"\x01" * 32)))


def test_the_root_binds_policy_key_cube_and_every_leaf(small: Deposit) -> None:
    others = [
        replace(small.header, policy=Digest(b"\x01" * 32)),
        replace(small.header, key_id=Digest(b"\x01" * 32)),
        replace(small.header, cube={}),
    ]
    roots = {Deposit(small.folder, header, small.leaves).root for header in (small.header, *others)}
    roots.add(Deposit(small.folder, small.header, (bytes(32),)).root)
    assert len(roots) == 5


def test_a_leaf_binds_place_and_length() -> None:
    assert (
        len(
            {
                leaf_of(0, b"", b""),
                leaf_of(1, b"", b""),
                leaf_of(0, bytes(96), b""),
                leaf_of(0, b"", bytes(96)),
            }
        )
        == 4
    )


def test_a_tree_has_the_shape_of_rfc_6962() -> None:
    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    a, b, c = (bytes([k]) * 32 for k in range(3))
    assert tree_root([a, b, c]) == node(node(a, b), c)
    assert tree_root([a]) == a
