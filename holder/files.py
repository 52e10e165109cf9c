"""Public files of this package: read up to a limit, and written once and whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from holder.errors import CeremonyRefused


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


def write_once(path: Path, data: bytes) -> bytes:
    """Write a file where there is none, whole or not at all; return what stands there then.

    Raises:
        CeremonyRefused: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # fails where there is a file: two writers cannot both succeed
        except FileExistsError:
            return path.read_bytes()
        finally:
            temporary.unlink()
    except OSError as err:
        raise CeremonyRefused(f"{path.name} cannot be written: {err.strerror}") from err
    return data
