"""A model that the stock library `phe` encrypted, and its scores for that library to decrypt (docs/protocol.md §9).

Who has the library and nothing of ours takes part with it: ciphertexts and public key come in as its documentation writes them,
are brought to the policy's scale without being opened, and the answer's ciphertexts go back in the same form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gmpy2 import mpz, powmod

from privacy.layout import group_key
from privacy.paillier.encrypt import require_exponent
from privacy.paillier.errors import ExponentRefused, InterchangeRefused
from privacy.paillier.interchange import load_public_key
from privacy.paillier.keys import KEY_BITS_MAX, PublicKey
from privacy.plan import Plan
from privacy.score.combine import score_terms
from privacy.score.model import CIPHERTEXTS_MAX, EncryptedModel
from privacy.score.shape import ScoreShape

DIGITS_MAX: Final = KEY_BITS_MAX * 2 * 31 // 100 + 1  # of a number below n²
EXPONENT_BITS: Final = 4  # an exponent e stands for 16^e


@dataclass(frozen=True, slots=True)
class StockWeights:
    """Encrypted weights as the stock library has them: each with an exponent of its own.

    Attributes:
        key: the public key that all are under.
        numbers: (c, e), the intercept's first: c encrypts m, which stands for m·16^e.
    """

    key: PublicKey
    numbers: tuple[tuple[mpz, int], ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.numbers) <= CIPHERTEXTS_MAX:
            raise InterchangeRefused("expected a number for the intercept and for at least one feature")
        for _, exponent in self.numbers:
            require_exponent(exponent)
        self.key.require_ciphertexts(tuple(value for value, _ in self.numbers))

    @classmethod
    def from_json(cls, value: Any) -> StockWeights:
        """Read the members `public_key` and `values` of an object, in one of the two forms of the library's documentation.

        Args:
            value: `public_key` is {`n`, perhaps `g`}, numbers or their digits, or a JSON Web Key as `pheutil extract` writes
                it; `values` a list of [c, e] or of {`v`: c, `e`: e}, c in digits.

        Raises:
            InterchangeRefused: another form.
            KeyInvalid: the modulus is refused.
            CiphertextInvalid: a number is no ciphertext.
            ExponentRefused: an exponent is not in -64 … 0.
        """
        if not isinstance(value, Mapping) or set(value) != {"public_key", "values"}:
            raise InterchangeRefused("expected exactly the members public_key and values")
        given = value["values"]
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > CIPHERTEXTS_MAX:
            raise InterchangeRefused(f"expected values as a list of at most {CIPHERTEXTS_MAX} numbers")
        return cls(_public_key(value["public_key"]), tuple(map(_number, given)))

    def model(self, *, bits: int, scale_bits: int) -> EncryptedModel:
        """Return the model of a plan: every ciphertext raised until it encrypts a multiple of 2^-scale_bits.

        Args:
            bits, scale_bits: the policy's.

        Raises:
            ExponentRefused: a weight is in finer steps than the policy's, which only who can decrypt it could round.
        """
        raised = []
        for place, (value, exponent) in enumerate(self.numbers):
            shift = scale_bits + EXPONENT_BITS * exponent
            if shift < 0:
                needed = -(scale_bits // EXPONENT_BITS)
                raise ExponentRefused(
                    f"number {place + 1} has the exponent {exponent}, and weights are in steps of 2^-{scale_bits}: expected"
                    f" at least {needed}, as encrypt(w, precision=16**{needed}) gives it"
                )
            raised.append(powmod(value, 1 << shift, self.key.n_square))
        return EncryptedModel(self.key, bits, scale_bits, tuple(raised))


def sealed_scores(plan: Plan, cells: Sequence[int]) -> dict[str, Any]:
    """Return the scores of an opened answer, still encrypted, in the form of the library's documentation.

    Args:
        plan: of this kind.
        cells: the d cells, without the buyer's pad.

    Returns:
        `public_key` {`n`} and `values` [[c, 0], …] as the library reads them; `slot_bytes`, `slots`, `count` and `scale_bits`,
        by which the plaintexts are unpacked (§8.2), `group_by` and the `groups` in the order of the slots.

    Raises:
        AnswerInvalid: they hold no ciphertexts under the model's key.
        PlanInvalid: a plan of another kind.
    """
    terms = score_terms(plan)
    return {
        "public_key": {"n": terms.model.key.n},
        "values": [[str(int(value)), 0] for value in terms.ciphertexts(plan, cells).values],
        "slot_bytes": terms.layout.slot_bytes,
        "slots": terms.layout.slots,
        "count": plan.groups,
        "scale_bits": ScoreShape.of(plan).unit_bits + terms.model.weight_scale_bits,
        "group_by": [dimension.column for dimension in plan.group_by],
        "groups": [list(group_key(plan, group)) for group in range(plan.groups)],
    }


def _public_key(members: Any) -> PublicKey:
    if not isinstance(members, Mapping):
        raise InterchangeRefused("expected public_key as an object")
    if "kty" in members:
        if not all(isinstance(each, str) or each == ["encrypt"] for each in members.values()):
            raise InterchangeRefused("expected public_key as a JSON Web Key, its key_ops to encrypt")
        return load_public_key(json.dumps(dict(members)))
    if not {"n"} <= set(members) <= {"n", "g"}:
        raise InterchangeRefused("expected public_key with the member n, perhaps g, or as a JSON Web Key")
    modulus = _integer(members["n"], "n")
    if "g" in members and _integer(members["g"], "g") != modulus + 1:
        raise InterchangeRefused("expected a key with g = n + 1")
    return PublicKey(modulus)


def _number(given: Any) -> tuple[mpz, int]:
    if isinstance(given, Mapping) and set(given) == {"v", "e"}:
        value, exponent = given["v"], given["e"]
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2:
        value, exponent = given
    else:
        raise InterchangeRefused("expected each value as [ciphertext, exponent], or as an object of v and e")
    if type(exponent) is not int:
        raise InterchangeRefused("expected an exponent as a whole number")
    return mpz(_integer(value, "a ciphertext")), exponent


def _integer(value: Any, what: str) -> int:
    """Return a positive integer that is written as one, or in its digits."""
    if type(value) is int and value > 0:
        return value
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()) or value[0] == "0":
        raise InterchangeRefused(f"expected {what} in decimal digits without leading zeros")
    if len(value) > DIGITS_MAX:
        raise InterchangeRefused(f"expected at most {DIGITS_MAX} digits of {what}")
    return int(mpz(value))
