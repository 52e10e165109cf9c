"""Where a log's files are, its identity, and the lock that makes its writer the only one."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.encoding import parse_json, require_keys
from ledger.errors import MalformedValue
from ledger.log.errors import EntryMissing, LogBusy, LogDamaged, NoteUnverified
from ledger.log.files import Files
from ledger.log.notes import NoteSigner
from ledger.log.tiles import TILE_HEIGHT, TILE_WIDTH, bundle_path, index_path, tile_path

_VERSION: Final = "1"
_held: set[int] = set()  # descriptors of the locks that this process has
_CONFIG_KEYS: Final = frozenset({"version", "origin", "key"})


class Layout:
    """The paths of a log's files; only `public` is for the world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public, self.private = folder / "public", folder / "private"
        self.checkpoint = self.public / "checkpoint"
        self.cosigned = self.public / "checkpoint.cosigned"
        self.config = self.private / "log.json"
        self.lock = self.private / "lock"
        self.journal = self.private / "journal"
        self.nodes = self.private / "nodes"
        self.index = self.private / "index"

    def evidence(self, n: int) -> Path:
        """Return where evidence bundle `n` is."""
        return self.private / "evidence" / index_path(n)

    def make(self, files: Files) -> None:
        """Create the folders of a new log.

        Raises:
            OSError: as the operating system says.
        """
        for path in (self.public, self.private, self.index / "by-event-id", self.index / "by-key"):
            files.make_folder(path)
        self.private.chmod(0o700)

    def write_config(self, files: Files, signer: NoteSigner) -> None:
        """Write the log's identity; from then on the log exists.

        Raises:
            OSError: as the operating system says.
        """
        config = {"version": _VERSION, "origin": signer.key.name, "key": signer.key.to_text()}
        files.replace(self.config, (json.dumps(config, ensure_ascii=False).encode("utf-8"),))

    def require_config(self, signer: NoteSigner) -> None:
        """Check that there is a log here, and that the key is its own.

        Raises:
            EntryMissing: there is no log in this folder.
            LogDamaged: the identity is torn, or of another version.
            NoteUnverified: the key is not the log's.
        """
        try:
            config = require_keys("log.json", parse_json(self.config.read_bytes()), _CONFIG_KEYS)
        except FileNotFoundError as err:
            raise EntryMissing(f"a log in {self.folder.name!r}") from err
        except MalformedValue as err:
            raise LogDamaged(str(err)) from err
        if config["version"] != _VERSION:
            raise LogDamaged(f"log.json: expected version {_VERSION}")
        if config["key"] != signer.key.to_text():
            raise NoteUnverified("the key is not the one this log was created with")


def outgrown_partials(base: int, size: int) -> list[str]:
    """Return the folders of partial tiles and bundles that are full since the log grew from `base` to `size`."""
    found = []
    level = 0
    while base >> (TILE_HEIGHT * level):
        n = base >> (TILE_HEIGHT * (level + 1))
        partial = (base >> (TILE_HEIGHT * level)) % TILE_WIDTH
        if partial and size >> (TILE_HEIGHT * (level + 1)) > n:
            found += [f"{tile_path(level, n)}.p"] + ([f"{bundle_path(n)}.p"] if level == 0 else [])
        level += 1
    return found


def take_lock(path: Path) -> int:
    """Lock a file until its descriptor, which is returned, is given to `release_lock`.

    Raises:
        LogBusy: another process, or another `Log` of this one, has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(descriptor)
        raise LogBusy("another process writes this log") from err
    _held.add(descriptor)
    return descriptor


def release_lock(descriptor: int) -> None:
    """Give a lock of `take_lock` back."""
    _held.discard(descriptor)
    os.close(descriptor)


def _forget_locks() -> None:
    # a forked worker that outlives its killed parent would keep the log locked for ever
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock for a block.

    Raises:
        LogBusy: another process has it.
    """
    descriptor = take_lock(path)
    try:
        yield
    finally:
        release_lock(descriptor)
