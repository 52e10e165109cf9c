"""Keystores: encrypted, atomic, never overwritten, openable by wallets."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from ledger import keystore
from ledger.errors import (
    KeystoreError,
    KeystoreExists,
    KeystoreMalformed,
    KeystoreMissing,
    WrongPassphrase,
)

PASSPHRASE = "correct horse 数钥"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keystore.Keys]:
    path = tmp_path_factory.mktemp("keys") / "sub" / "keystore.json"
    return path, keystore.create(path, PASSPHRASE)


def test_created_keystore_loads_the_same_keys(written: tuple[Path, keystore.Keys]) -> None:
    path, keys = written
    loaded = keystore.load(path, PASSPHRASE)
    assert loaded.signer.address == keys.signer.address == keystore.address_in(path)
    assert loaded.x25519_private.private_bytes_raw() == keys.x25519_private.private_bytes_raw()
    assert len(loaded.x25519_public) == 32


def test_keystore_is_private_and_leaves_no_other_file(written: tuple[Path, keystore.Keys]) -> None:
    path, _ = written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_keystore_opens_in_other_wallets(written: tuple[Path, keystore.Keys]) -> None:
    path, keys = written
    assert Account.decrypt(path.read_text(), PASSPHRASE) == keys.signer.raw_private_key()


def test_keystore_and_its_values_show_no_secret(written: tuple[Path, keystore.Keys]) -> None:
    path, keys = written
    secrets = {keys.signer.raw_private_key().hex(), keys.x25519_private.private_bytes_raw().hex(), PASSPHRASE}
    shown = path.read_text() + repr(keys) + str(keys)
    assert not any(secret in shown for secret in secrets)


def test_wrong_passphrase_is_a_named_error_without_the_passphrase(
    written: tuple[Path, keystore.Keys],
) -> None:
    path, _ = written
    with pytest.raises(WrongPassphrase) as caught:
        keystore.load(path, "another passphrase")
    assert "another passphrase" not in str(caught.value)


def test_existing_keystore_is_never_overwritten(written: tuple[Path, keystore.Keys]) -> None:
    path, _ = written
    before = path.read_bytes()
    with pytest.raises(KeystoreExists):
        keystore.create(path, PASSPHRASE)
    assert path.read_bytes() == before


def test_short_passphrase_makes_no_file(tmp_path: Path) -> None:
    for passphrase in ("", "short"):
        with pytest.raises(KeystoreError):
            keystore.create(tmp_path / "k.json", passphrase)
    assert not list(tmp_path.iterdir())


def test_missing_keystore_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(KeystoreMissing):
        keystore.load(tmp_path / "none.json", PASSPHRASE)


def test_backup_and_restore_bring_the_same_keys_back(
    written: tuple[Path, keystore.Keys], tmp_path: Path
) -> None:
    path, keys = written
    keystore.backup(path, tmp_path / "backup.json", PASSPHRASE)
    restored = keystore.restore(tmp_path / "backup.json", tmp_path / "new" / "keystore.json", PASSPHRASE)
    assert restored.signer.address == keys.signer.address
    assert (tmp_path / "new" / "keystore.json").read_bytes() == path.read_bytes()
    with pytest.raises(KeystoreExists):
        keystore.backup(path, tmp_path / "backup.json", PASSPHRASE)
    with pytest.raises(KeystoreExists):
        keystore.restore(tmp_path / "backup.json", path, PASSPHRASE)
    with pytest.raises(WrongPassphrase):
        keystore.restore(tmp_path / "backup.json", tmp_path / "third.json", "another passphrase")
    assert not (tmp_path / "third.json").exists()


def test_changed_passphrase_opens_the_same_keys_and_the_old_does_not(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    keys = keystore.create(path, PASSPHRASE)
    keystore.change_passphrase(path, PASSPHRASE, "another passphrase")
    assert keystore.load(path, "another passphrase").signer.address == keys.signer.address
    with pytest.raises(WrongPassphrase):
        keystore.load(path, PASSPHRASE)
    assert list(tmp_path.iterdir()) == [path]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]


def test_every_altered_field_is_noticed(written: tuple[Path, keystore.Keys], tmp_path: Path) -> None:
    path, _ = written
    for leaf in _leaves(json.loads(path.read_text())):
        document = json.loads(path.read_text())
        inner = document
        for key in leaf[:-1]:
            inner = inner[key]
        value = inner[leaf[-1]]
        inner[leaf[-1]] = (
            value + 1 if isinstance(value, int) else ("0" if value[0] != "0" else "1") + value[1:]
        )
        altered = tmp_path / "altered.json"
        altered.write_text(json.dumps(document))
        with pytest.raises((WrongPassphrase, KeystoreMalformed)):
            keystore.load(altered, PASSPHRASE)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 10_000, b'{"version":3}', b"x" * 20_000,
     b'{"version":3,"id":"","address":"","crypto":{},"x25519":{"version":1}}'],
)  # fmt: skip
def test_file_that_is_no_keystore_is_a_named_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(data)
    with pytest.raises(KeystoreMalformed):
        keystore.load(path, PASSPHRASE)


def test_scrypt_cost_that_would_exhaust_memory_is_refused(
    written: tuple[Path, keystore.Keys], tmp_path: Path
) -> None:
    document = json.loads(written[0].read_text())
    for name, value in (("n", 1 << 40), ("p", 1 << 30), ("r", 1 << 20), ("n", 3), ("n", "8"), ("dklen", 64)):
        document["crypto"]["kdfparams"] = {**document["crypto"]["kdfparams"], name: value}
        path = tmp_path / "k.json"
        path.write_text(json.dumps(document))
        with pytest.raises(KeystoreMalformed):
            keystore.load(path, PASSPHRASE)
