"""The error tree of Paillier encryption. No message holds a key's factor, a plaintext or a blinding value."""

from __future__ import annotations

from privacy.errors import PrivacyError


class PaillierError(PrivacyError):
    """Anything that this package raises."""


# --- keys ------------------------------------------------------------------------------------------------


class KeyInvalid(PaillierError):
    """Numbers that make no Paillier key: even, prime, a power, with a small factor, or of unequal primes."""


class KeySizeRefused(KeyInvalid):
    """A modulus with fewer or more bits than are accepted."""

    def __init__(self, *, least: int, most: int, actual: int) -> None:
        self.least, self.most, self.actual = least, most, actual
        super().__init__(f"expected a modulus of {least} to {most} bits, got {actual}")


class KeyMismatch(PaillierError):
    """Ciphertexts, blinding values or packed sums that belong to another key."""


# --- plaintexts and ciphertexts --------------------------------------------------------------------------


class PlaintextOutOfRange(PaillierError):
    """An integer too large for the key, before encryption; or one that can only be an overflow, after it."""


class ExponentRefused(PaillierError):
    """A fixed-point exponent outside the range that is accepted, or two that differ."""


class CiphertextInvalid(PaillierError):
    """A number that is no ciphertext under its key. `position` counts from 0 in its vector."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        super().__init__(f"ciphertext {position}: {reason}")


class CiphertextOutOfRange(CiphertextInvalid):
    """A number that is not between 1 and n² − 1."""


class CiphertextNotUnit(CiphertextInvalid):
    """A number that shares a factor with n."""


class RootRefused(PaillierError):
    """A number that is not the n-th root of what it should open, or of what it should prove."""


class LengthMismatch(PaillierError):
    """A vector or exponent of another length than the one it needs, or longer than any may be."""


# --- packing ---------------------------------------------------------------------------------------------


class PackingInvalid(PaillierError):
    """A slot layout that the key cannot hold, or a packed plaintext that is not of its layout."""


class SlotOverflow(PackingInvalid):
    """A sum that could leave its slot: refused before any work, or found in a plaintext that holds one."""


# --- blinding --------------------------------------------------------------------------------------------


class BlindingTooShort(PaillierError):
    """A blinding value with a short exponent where the key's owner must learn nothing from it."""


# --- serialised forms ------------------------------------------------------------------------------------


class EncodingRefused(PaillierError):
    """Bytes that are not the one encoding of a key or vector."""


class MagicWrong(EncodingRefused):
    """Bytes that do not start with this package's magic."""


class VersionUnknown(EncodingRefused):
    """Bytes of another version."""


class KindUnknown(EncodingRefused):
    """Bytes of another kind of object than the one that was asked for."""


class Truncated(EncodingRefused):
    """Bytes that end before their declared length."""


class TrailingBytes(EncodingRefused):
    """Bytes after the declared end."""


class InterchangeRefused(EncodingRefused):
    """A JSON text or object of the stock library that has another form, or that is too long or too deep."""
