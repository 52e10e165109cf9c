"""Paillier keys: g = n + 1, 3072 bits and more, primes that are 3 modulo 4 with gcd(p − 1, q − 1) = 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gmpy2 import gcd, is_power, is_prime, mpz, primorial

from privacy.encoding import keccak, tagged_hash
from privacy.paillier.errors import (
    CiphertextNotUnit,
    CiphertextOutOfRange,
    KeyInvalid,
    KeySizeRefused,
    PlaintextOutOfRange,
)
from privacy.paillier.raw import RawFactors

KEY_BITS: Final = 3072  # 128 bits of security: NIST SP 800-57 part 1 rev. 5, table 2
KEY_BITS_MAX: Final = 6144  # a ciphertext in decimal stays below the digits that Python reads at once
SMALL_FACTOR_MAX: Final = 1 << 16
PRIME_DISTANCE_BITS: Final = 100  # |p − q| > 2^(bits/2 − 100): FIPS 186-5, A.1.3

TokenBytes = Callable[[int], bytes]

_SMALL_PRIMES: Final = primorial(SMALL_FACTOR_MAX)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The modulus n, and what is computed from it.

    The checks refuse what is plainly no product of two large primes. They do not prove that
    gcd(n, φ(n)) = 1: the owner of a malformed key harms itself when it decrypts, and may learn more of what
    a holder computed than the plaintext (docs/adr/0008).

    Attributes:
        n: 3072 to 6144 bits.
        n_square: the modulus of ciphertexts.
        size: of n in bytes; a ciphertext has twice as many.
        id: H("paillier-key"; keccak(n big-endian)).
        plaintext_max: the largest absolute plaintext, n // 3 − 1 as the stock library has it; the middle
            third shows an overflow.
    """

    n: int
    n_square: mpz = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)
    id: bytes = field(init=False, repr=False, compare=False)
    plaintext_max: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = int(self.n)
        bits = n.bit_length()
        if n < 0 or not KEY_BITS <= bits <= KEY_BITS_MAX:
            raise KeySizeRefused(least=KEY_BITS, most=KEY_BITS_MAX, actual=bits)
        if gcd(n, _SMALL_PRIMES) != 1:
            raise KeyInvalid(f"expected a modulus without a factor below {SMALL_FACTOR_MAX}")
        if is_prime(n) or is_power(n):
            raise KeyInvalid("expected a product of two different primes, got a prime or a power")
        size = (bits + 7) // 8
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "n_square", mpz(n) * n)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "id", tagged_hash("paillier-key", keccak(n.to_bytes(size, "big"))))
        object.__setattr__(self, "plaintext_max", n // 3 - 1)

    def require_plaintext(self, message: int) -> None:
        """Refuse an integer that the key cannot hold with its sign.

        Raises:
            PlaintextOutOfRange: |message| is above `plaintext_max`.
        """
        if abs(message) > self.plaintext_max:
            raise PlaintextOutOfRange(
                f"expected at most {self.plaintext_max.bit_length()} bits and below a third of n, "
                f"got {message.bit_length()} bits"
            )

    def signed(self, plain: int) -> int:
        """Return the signed integer that a plaintext in 0 … n − 1 stands for.

        Raises:
            PlaintextOutOfRange: it is in the middle third, where only an overflow leads.
        """
        signed = plain if plain <= self.n // 2 else plain - self.n
        if abs(signed) > self.plaintext_max:
            raise PlaintextOutOfRange("expected a plaintext below a third of n, got the sign of an overflow")
        return signed

    def require_ciphertexts(self, values: tuple[mpz, ...]) -> None:
        """Refuse numbers that are no ciphertexts under this key.

        Raises:
            CiphertextOutOfRange: a number is not in 1 … n² − 1.
            CiphertextNotUnit: a number shares a factor with n.
        """
        product = mpz(1)
        for position, value in enumerate(values):
            if not 0 < value < self.n_square:
                raise CiphertextOutOfRange(position, "expected a number between 1 and n² − 1")
            product = product * value % self.n
        # one gcd for all: the product is a unit exactly when each factor is
        if gcd(product, self.n) != 1:
            position = next(i for i, value in enumerate(values) if gcd(value, self.n) != 1)
            raise CiphertextNotUnit(position, "expected a unit modulo n, got a number that shares a factor")


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The factors p < q of n, and what decryption needs of them.

    Attributes:
        p: the smaller prime.
        q: the larger prime, of as many bits.
        public: the key's other half.
    """

    p: int = field(repr=False)
    q: int = field(repr=False)
    public: PublicKey = field(init=False)
    _raw: RawFactors = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        p, q = sorted((int(self.p), int(self.q)))
        if p < 3 or p.bit_length() != q.bit_length():
            raise KeyInvalid("expected two primes of the same number of bits")
        if (q - p).bit_length() <= p.bit_length() - PRIME_DISTANCE_BITS:
            raise KeyInvalid("expected primes that differ in their upper bits")
        public = PublicKey(p * q)
        if not (is_prime(p) and is_prime(q)) or gcd(p * q, (p - 1) * (q - 1)) != 1:
            raise KeyInvalid("expected two primes with gcd(n, φ(n)) = 1")
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "_raw", RawFactors.of(p, q))

    @classmethod
    def generate(cls, token_bytes: TokenBytes, bits: int = KEY_BITS) -> PrivateKey:
        """Draw a key of exactly `bits` bits.

        Args:
            token_bytes: `secrets.token_bytes`; only tests give another.
            bits: a multiple of 16.

        Raises:
            KeySizeRefused: outside 3072 … 6144.
            KeyInvalid: not a multiple of 16.

        Source: Damgård, Jurik, Nielsen, A generalization of Paillier's public-key system with applications
            to electronic voting (IJIS 2010): admissible moduli; FIPS 186-5, A.1.3: random primes.
        """
        if not KEY_BITS <= bits <= KEY_BITS_MAX:
            raise KeySizeRefused(least=KEY_BITS, most=KEY_BITS_MAX, actual=bits)
        if bits % 16:
            raise KeyInvalid(f"expected a multiple of 16 bits, got {bits}")
        while True:
            p, q = _blum_prime(token_bytes, bits // 2), _blum_prime(token_bytes, bits // 2)
            far = abs(p - q).bit_length() > bits // 2 - PRIME_DISTANCE_BITS
            if far and gcd(p - 1, q - 1) == 2 and gcd(p * q, (p - 1) * (q - 1)) == 1:
                return cls(p, q)

    def raw_decrypt(self, ciphertext: mpz) -> mpz:
        """Return the plaintext in 0 … n − 1 of a number that was checked to be a ciphertext."""
        return self._raw.raw_decrypt(ciphertext)

    def decrypt(self, ciphertext: mpz) -> int:
        """Return the signed plaintext of a number that was checked to be a ciphertext.

        Raises:
            PlaintextOutOfRange: the plaintext is in the middle third, where only an overflow leads.
        """
        return self.public.signed(int(self.raw_decrypt(ciphertext)))


def _blum_prime(token_bytes: TokenBytes, bits: int) -> int:
    """Draw a prime of `bits` bits that is 3 modulo 4, its two upper bits set so that n has all its bits."""
    while True:
        candidate = int.from_bytes(token_bytes(bits // 8), "big") | 3 << bits - 2 | 3
        if is_prime(candidate):
            return candidate
