"""One Paillier key for all tests, from a seed, and a source of bytes that is the same in every run."""

import hashlib
from collections.abc import Sequence
from functools import cache

from privacy.paillier import EncryptedVector, PrivateKey, ShortBlinding, UniformBlinding
from privacy.paillier.keys import TokenBytes
from privacy.score.combine import combine
from privacy.score.model import EncryptedModel


def stream(seed: str) -> TokenBytes:
    """Return a `token_bytes` that gives the bytes of a hash in counter mode."""
    calls = iter(range(1 << 62))

    def token_bytes(size: int) -> bytes:
        return hashlib.shake_256(f"{seed}/{next(calls)}".encode()).digest(size)

    return token_bytes


@cache
def owner() -> PrivateKey:
    """Return the key."""
    return PrivateKey.generate(stream("paillier key"))


@cache
def stranger() -> PrivateKey:
    """Return another key."""
    return PrivateKey.generate(stream("another paillier key"))


@cache
def short() -> ShortBlinding:
    """Return blinding values with short exponents; the table is made once."""
    return ShortBlinding(owner().public, stream("short"))


@cache
def uniform() -> UniformBlinding:
    """Return uniform blinding values."""
    return UniformBlinding(owner().public, stream("uniform"))


def scored(weights: EncryptedVector, factors: Sequence[int]) -> EncryptedVector:
    """Return one ciphertext of Σ w_k·x_k, as a holder makes it for its buyer."""
    model = EncryptedModel(weights.key, 96, 0, weights.values)
    return EncryptedVector(weights.key, tuple(combine(model, [factors], bytes(32))), weights.exponent)
