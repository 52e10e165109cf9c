"""Hashes and JSON of docs/protocol.md §0."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import (
    canonical_json,
    keccak,
    parse_canonical_json,
    parse_decimal,
    parse_hex,
    tagged_hash,
    word,
)
from ledger.errors import MalformedValue
from ledger.names import asset_id, line_id, listing_id
from ledger.types import Address

HOLDER = Address(bytes(range(20)))
SHARED = Path(os.environ.get("SHUYAO_SHARED", Path(__file__).resolve().parents[3] / "shared"))
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
json_values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_keccak_is_ethereums() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_tagged_hash_is_what_the_protocol_writes_out() -> None:
    written_out = keccak(keccak(b"shuyao/v1/asset") + bytes(12) + HOLDER + keccak(b"x"))
    assert tagged_hash("asset", HOLDER, keccak(b"x")) == written_out == asset_id(HOLDER, "x")


def test_ids_differ_by_name_kind_and_owner() -> None:
    other = Address(bytes(20))
    ids = {f(a, n) for f in (asset_id, line_id, listing_id) for a in (HOLDER, other) for n in ("a", "数")}
    assert len(ids) == 12


@pytest.mark.parametrize("value", [-1, 1 << 256, b"", b"\1" * 31, b"\1" * 33])
def test_word_refuses_what_is_no_word(value: int | bytes) -> None:
    with pytest.raises(MalformedValue):
        word(value)


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-0", "+1", " 1", "1 ", "1_0", "0x1", "٣", "1.0", "1e3", 1, None]
)
def test_parse_decimal_accepts_one_form_only(text: object) -> None:
    with pytest.raises(MalformedValue):
        parse_decimal(text, "x", -10, 1000)


@pytest.mark.parametrize("text", ["", "ab", "0xAB", "0xabc", "0X00", "0x 0", "0xzz", None, b"0x"])
def test_parse_hex_accepts_one_form_only(text: object) -> None:
    with pytest.raises(MalformedValue):
        parse_hex(text, "x", None)


@given(json_values)
def test_canonical_json_is_its_own_only_form(value: Any) -> None:
    data = canonical_json(value)
    assert canonical_json(parse_canonical_json(data)) == data


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":1}', b'{"b":1,"a":1}', b"[1, 2]", b"[1.0]", b"[1e0]", b'"\\u0061"', b"NaN", b"[", b"",
     b"\xff", b"[" * 257 + b"]" * 257, b"\xef\xbb\xbf1", b" 1", b"1\n", b"-0", b'"\\ud800"', b"9007199254740993",
     b"[" * 100_000, b"1e400"],
)  # fmt: skip
def test_other_forms_of_json_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedValue):
        parse_canonical_json(data)


def test_canonical_json_agrees_with_third_party_vectors() -> None:
    folder = SHARED / "vectors" / "jcs"
    if not folder.is_dir():
        pytest.skip("the shared vectors are not on this machine")
    pairs = [(p, folder / "output" / p.name) for p in sorted((folder / "input").glob("*.json"))]
    assert pairs
    for source, expected in pairs:
        wanted = expected.read_bytes().rstrip(b"\n")
        assert canonical_json(json.loads(source.read_bytes())) == wanted, source.name
        assert canonical_json(parse_canonical_json(wanted)) == wanted


def test_brackets_in_strings_are_no_nesting() -> None:
    data = canonical_json(["[" * 1000, '"[{' * 1000, "\\" * 3 + "["])
    assert canonical_json(parse_canonical_json(data)) == data
