"""Passphrases of keystores: from a file, from the terminal, or made for an unattended start."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from cli.errors import CliError
from cli.home import Home
from ledger import files

OPTION: Final = "--passphrase-file"
_NEEDED: Final = "the keystore of {} needs a passphrase: give {} FILE or SHUYAO_PASSPHRASE_FILE"


def kept_in(home: Home, name: str) -> Path:
    """Return the file that keeps the passphrase of `name`: alone in its folder, where one was made so that it can be a volume."""
    path = home.passphrases / name
    return path / "passphrase" if path.is_dir() else path


def make(home: Home, name: str) -> str:
    """Return the passphrase of `name`, made now and kept in the instance's passphrase folder if there is none yet."""
    path = kept_in(home, name)
    if not path.exists():
        with suppress(FileExistsError):  # that of another process, made meanwhile
            files.write_new(path, (secrets.token_urlsafe(24) + "\n").encode())
    return path.read_text(encoding="ascii").strip()


def forget(home: Home, name: str) -> None:
    """Delete the passphrase that `make` made as `name`, if there is one."""
    kept_in(home, name).unlink(missing_ok=True)


def find(home: Home, name: str, file: Path | None, *, what: str, option: str = OPTION) -> str:
    """Return the passphrase for `what`: from `file`, else the one that `make` made as `name`, else as `obtain`.

    Raises:
        CliError: there is none to be had.
    """
    made = kept_in(home, name)
    return obtain(file or (made if made.is_file() else None), what=what, option=option)


def obtain(file: Path | None, *, what: str, option: str = OPTION) -> str:
    """Return the passphrase for `what`: from `file`, else from `SHUYAO_PASSPHRASE_FILE`, else asked for on the terminal.

    Args:
        file: that was given as `option`, if it was.
        what: whose passphrase, for messages.
        option: of the command.

    Raises:
        CliError: the file is absent or empty, or there is no terminal to ask at.
    """
    path = file or (
        Path(os.environ["SHUYAO_PASSPHRASE_FILE"]) if "SHUYAO_PASSPHRASE_FILE" in os.environ else None
    )
    if path is not None:
        return _read(path)
    _require_terminal(_NEEDED.format(what, option))
    return getpass.getpass(f"passphrase of {what}: ")


def choose(file: Path | None, *, what: str) -> str:
    """Return a new passphrase for `what`: from `file`, else asked for twice on the terminal.

    Raises:
        CliError: the file is absent or empty, there is no terminal to ask at, or the two differ.
    """
    if file is not None:
        return _read(file)
    _require_terminal(f"the keystore of {what} needs a new passphrase: give --new-passphrase-file FILE")
    return _ask_twice(what)


def first(file: Path | None, *, what: str) -> str:
    """Return the passphrase for keys of `what` that are made now: from where `obtain` has it, on the terminal asked for twice.

    Raises:
        CliError: the file is absent or empty, there is no terminal to ask at, or the two differ.
    """
    if file is not None or "SHUYAO_PASSPHRASE_FILE" in os.environ:
        return obtain(file, what=what)
    _require_terminal(_NEEDED.format(what, OPTION))
    return _ask_twice(what)


def _ask_twice(what: str) -> str:
    chosen = getpass.getpass(f"new passphrase of {what}: ")
    if getpass.getpass("once more: ") != chosen:
        raise CliError("the two passphrases differ; nothing is changed")
    return chosen


def _read(path: Path) -> str:
    if not path.is_file():
        raise CliError(f"passphrase file {path} does not exist")
    text = path.read_text(encoding="utf8").strip()
    if not text:
        raise CliError(f"passphrase file {path} is empty")
    return text


def _require_terminal(otherwise: str) -> None:
    if not sys.stdin.isatty():
        raise CliError(otherwise)
