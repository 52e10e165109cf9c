"""A dishonest broker, between real holders and in front of a real buyer, on the real contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from client.errors import AnswerMismatch, AnswerWithheld
from exchange.tables import messages
from holder.errors import ReceiptRejected
from holder.types import Hold, Stage
from ledger.database import write_transaction
from ledger.eip712 import request_id as request_id_of
from ledger.errors import ContractReverted
from ledger.types import Address, Contribution, Digest, Request, RequestState, Roles, SessionKeys, to_hex
from privacy.messages import Frame, Kind, decode_frame, decode_frames, message_hash
from privacy.plan import Plan
from privacy.sealed_sum import answer_root
from tests.misbehaviour.world import (
    LISTING,
    Holder,
    World,
    flipped,
    is_body,
    is_bundles,
    is_post,
    problem,
    replaced,
    require_silence,
    signer_of,
    with_json,
)

KEYS = SessionKeys(b"\1" * 32, b"\2" * 32, b"\3" * 32, 2, b"\4" * 32)


@pytest.fixture
def market(shared_world: World) -> World:
    """The market that these tests share."""
    return shared_world


def reverts(name: str) -> Any:
    return pytest.raises(ContractReverted, match=name)


# --- share rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [60, -1], ids=["payload", "signature"])
def test_an_altered_bundle_stops_its_recipient_and_the_others_still_answer(
    market: World, position: int
) -> None:
    victim, others = market.holders[0], market.holders[1:]
    request_id = market.open()
    market.shared(request_id)
    victim.middleman.alter = lambda request, response: (
        replaced(response, flipped(response.content, position)) if is_bundles(request) else response
    )
    market.settle_down(request_id, 3)
    assert (victim.stage(request_id), victim.reason(request_id)) == (Stage.REFUSED, "BundleMismatch")
    assert not victim.middleman.of_kind(request_id, Kind.MASKED_INPUT)
    market.mine_past(market.request_of(request_id).contribute_by)
    market.answered(request_id)
    dropped = market.index_of(victim, request_id)
    for holder in others:
        (frame,) = holder.middleman.of_kind(request_id, Kind.UNMASK)
        types = {row.owner: row.type for row in unmask_of(frame).shares}
        assert [owner for owner, kind in types.items() if kind.name == "MASK_KEY"] == [dropped]
    assert market.buyer.fetch(request_id).survivors == 2
    market.settle_down(request_id, 1)
    assert victim.parts.store.request(request_id).hold is Hold.RELEASED
    require_silence(market, request_id)


def unmask_of(frame: bytes) -> Any:
    from privacy.sealed_sum import Unmask

    return Unmask.of_payload(decode_frame(frame).payload)


@pytest.mark.parametrize("how", ["withheld", "another sender's twice", "of another request"])
def test_who_does_not_get_every_share_row_contributes_nothing(market: World, how: str) -> None:
    victim = market.holders[0]
    request_id, other = market.open(), market.open()
    if how == "of another request":
        market.shared(other)
    market.shared(request_id)

    def alter(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if not is_bundles(request):
            return response
        frames = decode_frames(response.content)
        kept = [frame for frame in frames if frame.sender != market.index_of(market.holders[1], request_id)]
        if how == "another sender's twice":
            kept += kept
        if how == "of another request":
            session = market.session(other).id
            kept += [
                decode_frame(each.frame)
                for each in market.market.store.message_list(other, session, int(Kind.BUNDLE))
            ]
        return replaced(response, b"".join(frame.encode() for frame in kept))

    victim.middleman.alter = alter
    market.settle_down(request_id, 3)
    assert victim.stage(request_id) is Stage.SHARED
    assert not victim.middleman.of_kind(request_id, Kind.MASKED_INPUT)
    market.mine_past(market.request_of(request_id).contribute_by)
    market.seal(request_id)
    market.settle_down(request_id, 1)
    assert (victim.stage(request_id), victim.detail(request_id)) == (
        Stage.CLOSED,
        "sealed without this holder",
    )
    require_silence(market, request_id)


# --- masked vectors and their receipts -------------------------------------------------------------------------


@pytest.mark.parametrize("position", [50, -100], ids=["first cell", "lane"])
def test_a_sum_over_an_altered_masked_vector_is_never_accepted(market: World, position: int) -> None:
    request_id = market.open()
    market.contributed(request_id)
    change_stored_input(market, request_id, lambda frame: flipped(frame, position))
    market.answered(request_id)
    with pytest.raises(AnswerMismatch) as caught:
        market.buyer.fetch(request_id)
    assert not market.buyer.receipt_path(request_id).exists()
    assert "does not open" in str(caught.value)
    require_silence(market, request_id)


def change_stored_input(market: World, request_id: Digest, change: Any) -> None:
    """The broker alters, or with None loses, one masked vector that it signed for."""
    where = sa.and_(messages.c.request_id == request_id, messages.c.kind == 2, messages.c.sender == 1)
    with write_transaction(market.market.engine) as connection:
        frame = connection.execute(sa.select(messages.c.frame).where(where)).scalar_one()
        if change is None:
            connection.execute(sa.delete(messages).where(where))
        else:
            connection.execute(sa.update(messages).where(where).values(frame=change(frame)))


def test_a_masked_vector_that_was_signed_for_and_lost_costs_the_broker_its_bond(market: World) -> None:
    contracts, request_id = market.contracts, market.open()
    request, members = market.request_of(request_id), None
    market.contributed(request_id)
    change_stored_input(market, request_id, None)
    market.seal(request_id)
    market.settle_down(request_id, 2)
    assert market.payload(request_id) is None
    members = market.members(request_id)
    before = contracts.settlement.balance_of(request.buyer)
    bond = contracts.settlement.bond_of(request.broker).total
    market.mine_past(request.answer_by)
    market.settle_down(request_id, 2)  # acknowledged and never answered: the messages go on the chain
    market.mine_past(request.answer_by + 5)
    market.send(market.buyer_signer, contracts.ledger.withhold(request, members))
    assert contracts.ledger.state(request_id).state is RequestState.WITHHELD
    assert contracts.settlement.balance_of(request.buyer) - before == request.price_minor
    assert bond - contracts.settlement.bond_of(request.broker).total == request.price_minor
    market.settle_down(request_id, 1)
    require_silence(market, request_id)


def test_a_masked_vector_that_is_not_acknowledged_is_not_contributed(market: World) -> None:
    request_id = market.open()
    market.shared(request_id)
    for holder in market.holders:
        holder.middleman.drop = lambda request: is_post(request, Kind.MASKED_INPUT)
    for holder in market.holders:
        for _ in range(3):
            holder.try_step(request_id)
        assert holder.stage(request_id) is Stage.CONTRIBUTED
    assert market.contracts.ledger.state(request_id).contributed == 0
    request = market.request_of(request_id)
    market.mine_past(request.contribute_by)
    with reverts("ComputeLedgerStateWrong"):
        market.seal(request_id)
    market.send(market.buyer_signer, market.contracts.ledger.close(request, market.members(request_id)))
    market.settle_down(request_id, 1)
    assert {holder.stage(request_id) for holder in market.holders} == {Stage.CLOSED}
    require_silence(market, request_id)  # the same bytes were sent each time


def test_a_receipt_for_other_bytes_is_refused_by_holder_and_contract(market: World) -> None:
    request_id = market.open()
    market.shared(request_id)
    victim = market.holders[0]
    forged = market.broker.sign(Digest(message_hash(Kind.MASKED_INPUT, bytes(32), 0, b"other")))
    victim.middleman.alter = lambda request, response: (
        with_json(response, receipt=to_hex(forged)) if is_post(request, Kind.MASKED_INPUT) else response
    )
    with pytest.raises(ReceiptRejected):
        victim.step(request_id)
    assert market.contracts.ledger.state(request_id).contributed == 0
    call = contribution_of(market, victim, request_id, receipt=forged)
    with reverts("ComputeLedgerReceiptWrong"):
        market.send(victim.keys.signer, call)
    require_silence(market, request_id)


def contribution_of(market: World, holder: Holder, request_id: Digest, **changes: Any) -> Any:
    """The call with which a holder opens its commitment, with parts of it replaced."""
    from ledger.encoding import keccak

    progress = market.market.requests.progress(market.market.store.request(request_id))
    session = market.session(request_id)
    shared = progress.shares[holder.address]
    me = session.index_of(holder.address)
    stored = holder.parts.store.message(request_id, Kind.MASKED_INPUT)
    payload = b"" if stored is None else decode_frame(stored.frame).payload
    said = Contribution(
        line=session.members[me].line,
        keys_hash=session.members[me].keys_hash,
        bundle_hash=shared.bundle_hash,
        seed_hash=shared.seed_hash,
        session=session.id,
        sender=me,
        payload_hash=keccak(payload),
    )
    commitment = changes.get("commitment") or holder.parts.store.secret(request_id, "commitment")
    receipt = changes.get("receipt") or bytes(65)
    return market.contracts.ledger.contribute(market.request_of(request_id), said, commitment, receipt)


# --- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["altered", "with fewer cells"])
def test_an_altered_answer_under_its_own_root_is_never_accepted(market: World, how: str) -> None:
    request_id = market.open()
    market.contributed(request_id)
    market.seal(request_id)
    market.settle_down(request_id, 2)
    payload = market.payload(request_id)
    assert payload is not None
    lie = flipped(payload, 3) if how == "altered" else payload[8:]
    root = answer_root(market.session(request_id).id, lie)
    stored = market.market.store.answer(request_id)
    assert stored is not None
    market.market.store.put_answer(request_id, replace(stored, payload=lie, root=Digest(root)))
    market.answer(request_id, root)
    with pytest.raises(AnswerMismatch if how == "altered" else AnswerWithheld):
        market.buyer.fetch(request_id)  # a Y of another length is first asked for on the chain
    assert not market.buyer.receipt_path(request_id).exists()


def test_an_answer_other_than_its_root_and_then_no_chunk_is_withheld(market: World) -> None:
    request_id = market.open()
    market.contributed(request_id)
    market.seal(request_id)
    market.settle_down(request_id, 2)
    payload = market.payload(request_id)
    assert payload is not None
    market.answer(request_id, answer_root(market.session(request_id).id, flipped(payload, 3)))
    with pytest.raises(AnswerWithheld):
        market.buyer.fetch(request_id)
    assert not market.buyer.receipt_path(request_id).exists()
    market.mine(10)
    market.buyer.claim(request_id)
    assert market.contracts.ledger.state(request_id).state is RequestState.WITHHELD


# --- another request, plan or key for one holder ------------------------------------------------------------------


def other_key(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """The exchange puts its own key in place of the buyer's, to open the answer itself."""
    if not is_body(request):
        return response
    body = response.json()["request"]
    return with_json(response, request={**body, "key_x": to_hex(signer_of("mine").public_key[1:33])})


