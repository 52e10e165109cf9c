"""`shuyao keys`: a keystore is shown, copied and sealed anew, and never opened by what is not its passphrase."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import accounts, passphrases
from cli.app import app
from cli.errors import CliError
from cli.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SHUYAO_HOME", str(tmp_path))
    monkeypatch.delenv("SHUYAO_PASSPHRASE_FILE", raising=False)
    return Home.create("market")


def keys(*words: str) -> str:
    done = CliRunner().invoke(app, ["keys", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def written(path: Path, text: str) -> str:
    path.write_text(text + "\n", encoding="utf8")
    return str(path)


def test_a_changed_passphrase_opens_the_keystore_and_the_one_that_was_made_is_gone(
    home: Home, tmp_path: Path
) -> None:
    account = accounts.open_or_create(home, "holders/1").signer.address
    made = passphrases.make(home, "holders-1")
    new = written(tmp_path / "new", "correct horse 数钥")
    keys("passphrase", "holders/1", "--new-passphrase-file", new)
    assert not (home.passphrases / "holders-1").exists()
    assert accounts.open_existing(home, "holders/1", Path(new)).signer.address == account
    with pytest.raises(CliError, match="does not open"):
        accounts.open_existing(home, "holders/1", Path(written(tmp_path / "old", made)))


def test_an_unattended_start_makes_no_passphrase_for_a_keystore_that_has_another(
    home: Home, tmp_path: Path
) -> None:
    accounts.open_or_create(home, "buyer")
    keys("passphrase", "buyer", "--new-passphrase-file", written(tmp_path / "new", "correct horse"))
    with pytest.raises(CliError, match="needs a passphrase"):
        accounts.open_or_create(home, "buyer")
    assert not (home.passphrases / "buyer").exists()


@pytest.mark.parametrize(("old", "new"), [("another one", "correct horse"), (None, "short"), (None, "")])
def test_nothing_changes_when_one_of_the_passphrases_will_not_do(
    home: Home, tmp_path: Path, old: str | None, new: str
) -> None:
    accounts.open_or_create(home, "buyer")
    before = (home.buyer / accounts.NAME).read_bytes()
    given = [] if old is None else ["--passphrase-file", written(tmp_path / "old", old)]
    with pytest.raises(CliError):
        keys("passphrase", "buyer", "--new-passphrase-file", written(tmp_path / "new", new), *given)
    assert (home.buyer / accounts.NAME).read_bytes() == before
    assert accounts.open_existing(home, "buyer")


def test_a_new_passphrase_is_not_taken_from_where_the_old_one_is(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.open_or_create(home, "buyer")
    monkeypatch.setenv("SHUYAO_PASSPHRASE_FILE", written(tmp_path / "old", "of some other party"))
    with pytest.raises(CliError, match="--new-passphrase-file"):
        keys("passphrase", "buyer")


def test_a_keystore_that_is_not_there_is_named_with_those_that_are(home: Home) -> None:
    accounts.open_or_create(home, "holders/2")
    for command in (["passphrase", "buyer"], ["backup", "buyer", "copy"]):
        with pytest.raises(CliError, match=r"no keystore of 'buyer'.*holders/2"):
            keys(*command)


def test_a_backup_is_restored_under_another_name_and_never_over_a_keystore(
    home: Home, tmp_path: Path
) -> None:
    account = accounts.open_or_create(home, "buyer").signer.address
    copy, given = str(tmp_path / "copy"), ("--passphrase-file", str(home.passphrases / "buyer"))
    keys("backup", "buyer", copy)
    keys("restore", "restored", copy, *given)
    assert accounts.open_existing(home, "restored", home.passphrases / "buyer").signer.address == account
    with pytest.raises(CliError, match="is not overwritten"):
        keys("restore", "buyer", copy, *given)
