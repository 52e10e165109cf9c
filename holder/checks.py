"""What a holder checks before it takes part, by itself and against the chain: nothing is taken from the exchange.

Each check has a number, and the code follows that order: 1 the request, 2 the plan, 3 the assets, 4 the parties,
5 the policy's permissions, 6 the budgets. The roster is checked again when it is closed.
"""

from __future__ import annotations

import hmac
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from holder.chain_side import ChainSide, RequestView
from holder.errors import (
    AlreadyAnswered,
    AssetRefused,
    BrokerRefused,
    BudgetExhausted,
    BundleMismatch,
    BuyerQuotaExhausted,
    BuyerRefused,
    NotEntrusted,
    OperatorConflict,
    ParametersRefused,
    PlanRefused,
    PlanTampered,
    PurposeRefused,
    RequestForged,
    RequestPlanMismatch,
    RequestTampered,
    RhoRefused,
    RosterRefused,
    SealRefused,
)
from holder.exchange_client import PublishedRequest
from holder.store import HolderStore, quota_message
from holder.types import StoredAsset
from ledger.contracts import listing_id
from ledger.eip712 import require_request_signature
from ledger.errors import BadSignature
from ledger.signing import require_signature
from ledger.types import Address, Approved, AssetStatus, Deployment, Digest, Opened, Request, Roles
from privacy.errors import PrivacyError
from privacy.messages import Frame
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from privacy.session import Member, Session
from privacy.types import AssetRef


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that passed every check, with what it is about at this holder."""

    plan: Plan
    plan_json: dict[str, Any]
    asset: StoredAsset
    policy: Policy


def check_request(
    opened: Opened,
    published: PublishedRequest,
    *,
    me: Address,
    deployment: Deployment,
    chain: ChainSide,
    store: HolderStore,
) -> CheckedRequest:
    """Check everything that must hold before a request is approved.

    Raises:
        Refusal: the first check that fails, by name.
    """
    request = opened.request
    _require_genuine(opened, published, deployment)  # 1
    plan = _require_plan(published, request)  # 2
    mine, policy = _require_own_asset(plan, me, store)  # 3
    _require_verified(plan, policy)
    _require_agreement(request, plan)
    _require_registered(plan, mine, request, chain)
    _require_parties(plan.assets, request, chain)  # 4
    _require_permission(plan, policy, request)  # 5
    _require_budget(opened, mine, chain, store)  # 6
    _require_quota(request, policy, mine, store)
    return CheckedRequest(plan, dict(published.plan), mine, policy)


def check_roster(view: RequestView, plan: Plan, *, deployment: Deployment, chain: ChainSide) -> Session:
    """Check who approved, and derive the session.

    Raises:
        RosterRefused: a member that is not the registered holder of the plan's asset in the plan's version.
        OperatorConflict: members that belong together, or to the buyer or broker.
        ParametersRefused: no sum is possible with these approvals.
    """
    request = view.opened.request
    planned = {bytes(asset.holder): asset for asset in plan.assets}
    members = []
    for holder, approval in sorted(view.approved.items()):
        asset = planned.get(holder)
        if asset is None or (bytes(asset.asset), asset.version) != (approval.asset, approval.asset_version):
            raise RosterRefused(f"expected the plan's asset of each member, {_short(holder)} has another")
        registered = chain.asset(approval.asset)
        if registered.holder != holder or registered.line != approval.line:
            raise RosterRefused(f"{_short(holder)} is not the registered holder of its asset and line")
        members.append(_member(approval))
    _require_operators([member.holder for member in members], request, chain)
    return build_session(members, view, deployment)


def build_session(members: Iterable[Member], view: RequestView, deployment: Deployment) -> Session:
    """Derive the session of a roster.

    Raises:
        ParametersRefused: no sum is possible with it, or a key in it is unusable.
    """
    request = view.opened.request
    try:
        return Session.build(
            chain_id=deployment.chain_id,
            ledger=deployment.ledger,
            request_id=view.opened.request_id,
            plan_hash=request.plan_hash,
            members=members,
            colluders=request.colluders,
            dropouts=request.dropouts,
            min_holders=request.min_holders,
        )
    except PrivacyError as err:
        raise ParametersRefused(str(err)) from err


def members_of(view: RequestView) -> list[Member]:
    """Return the roster's members as the chain shows them."""
    return [_member(approval) for _, approval in sorted(view.approved.items())]


