"""Attacks on the recognition of another city's log: it widens nothing but what the registrar logged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ledger.licences.bundle import Inclusion, RecognitionPart
from ledger.licences.events import KeyEvent, Kind, leaf_of_event, make_event
from ledger.licences.jws import parse_jws, sign_jws
from ledger.licences.policy import TrustPolicy
from ledger.licences.verify import Missing, Reason, State, Verdict, verify
from tests.ledger.licences.cases import lacking, refused
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, build_city, seed_of, uscc


class Two:
    """A home city that the verifier knows, and a neighbour that the home city recognises."""

    def __init__(self, types: tuple[str, ...] = (BUSINESS,)) -> None:
        self.home, self.away = build_city(), build_city("beigang")
        self.licence = self.away.issue()
        self.away.publish()
        self.part = self.home.recognise(self.away, types)

    def verify(self, *, now_s: int = NOW, policy: TrustPolicy | None = None, **changes: Any) -> Verdict:
        bundle = self.away.bundle(self.licence, **{"recognition": self.part, **changes})
        return verify(bundle.to_bytes(), policy or self.home.policy(), now_s=now_s)


def test_recognised_city_counts_for_the_types_and_the_time_of_its_recognition() -> None:
    two = Two()
    verdict = two.verify()
    assert verdict.state is State.VALID and verdict.facts["recognition"] == NOW
    assert Missing.CITY in two.verify(recognition=None).missing
    lacking(Two((FOOD,)).verify(), Missing.CITY)
    narrow = TrustPolicy((two.home.trust(types=(FOOD,)),))
    lacking(two.verify(policy=narrow), Missing.CITY)
    assert Missing.CITY in two.verify(now_s=NOW + 30 * DAY).missing


def test_recognition_by_a_stranger_widens_nothing() -> None:
    two = Two()
    stranger = build_city("nangang").policy()
    assert Missing.CITY in two.verify(policy=stranger).missing


def test_forged_unlogged_and_under_quorum_recognitions() -> None:
    two = Two()
    payload = parse_jws(two.part.event, "licence-event+jwt").payload
    forged = sign_jws("licence-event+jwt", payload, two.away.registrar)
    refused(two.verify(recognition=replace(two.part, event=forged)), Reason.RECOGNITION_FORGED)
    elsewhere = Inclusion(two.part.inclusion.index, (bytes(32),))
    refused(two.verify(recognition=replace(two.part, inclusion=elsewhere)), Reason.RECOGNITION_FORGED)
    thin = two.home.checkpoint(by=(0, 1))
    lacking(two.verify(recognition=replace(two.part, checkpoint=thin)), Missing.CITY)
    away = two.away.published
    assert away is not None
    refused(two.verify(recognition=replace(two.part, checkpoint=away.checkpoint)), Reason.WRONG_LOG)
    refused(two.verify(recognition=replace(two.part, event="no event")), Reason.MALFORMED)


def test_recognition_that_another_key_signed_is_refused_though_it_is_logged() -> None:
    two = Two()
    payload = parse_jws(two.part.event, "licence-event+jwt").payload
    text = sign_jws("licence-event+jwt", payload, two.home.service)
    index = two.home.append(leaf_of_event(text))
    logged = RecognitionPart(text, two.home.checkpoint(), two.home.inclusion(index))
    refused(two.verify(recognition=logged), Reason.RECOGNITION_FORGED)
    key_event = make_event(
        KeyEvent(
            kind=Kind.KEY_RETIRE,
            event_id=b"k" * 16,
            issued_at=NOW,
            origin=two.home.origin,
            issuer=uscc("1"),
            key=bytes(32),
        ),
        two.home.registrar,
    )
    refused(two.verify(recognition=replace(two.part, event=key_event)), Reason.RECOGNITION_FORGED)


def test_recognition_of_another_city_widens_nothing() -> None:
    two, third = Two(), build_city("nangang")
    third.issue()
    third.publish()
    other = two.home.recognise(third)
    assert Missing.CITY in two.verify(recognition=other).missing


def test_recognition_that_was_cosigned_later_shows_a_wrong_clock() -> None:
    two = Two()
    later = replace(two.part, checkpoint=two.home.checkpoint(now_s=NOW + 61))
    lacking(two.verify(recognition=later), Missing.CLOCK)
    early = replace(two.part, checkpoint=two.home.checkpoint(now_s=NOW + 60))
    assert two.verify(recognition=early).state is State.VALID


def test_recognised_log_with_two_histories_is_refused() -> None:
    two = Two()
    fork = [*two.away.hashes[:-1], seed_of("fork")]
    refused(two.verify(checkpoint=two.away.checkpoint(hashes=fork)), Reason.WRONG_LOG)
