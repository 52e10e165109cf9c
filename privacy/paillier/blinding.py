"""Blinding values, r^n mod n²: short exponents for the world, uniform ones for the key's owner, and a pool.

A ciphertext hides its plaintext behind a random n-th residue. Two kinds are made:

- `ShortBlinding` (Damgård, Jurik, Nielsen): h^(n·a) with a of 512 bits, by a table. It hides a plaintext from
  everybody who cannot factor n. It does **not** hide anything from who can: the key's owner can look for `a`
  in the small subgroups that it knows.
- `UniformBlinding` (Paillier): r^n for a uniform unit r. What goes back to the key's owner is blinded with
  this: Π c_k^x_k then shows its owner the sum of the plaintexts and nothing else about the x_k.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final, Protocol

import gmpy2
from gmpy2 import gcd, mpz, powmod

from privacy.paillier.errors import LengthMismatch, PoolClosed
from privacy.paillier.fixed_base import FixedBase
from privacy.paillier.keys import PublicKey, TokenBytes

SECURITY_BITS: Final = 128
# four times the security level: twice what Pollard's kangaroo asks for (2^(bits/2) steps), and above the
# 420 bits of RFC 3526 §8 for 3072-bit moduli by its stronger estimate (docs/adr/0008)
EXPONENT_BITS: Final = 4 * SECURITY_BITS
EXTRA_BYTES: Final = 16  # a number of 128 bits more than n is uniform modulo n up to 2^-128
POOL_MAX: Final = 1 << 16


class Blinding(Protocol):
    """Where blinding values come from."""

    @property
    def key(self) -> PublicKey:
        """The key that they are for."""

    @property
    def hides_from_owner(self) -> bool:
        """Whether they hide a computation from the owner of the key too."""

    def draw(self) -> mpz:
        """Return a fresh n-th residue modulo n², to be used once."""


class ShortBlinding:
    """Powers of h_s = (−y²)^n mod n² with exponents of 512 bits, by a table.

    y is drawn here and thrown away: a base that somebody else sends could be one of small order.

    Source: Damgård, Jurik, Nielsen (IJIS 2010), the optimised encryption. Their exponent has half the bits of n; ours is shorter,
        under the assumption that powers of short exponents look like others (docs/adr/0008).
    """

    hides_from_owner: Final = False

    def __init__(self, key: PublicKey, token_bytes: TokenBytes) -> None:
        """Draw the base and compute the table.

        Args:
            key: that the values are for.
            token_bytes: `secrets.token_bytes`; only tests give another.
        """
        self.key: Final = key
        self._token_bytes = token_bytes
        y = _unit(key, token_bytes)
        base = powmod(-y * y % key.n, key.n, key.n_square)
        self._table = FixedBase(base, key.n_square, places=EXPONENT_BITS // 8)

    def draw(self) -> mpz:
        """Return h_s^a for a fresh a, raised by the table's constant offset."""
        return self._table.power(self._token_bytes(EXPONENT_BITS // 8))


class UniformBlinding:
    """r^n mod n² for a uniform unit r: a uniform n-th residue, whatever the owner knows.

    Source: Paillier (EUROCRYPT 1999), §8, self-blinding.
    """

    hides_from_owner: Final = True

    def __init__(self, key: PublicKey, token_bytes: TokenBytes) -> None:
        """Keep the key and the source of randomness."""
        self.key: Final = key
        self._token_bytes = token_bytes

    def draw(self) -> mpz:
        """Return r^n for a fresh r."""
        return powmod(_unit(self.key, self._token_bytes), self.key.n, self.key.n_square)


class BlindingPool:
    """Blinding values made ahead of the request by a thread, at most `size` of them.

    Each is given out once, in the process that made it, and its bytes are overwritten when it is taken and when
    the pool closes. (Numbers that Python and GMP copied on the way cannot be overwritten.) An empty pool does not
    wait: the value is made on the spot.
    """

    def __init__(self, source: Blinding, *, size: int) -> None:
        """Start filling.

        Args:
            source: of the values; `draw` is called by two threads.
            size: the most values that wait, 1 … 2^16.

        Raises:
            LengthMismatch: another size.
        """
        if not 1 <= size <= POOL_MAX:
            raise LengthMismatch(f"expected a pool of 1 to {POOL_MAX} values, got {size}")
        self._source = source
        self._size = size
        self._process = os.getpid()
        self._ready: deque[bytearray] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._fill, name="paillier-blinding", daemon=True)
        self._thread.start()

    @property
    def key(self) -> PublicKey:
        """The key that the values are for."""
        return self._source.key

    @property
    def hides_from_owner(self) -> bool:
        """Whether the values hide a computation from the owner of the key too."""
        return self._source.hides_from_owner

    def __len__(self) -> int:
        """Return how many values are ready."""
        return len(self._ready)

    def __enter__(self) -> BlindingPool:
        """Return the pool; leaving closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def draw(self) -> mpz:
        """Take a value that waits, or make one.

        Raises:
            PoolClosed: closed, or inherited from the process that this one was forked from: that one gives out
                the same values.
        """
        # before the lock, which a forked process may have inherited in a locked state
        if os.getpid() != self._process:
            raise PoolClosed("the pool belongs to another process: make one after the fork")
        with self._changed:
            if self._closed:
                raise PoolClosed("the pool is closed")
            waiting = self._ready.popleft() if self._ready else None
            self._changed.notify_all()
        return self._source.draw() if waiting is None else _taken(waiting)

    def wait_until_full(self, timeout_s: float) -> bool:
        """Wait until the pool is full; returns False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or len(self._ready) >= self._size, timeout_s)

    def close(self) -> None:
        """Stop the thread and overwrite what is left; closing twice is allowed."""
        if os.getpid() != self._process:
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        while self._ready:
            _wipe(self._ready.popleft())

    def _fill(self) -> None:
        width = 2 * self.key.size
        # other threads work on while a long exponentiation runs
        with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or len(self._ready) < self._size)
                    if self._closed:
                        return
                value = bytearray(int(self._source.draw()).to_bytes(width, "little"))
                with self._changed:
                    self._ready.append(value)
                    self._changed.notify_all()


def _unit(key: PublicKey, token_bytes: TokenBytes) -> mpz:
    """Draw a unit modulo n, uniform up to 2^-128."""
    while True:
        drawn = mpz(int.from_bytes(token_bytes(key.size + EXTRA_BYTES), "big")) % key.n
        if gcd(drawn, key.n) == 1:
            return drawn


def _taken(value: bytearray) -> mpz:
    number = mpz(int.from_bytes(value, "little"))
    _wipe(value)
    return number


def _wipe(value: bytearray) -> None:
    value[:] = bytes(len(value))
