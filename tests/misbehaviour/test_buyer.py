"""A dishonest buyer, and strangers, before a real exchange, real holders and the real contracts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.eip712 import sign_acceptance
from ledger.errors import ContractReverted
from ledger.http_auth import SIGNATURE_HEADER, SignedAuth
from ledger.signing import Signer
from ledger.types import Address, Approved, Request, Roles, SessionKeys, digest_from_hex, to_hex
from privacy.sealed_sum import BuyerKey
from tests.misbehaviour.world import LISTING, POLICY, World, flipped, problem, signer_of

MANY = 20


def quote_of(http: httpx.Client, sql: str, *, rho_micro: int = 1_000_000) -> dict[str, Any]:
    body = {"listing": LISTING, "sql": sql, "purpose": "research", "rho_micro": str(rho_micro)}
    response = http.post("/quotes", json=body, headers={"Idempotency-Key": secrets.token_hex(8)})
    assert response.status_code == 201, response.text
    return dict(response.json())


def sign(world: World, signer: Signer, quote: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A request on a quote as its buyer signs it."""
    key = BuyerKey.generate(secrets.token_bytes)
    given = {"key_x": to_hex(key.x), "key_parity": str(key.parity), "nonce": str(secrets.randbits(64))}
    request = replace(Request.from_json({**quote["request"], **given}), **changes)
    signature = to_hex(world.sign(signer, request))
    return {"plan": quote["plan"], "request": request.to_json(), "signature": signature}


def hand_in(http: httpx.Client, body: Mapping[str, Any]) -> httpx.Response:
    return http.post("/requests", json=dict(body), headers={"Idempotency-Key": secrets.token_hex(8)})


def question(number: int) -> str:
    return f'SELECT COUNT(*) AS n FROM "{LISTING}" WHERE "城镇" <> \'{number}\''


def poor_buyer(world: World, credits_minor: int) -> Signer:
    signer = signer_of(f"poor {credits_minor}")
    world.admit(signer, Roles.BUYER)
    world.send(world.bank, world.contracts.settlement.mint(signer.address, credits_minor))
    world.market.follower.catch_up()
    return signer


# --- credits -----------------------------------------------------------------------------------------------------


def test_twenty_requests_at_once_never_cost_more_than_the_buyer_has(shared_world: World) -> None:
    world, settlement = shared_world, shared_world.contracts.settlement
    price = POLICY["price"]["fee_minor"] + 3 * POLICY["price"]["rate_minor_per_rho"]
    buyer = poor_buyer(world, 3 * price + price // 2)
    with world.http(buyer) as http:
        bodies = [sign(world, buyer, quote_of(http, question(n))) for n in range(MANY)]
        assert {int(body["request"]["price"]) for body in bodies} == {price}
        with ThreadPoolExecutor(MANY) as pool:
            responses = list(pool.map(lambda body: hand_in(http, body), bodies))
    taken = [r for r in responses if r.status_code == 202]
    assert len(taken) == 3
    assert {problem(r) for r in responses if r.status_code != 202} == {"balance-too-low"}
    for response in taken:
        record = world.market.store.request(digest_from_hex(response.json()["request_id"]))
        world.send(world.broker, world.contracts.ledger.open(record.request, record.signature))
    assert settlement.balance_of(buyer.address) == price // 2
    refused = next(b for b, r in zip(bodies, responses, strict=True) if r.status_code != 202)
    with pytest.raises(ContractReverted, match="ERC20InsufficientBalance"):
        world.open_raw(Request.from_json(refused["request"]), signer=buyer)


# --- one small budget line -------------------------------------------------------------------------------------


def test_twenty_requests_against_one_small_line_never_pass_its_total(tmp_path: Path) -> None:
    world = World(tmp_path, holders=2, policy={"rho": {"per_request": "1", "total": "3"}})
    try:
        overspend_the_line(world)
    finally:
        world.close()


def overspend_the_line(world: World) -> None:
    ids = [world.open(question(number), rho_micro=1_000_000) for number in range(MANY)]
    for holder in world.holders:
        holder.node._follow()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(holder.node._machine.step, ids))
        holder.step(ids[0])
    for holder in world.holders:
        (own,) = holder.parts.store.lines()
        line = world.contracts.ledger.line(own.line)
        assert (line.total, line.reserved, line.spent) == (3_000_000, 3_000_000, 0)
        assert (own.reserved, own.spent) == (3_000_000, 0)
        reasons = [holder.reason(request_id) for request_id in ids]
        assert sorted(reasons, key=str) == ["BudgetExhausted"] * (MANY - 3) + [None] * 3
    # The contract's own ledger holds even for a holder's node that does not keep one.
    holder = world.holders[0]
    left = next(request_id for request_id in ids if holder.reason(request_id))
    asset = holder.parts.store.newest_assets()[0].asset_id
    keys = SessionKeys(b"\1" * 32, b"\2" * 32, b"\3" * 32, 2, b"\4" * 32)
    with pytest.raises(ContractReverted, match="ComputeLedgerBudgetExceeded"):
        world.send(holder.keys.signer, world.contracts.ledger.approve(world.request_of(left), asset, keys))
    approved = [event for request_id in ids for event in world.market.chain.request_events(request_id)]
    world.market.follower.catch_up()
    assert sum(isinstance(event, Approved) for event in approved) <= 3 * len(world.holders)


