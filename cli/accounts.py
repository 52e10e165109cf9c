"""The keystores of an instance that this machine runs unattended: made on first use, opened with passphrases it made itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cli import passphrases
from cli.errors import CliError
from cli.home import Home
from ledger import keystore
from ledger.errors import LedgerError
from ledger.types import to_hex

NAME: Final = "keystore.json"


def folder(home: Home, who: str) -> Path:
    """Return the folder of a party: `registrar`, `bank`, `exchange`, `buyer`, `holders/1`, …"""
    return home.path / who


def keystore_path(home: Home, who: str) -> Path:
    """Return the keystore of a party.

    Raises:
        CliError: there is none; the message says which there are.
    """
    path = folder(home, who) / NAME
    if not path.is_file():
        known = sorted(str(p.parent.relative_to(home.path)) for p in home.path.glob(f"**/{NAME}"))
        raise CliError(f"no keystore of {who!r} in {home.path}; there are: {', '.join(known) or 'none'}")
    return path


def passphrase_name(who: str) -> str:
    """Return the name under which an unattended start keeps a party's passphrase."""
    return who.replace("/", "-")


def passphrase(home: Home, who: str, file: Path | None = None) -> str:
    """Return a party's passphrase; see `passphrases.find`."""
    return passphrases.find(home, passphrase_name(who), file, what=who)


def open_or_create(home: Home, who: str) -> keystore.Keys:
    """Return the keys of a party, made now if there are none.

    Raises:
        CliError: the passphrase does not open them, or they cannot be made.
    """
    path = folder(home, who) / NAME
    if path.exists():
        return open_existing(home, who)
    try:
        return keystore.create(path, passphrases.make(home, passphrase_name(who)))
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err


def open_existing(home: Home, who: str, passphrase_file: Path | None = None) -> keystore.Keys:
    """Return the keys of a party, with the given passphrase file or the one that an unattended start made.

    Raises:
        CliError: no keystore, or the passphrase does not open it.
    """
    path, opening = folder(home, who) / NAME, passphrase(home, who, passphrase_file)
    try:
        return keystore.load(path, opening)
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err


def address(home: Home, who: str) -> str:
    """Return the account that a party's keystore names, in protocol form, without opening it."""
    try:
        return to_hex(keystore.address_in(folder(home, who) / NAME))
    except LedgerError as err:
        raise CliError(f"keystore of {who}: {err}") from err
