"""What a side keeps of a session, on disk before its first byte leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from privacy.join.errors import JoinError, StateCorrupt
from privacy.join.randomness import SEED_BYTES, Stream, require_seed
from privacy.join.terms import TERMS_BYTES, VERSION, JoinTerms
from privacy.paillier import KEY_BITS, PrivateKey, PublicKey, decode_private_key, encode_private_key
from privacy.paillier.errors import PaillierError
from privacy.ristretto import Scalar, clamped

_MAGIC = b"SYJ-state"
_MATCHER: Final = 1
_VALUE: Final = 2


@dataclass(frozen=True, slots=True)
class MatcherState:
    """The matcher's state, from its first message to its share.

    Attributes:
        terms: of the join.
        seed: 32 secret bytes of the session, from which everything that this side draws follows.
    """

    terms: JoinTerms
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        require_seed(self.seed)

    def stream(self, use: str) -> Stream:
        """Return the random bytes of one use."""
        return Stream(self.seed, self.terms.session, f"matcher-{use}")

    def scalar(self) -> Scalar:
        """Return the blinding scalar k_M."""
        return clamped(self.stream("blind").read(32))

    def to_bytes(self) -> bytes:
        """Encode, in the clear: the caller seals what it stores."""
        return _head(_MATCHER) + self.terms.to_bytes() + self.seed

    @classmethod
    def from_bytes(cls, data: bytes) -> MatcherState:
        """Decode.

        Raises:
            StateCorrupt: no encoding of a matcher's state.
        """
        terms, seed, rest = _read(data, _MATCHER)
        if rest:
            raise StateCorrupt(f"expected nothing after the seed, got {len(rest)} bytes")
        return cls(terms, seed)


class ValueRandomness(Protocol):
    """What the second message follows from, besides rows and the first one."""

    @property
    def terms(self) -> JoinTerms:
        """Of the join."""

    @property
    def public(self) -> PublicKey:
        """The key that the numbers are encrypted under."""

    def stream(self, use: str) -> Stream:
        """Return the random bytes of one use."""

    def scalar(self) -> Scalar:
        """Return the blinding scalar k_V."""


@dataclass(frozen=True, slots=True)
class ValueState:
    """The value side's state.

    Attributes:
        terms: of the join.
        seed: 32 secret bytes of the session, from which everything that this side draws follows.
        key: a Paillier key of 3072 bits, of this session or of the holder.
    """

    terms: JoinTerms
    seed: bytes = field(repr=False)
    key: PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.key.public.n.bit_length() != KEY_BITS:
            raise StateCorrupt(f"expected a key of {KEY_BITS} bits, got {self.key.public.n.bit_length()}")

    @property
    def public(self) -> PublicKey:
        """The key that the numbers are encrypted under."""
        return self.key.public

    def stream(self, use: str) -> Stream:
        """Return the random bytes of one use."""
        return Stream(self.seed, self.terms.session, f"value-{use}")

    def scalar(self) -> Scalar:
        """Return the blinding scalar k_V."""
        return clamped(self.stream("blind").read(32))

    def to_bytes(self) -> bytes:
        """Encode, in the clear: the caller seals what it stores."""
        return _head(_VALUE) + self.terms.to_bytes() + self.seed + encode_private_key(self.key)

    @classmethod
    def from_bytes(cls, data: bytes) -> ValueState:
        """Decode.

        Raises:
            StateCorrupt: no encoding of a value side's state.
        """
        terms, seed, rest = _read(data, _VALUE)
        try:
            return cls(terms, seed, decode_private_key(rest))
        except PaillierError as err:
            raise StateCorrupt("expected a Paillier key after the seed") from err


def _head(role: int) -> bytes:
    return _MAGIC + bytes((VERSION, role))


def _read(data: bytes, role: int) -> tuple[JoinTerms, bytes, bytes]:
    head = _head(role)
    if data[: len(head)] != head:
        raise StateCorrupt("expected a stored state of this version and role")
    body = data[len(head) :]
    if len(body) < TERMS_BYTES + SEED_BYTES:
        raise StateCorrupt(f"expected {TERMS_BYTES + SEED_BYTES} bytes or more, got {len(body)}")
    try:
        terms = JoinTerms.from_bytes(body[:TERMS_BYTES])
    except JoinError as err:
        raise StateCorrupt("expected terms of a join") from err
    seed_end = TERMS_BYTES + SEED_BYTES
    return terms, body[TERMS_BYTES:seed_end], body[seed_end:]
