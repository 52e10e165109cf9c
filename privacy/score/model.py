"""A linear model as its buyer has it, in fixed point, and as everybody else sees it, encrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from gmpy2 import mpz

from privacy.errors import PlanInvalid
from privacy.paillier.blinding import Blinding
from privacy.paillier.encrypt import EncryptedVector, encrypt
from privacy.paillier.errors import PaillierError
from privacy.paillier.keys import KEY_BITS, KEY_BITS_MAX, PublicKey
from privacy.query import SCORE_FEATURES_MAX
from privacy.types import from_decimal, from_hex, require_members

WEIGHT_BITS_MAX: Final = 96
CIPHERTEXTS_MAX: Final = 1 + SCORE_FEATURES_MAX
_MEMBERS: Final = ("n", "weight_bits", "weight_scale_bits", "ciphertexts")


@dataclass(frozen=True, slots=True)
class FixedWeights:
    """The weights of a model as integers: the intercept's first, then one for each feature.

    Attributes:
        weights: W, each |W| ≤ 2^bits; a weight w is W·2^-scale_bits.
        bits: what the policy allows.
        scale_bits: what the policy sets.
    """

    weights: tuple[int, ...] = field(repr=False)
    bits: int
    scale_bits: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.weights) <= CIPHERTEXTS_MAX:
            raise PlanInvalid("a model has an intercept and at least one weight")
        if any(abs(weight) > 1 << self.bits for weight in self.weights):
            most = Fraction(1 << self.bits, 1 << self.scale_bits)
            raise PlanInvalid(f"a weight must be at most {float(most):g} in absolute value")

    @classmethod
    def round(cls, weights: Sequence[Decimal], *, bits: int, scale_bits: int) -> FixedWeights:
        """Round exact weights to the nearest multiples of 2^-scale_bits, half to even.

        Raises:
            PlanInvalid: a weight is larger than the policy allows.
        """
        return cls(tuple(round(Fraction(each) * (1 << scale_bits)) for each in weights), bits, scale_bits)


@dataclass(frozen=True, slots=True)
class EncryptedModel:
    """What a plan has of a model: the buyer's key, and a ciphertext for the intercept and for each feature.

    Nobody can check what is encrypted, and nobody has to: see `privacy.score.combine`.

    Attributes:
        key: the buyer's.
        weight_bits, weight_scale_bits: as the buyer says it has rounded, and as the policy says.
        ciphertexts: the intercept's, then one for each feature in the order of SCORE.
    """

    key: PublicKey
    weight_bits: int
    weight_scale_bits: int
    ciphertexts: tuple[mpz, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.ciphertexts) <= CIPHERTEXTS_MAX:
            raise PlanInvalid("a model must have a ciphertext for its intercept and for each feature")
        if self.weight_bits < 1 or self.weight_scale_bits < 0:
            raise PlanInvalid("a model's weight bits must be positive and its scale bits not negative")
        if max(self.weight_bits, self.weight_scale_bits) > WEIGHT_BITS_MAX:
            raise PlanInvalid(f"a model's weight bits and scale bits must be at most {WEIGHT_BITS_MAX}")
        try:
            self.key.require_ciphertexts(self.ciphertexts)
        except PaillierError as err:
            raise PlanInvalid(f"model: {err}") from err

    @classmethod
    def encrypt(cls, weights: FixedWeights, blinding: Blinding) -> EncryptedModel:
        """Encrypt a model's weights."""
        vector = encrypt(blinding, weights.weights)
        return cls(blinding.key, weights.bits, weights.scale_bits, vector.values)

    @property
    def vector(self) -> EncryptedVector:
        """The ciphertexts as a vector."""
        return EncryptedVector(self.key, self.ciphertexts)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan: numbers big-endian, a ciphertext twice as long as n."""
        size = self.key.size
        return {
            "n": "0x" + self.key.n.to_bytes(size, "big").hex(),
            "weight_bits": str(self.weight_bits),
            "weight_scale_bits": str(self.weight_scale_bits),
            "ciphertexts": ["0x" + int(each).to_bytes(2 * size, "big").hex() for each in self.ciphertexts],
        }

    @classmethod
    def from_json(cls, value: Any) -> EncryptedModel:
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed, the key is refused, or a number is no ciphertext.
        """
        members = require_members("model", value, _MEMBERS)
        key = _read_key(members["n"])
        given = members["ciphertexts"]
        if not isinstance(given, list) or len(given) > CIPHERTEXTS_MAX:
            raise PlanInvalid(f"a model's ciphertexts must be a list of at most {CIPHERTEXTS_MAX}")
        return cls(
            key=key,
            weight_bits=_bits("weight_bits", members),
            weight_scale_bits=_bits("weight_scale_bits", members),
            ciphertexts=tuple(
                mpz(int.from_bytes(from_hex("a ciphertext", each, 2 * key.size), "big")) for each in given
            ),
        )


def _bits(name: str, members: Mapping[str, Any]) -> int:
    return from_decimal(f"model.{name}", members[name])


def _read_key(value: Any) -> PublicKey:
    digits = len(value) - 2 if isinstance(value, str) else 0
    if digits % 2 or not KEY_BITS <= 4 * digits <= KEY_BITS_MAX:
        raise PlanInvalid(f"a model's n must be 0x and the hex digits of {KEY_BITS} to {KEY_BITS_MAX} bits")
    data = from_hex("a model's n", value, digits // 2)
    if not data[0]:
        raise PlanInvalid("a model's n must not start with a zero byte")
    try:
        return PublicKey(int.from_bytes(data, "big"))
    except PaillierError as err:
        raise PlanInvalid(f"a model's n: {err}") from err
