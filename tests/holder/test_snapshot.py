"""What registration checks, and the root it takes."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from holder.duckdb_engine import open_files
from holder.errors import RowsExceedCeiling, SchemaMismatch
from holder.settings import EngineSettings, FileSource
from holder.snapshot import MerkleTree, Snapshot, snapshot_salt_key, take_snapshot
from ledger.signing import Signer
from privacy.policy import Policy
from tests.holder.tables import Row, columns_of, make_rows, policy, proved, write_csv

KEY = bytes(range(32))


def snapshot(
    rows: list[Row], given: Policy, directory: Path, *, key: bytes = KEY, **options: Any
) -> Snapshot:
    path = directory / "rows.parquet"
    pq.write_table(pa.table(dict(columns_of(rows))), path)
    engine = open_files(FileSource("parquet", path), EngineSettings(directory / "tmp"))
    try:
        return take_snapshot(engine, given, salt_key=key, **options)
    finally:
        engine.close()


def sound_rows(count: int) -> list[Row]:
    return [row | {"age": abs(row["age"])} for row in make_rows(count)]


def problems(rows: list[Row], given: Policy, directory: Path) -> list[str]:
    with pytest.raises(SchemaMismatch) as caught:
        snapshot(rows, given, directory)
    return [problem.split(":")[0] for problem in caught.value.problems]


def rfc6962(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, by its recursive definition."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + rfc6962(leaves[:split]) + rfc6962(leaves[split:])).digest()


@for_all(st.integers(0, 300), st.integers(1, 90))
def test_the_streamed_tree_has_the_root_of_rfc_6962(size: int, batch: int) -> None:
    leaves = [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(size)]
    tree = MerkleTree()
    while tree.size < size:
        tree.extend(leaves[tree.size : tree.size + batch])
    assert tree.root() == rfc6962(leaves)
    assert tree.size == size


def test_root_follows_from_salted_canonical_rows(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "month": "m", "person": "数", "城镇": None, "grade": 2, "kwh": 2.5, "age": 3},
        {"id": 2, "month": "n", "person": "p", "城镇": "?", "grade": None, "kwh": float("nan"), "age": 4},
    ]

    def text(value: str) -> bytes:
        return b"\x03" + struct.pack(">I", len(value.encode())) + value.encode()

    def leaf(position: int, row: bytes) -> bytes:
        salt = hashlib.sha256(KEY + position.to_bytes(8, "big")).digest()
        return hashlib.sha256(b"\x00" + salt + row).digest()

    integer = lambda value: b"\x01" + struct.pack(">q", value)  # noqa: E731
    first = integer(1) + text("m") + text("数") + b"\x00" + integer(2) + b"\x02" + struct.pack(">d", 2.5)
    second = integer(2) + text("n") + text("p") + b"\x00" + b"\x00" + b"\x00" + integer(4)
    expected = rfc6962([leaf(0, first + integer(3)), leaf(1, second)])
    assert snapshot(rows, policy(privacy_unit=proved()), tmp_path).root == expected


def test_root_changes_with_any_value_and_with_the_holder(tmp_path: Path) -> None:
    given, rows = policy(privacy_unit=proved()), sound_rows(50)
    root = snapshot(rows, given, tmp_path).root
    assert snapshot(rows, given, tmp_path).root == root
    changed = [dict(row) for row in rows]
    changed[31]["kwh"] = 3.14
    assert snapshot(changed, given, tmp_path).root != root
    assert snapshot(rows, given, tmp_path, key=bytes(32)).root != root
    first, second = Signer(bytes([1]) * 32), Signer(bytes([2]) * 32)
    assert snapshot_salt_key(first, bytes(32)) != snapshot_salt_key(second, bytes(32))
    assert snapshot_salt_key(first, bytes(32)) != snapshot_salt_key(first, bytes([1]) * 32)


def test_progress_reports_rows_done_of_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    given = policy(privacy_unit=proved(100_000), rows_max=100_000)
    snapshot(sound_rows(45_000), given, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16_384, 45_000), (32_768, 45_000), (45_000, 45_000)]


def test_a_null_where_the_policy_promises_none_is_refused(tmp_path: Path) -> None:
    rows = sound_rows(20)
    rows[3]["age"] = None
    rows[4]["person"] = None
    assert problems(rows, policy(privacy_unit=proved()), tmp_path) == ["age", "person"]


def test_a_nan_where_the_policy_promises_none_is_refused(tmp_path: Path) -> None:
    columns = {**policy().to_json(), "privacy_unit": proved()}
    given = Policy.from_mapping(columns)
    rows = [row | {"age": float(row["age"])} for row in sound_rows(20)]
    rows[3]["age"] = float("nan")
    assert problems(rows, given, tmp_path) == ["age"]


def test_a_row_key_that_names_two_rows_of_a_unit_is_refused(tmp_path: Path) -> None:
    rows = sound_rows(20)
    rows.append(dict(rows[7]))
    assert problems(rows, policy(), tmp_path) == ["row_key"]
    assert snapshot(rows, policy(privacy_unit=proved()), tmp_path).rows == 21


def test_a_proved_bound_is_proved(tmp_path: Path) -> None:
    rows = [row | {"person": f"p{row['id'] // 4}"} for row in sound_rows(20)]
    assert problems(rows, policy(privacy_unit=proved(3)), tmp_path) == ["person"]
    assert snapshot(rows, policy(privacy_unit=proved(4)), tmp_path).rows == 20


def test_integers_that_are_no_integers_are_refused(tmp_path: Path) -> None:
    rows = [row | {"age": float(row["age"])} for row in sound_rows(20)]
    rows[3]["age"] = 30.5
    rows[9]["age"] = float("inf")
    assert problems(rows, policy(privacy_unit=proved()), tmp_path) == ["age"]


@pytest.mark.parametrize("text", ["x", "1_000", "1e400", "0x10", "--1", "1e", "1 2", "１２"])
def test_text_that_is_no_number_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [row | {"kwh": "2.5"} for row in sound_rows(3)] + [sound_rows(4)[3] | {"kwh": text}])
    engine = open_files(FileSource("csv", path), EngineSettings(tmp_path / "tmp"))
    with pytest.raises(SchemaMismatch) as caught:
        take_snapshot(engine, policy(privacy_unit=proved()), salt_key=KEY)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["kwh"]
    assert text not in str(caught.value) or text in "x"
    engine.close()


@pytest.mark.parametrize("text", ["", "?", " n/a ", "-1.5e3", "+.5", "inf", "NaN", "-Infinity", "7."])
def test_text_that_is_a_number_or_missing_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [sound_rows(1)[0] | {"kwh": text}])
    engine = open_files(FileSource("csv", path), EngineSettings(tmp_path / "tmp"))
    assert take_snapshot(engine, policy(privacy_unit=proved()), salt_key=KEY, trim=True).rows == 1
    engine.close()


def test_more_rows_than_the_ceiling_are_refused(tmp_path: Path) -> None:
    given = policy(privacy_unit=proved(19), rows_max=19)
    with pytest.raises(RowsExceedCeiling, match="at most 19 rows, found 20"):
        snapshot(sound_rows(20), given, tmp_path)
