"""Encrypted key files of departments, holders, services and witnesses: `FOLDER/keys/NAME.json`, opened by a passphrase.

An unattended start makes a passphrase itself and keeps it in `FOLDER/passphrases/NAME`, readable by its owner only.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from cli import passphrases
from cli.errors import CliError
from cli.home import Home
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.licences.keys import Algorithm, PublicKey, SigningKey


def key_path(folder: Path, name: str) -> Path:
    """Return where a key of a party lives."""
    return folder / "keys" / f"{name}.json"


def make_key(
    path: Path,
    *,
    algorithm: Algorithm = "EdDSA",
    passphrase_file: Path | None = None,
    is_unattended: bool = False,
) -> SigningKey:
    """Make a key and its encrypted file.

    Args:
        path: of the file, `…/keys/NAME.json`.
        algorithm: EdDSA, ES256 or SM2.
        passphrase_file: holds the passphrase; asked for twice when not given.
        is_unattended: make a passphrase and keep it beside the keys.

    Raises:
        CliError: there is such a file already, or no passphrase, or the two that were typed differ.
    """
    passphrase = new_passphrase(path, passphrase_file, is_unattended=is_unattended)
    return make_key_under(path, passphrase, algorithm=algorithm)


def make_key_under(path: Path, passphrase: str, *, algorithm: Algorithm = "EdDSA") -> SigningKey:
    """Make a key and its encrypted file under a passphrase that was decided before, as `new_passphrase` does.

    Raises:
        CliError: there is such a file already, or the passphrase is too short.
    """
    from ledger.licences import keyfile
    from ledger.licences.keys import SigningKey

    try:
        key = SigningKey.generate(algorithm, secrets.token_bytes(32))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keyfile.save(path, key, passphrase)
    except LedgerError as err:
        raise CliError(f"key {path.name}: {err}") from err
    return key


def open_key(
    path: Path, passphrase_file: Path | None = None, *, option: str = passphrases.OPTION
) -> SigningKey:
    """Open a key file with the given passphrase file, else the one that an unattended start made, else by asking.

    Args:
        path: of the file.
        passphrase_file: holds the passphrase.
        option: of the command that gives that file, for messages.

    Raises:
        CliError: no such file, or the passphrase does not open it.
    """
    from ledger.licences import keyfile

    passphrase = passphrases.find(_home(path), path.stem, passphrase_file, what=path.stem, option=option)
    try:
        return keyfile.load(path, passphrase)
    except LedgerError as err:
        raise CliError(f"key {path}: {err}") from err


def open_or_make_key(path: Path, *, algorithm: Algorithm = "EdDSA") -> SigningKey:
    """Return a key of an unattended party, made now if there is none."""
    return open_key(path) if path.exists() else make_key(path, algorithm=algorithm, is_unattended=True)


def public_of(path: Path) -> PublicKey:
    """Return the public key that a key file names, without opening it.

    Raises:
        CliError: no such file.
    """
    from ledger.licences import keyfile

    try:
        return keyfile.public_of(path)
    except LedgerError as err:
        raise CliError(f"key {path}: {err}") from err


def new_passphrase(path: Path, file: Path | None = None, *, is_unattended: bool = False) -> str:
    """Decide the passphrase of a key that is made next: given, made and kept, or asked for twice.

    Args:
        path: of the key's file, which must not be there yet.
        file: holds the passphrase.
        is_unattended: make a passphrase and keep it beside the keys.

    Raises:
        CliError: there is such a key already, or no passphrase, or the two that were typed differ.
    """
    if path.exists():
        raise CliError(f"key {path.name}: {path} exists and is not overwritten")
    home = _home(path)
    if is_unattended:
        home.passphrases.mkdir(parents=True, exist_ok=True, mode=0o700)
        return passphrases.make(home, path.stem)
    kept = passphrases.kept_in(home, path.stem)  # where there is one, `open_key` takes it
    return passphrases.first(file or (kept if kept.is_file() else None), what=path.stem)


def _home(path: Path) -> Home:
    return Home(path.parent.parent)
