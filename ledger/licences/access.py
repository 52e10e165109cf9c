"""Access records: one durable record for every use of a licence, listed to its holder, unlinkable once its salt is destroyed.

Each process that verifies writes a file of its own in slots of 104 bytes, big-endian:
`salt (16) ‖ u64 log index of the licence + 1 ‖ record (74) ‖ 2 zeros ‖ u32 CRC-32 of the record`.
A record counts when its file is synced; many share one sync. The book's process sums ranges of those files into
`access_batch` leaves. Erasure overwrites salt and log index in place; the record stays, so that the batch's root can still be
recomputed, and says nothing to anybody any more.

Source: docs/licence.md §12.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np

from ledger.encoding import U64_MAX, Digest, require_length, require_range
from ledger.licences.errors import BookBusy, BookDamaged, BookFull, RecordMalformed
from ledger.licences.group import GroupCommit, Ticket

RECORD_SIZE: Final = 74
SALT_SIZE: Final = 16
SLOT_SIZE: Final = 104
BATCH_MAX: Final = 1 << 16
# while others come; each sync costs its process about as much CPU as a verification
GROUP_DELAY_S: Final = 0.008
_RECORD: Final = struct.Struct(">B32sQ32sB")
_SLOT: Final = struct.Struct(f">{SALT_SIZE}sQ{RECORD_SIZE}sHI")
_COLUMNS: Final = np.dtype(
    [("salt", "V16"), ("leaf", ">u8"), ("record", f"V{RECORD_SIZE}"), ("pad", ">u2"), ("crc", ">u4")]
)
_RECORD_AT: Final = SALT_SIZE + 8
_VERSION: Final = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


class Use(IntEnum):
    """What a verifier was told."""

    VALID = 0
    INVALID = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One use of a licence: `subject` is HMAC-SHA256(salt, leaf hash), `verifier` the SHA-256 of the audience."""

    subject: bytes
    time_s: int
    verifier: bytes
    use: Use

    def __post_init__(self) -> None:
        require_length("record.subject", self.subject, 32)
        require_range("record.time", self.time_s, 0, U64_MAX)
        require_length("record.verifier", self.verifier, 32)

    def encode(self) -> bytes:
        """Return the 74 bytes."""
        return _RECORD.pack(_VERSION, self.subject, self.time_s, self.verifier, self.use)

    @classmethod
    def decode(cls, data: bytes) -> AccessRecord:
        """Read the 74 bytes.

        Raises:
            RecordMalformed: another length, version or verdict.
        """
        if len(data) != RECORD_SIZE:
            raise RecordMalformed(f"{RECORD_SIZE} bytes", f"{len(data)} bytes")
        version, subject, time_s, verifier, use = _RECORD.unpack(data)
        if version != _VERSION or use > Use.UNKNOWN:
            raise RecordMalformed("version 1 and a verdict of 0, 1 or 2", f"version {version}, verdict {use}")
        return cls(subject, time_s, verifier, Use(use))

    def is_of(self, salt: bytes, leaf_hash: bytes) -> bool:
        """Say whether this is a use of the licence with that leaf."""
        return hmac.compare_digest(self.subject, hmac.digest(salt, leaf_hash, "sha256"))


@dataclass(frozen=True, slots=True)
class ListedUse:
    """A record as its holder gets it: with the salt that links it, the file and position it stands at, and the batch it is in."""

    record: AccessRecord
    salt: bytes
    writer: str
    position: int


def make_record(leaf_hash: Digest, *, audience: str, use: Use, now_s: int, salt: bytes) -> AccessRecord:
    """Make the record of one use.

    Args:
        leaf_hash: of the licence's issue.
        audience: the verifier's, as in the KB-JWT.
        now_s: Unix seconds.
        salt: 16 random bytes, never used before.
    """
    require_length("salt", salt, SALT_SIZE)
    subject = hmac.digest(salt, leaf_hash, "sha256")
    return AccessRecord(subject, now_s, hashlib.sha256(audience.encode()).digest(), use)


