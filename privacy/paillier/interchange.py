"""The stock library's keys and numbers (`phe`), as objects and as the JSON files of its command `pheutil`.

The ciphertexts are the same, so a buyer who only has the stock library encrypts for us and decrypts what we answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import phe
from gmpy2 import mpz, powmod

from privacy.paillier.encrypt import EncryptedVector, require_exponent, require_length
from privacy.paillier.errors import ExponentRefused, InterchangeRefused, KeyMismatch, PlaintextOutOfRange
from privacy.paillier.keys import PrivateKey, PublicKey

BASE: Final = 16  # phe.EncodedNumber.BASE: an exponent e stands for 16^e
JSON_MAX: Final = 1 << 14
BRACKETS_MAX: Final = 8
_PUBLIC_MEMBERS: Final = {"kty", "alg", "key_ops", "n", "kid"}
_PRIVATE_MEMBERS: Final = {"kty", "key_ops", "p", "q", "pub", "kid"}


# --- objects -----------------------------------------------------------------------------------------------


def to_phe_public_key(key: PublicKey) -> phe.PaillierPublicKey:
    """Return the stock library's public key."""
    return phe.PaillierPublicKey(key.n)


def from_phe_public_key(key: phe.PaillierPublicKey) -> PublicKey:
    """Return our public key.

    Raises:
        KeyInvalid: the modulus is refused.
        InterchangeRefused: g is not n + 1.
    """
    if key.g != key.n + 1:
        raise InterchangeRefused("expected a key with g = n + 1")
    return PublicKey(key.n)


def to_phe_private_key(key: PrivateKey) -> phe.PaillierPrivateKey:
    """Return the stock library's private key."""
    return phe.PaillierPrivateKey(to_phe_public_key(key.public), key.p, key.q)


def from_phe_private_key(key: phe.PaillierPrivateKey) -> PrivateKey:
    """Return our private key.

    Raises:
        KeyInvalid: the factors are refused.
    """
    return PrivateKey(key.p, key.q)


def to_phe_numbers(vector: EncryptedVector) -> list[phe.EncryptedNumber]:
    """Return the stock library's numbers, in order."""
    key = to_phe_public_key(vector.key)
    return [phe.EncryptedNumber(key, int(value), vector.exponent) for value in vector.values]


def from_phe_numbers(key: PublicKey, numbers: Sequence[phe.EncryptedNumber]) -> EncryptedVector:
    """Take the stock library's numbers over, all brought to the least of their exponents.

    A number that was computed and not obfuscated stays so: `rerandomise` before it leaves.

    Raises:
        KeyMismatch: a number is under another key.
        ExponentRefused: an exponent is not in -64 … 0.
        CiphertextInvalid: a number is no ciphertext.
        LengthMismatch: no number, or too many.
    """
    require_length(len(numbers))
    for number in numbers:
        if number.public_key.n != key.n:
            raise KeyMismatch(f"expected numbers under key {key.id.hex()[:16]}, got another key's")
        require_exponent(number.exponent)
    least = min(number.exponent for number in numbers)
    checked = EncryptedVector(
        key, tuple(mpz(number.ciphertext(be_secure=False)) for number in numbers), least
    )
    values = tuple(
        powmod(value, BASE ** (number.exponent - least), key.n_square)
        for value, number in zip(checked.values, numbers, strict=True)
    )
    return EncryptedVector(key, values, least)


def to_fixed(value: float | Fraction, *, exponent: int, value_max: int) -> int:
    """Round a number to fixed point: the integer nearest to value / 16^exponent, half to even.

    Args:
        value: finite.
        exponent: -64 … 0.
        value_max: the largest absolute result that the plan allows.

    Raises:
        ExponentRefused: out of range.
        PlaintextOutOfRange: not finite, or the result is above `value_max`.
    """
    require_exponent(exponent)
    if isinstance(value, float) and not math.isfinite(value):
        raise PlaintextOutOfRange("expected a finite number")
    fixed: int = round(Fraction(value) * BASE**-exponent)
    if abs(fixed) > value_max:
        raise PlaintextOutOfRange(f"expected at most {value_max.bit_length()} bits, got {fixed.bit_length()}")
    return fixed


def from_fixed(fixed: int, *, exponent: int) -> Fraction:
    """Return the number that a fixed-point integer stands for.

    Raises:
        ExponentRefused: not in -128 … 0; a product of two numbers has the sum of their exponents.
    """
    if not -128 <= exponent <= 0:
        raise ExponentRefused(f"expected an exponent between -128 and 0, got {exponent}")
    return Fraction(fixed, BASE**-exponent)


