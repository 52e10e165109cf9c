"""Credentials: what was issued is read back, what is withheld stays hidden, and the bearer proves itself once."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier

from ledger.licences.encoding import canonical
from ledger.licences.errors import (
    AudienceMismatch,
    BearerForged,
    BearerMissing,
    BearerStale,
    HiddenMandatoryField,
    IdentifierInvalid,
    Malformed,
    NonceMismatch,
    SignatureInvalid,
)
from ledger.licences.identifiers import Identifier
from ledger.licences.jws import sign_jws
from ledger.licences.keys import Algorithm, PublicKey, SigningKey
from ledger.licences.sdjwt import bind, parse, present, verify_bearer
from tests.ledger.licences.credentials import (
    BUSINESS,
    HOLDER_KEY,
    ISSUER,
    ISSUER_KEY,
    NOW,
    VALUES,
    claims,
    credential,
    key,
)

NONCE, AUDIENCE = "n-0S6_WzA2Mj", "https://verifier.example.cn/核验"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NESTED = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc数", max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def jwk(signer: SigningKey) -> JWK:
    return JWK.from_json(json.dumps(signer.public.jwk()))


def shown(text: str) -> dict[str, Any]:
    return parse(text).disclosed


# --- what is issued --------------------------------------------------------------------------------------


def test_issued_credential_is_read_back_and_verifies() -> None:
    presented = parse(credential().text)
    presented.jwt.verify(ISSUER_KEY.public)
    assert presented.claims == claims()
    assert presented.disclosed == VALUES
    assert presented.key_binding is None


@pytest.mark.parametrize(
    "changes",
    [{"expires_at": None}, {"previous": bytes(range(32))}, {"previous": b"\1" * 32, "transfer_in": True},
     {"holder": key("h").public}, {"holder": key("h", "SM2").public}, {"list": 0xFFFFFFFE, "index": 0xFFFFF}],
)  # fmt: skip
def test_every_form_of_claims_is_read_back(changes: dict[str, Any]) -> None:
    assert parse(credential(**changes).text).claims == claims(**changes)


def test_payload_has_exactly_the_members_of_the_profile() -> None:
    payload = parse(credential().text).jwt.payload
    assert payload.keys() == {
        "iss", "vct", "lid", "ver", "jti", "iat", "nbf", "exp", "status", "cnf", "_sd", "_sd_alg"
    }  # fmt: skip
    assert payload["iss"] == "urn:shuyao:issuer:" + ISSUER
    assert payload["vct"] == "urn:shuyao:licence:" + BUSINESS.code
    assert payload["status"] == {"status_list": {"idx": 77, "uri": "urn:shuyao:status:log.example.cn/2026:3"}}


@given(st.dictionaries(st.sampled_from(BUSINESS.names), NESTED), st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_any_values_are_read_back_as_they_were(values: dict[str, Any], seed: bytes) -> None:
    assert shown(credential(values=values, seed=seed).text) == values


def test_deepest_value_that_is_issued_is_read_back_and_one_deeper_is_not_issued() -> None:
    value: Any = "甲"
    for _ in range(15):
        value = [value]
    assert shown(credential(values={"entity_name": value}).text) == {"entity_name": value}
    with pytest.raises(Malformed):
        credential(values={"entity_name": [value]})


def test_absent_fields_leave_no_trace() -> None:
    none, all_of_them = credential(values={}), credential(values=dict.fromkeys(BUSINESS.names, "甲"))
    counts = {len(parse(made.text).jwt.payload["_sd"]) for made in (none, all_of_them, credential())}
    assert counts == {len(BUSINESS.names)}
    assert len({len(made.jwt) for made in (none, all_of_them, credential())}) == 1


def test_unicode_forms_are_kept_as_they_are() -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        name = unicodedata.normalize(form, "é ﬁ １ Å 한 が")
        assert shown(credential(values={"entity_name": name}).text) == {"entity_name": name}


def test_salts_of_two_licences_and_two_fields_differ() -> None:
    first, second = credential(seed=bytes(32)), credential(seed=bytes(31) + b"\1")
    digests = parse(first.text).jwt.payload["_sd"] + parse(second.text).jwt.payload["_sd"]
    assert len(set(digests)) == 2 * len(BUSINESS.names)
    assert not set(first.disclosures) & set(second.disclosures)
    assert credential(seed=bytes(32)) == first


@pytest.mark.parametrize(
    "values",
    [{"unknown": "x"}, {"exp": 1}, {"_sd": []}, {"entity_name": None}, {"entity_name": "\ud800"}, {"entity_name": float("nan")},
     {"entity_name": {"_sd": []}}, {"entity_name": [{"...": "x"}]}, {"entity_name": 2**60}, {"entity_name": "x" * 20_000}],
)  # fmt: skip
def test_values_that_no_verifier_would_read_are_not_issued(values: dict[str, Any]) -> None:
    with pytest.raises((Malformed, HiddenMandatoryField)):
        credential(values=values)


@pytest.mark.parametrize(
    "changes",
    [{"version": 0}, {"version": True}, {"event_id": bytes(15)}, {"issued_at": -1}, {"issued_at": 1.5}, {"expires_at": NOW - 900},
     {"not_before": NOW + 10_000}, {"index": 1 << 20}, {"index": -1}, {"list": -1}, {"list": 0xFFFFFFFF}, {"origin": "a b"}, {"origin": ""},
     {"previous": bytes(31)}, {"previous": bytes(32)}, {"transfer_in": True}, {"expires_at": 1 << 40}],
)  # fmt: skip
def test_claims_out_of_range_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        claims(**changes)


def test_identifier_of_another_issuer_or_type_cannot_be_claimed() -> None:
    other = Identifier("11100000MB0143028R038", ISSUER, "440300A0001", "001")
    with pytest.raises(IdentifierInvalid):
        claims(identifier=other)
    with pytest.raises(IdentifierInvalid):
        claims(issuer="91440300MA5FG7JT43")


def test_seed_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed):
        credential(seed=bytes(16))


# --- presentations ---------------------------------------------------------------------------------------


def test_only_named_fields_are_disclosed() -> None:
    presentation = present(credential().text, ["address", "uscc"])
    assert shown(presentation) == {"address": VALUES["address"], "uscc": VALUES["uscc"]}
    assert shown(present(presentation, ["uscc"])) == {"uscc": VALUES["uscc"]}
    assert shown(present(presentation, [])) == {}
    assert parse(presentation).jwt.text == credential().jwt


@pytest.mark.parametrize("name", ["registered_capital", "exp", "iss", "unknown", "", "ａddress"])
def test_field_that_is_not_there_cannot_be_disclosed(name: str) -> None:
    with pytest.raises(Malformed):
        present(credential().text, ["uscc", name])


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "SM2"])
def test_bearer_with_the_holders_key_is_accepted(alg: Algorithm) -> None:
    holder = key("someone", alg)
    made = credential(holder=holder.public).text
    bound = bind(present(made, ["uscc"]), holder, nonce=NONCE, audience=AUDIENCE, now_s=NOW)
    for now_s in (NOW - 60, NOW, NOW + 60):
        assert verify_bearer(parse(bound), nonce=NONCE, audience=AUDIENCE, now_s=now_s) == NOW


def bound(**changes: Any) -> str:
    arguments: dict[str, Any] = {"nonce": NONCE, "audience": AUDIENCE, "now_s": NOW, **changes}
    return bind(present(credential().text, ["uscc"]), HOLDER_KEY, **arguments)


@pytest.mark.parametrize(
    ("made", "error"),
    [({"nonce": "another"}, NonceMismatch), ({"nonce": NONCE + " "}, NonceMismatch), ({"nonce": NONCE.lower()}, NonceMismatch),
     ({"audience": "https://verifier.example.cn"}, AudienceMismatch), ({"audience": AUDIENCE + "/"}, AudienceMismatch),
     ({"now_s": NOW - 61}, BearerStale), ({"now_s": NOW + 61}, BearerStale), ({"now_s": 0}, BearerStale)],
)  # fmt: skip
def test_replayed_or_misdirected_bearer_is_refused(made: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        verify_bearer(parse(bound(**made)), nonce=NONCE, audience=AUDIENCE, now_s=NOW)


def test_presentation_without_key_binding_has_no_bearer() -> None:
    with pytest.raises(BearerMissing):
        verify_bearer(parse(credential().text), nonce=NONCE, audience=AUDIENCE, now_s=NOW)


def test_key_binding_moved_to_other_disclosures_or_another_licence_is_refused() -> None:
    key_binding = bound().rpartition("~")[2]
    for other in (present(credential().text, ["uscc", "address"]), present(credential().text, []),
                  present(credential(seed=b"\1" * 32).text, ["uscc"])):  # fmt: skip
        with pytest.raises(BearerForged):
            verify_bearer(parse(other + key_binding), nonce=NONCE, audience=AUDIENCE, now_s=NOW)


def test_key_binding_by_another_key_is_refused() -> None:
    thief = key("thief", "ES256")
    stolen = present(credential().text, ["uscc"])
    payload = parse(bound()).key_binding
    assert payload is not None
    forged = stolen + sign_jws("kb+jwt", payload.payload, thief)
    with pytest.raises(BearerForged):
        verify_bearer(parse(forged), nonce=NONCE, audience=AUDIENCE, now_s=NOW)
    with pytest.raises(Malformed):
        bind(stolen, thief, nonce=NONCE, audience=AUDIENCE, now_s=NOW)


@pytest.mark.parametrize(
    "changes",
    [{"sd_hash": None}, {"sd_hash": ""}, {"iat": None}, {"iat": "1800000000"}, {"iat": True}, {"iat": NOW + 0.5}, {"nonce": None},
     {"aud": ["https://verifier.example.cn/核验"]}, {"extra": 1}],
)  # fmt: skip
def test_key_binding_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    given = parse(bound()).key_binding
    assert given is not None
    forged = present(credential().text, ["uscc"]) + sign_jws(
        "kb+jwt", {**given.payload, **changes}, HOLDER_KEY
    )
    with pytest.raises((BearerForged, NonceMismatch, AudienceMismatch)):
        verify_bearer(parse(forged), nonce=NONCE, audience=AUDIENCE, now_s=NOW)


def test_bound_presentation_is_not_bound_twice() -> None:
    with pytest.raises(Malformed):
        bind(bound(), HOLDER_KEY, nonce=NONCE, audience=AUDIENCE, now_s=NOW)


def test_licence_jwt_is_no_key_binding_and_the_reverse() -> None:
    made = bound()
    head, _, key_binding = made.rpartition("~")
    with pytest.raises(Malformed):
        parse(f"{head}~{credential().jwt}")
    with pytest.raises(Malformed):
        parse(f"{key_binding}~")


# --- the reference implementation, both ways -------------------------------------------------------------


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_reference_implementation_verifies_ours(alg: Algorithm) -> None:
    signer, holder = key("a", alg), key("h", "ES256")
    made = credential(signer=signer, holder=holder.public).text
    presentation = bind(
        present(made, ["uscc", "entity_name"]), holder, nonce=NONCE, audience=AUDIENCE, now_s=NOW
    )
    verified = SDJWTVerifier(presentation, lambda issuer, header: jwk(signer), AUDIENCE, NONCE)
    payload = verified.get_verified_payload()
    assert payload["uscc"] == VALUES["uscc"]
    assert payload["entity_name"] == VALUES["entity_name"]
    assert "address" not in payload
    assert payload["exp"] == NOW + 10_000
    with pytest.raises(Exception, match="nonce"):
        SDJWTVerifier(presentation, lambda issuer, header: jwk(signer), AUDIENCE, "another")


def test_reference_wallet_presents_ours() -> None:
    """A third party's wallet holds our credential; its KB-JWT is no canonical JSON."""
    wallet_key = JWK.generate(kty="EC", crv="P-256")
    holder = parse_key(wallet_key)
    wallet = SDJWTHolder(credential(holder=holder).text)
    wallet.create_presentation({"uscc": True, "address": True}, NONCE, AUDIENCE, wallet_key)
    presented = parse(wallet.sd_jwt_presentation)
    assert presented.disclosed == {"uscc": VALUES["uscc"], "address": VALUES["address"]}
    assert presented.key_binding is not None
    now_s = presented.key_binding.payload["iat"]
    assert verify_bearer(presented, nonce=NONCE, audience=AUDIENCE, now_s=now_s + 60) == now_s