def weaker_plan(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """The exchange asks one holder for a plan with another purpose than was signed."""
    if not is_body(request):
        return response
    plan = response.json()["plan"]
    return with_json(response, plan={**plan, "purpose": "anything"})


def no_plan(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return with_json(response, plan={"lanes": [[], {}, 1e9]}) if is_body(request) else response


@pytest.mark.parametrize(
    ("lie", "name"),
    [(other_key, "RequestTampered"), (weaker_plan, "PlanTampered"), (no_plan, "PlanRefused")],
    ids=["swapped key", "another plan", "no plan"],
)
def test_a_holder_that_is_told_another_story_refuses_alone(market: World, lie: Any, name: str) -> None:
    request_id, victim = market.open(), market.holders[0]
    victim.middleman.alter = lie
    market.settle_down(request_id, 1)
    assert (victim.stage(request_id), victim.reason(request_id)) == (Stage.REFUSED, name)
    assert victim.parts.store.request(request_id).hold is Hold.NONE
    assert not victim.middleman.of_kind(request_id, Kind.BUNDLE)
    assert {holder.stage(request_id) for holder in market.holders[1:]} == {Stage.APPROVED}
    require_silence(market, request_id)


def test_the_body_of_another_request_is_refused(market: World) -> None:
    first, second = market.open(), market.open()
    victim = market.holders[0]
    with market.http(victim.keys.signer) as http:
        body = http.get(f"/requests/{to_hex(first)}").content
    victim.middleman.alter = lambda request, response: (
        replaced(response, body) if is_body(request) else response
    )
    victim.step(second)
    assert victim.reason(second) == "RequestTampered"


def test_a_key_that_the_buyer_did_not_sign_cannot_be_opened(market: World) -> None:
    record = market.market.store.request(market.submit())
    swapped = replace(record.request, key_x=signer_of("mine").public_key[1:33])
    with reverts("ComputeLedgerSignatureWrong"):
        market.send(market.broker, market.contracts.ledger.open(swapped, record.signature))
    with reverts("ComputeLedgerCallerWrong"):
        market.send(signer_of("stranger"), market.contracts.ledger.open(record.request, record.signature))


def test_nobody_approves_shares_or_contributes_in_a_holders_name(market: World) -> None:
    request_id = market.open()
    request, asset = market.request_of(request_id), asset_of(market.holders[0])
    with reverts("ParticipantsInactive"):
        market.send(market.broker, market.contracts.ledger.approve(request, asset, KEYS))
    with reverts("AssetRegistryNotHolder|AssetRegistryNotEntrusted"):
        market.send(
            market.holders[1].keys.signer,
            market.contracts.ledger.approve(request, asset, KEYS),
        )
    market.shared(request_id)
    call = contribution_of(market, market.holders[0], request_id)
    with reverts("ComputeLedgerStageWrong"):
        market.send(market.broker, call)


def asset_of(holder: Holder) -> Digest:
    return holder.parts.store.newest_assets()[0].asset_id


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_request_cannot_be_opened_twice_nor_its_nonce_used_again(market: World) -> None:
    request_id = market.open()
    record = market.market.store.request(request_id)
    with reverts("ComputeLedgerStateWrong"):
        market.send(market.broker, market.contracts.ledger.open(record.request, record.signature))
    with reverts("ComputeLedgerNonceUsed"):
        market.open_raw(replace(record.request, price_minor=1))


def test_the_same_plan_in_a_new_request_is_refused_by_every_holder(market: World) -> None:
    request_id = market.open()
    market.contributed(request_id)
    market.answered(request_id)
    market.settle_down(request_id, 1)
    record = market.market.store.request(request_id)
    head = market.chain.block_number()
    deadlines: dict[str, Any] = {
        "approve_by": head + 50,
        "share_by": head + 60,
        "contribute_by": head + 70,
        "answer_by": head + 80,
    }
    again = replace(record.request, nonce=record.request.nonce + 1, **deadlines)
    market.open_raw(again)
    second = request_id_of(again, market.deployment.chain_id, market.deployment.ledger)
    publish(market, second, again, record.plan)
    market.settle_down(second, 1)
    assert {holder.reason(second) for holder in market.holders} == {"AlreadyAnswered"}
    require_silence(market, second)


def publish(market: World, request_id: Digest, request: Request, plan: bytes) -> None:
    """The dishonest exchange hands out a request that it would not have taken."""
    signature = to_hex(market.sign(market.buyer_signer, request))
    body = {"request": request.to_json(), "signature": signature, "plan": Plan.from_bytes(plan).to_json()}
    for holder in market.holders:
        holder.middleman.alter = lambda asked, response: (
            httpx.Response(200, json=body) if is_body(asked) else response
        )


# --- seal and roster -------------------------------------------------------------------------------------------------


def test_a_seal_before_its_time_or_below_the_floor_reverts(market: World) -> None:
    request_id = market.open()
    with reverts("ComputeLedgerStateWrong"):
        market.seal(request_id)
    market.shared(request_id)
    first = market.holders[0]
    for _ in range(3):
        first.step(request_id)
    assert market.contracts.ledger.state(request_id).contributed == 1
    with reverts("ComputeLedgerTooEarly"):
        market.seal(request_id)
    request = market.request_of(request_id)
    with reverts("ComputeLedgerNotClosable"):
        market.send(market.broker, market.contracts.ledger.close(request, market.members(request_id)))
    market.mine_past(request.contribute_by)
    with reverts("ComputeLedgerBelowFloor"):
        market.seal(request_id)
    first.step(request_id)
    assert not first.middleman.of_kind(request_id, Kind.UNMASK)
    market.send(market.broker, market.contracts.ledger.close(request, market.members(request_id)))
    first.step(request_id)
    assert first.stage(request_id) is Stage.CLOSED
    assert first.parts.store.request(request_id).hold is Hold.RELEASED


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("the broker's operator", "ParticipantsOperatorShared"),
        ("the buyer's operator", "ParticipantsOperatorShared"),
        ("admitted after the opening", "ParticipantsHolderTooNew"),
        ("an asset that is not listed", "AssetRegistryNotEntrusted"),
    ],
)
def test_the_broker_cannot_fill_the_roster_with_its_own_nodes(market: World, how: str, name: str) -> None:
    node = signer_of(f"node {how}")
    owner = {"the broker's operator": market.broker, "the buyer's operator": market.buyer_signer}.get(how)
    operator = None if owner is None else market.contracts.participants.get(owner.address).operator
    if how != "admitted after the opening":
        market.admit(node, Roles.HOLDER, operator=operator)
        asset = register(market, node, listed=how != "an asset that is not listed")
    request_id = market.open()
    if how == "admitted after the opening":
        market.admit(node, Roles.HOLDER)
        asset = register(market, node, listed=True)
    with reverts(name):
        market.send(node, market.contracts.ledger.approve(market.request_of(request_id), asset, KEYS))


