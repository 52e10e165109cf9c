"""Strict reading of nested mappings: every problem is collected with its field, what was expected and what
was found.

The reader never stops at the first problem: a person who writes a policy sees all of them at once. Values
returned after a problem are placeholders, and `Fields.require_clean` makes sure that nobody uses them.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from privacy.decimals import RHO_SCALE, read_decimal
from privacy.errors import PolicyInvalid

T = TypeVar("T")

SHOWN_MAX = 60
NAME_CHARS_MAX = 128
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def hidden_character(text: str) -> int | None:
    """Return the index of the first control, format, surrogate or unassigned character, or None."""
    for index, character in enumerate(text):
        if unicodedata.category(character) in _HIDDEN:
            return index
    return None


class Fields:
    """One mapping being read, at a path; problems go to a list shared with its parent."""

    def __init__(self, value: Any, path: str = "", problems: list[str] | None = None) -> None:
        self.path = path
        self.problems: list[str] = [] if problems is None else problems
        self._seen: set[str] = set()
        self._members: Mapping[Any, Any] = {}
        if isinstance(value, Mapping):
            self._members = value
        else:
            self.problem("", "a mapping", value)

    def problem(self, name: str, expected: str, found: Any) -> None:
        """Record one problem of a field."""
        self.problems.append(f"{self._at(name)}: expected {expected}, found {_shown(found)}")

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not null."""
        return self._members.get(name) is not None

    def names(self) -> list[Any]:
        """Return all member names, in order."""
        return list(self._members)

    def take(self, name: str) -> Any:
        """Return a raw value, None if absent, and mark it as known."""
        self._seen.add(name)
        return self._members.get(name)

    def child(self, name: str) -> "Fields":
        """Return a nested mapping."""
        return Fields(self.take(name), self._at(name), self.problems)

    def refuse_unknown(self) -> None:
        """Record every member that nobody asked for."""
        for name in self._members:
            if name not in self._seen:
                known = _escaped(", ".join(sorted(self._seen)))
                self.problems.append(f"{self._at(str(name))}: unknown field, known are {known}")

    def require_clean(self) -> None:
        """Raise PolicyInvalid with every problem, if there is any."""
        if self.problems:
            raise PolicyInvalid(self.problems)

    def text(self, name: str, default: str | None = None, *, chars_max: int = NAME_CHARS_MAX) -> str:
        """Read a text that is shown and compared: NFC, no control characters, not blank at its ends."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        return self.check_text(name, value, chars_max)

    def check_text(self, name: str, value: Any, chars_max: int = NAME_CHARS_MAX) -> str:
        """Check one text, as `text` does."""
        expected = f"a text of 1 to {chars_max} characters"
        if not isinstance(value, str) or not 1 <= len(value) <= chars_max:
            self.problem(name, expected, value)
            return ""
        if hidden_character(value) is not None:
            self.problem(name, expected + " without control or format characters", value)
        elif not unicodedata.is_normalized("NFC", value):
            self.problem(name, expected + " in Unicode form NFC", value)
        elif value != value.strip():
            self.problem(name, expected + " without spaces at its ends", value)
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Read an integer of a range, given as a number or a decimal text."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        number = as_integer(value)
        if number is None or not low <= number <= high:
            self.problem(name, f"an integer in [{low}, {high}]", value)
            return low
        return number

    def boolean(self, name: str, default: bool) -> bool:
        """Read a boolean."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(name, "true or false", value)
            return default
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """Read one of some words."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        if value not in choices:
            self.problem(name, "one of " + ", ".join(choices), value)
            return choices[0]
        return str(value)

    def decimal(self, name: str) -> Decimal:
        """Read an exact decimal number."""
        value = self.take(name)
        number = read_decimal(value)
        if number is None:
            self.problem(name, "a finite decimal number of at most 40 digits", value)
            return Decimal(0)
        return number

    def rho_micro(self, name: str) -> int:
        """Read an amount of rho > 0, exact in micro-rho."""
        value = self.take(name)
        number = read_decimal(value)
        micro = None if number is None else number * RHO_SCALE
        if micro is None or micro != micro.to_integral_value() or not 1 <= micro < 1 << 64:
            self.problem(name, "rho > 0 with at most 6 decimals", value)
            return 1
        return int(micro)

    def items(self, name: str, default: Sequence[Any] | None = None, *, items_max: int) -> list[Any]:
        """Read a list."""
        value = self.take(name)
        if value is None and default is not None:
            return list(default)
        if not isinstance(value, list | tuple) or len(value) > items_max:
            self.problem(name, f"a list of at most {items_max}", value)
            return []
        return list(value)

    def unique(self, name: str, values: Sequence[T], key: Callable[[T], Any] = lambda value: value) -> None:
        """Record every value that is repeated in a list."""
        seen = set()
        for value in values:
            if key(value) in seen:
                self.problem(name, "each value once", value)
            seen.add(key(value))

    def _at(self, name: str) -> str:
        return _escaped(".".join(part for part in (self.path, name) if part) or "policy")


def as_integer(value: Any) -> int | None:
    """Return an int, or the integer a canonical decimal text stands for; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 40:
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and str(int(value)) == value:
            return int(value)
    return None


def _escaped(names: str) -> str:
    """Return names for a message: they may hold lone surrogates."""
    return names.encode("utf-8", "backslashreplace").decode("utf-8")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"
