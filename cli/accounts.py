"""The keystores of an instance that this machine runs unattended: made on first use, opened with passphrases it made itself."""

from __future__ import annotations

from pathlib import Path

from cli import passphrases
from cli.errors import CliError
from cli.home import Home
from ledger import keystore
from ledger.errors import LedgerError
from ledger.types import to_hex


def folder(home: Home, who: str) -> Path:
    """Return the folder of a party: `registrar`, `bank`, `exchange`, `buyer`, `holders/1`, …"""
    return home.path / who


def open_or_create(home: Home, who: str) -> keystore.Keys:
    """Return the keys of a party, made now if there are none."""
    path = folder(home, who) / "keystore.json"
    passphrase = passphrases.make(home, who.replace("/", "-"))
    try:
        return keystore.load(path, passphrase) if path.exists() else keystore.create(path, passphrase)
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err


def open_existing(home: Home, who: str, passphrase_file: Path | None = None) -> keystore.Keys:
    """Return the keys of a party, with the given passphrase file or the one that an unattended start made.

    Raises:
        CliError: no keystore, or the passphrase does not open it.
    """
    path = folder(home, who) / "keystore.json"
    made = home.passphrases / who.replace("/", "-")
    passphrase = passphrases.obtain(passphrase_file or (made if made.is_file() else None), what=who)
    try:
        return keystore.load(path, passphrase)
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err


def address(home: Home, who: str) -> str:
    """Return the account that a party's keystore names, in protocol form, without opening it."""
    try:
        return to_hex(keystore.address_in(folder(home, who) / "keystore.json"))
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err