# --- signatures and nonces -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def buyer(standing_world: World) -> Signer:
    """A buyer with credits enough."""
    return poor_buyer(standing_world, 10_000_000)


def test_a_forged_signature_is_refused(shared_world: World, buyer: Signer) -> None:
    world = shared_world
    with world.http(buyer) as http:
        good = sign(world, buyer, quote_of(http, question(100)))
        bad = to_hex(flipped(bytes.fromhex(good["signature"][2:]), 40))
        assert problem(hand_in(http, {**good, "signature": bad})) == "bad-signature"
        by_another = sign(world, signer_of("forger"), quote_of(http, question(101)))
        assert problem(hand_in(http, by_another)) == "bad-signature"
        cheaper = {**good, "request": {**good["request"], "price": "1"}}
        assert problem(hand_in(http, cheaper)) == "bad-signature"
    with world.http(world.buyer_signer) as http:
        assert problem(hand_in(http, good)) == "not-yours"
    with pytest.raises(ContractReverted, match="ComputeLedgerSignatureWrong"):
        world.open_raw(Request.from_json(good["request"]), signer=signer_of("forger"))


def test_terms_that_the_broker_did_not_quote_are_refused(shared_world: World, buyer: Signer) -> None:
    world = shared_world
    with world.http(buyer) as http:
        quote = quote_of(http, question(102))
        for change in ({"price_minor": 1}, {"rho_micro": 2_000_000}, {"min_holders": 1}, {"dropouts": 0}):
            response = hand_in(http, sign(world, buyer, quote, **change))
            assert problem(response) == "request-invalid", change
        own_plan = {**quote["plan"], "rho": "999999"}
        assert problem(hand_in(http, {**sign(world, buyer, quote), "plan": own_plan})) == "request-invalid"
        stranger = Request.from_json(sign(world, buyer, quote)["request"])
        far = stranger.answer_by + 100_000
        assert problem(hand_in(http, sign(world, buyer, quote, answer_by=far))) == "request-invalid"


def test_a_nonce_is_used_once(shared_world: World, buyer: Signer) -> None:
    world = shared_world
    with world.http(buyer) as http:
        first = sign(world, buyer, quote_of(http, question(103)))
        assert hand_in(http, first).status_code == 202
        nonce = int(first["request"]["nonce"])
        second = sign(world, buyer, quote_of(http, question(104)), nonce=nonce)
        assert problem(hand_in(http, second)) == "nonce-reused"
        same_plan = sign(world, buyer, quote_of(http, question(103)))
        assert problem(hand_in(http, same_plan)) == "plan-requested"
    world.open_raw(Request.from_json(first["request"]), signer=buyer)
    with pytest.raises(ContractReverted, match="ComputeLedgerNonceUsed"):
        world.open_raw(Request.from_json(second["request"]), signer=buyer)


