"""Vectors of ciphertexts: encryption, sums, re-randomisation, decryption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gmpy2 import mpz

from privacy.paillier.blinding import Blinding
from privacy.paillier.errors import BlindingTooShort, ExponentRefused, KeyMismatch, LengthMismatch
from privacy.paillier.keys import PrivateKey, PublicKey
from privacy.paillier.raw import raw_add, raw_add_plain

VECTOR_MAX: Final = 1 << 17
EXPONENT_MIN: Final = -64  # 256 bits after the point; the stock library's floats need 20


@dataclass(frozen=True, slots=True)
class EncryptedVector:
    """Ciphertexts under one key with one fixed-point exponent.

    Attributes:
        key: that they are under.
        values: 1 … 2^17 units modulo n², each below n².
        exponent: e, -64 … 0: a plaintext m stands for m·16^e, as in the stock library.
    """

    key: PublicKey
    values: tuple[mpz, ...]
    exponent: int = 0

    def __post_init__(self) -> None:
        require_length(len(self.values))
        require_exponent(self.exponent)
        values = tuple(mpz(value) for value in self.values)
        self.key.require_ciphertexts(values)
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        """Return the number of ciphertexts."""
        return len(self.values)


def require_length(length: int) -> None:
    """Refuse an empty vector and one that is too long.

    Raises:
        LengthMismatch: not in 1 … 2^17.
    """
    if not 1 <= length <= VECTOR_MAX:
        raise LengthMismatch(f"expected 1 to {VECTOR_MAX} ciphertexts, got {length}")


def require_exponent(exponent: int) -> None:
    """Refuse a fixed-point exponent out of range.

    Raises:
        ExponentRefused: not in -64 … 0.
    """
    if not EXPONENT_MIN <= exponent <= 0:
        raise ExponentRefused(f"expected an exponent between {EXPONENT_MIN} and 0, got {exponent}")


def encrypt(blinding: Blinding, messages: Iterable[int], *, exponent: int = 0) -> EncryptedVector:
    """Encrypt signed integers: c = g^m · r^n mod n², one blinding value for each.

    Args:
        blinding: of the key; which kind is right is said in `privacy.paillier.blinding`.
        messages: |m| ≤ n // 3 − 1.
        exponent: what the integers were multiplied with, as the vector keeps it.

    Raises:
        PlaintextOutOfRange: an integer is too large; nothing is encrypted then.
        LengthMismatch: no integer, or too many.
        ExponentRefused: out of range.
    """
    key, plain = blinding.key, list(messages)
    require_length(len(plain))
    require_exponent(exponent)
    for message in plain:
        key.require_plaintext(message)
    n, n_square = mpz(key.n), key.n_square
    values = tuple([raw_add_plain(n, n_square, blinding.draw(), message) for message in plain])
    return _computed(key, values, exponent)


def decrypt(key: PrivateKey, vector: EncryptedVector) -> list[int]:
    """Decrypt signed integers, by Chinese remaindering.

    Raises:
        KeyMismatch: the vector is under another key.
        PlaintextOutOfRange: a plaintext is in the range where only an overflow leads.
    """
    _require_key(key.public, vector.key)
    return [key.decrypt(value) for value in vector.values]


def add(left: EncryptedVector, right: EncryptedVector) -> EncryptedVector:
    """Add two vectors, place by place.

    The sum is not re-randomised: who knows the two knows that it is their sum.

    Raises:
        KeyMismatch: they are under different keys.
        ExponentRefused: they have different exponents.
        LengthMismatch: they have different lengths.
    """
    _require_key(left.key, right.key)
    if left.exponent != right.exponent:
        raise ExponentRefused(f"expected one exponent, got {left.exponent} and {right.exponent}")
    if len(left) != len(right):
        raise LengthMismatch(f"expected vectors of one length, got {len(left)} and {len(right)}")
    modulus = left.key.n_square
    values = tuple([raw_add(modulus, a, b) for a, b in zip(left.values, right.values, strict=True)])
    return _computed(left.key, values, left.exponent)


def add_plain(vector: EncryptedVector, messages: Sequence[int]) -> EncryptedVector:
    """Add plain integers, place by place; they are in the vector's fixed point.

    Raises:
        LengthMismatch: another number of integers.
        PlaintextOutOfRange: an integer is too large for the key.
    """
    if len(vector) != len(messages):
        raise LengthMismatch(f"expected {len(vector)} integers, got {len(messages)}")
    for message in messages:
        vector.key.require_plaintext(message)
    n, modulus = mpz(vector.key.n), vector.key.n_square
    pairs = zip(vector.values, messages, strict=True)
    values = tuple([raw_add_plain(n, modulus, value, message) for value, message in pairs])
    return _computed(vector.key, values, vector.exponent)


def rerandomise(vector: EncryptedVector, blinding: Blinding) -> EncryptedVector:
    """Give each ciphertext a fresh uniform blinding, so that not even the key's owner learns how it came to be.

    Raises:
        BlindingTooShort: the blinding does not hide from the owner (`ShortBlinding`).
        KeyMismatch: the blinding is for another key.
    """
    _require_key(vector.key, blinding.key)
    if not blinding.hides_from_owner:
        raise BlindingTooShort(
            "expected uniform blinding values, got short exponents: the owner sees through"
        )
    modulus = vector.key.n_square
    values = tuple([raw_add(modulus, value, blinding.draw()) for value in vector.values])
    return _computed(vector.key, values, vector.exponent)


def _computed(key: PublicKey, values: tuple[mpz, ...], exponent: int) -> EncryptedVector:
    """Make a vector of products of units, which are units: they are not checked a second time."""
    vector = object.__new__(EncryptedVector)
    object.__setattr__(vector, "key", key)
    object.__setattr__(vector, "values", values)
    object.__setattr__(vector, "exponent", exponent)
    return vector


def _require_key(expected: PublicKey, actual: PublicKey) -> None:
    if expected.n != actual.n:
        raise KeyMismatch(f"expected key {expected.id.hex()[:16]}, got {actual.id.hex()[:16]}")
