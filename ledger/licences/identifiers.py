"""Unified social credit codes, licence types and licence identifiers (docs/licence.md §1).

Only ASCII: a full-width digit or a letter of another script looks the same and is another licence, so it is
refused with its position and never folded.

Source: GB 32100-2015; GB/T 36904-2018; ISO/IEC 7064:2003, MOD 37,36.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger.licences.errors import IdentifierInvalid, Malformed

USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
ALPHANUMERIC: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS: Final = "0123456789"
USCC_SIZE: Final = 18
TYPE_SIZE: Final = 21
SERIAL_MAX: Final = 40
ORIGIN_MAX: Final = 255
ROOT: Final = "1.2.156.3005.2."
ISSUER_URN: Final = "urn:shuyao:issuer:"
TYPE_URN: Final = "urn:shuyao:licence:"
STATUS_URN: Final = "urn:shuyao:status:"
LIST_MAX: Final = 0xFFFFFFFE
_ORIGIN: Final = re.compile(r"[!-*,-~]+", re.ASCII)
_VALUES: Final = {character: value for value, character in enumerate(ALPHANUMERIC)}
_STEP: Final = {
    (character, p): ((p + value) % 36 or 36) * 2 % 37
    for character, value in _VALUES.items()
    for p in range(1, 37)
}
_WEIGHTED: Final = [
    {character: value * pow(3, i, 31) for value, character in enumerate(USCC_ALPHABET)} for i in range(17)
]


def uscc_check(text: str) -> str:
    """Return the check character of the first 17 characters of a unified social credit code.

    Raises:
        IdentifierInvalid: not 17 characters of the code's alphabet.

    Source:
        GB 32100-2015, appendix.
    """
    _require_size(text, USCC_SIZE - 1)
    _require_alphabet(text, USCC_ALPHABET)
    return _uscc_check(text)


@lru_cache(maxsize=4096)  # the same few issuers and types come up in every part of every bundle
def _uscc_check(text: str) -> str:
    total = 0
    for weights, character in zip(_WEIGHTED, text, strict=True):
        total += weights[character]
    return USCC_ALPHABET[-total % 31]


def require_uscc(text: str, at: int = 0) -> str:
    """Return a unified social credit code as it is, if it is one.

    Args:
        at: where the code begins in a longer text, for the position in the error.

    Raises:
        IdentifierInvalid: another length, a character outside the alphabet, or a wrong check character.
    """
    _require_size(text, USCC_SIZE, at)
    _require_alphabet(text, USCC_ALPHABET, at)
    if _uscc_check(text[:-1]) != text[-1]:
        raise IdentifierInvalid(at + USCC_SIZE - 1, "a wrong check character of a credit code")
    return text


def require_type(text: str, at: int = 0) -> str:
    """Return a licence type as it is, if it is one: a credit code and three digits.

    Raises:
        IdentifierInvalid: as `require_uscc`, or the last three are no digits.
    """
    _require_size(text, TYPE_SIZE, at)
    require_uscc(text[:USCC_SIZE], at)
    _require_alphabet(text[USCC_SIZE:], DIGITS, at + USCC_SIZE)
    return text


def mod37_36_check(text: str) -> str:
    """Return the check character of a text of digits and capital letters.

    Raises:
        IdentifierInvalid: a character is neither.

    Source:
        ISO/IEC 7064:2003, MOD 37,36 (hybrid system).
    """
    return mod37_36_end(mod37_36_step(text))


def mod37_36_step(text: str, p: int = 36) -> int:
    """Carry the product of MOD 37,36 over more characters: a batch shares the state behind its common prefix.

    Args:
        p: the state before `text`, in [1, 36]; 36 at the beginning.

    Raises:
        IdentifierInvalid: a character is no digit and no capital letter.
    """
    try:
        for character in text:
            p = _STEP[character, p]
    except KeyError:
        _require_alphabet(text, ALPHANUMERIC)
    return p


@lru_cache(maxsize=4096)  # of types and issuers, which many licences share
def _state_after(text: str) -> int:
    return mod37_36_step(text)


def mod37_36_end(p: int) -> str:
    """Return the check character that ends a text whose state is `p`."""
    return ALPHANUMERIC[(37 - p) % 36]


@dataclass(frozen=True, slots=True)
class Identifier:
    """The identifier of one licence in one version.

    `type_code` has 21 characters, `issuer` is a credit code, `serial` 1 to 40 digits and capital letters,
    `version` three digits from 001.
    """

    type_code: str
    issuer: str
    serial: str
    version: str

    def __post_init__(self) -> None:
        at = len(ROOT)
        require_type(self.type_code, at)
        at += TYPE_SIZE + 1
        require_uscc(self.issuer, at)
        at += USCC_SIZE + 1
        require_serial(self.serial, at)
        at += len(self.serial) + 1
        require_version(self.version, at)

    @property
    def check(self) -> str:
        """The check character over everything before it, dots left out."""
        state = _state_after(self.type_code + self.issuer)
        return mod37_36_end(mod37_36_step(self.serial + self.version, state))

    @property
    def text(self) -> str:
        """The identifier as it is written."""
        return f"{ROOT}{self.type_code}.{self.issuer}.{self.serial}.{self.version}.{self.check}"

    @classmethod
    def parse(cls, text: str) -> Identifier:
        """Read an identifier.

        Raises:
            IdentifierInvalid: another root, number of parts, length, alphabet or check character.
        """
        if not isinstance(text, str) or not text.startswith(ROOT):
            raise IdentifierInvalid(0, f"expected the root {ROOT}")
        parts = text[len(ROOT) :].split(".")
        if len(parts) != 5:
            raise IdentifierInvalid(len(ROOT), f"expected 5 parts after the root, got {len(parts)}")
        found = cls(*parts[:4])
        if parts[4] != found.check:
            raise IdentifierInvalid(len(text) - len(parts[4]), "a wrong check character")
        return found


def require_serial(text: str, at: int = 0) -> str:
    """Return a serial as it is, if it is one: 1 to 40 digits and capital letters.

    Raises:
        IdentifierInvalid: another length or character.
    """
    if not 1 <= len(text) <= SERIAL_MAX:
        raise IdentifierInvalid(at, f"expected a serial of 1 to {SERIAL_MAX} characters, got {len(text)}")
    _require_alphabet(text, ALPHANUMERIC, at)
    return text


def require_version(text: str, at: int = 0) -> str:
    """Return the version of a licence as it is, if it is one: three digits from 001.

    Raises:
        IdentifierInvalid: another length or character, or 000.
    """
    _require_size(text, 3, at)
    _require_alphabet(text, DIGITS, at)
    if text == "000":
        raise IdentifierInvalid(at, "expected a version from 001")
    return text


def issuer_urn(uscc: str) -> str:
    """Name an issuer by its credit code."""
    return ISSUER_URN + require_uscc(uscc)


def parse_issuer_urn(text: object) -> str:
    """Read the credit code out of an issuer's name.

    Raises:
        Malformed: no such name.
        IdentifierInvalid: its credit code is none.
    """
    return require_uscc(_after(text, ISSUER_URN, "iss"))


def type_urn(type_code: str) -> str:
    """Name a licence type."""
    return TYPE_URN + require_type(type_code)


def parse_type_urn(text: object) -> str:
    """Read the 21 characters out of a licence type's name.

    Raises:
        Malformed: no such name.
        IdentifierInvalid: its type is none.
    """
    return require_type(_after(text, TYPE_URN, "vct"))


def status_urn(origin: str, number: int) -> str:
    """Name the `number`-th status list of a log.

    Raises:
        Malformed: the origin or the number is out of its range.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LIST_MAX:
        raise Malformed("status list", f"an integer in [0, {LIST_MAX}]", repr(number))
    return f"{STATUS_URN}{require_origin(origin)}:{number}"


