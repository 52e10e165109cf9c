"""The value side's part made again in an audit, without its private key.

The second message needs the public key alone; the third is opened by the roots of its ciphertexts, each of which opens that
ciphertext and nothing else (`privacy.paillier.roots`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gmpy2 import mpz

from privacy.join.errors import StateCorrupt
from privacy.join.randomness import Stream
from privacy.join.state import ValueState
from privacy.join.terms import PUBLIC_KEY_BYTES, JoinTerms
from privacy.join.value_side import masked_shares
from privacy.paillier import (
    EncryptedVector,
    PublicKey,
    decode_public_key,
    decrypt,
    encode_public_key,
    open_with_root,
    prove_permutation,
    require_permutation,
    roots_of,
)
from privacy.paillier.errors import PaillierError
from privacy.paillier.roots import CHALLENGES
from privacy.ristretto import Scalar, clamped


@dataclass(frozen=True, slots=True)
class ValueReplay:
    """What the value side's part follows from.

    Attributes:
        terms: of the join.
        seed: of its session.
        public: its Paillier key, for which gcd(n, φ(n)) = 1 was proved.
        roots: of the third message's ciphertexts, in order.
    """

    terms: JoinTerms
    seed: bytes = field(repr=False)
    public: PublicKey
    roots: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, terms: JoinTerms, seed: bytes, opening: bytes) -> ValueReplay:
        """Read what `opening_of` wrote.

        Raises:
            StateCorrupt: another length, no key, or a proof that does not hold.
        """
        try:
            public = decode_public_key(opening[:PUBLIC_KEY_BYTES])
            proof_end = PUBLIC_KEY_BYTES + CHALLENGES * public.size
            require_permutation(public, opening[PUBLIC_KEY_BYTES:proof_end])
        except PaillierError as err:
            raise StateCorrupt(f"expected a Paillier key with its proof: {err}") from err
        body, count = opening[proof_end:], terms.groups * terms.ciphertexts
        if len(body) != count * public.size:
            raise StateCorrupt(f"expected {count} roots, got {len(body)} bytes")
        roots = [int.from_bytes(body[k : k + public.size], "big") for k in range(0, len(body), public.size)]
        return cls(terms, seed, public, tuple(roots))

    def stream(self, use: str) -> Stream:
        """See `ValueState`."""
        return Stream(self.seed, self.terms.session, f"value-{use}")

    def scalar(self) -> Scalar:
        """See `ValueState`."""
        return clamped(self.stream("blind").read(32))


def opening_of(state: ValueState, parts: Iterable[bytes]) -> bytes:
    """Return what opens the third message to who knows the seed: public key, proof, and the root of each ciphertext.

    Args:
        state: of the session.
        parts: of the third message.

    Raises:
        MessageRefused: the message is not what the terms fix.
    """
    roots: list[int] = []

    def opened(vector: EncryptedVector) -> list[int]:
        roots.extend(roots_of(state.key, vector.values))
        return decrypt(state.key, vector)

    masked_shares(state.terms, state.public, parts, opened)
    encoded = b"".join([root.to_bytes(state.public.size, "big") for root in roots])
    return encode_public_key(state.public) + prove_permutation(state.key) + encoded


def value_reopen(replay: ValueReplay, parts: Iterable[bytes]) -> list[int]:
    """Return what `value_finish` returned to the value side.

    Args:
        replay: of its part.
        parts: of the third message.

    Raises:
        CiphertextRefused: a root does not open its ciphertext, or to no masked sums.
        MessageRefused: the message is not what the terms fix.
    """
    roots = iter(replay.roots)

    def opened(vector: EncryptedVector) -> list[int]:
        return [open_with_root(replay.public, mpz(value), next(roots)) for value in vector.values]

    return masked_shares(replay.terms, replay.public, parts, opened)
