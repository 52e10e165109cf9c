"""A bundle has one form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import canonical_json
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.errors import Malformed
from tests.ledger.licences.world import build_city

HASH = st.binary(min_size=32, max_size=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TOKEN = TEXT | st.sampled_from(["", "a.b-c_d.e", 'x,"token":"', '"},"version":1}', "\\", "a\x7f", "—"])
INCLUSIONS = st.builds(
    Inclusion, st.integers(0, (1 << 63) - 1), st.lists(HASH, max_size=4).map(lambda path: tuple(path))
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53) + 1, (1 << 53) - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "token"]), inner),
    max_leaves=5,
)
BUNDLES = st.builds(
    Bundle,
    credential=TEXT,
    origin=st.just("city.example/log"),
    checkpoint=st.none() | TEXT,
    inclusion=st.none() | INCLUSIONS,
    issuer=st.none() | TEXT,
    status=st.none() | st.builds(StatusPart, TOKEN, INCLUSIONS),
    anchor=st.none() | st.dictionaries(st.sampled_from(["kind", "notes", "proof"]), PLAIN),
    recognition=st.none() | st.builds(RecognitionPart, TEXT, TEXT, INCLUSIONS),
)


def real() -> bytes:
    city = build_city()
    licence = city.issue()
    city.publish()
    return city.bundle(licence, anchor=city.attested()).to_bytes()


REAL = real()


@given(BUNDLES)
def test_bundle_round_trips_in_the_form_of_rfc_8785(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    assert Bundle.parse(data) == bundle
    assert canonical_json(json.loads(data)) == data


def test_absent_parts_are_null() -> None:
    data = Bundle(credential="c", origin="o").to_bytes()
    assert data == (
        b'{"anchor":null,"checkpoint":null,"credential":"c","inclusion":null,"issuer":null,"origin":"o",'
        b'"recognition":null,"status":null,"version":1}'
    )


def test_offline_bundle_without_token_and_anchor_is_small() -> None:
    city = build_city()
    licence = city.issue()
    city.publish()
    bundle = city.bundle(licence)
    assert bundle.inclusion is not None and bundle.status is not None
    deep = Inclusion(40_000_000, tuple(bytes([i]) * 32 for i in range(26)))  # a city of 52 million
    data = replace(
        bundle, inclusion=deep, status=StatusPart("", deep), credential=licence.credential.jwt + "~"
    )
    assert len(data.to_bytes()) <= 6 * 1024


@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_byte_gives_another_bundle_or_none(at: int, by: int) -> None:
    changed = REAL[:at] + bytes([REAL[at] ^ by]) + REAL[at + 1 :]
    try:
        bundle = Bundle.parse(changed)
    except Malformed:
        return
    assert bundle.to_bytes() == changed


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Bundle.parse(data)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": 1.5},
        {"version": True},
        {"credential": None},
        {"origin": None},
        {"origin": "two words"},
        {"checkpoint": 1},
        {"inclusion": {"index": 1, "path": ""}},
        {"inclusion": {"index": "01", "path": ""}},
        {"inclusion": {"index": str(1 << 63), "path": ""}},
        {"inclusion": {"index": "1" * 30, "path": ""}},
        {"inclusion": {"index": "１", "path": ""}},
        {"inclusion": {"index": "1", "path": "AA"}},
        {"inclusion": {"index": "1", "path": "A" * 43 + "="}},
        {"inclusion": {"index": "1", "path": []}},
        {"inclusion": {"index": "1"}},
        {"issuer": {}},
        {"status": {"index": "1", "path": ""}},
        {"status": {"index": "1", "path": "", "token": None}},
        {"status": "token"},
        {"anchor": "attested"},
        {"anchor": {"kind": 1.5}},
        {"anchor": {"é": 1}},
        {"recognition": {}},
        {"surplus": 1},
    ],
)
def test_bundle_with_another_member_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Bundle.parse(canonical_json({**json.loads(REAL), **change}))


def test_other_forms_of_the_same_bundle_are_refused() -> None:
    value = json.loads(REAL)
    for data in (
        json.dumps(value, sort_keys=True).encode(),
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode(),
        REAL + b"\n",
        b"\xef\xbb\xbf" + REAL,
        REAL.replace(b'"version":1}', b'"version":1,"version":1}'),
        REAL.replace(b'"origin":"', b'"origin":"x","origin":"', 1),
    ):
        with pytest.raises(Malformed):
            Bundle.parse(data)


def test_lone_surrogates_and_huge_bundles_have_no_form() -> None:
    with pytest.raises(Malformed):
        Bundle(credential="\ud800", origin="o").to_bytes()
    with pytest.raises(Malformed):
        Bundle(credential="x" * (4 << 20), origin="o").to_bytes()
    with pytest.raises(Malformed):
        Bundle.parse(REAL + b" " * (4 << 20))
    with pytest.raises(Malformed):
        Bundle.parse(b'{"anchor":' + b"[" * 100_000)
