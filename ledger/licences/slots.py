"""The licences of a log by their status slot: four bits of status and the leaf of the issue, memory-mapped.

Each list has two files. `NNNNNN.status` is the list's unpacked bits exactly as a status token carries them; `NNNNNN.leaves` has one u64
(little-endian, log index + 1, 0 for a free slot) for each of the 2^20 slots. Other processes map the same files and see changes at once.
Everything here follows from the log and can be made again from it.

Source: docs/licence.md §6.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ledger.licences.errors import BookDamaged, BookFull, SlotUnknown

LIST_BITS: Final = 20
LIST_SIZE: Final = 1 << LIST_BITS
STATUS_BYTES: Final = LIST_SIZE // 2
LEAVES_BYTES: Final = LIST_SIZE * 8
NOT_ISSUED: Final = 3
_MAPPED_MAX: Final = 16
_ROUNDS: Final = 8
_HALF_BITS: Final = 10
_HALF: Final = 1 << _HALF_BITS

Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slot:
    """What a status slot holds: the 4-bit code, and the log index of the licence's issue, None where it is free."""

    code: int
    leaf: int | None


def licence_numbers(key: bytes, number: int, indexes: Numbers) -> Numbers:
    """Return which licences of the log (from 0) the slots of a list belong to: the inverse of the keyed permutation.

    Args:
        key: 32 bytes, the service's secret.
        number: of the list.
        indexes: slots of that list, 0 … 2^20 − 1.

    Source: docs/licence.md §6 (the Feistel network, run backwards).
    """
    left, right = indexes >> _HALF_BITS, indexes & (_HALF - 1)
    for r in reversed(range(_ROUNDS)):
        left, right = right ^ _round_table(key, number, r)[left], left
    return (number << LIST_BITS) + ((left << _HALF_BITS) | right)


def _round_table(key: bytes, number: int, r: int) -> Numbers:
    seed = b"shuyao/v1/slot" + key + number.to_bytes(4, "big") + bytes([r])
    return np.frombuffer(hashlib.shake_256(seed).digest(2 * _HALF), dtype=">u2").astype(np.int64) % _HALF


