"""Powers of one base by a table: one multiplication for each byte of the exponent, no squaring."""

from __future__ import annotations

from typing import Final

from gmpy2 import mpz

from privacy.paillier.errors import LengthMismatch

DIGITS: Final = 256


class FixedBase:
    """A table of b^((d + 1)·256^i) for each digit d of each place i.

    Since a digit 0 stands for one, no entry is trivial: each power takes the same multiplications, and the
    exponent that was given is raised by the constant `offset`. The table of 64 places over 6144 bits takes
    13 MB and 16,400 multiplications, as much as 250 powers by it.

    Source: Brickell, Gordon, McCurley, Wilson, Fast Exponentiation with Precomputation (EUROCRYPT 1992).
    """

    __slots__ = ("_modulus", "_table", "offset", "places")

    def __init__(self, base: mpz, modulus: mpz, *, places: int) -> None:
        """Compute the table.

        Args:
            base: a unit modulo the modulus.
            modulus: above 1.
            places: the length of an exponent in bytes, at least 1.

        Raises:
            LengthMismatch: no place.
        """
        if places < 1:
            raise LengthMismatch(f"expected an exponent of at least one byte, got {places}")
        self.places = places
        self.offset = (DIGITS**places - 1) // (DIGITS - 1)
        self._modulus = modulus
        self._table: list[list[mpz]] = []
        step = mpz(base) % modulus
        for _ in range(places):
            row = [step]
            for _ in range(DIGITS - 1):
                row.append(row[-1] * step % modulus)
            self._table.append(row)
            step = row[-1]

    def power(self, exponent: bytes) -> mpz:
        """Return base^(exponent + offset) mod modulus.

        Args:
            exponent: little-endian, exactly `places` bytes.

        Raises:
            LengthMismatch: another length.
        """
        if len(exponent) != self.places:
            raise LengthMismatch(f"expected an exponent of {self.places} bytes, got {len(exponent)}")
        modulus = self._modulus
        result = mpz(1)
        for row, digit in zip(self._table, exponent, strict=True):
            result = result * row[digit] % modulus
        return result