def test_an_operator_has_one_holder_account(market: World) -> None:
    operator = Address(b"\x77" * 20)
    market.admit(signer_of("first"), Roles.HOLDER, operator=operator)
    with reverts("ParticipantsOperatorHasHolder"):
        market.admit(signer_of("second"), Roles.HOLDER, operator=operator)


def test_a_listed_holder_that_is_not_in_the_plan_stops_the_request_and_learns_nothing(market: World) -> None:
    node = signer_of("accomplice")
    market.admit(node, Roles.HOLDER)
    asset = register(market, node, listed=True)
    request_id = market.open()
    market.send(node, market.contracts.ledger.approve(market.request_of(request_id), asset, KEYS))
    honest = market.holders[:2]  # the roster is full before the third holder sees the request
    market.run_to(request_id, Stage.REFUSED, honest)
    market.holders[2].step(request_id)
    assert market.holders[2].reason(request_id) == "DeadlineTooNear"
    assert {holder.reason(request_id) for holder in honest} == {"RosterRefused"}
    assert not any(holder.middleman.of_kind(request_id, kind) for holder in market.holders for kind in Kind)
    require_silence(market, request_id)


def register(market: World, node: Any, *, listed: bool) -> Digest:
    """Register an asset with a line, and entrust it to the broker's listing."""
    from ledger.contracts import asset_id, listing_id

    policy = market.holders[0].parts.store.newest_assets()[0].policy_hash
    assets, broker = market.contracts.assets, market.broker.address
    market.send(node, market.contracts.ledger.open_line("meters", 10_000_000))
    market.send(node, assets.register(LISTING, "meters", policy, bytes(32), bytes(32), 1))
    identity = asset_id(node.address, LISTING)
    if listed:
        market.send(node, assets.entrust(identity, listing_id(broker, LISTING), broker))
    return identity


def test_a_frame_signed_by_the_broker_is_not_taken_for_a_holders(market: World) -> None:
    request_id = market.open()
    market.shared(request_id)
    holder, session = market.holders[0], market.session(request_id)
    payload = bytes(8 * 6 + 32)
    digest = message_hash(Kind.MASKED_INPUT, session.id, session.index_of(holder.address), payload)
    frame = Frame(
        Kind.MASKED_INPUT,
        session.id,
        session.index_of(holder.address),
        payload,
        market.broker.sign(Digest(digest)),
    )
    assert problem(market.post_frame(holder, request_id, frame.encode())) == "bad-signature"
