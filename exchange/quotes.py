"""Quotes: a plan for a query, its price and expected errors, signed by the broker. It touches nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from exchange import store as statements
from exchange.errors import BuyerExcluded, RequestInvalid
from exchange.follower import Follower
from exchange.listings import Listings
from exchange.participants import Participants
from exchange.settings import Settings, Windows
from exchange.store import Store
from exchange.types import ANSWERED_STAGES, ListingRecord, QuoteRecord, ShownAsset
from ledger.encoding import tagged_hash
from ledger.signing import Signer
from ledger.types import Address, Digest, Roles, to_hex
from privacy.accounting import DELTA_DEFAULT, PrivacyLoss
from privacy.errors import ParametersInvalid, PlanRejected
from privacy.plan import Plan
from privacy.policy import Approval, Policy
from privacy.terms import PlanKind
from privacy.types import AssetRef, ListingRef, Violation
from privacy.types import Digest as PlanDigest

DEPOSIT_CELLS_PER_BLOCK: Final = 50_000
"""Ciphertexts of a deposit that a trustee adds up in a block's time: the window for sharing is longer by as many blocks."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it is given to the buyer.

    Attributes:
        record: the terms.
        plan: what would be computed.
        expected_error95: one entry for each column of the answer.
        loss: the request's ρ as (ε, δ), at the policy's δ.
        draft: the request without its key and nonce, in the protocol's JSON form.
        signature: the broker's over H("quote"; plan hash, buyer, ρ, price, expiry).
        existing_request: the buyer's request that answered the identical plan already, None if there is none.
    """

    record: QuoteRecord
    plan: Plan
    expected_error95: tuple[Any, ...]
    loss: PrivacyLoss
    draft: dict[str, str]
    signature: bytes
    existing_request: Digest | None


def quote_digest(quote: QuoteRecord) -> Digest:
    """Return H("quote"; planHash, buyer, ρ, price, expiresAt), which the broker signs."""
    return tagged_hash(
        "quote", quote.plan_hash, quote.buyer, quote.rho_micro, quote.price_minor, quote.expires_at
    )


class Quotes:
    """Plans and prices queries."""

    def __init__(
        self,
        *,
        settings: Settings,
        signer: Signer,
        store: Store,
        follower: Follower,
        listings: Listings,
        participants: Participants,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._signer, self._store, self._follower = settings, signer, store, follower
        self._listings, self._participants, self._now_s = listings, participants, now_s

    def make(
        self,
        buyer: Address,
        *,
        listing: str,
        sql: str,
        purpose: str | None,
        rho_micro: int | None,
        asked: Mapping[str, Any] | None = None,
    ) -> Quote:
        """Quote a query, with what the policy's kind of plans needs besides.

        Raises:
            NotAdmitted, BuyerExcluded: the sender may not ask.
            ListingUnknown, ListingStale: there is nothing to ask.
            PlanRejected: with every violation of grammar and policy.
        """
        self._participants.require(buyer, Roles.BUYER)
        found = self._listings.get(listing)
        policy = Policy.from_json(found.policy)
        if not policy.admits(buyer):
            raise BuyerExcluded
        plan = make_plan(
            found,
            policy,
            self._listings.require_current(found),
            sql=sql,
            purpose=purpose,
            rho_micro=rho_micro,
            asked=asked,
        )
        record = QuoteRecord(
            quote_id=secrets.token_hex(16),
            listing_id=found.listing_id,
            buyer=buyer,
            plan_hash=Digest(plan.hash()),
            rho_micro=plan.rho_micro,
            price_minor=policy.price.total_minor(plan.rho_micro, len(plan.assets)),
            expires_at=int(self._now_s()) + self._settings.quote_ttl_s,
        )
        errors = _expected_errors(plan)
        existing = self._existing(buyer, plan)
        self._store.add_quote(record)
        return Quote(
            record=record,
            plan=plan,
            expected_error95=errors,
            loss=PrivacyLoss.of(plan.rho_micro, policy.delta or DELTA_DEFAULT),
            draft=self._draft(record, plan, windows_of(self._settings, policy, plan)),
            signature=self._signer.sign(quote_digest(record)),
            existing_request=existing,
        )

    def forget_expired(self) -> None:
        """Delete quotes that no longer hold."""
        self._store.drop_quotes(int(self._now_s()))

    def _existing(self, buyer: Address, plan: Plan) -> Digest | None:
        found = self._store.read(lambda c: statements.requests_of_plan(c, buyer, plan.hash()))
        return next((request_id for request_id, stage in found if stage in ANSWERED_STAGES), None)

    def _draft(self, record: QuoteRecord, plan: Plan, windows: Windows) -> dict[str, str]:
        approve_by = self._follower.head + windows.approve
        share_by = approve_by + windows.share
        contribute_by = share_by + windows.contribute
        numbers = {
            "rho": record.rho_micro,
            "price": record.price_minor,
            "holders": plan.holders,
            "min_holders": plan.min_holders,
            "colluders": plan.colluders,
            "dropouts": plan.dropouts,
            "approve_by": approve_by,
            "share_by": share_by,
            "contribute_by": contribute_by,
            "answer_by": contribute_by + windows.answer,
        }
        return {
            "buyer": to_hex(record.buyer),
            "broker": to_hex(self._signer.address),
            "listing": to_hex(record.listing_id),
            "plan_hash": to_hex(record.plan_hash),
            **{name: str(number) for name, number in numbers.items()},
        }


def windows_of(settings: Settings, policy: Policy, plan: Plan) -> Windows:
    """Return the windows for a request: long ones where a person approves, and for work before sharing: the rounds of a
    join, the sums over a deposit."""
    windows = settings.manual_windows if policy.approval is Approval.MANUAL else settings.windows
    if plan.kind is PlanKind.DEPOSIT:
        from privacy.deposit.terms import deposit_policy

        cells = deposit_policy(policy).cube(policy).cells
        return replace(windows, share=windows.share + cells // DEPOSIT_CELLS_PER_BLOCK)
    if plan.kind is not PlanKind.JOIN:
        return windows
    from privacy.join.kind import JoinPlan

    entries = plan.terms.entries(plan) if isinstance(plan.terms, JoinPlan) else 0
    return replace(windows, share=windows.share + -(-entries // settings.join_entries_per_block))


def make_plan(
    listing: ListingRecord,
    policy: Policy,
    assets: Sequence[ShownAsset],
    *,
    sql: str,
    purpose: str | None,
    rho_micro: int | None,
    asked: Mapping[str, Any] | None = None,
) -> Plan:
    """Make the plan of a query over a listing.

    Raises:
        PlanRejected: with every violation.
    """
    from privacy.planning import build_plan  # sqlglot takes time to import: not before the first quote
    from privacy.sql import parse_query

    if purpose is None and len(policy.purposes) != 1:
        known = ", ".join(policy.purposes)
        raise PlanRejected([Violation("purpose-missing", f"expected a purpose, one of: {known}")])
    return build_plan(
        parse_query(sql, policy),
        policy,
        ListingRef(PlanDigest(listing.listing_id), listing.name),
        asset_refs(assets),
        purpose=policy.purposes[0] if purpose is None else purpose,
        rho_micro=policy.rho_per_request_micro if rho_micro is None else rho_micro,
        asked=asked,
    )


def asset_refs(assets: Sequence[ShownAsset]) -> list[AssetRef]:
    """Return a listing's assets as a plan names them, ascending by holder."""
    return [
        AssetRef.from_json(
            {
                "asset": to_hex(each.registered.asset_id),
                "version": str(each.registered.version),
                "holder": to_hex(each.registered.holder),
                "policy_hash": to_hex(each.registered.policy_hash),
                "snapshot_root": to_hex(each.registered.snapshot_root),
            }
        )
        for each in assets
    ]


def _expected_errors(plan: Plan) -> tuple[Any, ...]:
    from privacy.expected import expected_error95
    from privacy.planning import plan_parameters

    try:
        parameters = plan_parameters(plan)
    except ParametersInvalid as err:
        raise RequestInvalid("plan", "parameters that a sum is possible with", str(err)) from err
    return tuple(each.to_json() for each in expected_error95(plan, parameters))
