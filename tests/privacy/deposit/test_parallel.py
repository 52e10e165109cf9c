"""Sums in processes and on a Ray cluster are those of this process."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.deposit import (
    Deposit,
    DepositHeader,
    ProcessMapper,
    RayMapper,
    Selection,
    sum_cells,
    write_deposit,
)
from privacy.deposit.errors import DepositInvalid, ProcessLost, RayFailed, RayMissing
from privacy.deposit.stored import BLOCK_CELLS, FRAGMENT_CELLS, fragment_name
from privacy.types import Digest
from tests.privacy.deposit.deposit_world import SEED, cheaply, decrypted, key, values_of

COUNT = FRAGMENT_CELLS + 300
CELLS = values_of("parallel", COUNT, 6)
RANGES = [[(0, COUNT)], [(FRAGMENT_CELLS - 3, FRAGMENT_CELLS + 3)]]


@pytest.fixture(scope="module")
def deposit(tmp_path_factory: pytest.TempPathFactory) -> Deposit:
    header = DepositHeader(Digest(bytes(32)), key().id, {}, COUNT)
    folder = tmp_path_factory.mktemp("deposit")
    return write_deposit(folder, header, key(), CELLS, seed=SEED, mapper=cheaply)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayMapper]:
    if sys.version_info >= (3, 14):
        pytest.skip("there is no Ray for this Python")
    with RayMapper(workers=2) as mapper:
        yield mapper


def test_processes_write_and_add_as_this_one_does(deposit: Deposit, tmp_path: Path) -> None:
    header, cells = replace(deposit.header, cells=BLOCK_CELLS + 5), CELLS[: BLOCK_CELLS + 5]
    alone = write_deposit(tmp_path / "alone", header, key(), cells, seed=SEED)
    selection = Selection.of_ranges(RANGES)
    with ProcessMapper(2) as mapper:
        assert (
            write_deposit(tmp_path / "2", header, key(), cells, seed=SEED, mapper=mapper).root == alone.root
        )
        assert sum_cells(deposit, selection, mapper=mapper).encode() == sum_cells(deposit, selection).encode()


def test_a_process_that_ends_is_told_of() -> None:
    with ProcessMapper(1) as mapper, pytest.raises(ProcessLost):
        list(mapper(os._exit, [3]))


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_adds_as_this_process_does(deposit: Deposit, cluster: RayMapper) -> None:
    selection = Selection.of_ranges(RANGES)
    sums = sum_cells(deposit, selection, mapper=cluster)
    assert sums.encode() == sum_cells(deposit, selection).encode()
    assert decrypted(sums, 1 << 23) == [sum(int(CELLS[a:b].sum()) for a, b in own) for own in RANGES]


@pytest.mark.slow
def test_an_error_on_ray_is_the_deposits_own(deposit: Deposit, cluster: RayMapper, tmp_path: Path) -> None:
    for path in deposit.folder.iterdir():
        if path.name != fragment_name(1):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DepositInvalid, match=r"fragment-00001\.parquet"):
        sum_cells(Deposit.open(tmp_path), Selection.of_ranges(RANGES), mapper=cluster)


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told_of() -> None:
    with pytest.raises(RayFailed, match=r"127\.0\.0\.1:1"):
        RayMapper(address="127.0.0.1:1")


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayMissing, match="pip install ray"):
        RayMapper(workers=1)
