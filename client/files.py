"""Files of the buyer's home: whole or not there, and nobody else's to read."""

from __future__ import annotations

from pathlib import Path

from client.errors import StoreError
from ledger import files

_PRIVATE = 0o700


def make_private_directory(path: Path) -> None:
    """Make a directory that only its owner can enter.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    except OSError as err:
        raise StoreError(f"the directory {path.name} cannot be made: {err.strerror}") from err


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves all of it or none, and sync it before its name appears.

    Raises:
        StoreError: no space, or not allowed; a file that was there before is still whole.
    """
    try:
        files.replace(path, data)
    except OSError as err:
        raise StoreError(f"the file {path.name} cannot be written: {err.strerror}") from err
