"""Admission by business licence while its city is away, and facts that have grown old."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from exchange.admission import Admission
from exchange.errors import (
    LicenceUnconfirmed,
)
from ledger.licences.events import Kind
from ledger.types import Roles
from tests.exchange.licence_world import MAX_AGE_S, Licensed, refused
from tests.exchange.world import NOW
from tests.ledger.licences.world import DAY


def test_a_city_that_is_away_costs_nothing_until_the_last_facts_are_too_old(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.service.is_away = True
    licensed.books.now_s += MAX_AGE_S
    assert licensed.ask(buyer, 1)
    licensed.books.now_s += 1
    with pytest.raises(LicenceUnconfirmed) as caught:
        licensed.ask(buyer, 2)
    assert caught.value.missing == ("status",)
    assert caught.value.last_known == NOW + 10
    licensed.service.is_away = False
    licensed.publish()
    assert licensed.ask(buyer, 2)


def test_a_city_that_is_away_is_asked_again_only_after_a_pause(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.service.is_away, licensed.service.asked = True, []
    for k in range(1, 4):
        licensed.ask(buyer, k)
    assert licensed.service.asked == ["checkpoint"]


def test_a_city_that_drips_holds_up_one_request_and_not_the_market(licensed: Licensed) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    assert licensed.market.admission is not None
    admission = Admission(replace(licensed.market.admission._with, wait_s=0.01))
    asked, go_on = threading.Event(), threading.Event()
    honest = licensed.service.books.book.log.cosigned()

    def drip() -> str | None:
        asked.set()
        assert go_on.wait(30)
        return honest

    licensed.service.lies["checkpoint"] = drip
    slow = threading.Thread(target=admission.require, args=(buyer.address, Roles.BUYER), daemon=True)
    slow.start()
    assert asked.wait(30)
    other = threading.Thread(target=admission.require, args=(buyer.address, Roles.BUYER), daemon=True)
    other.start()
    other.join(20)
    is_held_up = other.is_alive()
    go_on.set()
    slow.join(30)
    assert not is_held_up


def test_without_a_service_the_facts_age_and_a_new_presentation_renews_them(offline: Licensed) -> None:
    buyer, licence = offline.world.buyer(), offline.books.issue()
    offline.publish()
    offline.admit(buyer, licence)
    offline.books.now_s += MAX_AGE_S
    assert offline.ask(buyer, 1)
    offline.books.now_s += 1
    with pytest.raises(LicenceUnconfirmed):
        offline.ask(buyer, 2)
    offline.publish(after_s=0)
    offline.admit(buyer, licence)
    assert offline.ask(buyer, 2)


def test_a_bundle_of_old_facts_admits_nobody(offline: Licensed) -> None:
    buyer, licence = offline.world.buyer(), offline.books.issue()
    offline.publish()
    offline.books.now_s += MAX_AGE_S + 1
    with pytest.raises(LicenceUnconfirmed):
        offline.admit(buyer, licence)
    with pytest.raises(LicenceUnconfirmed):
        offline.ask(buyer, 1)


def test_a_suspension_that_is_only_known_from_old_facts_is_not_held_against_anybody(
    licensed: Licensed,
) -> None:
    buyer, licence = licensed.world.buyer(), licensed.books.issue()
    licensed.publish()
    licensed.admit(buyer, licence)
    licensed.books.submit(licensed.books.change(licence, Kind.SUSPEND))
    licensed.publish()
    refused(lambda: licensed.ask(buyer, 1), "Suspended")
    licensed.service.is_away = True
    licensed.books.now_s += 2 * DAY
    with pytest.raises(LicenceUnconfirmed):
        licensed.ask(buyer, 1)
