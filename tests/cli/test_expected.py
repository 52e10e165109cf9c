"""What a quote shows of errors: beside each what it assumes, and below in words what that means."""

import json

import pytest

from cli.expected import expected_json, show_expected
from client.types import ColumnError

BOUND = ColumnError("[/x]", 12.5, 1000, "any")
GROUP = ColumnError("town", None, None, None)
SPREAD = ColumnError("r", 0.02, 1000, "spread", None)
UNKNOWN = ColumnError("d", None, 1000, "any")


def test_what_is_assumed_stands_beside_each_error_and_below_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_expected([GROUP, BOUND, SPREAD])
    shown = capsys.readouterr().out
    assert "[/x]" in shown and "values" in shown and "± if bunched" in shown and "none" in shown
    assert "any: whatever the values" in shown
    assert "spread: only if the values are spread evenly" in shown
    assert "every holder of the listing contributes" in shown
    assert "no ±" not in shown


def test_an_error_that_cannot_be_stated_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    show_expected([GROUP, UNKNOWN])
    shown = capsys.readouterr().out
    assert "no ±: no error can be stated for groups of this size at this ρ" in shown
    assert "bunched" not in shown and "spread:" not in shown


def test_json_has_the_assumptions_and_what_they_mean() -> None:
    found = json.loads(json.dumps(expected_json([GROUP, SPREAD])))
    assert found["expected_error95"][1] == {
        "column": "r",
        "error95": 0.02,
        "rows": 1000,
        "assumption": "spread",
        "error95_bunched": None,
    }
    assert set(found["assumptions"]) == {"any", "spread", "roster"}