def _member(approval: Approved) -> Member:
    return Member(**{name: getattr(approval, name) for name in Member.__slots__})


def require_bundle(frame: Frame, session: Session, view: RequestView) -> None:
    """Require that a peer's bundle is the one whose hash is on the chain, signed by that peer.

    Raises:
        BundleMismatch: it is another, or another signed it.
    """
    holder = Address(session.members[frame.sender].holder)
    shown = view.shared[holder].bundle_hash
    if not hmac.compare_digest(frame.message_hash, shown):
        raise BundleMismatch(f"the bundle of {_short(holder)} is not the one on the chain")
    try:
        require_signature(holder, Digest(frame.message_hash), frame.signature)
    except BadSignature as err:
        raise BundleMismatch(f"the bundle of {_short(holder)}: {err}") from err


def require_seal(view: RequestView, survivors: set[int]) -> None:
    """Require that the seal is of exactly the contributions on the chain.

    Raises:
        SealRefused: another number of survivors, or another sum of commitments.
    """
    from privacy.curve import decode_curve_point, encode_point

    sealed = view.sealed
    if sealed is None or sealed.survivors != len(survivors):
        raise SealRefused(f"expected {len(survivors)} survivors, the seal says otherwise")
    try:
        points = [decode_curve_point(event.commitment) for event in view.contributed.values()]
    except PrivacyError as err:
        raise SealRefused(f"a commitment on the chain is no point: {err}") from err
    if encode_point(reduce(operator.add, points)) != sealed.commitment_sum:
        raise SealRefused("the sealed sum is not that of the commitments on the chain")


# --- 1 the request ---------------------------------------------------------------------------------------------------


def _require_genuine(opened: Opened, published: PublishedRequest, deployment: Deployment) -> None:
    try:
        computed = require_request_signature(
            opened.request, opened.signature, deployment.chain_id, deployment.ledger
        )
    except BadSignature as err:
        raise RequestForged(str(err)) from err
    if computed != opened.request_id:
        raise RequestForged("the request's id is not the digest of its content")
    if published.request != opened.request or published.signature != opened.signature:
        raise RequestTampered("the exchange's copy of the request is not the one on the chain")


# --- 2 the plan ------------------------------------------------------------------------------------------------------


def _require_plan(published: PublishedRequest, request: Request) -> Plan:
    try:
        plan = Plan.from_json(published.plan)
    except (PrivacyError, ValueError, ArithmeticError) as err:
        raise PlanRefused(f"the plan is malformed: {err}") from err
    if plan.hash() != request.plan_hash:
        raise PlanTampered("the plan's hash is not the one that the buyer signed")
    return plan


def _require_verified(plan: Plan, policy: Policy) -> None:
    try:
        verify_plan(plan, policy)
    except PrivacyError as err:
        raise PlanRefused(str(err)) from err


def _require_agreement(request: Request, plan: Plan) -> None:
    pairs = {
        "rho": (request.rho_micro, plan.rho_micro),
        "holders": (request.holders, plan.holders),
        "min_holders": (request.min_holders, plan.min_holders),
        "colluders": (request.colluders, plan.colluders),
        "dropouts": (request.dropouts, plan.dropouts),
    }
    wrong = [
        f"{name} {signed}, plan {planned}" for name, (signed, planned) in pairs.items() if signed != planned
    ]
    if request.listing != plan.listing.id:
        wrong.append("another listing")
    if request.listing != listing_id(request.broker, plan.listing.name):
        wrong.append("a listing of another broker")
    if len(plan.assets) != request.holders:
        wrong.append(f"holders {request.holders}, plan {len(plan.assets)} assets")
    if wrong:
        raise RequestPlanMismatch("request and plan disagree: " + "; ".join(wrong))


# --- 3 the assets ----------------------------------------------------------------------------------------------------


def _require_own_asset(plan: Plan, me: Address, store: HolderStore) -> tuple[StoredAsset, Policy]:
    own = [asset for asset in plan.assets if bytes(asset.holder) == me]
    if len(own) != 1:
        raise AssetRefused(f"expected one asset of this holder in the plan, found {len(own)}")
    stored = store.asset(own[0].asset, own[0].version)
    if stored is None:
        raise AssetRefused(f"version {own[0].version} of the asset was never registered by this holder")
    if (bytes(own[0].policy_hash), bytes(own[0].snapshot_root)) != (stored.policy_hash, stored.snapshot_root):
        raise AssetRefused("the plan's policy hash or snapshot root is not this holder's own")
    policy = Policy.from_mapping(stored.policy)
    if bytes(policy.hash()) != stored.policy_hash:
        raise AssetRefused("this holder's policy copy does not have the registered hash")
    return stored, policy


