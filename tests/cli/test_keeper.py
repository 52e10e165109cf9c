"""Which of a development chain's state files are loaded again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli.keeper import ChainSettings, Keeper

ALICE, CONTRACT = "0x" + "a1" * 20, "0x" + "c0" * 20


def dump(path: Path, *, nonce: int, transactions: int, at_s: int, mined: int | None = None) -> None:
    hashes = [str(number) for number in range(transactions if mined is None else mined)]
    state = {
        "blocks": [{"transactions": []}, {"transactions": hashes[:1]}, {"transactions": hashes[1:]}],
        "accounts": {ALICE: {"nonce": nonce, "code": "0x"}, CONTRACT: {"nonce": 1, "code": "0x6001"}},
        "transactions": [{"info": {"from": ALICE}}] * transactions,
        "made": at_s,
    }
    path.write_text(json.dumps(state))
    os.utime(path, (at_s, at_s))


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(ChainSettings(tmp_path, tmp_path / "anvil", 1, 1.0))


def loaded(keeper: Keeper, folder: Path) -> int | None:
    keeper._restore()
    file = folder / "state.json"
    return int(json.loads(file.read_text())["made"]) if file.exists() else None


def test_whole_state_is_loaded_as_it_is(keeper: Keeper, tmp_path: Path) -> None:
    dump(tmp_path / "state.json", nonce=2, transactions=2, at_s=9)
    dump(tmp_path / "state.5.copy", nonce=1, transactions=1, at_s=5)
    assert loaded(keeper, tmp_path) == 9


@pytest.mark.parametrize("torn", ["", '{"accounts": {', "[]"])
def test_torn_state_gives_way_to_the_newest_copy(keeper: Keeper, tmp_path: Path, torn: str) -> None:
    (tmp_path / "state.json").write_text(torn)
    dump(tmp_path / "state.5.copy", nonce=1, transactions=1, at_s=5)
    dump(tmp_path / "state.7.copy", nonce=2, transactions=2, at_s=7)
    assert loaded(keeper, tmp_path) == 7
    assert (tmp_path / "state.torn").read_text() == torn


def test_state_with_accounts_later_than_its_transactions_gives_way(keeper: Keeper, tmp_path: Path) -> None:
    dump(tmp_path / "state.json", nonce=3, transactions=2, at_s=9)
    dump(tmp_path / "state.7.copy", nonce=3, transactions=2, at_s=7)
    dump(tmp_path / "state.5.copy", nonce=1, transactions=1, at_s=5)
    assert loaded(keeper, tmp_path) == 5


@pytest.mark.parametrize("mined", [2, 4])
def test_state_with_transactions_of_another_moment_than_its_blocks_gives_way(
    keeper: Keeper, tmp_path: Path, mined: int
) -> None:
    dump(tmp_path / "state.json", nonce=3, transactions=3, at_s=9, mined=mined)
    dump(tmp_path / "state.5.copy", nonce=1, transactions=1, at_s=5)
    assert loaded(keeper, tmp_path) == 5


def test_state_of_two_moments_is_better_than_none(keeper: Keeper, tmp_path: Path) -> None:
    dump(tmp_path / "state.json", nonce=3, transactions=2, at_s=9)
    assert loaded(keeper, tmp_path) == 9


def test_nothing_usable_starts_a_new_chain(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert loaded(keeper, tmp_path) is None
