"""Exact decimal numbers in canonical text: bounds, literals and amounts of rho."""

import re
from decimal import Decimal
from typing import Any

RHO_SCALE = 1_000_000
"""One rho is this many micro-rho."""

DIGITS_MAX = 40
EXPONENT_MAX = 60

CHARS_MAX = 128

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def decimal_text(value: Decimal) -> str:
    """Return the canonical text of a finite decimal: no exponent, no superfluous zeros, never `-0`."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def read_decimal(value: Any) -> Decimal | None:
    """Read an integer, a finite float (by its shortest text) or a decimal text exactly.

    Returns:
        The number, or None if `value` is none of these, is not finite, or has, without its trailing zeros, more than
        40 digits or an exponent beyond ±60.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = repr(value) if isinstance(value, float) else str(value)
    if len(text) > CHARS_MAX or not _NUMBER.fullmatch(text):
        return None
    sign, digits, exponent = Decimal(text).as_tuple()
    if not isinstance(exponent, int):
        return None
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if digits == (0,):
        return Decimal(0)
    if len(digits) > DIGITS_MAX or abs(exponent) > EXPONENT_MAX:
        return None
    return Decimal((sign, digits, exponent))


def is_canonical_decimal(text: Any) -> bool:
    """Tell whether a value is the canonical text of a decimal."""
    number = read_decimal(text) if isinstance(text, str) else None
    return number is not None and decimal_text(number) == text
