"""Products of powers of several fixed bases: one chain of squarings for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gmpy2 import mpz, powmod

from privacy.paillier.errors import LengthMismatch

WINDOW_BITS: Final = 5


class PowerProduct:
    """Tables of the first powers of some bases.

    A digit 0 takes a multiplication like any other, so the number of steps depends on the exponents' length alone.

    Source: Straus, Addition chains of vectors (American Mathematical Monthly, 1964); Menezes, van Oorschot, Vanstone,
        Handbook of Applied Cryptography, algorithm 14.88.
    """

    __slots__ = ("_modulus", "_tables")

    def __init__(self, bases: Sequence[mpz], modulus: mpz) -> None:
        """Compute the tables.

        Args:
            bases: at least one.
            modulus: above 1.

        Raises:
            LengthMismatch: no base.
        """
        if not bases:
            raise LengthMismatch("expected at least one base")
        self._modulus = modulus
        self._tables = [_powers(mpz(base) % modulus, modulus) for base in bases]

    def power(self, exponents: Sequence[int], *, bits: int) -> mpz:
        """Return Π base_k^exponent_k mod modulus.

        Args:
            exponents: one for each base, each in [0, 2^bits).
            bits: at least 1.

        Raises:
            LengthMismatch: another number of exponents, or one out of range.
        """
        if len(exponents) != len(self._tables):
            raise LengthMismatch(f"expected {len(self._tables)} exponents, got {len(exponents)}")
        if min(exponents) < 0 or max(exponents).bit_length() > bits:
            raise LengthMismatch(f"expected exponents of at most {bits} bits without a sign")
        modulus, result = self._modulus, mpz(1)
        for window in reversed(range(-(-bits // WINDOW_BITS))):
            result = powmod(result, 1 << WINDOW_BITS, modulus)
            shift = window * WINDOW_BITS
            for table, exponent in zip(self._tables, exponents, strict=True):
                result = result * table[exponent >> shift & (1 << WINDOW_BITS) - 1] % modulus
        return result


def _powers(base: mpz, modulus: mpz) -> list[mpz]:
    powers = [mpz(1)]
    for _ in range((1 << WINDOW_BITS) - 1):
        powers.append(powers[-1] * base % modulus)
    return powers
