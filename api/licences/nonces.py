"""Challenges for presentations: each is given out once, lives for a minute, and is used up by the first presentation that answers it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

NONCE_AGE_S: Final = 120
NONCES_MAX: Final = 1 << 17


class Nonces:
    """The challenges that are out. Bounded: when too many are out the oldest is dropped, which costs its asker one more round."""

    def __init__(self, *, age_s: int = NONCE_AGE_S, count_max: int = NONCES_MAX) -> None:
        self._age_s, self._count_max = age_s, count_max
        self._out: OrderedDict[str, int] = OrderedDict()  # nonce -> when it ends
        self._lock = threading.Lock()

    def give(self, rand: bytes, now_s: int) -> tuple[str, int]:
        """Give out a challenge.

        Args:
            rand: 16 fresh random bytes.
            now_s: Unix seconds.

        Returns:
            The nonce in hex, and the Unix time when it ends.
        """
        nonce, ends_at = rand.hex(), now_s + self._age_s
        with self._lock:
            self._out[nonce] = ends_at
            while self._out and (len(self._out) > self._count_max or next(iter(self._out.values())) <= now_s):
                self._out.popitem(last=False)
        return nonce, ends_at

    def use(self, nonce: str, now_s: int) -> bool:
        """Use a challenge up; says whether it was out and still lived."""
        with self._lock:
            ends_at = self._out.pop(nonce, 0)
        return ends_at > now_s