class SlotFiles:
    """The slot files of one log.

    Args:
        folder: where they are; made if missing, unless `writable` is false.
        writable: whether this process is the book's one writer; otherwise files are mapped for reading.
    """

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self._folder, self._writable = folder, writable
        self._lists: dict[int, _MappedList] = {}
        if writable:
            folder.mkdir(parents=True, exist_ok=True)

    def known_lists(self) -> list[int]:
        """Return the numbers of the lists that have files, ascending."""
        return sorted(int(path.stem) for path in self._folder.glob("*.leaves"))

    def get(self, number: int, index: int) -> Slot:
        """Return a slot; a list without files has only free slots.

        Raises:
            SlotUnknown: no such index.
            BookDamaged: a file has not its length.
        """
        _require_index(number, index)
        mapped = self._mapped(number, create=False)
        if mapped is None:
            return Slot(NOT_ISSUED, None)
        leaf = int(mapped.leaves[index])
        return Slot((int(mapped.status[index >> 1]) >> 4 * (index & 1)) & 0xF, leaf - 1 if leaf else None)

    def set_code(self, number: int, index: int, code: int) -> None:
        """Write the status of one slot.

        Raises:
            SlotUnknown: no such index.
            BookFull: no space for the list's files.
        """
        _require_index(number, index)
        mapped = self._created(number)
        shift = 4 * (index & 1)
        byte = int(mapped.status[index >> 1])
        mapped.status[index >> 1] = (byte & (0xF0 >> shift)) | code << shift

    def set_issued(
        self, number: int, indexes: Numbers, leaves: Numbers, codes: npt.NDArray[np.uint8]
    ) -> None:
        """Write that the slots `indexes` of a list hold the licences issued at the log indexes `leaves`.

        Args:
            indexes: distinct slots.
            leaves, codes: as many log indexes and 4-bit codes.

        Raises:
            BookFull: no space for the list's files.
        """
        mapped = self._created(number)
        for parity in (0, 1):
            # Two slots share a byte; within one parity every byte comes up once, so a gather and a scatter are safe.
            mine = (indexes & 1) == parity
            at = indexes[mine] >> 1
            mapped.status[at] = (mapped.status[at] & np.uint8(0xF0 >> 4 * parity)) | (
                codes[mine] << np.uint8(4 * parity)
            )
        mapped.leaves[indexes] = leaves + 1

    def taken(self, number: int, indexes: Numbers) -> npt.NDArray[np.bool_]:
        """Say for each slot of a list whether a licence has it."""
        mapped = self._mapped(number, create=False)
        if mapped is None:
            return np.zeros(len(indexes), dtype=np.bool_)
        return np.asarray(mapped.leaves[indexes] != 0)

    def leaves(self, number: int) -> npt.NDArray[np.uint64]:
        """Return the leaf column of a list: log index + 1 by slot, 0 where free. A view; do not keep it."""
        mapped = self._mapped(number, create=False)
        return np.zeros(LIST_SIZE, dtype="<u8") if mapped is None else mapped.leaves

    def bits(self, number: int) -> bytes:
        """Return a copy of a list's unpacked bits, 2^19 bytes, as a status token carries them."""
        mapped = self._mapped(number, create=False)
        return bytes([NOT_ISSUED * 0x11]) * STATUS_BYTES if mapped is None else mapped.status.tobytes()

    def view(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a list's unpacked bits without a copy. Do not keep it."""
        mapped = self._mapped(number, create=False)
        if mapped is None:
            return np.full(STATUS_BYTES, NOT_ISSUED * 0x11, dtype=np.uint8)
        return mapped.status

    def sync(self) -> None:
        """Make everything written durable, and unmap all but a few lists, so that memory does not grow with the log."""
        for mapped in self._lists.values():
            mapped.sync()
        for number in list(self._lists)[:-_MAPPED_MAX]:
            del self._lists[number]

    def clear(self) -> None:
        """Remove all lists, to make them again from the log."""
        self._lists.clear()
        for path in [*self._folder.glob("*.leaves"), *self._folder.glob("*.status")]:
            path.unlink()

    def _created(self, number: int) -> _MappedList:
        mapped = self._mapped(number, create=True)
        assert mapped is not None  # created on demand
        return mapped

    def _mapped(self, number: int, *, create: bool) -> _MappedList | None:
        mapped = self._lists.get(number)
        if mapped is None:
            status, leaves = (self._folder / f"{number:06d}.{kind}" for kind in ("status", "leaves"))
            if not leaves.exists():
                if not create:
                    return None
                _make_file(status, STATUS_BYTES, NOT_ISSUED * 0x11)
                _make_file(leaves, LEAVES_BYTES, 0)
            mapped = self._lists[number] = _MappedList(status, leaves, writable=self._writable)
        return mapped


class _MappedList:
    """The two files of one list, mapped."""

    __slots__ = ("_maps", "leaves", "status")

    def __init__(self, status: Path, leaves: Path, *, writable: bool) -> None:
        maps = [_map(status, STATUS_BYTES, writable), _map(leaves, LEAVES_BYTES, writable)]
        self._maps = maps
        self.status: npt.NDArray[np.uint8] = np.frombuffer(maps[0], dtype=np.uint8)
        self.leaves: npt.NDArray[np.uint64] = np.frombuffer(maps[1], dtype="<u8")

    def sync(self) -> None:
        for mapped in self._maps:
            mapped.flush()


def _map(path: Path, length: int, writable: bool) -> mmap.mmap:
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    with path.open("r+b" if writable else "rb") as file:
        actual = os.fstat(file.fileno()).st_size
        if actual != length:
            raise BookDamaged(path.name, f"{length} bytes", f"{actual} bytes")
        return mmap.mmap(file.fileno(), length, access=access)


def _make_file(path: Path, length: int, fill: int) -> None:
    """Make a file whose every block is allocated: writing to a mapping of a file with holes kills the process when the disk is full."""
    part = path.with_suffix(path.suffix + ".part")
    try:
        with part.open("wb") as file:
            file.write(bytes([fill]) * length)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as err:
        part.unlink(missing_ok=True)
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BookFull(f"a status list needs {STATUS_BYTES + LEAVES_BYTES} bytes") from err
        raise BookDamaged(path.name, "a file that can be made", type(err).__name__) from err


def _require_index(number: int, index: int) -> None:
    if not (0 <= index < LIST_SIZE and 0 <= number < 1 << 32):
        raise SlotUnknown(number, index)
