"""What the exchange takes from buyers, and what a dishonest one tries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from exchange.errors import (
    AnswerNotReady,
    BalanceTooLow,
    BondTooLow,
    ExchangeError,
    ListingStale,
    MarketFull,
    NonceReused,
    NotAnswerable,
    NotYours,
    PlanRequested,
    QuoteMissing,
    RequestInvalid,
    RequestUnknown,
)
from exchange.types import MaskedAnswer, Stage
from ledger.eip712 import sign_acceptance
from ledger.encoding import keccak
from ledger.errors import BadSignature
from ledger.types import Answered, Roles
from privacy.errors import PlanRejected
from tests.exchange.fake_chain import DEPLOYMENT
from tests.exchange.world import NOW, SQL, Signed, World, signer_of


def sql_of(k: int) -> str:
    return f"SELECT COUNT(*) AS n{k} FROM power"


def take_changed(world: World, signed: Signed, **changes: Any) -> None:
    plan = changes.pop("plan", signed.plan_json)
    signature = changes.pop("signature", signed.signature)
    sender = changes.pop("sender", signed.request.buyer)
    request = replace(signed.request, **changes)
    world.market.requests.take(sender, plan_json=plan, request=request, signature=signature)


def test_a_signed_request_is_taken_once_and_again_is_the_same(world: World) -> None:
    signed = world.submit(world.buyer())
    assert world.take(signed).request_id == signed.id
    assert world.market.store.stage_counts() == {"submitted": 1}


def test_a_forged_or_altered_signature_is_refused(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    flipped = bytes([signed.signature[0] ^ 1]) + signed.signature[1:]
    with pytest.raises(BadSignature):
        take_changed(world, signed, signature=flipped)
    with pytest.raises(BadSignature):
        take_changed(world, signed, price_minor=0)
    with pytest.raises(BadSignature):
        take_changed(world, signed, nonce=2)
    assert world.market.store.stage_counts() == {}


def test_a_request_is_taken_from_its_buyer_only(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    with pytest.raises(NotYours):
        take_changed(world, signed, sender=world.buyer("other").address)


@pytest.mark.parametrize(
    "change",
    [
        {"rho_micro": 1},
        {"price_minor": 30_999},
        {"price_minor": 31_001},
        {"holders": 4},
        {"min_holders": 1},
        {"colluders": 1},
        {"dropouts": 0},
        {"broker": signer_of("other broker").address},
        {"plan_hash": keccak(b"another plan")},
        {"key_x": b"\xff" * 32},
        {"approve_by": 10**9, "share_by": 10**9 + 40, "contribute_by": 10**9 + 80, "answer_by": 10**9 + 120},
        {"answer_by": 10**9},
    ],
)
def test_a_request_that_is_not_as_quoted_is_refused(world: World, change: dict[str, Any]) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer), **change)
    with pytest.raises((RequestInvalid, QuoteMissing)):
        world.take(signed)


def test_windows_that_are_too_short_to_answer_in_are_refused(world: World) -> None:
    buyer = world.buyer()
    quote = world.quote(buyer)
    short = world.sign(buyer, quote, answer_by=int(quote.draft["contribute_by"]) + 1)
    with pytest.raises(RequestInvalid, match="answer_by"):
        world.take(short)
    longer = world.sign(buyer, quote, answer_by=int(quote.draft["answer_by"]) + 40)
    assert world.take(longer)


def test_a_quote_whose_first_deadline_has_passed_on_the_chain_is_refused(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    world.chain.mine(39)
    world.follow()
    with pytest.raises(RequestInvalid, match="approve_by"):
        world.take(signed)


def test_a_plan_that_was_tampered_with_is_refused(world: World) -> None:
    buyer = world.buyer()
    quote = world.quote(buyer)
    plan = quote.plan.to_json()
    for name, value in {"rho": "1", "dropouts": "0", "rows_max": "1", "assets": plan["assets"][:2]}.items():
        with pytest.raises((RequestInvalid, PlanRejected)):
            take_changed(world, world.sign(buyer, quote), plan={**plan, name: value})


def test_without_a_quote_that_holds_nothing_is_taken(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    world.market.store.drop_quotes(NOW + 10**6)
    with pytest.raises(QuoteMissing):
        world.take(signed)


def test_the_quote_of_another_buyer_does_not_serve(world: World) -> None:
    one, other = world.buyer("one"), world.buyer("two")
    signed = world.sign(other, world.quote(one))
    with pytest.raises(QuoteMissing):
        world.take(signed)


def test_a_listing_that_changed_after_the_quote_is_refused(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    world.update_asset(world.holders[0], keccak(b"another policy"))
    world.follow()
    with pytest.raises(ListingStale):
        world.take(signed)


def test_a_new_snapshot_after_the_quote_makes_the_plan_another_one(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer))
    world.update_asset(world.holders[0], bytes(world.the_policy.hash()))
    world.follow()
    with pytest.raises(RequestInvalid, match="assets"):
        world.take(signed)


def test_a_nonce_serves_once(world: World) -> None:
    buyer = world.buyer()
    world.submit(buyer, sql_of(1), nonce=7)
    second = world.sign(buyer, world.quote(buyer, sql_of(2)), nonce=7)
    with pytest.raises(NonceReused):
        world.take(second)


def test_an_identical_plan_is_not_computed_twice_unless_the_first_was_closed(world: World) -> None:
    buyer = world.buyer()
    first = world.submit(buyer, nonce=1)
    second = world.sign(buyer, world.quote(buyer), nonce=2)
    with pytest.raises(PlanRequested) as caught:
        world.take(second)
    assert caught.value.request_id == "0x" + first.id.hex()
    world.market.store.set_stage(first.id, Stage.SETTLED, 1)
    with pytest.raises(PlanRequested):
        world.take(second)
    world.market.store.set_stage(first.id, Stage.CLOSED, 2)
    assert world.take(second)
    assert world.submit(world.buyer("other"), nonce=1)  # another buyer's is another answer


def test_twenty_concurrent_requests_do_not_overspend_the_buyers_balance(world: World) -> None:
    buyer = world.buyer(credits_minor=5 * 31_000)
    signed = [world.sign(buyer, world.quote(buyer, sql_of(k)), nonce=k) for k in range(20)]

    def attempt(each: Signed) -> bool:
        try:
            world.take(each)
        except BalanceTooLow:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, signed)) == 5


def test_what_the_chain_has_opened_already_is_not_counted_twice(world: World) -> None:
    from exchange.chainside import Open

    buyer = world.buyer(credits_minor=2 * 31_000)
    first = world.submit(buyer, sql_of(1), nonce=1)
    world.chain.submit(Open(first.request, first.signature))  # opened, and not indexed yet
    assert world.submit(buyer, sql_of(2), nonce=2)
    third = world.sign(buyer, world.quote(buyer, sql_of(3)), nonce=3)
    with pytest.raises(BalanceTooLow):
        world.take(third)


def test_more_than_the_brokers_bond_covers_is_not_taken(world: World) -> None:
    world.chain.bond = 31_000
    world.submit(world.buyer("one"))
    other = world.buyer("two")
    signed = world.sign(other, world.quote(other))
    with pytest.raises(BondTooLow):
        world.take(signed)


def test_a_full_market_takes_no_more(world: World) -> None:
    world.market = world.make_market(live_requests_max=1)
    world.market.follower._mirror.rebuild(world.chain.market_events())
    world.market.follower._head = world.chain.head()
    buyer = world.buyer()
    world.submit(buyer, sql_of(1), nonce=1)
    with pytest.raises(MarketFull):
        world.take(world.sign(buyer, world.quote(buyer, sql_of(2)), nonce=2))


# --- what is shown to whom -------------------------------------------------------------------------------


def answered(world: World) -> Signed:
    """Return a request that is answered on the chain and in the store."""
    from exchange.chainside import Open

    signed = world.submit(world.buyer())
    world.chain.submit(Open(signed.request, signed.signature))
    world.chain.emit(Answered, request_id=signed.id, answer_root=keccak(b"root"))
    world.market.store.put_answer(signed.id, MaskedAnswer(b"basis", b"the masked answer", keccak(b"root")))
    world.follow()
    return signed


def test_an_answer_is_given_to_its_buyer_alone(world: World) -> None:
    signed = answered(world)
    answer = world.market.requests.answer
    assert answer(signed.request.buyer, signed.id) == b"the masked answer"
    others = [world.buyer("other").address, world.holders[0].address, world.broker.address]
    for other in others:
        with pytest.raises(NotYours):
            answer(other, signed.id)


def test_an_answer_that_is_not_on_the_chain_is_not_given(world: World) -> None:
    signed = answered(world)
    buyer = signed.request.buyer
    world.market.store.put_answer(signed.id, MaskedAnswer(b"basis", b"another", keccak(b"another root")))
    with pytest.raises(AnswerNotReady):
        world.market.requests.answer(buyer, signed.id)
    unanswered = world.submit(world.buyer("two"))
    with pytest.raises(AnswerNotReady):
        world.market.requests.answer(unanswered.request.buyer, unanswered.id)


def test_a_request_is_shown_to_those_whom_it_concerns(world: World) -> None:
    signed = world.submit(world.buyer())
    regulator = signer_of("regulator")
    world.admit(regulator, Roles.REGULATOR)
    stranger = world.buyer("stranger").address
    get, page = world.market.requests.get, world.market.requests.page
    for viewer in (signed.request.buyer, world.broker.address, world.holders[2].address, regulator.address):
        assert get(viewer, signed.id).request_id == signed.id
        assert len(page(viewer, 0, 10).items) == 1
    with pytest.raises(NotYours):
        get(stranger, signed.id)
    assert page(stranger, 0, 10).items == ()
    with pytest.raises(RequestUnknown):
        get(stranger, keccak(b"nothing"))


def test_the_gas_of_a_requests_transactions_is_read_once_and_kept(world: World) -> None:
    signed = answered(world)
    requests = world.market.requests
    progress = requests.progress(world.market.store.request(signed.id))
    known = requests.gas(progress)
    assert set(known.values()) == {50_000}
    world.chain.away = True
    assert requests.gas(progress) == known


def test_evidence_holds_hashes_and_receipts_and_no_answer(world: World) -> None:
    signed = answered(world)
    evidence = world.market.evidence(world.market.store.request(signed.id))
    assert evidence["answer_root"] == "0x" + keccak(b"root").hex()
    assert evidence["plan"] == signed.plan_json
    assert b"the masked answer".hex() not in repr(evidence)


def test_an_acceptance_is_taken_from_the_buyer_of_an_answered_request(world: World) -> None:
    signed, buyer = answered(world), signer_of("buyer")
    accept, other = world.market.requests.accept, world.buyer("other")
    good = sign_acceptance(buyer, signed.id, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
    forged = sign_acceptance(other, signed.id, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
    with pytest.raises(NotYours):
        accept(other.address, signed.id, forged)
    with pytest.raises(BadSignature):
        accept(buyer.address, signed.id, forged)
    with pytest.raises(BadSignature):
        accept(buyer.address, signed.id, signed.signature)
    accept(buyer.address, signed.id, good)
    assert world.market.store.request(signed.id).acceptance == good
    unanswered = world.submit(other, SQL)
    early = sign_acceptance(other, unanswered.id, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
    with pytest.raises(NotAnswerable):
        accept(other.address, unanswered.id, early)


def test_no_error_of_the_market_shows_a_secret(world: World) -> None:
    buyer = world.buyer()
    signed = world.sign(buyer, world.quote(buyer), price_minor=1)
    with pytest.raises(ExchangeError) as caught:
        world.take(signed)
    for secret in (signed.key.secret, signed.signature):
        assert secret.hex() not in str(caught.value)
