"""Attacks on the form of a credential, by a holder or a malicious issuer: each is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.licences.encoding import b64u
from ledger.licences.errors import (
    HiddenMandatoryField,
    IdentifierInvalid,
    KeyUnsupported,
    LicenceError,
    Malformed,
)
from ledger.licences.sdjwt import parse
from tests.ledger.licences.credentials import (
    ISSUER,
    claims,
    credential,
    digest,
    disclosure,
    forged,
    key,
    salt,
)

SHOWN = (
    "iss",
    "vct",
    "lid",
    "ver",
    "jti",
    "iat",
    "nbf",
    "exp",
    "status",
    "cnf",
    "prev",
    "evt",
    "_sd",
    "_sd_alg",
    "...",
)


def listing(*disclosures: str) -> list[str]:
    return [digest(text) for text in disclosures]


@pytest.mark.parametrize("name", SHOWN)
def test_disclosure_that_names_a_mandatory_member_is_refused(name: str) -> None:
    hidden = disclosure(salt(1), name, 4_000_000_000)
    without = [name] if name == "exp" else []
    with pytest.raises(HiddenMandatoryField) as caught:
        parse(forged(listing(hidden), [hidden], without=without))
    assert caught.value.name == name


@pytest.mark.parametrize("name", SHOWN)
def test_disclosure_that_names_a_mandatory_member_inside_a_value_is_refused(name: str) -> None:
    inner = disclosure(salt(1), name, 1)
    outer = disclosure(salt(2), "address", {"_sd": listing(inner), "city": "深圳"})
    with pytest.raises(HiddenMandatoryField):
        parse(forged(listing(outer), [outer, inner]))


@pytest.mark.parametrize("name", SHOWN)
def test_disclosure_that_names_a_mandatory_member_inside_an_array_is_refused(name: str) -> None:
    innermost = disclosure(salt(1), name, 1)
    element = disclosure(salt(2), {"_sd": listing(innermost)})
    outer = disclosure(salt(3), "tags", [{"...": digest(element)}])
    with pytest.raises(HiddenMandatoryField):
        parse(forged(listing(outer), [outer, element, innermost]))


@pytest.mark.parametrize(
    "name", ["iss", "vct", "lid", "ver", "jti", "iat", "nbf", "status", "cnf", "_sd", "_sd_alg"]
)
def test_missing_mandatory_member_is_refused(name: str) -> None:
    with pytest.raises(HiddenMandatoryField) as caught:
        parse(forged([], without=[name]))
    assert caught.value.name == name


@pytest.mark.parametrize("place", ["status", "cnf"])
def test_digests_inside_mandatory_members_are_refused(place: str) -> None:
    hidden = disclosure(salt(1), "x", 1)
    member = {**claims().payload([])[place], "_sd": listing(hidden)}
    with pytest.raises(Malformed):
        parse(forged([], [hidden], **{place: member}))


@pytest.mark.parametrize("name", ["_sd_alg", "..."])
def test_special_member_inside_a_value_is_refused(name: str) -> None:
    hidden = disclosure(salt(1), "address", {name: "sha-256"})
    with pytest.raises(HiddenMandatoryField):
        parse(forged(listing(hidden), [hidden]))


@pytest.mark.parametrize(
    "name", ["ｅｘｐ", "ехр", "exp\u200b", "Exp", "EXP", "ex p", "é", "", "名称", "a" * 41, "1a"]
)
def test_name_that_may_look_like_another_is_refused(name: str) -> None:
    hidden = disclosure(salt(1), name, 1)
    with pytest.raises(Malformed):
        parse(forged(listing(hidden), [hidden]))


def test_repeated_disclosure_is_refused() -> None:
    made = credential()
    with pytest.raises(Malformed, match="repeated disclosure"):
        parse(made.text + made.disclosures[0] + "~")


def test_unreferenced_disclosure_is_refused() -> None:
    with pytest.raises(Malformed, match="unreferenced"):
        parse(credential().text + disclosure(salt(9), "address", "别处") + "~")
    with pytest.raises(Malformed, match="unreferenced"):
        parse(credential().text + credential(seed=b"\1" * 32).disclosures[0] + "~")


def test_inner_disclosure_without_its_outer_one_is_refused() -> None:
    inner = disclosure(salt(1), "street", "科技园")
    outer = disclosure(salt(2), "address", {"_sd": listing(inner)})
    assert parse(forged(listing(outer), [outer, inner])).disclosed == {"address": {"street": "科技园"}}
    assert parse(forged(listing(outer), [outer])).disclosed == {"address": {}}
    with pytest.raises(Malformed, match="unreferenced"):
        parse(forged(listing(outer), [inner]))


def test_repeated_digest_is_refused_at_any_depth() -> None:
    one = disclosure(salt(1), "street", "x")
    with pytest.raises(Malformed):
        parse(forged([digest(one), digest(one)], [one]))
    outer = disclosure(salt(2), "address", {"_sd": listing(one)})
    with pytest.raises(Malformed, match="repeated digest"):
        parse(forged(listing(one, outer), [one, outer]))
    twice = disclosure(salt(3), "tags", [{"...": digest(one)}, {"...": digest(one)}])
    with pytest.raises(Malformed):
        parse(forged(listing(twice), [twice]))


def test_same_field_twice_is_refused() -> None:
    first, second = disclosure(salt(1), "address", "甲"), disclosure(salt(2), "address", "乙")
    with pytest.raises(Malformed):
        parse(forged(listing(first, second), [first, second]))
    inner = disclosure(salt(3), "city", "广州")
    outer = disclosure(salt(4), "address", {"city": "深圳", "_sd": listing(inner)})
    with pytest.raises(Malformed):
        parse(forged(listing(outer), [outer, inner]))


def test_digests_out_of_order_are_refused() -> None:
    ordered = sorted(listing(disclosure(salt(1), "a", 1), disclosure(salt(2), "b", 2)))
    parse(forged([], _sd=ordered))
    with pytest.raises(Malformed):
        parse(forged([], _sd=ordered[::-1]))


@pytest.mark.parametrize(
    "digests",
    [
        None,
        {},
        "x",
        [1],
        [None],
        ["x"],
        [b64u(bytes(31))],
        [b64u(bytes(32)) + "="],
        [b64u(bytes(32))[:-1] + "B"],
    ],
)
def test_anything_else_is_no_list_of_digests(digests: Any) -> None:
    with pytest.raises(Malformed):
        parse(forged([], _sd=digests))


@pytest.mark.parametrize(
    "array",
    [(), ("x",), (salt(1), "a"), (salt(1), "address", 1, 2), (1, "address", 1), ("", "address", 1), ("short", "address", 1),
     (salt(1) + "=", "address", 1), (salt(1), 1, 1), (salt(1), None, 1), (salt(1), ["address"], 1)],
)  # fmt: skip
def test_disclosure_of_another_form_is_refused(array: tuple[Any, ...]) -> None:
    hidden = disclosure(*array)
    with pytest.raises(Malformed):
        parse(forged(listing(hidden), [hidden]))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b'["' + salt(1).encode() + b'","address",{"a":1,"a":2}]', b'["' + salt(1).encode() + b'","address","\\ud800"]',
     b"\xff", b'["' + salt(1).encode() + b'","address",' + b"[" * 20 + b"]" * 20 + b"]", b"[" * 10_000],
    ids=range(8),
)  # fmt: skip
def test_disclosure_that_two_parsers_may_read_differently_is_refused(data: bytes) -> None:
    hidden = b64u(data)
    with pytest.raises(Malformed):
        parse(forged(listing(hidden), [hidden]))


def test_array_element_where_a_member_belongs_and_the_reverse_are_refused() -> None:
    element, member = disclosure(salt(1), "甲"), disclosure(salt(2), "street", "乙")
    with pytest.raises(Malformed):
        parse(forged(listing(element), [element]))
    outer = disclosure(salt(3), "tags", [{"...": digest(member)}])
    with pytest.raises(Malformed):
        parse(forged(listing(outer), [outer, member]))
    crowded = disclosure(salt(4), "tags", [{"...": digest(element), "x": 1}])
    with pytest.raises(Malformed):
        parse(forged(listing(crowded), [crowded, element]))


def test_chain_of_nested_disclosures_ends_in_a_named_error() -> None:
    made = [disclosure(salt(0), "street", "x")]
    for number in range(1, 100):
        made.append(disclosure(salt(number), "street", [[[{"_sd": [digest(made[-1])]}]]]))
    with pytest.raises(Malformed, match="levels"):
        parse(forged([digest(made[-1])], made))


@pytest.mark.parametrize(
    "members",
    [{"_sd_alg": "sha-512"}, {"_sd_alg": None}, {"sub": "x"}, {"iat": 1.5}, {"iat": "1"}, {"exp": None}, {"exp": 0}, {"nbf": True},
     {"prev": None}, {"prev": "AB" * 32}, {"prev": "0x" + "ab" * 31}, {"prev": "ab" * 31}, {"prev": "00" * 32}, {"evt": "transfer_in"},
     {"evt": "issue", "prev": "ab" * 32}, {"evt": None, "prev": "ab" * 32}, {"jti": "x"}, {"jti": b64u(bytes(17))}, {"jti": 1},
     {"status": None}, {"status": {}}, {"status": {"status_list": {"idx": 1}}},
     {"status": {"status_list": {"idx": True, "uri": "urn:shuyao:status:a:1"}}},
     {"status": {"status_list": {"idx": 1, "uri": "https://a/1"}}}, {"cnf": None}, {"cnf": {}}, {"cnf": {"jwk": {}, "kid": "a"}},
     {"ver": 0}, {"ver": "1"}, {"ver": 65_536}, {"iss": "urn:shuyao:licence:" + ISSUER}, {"vct": None}, {"iss": ISSUER}],
)  # fmt: skip
def test_mandatory_member_of_another_form_is_refused_though_signed(members: dict[str, Any]) -> None:
    with pytest.raises((Malformed, KeyUnsupported)):
        parse(forged([], **members))


@pytest.mark.parametrize(
    "members",
    [{"lid": None}, {"lid": "x"}, {"lid": claims().identifier.text + "A"}, {"lid": claims().identifier.text.replace("440300", "4403００")},
     {"lid": "1.2.156.3005.2.11100000000013338W032.11220000013544541J.2430599.001.F"}, {"iss": "urn:shuyao:issuer:91440300708461136Т"},
     {"iss": "urn:shuyao:issuer:91440300MA5FG7JT43"}, {"vct": "urn:shuyao:licence:11100000MB0143028R038"}],
)  # fmt: skip
def test_name_that_is_none_or_another_is_refused_though_signed(members: dict[str, Any]) -> None:
    with pytest.raises(IdentifierInvalid):
        parse(forged([], **members))


def test_private_or_unknown_holder_key_is_refused() -> None:
    for changed in ({"d": b64u(bytes(32))}, {"crv": "X25519"}, {"x": b64u(bytes(32))}):
        with pytest.raises((Malformed, KeyUnsupported)):
            parse(forged([], cnf={"jwk": {**key("h").public.jwk(), **changed}}))


@pytest.mark.parametrize(
    "text",
    [None, b"x", "", "~", "~~", "a~", credential().jwt, credential().text[:-1], credential().text + "~", "~" + credential().text,
     credential().text.replace("~", "～"), credential().text + "x", credential().text.replace("~", "\n~"), "é" + credential().text,
     credential().jwt + "~" * 200, "x" * 200_000],
    ids=range(16),
)  # fmt: skip
def test_anything_else_is_no_credential(text: object) -> None:
    with pytest.raises(LicenceError):
        parse(text)
