"""One seed of a side's session, and all that it draws from it.

A side has 32 bytes for a session, and keeps them. Every scalar, order, mask, dummy and blinding value of
its session follows from them, so a side that starts again sends the same bytes: it never answers twice with
different randomness.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privacy.join.errors import StateCorrupt
from privacy.prg import derive_key

SEED_BYTES: Final = 32
_ZERO_BLOCK = bytes(16)


class Stream:
    """Pseudorandom bytes of one use, read from the front and never twice.

    AES-256-CTR under KDF(seed, session, "join-" ‖ use, 0, 0), counter from 0.

    Source: NIST SP 800-38A §6.5; docs/protocol.md §0.
    """

    def __init__(self, seed: bytes, session: bytes, use: str) -> None:
        """Start at the front.

        Raises:
            StateCorrupt: not 32 bytes.
        """
        require_seed(seed)
        key = derive_key(seed, session, f"join-{use}", 0, 0)
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(_ZERO_BLOCK)).encryptor()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; the form is that of `secrets.token_bytes`."""
        return self._cipher.update(bytes(size))

    def below_power(self, bits: int) -> int:
        """Return a uniform integer in 0 … 2^bits − 1."""
        size = (bits + 7) // 8
        return int.from_bytes(self.read(size), "little") & (1 << bits) - 1

    def permutation(self, count: int) -> NDArray[np.intp]:
        """Return a uniform order of `count` places.

        Places are sorted by 128 random bits. Two are equal with probability below count²/2^129, and only then is
        the order not uniform.
        """
        drawn = np.frombuffer(self.read(16 * count), dtype="<u8").reshape(2, count)
        return np.lexsort((drawn[0], drawn[1]))


def require_seed(seed: bytes) -> None:
    """Refuse a seed of another length.

    Raises:
        StateCorrupt: not 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise StateCorrupt(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
