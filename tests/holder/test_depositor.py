"""A table becomes a deposit: the cells are its sums, a stopped run ends in the same bytes, and other rows are refused."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from holder.depositor import Table, make_deposit, tabulated
from holder.errors import RowsExceedCeiling, SchemaMismatch
from holder.settings import EngineSettings, FileSource
from privacy.deposit import check_points
from privacy.deposit.errors import DepositInUse, DepositInvalid
from privacy.deposit.terms import deposit_policy
from privacy.policy import Policy
from tests.privacy.deposit.plan_world import policy, policy_mapping

NONE: Any = None
ROWS: dict[str, list[Any]] = {
    "town": ["east", "west", "east", "north", NONE, "east"],
    "year": [1, 2, 1, 3, 9, 2],
    "kwh": [10.0, 200.0, NONE, float("nan"), 40.4, -5.0],
    "staff": [0, 8, 3, 4, 9, 2],
    "rent": [1] * 6,
}


def table_of(home: Path, rows: dict[str, list[Any]] = ROWS) -> Table:
    path = home / "rows.parquet"
    pq.write_table(pa.table(rows), path)
    return Table(FileSource("parquet", path), EngineSettings(home / "tmp"))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def seeded(count: int) -> bytes:
    return bytes(range(count))


def test_the_cells_are_the_clipped_sums_of_the_rows(tmp_path: Path) -> None:
    own = policy()
    cube = deposit_policy(own).cube(own)
    cells = tabulated(own, deposit_policy(own), table_of(tmp_path))
    center = next(lane.center for lane in cube.lanes if lane.column == "kwh" and lane.kind.value == "sum")
    expected = np.zeros(cube.cells, dtype=np.int64)
    towns, years = {"east": 0, "west": 1}, {1: 0, 2: 1, 3: 2}
    starts = [cube.start(lane) for lane in range(len(cube.lanes))]
    staff = cube.lanes[3]
    for town, year, kwh, people in zip(*(ROWS[n] for n in ("town", "year", "kwh", "staff")), strict=True):
        group = towns.get(town, 2) * 4 + years.get(year, 3)
        expected[starts[0] + group] += 1
        if kwh is not None and kwh == kwh:
            expected[starts[1] + group] += 1
            expected[starts[2] + group] += int(min(max(kwh, 0), 100) + 0.5) - center
        clipped = min(people, 8)
        expected[starts[3] + group] += clipped - staff.center
        expected[cube.start(4, min(clipped // 2, 3)) + group] += 1
    assert cells.tolist() == expected.tolist()


def test_a_deposit_is_made_checked_and_left_alone_afterwards(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    table = table_of(tmp_path)
    made = make_deposit(policy(), table, tmp_path / "deposit", progress=lambda a, b: told.append((a, b)))
    check_points(made, bytes(32))
    assert told == [(1, 1)]
    before = bytes_of(made.folder)
    assert make_deposit(policy(), table, made.folder).root == made.root
    assert bytes_of(made.folder) == before
    assert not (tmp_path / "deposit.seed").exists()


def test_a_folder_of_another_policy_or_of_other_rows_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "deposit"
    make_deposit(policy(), table_of(tmp_path), folder)
    other = Policy.from_mapping(policy_mapping(rows_max=999))
    with pytest.raises(DepositInvalid):
        make_deposit(other, table_of(tmp_path), folder)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "unfinished").write_bytes(bytes(32))
    with pytest.raises(DepositInUse):
        make_deposit(policy(), table_of(tmp_path), begun)


def test_rows_that_break_the_policy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="staff"):
        make_deposit(policy(), table_of(tmp_path, {**ROWS, "staff": [NONE] * 6}), tmp_path / "deposit")
    few = Policy.from_mapping(policy_mapping(rows_max=5))
    with pytest.raises(RowsExceedCeiling):
        make_deposit(few, table_of(tmp_path), tmp_path / "deposit")
    plain = policy_mapping(colluders=0, dropouts=0)
    plain.pop("deposit")
    with pytest.raises(SchemaMismatch, match="deposit"):
        make_deposit(Policy.from_mapping(plain), table_of(tmp_path), tmp_path / "deposit")


def test_a_unit_gives_no_more_rows_than_the_policy_says(tmp_path: Path) -> None:
    given = policy_mapping()
    unit = {"column": "person", "rows_per_unit": 2, "proved": False, "disjoint": True}
    columns = {**given["columns"], "person": {"type": "text"}, "line": {"type": "integer", "nullable": False}}
    own = Policy.from_mapping({**given, "privacy_unit": unit, "row_key": ["line"], "columns": columns})
    rows = {**ROWS, "person": ["a", "a", "a", "a", "b", "b"], "line": [1, 2, 3, 4, 5, 6]}
    cells = tabulated(own, deposit_policy(own), table_of(tmp_path, rows))
    assert int(cells[: deposit_policy(own).cube(own).groups].sum()) == 4


SCRIPT = """
import sys
from pathlib import Path
import yaml
from holder.depositor import Table, make_deposit
from holder.settings import EngineSettings, FileSource
from privacy.policy import Policy
home = Path(sys.argv[1])
table = Table(FileSource("parquet", home / "rows.parquet"), EngineSettings(home / "tmp"))
policy = Policy.from_mapping(yaml.safe_load((home / "policy.yaml").read_text()))
print(make_deposit(policy, table, home / "deposit", rand=lambda n: bytes(range(n))).root.hex(), flush=True)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    given = policy_mapping()
    given["columns"] = {**given["columns"], "year": {**given["columns"]["year"], "domain": list(range(3000))}}
    table_of(tmp_path, ROWS)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    own = Policy.from_mapping(given)
    whole = make_deposit(own, table_of(tmp_path), tmp_path / "whole", rand=seeded)
    assert whole.header.fragments > 1
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while run.poll() is None:
        if list((tmp_path / "deposit").glob("*.parquet")):
            run.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    run.wait()
    assert not (tmp_path / "deposit" / "manifest.json").exists()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == whole.root.hex()
    digests = [
        {name: hashlib.sha256(data).digest() for name, data in bytes_of(tmp_path / folder).items()}
        for folder in ("whole", "deposit")
    ]
    assert digests[0] == digests[1]