# --- JSON of `pheutil` ---------------------------------------------------------------------------------------


def dump_public_key(key: PublicKey, *, name: str) -> str:
    """Write a public key as `pheutil extract` does.

    Args:
        key: to write.
        name: for people, the member `kid`.
    """
    return json.dumps(_public_members(key, name))


def load_public_key(text: str) -> PublicKey:
    """Read a public key of `pheutil`.

    Raises:
        InterchangeRefused: another form.
        KeyInvalid: the modulus is refused.
    """
    return _public_key(_parse(text))


def dump_private_key(key: PrivateKey, *, name: str) -> str:
    """Write a private key as `pheutil genpkey` does: in the clear."""
    members = {
        "kty": "DAJ",
        "key_ops": ["decrypt"],
        "p": _to_base64(key.p),
        "q": _to_base64(key.q),
        "pub": _public_members(key.public, name),
        "kid": name,
    }
    return json.dumps(members)


def load_private_key(text: str) -> PrivateKey:
    """Read a private key of `pheutil`.

    Raises:
        InterchangeRefused: another form, or the public half is not of these factors.
        KeyInvalid: the factors are refused.
    """
    members = _parse(text)
    _require_members(members, _PRIVATE_MEMBERS, "decrypt")
    key = PrivateKey(_from_base64(members["p"]), _from_base64(members["q"]))
    if _public_key(members["pub"]) != key.public:
        raise InterchangeRefused("expected the public key of the two factors")
    return key


def dump_numbers(vector: EncryptedVector) -> list[str]:
    """Write ciphertexts as `pheutil encrypt` does, one text each."""
    return [json.dumps({"v": str(value), "e": vector.exponent}) for value in vector.values]


def load_numbers(key: PublicKey, texts: Sequence[str]) -> EncryptedVector:
    """Read ciphertexts of `pheutil`, all brought to the least of their exponents.

    Raises:
        InterchangeRefused: another form.
        ExponentRefused, CiphertextInvalid, LengthMismatch: as `from_phe_numbers`.
    """
    require_length(len(texts))
    stock = to_phe_public_key(key)
    return from_phe_numbers(key, [phe.EncryptedNumber(stock, *_number(_parse(text))) for text in texts])


def _number(members: Any) -> tuple[int, int]:
    if not isinstance(members, dict) or set(members) != {"v", "e"}:
        raise InterchangeRefused("expected the members v and e")
    value, exponent = members["v"], members["e"]
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()) or value[0] == "0":
        raise InterchangeRefused("expected v in decimal digits without leading zeros")
    if type(exponent) is not int:
        raise InterchangeRefused("expected e as a whole number")
    return int(mpz(value)), exponent


def _public_members(key: PublicKey, name: str) -> dict[str, Any]:
    return {"kty": "DAJ", "alg": "PAI-GN1", "key_ops": ["encrypt"], "n": _to_base64(key.n), "kid": name}


def _public_key(members: Any) -> PublicKey:
    _require_members(members, _PUBLIC_MEMBERS, "encrypt")
    if members["alg"] != "PAI-GN1":
        raise InterchangeRefused("expected the algorithm PAI-GN1")
    return PublicKey(_from_base64(members["n"]))


def _require_members(members: Any, names: set[str], operation: str) -> None:
    if not isinstance(members, dict) or set(members) != names:
        raise InterchangeRefused(f"expected an object with exactly the members {', '.join(sorted(names))}")
    if members["kty"] != "DAJ" or members["key_ops"] != [operation] or not isinstance(members["kid"], str):
        raise InterchangeRefused(f"expected a key of type DAJ for {operation}, with a name")


def _parse(text: str) -> Any:
    # the parser recurses: what nests deep never reaches it, and these objects have at most four brackets
    if len(text) > JSON_MAX or text.count("{") + text.count("[") > BRACKETS_MAX:
        raise InterchangeRefused(f"expected at most {JSON_MAX} characters and {BRACKETS_MAX} brackets")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except ValueError as err:
        raise InterchangeRefused("expected a JSON text") from err


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name is repeated")
    return members


def _to_base64(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64(text: Any) -> int:
    if not isinstance(text, str):
        raise InterchangeRefused("expected a number in base64url")
    try:
        number = int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
    except (ValueError, binascii.Error) as err:
        raise InterchangeRefused("expected a number in base64url") from err
    # the decoder skips what is not of the alphabet: only the one encoding is let through
    if not number or _to_base64(number) != text:
        raise InterchangeRefused("expected the shortest base64url of a number, without padding")
    return number
