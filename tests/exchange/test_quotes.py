"""Quotes: a plan, its price and its terms, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from exchange.errors import BuyerExcluded, ListingStale, ListingUnknown, NotAdmitted
from exchange.quotes import quote_digest
from exchange.types import Stage
from ledger.encoding import keccak
from ledger.signing import recover
from ledger.types import Address
from privacy.errors import PlanRejected
from tests.exchange.world import SQL, World, signer_of
from tests.privacy.score_world import encrypted, fixed


def test_a_quote_is_signed_and_priced_by_fee_and_rate(world: World) -> None:
    buyer = world.buyer()
    quote = world.quote(buyer)
    assert quote.record.price_minor == 1000 + 3 * 20_000 // 2
    assert recover(quote_digest(quote.record), quote.signature) == world.broker.address
    smaller = world.quote(buyer, rho_micro=2)
    assert smaller.record.price_minor == 1001  # 0.12 rounded up
    assert quote.existing_request is None


def test_a_draft_has_everything_but_key_and_nonce_and_deadlines_after_the_head(world: World) -> None:
    quote = world.quote(world.buyer())
    head = world.market.follower.head
    deadlines = [int(quote.draft[name]) for name in ("approve_by", "share_by", "contribute_by", "answer_by")]
    assert deadlines == [head + 40, head + 80, head + 120, head + 160]
    assert not {"key_x", "key_parity", "nonce"} & quote.draft.keys()
    assert quote.draft["plan_hash"] == "0x" + quote.plan.hash().hex()


def test_a_policy_that_approves_by_hand_gets_long_windows(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    world = World(sqlite_engine, f"sqlite:///{tmp_path}/w.db", policy={"approval": "manual"})
    world.list_power()
    quote = world.quote(world.buyer())
    waits = int(quote.draft["approve_by"]) - world.market.follower.head
    assert waits == world.settings.manual_windows.approve > 10_000


def test_nothing_is_touched_by_a_quote(world: World) -> None:
    buyer = world.buyer()
    before = len(world.chain._events), world.chain.balances[buyer.address]
    world.quote(buyer)
    assert (len(world.chain._events), world.chain.balances[buyer.address]) == before
    assert world.market.store.stage_counts() == {}


def test_every_violation_of_a_query_is_reported(world: World) -> None:
    with pytest.raises(PlanRejected) as caught:
        world.quote(world.buyer(), "SELECT MEDIAN(kwh), nothing FROM power WHERE secret = 1")
    assert len(caught.value.violations) >= 2
    assert all(each.rule and each.message for each in caught.value.violations)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM power WHERE " + "(" * 40 + "town = 'east'" + ")" * 40,
        "SELECT COUNT(*) FROM power -- " + "x" * 65_536,
        "SELECT COUNT(*) FROM (SELECT * FROM power)",
        "SELECT COUNT(*) FROM power; DROP TABLE power",
        "SELECT ＣＯＵＮＴ（＊） FROM power",
        "",
    ],
)
def test_a_hostile_query_is_refused_with_violations(world: World, sql: str) -> None:
    with pytest.raises(PlanRejected):
        world.quote(world.buyer(), sql)


def test_more_rho_than_the_policy_allows_is_refused(world: World) -> None:
    with pytest.raises(PlanRejected):
        world.quote(world.buyer(), rho_micro=500_001)


def test_a_purpose_is_needed_only_when_there_are_several(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    purposes = {"purposes": ["research", "planning"]}
    world = World(sqlite_engine, f"sqlite:///{tmp_path}/w.db", policy=purposes)
    world.list_power()
    buyer = world.buyer()
    with pytest.raises(PlanRejected, match="purpose"):
        world.quote(buyer)
    assert world.quote(buyer, purpose="planning").plan.purpose == "planning"
    with pytest.raises(PlanRejected):
        world.quote(buyer, purpose="advertising")


def test_who_is_no_buyer_or_not_admitted_by_the_policy_gets_no_quote(
    sqlite_engine: sa.Engine, tmp_path: Path
) -> None:
    chosen = "0x" + signer_of("chosen").address.hex()
    world = World(sqlite_engine, f"sqlite:///{tmp_path}/w.db", policy={"buyers": [chosen]})
    world.list_power()
    with pytest.raises(NotAdmitted):
        world.quote(signer_of("stranger"))
    with pytest.raises(NotAdmitted):
        world.quote(world.holders[0].signer)
    with pytest.raises(BuyerExcluded):
        world.quote(world.buyer("other"))
    assert world.quote(world.buyer("chosen"))


def test_an_unknown_or_stale_listing_is_not_quoted(world: World) -> None:
    buyer = world.buyer()
    with pytest.raises(ListingUnknown):
        world.quote(buyer, listing="water")
    world.update_asset(world.holders[0], keccak(b"another policy"))
    world.follow()
    with pytest.raises(ListingStale):
        world.quote(buyer)


def test_a_plan_that_the_same_buyer_was_answered_is_named(world: World) -> None:
    buyer, other = world.buyer(), world.buyer("other")
    signed = world.submit(buyer)
    assert world.quote(buyer).existing_request is None
    world.market.store.set_stage(signed.id, Stage.ANSWERED, 1)
    assert world.quote(buyer).existing_request == signed.id
    assert world.quote(other).existing_request is None
    assert world.quote(buyer, SQL.replace("AVG", "SUM")).existing_request is None


def test_quotes_are_forgotten_when_they_expired(world: World) -> None:
    buyer = world.buyer()
    quote = world.quote(buyer)
    world.market.quotes.forget_expired()
    find = world.market.store.quote_for
    assert find(buyer.address, quote.record.plan_hash, quote.record.expires_at - 1) == quote.record
    assert find(Address(bytes(20)), quote.record.plan_hash, 0) is None
    assert replace(quote.record) == quote.record


SCORE = {"aggregates": ["count", "score"], "min_holders": 1, "colluders": 0, "dropouts": 0, "score": {}}
SCORE_SQL = "SELECT COUNT(*) AS n, SCORE(kwh) AS s FROM power"


@pytest.fixture
def score_world(sqlite_engine: sa.Engine, tmp_path: Path) -> World:
    world = World(sqlite_engine, f"sqlite:///{tmp_path}/w.db", n=1, policy=SCORE)
    world.list_power()
    return world


def test_a_score_is_quoted_with_its_model_and_without_an_error(score_world: World) -> None:
    asked = encrypted(fixed("1", "0.5")).to_json()
    quote = score_world.quote(score_world.buyer(), SCORE_SQL, asked=asked)
    assert quote.plan.to_json()["score"]["model"] == asked
    assert [each["error95"] is None for each in quote.expected_error95] == [False, True]


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (None, "model-missing"),
        ({}, "model"),
        ({"n": "0x" + "ff" * 4096}, "model"),
        (encrypted(fixed("1", "2", "3")).to_json(), "model-features"),
    ],
)
def test_what_is_no_model_of_the_question_is_a_violation(
    score_world: World, asked: dict[str, str] | None, rule: str
) -> None:
    with pytest.raises(PlanRejected) as caught:
        score_world.quote(score_world.buyer(), SCORE_SQL, asked=asked)
    assert [each.rule for each in caught.value.violations] == [rule]


def test_a_plain_listing_takes_nothing_besides_the_query(world: World) -> None:
    with pytest.raises(PlanRejected) as caught:
        world.quote(world.buyer(), asked=encrypted(fixed("1", "2")).to_json())
    assert [each.rule for each in caught.value.violations] == ["kind"]
