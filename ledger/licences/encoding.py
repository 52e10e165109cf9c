"""base64url, canonical JSON and days, as docs/licence.md has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import pybase64

from ledger.encoding import SAFE_INTEGER, canonical_json, parse_json, require_shallow
from ledger.errors import MalformedValue
from ledger.licences.errors import Malformed

TIME_MAX: Final = 253402300799  # 9999-12-31T23:59:59Z, in Unix seconds
DAY_NONE: Final = 0x7FFFFFFF  # the last day of what has no end
_CHINA_OFFSET_S: Final = 28_800
_DAY_S: Final = 86_400
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_URLSAFE: Final = b"-_"
_PADDING: Final = ("", "===", "==", "=")  # by length mod 4
_FORMS: Final = {  # the last character has 2 or 4 bits of the bytes, and zeros
    16: re.compile("[A-Za-z0-9_-]{21}[AQgw]"),
    32: re.compile("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"),
}
_RUNS: Final = {length: re.compile(rf"(?:{form.pattern}\.)*") for length, form in _FORMS.items()}
_SIZES: Final = {16: 23, 32: 44}  # of one in a run
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def day_of(time_s: int) -> int:
    """Return the day of a Unix time in China Standard Time: days since 1970-01-01 there."""
    return (time_s + _CHINA_OFFSET_S) // _DAY_S


def last_day_of(expires_at: int | None) -> int:
    """Return the last day on which something is valid that ends, exclusively, at `expires_at`."""
    return DAY_NONE if expires_at is None else day_of(expires_at - 1)


def b64u(data: bytes) -> str:
    """Write base64url without padding (RFC 4648 §5)."""
    return pybase64.b64encode_as_string(data, _URLSAFE).rstrip("=")


def parse_b64u(text: object, field: str, length: int | None = None) -> bytes:
    """Read base64url without padding, in its one form, of `length` bytes if that is given.

    Raises:
        Malformed: no string, another alphabet, padding, bits left over that are not zero, or another length.
    """
    if not isinstance(text, str):
        raise Malformed(field, "base64url", type(text).__name__)
    if "+" in text or "/" in text:  # the decoder takes both alphabets
        raise Malformed(field, "base64url", "base64 of the other alphabet")
    try:
        data = pybase64.b64decode(text + _PADDING[len(text) % 4], _URLSAFE, validate=True)
    except ValueError as err:
        raise Malformed(field, "base64url without padding", "something else") from err
    # the decoder takes bits left over that are not zero, and padding: only this makes it strict
    if b64u(data) != text:
        raise Malformed(field, "base64url without padding, in its one form", "another form")
    if length is not None and len(data) != length:
        raise Malformed(field, f"{length} bytes", f"{len(data)} bytes")
    return data


def require_b64u(text: object, field: str, length: Literal[16, 32]) -> None:
    """Refuse what is not the base64url of `length` bytes in its one form, where nobody wants the bytes.

    Raises:
        Malformed: as `parse_b64u`.
    """
    if not is_b64u(text, length):
        parse_b64u(text, field, length)


def is_b64u(text: object, length: Literal[16, 32]) -> bool:
    """Say whether something is the base64url of `length` bytes in its one form."""
    return isinstance(text, str) and _FORMS[length].fullmatch(text) is not None


def are_b64u(texts: Sequence[object], length: Literal[16, 32]) -> bool:
    """Say whether each of them `is_b64u`, all at once: a point, which is no character of theirs, stands behind each."""
    try:
        text = ".".join([*cast(Sequence[str], texts), ""])
    except TypeError:
        return False
    return len(text) == len(texts) * _SIZES[length] and _RUNS[length].fullmatch(text) is not None


def canonical(value: object, field: str) -> bytes:
    """Serialise to RFC 8785 bytes.

    Raises:
        Malformed: the value has no such form. `field` names it.
    """
    try:
        return canonical_json(value)
    except MalformedValue as err:
        raise Malformed(field, err.expected, err.actual) from err


def parse_any(data: bytes, field: str, *, size_max: int) -> Any:
    """Parse JSON in any form; repeated keys are refused.

    Raises:
        Malformed: too long, too deep, no JSON in UTF-8, a lone surrogate, or an object that has a key twice.
    """
    try:
        value = parse_json(data, size_max=size_max)
    except MalformedValue as err:
        raise Malformed(field, err.expected, err.actual) from err
    if b"\\u" in data:
        canonical(value, field)  # refuses a lone surrogate, which only an escape can bring in
    if b"{" in data and _STRING.sub(b"", data).count(b":") != _member_count(value):
        raise Malformed(field, "no key twice in an object", "a repeated key")
    return value


def parse_canonical(data: bytes, field: str, *, size_max: int) -> Any:
    """Parse bytes that are their own RFC 8785 form, and no others.

    What needs no more than ASCII and safe integers, which is nearly everything, takes a short cut: there the C encoder of the standard
    library writes what RFC 8785 asks for. Strings have the same escapes, names in the order of their code points are in that of their
    UTF-16 units, and only fractions and integers beyond 2^53 are written otherwise; `_WHOLE` knows none.

    Raises:
        Malformed: too long, too deep, no JSON in UTF-8, a repeated key, or another form of the same value.
    """
    if data.isascii() and len(data) <= size_max:
        try:
            require_shallow(data)
            value, end = _WHOLE.raw_decode(data.decode("ascii"))
            if end == len(data) and _ENCODER.encode(value).encode("utf-8", "surrogatepass") == data:
                return value
        except (ValueError, RecursionError, MalformedValue):
            pass  # the long way says what is wrong with it, if anything is
    try:
        value = parse_json(data, size_max=size_max)
    except MalformedValue as err:
        raise Malformed(field, err.expected, err.actual) from err
    if canonical(value, field) != data:
        raise Malformed(field, "RFC 8785 bytes", "another form of the same value")
    return value


def _safe_integer(text: str) -> int:
    value = int(text) if len(text) < 18 else SAFE_INTEGER + 1
    if not -SAFE_INTEGER <= value <= SAFE_INTEGER:
        raise ValueError(text)
    return value


def _refuse(text: str) -> float:
    raise ValueError(text)


_WHOLE: Final = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse, parse_int=_safe_integer)


def _member_count(value: object) -> int:
    if isinstance(value, Mapping):
        return len(value) + sum(map(_member_count, value.values()))
    return sum(map(_member_count, value)) if isinstance(value, list) else 0
