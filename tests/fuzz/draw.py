"""Choices that are the same in every run: a hash in counter mode."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_BLOCK: Final = 4096


class Draw:
    """A source of choices that follow from a seed."""

    def __init__(self, seed: str) -> None:
        self._seed, self._counter, self._at = seed.encode(), 0, _BLOCK
        self._block = b""

    def data(self, size: int) -> bytes:
        """Return that many bytes."""
        if size > _BLOCK:
            self._counter += 1
            return hashlib.shake_128(self._seed + b"+%d" % self._counter).digest(size)
        if self._at + size > _BLOCK:
            self._counter += 1
            self._block = hashlib.shake_128(self._seed + b"/%d" % self._counter).digest(_BLOCK)
            self._at = 0
        self._at += size
        return self._block[self._at - size : self._at]

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound); the bias of at most 2^-32 does no harm here."""
        return int.from_bytes(self.data(6), "big") % bound

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of some values."""
        return choices[self.below(len(choices))]

    def size(self, bound: int) -> int:
        """Return a size in [1, bound]: small ones are as likely as large ones."""
        return min(bound, 1 + self.below(1 << self.below(max(1, bound.bit_length()) + 1)))
