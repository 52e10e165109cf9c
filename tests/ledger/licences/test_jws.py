"""JWS in its one form: what another library signs is read, what is almost a JWS is not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from ledger.licences.encoding import b64u, canonical, day_of, last_day_of, parse_any, parse_b64u
from ledger.licences.errors import LicenceError, Malformed, SignatureInvalid
from ledger.licences.jws import parse_jws, sign_jws
from ledger.licences.keys import ALGORITHMS, Algorithm, PublicKey
from tests.ledger.licences.credentials import key

TYP = "licence-event+jwt"
PAYLOAD = {"evt": "revoke", "reason": "违规经营", "b": [1, {"c": None}], "a": True}
WHOLE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé𠮷", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def header(**changes: Any) -> str:
    made = {"alg": "EdDSA", "kid": key("a").public.kid, "typ": TYP, **changes}
    return b64u(canonical({name: value for name, value in made.items() if value is not ...}, "header"))


def signed(first: str, second: str) -> str:
    return f"{first}.{second}.{b64u(key('a').sign(f'{first}.{second}'.encode()))}"


def test_payload_of_a_signed_jws_is_read_and_verifies() -> None:
    for alg in ALGORITHMS:
        jws = parse_jws(sign_jws(TYP, PAYLOAD, key("a", alg)), TYP)
        jws.verify(key("a", alg).public)
        assert jws.payload == PAYLOAD
        assert jws.header == {"alg": alg, "kid": key("a", alg).public.kid, "typ": TYP}
        assert jws.key_id == key("a", alg).public.key_id
        assert jws.text.encode() == jws.signing_input + b"." + b64u(jws.signature).encode()


@given(st.dictionaries(st.text("abcé𠮷", max_size=3), WHOLE, max_size=4))
def test_any_whole_payload_is_read_as_it_was_signed(payload: dict[str, Any]) -> None:
    assert parse_jws(sign_jws(TYP, payload, key("a")), TYP).payload == payload


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_another_library_verifies_ours(alg: Algorithm) -> None:
    signer = key("a", alg)
    other = JWS()
    other.deserialize(sign_jws(TYP, PAYLOAD, signer), JWK.from_json(json.dumps(signer.public.jwk())))
    assert json.loads(other.payload) == PAYLOAD


def test_ours_verifies_what_another_library_signs() -> None:
    for alg, made in (
        ("EdDSA", JWK.generate(kty="OKP", crv="Ed25519")),
        ("ES256", JWK.generate(kty="EC", crv="P-256")),
    ):
        other = JWS(payload=canonical(PAYLOAD, "payload"))
        protected = canonical({"alg": alg, "kid": made.thumbprint(), "typ": TYP}, "header").decode()
        other.add_signature(made, protected=protected)
        jws = parse_jws(other.serialize(compact=True), TYP)

        jws.verify(PublicKey.from_jwk(made.export_public(as_dict=True)))


def test_verifying_under_another_key_or_algorithm_fails() -> None:
    jws = parse_jws(sign_jws(TYP, PAYLOAD, key("a")), TYP)
    for other in (key("b").public, key("a", "ES256").public, key("a", "SM2").public):
        with pytest.raises(SignatureInvalid):
            jws.verify(other)


def test_kid_of_an_ed25519_key_under_an_es256_header_does_not_verify() -> None:
    confused = parse_jws(signed(header(alg="ES256"), b64u(b"{}")), TYP)
    for candidate in (key("a").public, key("a", "ES256").public):
        with pytest.raises(SignatureInvalid):
            confused.verify(candidate)


def test_our_signature_under_the_kid_of_another_key_does_not_verify() -> None:
    renamed = parse_jws(signed(header(kid=key("b").public.kid), b64u(b"{}")), TYP)
    with pytest.raises(SignatureInvalid):
        renamed.verify(key("a").public)


def test_signature_by_another_key_under_our_kid_does_not_verify() -> None:
    first, second = header(), b64u(b"{}")
    stolen = f"{first}.{second}.{b64u(key('b').sign(f'{first}.{second}'.encode()))}"
    with pytest.raises(SignatureInvalid):
        parse_jws(stolen, TYP).verify(key("a").public)


@pytest.mark.parametrize(
    "changes",
    [{"alg": "none"}, {"alg": "None"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": "ES256K"}, {"alg": ""}, {"alg": None}, {"alg": ...},
     {"alg": ["EdDSA"]}, {"alg": "ＥdDSA"}, {"kid": ...}, {"kid": ""}, {"kid": "a"}, {"kid": 1}, {"typ": "JWT"}, {"typ": ...},
     {"typ": "dc+sd-jwt"}, {"jwk": key("a").public.jwk()}, {"crit": ["b64"]}, {"b64": False}, {"x5c": []}],
)  # fmt: skip
def test_other_headers_are_refused_though_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_jws(signed(header(**changes), b64u(b"{}")), TYP)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b'"a"', b"{ }", b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":1e2}', b'{"a":"\\u0061"}',
     b'{"a":"\\/"}', b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xff", b"\xef\xbb\xbf{}", b"{}\n", b'{"a":-0}', b'{"a":9007199254740993}',
     b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"],
)  # fmt: skip
def test_other_forms_of_a_payload_are_refused_though_signed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse_jws(signed(header(), b64u(payload)), TYP)


def test_other_forms_of_base64url_are_refused() -> None:
    good = sign_jws(TYP, {"a": "??>>"}, key("a"))
    first, second, third = good.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    loose = (
        third[:-1] + alphabet[alphabet.index(third[-1]) ^ 1]
    )  # 86 characters: the last four bits are not used
    assert parse_b64u(third, "x") == base64.urlsafe_b64decode(loose + "==")
    for other in (
        f"{first}.{second}.{loose}", good + "=", good + "\n", " " + good, good.replace("_", "/").replace("-", "+"),
        f"{first}.{second}.{third}.", f"{first}.{second}", f"{first}.{second}.", f".{second}.{third}", f"{first}..{third}", "", ".", "..",
        f"{first}.{second[:4]}\n{second[4:]}.{third}", f"{first}.{second}.{third[:-1]}Ａ",
    ):  # fmt: skip
        if other != good:
            with pytest.raises(Malformed):
                parse_jws(other, TYP)


@pytest.mark.parametrize("text", [None, 1, b"a.b.c", ["a"]])
def test_what_is_no_string_is_refused(text: object) -> None:
    with pytest.raises(Malformed):
        parse_jws(text, TYP)


def test_jws_over_its_size_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Malformed):
        parse_jws(sign_jws(TYP, {"a": "x" * 100}, key("a")), TYP, size_max=100)


@given(st.text(max_size=60) | st.text("abcAB-_.~=", max_size=60))
def test_any_text_is_a_jws_or_a_named_error(text: str) -> None:
    with pytest.raises(LicenceError):
        parse_jws(text, TYP)


@given(st.binary(max_size=40))
def test_base64url_is_read_as_it_was_written(data: bytes) -> None:
    assert parse_b64u(b64u(data), "x", len(data)) == data


def test_repeated_keys_are_noticed_in_any_json() -> None:
    for data in (b'{"a":1,"a":2}', b'[{"b":{"a":1, "a":1}}]', b'{"a":1,"\\u0061":2}'):
        with pytest.raises(Malformed):
            parse_any(data, "x", size_max=100)
    assert parse_any(b' {"a:{" : "\\":", "b" : [{}, {"a": ":"}]}', "x", size_max=100)


def test_days_change_at_midnight_in_china() -> None:
    assert day_of(0) == 0 == day_of(57_599)
    assert day_of(57_600) == 1  # 1970-01-02 00:00 in China
    assert last_day_of(57_600) == 0
    assert last_day_of(57_601) == 1
    assert last_day_of(None) == 0x7FFFFFFF
