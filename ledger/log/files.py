"""What the log asks of a file system: writes, one point of durability, atomic replacement."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Final

from ledger.log.errors import DiskFull, StorageFailed

TEMPORARY: Final = ".tmp"
_MANY: Final = (
    16  # files from which on fsync pays in threads: the file system commits their journals together
)
_THREADS: Final = 16
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn the operating system's refusals into the log's own.

    Raises:
        DiskFull: no space, or over quota.
        StorageFailed: any other refusal.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise DiskFull(
                "the disk is full: the batch is not acknowledged, repeat it once there is room"
            ) from err
        raise StorageFailed(f"the log cannot be written: {err.strerror}") from err


def write_all(descriptor: int, data: bytes, offset: int = 0) -> None:
    """Write a byte string from `offset` on.

    Raises:
        OSError: as the operating system says.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Files:
    """The real file system. Each method is one step of the write order, and all raise OSError."""

    def __init__(self) -> None:
        self._unsynced: set[str] = set()  # directories with new names in them

    def _open(self, path: Path, flags: int) -> int:
        flags |= os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            self.make_folder(path.parent)
            self._unsynced.add(os.fspath(path.parent))
            return os.open(path, flags | os.O_CREAT, 0o644)

    def make_folder(self, path: Path) -> None:
        """Create a folder and those above it; durable after the next `sync`."""
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir(exist_ok=True)
            self._unsynced.add(os.fspath(path.parent))

    def write(self, path: Path, data: bytes) -> None:
        """Write a whole file; durable after `sync`."""
        descriptor = self._open(path, os.O_TRUNC)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        """Write into a file from `offset` on; durable after `sync`."""
        descriptor = self._open(path, 0)
        try:
            write_all(descriptor, data, offset)
        finally:
            os.close(descriptor)

    def sync(self, paths: Sequence[Path]) -> None:
        """Make files, and every name created since the last call, durable."""
        everything = [*map(os.fspath, paths), *self._unsynced]
        if len(everything) < _MANY:
            for path in everything:
                _sync(path)
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(_sync, everything))
        self._unsynced = set()

    def sync_names(self, folder: Path) -> None:
        """Make durable every name below a folder: a process that is gone may have created some and not synced them."""
        for inside, _, _ in os.walk(folder):
            _sync(inside)

    def replace(self, path: Path, parts: Sequence[bytes]) -> None:
        """Put a file in the place of another at once: durable, old or new, never in between."""
        offsets = accumulate((len(part) for part in parts), initial=0)
        self.replace_pieces(path, zip(offsets, parts, strict=False))

    def replace_pieces(self, path: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
        """As `replace`, from pieces with their offsets."""
        temporary = path.with_name(path.name + TEMPORARY)
        descriptor = self._open(temporary, os.O_TRUNC)
        try:
            for offset, piece in pieces:
                write_all(descriptor, piece, offset)
            os.fsync(descriptor)
        except OSError:
            temporary.unlink()  # what a full disk needs most is room
            raise
        finally:
            os.close(descriptor)
        temporary.rename(path)
        _sync(os.fspath(path.parent))
        self._unsynced.discard(os.fspath(path.parent))

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)
        self._unsynced.add(os.fspath(path.parent))

    def remove_folder(self, path: Path) -> None:
        """Remove a folder of files, if it is there."""
        if path.is_dir():
            for inside in path.iterdir():
                inside.unlink(missing_ok=True)
            path.rmdir()
