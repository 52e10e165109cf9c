"""A counter outside the database, by which a node notices that its database is a restored backup.

Each disk-first transaction raises the counter in the database; the same number is then written to this file. A crash
between the two leaves the file one behind, which is harmless: nothing was sent yet. A database behind the file was
restored from a backup.
"""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import Final

from holder.errors import StoreError
from ledger import files

_DIGITS_MAX: Final = 20


class EpochFile:
    """The counter's file: written whole, synced, then renamed over the old one. It never goes back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._last = 0

    def read(self) -> int:
        """Return the last number written, 0 when there is no file yet.

        Raises:
            StoreError: the file holds something else.
        """
        try:
            text = self.path.read_text("ascii").strip()
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError) as err:
            raise StoreError("the epoch file cannot be read") from err
        if not text.isdigit() or len(text) > _DIGITS_MAX:
            raise StoreError("expected a number in the epoch file")
        return int(text)

    def advance(self, epoch: int) -> None:
        """Put `epoch` on disk before returning, unless a later one is there.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._lock:
            if epoch > self._last:
                self._write(epoch)
                self._last = epoch

    def _write(self, epoch: int) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # the command line writes beside a running node
                if epoch <= self.read():
                    return
                files.replace(self.path, f"{epoch}\n".encode())
        except OSError as err:
            raise StoreError("the epoch file cannot be written") from err
