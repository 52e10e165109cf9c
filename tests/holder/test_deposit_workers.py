"""Where a trustee adds up ciphertexts: the settings are followed, and the sums are the same everywhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from holder.data import DataRoom
from holder.deposit import add_up
from holder.deposit_workers import LARGE_FRAGMENTS, DepositWorkers
from holder.errors import SettingsInvalid
from holder.settings import DepositSettings, settings_from_mapping
from privacy.deposit import Deposit, DepositHeader, Selection, sum_cells, write_deposit
from privacy.deposit.errors import DepositInvalid
from privacy.deposit.stored import FRAGMENT_CELLS, fragment_name
from privacy.types import Digest
from tests.holder.deposit_world import SQL, DepositWorld
from tests.holder.test_settings import GOOD
from tests.privacy.deposit.deposit_world import SEED, cheaply, key

COUNT = FRAGMENT_CELLS + 3  # two files
SELECTION = Selection.of_ranges([[(FRAGMENT_CELLS - 500, COUNT)], [(0, 200), (FRAGMENT_CELLS, COUNT)]])


@pytest.fixture(scope="module")
def deposit(tmp_path_factory: pytest.TempPathFactory) -> Deposit:
    header = DepositHeader(Digest(bytes(32)), key().id, {}, COUNT)
    cells = np.arange(COUNT, dtype=np.int64) % 7
    return write_deposit(tmp_path_factory.mktemp("deposit"), header, key(), cells, seed=SEED, mapper=cheaply)


def settings_of(given: Any, home: Path) -> DepositSettings:
    return settings_from_mapping(GOOD | {"deposit": given}, home).deposit


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_trustees_ray_cluster_of_two_workers_adds_as_its_process_does(
    deposit: Deposit, tmp_path: Path
) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("there is no Ray for this Python")
    workers = DepositWorkers(settings_of({"ray": "local", "workers": 2}, tmp_path))
    with capture_logs() as said:
        sums = workers.sum_cells(deposit, SELECTION)
    assert said == []  # it did not do it alone
    assert sums.encode() == sum_cells(deposit, SELECTION).encode()


def test_a_trustees_processes_add_as_its_own_does(deposit: Deposit, tmp_path: Path) -> None:
    with capture_logs() as said:
        sums = DepositWorkers(settings_of({"workers": 2}, tmp_path)).sum_cells(deposit, SELECTION)
    assert said == []
    assert sums.encode() == sum_cells(deposit, SELECTION).encode()


def test_without_its_cluster_a_trustee_adds_alone_and_says_so(
    deposit: Deposit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with capture_logs() as said:
        sums = DepositWorkers(DepositSettings(ray="10.0.0.1:6379")).sum_cells(deposit, SELECTION)
    assert [line["fault"] for line in said] == ["RayMissing"]
    assert sums.encode() == sum_cells(deposit, SELECTION).encode()


def test_a_bad_file_is_refused_by_processes_too(deposit: Deposit, tmp_path: Path) -> None:
    for path in deposit.folder.iterdir():
        if path.name != fragment_name(1):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DepositInvalid, match=r"fragment-00001\.parquet"):
        DepositWorkers(DepositSettings(workers=2)).sum_cells(Deposit.open(tmp_path), SELECTION)


def test_small_sums_stay_here_and_large_ones_take_the_cores_there_are() -> None:
    by_default, four = DepositWorkers(), DepositWorkers(DepositSettings(workers=4))
    assert {by_default.processes(fragments) for fragments in range(LARGE_FRAGMENTS)} == {1}
    assert 1 <= by_default.processes(LARGE_FRAGMENTS) <= LARGE_FRAGMENTS
    assert [four.processes(fragments) for fragments in (0, 1, 2, 100)] == [1, 1, 2, 4]
    assert DepositWorkers(DepositSettings(workers=1)).processes(100) == 1


def test_a_trustee_adds_where_its_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = DepositWorld(tmp_path / "world")
    member = world.members[0]
    plan = world.plan(SQL)
    monkeypatch.setitem(sys.modules, "ray", None)
    room = DataRoom(replace(member.settings, deposit=DepositSettings(ray="10.0.0.1:6379")))
    with capture_logs() as said:
        sums = add_up(room.deposit(member.asset), plan, world.policy, room.deposit_workers)
    assert [line["fault"] for line in said] == ["RayMissing"]
    assert sums.encode() == add_up(room.deposit(member.asset), plan, world.policy).encode()


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 0},
        {"workers": 1025},
        {"workers": "4"},
        {"workers": True},
        {"ray": ""},
        {"ray": 6379},
        {"ray": "10.0.0.1:6379", "workers": 2},
        {"processes": 2},
        [],
    ],
)
def test_settings_that_are_none_are_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="deposit"):
        settings_of(given, tmp_path)


def test_without_a_setting_processes_follow_the_deposit(tmp_path: Path) -> None:
    assert settings_from_mapping(GOOD, tmp_path).deposit == DepositSettings()
    assert settings_of({"ray": "ray://cluster:10001"}, tmp_path).ray == "ray://cluster:10001"
