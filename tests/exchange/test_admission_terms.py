"""Admission by business licence: whom the exchange's terms ask for one, and what a restart or another policy changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.admission import read_policy
from exchange.errors import (
    LicenceRequired,
    LicenceUnconfirmed,
    SettingsInvalid,
)
from exchange.settings import AdmissionTerms
from ledger.encoding import keccak
from ledger.licences.events import Kind
from ledger.types import ParticipantAdmitted, Roles
from tests.exchange.licence_world import Licensed, refused
from tests.exchange.world import World, signer_of
from tests.ledger.licences.books import Books
from tests.ledger.licences.world import BUSINESS, FOOD


def test_admission_survives_a_restart(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    admitted = licensed.admit(buyer, licence)
    licensed.restart()
    assert licensed.market.store.licence_of(buyer.address) == admitted
    assert licensed.ask(buyer, 1)
    licensed.books.submit(licensed.books.change(licence, Kind.REVOKE))
    licensed.publish()
    licensed.restart()
    refused(lambda: licensed.ask(buyer, 2), "Revoked")


def test_a_listing_needs_the_licences_of_its_broker_and_its_holders(
    world: World, books: Books, tmp_path: Path
) -> None:
    licensed = Licensed(world, books, tmp_path, roles=("broker", "holder"))
    parties = [world.broker, *(holder.signer for holder in world.holders)]
    licences = [books.issue() for _ in parties]
    licensed.publish()
    for signer, licence in zip(parties, licences, strict=True):
        with pytest.raises(LicenceRequired):
            world.list_power()
        licensed.admit(signer, licence)
    world.list_power()
    books.submit(books.change(licences[-1], Kind.REVOKE))
    licensed.publish()
    refused(world.list_power, "Revoked")
    assert licensed.ask(world.buyer(), 1)  # buyers need none here


def test_an_exchange_without_admission_asks_for_no_licence(world: World) -> None:
    assert world.market.admission is None
    assert world.submit(world.buyer())


def test_the_settings_service_is_asked_and_its_connections_end_with_the_market(offline: Licensed) -> None:
    offline.terms["service_url"] = "http://city.example/"
    offline.city = None
    market = offline.restart()
    assert market.admission is not None
    market.start()
    market.stop()
    buyer, licence = offline.world.buyer(), offline.books.issue()
    offline.publish()
    with pytest.raises(LicenceUnconfirmed):  # the client is closed: no socket is opened any more
        offline.present(buyer, offline.presentation(licence, buyer.address))


def test_a_licence_that_no_longer_counts_is_asked_for_anew(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.terms["types"] = (FOOD,)
    licensed.restart()
    with pytest.raises(LicenceRequired, match=FOOD):
        licensed.ask(buyer, 1)


def test_an_account_that_got_another_operator_presents_anew(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.world.chain.emit(
        ParticipantAdmitted,
        account=buyer.address,
        operator=signer_of("another operator").address,
        roles=Roles.BUYER,
        x25519=keccak(buyer.address),
    )
    licensed.world.follow()
    with pytest.raises(LicenceRequired):
        licensed.ask(buyer, 1)


def test_a_policy_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    terms = AdmissionTerms(policy=file, types=(BUSINESS,))
    with pytest.raises(SettingsInvalid, match="policy"):
        read_policy(terms)
    file.write_text('{"version":1}')
    with pytest.raises(SettingsInvalid, match="policy"):
        read_policy(terms)
