"""A policy has one meaning, and none with which one lying witness could show two histories."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import Address
from ledger.licences.errors import LicenceError, Malformed, QuorumSplits
from ledger.licences.policy import AnchorPin, City, TrustPolicy
from ledger.log.checkpoint import Quorum
from tests.ledger.licences.world import BUSINESS, FOOD, build_city

CITY, OTHER = build_city(), build_city("beigang")
POLICY = TrustPolicy(
    (
        CITY.trust(types=(BUSINESS, FOOD), name="海港市"),
        OTHER.trust(anchor=AnchorPin(1, Address(b"\1" * 20), frozenset({Address(b"\2" * 20)}))),
    ),
    anchor="attested",
)


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(POLICY.to_json())), **changes}


def city(**changes: Any) -> list[Any]:
    return [{**document()["cities"][0], **changes}]


def test_policy_round_trips_in_any_json_form() -> None:
    assert TrustPolicy.from_json(document()) == POLICY
    assert TrustPolicy.parse(json.dumps(document(), indent=2, ensure_ascii=False).encode()) == POLICY


def test_defaults_are_those_of_the_specification() -> None:
    policy = TrustPolicy((CITY.trust(),))
    ages = (policy.skew_s, policy.status_age_s, policy.issuer_age_s, policy.kb_age_s)
    assert ages == (60, 86_400, 604_800, 60)
    assert policy.anchor == "none"


def test_city_is_found_by_its_origin_only() -> None:
    found = POLICY.city(OTHER.origin)
    assert found is not None and found.recognises("anything")
    assert POLICY.city(OTHER.origin.upper()) is None
    mine = POLICY.city(CITY.origin)
    assert mine is not None and mine.recognises(FOOD) and not mine.recognises(BUSINESS[:-1] + "9")


@given(st.integers(1, 12), st.integers(1, 12))
def test_threshold_leaves_an_honest_witness_in_two_quorums(witnesses: int, threshold: int) -> None:
    keys = tuple(w.key for w in build_city(witnesses=witnesses).witnesses)
    if threshold > witnesses:
        return
    shared = 2 * threshold - witnesses  # witnesses that two quorums must have in common
    quorum = Quorum(keys, threshold)
    if shared >= 2:
        CITY.trust(quorum=quorum)
    else:
        with pytest.raises(QuorumSplits):
            CITY.trust(quorum=quorum)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"cities": []},
        {"cities": "all"},
        {"cities": city() * 2},
        {"skew_s": -1},
        {"skew_s": 1.5},
        {"kb_age_s": True},
        {"status_age_s": "86400"},
        {"anchor": "sealed"},
        {"anchor": None},
        {"anchor": ["none"]},
        {"surplus": 1},
        {"cities": city(origin="two words")},
        {"cities": city(origin=1)},
        {"cities": city(name=1)},
        {"cities": city(name="x" * 101)},
        {"cities": city(name="line\nbreak")},
        {"cities": city(log_key="key")},
        {"cities": city(log_key="\ud800+00000000+AQ==")},
        {"cities": city(log_key=1)},
        {"cities": city(log_key=CITY.witnesses[0].key.to_text())},
        {"cities": city(witnesses=[CITY.witnesses[0].key.to_text()] * 4)},
        {"cities": city(witnesses=[CITY.log_signer.key.to_text()] * 4)},
        {"cities": city(witnesses="four")},
        {"cities": city(witnesses=[])},
        {"cities": city(witnesses=["w"] * 33)},
        {"cities": city(threshold=2)},
        {"cities": city(threshold=5)},
        {"cities": city(threshold=True)},
        {"cities": city(registrar={"kty": "oct"})},
        {"cities": city(service=None)},
        {"cities": city(types=[FOOD, BUSINESS])},
        {"cities": city(types=["business"])},
        {"cities": city(anchor={"chain_id": 0, "contract": "0x" + "11" * 20, "validators": []})},
        {"cities": city(anchor={"chain_id": 1, "contract": "0x" + "AA" * 20, "validators": []})},
        {"cities": city(anchor={"chain_id": 1, "contract": "0x" + "11" * 20, "validators": [1]})},
        {"cities": city(anchor={"chain_id": 1, "contract": "0x" + "11" * 20})},
        {"cities": city(surplus=1)},
    ],
)
def test_policy_with_another_member_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LicenceError):
        TrustPolicy.parse(json.dumps(document(**change)).encode())


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(LicenceError):
        TrustPolicy.parse(data)


def test_a_witness_with_the_logs_own_key_is_refused() -> None:
    trust = CITY.trust()
    key = replace(trust.quorum.keys[0], public_key=trust.log_key.public_key)
    with pytest.raises(Malformed):
        City(
            trust.origin,
            trust.log_key,
            Quorum((key, *trust.quorum.keys[1:]), 3),
            trust.registrar,
            trust.service,
        )
