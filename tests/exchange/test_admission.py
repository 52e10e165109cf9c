"""Admission by business licence: who is let in, who no longer, and what is never taken for a revocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.admission import NO_BEARER, OTHER_CITY, OTHER_TYPE
from exchange.errors import (
    ExchangeError,
    LicenceRefused,
    LicenceRequired,
    LicenceTaken,
    LicenceUnconfirmed,
    NonceInvalid,
    NotAdmitted,
)
from exchange.standing import NewestFacts
from ledger.encoding import keccak
from ledger.licences.events import Kind, Recognition, make_event
from ledger.licences.schema import demonstration_types
from ledger.log.checkpoint import Checkpoint
from ledger.log.notes import SignedNote
from ledger.log.tiles import root_at
from ledger.types import ParticipantAdmitted, Roles
from tests.exchange.licence_world import MAX_AGE_S, FolderCity, Licensed, books_of, refused
from tests.exchange.world import NOW, signer_of
from tests.ledger.licences.world import BUSINESS, FOOD, build_city

# --- presenting ----------------------------------------------------------------------------------------------


def test_without_a_licence_nothing_is_opened(licensed: Licensed) -> None:
    with pytest.raises(LicenceRequired, match=BUSINESS):
        licensed.ask(licensed.world.buyer(), 1)
    assert licensed.market.store.stage_counts() == {}


def test_a_licence_opens_requests_until_it_is_revoked_and_running_ones_go_on(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    running = licensed.ask(buyer, 1)
    licensed.books.submit(licensed.books.change(licence, Kind.REVOKE))
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 2), "Revoked")
    assert licensed.world.take(running).request_id == running.id
    assert licensed.market.store.stage_counts() == {"submitted": 1}
    licensed.service.is_away = True  # what is final needs no newer fact
    refused(lambda: licensed.ask(buyer, 2), "Revoked")


def test_a_presentation_alone_is_enough_where_the_city_can_be_asked(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    seen: list[str] = []

    def bundle(text: str, _is_anchored: bool) -> bytes:
        seen.append(text)
        return licensed.books.maker().bundle_of(text).to_bytes()

    licensed.service.lies["bundle"] = bundle
    licensed.present(buyer, licensed.presentation(licence, buyer.address))
    assert licensed.ask(buyer, 1)
    assert [text.split("~")[1:] for text in seen] == [
        [""]
    ]  # neither a field nor the bearer's proof left the exchange


def test_a_presentation_alone_is_not_enough_where_there_is_no_city_to_ask(offline: Licensed) -> None:
    buyer, licence = offline.world.buyer(), offline.books.issue()
    offline.publish()
    with pytest.raises(LicenceUnconfirmed):
        offline.present(buyer, offline.presentation(licence, buyer.address))


def test_a_suspended_licence_opens_nothing_until_it_is_resumed(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.books.submit(licensed.books.change(licence, Kind.SUSPEND))
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 1), "Suspended")
    refused(lambda: licensed.admit(buyer, licence), "Suspended")
    licensed.books.submit(licensed.books.change(licence, Kind.RESUME))
    licensed.publish()
    assert licensed.ask(buyer, 1)


def test_a_licence_that_was_replaced_admits_no_more_and_its_successor_does(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    successor = licensed.books.issue(previous=licence.leaf_hash)
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 1), "Revoked")
    licensed.admit(buyer, successor)
    assert licensed.ask(buyer, 1)


def test_a_licence_that_ended_opens_nothing(licensed: Licensed) -> None:
    buyer = licensed.world.buyer()
    licence = licensed.books.issue(expires_at=licensed.books.now_s + 100)
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.ask(buyer, 1)
    licensed.publish(after_s=90)
    refused(lambda: licensed.ask(buyer, 2), "Expired")
    licensed.service.is_away = True  # the end is a claim of the licence: no newer fact is needed
    refused(lambda: licensed.ask(buyer, 2), "Expired")
    refused(lambda: licensed.admit(buyer, licence), "Expired")


def test_a_licence_of_a_city_that_nobody_recognised_is_refused(licensed: Licensed, tmp_path: Path) -> None:
    other = books_of(tmp_path, "beicheng")
    buyer, licence = licensed.world.buyer(), other.issue()
    other.now_s += 10
    other.publish()
    licensed.books.now_s = other.now_s
    shown = licensed.bundle(licensed.presentation(licence, buyer.address), other)
    refused(lambda: licensed.present(buyer, shown), OTHER_CITY)


def test_a_licence_of_a_recognised_city_admits_as_long_as_its_bundle_is_fresh(
    licensed: Licensed, tmp_path: Path
) -> None:
    other, books = books_of(tmp_path, "beicheng"), licensed.books
    buyer, licence = licensed.world.buyer(), other.issue()
    other.now_s += 10
    head = other.publish()
    event = Recognition(
        event_id=books.rand(16),
        issued_at=books.now_s,
        expires_at=books.now_s + 1000,
        origin=books.city.origin,
        city=other.city.trust(types=(BUSINESS,), name="", anchor=None),
        size=head.size,
        root=root_at(other.book.log.reader, head.size),
    )
    books.submit(make_event(event, books.city.registrar))
    licensed.publish()
    part = books.maker().recognition_of(other.city.origin)
    shown = licensed.presentation(licence, buyer.address)
    licensed.present(buyer, licensed.bundle(shown, other, recognition=part))
    assert licensed.ask(buyer, 1)
    local, own = licensed.world.buyer("local"), books.issue()
    licensed.publish()
    licensed.admit(local, own)
    licensed.service.asked = []
    licensed.ask(buyer, 2)
    licensed.ask(local, 1)
    assert (
        licensed.service.asked.count("checkpoint") == 1
    )  # of a log that it does not have the service is not asked
    licensed.publish(after_s=1000)
    with pytest.raises(LicenceUnconfirmed):
        licensed.ask(buyer, 3)
    assert licensed.ask(local, 2)


def test_a_licence_of_another_type_is_refused(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue(kind=demonstration_types()[FOOD])
    licensed.publish()
    refused(lambda: licensed.admit(buyer, licence), OTHER_TYPE)


def test_the_proof_of_another_holders_key_is_refused(licensed: Licensed) -> None:
    buyer, licence, own = licensed.world.buyer(), licensed.books.issue(), licensed.books.issue()
    licensed.publish()
    forged = licensed.presentation(licence, buyer.address, key=own.holder)
    refused(lambda: licensed.present(buyer, licensed.bundle(forged)), "BearerForged")


def test_a_captured_presentation_admits_no_other_account(licensed: Licensed) -> None:
    buyer, thief = licensed.world.buyer(), licensed.world.buyer("thief")
    licence = licensed.books.issue()
    licensed.publish()
    captured = licensed.presentation(licence, buyer.address)
    refused(lambda: licensed.present(thief, licensed.bundle(captured)), "AudienceMismatch")
    with pytest.raises(LicenceRequired):
        licensed.ask(thief, 1)


def test_a_presentation_serves_once(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    shown = licensed.bundle(licensed.presentation(licence, buyer.address))
    licensed.present(buyer, shown)
    with pytest.raises(NonceInvalid):
        licensed.present(buyer, shown)


def test_a_nonce_that_the_exchange_did_not_give_out_is_refused(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    shown = licensed.presentation(licence, buyer.address, nonce="of the holder's own")
    with pytest.raises(NonceInvalid):
        licensed.present(buyer, licensed.bundle(shown))


@pytest.mark.parametrize("age_s", [-61, 61])
def test_a_proof_of_another_minute_is_refused(licensed: Licensed, age_s: int) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    shown = licensed.presentation(licence, buyer.address, now_s=licensed.books.now_s - age_s)
    refused(lambda: licensed.present(buyer, licensed.bundle(shown)), NO_BEARER)


def test_a_licence_without_its_bearers_proof_is_refused(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    refused(lambda: licensed.present(buyer, licensed.bundle(licence.text)), NO_BEARER)


def test_a_licence_admits_the_accounts_of_one_operator_only(licensed: Licensed) -> None:
    world, licence = licensed.world, licensed.books.issue()
    first, other = world.buyer(), world.buyer("other operator")
    second = signer_of("second account")
    world.chain.emit(
        ParticipantAdmitted,
        account=second.address,
        operator=first.address,
        roles=Roles.BUYER,
        x25519=keccak(second.address),
    )
    world.chain.balances[second.address] = 10**6
    world.follow()
    licensed.publish()
    licensed.admit(first, licence)
    licensed.admit(second, licence)
    assert licensed.ask(second, 1)
    with pytest.raises(LicenceTaken):
        licensed.admit(other, licence)
    with pytest.raises(LicenceRequired):
        licensed.ask(other, 1)


def test_who_is_no_participant_presents_nothing(licensed: Licensed) -> None:
    stranger, licence = signer_of("stranger"), licensed.books.issue()
    licensed.publish()
    with pytest.raises(NotAdmitted):
        licensed.admit(stranger, licence)


@pytest.mark.parametrize("text", ["", "~", "a.b.c~", "\N{FULLWIDTH TILDE}", "x" * 200_000])
def test_nonsense_is_refused_by_name(licensed: Licensed, text: str) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    refused(lambda: licensed.present(buyer, text), "Malformed")
    nonsense = replace(licensed.bundle(licence.text), credential=text)
    refused(lambda: licensed.present(buyer, nonsense), "Malformed")


# --- facts that are old or lies --------------------------------------------------------------------------------


def test_an_old_bundle_does_not_undo_what_is_known_already(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    old = licensed.bundle(licensed.presentation(licence, buyer.address))
    licensed.books.submit(licensed.books.change(licence, Kind.REVOKE))
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 1), "Revoked")
    licensed.service.is_away = True
    refused(lambda: licensed.present(buyer, old), "Revoked")
    refused(lambda: licensed.ask(buyer, 1), "Revoked")


def test_an_old_bundle_of_the_same_second_does_not_undo_it_either(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    old = licensed.bundle(licensed.presentation(licence, buyer.address))
    licensed.books.submit(licensed.books.change(licence, Kind.SUSPEND))
    licensed.publish(after_s=0)
    refused(lambda: licensed.ask(buyer, 1), "Suspended")
    licensed.service.is_away = True
    refused(lambda: licensed.present(buyer, old), "Suspended")
    refused(lambda: licensed.ask(buyer, 1), "Suspended")


def test_a_status_that_is_rolled_back_is_not_believed(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    before = licensed.books.publisher.token_at(licence.claims.list, licensed.books.now_s).jws.text
    licensed.books.submit(licensed.books.change(licence, Kind.SUSPEND))
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 1), "Suspended")
    licensed.restart()
    licensed.service.lies["status_token"] = lambda *_: before
    refused(lambda: licensed.ask(buyer, 1), "Suspended")


def cosigned(city: FolderCity) -> SignedNote:
    return SignedNote.parse(city.books.book.log.cosigned() or "")


def lie_checkpoint(city: FolderCity) -> Any:
    size = Checkpoint.parse(cosigned(city).text).size
    return lambda: city.books.city.checkpoint(hashes=[bytes(32)] * size).replace("\n", "\n1", 1)


def lie_uncosigned(city: FolderCity) -> Any:
    return lambda: replace(cosigned(city), signatures=cosigned(city).signatures[:1]).to_text()


LIES: dict[str, tuple[str, Callable[[FolderCity], Any], str]] = {
    "another checkpoint": ("checkpoint", lie_checkpoint, "checkpoint"),
    "no checkpoint": ("checkpoint", lambda _: lambda: "nonsense", "checkpoint"),
    "no quorum": ("checkpoint", lie_uncosigned, "quorum"),
    "another log": (
        "checkpoint",
        lambda _: lambda: build_city("beicheng").checkpoint(hashes=[bytes(32)]),
        "checkpoint",
    ),
    "no history": ("history", lambda _: lambda _issuer: None, "issuer"),
    "a forged history": (
        "history",
        lambda city: (
            lambda issuer: city.books.publisher.history_for(issuer, city.books.now_s).sign(
                city.books.city.service
            )
        ),
        "issuer",
    ),
    "no token": ("status_token", lambda _: lambda *_: "nonsense", "status"),
    "a forged token": (
        "status_token",
        lambda city: lambda number, _at: city.books.city.token(number, key=city.books.city.registrar),
        "status",
    ),
    "a token that was never logged": (
        "status_token",
        lambda city: lambda number, _at: city.books.city.token(number, issued_at=city.books.now_s),
        "status",
    ),
}


@pytest.mark.parametrize("name", sorted(LIES))
def test_what_the_service_forges_or_withholds_is_missing_and_never_a_revocation(
    licensed: Licensed, name: str
) -> None:
    question, make_lie, missing = LIES[name]
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.books.issue()
    licensed.publish(after_s=MAX_AGE_S)
    licensed.service.lies[question] = make_lie(licensed.service)
    kept = licensed.market.store.licence_of(buyer.address)
    assert kept is not None
    with pytest.raises(LicenceUnconfirmed) as caught:
        NewestFacts(licensed.service, licensed.policy).standing_of(kept, licensed.books.now_s)
    assert caught.value.missing == (missing,)
    licensed.books.now_s += 1
    with pytest.raises(LicenceUnconfirmed):
        licensed.ask(buyer, 1)
    licensed.service.lies.clear()
    assert licensed.ask(buyer, 1)


def test_a_token_that_no_quorum_has_cosigned_yet_gives_way_to_the_one_before(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.books.now_s += 10
    licensed.books.publisher.publish_statuses(licensed.books.now_s, everything=True)
    licensed.service.asked = []
    licensed.restart()
    assert licensed.ask(buyer, 1)
    assert licensed.service.asked.count("status_token") == 2
    kept = licensed.market.store.licence_of(buyer.address)
    assert kept is not None
    assert kept.as_of == NOW + 10


def test_a_key_that_ended_after_the_licence_takes_nothing_from_it(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.books.submit(licensed.books.key_event(Kind.KEY_COMPROMISE, licence.claims.issuer))
    licensed.publish()
    assert licensed.ask(buyer, 1)


def test_a_long_log_is_searched_for_the_token(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    books = licensed.books
    slots = books.book.reserve("later licences", 300)
    later = [books.licence(list=number, index=index).text for number, index in slots]
    books.book.submit_all(later, now_s=books.now_s)
    books.publisher.publish_histories(books.city.registrar, books.now_s)
    books.publisher.cosign(books.witness_client(), books.city.trust().quorum)
    kept = licensed.market.store.licence_of(buyer.address)
    assert kept is not None
    found = NewestFacts(licensed.service, licensed.policy).standing_of(kept, books.now_s)
    assert (found.fault, found.as_of) == ("", NOW + 10)


def test_every_error_of_admission_has_a_status_of_its_own() -> None:
    from api.errors import problem_of

    found: dict[ExchangeError, tuple[str, int]] = {
        LicenceRequired((BUSINESS,)): ("licence-required", 403),
        LicenceRefused("Revoked"): ("licence-refused", 403),
        LicenceTaken(): ("licence-taken", 409),
        LicenceUnconfirmed(("status",), 5): ("licence-unconfirmed", 503),
    }
    for error, expected in found.items():
        problem = problem_of(error)
        assert (problem.kind, problem.status) == expected
