"""File systems that fail at a chosen step: a process killed, the power lost, the disk full."""

import errno
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ledger.log.files import TEMPORARY, Files

Failure = Callable[[Path | None, bytes], None]


class SteppedFiles(Files):
    """Calls `fail` before step number `at`; counts steps when it never comes to that one."""

    def __init__(self, at: int, fail: Failure) -> None:
        super().__init__()
        self.at, self.steps = at, 0
        self._fail = fail

    def _step(self, path: Path | None = None, data: bytes = b"") -> None:
        if self.steps == self.at:
            self.steps += 1
            self._fail(path, data)
        self.steps += 1

    def write(self, path: Path, data: bytes) -> None:
        self._step(path, data)
        super().write(path, data)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        self._step()
        super().write_at(path, offset, data)

    def sync(self, paths: Sequence[Path]) -> None:
        self._step()
        super().sync(paths)

    def replace_pieces(self, path: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
        kept = list(pieces)
        self._step(path.with_name(path.name + TEMPORARY), b"".join(piece for _, piece in kept))
        super().replace_pieces(path, kept)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def remove_folder(self, path: Path) -> None:
        self._step()
        super().remove_folder(path)


def die(path: Path | None, data: bytes) -> None:
    """Kill this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_halfway(path: Path | None, data: bytes) -> None:
    """Write half of what was to be written, and be killed."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(path: Path | None, data: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class PowerLost(BaseException):
    """The machine is off."""


def lose_power(path: Path | None, data: bytes) -> None:
    raise PowerLost


class VolatileFiles(SteppedFiles):
    """A disk that forgets on a power cut all that was not synced."""

    def __init__(self, at: int) -> None:
        super().__init__(at, lose_power)
        self._before: dict[Path, bytes | None] = {}

    def _remember(self, path: Path) -> None:
        if path not in self._before:
            self._before[path] = path.read_bytes() if path.exists() else None

    def write(self, path: Path, data: bytes) -> None:
        self._remember(path)
        super().write(path, data)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        self._remember(path)
        super().write_at(path, offset, data)

    def sync(self, paths: Sequence[Path]) -> None:
        super().sync(paths)
        for path in paths:
            self._before.pop(path, None)
        self._before = {path: data for path, data in self._before.items() if path.exists()}

    def replace_pieces(self, path: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
        super().replace_pieces(path, pieces)
        self._before.pop(path, None)

    def remove(self, path: Path) -> None:
        self._remember(path)
        super().remove(path)

    def remove_folder(self, path: Path) -> None:
        for inside in path.iterdir() if path.is_dir() else ():
            self._remember(inside)
        super().remove_folder(path)

    def cut_power(self) -> None:
        """Bring back what was on the disk."""
        for path, data in self._before.items():
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
