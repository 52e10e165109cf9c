"""Quotes: the buyer signs only what it derives itself."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_abi.abi import encode

from client.buyer import Buyer
from client.errors import (
    DeploymentMismatch,
    ExchangeReplyInvalid,
    ListingMismatch,
    QueryRejected,
    QuoteExpired,
    QuoteMismatch,
)
from client.market import Market
from ledger.abi import interface
from ledger.errors import ChainUnreachable
from ledger.types import to_hex
from privacy.accounting import DELTA_DEFAULT, PrivacyLoss
from tests.client.world import NOW_S, SQL, World, signer_for

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def buyer_of(world: World, *, listing: Change | None = None, quote: Change | None = None) -> Buyer:
    """A buyer whose exchange changes its own words."""

    def handle(request: httpx.Request) -> httpx.Response:
        response = world.handle(request)
        target = request.url.path
        change = listing if target.startswith("/listings") else quote if target == "/quotes" else None
        if change is None:
            return response
        body = response.json()
        change(body)
        return httpx.Response(response.status_code, content=json.dumps(body))

    market = Market("http://exchange.test", world.buyer, transport=httpx.MockTransport(handle))
    return world.make_buyer(market=market)


def test_an_honest_quote_is_taken_over(world: World) -> None:
    quote = world.make_buyer().quote("power", SQL)
    assert quote.plan == world.plan()
    assert (quote.rho_micro, quote.price_minor, quote.expires_at) == (500_000, 100 + 3 * 500, NOW_S + 600)
    assert quote.columns == ("town", "n", "total", "mean")
    assert [error.column for error in quote.expected_error95] == list(quote.columns)
    assert quote.answered_by is None


def test_a_quote_shows_the_loss_and_the_composed_one_on_each_line(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    alone = PrivacyLoss.of(500_000, DELTA_DEFAULT)
    assert quote.losses.request == alone
    assert [line.loss for line in quote.losses.lines] == [alone] * 3
    assert {line.line for line in quote.losses.lines} == set(quote.asset_lines.values())
    buyer.submit(quote)
    other = buyer.quote("power", SQL.replace("AS n", "AS m"), rho_micro=100_000, delta=Decimal("0.000001"))
    assert other.losses.request == PrivacyLoss.of(100_000, Decimal("0.000001"))
    assert [line.loss.rho_micro for line in other.losses.lines] == [600_000] * 3
    same = buyer.quote("power", SQL)
    assert same.losses == quote.losses  # the identical plan is not charged again
    shown = other.losses.to_json()
    assert shown["request"] == {"rho": "100000", "epsilon": other.losses.request.epsilon, "delta": "0.000001"}


def test_a_listing_can_be_named_by_its_id(world: World) -> None:
    assert world.make_buyer().quote(to_hex(world.listing), SQL).plan == world.plan()


def test_less_rho_costs_less(world: World) -> None:
    quote = world.make_buyer().quote("power", SQL, rho_micro=100_000)
    assert (quote.rho_micro, quote.price_minor) == (100_000, 100 + 3 * 100)


def test_a_bad_query_is_refused_by_the_buyer_with_every_violation(world: World) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return world.handle(request)

    market = Market("http://exchange.test", world.buyer, transport=httpx.MockTransport(handle))
    with pytest.raises(QueryRejected) as caught:
        world.make_buyer(market=market).quote("power", "SELECT nothing, SUM(town) FROM power")
    violations = caught.value.violations
    assert len(violations) >= 2
    assert all(violation.position is not None for violation in violations)
    assert "/quotes" not in asked


def test_more_rho_than_the_policy_gives_is_refused(world: World) -> None:
    with pytest.raises(QueryRejected, match="rho"):
        world.make_buyer().quote("power", SQL, rho_micro=500_001)


def test_a_purpose_that_the_policy_does_not_have_is_refused(world: World) -> None:
    with pytest.raises(QueryRejected, match="purpose"):
        world.make_buyer().quote("power", SQL, "advertising")


QUOTE_CHANGES: dict[str, Change] = {
    "plan": lambda q: q["plan"].update(rho="499999"),
    "plan_hash": lambda q: q.update(plan_hash="0x" + "11" * 32),
    "rho_micro": lambda q: q.update(rho_micro="500001"),
    "price_minor": lambda q: q.update(price_minor="1601"),
    "columns": lambda q: q.update(columns=["town"]),
    "signature": lambda q: q.update(signature=to_hex(signer_for("other").sign(bytes(32)))),
    "expires_at": lambda q: q.update(expires_at="soon"),
    "request": lambda q: q.update(request=None),
    "request's fields": lambda q: q["request"].update(gift="1"),
    "request.buyer": lambda q: q["request"].update(buyer="0x" + "11" * 20),
    "request.broker": lambda q: q["request"].update(broker="0x" + "11" * 20),
    "request.listing": lambda q: q["request"].update(listing="0x" + "11" * 32),
    "request.plan_hash": lambda q: q["request"].update(plan_hash="0x" + "11" * 32),
    "request.rho": lambda q: q["request"].update(rho="400000"),
    "request.price": lambda q: q["request"].update(price="1"),
    "request.holders": lambda q: q["request"].update(holders="2"),
    "request.min_holders": lambda q: q["request"].update(min_holders="1"),
    "request.colluders": lambda q: q["request"].update(colluders="1"),
    "request.dropouts": lambda q: q["request"].update(dropouts="0"),
    "request.share_by": lambda q: q["request"].update(share_by=q["request"]["approve_by"]),
    "request.contribute_by": lambda q: q["request"].update(contribute_by="1"),
    "request.answer_by": lambda q: q["request"].update(answer_by="99999999"),
    "request.approve_by": lambda q: q["request"].update(approve_by="0x10"),
}


@pytest.mark.parametrize("field", list(QUOTE_CHANGES))
def test_a_quote_that_says_something_else_is_refused_by_name(world: World, field: str) -> None:
    with pytest.raises(QuoteMismatch) as caught:
        buyer_of(world, quote=QUOTE_CHANGES[field]).quote("power", SQL)
    assert caught.value.field == field


@pytest.mark.parametrize("expires_at", [-1, True, 1 << 64, 1.5, "-1"])
def test_a_quote_that_expires_at_no_time_is_refused(world: World, expires_at: object) -> None:
    with pytest.raises(QuoteMismatch) as caught:
        buyer_of(world, quote=lambda q: q.update(expires_at=expires_at)).quote("power", SQL)
    assert caught.value.field == "expires_at"


@pytest.mark.parametrize("field", ["price_minor", "request.rho", "request.approve_by"])
def test_a_refused_quotes_message_is_text_whatever_the_quote_says(world: World, field: str) -> None:
    def change(quote: dict[str, Any]) -> None:
        *inside, name = field.split(".")
        (quote[inside[0]] if inside else quote)[name] = "\ud800" * 1000

    with pytest.raises(QuoteMismatch) as caught:
        buyer_of(world, quote=change).quote("power", SQL)
    assert caught.value.field == field
    assert len(str(caught.value).encode()) < 200


def test_a_later_expiry_than_was_signed_is_refused(world: World) -> None:
    with pytest.raises(QuoteMismatch) as caught:
        buyer_of(world, quote=lambda q: q.update(expires_at=q["expires_at"] + 1)).quote("power", SQL)
    assert caught.value.field == "signature"


def test_an_expired_quote_is_refused(world: World) -> None:
    with pytest.raises(QuoteExpired):
        world.make_buyer(now_s=lambda: NOW_S + 601.0).quote("power", SQL)


def test_a_quote_whose_first_deadline_has_passed_is_refused(world: World) -> None:
    past = str(world.chain.head)
    with pytest.raises(QuoteExpired, match="has passed"):
        buyer_of(world, quote=lambda q: q["request"].update(approve_by=past)).quote("power", SQL)


LISTING_CHANGES: dict[str, Change] = {
    "asked for": lambda v: v.update(name="other"),
    "its id is not": lambda v: v.update(broker="0x" + "11" * 20),
    "policy is invalid": lambda v: v["policy"].update(version="9"),
    "does not have the hash": lambda v: v["policy"].update(title="Another title"),
    "has no assets": lambda v: v.update(assets=[]),
    "another version": lambda v: v["assets"][0].update(version="1"),
    "another snapshot_root": lambda v: v["assets"][1].update(snapshot_root="0x" + "11" * 32),
    "another policy_hash": lambda v: v["assets"][2].update(policy_hash="0x" + "11" * 32),
    "another holder": lambda v: v["assets"][0].update(holder="0x" + "11" * 20),
}


@pytest.mark.parametrize("words", list(LISTING_CHANGES))
def test_a_listing_that_is_not_the_chains_is_refused(world: World, words: str) -> None:
    with pytest.raises(ListingMismatch, match=words):
        buyer_of(world, listing=LISTING_CHANGES[words]).quote("power", SQL)


@pytest.mark.parametrize("member", ["name", "listing"])
def test_a_refused_listings_message_can_be_shown(world: World, member: str) -> None:
    def change(shown: dict[str, Any]) -> None:
        (shown["policy"] if member == "listing" else shown)[member] = "half \ud800 of a pair"

    with pytest.raises(ListingMismatch) as caught:
        buyer_of(world, listing=change).quote("power", SQL)
    assert str(caught.value).encode()


def test_an_asset_that_is_not_entrusted_to_the_broker_is_refused(world: World) -> None:
    abi, to = interface("AssetRegistry"), to_hex(world.deployment.assets)
    data = to_hex(abi.encode("entrustedTo", world.listing, world.assets[1].asset))
    world.chain.calls[to, data] = encode(["address"], [bytes(20)])
    with pytest.raises(ListingMismatch, match="not entrusted"):
        world.make_buyer().quote("power", SQL)


def test_a_retired_asset_is_refused(world: World) -> None:
    abi, to = interface("AssetRegistry"), to_hex(world.deployment.assets)
    data = to_hex(abi.encode("get", world.assets[1].asset))
    row = bytearray(world.chain.calls[to, data])
    row[4 * 32 - 1] = 6
    world.chain.calls[to, data] = bytes(row)
    with pytest.raises(ListingMismatch, match="not registered"):
        world.make_buyer().quote("power", SQL)


def test_another_chain_or_another_contract_is_refused(world: World) -> None:
    world.chain.served_chain_id = 5
    with pytest.raises(DeploymentMismatch, match="31337"):
        world.make_buyer().quote("power", SQL)
    world.chain.served_chain_id, world.chain.codes = 31337, {}
    with pytest.raises(DeploymentMismatch, match="not the compute ledger's"):
        world.make_buyer().quote("power", SQL)


def test_no_quote_is_taken_while_the_chain_is_away(world: World) -> None:
    world.chain.is_away = True
    with pytest.raises(ChainUnreachable):
        world.make_buyer().quote("power", SQL)


def test_a_listing_that_is_no_listing_is_refused(world: World) -> None:
    with pytest.raises(ExchangeReplyInvalid):
        buyer_of(world, listing=lambda v: v.pop("assets")).quote("power", SQL)
