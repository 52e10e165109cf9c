"""Passphrases of keystores: from a file, from the terminal, or made for an unattended start."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from pathlib import Path

from cli.errors import CliError
from cli.home import Home


def make(home: Home, name: str) -> str:
    """Return the passphrase of `name`, made now and kept in the instance's passphrase folder if there is none yet."""
    path = home.passphrases / name
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return path.read_text(encoding="ascii").strip()


def obtain(file: Path | None, *, what: str) -> str:
    """Return the passphrase for `what`: from `file`, else from `SHUYAO_PASSPHRASE_FILE`, else asked for on the terminal.

    Raises:
        CliError: the file is absent or empty, or there is no terminal to ask at.
    """
    path = file or (
        Path(os.environ["SHUYAO_PASSPHRASE_FILE"]) if "SHUYAO_PASSPHRASE_FILE" in os.environ else None
    )
    if path is not None:
        if not path.is_file():
            raise CliError(f"passphrase file {path} does not exist")
        text = path.read_text(encoding="utf8").strip()
        if not text:
            raise CliError(f"passphrase file {path} is empty")
        return text
    if not sys.stdin.isatty():
        raise CliError(
            f"the keystore of {what} needs a passphrase: give --passphrase-file FILE or SHUYAO_PASSPHRASE_FILE"
        )
    return getpass.getpass(f"passphrase of {what}: ")
