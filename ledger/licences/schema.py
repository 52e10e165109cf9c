"""Licence types: which fields a licence of a type has, in the order in which their salts are drawn.

The types in `kinds/` are what the demonstration issues. A published version of a type never changes: a licence
names it by number, and its salts are drawn in the order of its fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from ledger.licences.encoding import parse_any
from ledger.licences.errors import HiddenMandatoryField, Malformed
from ledger.licences.identifiers import require_type

MANDATORY: Final = frozenset(
    {"iss", "vct", "lid", "ver", "jti", "iat", "nbf", "status", "cnf", "_sd_alg", "_sd"}
)
OPTIONAL: Final = frozenset({"exp", "prev", "evt"})
RESERVED: Final = MANDATORY | OPTIONAL | {"..."}
FIELDS_MAX: Final = 64
VERSION_MAX: Final = 0xFFFF
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_FOLDER: Final = Path(__file__).parent / "kinds"


@dataclass(frozen=True, slots=True)
class Field:
    """A salted field: its name in disclosures (ASCII, so that none looks like another) and its Chinese title."""

    name: str
    title: str

    def __post_init__(self) -> None:
        require_name(self.name)
        _require_title("field.title", self.title)


@dataclass(frozen=True, slots=True)
class LicenceType:
    """One version of a licence type: 21-character code, Chinese name, and its salted fields in order."""

    code: str
    name: str
    version: int
    salted: tuple[Field, ...]

    def __post_init__(self) -> None:
        require_type(self.code)
        _require_title("name", self.name)
        if (
            isinstance(self.version, bool)
            or not isinstance(self.version, int)
            or not 1 <= self.version <= VERSION_MAX
        ):
            raise Malformed("version", f"an integer in [1, {VERSION_MAX}]", "something else")
        if len(self.salted) > FIELDS_MAX or len(set(self.names)) != len(self.salted):
            raise Malformed(
                "fields", f"at most {FIELDS_MAX}, each name once", f"{len(self.salted)}, or one twice"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the salted fields, in order."""
        return tuple(field.name for field in self.salted)

    @classmethod
    def parse(cls, data: bytes) -> LicenceType:
        """Read a licence type: `{"code","name","version","fields":[{"name","title"}…]}`.

        Raises:
            Malformed: no such JSON; a name is no plain ASCII name or there twice.
            HiddenMandatoryField: a field has the name of a member that the issuer must show.
            IdentifierInvalid: the code is no licence type's.
        """
        value = parse_any(data, "licence type", size_max=1 << 16)
        if not isinstance(value, dict) or value.keys() != {"code", "name", "version", "fields"}:
            raise Malformed("licence type", "the members code, fields, name, version", "something else")
        if not isinstance(value["fields"], list) or any(
            not isinstance(field, dict) or field.keys() != {"name", "title"} for field in value["fields"]
        ):
            raise Malformed("fields", "an array of objects with name and title", "something else")
        fields = tuple(Field(field["name"], field["title"]) for field in value["fields"])
        return cls(value["code"], value["name"], value["version"], fields)


@lru_cache(maxsize=1)
def demonstration_types() -> dict[str, LicenceType]:
    """Return the types that come with this package, by code, in the order of their codes."""
    found = [LicenceType.parse(path.read_bytes()) for path in _FOLDER.glob("*.json")]
    return {kind.code: kind for kind in sorted(found, key=lambda kind: kind.code)}


def require_name(name: object) -> None:
    """Refuse what is no field's name: up to 40 of a-z, 0-9 and _, beginning with a letter.

    Raises:
        HiddenMandatoryField: the issuer must show the member of this name.
        Malformed: anything else, such as a name with a letter that only looks like one of these.
    """
    if isinstance(name, str) and name in RESERVED:
        raise HiddenMandatoryField(name)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Malformed("field name", "a lower-case ASCII name of up to 40 characters", "something else")


def _require_title(field: str, text: object) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= 40 or not text.isprintable():
        raise Malformed(field, "1 to 40 printable characters", "something else")
