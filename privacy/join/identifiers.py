"""Identifiers of records brought to one form on both sides, by named rules; what cannot be one matches nothing.

Two sides write the same person or company differently: full-width digits, spaces, a lower-case x, a number of 15
digits. A rule maps all of these to one text and refuses what the standard excludes: a wrong check character would
match nothing anyway, and says that the record is wrong.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from privacy.join.errors import (
    KeyCenturyUnknown,
    KeyCharacterWrong,
    KeyCheckWrong,
    KeyDateWrong,
    KeyEmpty,
    KeyLengthWrong,
    KeyMalformed,
    KeyRegionUnknown,
    KeyTooLong,
    RulesMismatch,
)

CHARACTERS_MAX: Final = 1024
PROVINCES: Final = frozenset(
    map(
        str,
        (
            *range(11, 16),
            *range(21, 24),
            *range(31, 38),
            *range(41, 47),
            *range(50, 55),
            *range(61, 66),
            71,  # Taiwan
            81,  # Hong Kong
            82,  # Macao
            83,  # residence permits for people of Taiwan
            91,  # other countries
        ),
    )
)
_ID_WEIGHTS: Final = tuple(pow(2, 17 - place, 11) for place in range(17))
_ID_CHECKS: Final = "10X98765432"
_CENTENARIANS: Final = ("996", "997", "998", "999")
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(17))
_DIGITS: Final = frozenset("0123456789")
# what stands between the parts of a name: hyphens, dots and middle dots of several keyboards, apostrophes
_NAME_SEPARATORS: Final = frozenset("-‐‑‒–—'’`.·•‧∙⋅・")
_NUMBER_SEPARATORS: Final = frozenset("-‐‑‒–—")


class Rule(StrEnum):
    """How an identifier is brought to its form."""

    TEXT = "text"
    NAME = "name"
    ID_NUMBER = "id_number"
    USCC = "uscc"
    PHONE = "phone"


Identifier = str | int | None


def join_key(rules: Sequence[Rule], parts: Sequence[Identifier]) -> bytes:
    """Return the bytes of a key: for each part its rule and its normal form, each with its length.

    Raises:
        KeyMalformed: a rule refuses a part; its subclasses say why.
        RulesMismatch: another number of rules than of parts.
    """
    if len(rules) != len(parts) or not rules:
        raise RulesMismatch(
            f"expected as many rules as parts, at least one, got {len(rules)} and {len(parts)}"
        )
    encoded = []
    for rule, part in zip(rules, parts, strict=True):
        for text in (rule.value, normalise(rule, part)):
            data = text.encode("utf-8")
            encoded.append(len(data).to_bytes(2, "big") + data)
    return b"".join(encoded)


def normalise_key(rule: Rule, value: Identifier) -> bytes | None:
    """Return the bytes of a key of one part, or None where it matches nothing: NULL, or refused by the rule."""
    try:
        return join_key((rule,), (value,))
    except KeyMalformed:
        return None


def normalise(rule: Rule, value: Identifier) -> str:
    """Return the normal form of an identifier.

    Args:
        rule: to follow.
        value: as the side has it; an integer counts as its decimal digits.

    Raises:
        KeyEmpty: NULL, or nothing left.
        KeyMalformed: refused for another reason; its subclasses say why.
    """
    if value is None:
        raise KeyEmpty("expected an identifier, got NULL")
    text = str(value)
    if len(text) > CHARACTERS_MAX:
        raise KeyTooLong(f"expected at most {CHARACTERS_MAX} characters, got {len(text)}")
    text = unicodedata.normalize("NFKC", text)
    # format characters are invisible: joiners, marks of direction, byte-order marks
    text = "".join([each for each in text if unicodedata.category(each) != "Cf"])
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        raise KeyCharacterWrong("expected characters, got half of a surrogate pair") from err
    return _RULES[rule](text)


def _text(text: str) -> str:
    """Keep everything but the width of spaces; no case is folded."""
    return _filled(" ".join(text.split()))


def _name(text: str) -> str:
    """Keep letters, marks and digits, without case."""
    kept = [each for each in text.casefold() if not each.isspace() and each not in _NAME_SEPARATORS]
    if any(unicodedata.category(each)[0] not in "LMN" for each in kept):
        raise KeyCharacterWrong("expected letters, marks and digits of a name")
    return _filled(unicodedata.normalize("NFKC", "".join(kept)))


def _id_number(text: str) -> str:
    """Return 18 characters of GB 11643-1999; 15 digits of GB 11643-1989 are brought to them."""
    number = _compact(text)
    if len(number) == 15:
        _require(number, _DIGITS)
        if number.endswith(_CENTENARIANS):
            raise KeyCenturyUnknown("expected the century of a number of 15 digits")
        number = number[:6] + "19" + number[6:]
        number += _id_check(number)
    if len(number) != 18:
        raise KeyLengthWrong(f"expected 15 or 18 characters, got {len(number)}")
    _require(number[:17], _DIGITS)
    if number[:2] not in PROVINCES:
        raise KeyRegionUnknown("expected the number of a province")
    try:
        datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError as err:
        raise KeyDateWrong("expected a date of birth") from err
    if number[17] != _id_check(number[:17]):
        raise KeyCheckWrong("expected the check character of GB 11643")
    return number


def _id_check(digits: str) -> str:
    """Return the check character: ISO 7064, MOD 11-2."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, _ID_WEIGHTS, strict=True))
    return _ID_CHECKS[total % 11]


def _uscc(text: str) -> str:
    """Return the 18 characters of a unified social credit code, GB 32100-2015."""
    code = _compact(text)
    if len(code) != 18:
        raise KeyLengthWrong(f"expected 18 characters, got {len(code)}")
    _require(code, frozenset(_USCC_ALPHABET))
    _require(code[2:8], _DIGITS)
    total = sum(
        _USCC_ALPHABET.index(each) * weight for each, weight in zip(code[:17], _USCC_WEIGHTS, strict=True)
    )
    if code[17] != _USCC_ALPHABET[-total % 31]:
        raise KeyCheckWrong("expected the check character of GB 32100")
    return code


def _phone(text: str) -> str:
    """Return the 11 digits of a mobile number of mainland China."""
    number = _compact(text)
    for prefix in ("+86", "0086", "86"):
        if number.startswith(prefix) and len(number) == len(prefix) + 11:
            number = number.removeprefix(prefix)
            break
    if len(number) != 11:
        raise KeyLengthWrong(f"expected 11 digits, got {len(number)}")
    _require(number, _DIGITS)
    if number[0] != "1" or number[1] < "3":
        raise KeyCharacterWrong("expected a mobile number")
    return number


def _compact(text: str) -> str:
    """Drop spaces and hyphens; letters become capitals."""
    kept = [each for each in text if not each.isspace() and each not in _NUMBER_SEPARATORS]
    return _filled("".join(kept).upper())


def _require(text: str, allowed: frozenset[str]) -> None:
    if not allowed.issuperset(text):
        raise KeyCharacterWrong("expected only the characters that the standard has at this place")


def _filled(text: str) -> str:
    if not text:
        raise KeyEmpty("expected an identifier, got nothing but separators")
    return text


_RULES: Final[dict[Rule, Callable[[str], str]]] = {
    Rule.TEXT: _text,
    Rule.NAME: _name,
    Rule.ID_NUMBER: _id_number,
    Rule.USCC: _uscc,
    Rule.PHONE: _phone,
}
