"""Files of which a reader, or a crash, never sees a part: written aside, synced, and only then given their name."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
SHARED: Final = 0o666  # less the process's mask


def write_new(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file durably where there is none.

    Args:
        path: in a directory that exists.
        data: all of it.
        mode: of the file, less the process's mask.

    Raises:
        FileExistsError: there is a file already; it is left as it is.
        OSError: it cannot be written; nothing is there.
    """
    temporary = _write_aside(path, data, mode)
    try:
        os.link(temporary, path)  # fails where there is a file: two writers cannot both succeed
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def replace(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file durably, in the place of the one that may be there.

    Args:
        path: in a directory that exists.
        data: all of it.
        mode: of the file, less the process's mask.

    Raises:
        OSError: it cannot be written; a file that was there before is still whole.
    """
    temporary = _write_aside(path, data, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
    _sync_directory(path.parent)


def _write_aside(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()  # what a full disk needs most is room
        raise
    return temporary


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