def parse_key(made: JWK) -> Any:
    return PublicKey.from_jwk(made.export_public(as_dict=True))


@pytest.mark.parametrize(("alg", "kind"), [("EdDSA", ("OKP", "Ed25519")), ("ES256", ("EC", "P-256"))])
def test_ours_verifies_what_the_reference_issues(alg: str, kind: tuple[str, str]) -> None:
    """Its disclosures, digests and nesting as they are; payload and header in the profile's JSON."""
    issuer_key = JWK.generate(kty=kind[0], crv=kind[1])
    plain = {name: value for name, value in claims().payload([]).items() if not name.startswith("_sd")}
    salted = {
        SDObj("name"): "张三",
        SDObj("address"): {SDObj("street"): "科技园", "city": "深圳"},
        SDObj("tags"): [SDObj("甲"), "乙"],
    }
    theirs = SDJWTIssuer({**plain, **salted}, issuer_key, sign_alg=alg)
    jws = JWS(payload=canonical(theirs.sd_jwt_payload, "payload"))
    protected = {"alg": alg, "kid": issuer_key.thumbprint(), "typ": "dc+sd-jwt"}
    jws.add_signature(issuer_key, protected=canonical(protected, "header").decode())
    disclosures = [disclosure.b64 for disclosure in theirs.ii_disclosures]
    presented = parse("~".join((jws.serialize(compact=True), *disclosures, "")))
    presented.jwt.verify(parse_key(issuer_key))
    assert presented.disclosed == {
        "name": "张三",
        "address": {"street": "科技园", "city": "深圳"},
        "tags": ["甲", "乙"],
    }
    with pytest.raises(SignatureInvalid):
        presented.jwt.verify(ISSUER_KEY.public)
