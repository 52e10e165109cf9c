"""A leaf follows from the signed event alone, has one encoding, and a licence's status moves as it may."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.licences.encoding import DAY_NONE, b64u, day_of
from ledger.licences.errors import LicenceError, Malformed, QuorumSplits, TransitionRefused
from ledger.licences.events import (
    TRANSITIONS,
    AccessBatch,
    Code,
    KeyEvent,
    Kind,
    Leaf,
    LicenceEvent,
    Recognition,
    leaf_of_credential,
    leaf_of_event,
    leaf_of_status_token,
    make_event,
    parse_event,
    registrar_urn,
    require_transition,
    service_urn,
)
from ledger.licences.identifiers import issuer_urn
from ledger.licences.jws import sign_jws
from ledger.licences.leaf import FINAL, NO_CODE, NO_SLOT, ZERO
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, TestCity, build_city, seed_of, uscc

CODES = st.sampled_from(list(Code))


@pytest.fixture(scope="module")
def city() -> TestCity:
    city = build_city()
    city.issue()
    city.publish()
    return city


def licence_event(city: TestCity, **changes: Any) -> LicenceEvent:
    members: dict[str, Any] = {
        "kind": Kind.REVOKE,
        "event_id": b"e" * 16,
        "issued_at": NOW,
        "issuer": uscc("11330200MB15"),
        "licence": seed_of("leaf"),
        "origin": city.origin,
        "list": 3,
        "index": 77,
        "code": Code.CANCELLED,
        "reason": "企业申请注销",
    }
    return LicenceEvent(**{**members, **changes})


def test_licence_leaf_is_written_as_specified_byte_by_byte() -> None:
    leaf = Leaf(
        kind=Kind.SUPERSEDE,
        event_id=bytes(range(16)),
        key_id=b"\x11" * 32,
        evidence=b"\x22" * 32,
        list=1,
        index=0xABCDE,
        code=0,
        event_day=20833,
        last_day=21198,
        previous=b"\x33" * 32,
        type_code=BUSINESS,
    )
    expected = (
        "0102" + bytes(range(16)).hex() + "11" * 32 + "22" * 32 + "00000001" + "000abcde" + "00"
        "00005161" + "000052ce" + "33" * 32 + "15" + BUSINESS.encode().hex() + "0000"
    )
    assert leaf.encode().hex() == expected
    assert len(leaf.encode()) == 155
    assert Leaf.decode(leaf.encode()) == leaf
    assert leaf.hash == sha256(b"\0" + leaf.encode()).digest()


def test_credential_leaf_follows_from_the_jwt_alone(city: TestCity) -> None:
    licence = city.issue(expires_at=NOW + 10)
    leaf = leaf_of_credential(licence.text)
    assert leaf.evidence == sha256(licence.credential.jwt.encode()).digest()
    assert leaf == leaf_of_credential(licence.credential.jwt + "~")
    shown = city.present(licence, ["entity_name"], nonce="n", audience="a")
    assert leaf == leaf_of_credential(shown)
    assert (leaf.kind, leaf.code, leaf.previous) == (Kind.ISSUE, Code.VALID, ZERO)
    assert (leaf.event_day, leaf.last_day) == (day_of(NOW), day_of(NOW + 9))
    assert leaf.key_id == city.issuer().key.public.key_id
    assert len(leaf.encode()) == 155
    endless = leaf_of_credential(city.issue(expires_at=None).text)
    assert endless.last_day == DAY_NONE


def test_prev_supersedes_and_with_evt_takes_over(city: TestCity) -> None:
    old = city.issue()
    renewed = leaf_of_credential(city.issue(previous=old.leaf_hash).text)
    taken = leaf_of_credential(city.issue(previous=old.leaf_hash, transfer_in=True).text)
    assert (renewed.kind, renewed.previous) == (Kind.SUPERSEDE, old.leaf_hash)
    assert (taken.kind, taken.previous) == (Kind.TRANSFER_IN, old.leaf_hash)


def test_licence_event_leaf_names_the_issue_and_the_slot_but_no_type(city: TestCity) -> None:
    event = licence_event(city)
    text = make_event(event, city.issuer().key)
    leaf = leaf_of_event(text)
    assert parse_event(text).event == event
    assert (leaf.list, leaf.index, leaf.code, leaf.previous) == (3, 77, 0xB, event.licence)
    assert (leaf.type_code, leaf.extra, leaf.last_day) == ("", b"", DAY_NONE)
    assert len(leaf.encode()) == 134


def test_key_events_have_their_subject_in_the_leaf(city: TestCity) -> None:
    public = city.key("new").public
    add = KeyEvent(
        kind=Kind.KEY_ADD,
        event_id=b"k" * 16,
        issued_at=NOW,
        origin=city.origin,
        issuer=uscc("1"),
        public=public,
        types=(BUSINESS, FOOD),
    )
    text = make_event(add, city.registrar)
    assert parse_event(text).event == add
    leaf = leaf_of_event(text)
    jwk = '{"crv":"Ed25519","kty":"OKP","x":"' + b64u(public.raw) + '"}'
    assert leaf.extra.decode() == (
        '{"issuer":"' + uscc("1") + '","jwk":' + jwk + ',"types":["' + BUSINESS + '","' + FOOD + '"]}'
    )
    for kind in (Kind.KEY_RETIRE, Kind.KEY_COMPROMISE):
        end = replace(add, kind=kind, public=None, types=(), key=public.key_id)
        leaf = leaf_of_event(make_event(end, city.registrar))
        assert parse_event(make_event(end, city.registrar)).event == end
        assert leaf.extra.decode() == '{"issuer":"' + uscc("1") + '","key":"' + public.key_id.hex() + '"}'
        assert (leaf.list, leaf.index, leaf.code) == (NO_SLOT, NO_SLOT, NO_CODE)


def test_recognition_and_access_batch_round_trip(city: TestCity) -> None:
    other = build_city("beigang")
    recognition = Recognition(
        event_id=b"r" * 16,
        issued_at=NOW,
        expires_at=NOW + 30 * DAY,
        origin=city.origin,
        city=other.trust(types=(BUSINESS,), name="", anchor=None),
        size=5,
        root=seed_of("root"),
    )
    text = make_event(recognition, city.registrar)
    assert parse_event(text).event == recognition
    assert leaf_of_event(text).last_day == day_of(NOW + 30 * DAY - 1)
    batch = AccessBatch(
        event_id=b"a" * 16, issued_at=NOW, origin=city.origin, root=seed_of("records"), count=9
    )
    text = make_event(batch, city.service)
    assert parse_event(text).event == batch
    assert leaf_of_event(text).extra == seed_of("records") + b"\0\0\0\x09"


def test_status_token_leaf_has_list_and_digest(city: TestCity) -> None:
    leaf = leaf_of_status_token(city.token(0))
    assert (leaf.kind, leaf.list, leaf.index, leaf.code) == (Kind.STATUS_LIST, 0, NO_SLOT, NO_CODE)
    assert leaf.extra == city.bits[0].digest


def test_recognition_of_a_log_whose_quorum_could_split_is_refused(city: TestCity) -> None:
    with pytest.raises(QuorumSplits):
        build_city("beigang", witnesses=3, threshold=2).trust()
    text = make_event(
        Recognition(
            event_id=b"r" * 16,
            issued_at=NOW,
            expires_at=NOW + 1,
            origin=city.origin,
            city=build_city("beigang").trust(types=(BUSINESS,), name="", anchor=None),
            size=5,
            root=seed_of("root"),
        ),
        city.registrar,
    )
    payload = parse_event(text).jws.payload
    payload["city"]["threshold"] = 2
    with pytest.raises(QuorumSplits):
        parse_event(sign_jws("licence-event+jwt", payload, city.registrar))


@pytest.mark.parametrize(
    "change",
    [
        {"evt": "issue"},
        {"evt": "status_list"},
        {"evt": ["revoke"]},
        {"lic": "00" * 32},
        {"lic": "AB" * 32},
        {"code": 2},
        {"code": True},
        {"code": 3},
        {"reason": "x" * 65},
        {"reason": "line\nbreak"},
        {"iat": -1},
        {"iat": 1.5},
        {"jti": "short"},
        {"iss": "urn:shuyao:issuer:ＡBC"},
        {"iss": None},
        {"status": {"status_list": {"idx": 1 << 20, "uri": "urn:shuyao:status:a:1"}}},
        {"status": {"status_list": {"idx": 1, "uri": "urn:shuyao:status:a:01"}}},
        {"status": {"idx": 1}},
        {"surplus": 1},
    ],
)
def test_event_with_another_member_is_refused(city: TestCity, change: dict[str, Any]) -> None:
    payload = {**licence_event(city).payload(), **change}
    with pytest.raises(LicenceError):
        parse_event(sign_jws("licence-event+jwt", payload, city.issuer().key))


def test_event_of_another_signers_name_is_refused(city: TestCity) -> None:
    batch = AccessBatch(event_id=b"a" * 16, issued_at=NOW, origin=city.origin, root=seed_of("r"), count=1)
    assert batch.payload()["iss"] == service_urn(city.origin)
    for iss in (registrar_urn(city.origin), issuer_urn(uscc("1"))):
        with pytest.raises(Malformed):
            parse_event(sign_jws("licence-event+jwt", {**batch.payload(), "iss": iss}, city.service))


def test_leaf_refuses_what_its_kind_does_not_have() -> None:
    common: dict[str, Any] = {
        "event_id": bytes(16),
        "key_id": bytes(32),
        "evidence": bytes(32),
        "event_day": 0,
    }
    issue: dict[str, Any] = {
        **common,
        "kind": Kind.ISSUE,
        "list": 0,
        "index": 0,
        "code": 0,
        "type_code": BUSINESS,
    }
    Leaf(**issue)
    for change in (
        {"code": 2},
        {"list": NO_SLOT},
        {"index": 1 << 20},
        {"type_code": ""},
        {"type_code": BUSINESS.replace("1", "１", 1)},
        {"previous": b"\1" * 32},
        {"extra": b"x"},
        {"event_id": bytes(15)},
        {"event_day": 1 << 31},
        {"kind": Kind.SUPERSEDE},
    ):
        with pytest.raises(Malformed):
            Leaf(**{**issue, **change})
    with pytest.raises(Malformed):
        Leaf(**common, kind=Kind.KEY_ADD)
    with pytest.raises(Malformed):
        Leaf(**common, kind=Kind.ACCESS_BATCH, extra=bytes(35))


@given(st.binary(max_size=200))
def test_no_bytes_decode_to_a_leaf_that_encodes_otherwise(data: bytes) -> None:
    try:
        leaf = Leaf.decode(data)
    except Malformed:
        return
    assert leaf.encode() == data


@given(st.data())
def test_a_changed_byte_of_a_leaf_is_another_leaf_or_none(data: st.DataObject) -> None:
    leaf = Leaf(
        kind=Kind.ISSUE,
        event_id=bytes(16),
        key_id=bytes(32),
        evidence=bytes(32),
        list=0,
        index=9,
        code=0,
        event_day=1,
        type_code=BUSINESS,
    )
    entry = bytearray(leaf.encode())
    at = data.draw(st.integers(0, len(entry) - 1))
    entry[at] ^= data.draw(st.integers(1, 255))
    with suppress(Malformed):
        assert Leaf.decode(bytes(entry)) != leaf


@given(CODES, st.sampled_from(list(Kind)), st.integers(0, 16))
def test_transitions_are_those_of_the_table_and_no_others(old: Code, kind: Kind, code: int) -> None:
    revokes = {1, 0xB, 0xC, 0xE, 0xF}
    allowed = {
        Kind.ISSUE: old == 3 and code == 0,
        Kind.SUPERSEDE: old == 3 and code == 0,
        Kind.TRANSFER_IN: old == 3 and code == 0,
        Kind.SUSPEND: old == 0 and code == 2,
        Kind.RESUME: old == 2 and code == 0,
        Kind.REVOKE: old in (0, 2) and code in revokes,
        Kind.TRANSFER_OUT: old == 0 and code == 0xD,
    }.get(kind, False)
    if allowed:
        require_transition(old, kind, code)
    else:
        with pytest.raises(TransitionRefused):
            require_transition(old, kind, code)


def test_final_codes_have_no_way_out() -> None:
    assert not any(before & FINAL for before, _ in TRANSITIONS.values())
