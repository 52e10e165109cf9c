"""Proofs about discrete logarithms: possession of one, and that two are equal, also for many points at once.

Challenges are hashes of all that is proved (Fiat–Shamir); nonces are derived from the secret and the statement, so no
statement is ever answered with two challenges under one nonce.

Source: C. Schnorr, Efficient Signature Generation by Smart Cards (1991); D. Chaum, T. Pedersen, Wallet Databases with
Observers (CRYPTO 1992) §3.2; M. Bellare, J. Garay, T. Rabin, Fast Batch Verification (EUROCRYPT 1998) §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from py_arkworks_bls12381 import G1Point

from privacy.deposit.errors import EncodingRefused, ScalarRefused
from privacy.deposit.points import (
    decode_scalar,
    derive_scalar,
    encode_points,
    encode_scalar,
    generator,
    key_stream,
    multiply_sum,
    scalar,
)
from privacy.deposit.sizes import PROOF_BYTES
from privacy.encoding import WORD_BYTES, keccak, tagged_hash
from privacy.prg import CURVE_ORDER

COEFFICIENT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that is not interactive: challenge and response, both below q."""

    challenge: int
    response: int

    def encode(self) -> bytes:
        """Encode as two words."""
        return encode_scalar(self.challenge) + encode_scalar(self.response)

    @classmethod
    def decode(cls, data: bytes) -> Proof:
        """Read what `encode` wrote.

        Raises:
            EncodingRefused: another length, or a word that is not below q.
        """
        if len(data) != PROOF_BYTES:
            raise EncodingRefused(f"expected a proof of {PROOF_BYTES} bytes, got {len(data)}")
        try:
            return cls(decode_scalar(data[:WORD_BYTES]), decode_scalar(data[WORD_BYTES:]))
        except ScalarRefused as err:
            raise EncodingRefused(f"a proof: {err}") from err


def prove_possession(secret: int, statement: bytes) -> Proof:
    """Prove that one knows x of X = x·G.

    Args:
        secret: x.
        statement: 32 bytes that name ceremony, trustee and X.
    """
    return _prove(secret, [generator()], statement)


def is_possession(public: G1Point, statement: bytes, proof: Proof) -> bool:
    """Tell whether a proof of possession of X's logarithm holds."""
    return _holds([generator()], [public], statement, proof)


def prove_equality(secret: int, base: G1Point, statement: bytes) -> Proof:
    """Prove that x·G and x·`base` have one logarithm x.

    Args:
        secret: x.
        base: the second base; in the subgroup.
        statement: 32 bytes that name both bases and both products.
    """
    return _prove(secret, [generator(), base], statement)


def is_equality(public: G1Point, base: G1Point, product: G1Point, statement: bytes, proof: Proof) -> bool:
    """Tell whether a proof that `public` = x·G and `product` = x·`base` holds; all points are in the subgroup."""
    return _holds([generator(), base], [public, product], statement, proof)


def fold(statement: bytes, *vectors: Sequence[G1Point]) -> list[G1Point]:
    """Return Σ ρ_k·P_k of each vector, with the same coefficients of 128 bits, drawn from the statement's hash.

    If P_k = x·A_k fails for one k, it fails for the sums but with probability 2^-128, as the statement has all
    of the points in it.

    Args:
        statement: 32 bytes, a hash of all points of all vectors.
        vectors: of points in the subgroup, equally long.
    """
    factors = coefficients(statement, len(vectors[0]))
    return [multiply_sum(points, factors) for points in vectors]


def coefficients(statement: bytes, count: int) -> list[int]:
    """Return integers of 128 bits that nobody could foresee before the statement was fixed."""
    stream = key_stream(tagged_hash("deposit-coefficients", statement), COEFFICIENT_BYTES * count)
    parts = np.frombuffer(stream, dtype=f"V{COEFFICIENT_BYTES}").tolist()
    return [int.from_bytes(part, "little") for part in parts]


def _prove(secret: int, bases: Sequence[G1Point], statement: bytes) -> Proof:
    nonce = derive_scalar(encode_scalar(secret), statement, "deposit-nonce")
    challenge = _challenge(statement, [base * scalar(nonce) for base in bases])
    return Proof(challenge, (nonce + challenge * secret) % CURVE_ORDER)


def _holds(bases: Sequence[G1Point], products: Sequence[G1Point], statement: bytes, proof: Proof) -> bool:
    commitments = [
        base * scalar(proof.response) - product * scalar(proof.challenge)
        for base, product in zip(bases, products, strict=True)
    ]
    return _challenge(statement, commitments) == proof.challenge


def _challenge(statement: bytes, commitments: Sequence[G1Point]) -> int:
    digest = tagged_hash("deposit-challenge", statement, keccak(encode_points(commitments)))
    return int.from_bytes(digest, "big") % CURVE_ORDER
