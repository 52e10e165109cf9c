"""Fields of licences as people name them: by their names in the type, or by its Chinese titles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cli.errors import CliError

if TYPE_CHECKING:
    from ledger.licences.schema import LicenceType


def titles_of(type_code: str) -> dict[str, str]:
    """Return the titles of a type's fields by name; empty for a type that does not come with this package."""
    from ledger.licences.schema import demonstration_types

    kind = demonstration_types().get(type_code)
    return {} if kind is None else _titles(kind)


def names_of(given: Iterable[str], titles: Mapping[str, str]) -> list[str]:
    """Return the names of the fields that are meant by names or titles.

    Args:
        given: names or titles.
        titles: of the permitted fields, by name; a field without a title has its name there.

    Raises:
        CliError: one is neither, or the title of several; the message has the permitted ones.
    """
    return [_name_of(text, titles) for text in given]


def values_by_name(values: Mapping[str, Any], kind: LicenceType) -> dict[str, Any]:
    """Return a licence's values by field name, where titles may be given instead.

    Raises:
        CliError: a field that the type has not, or one twice.
    """
    names = names_of(values, _titles(kind))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CliError(f"the field {twice!r} is there twice, by its name and by its title")
    return dict(zip(names, values.values(), strict=True))


def _titles(kind: LicenceType) -> dict[str, str]:
    return {field.name: field.title for field in kind.salted}


def _name_of(text: str, titles: Mapping[str, str]) -> str:
    if text in titles:
        return text
    found = [name for name, title in titles.items() if title == text]
    if len(found) == 1:
        return found[0]
    if found:
        raise CliError(f"{text!r} is the title of several fields: give one of {', '.join(found)}")
    known = (name if title == name else f"{name} ({title})" for name, title in titles.items())
    raise CliError(f"no field {text!r} here; there are: {', '.join(known) or 'none'}")
