"""The status slots as replay derives them: a page a list, in mapped files, few of them open at a time."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ledger.licences.leaf import LIST_SIZE, Code
from ledger.replay.errors import WorkFolderFull
from ledger.replay.leaves import U8

NOT_ISSUED: Final = np.uint8(Code.NOT_ISSUED)
PAGE_SIZE: Final = LIST_SIZE * (8 + 4 + 4 + 1)
_OPEN_MAX: Final = 8


class Page:
    """The slots of one list, arrays of shape (2^20,).

    Args:
        file: of `PAGE_SIZE` bytes; zeros where nothing was issued.
        digest: of the list, if it is known.
    """

    __slots__ = ("_flipped", "_map", "issue", "issuer", "known_digest", "type")

    def __init__(self, file: Path, digest: bytes | None = None) -> None:
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), PAGE_SIZE)
        buffer = np.frombuffer(self._map, np.uint8)
        self.issue: NDArray[np.uint64] = buffer[: LIST_SIZE * 8].view(np.uint64)
        self.issuer: NDArray[np.uint32] = buffer[LIST_SIZE * 8 : LIST_SIZE * 12].view(np.uint32)
        self.type: NDArray[np.uint32] = buffer[LIST_SIZE * 12 : LIST_SIZE * 16].view(np.uint32)
        self._flipped: U8 = buffer[
            LIST_SIZE * 16 :
        ]  # code ^ NOT_ISSUED, so that a hole in the file is "not issued"
        self.known_digest = digest

    def codes(self, slots: NDArray[np.int64]) -> U8:
        """Return the 4-bit codes of some slots."""
        return self._flipped[slots] ^ NOT_ISSUED

    def set_codes(self, slots: NDArray[np.int64], codes: U8) -> None:
        """Write the codes of distinct slots."""
        if len(slots):
            self._flipped[slots] = codes ^ NOT_ISSUED
            self.known_digest = None

    def all_codes(self) -> U8:
        """Return the codes of all slots, one a byte."""
        return self._flipped ^ NOT_ISSUED

    def packed(self) -> U8:
        """Return the unpacked status list: two codes a byte, low half first. Source: docs/licence.md §6."""
        codes = self.all_codes()
        return codes[::2] | codes[1::2] << np.uint8(4)

    def digest(self) -> bytes:
        """Return the SHA-256 of the status list."""
        if self.known_digest is None:
            self.known_digest = sha256(self.packed().tobytes()).digest()
        return self.known_digest


class SlotPages:
    """The pages of all lists of a log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[int, Page] = OrderedDict()
        self._digests: dict[int, bytes | None] = {}  # of the pages that are not open
        self.lists: set[int] = set()

    def page(self, number: int) -> Page:
        """Return the page of a list; made when first asked for.

        Raises:
            WorkFolderFull: no room for another.
        """
        page = self._open.get(number)
        if page is None:
            file = self._folder / f"slots-{number}.bin"
            if number not in self.lists:
                _allocate(file)
                self.lists.add(number)
            page = self._open[number] = Page(file, self._digests.pop(number, None))
            if len(self._open) > _OPEN_MAX:
                closed, oldest = self._open.popitem(last=False)
                self._digests[closed] = oldest.known_digest
        else:
            self._open.move_to_end(number)
        return page

    def pages(self) -> Iterator[tuple[int, Page]]:
        """Yield every page, ascending by list."""
        for number in sorted(self.lists):
            yield number, self.page(number)


def _allocate(file: Path) -> None:
    """Make a file whose blocks exist: a write into a hole of a mapped file kills the process on a full disk."""
    with file.open("xb") as made:
        try:
            os.posix_fallocate(made.fileno(), 0, PAGE_SIZE)
        except OSError as err:
            raise WorkFolderFull(f"no room for a page of {PAGE_SIZE} bytes in the work folder") from err
