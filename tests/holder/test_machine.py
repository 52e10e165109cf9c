"""The state machine of a request: the whole path, and every reason to refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holder import operations
from holder.errors import NotPending, ReceiptRejected
from holder.exchange_client import PublishedRequest
from holder.types import Hold, Stage
from ledger.types import Approved, Contributed, Digest, ParticipantStatus, Roles, Sealed, Shared
from privacy.messages import Kind, decode_frame
from privacy.sealed_sum import ShareType, Unmask
from tests.holder.model_chain import DEPLOYMENT
from tests.holder.tables import expected_cells
from tests.holder.world import Member, World, signer_for

SQL = "SELECT 城镇, COUNT(*), AVG(kwh) FROM 用电 GROUP BY 城镇"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def reasons(world: World, request_id: Digest) -> list[str | None]:
    return [member.store.request(request_id).reason for member in world.members]


def stages(world: World, request_id: Digest) -> list[Stage]:
    return [member.store.request(request_id).stage for member in world.members]


def refused(world: World, request_id: Digest) -> list[str | None]:
    """Step once and return the reasons."""
    world.step(request_id)
    return reasons(world, request_id)


# --- the whole path ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("holders", [1, 2, 3, 5])
def test_the_answer_opens_to_the_sum_of_the_holders_noisy_cells(holders: int, tmp_path: Path) -> None:
    world = World(tmp_path / "world", holders=holders, policy={"min_holders": 1})
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    noisy = [world.cells_of(member, request_id) for member in world.members]
    assert world.answer(request_id) == [sum(column) for column in zip(*noisy, strict=True)]
    plan = world.plan(SQL)
    for member, cells in zip(world.members, noisy, strict=True):
        plain = expected_cells(member.rows, plan, world.policy, lambda row: True)
        assert cells != plain
        sigma = max(float(lane.sigma_squared) for lane in plan.lanes) ** 0.5
        assert max(abs(a - b) for a, b in zip(cells, plain, strict=True)) < 12 * sigma
        line = member.store.line(member.asset.line)
        assert line is not None and (line.reserved, line.spent) == (0, plan.rho_micro)
        assert member.store.request(request_id).hold is Hold.SPENT


def test_the_path_is_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    import sqlalchemy as sa

    with sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS holder_store"))
        connection.execute(sa.text("CREATE DATABASE holder_store"))
    url = sa.make_url(postgres_url).set(database="holder_store").render_as_string(hide_password=False)
    world = World(tmp_path / "world", database_url=url)
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    world.answer(request_id)
    assert world.members[0].store.request(request_id).hold is Hold.SPENT
    world.members[0].store.engine.dispose()


def test_a_holder_that_drops_out_before_the_seal_does_not_stop_the_others(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    alive, dropped = world.members[1:], world.members[0]
    world.step(request_id, only=alive)
    world.chain.mine(25)  # past contribute_by
    world.chain.seal(request_id)
    world.chain.mine()
    world.run(request_id, Stage.DONE, only=alive)
    noisy = [world.cells_of(member, request_id) for member in alive]
    assert world.answer(request_id) == [sum(column) for column in zip(*noisy, strict=True)]
    world.step(request_id)
    stored = dropped.store.request(request_id)
    assert (stored.stage, stored.hold) == (Stage.CLOSED, Hold.RELEASED)
    line = dropped.store.line(dropped.asset.line)
    assert line is not None and (line.reserved, line.spent) == (0, 0)


def test_a_roster_that_is_not_full_goes_on_after_its_deadline(world: World) -> None:
    request_id = world.open(SQL)
    alive = world.members[:2]
    world.step(request_id, only=alive)
    assert stages(world, request_id)[:2] == [Stage.APPROVED, Stage.APPROVED]
    world.chain.mine(10)
    world.run(request_id, Stage.DONE, only=alive)
    assert len(world.answer(request_id)) == world.plan(SQL).cells
    assert world.session(request_id).n == 2


def test_many_requests_go_on_together(world: World) -> None:
    ids = [world.open(f"SELECT COUNT(*) AS n{k} FROM 用电", nonce=k) for k in range(8)]
    for _ in range(12):
        for member in world.members:
            for request_id in member.store.live_requests():
                member.machine.step(request_id)
        world.chain.mine()
        for request_id in ids:
            world.seal_if_due(request_id)
            world.answer_if_due(request_id, world.members)
    assert {stage for request_id in ids for stage in stages(world, request_id)} == {Stage.DONE}
    spent = [member.store.line(member.asset.line) for member in world.members]
    assert all(line is not None and line.spent == 8 * 1_000_000 and line.reserved == 0 for line in spent)


def test_unmask_releases_one_share_of_each_peer_and_keeps_no_other(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    for member in world.members:
        sent = [decode_frame(f) for a, k, f in world.broker.arrivals if a == member.address and k == 3]
        assert len({frame.encode() for frame in sent}) == 1
        assert set(Unmask.of_payload(sent[0].payload).types().values()) == {ShareType.SELF_SEED}
        with pytest.raises(Exception, match="no stored received"):
            member.store.secret(request_id, "received")


# --- refusals before approval -----------------------------------------------------------------------------


def republish(world: World, request_id: Digest, **changes: Any) -> None:
    old = world.broker.published[request_id]
    values = {"request": old.request, "signature": old.signature, "plan": old.plan} | changes
    world.broker.published[request_id] = PublishedRequest(**values)


def test_a_request_for_a_listing_of_others_is_not_even_seen(world: World) -> None:
    request_id = world.open(SQL, listing=bytes(32))
    assert all(request_id not in member.store.live_requests() for member in world.members)


def test_a_forged_signature_is_refused(world: World) -> None:
    world.buyer, forger = signer_for("forger"), world.buyer
    request_id = world.open(SQL)
    forged = world.broker.published[request_id]
    opened = world.chain.events[-1]
    object.__setattr__(opened, "signature", forger.sign(request_id))
    republish(world, request_id, signature=forger.sign(request_id))
    assert refused(world, request_id) == ["RequestForged"] * 3
    assert forged.request.buyer != forger.address


def test_an_id_that_is_not_the_digest_is_refused(world: World) -> None:
    world.open(SQL)
    opened = world.chain.events[-1]
    wrong = Digest(bytes([7]) * 32)
    object.__setattr__(opened, "request_id", wrong)
    world.broker.published[wrong] = next(iter(world.broker.published.values()))
    for member in world.members:
        member.machine.observe(opened)  # type: ignore[arg-type]
    assert refused(world, wrong) == ["RequestForged"] * 3


def test_another_copy_at_the_exchange_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    from dataclasses import replace

    old = world.broker.published[request_id].request
    republish(world, request_id, request=replace(old, nonce=old.nonce + 1))
    assert refused(world, request_id) == ["RequestTampered"] * 3


def test_another_plan_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    republish(world, request_id, plan=world.plan("SELECT COUNT(*) FROM 用电").to_json())
    assert refused(world, request_id) == ["PlanTampered"] * 3


def test_a_malformed_plan_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    republish(world, request_id, plan={"version": "1"})
    assert refused(world, request_id) == ["PlanRefused"] * 3


def test_a_plan_with_less_noise_than_its_own_query_gives_is_refused(world: World) -> None:
    from dataclasses import replace

    plan = world.plan(SQL)
    weak = replace(plan, lanes=(replace(plan.lanes[0], delta_squared=1), *plan.lanes[1:]))
    request_id = world.open(SQL, plan=weak)
    assert refused(world, request_id) == ["PlanRefused"] * 3


def test_a_purpose_that_the_policy_does_not_name_is_refused(world: World) -> None:
    from dataclasses import replace

    request_id = world.open(SQL, plan=replace(world.plan(SQL), purpose="advertising"))
    assert refused(world, request_id) == ["PlanRefused"] * 3


@pytest.mark.parametrize(
    "changes",
    [{"rho_micro": 2}, {"min_holders": 1}, {"colluders": 1}, {"dropouts": 0}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_request_that_disagrees_with_its_plan_is_refused(world: World, changes: dict[str, int]) -> None:
    request_id = world.open(SQL, **changes)
    assert refused(world, request_id) == ["RequestPlanMismatch"] * 3


def test_another_broker_than_the_listings_is_refused(world: World) -> None:
    request_id = world.open(SQL, broker=signer_for("other broker").address)
    assert refused(world, request_id) == ["RequestPlanMismatch"] * 3


@pytest.mark.parametrize("field", ["version", "policy_hash", "snapshot_root", "holder", "status", "line"])
def test_an_asset_that_is_not_the_chains_is_refused(world: World, field: str) -> None:
    from dataclasses import replace

    request_id = world.open(SQL)
    asset = world.members[0].asset.asset_id
    other: Any = {"version": 2, "holder": signer_for("x").address, "status": 6}.get(field, bytes([5]) * 32)
    world.chain.assets[asset] = replace(world.chain.assets[asset], **{field: other})
    assert refused(world, request_id)[0] == "AssetRefused"


def test_a_version_that_this_holder_never_registered_is_refused(world: World) -> None:
    from dataclasses import replace

    asset = world.members[0].asset.asset_id
    world.chain.assets[asset] = replace(world.chain.assets[asset], version=2)
    request_id = world.open(SQL)
    assert refused(world, request_id)[0] == "AssetRefused"


def test_an_asset_that_is_no_longer_entrusted_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    world.chain.entrusted.clear()
    assert refused(world, request_id) == ["NotEntrusted"] * 3


@pytest.mark.parametrize(("party", "reason"), [("buyer", "BuyerRefused"), ("broker", "BrokerRefused")])
def test_a_suspended_party_is_refused(world: World, party: str, reason: str) -> None:
    from dataclasses import replace

    address = (world.buyer if party == "buyer" else world.broker_signer).address
    request_id = world.open(SQL)
    participant = world.chain.participants[address]
    world.chain.participants[address] = replace(participant, status=ParticipantStatus.SUSPENDED)
    assert refused(world, request_id) == [reason] * 3


def test_a_buyer_that_the_policy_does_not_name_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path / "world", policy={"buyers": ["0x" + "ab" * 20]})
    assert refused(world, world.open(SQL)) == ["BuyerRefused"] * 3


@pytest.mark.parametrize("other", ["buyer", "broker", "holder1"])
def test_holders_that_belong_to_another_party_are_refused(world: World, other: str) -> None:
    from dataclasses import replace

    request_id = world.open(SQL)
    known = {"buyer": world.buyer, "broker": world.broker_signer, "holder1": world.members[1].signer}
    body = world.chain.participants[known[other].address].operator
    mine = world.members[0].address
    world.chain.participants[mine] = replace(world.chain.participants[mine], operator=body)
    assert refused(world, request_id) == ["OperatorConflict"] * 3


def test_a_request_over_the_own_budget_is_refused_whatever_the_chain_says(tmp_path: Path) -> None:
    world = World(tmp_path / "world", policy={"rho": {"per_request": "1", "total": "1"}})
    member = world.members[0]
    first = world.open(SQL)
    world.step(first, only=[member])
    world.chain.events = [event for event in world.chain.events if not isinstance(event, Approved)]
    second = world.open("SELECT COUNT(*) FROM 用电")
    world.step(second, only=[member])
    stored = member.store.request(second)
    assert (stored.reason, stored.hold) == ("BudgetExhausted", Hold.NONE)


def test_a_request_over_the_buyers_part_of_the_line_is_refused_by_name(tmp_path: Path) -> None:
    rho = {"per_request": "1", "per_buyer": "1", "total": "10"}
    world = World(tmp_path / "world", policy={"rho": rho})
    world.step(world.open(SQL))
    second = world.open("SELECT COUNT(*) FROM 用电")
    world.step(second)
    found = [member.store.request(second) for member in world.members]
    assert {(stored.reason, stored.hold) for stored in found} == {("BuyerQuotaExhausted", Hold.NONE)}


def test_a_request_over_the_chains_line_is_refused(world: World) -> None:
    for member in world.members:
        world.chain.totals[member.asset.line] = 1
    assert refused(world, world.open(SQL)) == ["BudgetExhausted"] * 3


def test_the_same_plan_of_the_same_buyer_is_answered_once(world: World) -> None:
    first = world.open(SQL)
    world.run(first, Stage.DONE)
    again = world.open(SQL)
    assert refused(world, again) == ["AlreadyAnswered"] * 3
    assert all(line.spent == 1_000_000 for member in world.members for line in member.store.lines())


def test_a_changed_file_is_refused(world: World) -> None:
    path = world.members[0].home / "rows.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    assert refused(world, world.open(SQL)) == ["SnapshotChanged", None, None]


def test_a_file_that_changes_after_the_approval_is_refused_and_the_reservation_is_settled(
    world: World,
) -> None:
    request_id = world.open(SQL)
    world.step(request_id)
    path = world.members[0].home / "rows.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    assert refused(world, request_id)[0] == "SnapshotChanged"
    line = world.members[0].store.lines()[0]
    assert (line.reserved, line.spent) == (1_000_000, 0)
    world.chain.close(request_id)
    world.chain.mine()
    world.step(request_id)
    line = world.members[0].store.lines()[0]
    assert (line.reserved, line.spent) == (0, 0)


def test_a_request_seen_after_its_deadline_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    world.chain.mine(10)
    assert refused(world, request_id) == ["DeadlineTooNear"] * 3


def test_a_body_that_is_not_published_yet_is_asked_for_again(world: World) -> None:
    request_id = world.open(SQL)
    held = world.broker.published.pop(request_id)
    assert world.members[0].machine.step(request_id) == pytest.approx(0.3)
    world.broker.published[request_id] = held
    world.run(request_id, Stage.DONE)


# --- a person decides -------------------------------------------------------------------------------------


def test_manual_requests_wait_for_a_person(tmp_path: Path) -> None:
    world = World(tmp_path / "world", manual=True)
    request_id = world.open(SQL)
    world.step(request_id)
    assert stages(world, request_id) == [Stage.PENDING_HUMAN] * 3
    assert not any(isinstance(event, Approved) for event in world.chain.events)
    for member in world.members[:2]:
        assert [r.request_id for r in operations.pending(member.store)] == [request_id]
        operations.approve(member.store, request_id)
        assert operations.pending(member.store) == ()
    operations.deny(world.members[2].store, request_id, "not this one")
    world.step(request_id)
    denied = world.members[2].store.request(request_id)
    assert (denied.stage, denied.reason, denied.detail) == (Stage.REFUSED, "DeniedByHolder", "not this one")
    assert denied.hold is Hold.NONE
    assert stages(world, request_id)[:2] == [Stage.APPROVED] * 2
    with pytest.raises(NotPending):
        operations.approve(world.members[2].store, request_id)
    shown = operations.describe(denied)
    assert shown["reason"] == "DeniedByHolder" and shown["listing"] == "用电"


def test_a_policy_with_manual_approval_waits_too(tmp_path: Path) -> None:
    world = World(tmp_path / "world", policy={"approval": "manual"})
    request_id = world.open(SQL)
    world.step(request_id)
    assert stages(world, request_id) == [Stage.PENDING_HUMAN] * 3
    world.chain.mine(10)
    assert refused(world, request_id) == ["DeadlineTooNear"] * 3


# --- refusals after approval ------------------------------------------------------------------------------


def test_a_member_with_another_asset_is_refused(world: World) -> None:
    request_id = world.open(SQL)
    world.step(request_id)
    stranger = world.chain.events[-1]
    assert isinstance(stranger, Approved)
    object.__setattr__(stranger, "asset_version", 2)
    assert refused(world, request_id) == ["RosterRefused"] * 3


def test_a_member_that_is_suspended_after_its_approval_is_refused(world: World) -> None:
    from dataclasses import replace

    request_id = world.open(SQL)
    world.step(request_id)
    address = world.members[2].address
    participant = world.chain.participants[address]
    world.chain.participants[address] = replace(participant, roles=Roles.BUYER)
    assert refused(world, request_id) == ["RosterRefused"] * 3


def to_shared(world: World) -> Digest:
    """A request whose shares are all on the chain, before anybody masked."""
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    world.chain.mine()
    return request_id


def tampered(frame: bytes, position: int) -> bytes:
    return frame[:position] + bytes([frame[position] ^ 1]) + frame[position + 1 :]


@pytest.mark.parametrize("position", [60, -1], ids=["payload", "signature"])
def test_an_altered_bundle_is_refused(world: World, position: int) -> None:
    request_id = to_shared(world)
    world.broker.tamper = lambda frame: tampered(frame, position % len(frame))
    assert refused(world, request_id) == ["BundleMismatch"] * 3


def test_bundles_that_are_no_frames_are_refused(world: World) -> None:
    request_id = to_shared(world)
    world.broker.tamper = lambda frame: frame[:-1]
    assert refused(world, request_id) == ["BundleMismatch"] * 3


def test_a_share_that_does_not_open_is_refused_by_its_recipient(world: World) -> None:
    """A dealer signs and commits to a bundle in which one share is garbage."""
    request_id = world.open(SQL)
    world.step(request_id)
    dealer = world.members[0]
    original = dealer.machine._mail.sign

    def sign(kind: Kind, session: Any, me: int, payload: bytes) -> Any:
        if kind is Kind.BUNDLE:
            payload = tampered(payload, 2 + 2 + 5)  # in the first recipient's share
        return original(kind, session, me, payload)

    dealer.machine._mail.sign = sign  # type: ignore[method-assign]
    world.run(request_id, Stage.SHARED)
    world.step(request_id)
    world.step(request_id)
    found = reasons(world, request_id)
    assert found.count("ShareRefused") == 1 and found[0] is None


def test_nobody_contributes_before_every_bundle_is_there(world: World) -> None:
    request_id = to_shared(world)
    key = next(key for key in world.broker.frames if key[1] == 1)
    held = world.broker.frames.pop(key)
    world.step(request_id)
    others = [member for member in world.members if member.address != key[2]]
    assert {member.store.request(request_id).stage for member in others} == {Stage.SHARED}
    world.broker.frames[key] = held
    world.run(request_id, Stage.DONE)


def test_a_receipt_by_another_than_the_broker_is_refused_and_nothing_is_contributed(world: World) -> None:
    request_id = to_shared(world)
    world.broker.receipts_by = signer_for("somebody")
    with pytest.raises(ReceiptRejected):
        world.members[0].machine.step(request_id)
    world.chain.mine()
    assert not any(isinstance(event, Contributed) for event in world.chain.events)
    world.broker.receipts_by = None
    world.run(request_id, Stage.DONE)


def test_nothing_is_shared_on_the_chain_before_the_exchange_has_the_bundle(world: World) -> None:
    request_id = world.open(SQL)
    world.broker.withhold = {1}
    world.step(request_id)
    world.step(request_id)
    world.step(request_id)
    assert stages(world, request_id) == [Stage.SHARED] * 3
    assert not any(isinstance(event, Shared) for event in world.chain.events)


def sealed(world: World) -> Digest:
    request_id = world.open(SQL)
    world.run(request_id, Stage.CONTRIBUTED)
    world.chain.mine()
    return request_id


def test_a_seal_that_counts_others_than_the_contributions_is_refused(world: World) -> None:
    request_id = sealed(world)
    world.chain.events = [e for e in world.chain.events if not isinstance(e, Sealed)]
    world.chain.emit(Sealed, request_id, 2, bytes(128))
    assert refused(world, request_id) == ["SealRefused"] * 3


def test_a_sealed_sum_that_is_not_the_commitments_sum_is_refused(world: World) -> None:
    request_id = sealed(world)
    view = world.chain.view(request_id)
    assert view is not None
    world.chain.events = [e for e in world.chain.events if not isinstance(e, Sealed)]
    wrong = next(iter(view.contributed.values())).commitment
    world.chain.emit(Sealed, request_id, 3, wrong)
    assert refused(world, request_id) == ["SealRefused"] * 3


def test_a_seal_below_the_floor_is_refused(world: World) -> None:
    request_id = sealed(world)
    drop = {member.address for member in world.members[1:]}
    world.chain.events = [
        e
        for e in world.chain.events
        if not isinstance(e, Sealed) and not (isinstance(e, Contributed) and e.holder in drop)
    ]
    world.chain.seal(request_id)
    world.chain.mine()
    assert refused(world, request_id)[0] == "SealRefused"
    assert all(kind != 3 for _, kind, _ in world.broker.arrivals)


def test_without_a_receipt_the_unmask_message_goes_on_the_chain(world: World) -> None:
    request_id = sealed(world)
    world.broker.withhold = {3}
    world.seal_if_due(request_id)
    world.step(request_id)
    assert stages(world, request_id) == [Stage.UNMASKED] * 3
    world.now += 21
    world.step(request_id)
    world.step(request_id)
    view = world.chain.view(request_id)
    assert view is not None and len(view.posted) == 3
    assert stages(world, request_id) == [Stage.DONE] * 3


def test_an_acknowledged_unmask_that_is_never_answered_goes_on_the_chain(world: World) -> None:
    request_id = sealed(world)
    world.seal_if_due(request_id)
    world.step(request_id)
    world.step(request_id)
    view = world.chain.view(request_id)
    assert view is not None and not view.posted
    world.chain.mine(40)
    world.step(request_id)
    world.step(request_id)
    view = world.chain.view(request_id)
    assert view is not None and len(view.posted) == 3


def test_a_reverted_approval_names_the_contracts_error(world: World) -> None:
    request_id = world.open(SQL)
    member = world.members[0]
    member.machine.step(request_id)
    world.chain.totals[member.asset.line] = 0
    world.chain.mine()
    world.step(request_id)
    stored = member.store.request(request_id)
    assert stored.reason == "TransactionReverted" and "BudgetExceeded" in (stored.detail or "")


def test_a_request_closed_by_the_contract_releases_the_reservation(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    world.chain.close(request_id)
    world.chain.mine()
    world.step(request_id)
    assert stages(world, request_id) == [Stage.CLOSED] * 3
    for member in world.members:
        assert [(line.reserved, line.spent) for line in member.store.lines()] == [(0, 0)]


def test_members_hold_nothing_in_the_clear(world: World) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.CONTRIBUTED)
    member: Member = world.members[0]
    secret = member.store.secret(request_id, "session")
    cells = member.store.secret(request_id, "cells")
    member.store.engine.dispose()
    stored = b"".join(path.read_bytes() for path in member.home.glob("holder.db*"))
    assert secret[4:36] not in stored and cells[:64] not in stored
    assert DEPLOYMENT.chain_id == 31337
