"""Words, tagged hashes and canonical JSON."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encoding import canonical_json, keccak, parse_canonical_json, tagged_hash, word
from privacy.errors import NotCanonical, WordInvalid

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)


def test_keccak_is_ethereums_and_not_sha3() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"


def test_words_are_left_padded() -> None:
    assert word(1) == bytes(31) + b"\x01"
    assert word(b"\xaa" * 20) == bytes(12) + b"\xaa" * 20
    assert word(b"\xbb" * 32) == b"\xbb" * 32


@pytest.mark.parametrize("value", [-1, 1 << 256, b"", b"short", bytes(33), bytes(31)])
def test_a_value_that_is_no_word_is_refused(value: int | bytes) -> None:
    with pytest.raises(WordInvalid):
        word(value)


def test_tagged_hash_is_what_the_document_spells() -> None:
    expected = keccak(keccak(b"shuyao/v1/line") + bytes(12) + b"\x11" * 20 + b"\x22" * 32)
    assert tagged_hash("line", b"\x11" * 20, b"\x22" * 32) == expected


def test_tagged_hash_separates_names() -> None:
    assert tagged_hash("asset", 1) != tagged_hash("line", 1)


@settings(deadline=None)
@given(JSON_VALUES)
def test_canonical_json_reads_back(value: object) -> None:
    try:
        data = canonical_json(value)
    except NotCanonical:  # a lone surrogate has no UTF-8 form
        return
    assert parse_canonical_json(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{ "a":1}',
        b'{"a":1}\n',
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b"Infinity",
        b'"\\u0041"',
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"9007199254740993",
        b"1" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_bytes_that_are_not_their_own_canonical_form_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_canonical_json(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 60, "\ud800", {1: 2}, object(), b"x"])
def test_values_without_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)
