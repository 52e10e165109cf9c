"""A bundle has one form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import canonical_json
from ledger.licences import sdjwt
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.encoding import b64u, parse_any, parse_b64u
from ledger.licences.errors import Malformed
from ledger.licences.schema import demonstration_types
from tests.ledger.licences.world import BUSINESS, build_city

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


FIELDS = {
    "uscc": "91441900MA12345678",
    "entity_name": "东莞市瑞丰海纳建筑工程有限公司",
    "entity_type": "有限责任公司(自然人独资)",
    "legal_representative": "王伟芳",
    "business_scope": "软件开发与信息技术咨询服务；货物进出口和技术进出口；食品销售(凭许可证经营)",
    "registered_capital": "人民币5000万元",
    "established_on": "2013-05-06",
    "address": "广东省东莞市松山湖园区工业一路400号1000室",
    "registration_authority": "东莞市市场监督管理局",
    "approved_on": "2013-06-06",
    "operating_period": "2013-05-06 至 长期",
    "registration_number": "441912345678901",
}


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


JWS = st.builds(
    lambda parts, last: ".".join([*map(b64u, parts), last]),
    st.lists(
        st.sampled_from(
            [
                b"{}",
                b'{"a":"\\u0000"}',
                b'{"a": 1}',
                b'{"a":1.5}',
                b"[]",
                b'{"b":[null,true,"\xe9\x99\x88"]}',
                b"\xff",
            ]
        ),
        max_size=3,
    ),
    st.sampled_from(["", "sig", "W10", "e30"]),
)
DISCLOSURE = st.sampled_from(
    [
        b"[]",
        b'["s","n",1]',
        b'["s","n",1e3]',
        b'["s", "n", 1]',
        b'["\\u0000","\\u0000"]',
        b'[{"\xc3\xa9":1}]',
        b'["\\ud800"]',
        b"{}",
        b"W",
    ]
).map(b64u)


@given(st.lists(JWS | DISCLOSURE | TEXT, min_size=1, max_size=6).map("~".join), st.none() | JWS | TEXT)
def test_any_text_is_packed_in_one_form_and_won_back(credential: str, issuer: str | None) -> None:
    bundle = Bundle(credential=credential, origin="o", issuer=issuer)
    again = Bundle.parse(bundle.to_bytes())
    assert again == bundle
    assert all(
        parse_any(parse_b64u(part, ""), "", size_max=1 << 20) == value for part, value in again.opened.items()
    )
    assert canonical_json(json.loads(bundle.to_bytes())) == bundle.to_bytes()


@pytest.mark.parametrize("text", ["\0", '"\0', '\0",', '"\\u0000",'])
def test_a_bundle_with_the_mark_that_divides_its_encoding_has_one_form_too(text: str) -> None:
    jws = f"{b64u(b'{}')}.{b64u(canonical_json({'a': [text, text, 1], text: 1}))}.s"
    disclosure = b64u(canonical_json([text, text, text]))
    plain = f"{b64u(b'{}')}.{b64u(b'[]')[:2]}.s~{b64u(b'[1]')}~"
    for bundle in (
        Bundle(
            credential=f"{jws}~{disclosure}~{disclosure}~{jws}",
            origin="o",
            issuer=jws,
            anchor={"a": [text, 1]},
        ),
        Bundle(
            credential=plain, origin="o", checkpoint=text, issuer=jws, anchor={"a": [text, text, 1], text: {}}
        ),
        Bundle(credential=f"{text}~{disclosure}~{text}", origin="o", issuer=text),
    ):
        data = bundle.to_bytes()
        assert Bundle.parse(data) == bundle
        assert canonical_json(json.loads(data)) == data
        with pytest.raises(Malformed):
            Bundle.parse(data.replace(b'"origin":"o"', b'"origin": "o"'))


def test_canonical_json_is_packed_and_nothing_else() -> None:
    def packed(credential: str) -> Any:
        return json.loads(Bundle(credential=credential, origin="o").to_bytes())["credential"]

    array, object_ = b64u(b'["s","n","\xe9\x99\x88"]'), b64u(b'{"a":1}')
    assert packed(f"{object_}.{object_}.x~{array}~") == [[{"a": 1}, {"a": 1}, "x"], ["s", "n", "陈"], ""]
    assert packed(f"{object_}.{array}.x") == [f"{object_}.{array}.x"]
    assert packed(f"a~{object_}~{array}") == [
        "a",
        object_,
        array,
    ]  # an object is no disclosure, nor is the last part
    for other in (
        b'["s", 1]',
        b'["s",1.0]',
        b'["s",9007199254740993]',
        b'[{"\xc3\xa9":1}]',
        b'["\\u9648"]',
        b'["\\ud800"]',
    ):
        assert packed(f"a~{b64u(other)}~") == ["a", b64u(other), ""]


def test_absent_parts_are_null() -> None:
    data = Bundle(credential="c", origin="o").to_bytes()
    assert data == (
        b'{"anchor":null,"checkpoint":null,"credential":["c"],"inclusion":null,"issuer":null,"origin":"o",'
        b'"recognition":null,"status":null,"version":1}'
    )


def test_offline_bundle_without_token_and_anchor_is_small() -> None:
    city = build_city()
    licence = city.issue(values=FIELDS)
    city.publish()
    text = sdjwt.bind(
        licence.text,
        licence.holder,
        nonce="n" * 24,
        audience="urn:shuyao:verifier:" + "a" * 20,
        now_s=city.now_s,
    )
    deep = Inclusion(40_000_000, tuple(bytes([i]) * 32 for i in range(26)))  # a city of 52 million
    bundle = city.bundle(licence, text=text, inclusion=deep, status=StatusPart("", deep))
    assert len(sdjwt.parse(text).disclosed) == len(demonstration_types()[BUSINESS].salted) == 12
    assert len(bundle.to_bytes()) <= 6_144
    assert len(replace(bundle, credential=licence.text).to_bytes()) <= 6_000


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
        {"credential": []},
        {"credential": "text"},
        {"credential": {}},
        {"credential": ["a~b"]},
        {"credential": ["a", 1, ""]},
        {"credential": ["a", {}, ""]},
        {"credential": ["a", ["é", 1.5], ""]},
        {"credential": ["a", [{"é": 1}], ""]},
        {"credential": [[{}, {}, "a.b"]]},
        {"credential": [[{}, {}, "a~b"]]},
        {"credential": [[{}, [], "a"]]},
        {"credential": [[{}, {}]]},
        {"credential": ["e30.e30.a"]},
        {"credential": ["a", "WzFd", ""]},
        {"issuer": "e30.e30.a"},
        {"issuer": [{}, {}, 1]},
        {"issuer": [{"é": 1}, {}, ""]},
        {"issuer": []},
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
