"""Where the files of a book are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ledger.log.files import Files, storage_errors

FileVersion: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BookFolder:
    """The folder of a book. Only `public` and the log's own public folder are for the world."""

    root: Path

    @property
    def config(self) -> Path:
        """Origin, keys of registrar and service, and the service's secrets."""
        return self.root / "book.json"

    @property
    def database(self) -> Path:
        """The tables, where they are in SQLite."""
        return self.root / "book.db"

    @property
    def log(self) -> Path:
        """The log."""
        return self.root / "log"

    @property
    def state(self) -> Path:
        """What follows from the log."""
        return self.root / "state"

    @property
    def slots(self) -> Path:
        """The status slots."""
        return self.state / "slots"

    @property
    def access(self) -> Path:
        """The access records."""
        return self.root / "access"

    @property
    def public(self) -> Path:
        """Status tokens and issuer histories, to be served."""
        return self.root / "public"

    def status_token(self, number: int) -> Path:
        """The newest token of a status list."""
        return self.public / "status" / f"{number}.jwt"

    def status_w3c(self, number: int) -> Path:
        """The newest token of a status list in the W3C form."""
        return self.public / "status" / f"{number}.w3c.jwt"

    def archived_token(self, digest: bytes) -> Path:
        """A published token by its SHA-256, which is the `evidence` of its leaf."""
        text = digest.hex()
        return self.public / "status" / "archive" / text[:2] / f"{text}.jwt"

    def history(self, issuer: str) -> Path:
        """The newest history of an issuer."""
        return self.public / "issuers" / f"{issuer}.jwt"


def file_version(path: Path) -> FileVersion | None:
    """Return what changes when a file is replaced, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def put_file(path: Path, data: bytes) -> None:
    """Put a file in place durably and at once, and make its folders.

    Raises:
        DiskFull: no room; the old file stays.
        StorageFailed: the operating system refused.
    """
    files = Files()
    with storage_errors():
        files.make_folder(path.parent)
        files.sync(())
        files.replace(path, (data,))