def parse_status_urn(text: object) -> tuple[str, int]:
    """Read a status list's log origin and number.

    Raises:
        Malformed: no such name, or the number is not in its one decimal form.
    """
    return _parse_list(_after(text, STATUS_URN, "uri"))


@lru_cache(maxsize=1024)  # a licence and its status token have the same one
def _parse_list(text: str) -> tuple[str, int]:
    origin, colon, number = text.rpartition(":")
    if not colon or not 1 <= len(number) <= 10 or number.strip(DIGITS) or str(int(number)) != number:
        raise Malformed("uri", "a status list's name with a decimal number", "something else")
    status_urn(origin, int(number))
    return origin, int(number)


def require_origin(origin: object) -> str:
    """Return a log origin as it is, if it is one: 1 to 255 printable ASCII characters, no space, no plus.

    Raises:
        Malformed: anything else.
    """
    if not isinstance(origin, str) or not 1 <= len(origin) <= ORIGIN_MAX:
        raise Malformed("origin", f"1 to {ORIGIN_MAX} characters", "another length or type")
    if not _ORIGIN.fullmatch(origin):
        raise Malformed("origin", "printable ASCII without spaces and plus", "another character")
    return origin


def _after(text: object, prefix: str, field: str) -> str:
    if not isinstance(text, str) or not text.startswith(prefix):
        raise Malformed(field, f"a name that begins with {prefix}", "something else")
    return text[len(prefix) :]


def _require_size(text: str, size: int, at: int = 0) -> None:
    if not isinstance(text, str) or len(text) != size:
        actual = len(text) if isinstance(text, str) else type(text).__name__
        raise IdentifierInvalid(at, f"expected {size} characters, got {actual}")


def _require_alphabet(text: str, alphabet: str, at: int = 0) -> None:
    if text.strip(alphabet):
        for offset, character in enumerate(text):
            if character not in alphabet:
                raise IdentifierInvalid(at + offset, f"U+{ord(character):04X} is not allowed")
