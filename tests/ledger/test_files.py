"""Files that are there whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ledger import files


def test_a_new_file_is_private_and_alone(tmp_path: Path) -> None:
    files.write_new(tmp_path / "数", b"1")
    assert (tmp_path / "数").read_bytes() == b"1"
    assert stat.S_IMODE((tmp_path / "数").stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "数"]


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    files.write_new(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_replaced_file_has_the_new_bytes_and_mode(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", b"1")
    files.replace(tmp_path / "a", b"2", mode=files.SHARED & 0o644)
    assert (tmp_path / "a").read_bytes() == b"2"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o600 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_cannot_take_the_place_of_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        files.replace(tmp_path / "a", b"2")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for write in (files.write_new, files.replace):
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "none" / "a", b"1")
