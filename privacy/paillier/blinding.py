"""Blinding values, r^n mod n²: short exponents for the world, uniform ones for the key's owner, drawn ahead where they are dear.

A ciphertext hides its plaintext behind a random n-th residue. Two kinds are made:

- `ShortBlinding` (Damgård, Jurik, Nielsen): h^(n·a) with a of 512 bits, by a table. It hides a plaintext from
  everybody who cannot factor n. It does **not** hide anything from who can: the key's owner can look for `a`
  in the small subgroups that it knows.
- `UniformBlinding` (Paillier): r^n for a uniform unit r. What goes back to the key's owner is blinded with
  this: Π c_k^x_k then shows its owner the sum of the plaintexts and nothing else about the x_k.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Protocol

import gmpy2
from gmpy2 import gcd, mpz, powmod

from privacy.paillier.fixed_base import FixedBase
from privacy.paillier.keys import PublicKey, TokenBytes

SECURITY_BITS: Final = 128
# four times the security level: twice what Pollard's kangaroo asks for (2^(bits/2) steps), and above the
# 420 bits of RFC 3526 §8 for 3072-bit moduli by its stronger estimate (docs/adr/0008)
EXPONENT_BITS: Final = 4 * SECURITY_BITS
EXTRA_BYTES: Final = 16  # a number of 128 bits more than n is uniform modulo n up to 2^-128


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


@contextmanager
def draw_ahead(blinding: Blinding, count: int) -> Iterator[Iterator[mpz]]:
    """Draw blinding values in the background, from now on, while the caller does other work.

    They come in the order in which they are drawn: those of a source that follows from a seed are what they would be without.
    Leaving waits for the draw that is under way and makes no more.

    Args:
        blinding: drawn from by one thread alone.
        count: how many.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="paillier-blinding") as background:
        drawn = [background.submit(_draw, blinding) for _ in range(count)]
        try:
            yield (each.result() for each in drawn)
        finally:
            background.shutdown(wait=False, cancel_futures=True)


def _draw(blinding: Blinding) -> mpz:
    # other threads work on while a long exponentiation runs
    with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
        return blinding.draw()


def _unit(key: PublicKey, token_bytes: TokenBytes) -> mpz:
    """Draw a unit modulo n, uniform up to 2^-128."""
    while True:
        drawn = mpz(int.from_bytes(token_bytes(key.size + EXTRA_BYTES), "big")) % key.n
        if gcd(drawn, key.n) == 1:
            return drawn
