"""An issuer's history is what the registrar signed, and a key counts between two positions of the log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.licences.errors import LicenceError, Malformed, SignatureInvalid
from ledger.licences.issuers import IssuerHistory, KeySpan, open_history, parse_history
from ledger.licences.jws import sign_jws
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, build_city, uscc

CITY = build_city()
PUBLIC = [CITY.key("history", i).public for i in range(3)]
SPANS = (
    KeySpan(PUBLIC[0], (BUSINESS,), 3, retired=9),
    KeySpan(PUBLIC[1], (BUSINESS, FOOD), 8, compromised=12),
    KeySpan(CITY.key("p", alg="ES256").public, (FOOD,), 11),
)
HISTORY = IssuerHistory(uscc("1"), CITY.origin, 20, NOW, NOW + DAY, SPANS)


def payload(**changes: Any) -> dict[str, Any]:
    return {**parse_history(HISTORY.sign(CITY.registrar)).jws.payload, **changes}


def test_history_round_trips_and_verifies() -> None:
    text = HISTORY.sign(CITY.registrar)
    assert open_history(text, CITY.registrar.public) == HISTORY
    assert text == HISTORY.sign(CITY.registrar)
    assert payload().keys() == {"exp", "iat", "issuer", "keys", "origin", "size"}
    assert payload()["issuer"] == uscc("1")


def test_history_of_another_signer_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        open_history(HISTORY.sign(CITY.service), CITY.registrar.public)


def test_key_is_found_by_its_id() -> None:
    assert HISTORY.key(PUBLIC[1].key_id) is SPANS[1]
    assert HISTORY.key(PUBLIC[2].key_id) is None


@given(st.integers(0, 30), st.integers(1, 29), st.integers(1, 29))
def test_key_counts_after_added_and_before_its_ends(index: int, retired: int, compromised: int) -> None:
    span = KeySpan(PUBLIC[0], (BUSINESS,), 0, retired, compromised)
    expected = None
    if index == 0:
        expected = "KeyNotYetActive"
    elif index >= compromised:
        expected = "KeyCompromised"
    elif index >= retired:
        expected = "KeyRetired"
    assert span.why_inactive(index) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"size": 12},
        {"size": -1},
        {"size": True},
        {"exp": NOW},
        {"iat": None},
        {"origin": "two words"},
        {"issuer": "urn:shuyao:issuer:" + uscc("1")},
        {"issuer": uscc("1")[:-1] + "B"},
        {"keys": None},
        {"keys": [SPANS[1].to_json(), SPANS[0].to_json()]},
        {"keys": [SPANS[0].to_json(), {**SPANS[0].to_json(), "added": 4}]},
        {"keys": [{**SPANS[0].to_json(), "retired": None}]},
        {"keys": [{**SPANS[0].to_json(), "retired": 3}]},
        {"keys": [{**SPANS[0].to_json(), "types": [FOOD, BUSINESS]}]},
        {"keys": [{**SPANS[0].to_json(), "types": [1]}]},
        {"keys": [{**SPANS[0].to_json(), "jwk": {"kty": "OKP"}}]},
        {"keys": [{**SPANS[0].to_json(), "more": 1}]},
        {"keys": ["key"]},
        {"surplus": 1},
    ],
)
def test_history_with_another_member_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LicenceError):
        parse_history(sign_jws("issuer-history+jwt", payload(**change), CITY.registrar))


def test_too_many_keys_are_refused_before_they_are_read() -> None:
    with pytest.raises(Malformed):
        parse_history(sign_jws("issuer-history+jwt", payload(keys=[{}] * 1025), CITY.registrar))


def test_event_of_a_key_is_below_the_size() -> None:
    with pytest.raises(Malformed):
        replace(HISTORY, size=11)