class AccessWriter:
    """The access records of one process. Safe to share between threads.

    Args:
        folder: of all writers' files.
        name: of this writer: lower-case letters, digits and hyphens.
        delay_s: how long a group of records stays open for others to share its sync.

    Raises:
        BookBusy: another process writes under this name.
        BookDamaged: no such name, or the file cannot be opened.
    """

    def __init__(self, folder: Path, name: str, *, delay_s: float = GROUP_DELAY_S) -> None:
        self._path = _path(folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(self._fd)
            raise BookBusy(f"access records of {name!r}") from err
        self._size = self._repair()
        _sync_folder(folder)
        self._group: GroupCommit[bytes, None] = GroupCommit(self._write, delay_s=delay_s)
        self._close = threading.Lock()

    def enqueue(self, leaf_index: int, record: AccessRecord, salt: bytes) -> Ticket[None]:
        """Add a record to the open group and return at once; it is durable when the ticket's group is done.

        Args:
            leaf_index: log index of the licence's issue.
            salt: the record's.

        Raises:
            BookClosed.
        """
        return self._group.enqueue(_slot(salt, leaf_index + 1, record.encode()))

    def flush(self) -> None:
        """Write what waits without delay: no other record is about to come."""
        self._group.flush()

    def add(self, leaf_index: int, record: AccessRecord, salt: bytes) -> None:
        """Add a record and wait until it is durable.

        Raises:
            BookFull: no space; the record is not kept.
            BookClosed.
        """
        ticket = self.enqueue(leaf_index, record, salt)
        self.flush()
        ticket.result()

    def close(self) -> None:
        """Write what waits and let go of the file. Later calls change nothing."""
        with self._close:
            self._group.close()
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _write(self, slots: Sequence[bytes]) -> list[None]:
        data = b"".join(slots)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
            os.fdatasync(self._fd)
        except OSError as err:
            os.ftruncate(self._fd, self._size)
            if err.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BookFull("access records") from err
            raise BookDamaged(
                self._path.name, "a file that can be written", errno.errorcode.get(err.errno or 0, "")
            ) from err
        self._size += len(data)
        return [None] * len(slots)

    def _repair(self) -> int:
        """Cut off what a crash left half written; nobody was told that it is durable."""
        size = os.fstat(self._fd).st_size // SLOT_SIZE * SLOT_SIZE
        while size and not _is_whole(os.pread(self._fd, SLOT_SIZE, size - SLOT_SIZE)):
            size -= SLOT_SIZE
        os.ftruncate(self._fd, size)
        os.fdatasync(self._fd)
        return size


class AccessFiles:
    """All writers' records, read and erased by the book's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def writers(self) -> list[str]:
        """Return the names that have records, ascending."""
        return sorted(path.stem for path in self._folder.glob("*.records"))

    def durable_count(self, name: str) -> int:
        """Make a writer's file durable and return how many whole records it has."""
        with _path(self._folder, name).open("rb") as file:
            os.fsync(file.fileno())
            count = os.fstat(file.fileno()).st_size // SLOT_SIZE
            while count and not _is_whole(os.pread(file.fileno(), SLOT_SIZE, (count - 1) * SLOT_SIZE)):
                count -= 1
        return count

    def records(self, name: str, first: int, count: int) -> list[bytes]:
        """Return the encoded records of a range of one writer.

        Raises:
            BookDamaged: the file has fewer, or a slot's checksum is wrong.
        """
        with _path(self._folder, name).open("rb") as file:
            data = os.pread(file.fileno(), count * SLOT_SIZE, first * SLOT_SIZE)
        slots = [data[i : i + SLOT_SIZE] for i in range(0, len(data), SLOT_SIZE)]
        if len(slots) != count or not all(map(_is_whole, slots)):
            raise BookDamaged(
                f"{name}.records", f"{count} whole records from {first}", "fewer, or altered ones"
            )
        return [_record_of(slot) for slot in slots]

    def uses_of(self, leaf_index: int, leaf_hash: Digest) -> list[ListedUse]:
        """List the uses of one licence with their salts, by writer and position."""
        found = []
        for name in self.writers():
            for position in self._positions(name, leaf_index):
                salt, record = self._read(name, position)
                if record.is_of(salt, leaf_hash):
                    found.append(ListedUse(record, salt, name, position))
        return found

    def erase(self, leaf_index: int) -> int:
        """Destroy the salts of one licence's records, durably, and return how many there were."""
        count = 0
        for name in self.writers():
            positions = self._positions(name, leaf_index)
            if not len(positions):
                continue
            with _path(self._folder, name).open("r+b") as file:
                for position in positions:
                    os.pwrite(file.fileno(), bytes(_RECORD_AT), position * SLOT_SIZE)
                os.fsync(file.fileno())
            count += len(positions)
        return count

    def _positions(self, name: str, leaf_index: int) -> list[int]:
        path = _path(self._folder, name)
        count = path.stat().st_size // SLOT_SIZE
        if not count:
            return []
        slots = np.memmap(path, dtype=_COLUMNS, mode="r", shape=(count,))
        return [int(at) for at in np.flatnonzero(slots["leaf"] == leaf_index + 1)]

    def _read(self, name: str, position: int) -> tuple[bytes, AccessRecord]:
        with _path(self._folder, name).open("rb") as file:
            data = os.pread(file.fileno(), SLOT_SIZE, position * SLOT_SIZE)
        if not _is_whole(data):
            raise BookDamaged(f"{name}.records", f"a whole record at {position}", "an altered one")
        return data[:SALT_SIZE], AccessRecord.decode(_record_of(data))


def _slot(salt: bytes, leaf: int, record: bytes) -> bytes:
    # The checksum is the record's alone: erasure then overwrites salt and log index only, and may be torn and done again.
    return _SLOT.pack(salt, leaf, record, 0, zlib.crc32(record))


def _is_whole(slot: bytes) -> bool:
    return len(slot) == SLOT_SIZE and zlib.crc32(_record_of(slot)) == int.from_bytes(slot[-4:], "big")


def _record_of(slot: bytes) -> bytes:
    return slot[_RECORD_AT : _RECORD_AT + RECORD_SIZE]


def _path(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise BookDamaged("access writer", "a name of lower-case letters, digits and hyphens", "another")
    return folder / f"{name}.records"


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
