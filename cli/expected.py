"""The errors that a quote states, as they are shown: beside each what it assumes, and below in words what that means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.output import print_table, say

if TYPE_CHECKING:
    from client.types import ColumnError

_ROSTER = "every holder of the listing contributes; with fewer, errors may be larger"


def expected_json(errors: Sequence[ColumnError]) -> dict[str, Any]:
    """Return the members of a quote's JSON object: an entry for each column, and the meaning of each assumption."""
    from privacy.expected import MEANING

    entries = [
        {
            "column": each.column,
            "error95": each.error95,
            "rows": each.rows,
            "assumption": each.assumption,
            "error95_bunched": each.bunched95,
        }
        for each in errors
    ]
    meaning = {assumption.value: text for assumption, text in MEANING.items()}
    return {"expected_error95": entries, "assumptions": {**meaning, "roster": _ROSTER}}


def show_expected(errors: Sequence[ColumnError]) -> None:
    """Print the table, and what the words in it mean."""
    from privacy.expected import MEANING, NO_ERROR, Assumption

    has_spread = any(each.assumption == Assumption.SPREAD.value for each in errors)
    columns = ["column", "±", "for groups of rows", "values", *(["± if bunched"] if has_spread else [])]
    print_table("expected 95 % error", columns, [_row(each, has_spread=has_spread) for each in errors])
    used = {each.assumption for each in errors}
    for assumption, text in MEANING.items():
        if assumption.value in used:
            say(f"{assumption.value}: {text}")
    if any(each.assumption and each.error95 is None for each in errors):
        say(f"no ±: {NO_ERROR}")
    say(f"all: {_ROSTER}")


def _row(error: ColumnError, *, has_spread: bool) -> list[Any]:
    from privacy.expected import Assumption

    shown: list[Any] = [error.column, error.error95, error.rows, error.assumption]
    if not has_spread:
        return shown
    is_spread = error.assumption == Assumption.SPREAD.value
    return [*shown, "none" if is_spread and error.bunched95 is None else error.bunched95]
