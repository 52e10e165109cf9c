"""Public files of this package: read up to a limit, and written once and whole."""

from __future__ import annotations

from pathlib import Path

from holder.errors import CeremonyRefused
from ledger import files


def read_limited(path: Path, size_max: int) -> bytes:
    """Return a file's bytes.

    Raises:
        CeremonyRefused: it cannot be read, or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(size_max + 1)
    except OSError as err:
        raise CeremonyRefused(f"{path.name} cannot be read: {err.strerror}") from err
    if len(data) > size_max:
        raise CeremonyRefused(f"{path.name}: expected at most {size_max} bytes")
    return data


def write_once(path: Path, data: bytes, size_max: int) -> bytes:
    """Write a file where there is none, whole or not at all; return what stands there then.

    Raises:
        CeremonyRefused: it cannot be written, or what stands there is longer than `size_max`.
    """
    try:
        files.write_new(path, data, mode=files.SHARED)
    except FileExistsError:
        return read_limited(path, size_max)
    except OSError as err:
        raise CeremonyRefused(f"{path.name} cannot be written: {err.strerror}") from err
    return data
