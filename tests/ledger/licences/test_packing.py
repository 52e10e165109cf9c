"""What is packed as JSON: exactly what has one form by the C encoder and by RFC 8785."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.licences.packing import is_plain

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
)


@given(PLAIN)
def test_texts_integers_and_ascii_names_are_plain_at_any_depth(value: Any) -> None:
    assert is_plain(value)


@given(PLAIN, PLAIN, st.sampled_from([1.5, 1.0, {"名": 1}, {"a": {"é": []}}, [[{"": 0.0}]]]))
def test_one_fraction_or_name_of_another_script_anywhere_is_not(left: Any, right: Any, bad: Any) -> None:
    for value in (bad, [left, bad, right], {"a": left, "b": [right, {"c": bad}]}, [[left], [[bad]]]):
        assert not is_plain(value)


@pytest.mark.parametrize("value", [[], {}, [[]], [{}], {"a": {}}, [[], {"a": []}]])
def test_what_is_empty_is_plain(value: Any) -> None:
    assert is_plain(value)