def test_a_recorded_http_request_cannot_be_sent_again(shared_world: World, buyer: Signer) -> None:
    world = shared_world
    headers = {"Idempotency-Key": secrets.token_hex(8), "Content-Type": "application/json"}
    body = b'{"listing": "x", "sql": "SELECT 1"}'
    request = httpx.Request("POST", f"{world.url}/quotes", content=body, headers=headers)
    signed = next(SignedAuth(buyer).auth_flow(request))
    with httpx.Client() as http:
        assert problem(http.send(signed)) == "listing-unknown"
        again = httpx.Request("POST", signed.url, content=body, headers=signed.headers)
        assert problem(http.send(again)) == "request-replayed"
        fresh_key = {**dict(signed.headers), "idempotency-key": "another"}
        assert problem(http.post(str(signed.url), content=body, headers=fresh_key)) == "request-replayed"
        altered = httpx.Request("POST", signed.url, content=body + b" ", headers={**headers})
        forged = {**dict(signed.headers), "content-length": str(len(body) + 1)}
        assert (
            problem(http.post(str(altered.url), content=body + b" ", headers=forged))
            == "http-signature-rejected"
        )
        wrong = {**dict(signed.headers), SIGNATURE_HEADER: "0x" + "11" * 65}
        assert problem(http.post(str(signed.url), content=body, headers=wrong)) == "http-signature-rejected"
        assert problem(http.get(f"{world.url}/requests")) == "credentials-missing"


# --- what is not theirs ------------------------------------------------------------------------------------------------


def test_answers_vectors_and_shares_are_given_to_nobody_else(shared_world: World, buyer: Signer) -> None:
    world = shared_world
    request_id = world.open()
    world.contributed(request_id)
    world.answered(request_id)
    path = f"/requests/{to_hex(request_id)}"
    holder = world.holders[0].keys.signer
    for who in (buyer, holder, signer_of("stranger")):
        with world.http(who) as http:
            assert problem(http.get(f"{path}/answer")) == "not-yours"
    for who in (world.buyer_signer, buyer, holder, world.broker):
        with world.http(who) as http:
            assert problem(http.get(f"{path}/messages?kind=2")) == "message-private"
    for who in (world.buyer_signer, buyer, holder):
        with world.http(who) as http:
            assert problem(http.get(f"{path}/messages?kind=3")) == "message-private"
    with world.http(world.buyer_signer) as http:
        assert problem(http.get(f"{path}/messages?kind=1")) == "not-yours"
    with world.http(buyer) as http:
        assert problem(http.get(path)) == "not-yours"
        assert problem(http.get(f"{path}/receipt")) == "not-yours"
        accept = sign_acceptance(buyer, request_id, world.deployment.chain_id, world.deployment.ledger)
        headers = {"Idempotency-Key": "x"}
        response = http.post(f"{path}/acceptances", json={"signature": to_hex(accept)}, headers=headers)
        assert problem(response) == "not-yours"
    with world.http(world.buyer_signer) as http:
        response = http.post(f"{path}/acceptances", json={"signature": to_hex(accept)}, headers=headers)
        assert problem(response) == "bad-signature"


def test_strangers_do_nothing_at_all(shared_world: World) -> None:
    world, stranger = shared_world, signer_of("stranger")
    with world.http(stranger) as http:
        body = {"listing": LISTING, "sql": question(1), "purpose": "research"}
        headers = {"Idempotency-Key": "x"}
        assert problem(http.post("/quotes", json=body, headers=headers)) == "not-admitted"
        listing = {"name": "mine", "title": "mine", "assets": [to_hex(bytes(32))]}
        assert problem(http.post("/listings", json=listing, headers=headers)) == "not-yours"
    participants, settlement = world.contracts.participants, world.contracts.settlement
    own = Address(stranger.address)
    for call in (
        participants.admit(own, own, Roles.HOLDER, b"\1" * 32),
        participants.suspend(world.holders[0].address),
        settlement.mint(own, 1),
    ):
        with pytest.raises(ContractReverted, match="AccessManagedUnauthorized"):
            world.send(stranger, call)
    with pytest.raises(ContractReverted, match="ParticipantsInactive"):
        world.send(stranger, world.contracts.ledger.open_line("mine", 1))
