"""Exponential ElGamal on G1: Enc(m) = (r·G, m·G + r·K), additively homomorphic in m.

All randomness is derived from a seed and the values that are encrypted, so that a repetition of the same work
gives the same bytes, and the same seed with other values gives unrelated ones: two encryptions with one r would tell
the difference of their values.

Source: R. Cramer, R. Gennaro, B. Schoenmakers, A Secure and Optimally Efficient Multi-Authority Election Scheme
(EUROCRYPT 1997) §2; docs/protocol.md, Encrypted deposit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import starmap
from operator import add as plus
from typing import Final

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.deposit.blst import open_blst
from privacy.deposit.errors import LengthMismatch, ValueOutOfRange
from privacy.deposit.fixed_base import FACTOR_BYTES, Arithmetic, Arkworks, Columns, factor_digits
from privacy.deposit.points import (
    decode_curve_points,
    decode_points,
    encode_points,
    key_stream,
    scalar,
)
from privacy.prg import CURVE_ORDER, derive_key

VALUE_BOUND: Final = 1 << 62  # |m| below it
RANDOM_BYTES: Final = 48  # reduced modulo a 255-bit number: bias below 2^-129

Values = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ciphertexts:
    """A vector of ciphertexts.

    Attributes:
        a: r·G of each.
        b: m·G + r·K of each.
    """

    a: list[G1Point] = field(repr=False)
    b: list[G1Point] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b):
            raise LengthMismatch("second points of ciphertexts", expected=len(self.a), actual=len(self.b))

    def __len__(self) -> int:
        return len(self.a)

    @classmethod
    def zero(cls, count: int) -> Ciphertexts:
        """Return ciphertexts of zero without randomness, to which others are added."""
        return cls([G1Point.identity()] * count, [G1Point.identity()] * count)

    @classmethod
    def decode(cls, data: bytes, *, count: int) -> Ciphertexts:
        """Read what `encode` wrote, from outside: every point is checked for the subgroup.

        Raises:
            LengthMismatch, PointRefused, PointOutsideSubgroup: as `decode_points`; ciphertext k has the points 2k
                and 2k + 1.
        """
        points = decode_points(data, count=2 * count)
        return cls(points[::2], points[1::2])

    def encode(self) -> bytes:
        """Encode as A ‖ B of each, 192 bytes."""
        return encode_points(point for pair in zip(self.a, self.b, strict=True) for point in pair)

    def plus(self, other: Ciphertexts) -> Ciphertexts:
        """Return ciphertexts of the sums.

        Raises:
            LengthMismatch: the other vector is longer or shorter.
        """
        if len(other) != len(self):
            raise LengthMismatch("ciphertexts to add", expected=len(self), actual=len(other))
        a = list(starmap(plus, zip(self.a, other.a, strict=True)))
        return Ciphertexts(a, list(starmap(plus, zip(self.b, other.b, strict=True))))

    def times(self, factors: Sequence[int]) -> Ciphertexts:
        """Return ciphertexts of the products with public integers, one for each.

        Raises:
            LengthMismatch: more or fewer factors than ciphertexts.
        """
        if len(factors) != len(self):
            raise LengthMismatch("factors", expected=len(self), actual=len(factors))
        a = [_times(point, factor) for point, factor in zip(self.a, factors, strict=True)]
        return Ciphertexts(a, [_times(point, factor) for point, factor in zip(self.b, factors, strict=True)])


def encrypt(key: bytes, values: Values, seed: bytes, context: bytes) -> Ciphertexts:
    """Encrypt signed values; see `encrypt_columns`.

    Returns:
        One ciphertext a value; always the same ones for the same arguments.

    Raises:
        ValueOutOfRange: a value beyond 62 bits.
    """
    a, b = encrypt_columns(key, values, seed, context)
    return Ciphertexts(decode_curve_points(a), decode_curve_points(b))


def encrypt_columns(key: bytes, values: Values, seed: bytes, context: bytes) -> Columns:
    """Encrypt signed values to the bytes that a deposit stores.

    Args:
        key: K in 96 bytes, of a checked `DepositKey`.
        values: int64, |m| < 2^62.
        seed: 32 secret bytes; whoever knows them and the ciphertexts knows the values.
        context: 32 public bytes that say what is encrypted: the same seed under another context gives unrelated
            randomness.

    Returns:
        A of each value, B of each value, 96 bytes a point; always the same ones for the same arguments.

    Raises:
        ValueOutOfRange: a value beyond 62 bits.
    """
    if len(values) and not -VALUE_BOUND < int(values.min()) <= int(values.max()) < VALUE_BOUND:
        raise ValueOutOfRange("every value must be within ±2^62")
    factors = b"".join([r.to_bytes(FACTOR_BYTES, "little") for r in randomness(values, seed, context)])
    return arithmetic().ciphertexts(key, factor_digits(factors), values)


@lru_cache(maxsize=1)
def arithmetic() -> Arithmetic:
    """Return what ciphertexts are computed with here: blst if there is one, else arkworks. Both give the same bytes."""
    return open_blst() or Arkworks()


def randomness(values: Values, seed: bytes, context: bytes) -> list[int]:
    """Return r of each value, below q; secret.

    The values are in the derivation: see the module. Their digest stays inside.
    """
    digest = hashlib.sha256(context + values.astype("<i8").tobytes()).digest()
    stream = key_stream(derive_key(seed, digest, "deposit-randomness", 0, 0), RANDOM_BYTES * len(values))
    wide = np.frombuffer(stream, dtype=f"V{RANDOM_BYTES}").tolist()
    return [int.from_bytes(part, "little") % CURVE_ORDER for part in wide]


def _times(point: G1Point, factor: int) -> G1Point:
    """Multiply by a public integer; a negative one by its absolute value, which has fewer bits than q − x."""
    if factor == 1:
        return point
    product = point * scalar(abs(factor))
    return -product if factor < 0 else product