def _require_registered(plan: Plan, mine: StoredAsset, request: Request, chain: ChainSide) -> None:
    for planned in plan.assets:
        found = chain.asset(Digest(planned.asset))
        shown = (found.holder, found.version, found.policy_hash, found.snapshot_root)
        wanted = (bytes(planned.holder), planned.version, planned.policy_hash, planned.snapshot_root)
        if found.status != AssetStatus.REGISTERED or shown != wanted:
            raise AssetRefused(f"the asset of {_short(planned.holder)} is not the one on the chain")
        if chain.entrusted_to(Digest(request.listing), Digest(planned.asset)) != request.broker:
            raise NotEntrusted(
                f"the asset of {_short(planned.holder)} is not entrusted to the broker's listing"
            )
        if found.asset_id == mine.asset_id and found.line != mine.line:
            raise AssetRefused("the asset charges another budget line on the chain")
    if chain.entrusted_to(Digest(request.listing), mine.asset_id) != request.broker:
        raise NotEntrusted("this holder's asset is not entrusted to the broker's listing")


# --- 4 the parties ---------------------------------------------------------------------------------------------------


def _require_parties(assets: Iterable[AssetRef], request: Request, chain: ChainSide) -> None:
    if not chain.participant(request.buyer).has(Roles.BUYER):
        raise BuyerRefused("the buyer is no active buyer on the chain")
    if not chain.participant(request.broker).has(Roles.BROKER):
        raise BrokerRefused("the broker is no active broker on the chain")
    _require_operators([Address(asset.holder) for asset in assets], request, chain)


def _require_operators(holders: Iterable[bytes], request: Request, chain: ChainSide) -> None:
    taken = {
        chain.participant(request.buyer).operator: "the buyer",
        chain.participant(request.broker).operator: "the broker",
    }
    for holder in holders:
        participant = chain.participant(Address(holder))
        if not participant.has(Roles.HOLDER):
            raise RosterRefused(f"{_short(holder)} is no active holder on the chain")
        if participant.operator in taken:
            raise OperatorConflict(f"{_short(holder)} has one operator with {taken[participant.operator]}")
        taken[participant.operator] = _short(holder)


# --- 5 permissions, 6 budgets ----------------------------------------------------------------------------------------


def _require_permission(plan: Plan, policy: Policy, request: Request) -> None:
    if plan.purpose not in policy.purposes:
        raise PurposeRefused(f"the policy allows {', '.join(policy.purposes)}, not {plan.purpose!r}")
    if not policy.admits(request.buyer):
        raise BuyerRefused("the policy does not name this buyer")
    if request.rho_micro > policy.rho_per_request_micro:
        limit = policy.rho_per_request_micro
        raise RhoRefused(f"expected at most {limit} micro-rho a request, got {request.rho_micro}")


def _require_budget(opened: Opened, mine: StoredAsset, chain: ChainSide, store: HolderStore) -> None:
    request = opened.request
    if store.is_answered(request.buyer, request.plan_hash, other_than=opened.request_id):
        raise AlreadyAnswered("this plan of this buyer was sealed before: fetch its stored answer")
    own = store.line(mine.line)
    if own is None or own.left < request.rho_micro:
        left = 0 if own is None else own.left
        raise BudgetExhausted(
            f"asked for {request.rho_micro} micro-rho, this holder's own ledger has {left} left"
        )
    on_chain = chain.line(mine.line)
    if on_chain.left < request.rho_micro:
        raise BudgetExhausted(
            f"asked for {request.rho_micro} micro-rho, the chain's line has {on_chain.left} left"
        )


def _require_quota(request: Request, policy: Policy, mine: StoredAsset, store: HolderStore) -> None:
    most = policy.rho_per_buyer_micro
    if most is None:
        return
    used = store.buyer_used(mine.line, request.buyer)
    if used + request.rho_micro > most:
        raise BuyerQuotaExhausted(quota_message(request.rho_micro, used, most))


def _short(holder: bytes) -> str:
    return "0x" + holder.hex()[:8]
