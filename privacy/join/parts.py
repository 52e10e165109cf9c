"""Messages in parts of at most 1 MiB: cut as they are made, put together as they come, never whole in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from privacy.join.errors import (
    PartMalformed,
    PartOutOfOrder,
    PartsMissing,
    PartsTrailing,
    RoundWrong,
    TermsInvalid,
    TermsMismatch,
)

PART_BYTES_MAX: Final = 1 << 20
HEAD_BYTES: Final = 5
BODY_BYTES_MAX: Final = PART_BYTES_MAX - HEAD_BYTES
PARTS_MAX: Final = (1 << 16) - 1


def parts_needed(size: int) -> int:
    """Return the number of parts of a message of `size` bytes, at least 1.

    Raises:
        TermsInvalid: more than 65535 parts.
    """
    needed = max(1, -(-size // BODY_BYTES_MAX))
    if needed > PARTS_MAX:
        raise TermsInvalid(f"expected a message of at most {PARTS_MAX} parts, got {needed}")
    return needed


def cut(round_: int, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a message into parts: `u8 round ‖ u16 part ‖ u16 parts ‖ bytes`.

    Args:
        round_: 1, 2 or 3.
        size: of the whole message, known before it is made.
        pieces: the message, in pieces of any length.

    Yields:
        parts, all full but the last.

    Raises:
        PartsMissing, PartsTrailing: the pieces are not `size` bytes together.
    """
    parts, waiting, number, left = parts_needed(size), bytearray(), 0, size
    for piece in pieces:
        waiting += piece
        left -= len(piece)
        if left < 0:
            raise PartsTrailing(f"expected a message of {size} bytes, got {-left} more")
        while len(waiting) >= BODY_BYTES_MAX and number < parts - 1:
            yield _part(round_, number, parts, waiting[:BODY_BYTES_MAX])
            del waiting[:BODY_BYTES_MAX]
            number += 1
    if left:
        raise PartsMissing(f"expected a message of {size} bytes, {left} are missing")
    yield _part(round_, number, parts, waiting)


def _part(round_: int, number: int, parts: int, body: bytearray) -> bytes:
    return bytes((round_,)) + number.to_bytes(2, "big") + parts.to_bytes(2, "big") + body


class PartReader:
    """Reads a message of a known length from its parts, in their order, and holds one part at a time."""

    def __init__(self, round_: int, size: int, parts: Iterable[bytes]) -> None:
        """Start at the front.

        Args:
            round_: that each part must be of.
            size: of the whole message.
            parts: as they came, in order.
        """
        self._round, self._size, self._parts = round_, size, iter(parts)
        self._count, self._next = parts_needed(size), 0
        self._waiting = bytearray()

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            PartsMissing: the parts end before.
            PartMalformed, RoundWrong, PartOutOfOrder: a part that is not the next one of this message.
        """
        pieces, missing = [], size
        while missing:
            if not self._waiting:
                self._read()
            piece = self._waiting[:missing]
            del self._waiting[: len(piece)]
            missing -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def require_head(self, head: bytes) -> None:
        """Require that the message starts with a head.

        Raises:
            TermsMismatch: it starts with something else.
        """
        if self.take(len(head)) != head:
            raise TermsMismatch("expected a message of this version under the same terms, got another's")

    def finish(self) -> None:
        """Require that nothing follows.

        Raises:
            PartsTrailing: something does.
        """
        if self._waiting or self._next != self._count or next(self._parts, None) is not None:
            raise PartsTrailing(f"expected nothing after a message of {self._size} bytes")

    def _read(self) -> None:
        part = next(self._parts, None)
        if part is None or self._next == self._count:
            raise PartsMissing(f"expected {self._count} parts, got {self._next}")
        require_part(part, round_=self._round, number=self._next, size=self._size)
        self._waiting += memoryview(part)[HEAD_BYTES:]
        self._next += 1


def require_part(part: bytes, *, round_: int, number: int, size: int) -> None:
    """Refuse a part that is not the `number`-th of a message of `size` bytes; one can do so as it arrives.

    Raises:
        PartMalformed: without its head, or not as long as this part is.
        RoundWrong: of another round.
        PartOutOfOrder: another number, or another number of parts.
    """
    if len(part) < HEAD_BYTES:
        raise PartMalformed(f"expected at least {HEAD_BYTES} bytes, got {len(part)}")
    if part[0] != round_:
        raise RoundWrong(f"expected a part of round {round_}, got round {part[0]}")
    parts = parts_needed(size)
    found = int.from_bytes(part[1:3], "big"), int.from_bytes(part[3:5], "big")
    if found != (number, parts):
        raise PartOutOfOrder(f"expected part {number} of {parts}, got part {found[0]} of {found[1]}")
    expected = min(BODY_BYTES_MAX, size - number * BODY_BYTES_MAX)
    if len(part) - HEAD_BYTES != expected:
        raise PartMalformed(f"expected {expected} bytes in part {number}, got {len(part) - HEAD_BYTES}")
