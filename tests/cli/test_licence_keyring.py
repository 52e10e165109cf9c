"""Keys of departments, cities and witnesses at a terminal: a new passphrase is asked for twice, a wrong one makes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.keyring import key_path
from tests.cli.cities import shuyao
from tests.cli.terminal import at_terminal

SECRET, OTHER = "correct horse 数钥", "correct house 数钥"


def written(path: Path, text: str) -> Path:
    path.write_text(text + "\n", encoding="utf8")
    return path


def test_a_new_key_is_made_under_what_was_typed_twice(tmp_path: Path) -> None:
    path = tmp_path / "office" / "keys" / "signing.json"
    code, asked = at_terminal(["licence", "keys", "new", path], [SECRET, SECRET])
    assert (code, asked) == (0, ["new passphrase of signing:", "once more:"])
    assert keyring.open_key(path, written(tmp_path / "p", SECRET)).public == keyring.public_of(path)
    code, asked = at_terminal(["licence", "keys", "new", path], [])
    assert (code, asked) == (2, [])  # it is there: nobody is asked


def test_no_key_is_made_where_the_second_passphrase_is_another(tmp_path: Path) -> None:
    path = tmp_path / "office" / "keys" / "signing.json"
    code, asked = at_terminal(["licence", "keys", "new", path], [SECRET, OTHER])
    assert (code, len(asked), path.exists()) == (2, 2, False)


def test_a_witness_and_a_city_ask_twice_for_each_of_their_keys_one_question_at_a_time(tmp_path: Path) -> None:
    words = ["witness", "init", tmp_path / "w", "--name", "regulator.example"]
    code, asked = at_terminal(words, [SECRET, SECRET])
    assert (code, asked) == (0, ["new passphrase of witness:", "once more:"])
    registrar, folder = tmp_path / "registrar" / "keys" / "registrar.json", tmp_path / "dg"
    shuyao("licence", "keys", "new", registrar, "--unattended")
    words = ["licence", "init", "--city", folder, "--origin", "licences.dg.example", "--name", "东莞"]
    code, asked = at_terminal([*words, "--registrar", registrar], [SECRET, SECRET, OTHER, OTHER])
    twice = ["new passphrase of log:", "once more:", "new passphrase of service:", "once more:"]
    assert (code, asked) == (0, twice)
    secret, other = written(tmp_path / "p", SECRET), written(tmp_path / "q", OTHER)
    assert keyring.open_key(key_path(folder, city_folder.LOG_KEY), secret)
    assert keyring.open_key(key_path(folder, city_folder.SERVICE_KEY), other)
    with pytest.raises(CliError, match="passphrase does not open"):
        keyring.open_key(key_path(folder, city_folder.SERVICE_KEY), secret)
