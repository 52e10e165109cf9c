"""Key files: encrypted, private, never overwritten, and every change is noticed."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ledger.licences import keyfile
from ledger.licences.errors import (
    KeyFileError,
    KeyFileExists,
    KeyFileMalformed,
    KeyFileMissing,
    KeyFilePassphraseWrong,
)
from ledger.licences.keys import ALGORITHMS, Algorithm
from tests.ledger.licences.credentials import key

PASSPHRASE = "correct horse 数钥"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "市场监督管理局" / "签发.json"
    keyfile.save(path, key("issuer"), PASSPHRASE)
    return path


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_saved_key_loads_and_signs(alg: Algorithm, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    keyfile.save(path, key("a", alg), PASSPHRASE)
    loaded = keyfile.load(path, PASSPHRASE)
    assert loaded.public == key("a", alg).public == keyfile.public_of(path)
    loaded.public.verify(b"m", loaded.sign(b"m"))


def test_file_is_private_alone_and_shows_no_secret(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    assert list(written.parent.iterdir()) == [written]
    assert key("issuer").secret not in written.read_bytes()
    assert key("issuer").secret.hex() not in written.read_text()


def test_wrong_passphrase_is_a_named_error_without_the_passphrase(written: Path) -> None:
    with pytest.raises(KeyFilePassphraseWrong) as caught:
        keyfile.load(written, "another passphrase")
    assert "another passphrase" not in str(caught.value)


def test_existing_file_is_never_overwritten(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(KeyFileExists):
        keyfile.save(written, key("other"), PASSPHRASE)
    assert written.read_bytes() == before


def test_short_passphrase_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        keyfile.save(tmp_path / "k.json", key("a"), "short")
    assert not list(tmp_path.iterdir())


def test_missing_or_unreadable_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileMissing):
        keyfile.load(tmp_path / "none.json", PASSPHRASE)
    with pytest.raises(KeyFileError):
        keyfile.load(tmp_path, PASSPHRASE)
    with pytest.raises(KeyFileError):
        keyfile.save(written_file(tmp_path) / "k.json", key("a"), PASSPHRASE)


def written_file(folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(b"")
    return path


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]


def test_every_altered_member_is_noticed(written: Path, tmp_path: Path) -> None:
    for leaf in leaves(json.loads(written.read_text())):
        document = json.loads(written.read_text())
        inner = document
        for name in leaf[:-1]:
            inner = inner[name]
        value = inner[leaf[-1]]
        inner[leaf[-1]] = (
            value * 2 if isinstance(value, int) else ("A" if value[0] != "A" else "B") + value[1:]
        )
        altered = tmp_path / "altered.json"
        altered.write_text(json.dumps(document))
        with pytest.raises((KeyFilePassphraseWrong, KeyFileMalformed)):
            keyfile.load(altered, PASSPHRASE)


def test_secret_of_one_file_does_not_open_under_the_public_key_of_another(
    written: Path, tmp_path: Path
) -> None:
    document = json.loads(written.read_text())
    document["jwk"] = key("mallory").public.jwk()
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps(document))
    with pytest.raises(KeyFilePassphraseWrong):
        keyfile.load(swapped, PASSPHRASE)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 10_000, b'{"version":1}', b"x" * 20_000]
)
def test_file_that_is_no_key_file_is_a_named_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(data)
    with pytest.raises(KeyFileMalformed):
        keyfile.load(path, PASSPHRASE)
    with pytest.raises(KeyFileMalformed):
        keyfile.public_of(path)


def test_scrypt_cost_that_would_exhaust_memory_is_refused(written: Path, tmp_path: Path) -> None:
    document = json.loads(written.read_text())
    for name, value in (("n", 1 << 40), ("p", 1 << 30), ("n", 3), ("n", "8"), ("dklen", 64), ("salt", 1)):
        document["kdfparams"] = {**document["kdfparams"], name: value}
        path = tmp_path / "k.json"
        path.write_text(json.dumps(document))
        with pytest.raises(KeyFileMalformed):
            keyfile.load(path, PASSPHRASE)
