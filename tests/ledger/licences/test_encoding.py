"""base64url and canonical JSON have one form, and the short cuts accept exactly what the long ways accept."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import SAFE_INTEGER, canonical_json, parse_canonical_json
from ledger.errors import MalformedValue
from ledger.licences.encoding import are_b64u, b64u, is_b64u, parse_b64u, parse_canonical, require_b64u
from ledger.licences.errors import Malformed

NAMES = st.text(max_size=4) | st.sampled_from(["a", "b", "\U0001f600", "\uffff", "\x7f", "\0", "\u2028"])
NUMBERS = (
    st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.sampled_from([SAFE_INTEGER, SAFE_INTEGER + 1, -SAFE_INTEGER - 1, 1e16, -0.0])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def written(value: Any, is_ascii: bool) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=is_ascii)
    return text.encode("utf-8", "surrogatepass")


def judged(parse: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return parse(*args, **kwargs)
    except (Malformed, MalformedValue):
        return Malformed


@given(VALUES, st.booleans())
def test_short_and_long_way_read_the_same_bytes(value: Any, is_ascii: bool) -> None:
    data = written(value, is_ascii)
    assert judged(parse_canonical, data, "x", size_max=1 << 20) == judged(parse_canonical_json, data)


@given(VALUES)
def test_what_rfc_8785_writes_is_read(value: Any) -> None:
    try:
        data = canonical_json(value)
    except MalformedValue:
        return
    assert canonical_json(parse_canonical(data, "x", size_max=1 << 20)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"", b" 1", b"1 ", b"1\n", b"-0", b"1.0", b"1e3", b"01", b"NaN", b"Infinity",
        b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b'"\\u0041"', b'"\\ud800"', b'"\\/"', b'"\xff"',
        b"9007199254740993", b"1" * 400, b"[1,]", b"[" * 300 + b"]" * 300, b"[" * 100_000, b"\xef\xbb\xbf1",
    ],
)  # fmt: skip
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_canonical(data, "x", size_max=1 << 20)


def test_too_long_is_refused_however_it_begins() -> None:
    for data in (b'"' + b"a" * 30 + b'"', '"陈陈陈陈陈陈陈陈陈陈"'.encode()):
        with pytest.raises(Malformed):
            parse_canonical(data, "x", size_max=20)


@given(st.binary(max_size=70))
def test_base64url_is_that_of_rfc_4648(data: bytes) -> None:
    assert b64u(data) == base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert parse_b64u(b64u(data), "x", len(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AB",
        "AA=",
        "AA==",
        "A+A",
        "A/A",
        "A A",
        "AAA\n",
        "AA-",
        "ＡＡ",
        "é",
        "\ud800",
        "AAAAA",
        "A=A",
        "=",
        "A\0AA",
        None,
        1,
        b"AA",
    ],
)
def test_other_forms_of_base64url_are_refused(text: object) -> None:
    with pytest.raises(Malformed):
        parse_b64u(text, "x")


@given(
    st.sampled_from([16, 32]),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 44),
    st.sampled_from("AQgwBz09-_+/= \n"),
)
def test_form_without_decoding_is_the_form_with_it(
    size: Literal[16, 32], data: bytes, at: int, new: str
) -> None:
    text = b64u(data[:size])
    for candidate in (
        text,
        text[:at] + new + text[at + 1 :],
        text[:-1] + new,
        text[:at] + new + text[at:],
        text[:-1],
    ):
        is_read = judged(parse_b64u, candidate, "x", size) is not Malformed
        assert (judged(require_b64u, candidate, "x", size) is not Malformed) == is_read


FORMED = ["A" * 22, "B" * 21 + "w", "A" * 43, "z" * 42 + "8"]


@given(
    st.sampled_from([16, 32]),
    st.lists(
        st.sampled_from(
            [*FORMED, f"{FORMED[0]}.{FORMED[0]}", f"{FORMED[2]}.{FORMED[2]}", f"{FORMED[2]}.", "", "."]
        )
        | st.text("A.w", max_size=90)
        | st.just(None),
        max_size=6,
    ),
)
def test_the_form_of_many_is_that_of_each(size: Literal[16, 32], texts: list[object]) -> None:
    assert are_b64u(texts, size) == all(is_b64u(text, size) for text in texts)


@pytest.mark.parametrize("text", [None, 1, b"A" * 22, ["A"]])
def test_what_is_no_string_has_no_form(text: object) -> None:
    with pytest.raises(Malformed):
        require_b64u(text, "x", 16)
