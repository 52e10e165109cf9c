"""Requests: what the exchange takes from a buyer, and what it shows of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from exchange import store as statements
from exchange.chainside import ChainSide
from exchange.errors import (
    AnswerNotReady,
    BalanceTooLow,
    BondTooLow,
    BuyerExcluded,
    ListingUnknown,
    MarketFull,
    NonceReused,
    NotAnswerable,
    NotYours,
    PlanRequested,
    QuoteMissing,
    RequestInvalid,
    RequestUnknown,
)
from exchange.follower import Follower
from exchange.listings import Listings
from exchange.participants import LicenceCheck, Participants
from exchange.progress import Progress
from exchange.quotes import asset_refs, windows_of
from exchange.settings import Settings
from exchange.store import Store
from exchange.types import ANSWERED_STAGES, Page, RequestRecord, Stage
from exchange.waiting import Waiting
from ledger.eip712 import require_acceptance, require_request_signature
from ledger.errors import ChainUnreachable
from ledger.types import Address, Digest, Request, Roles, to_hex
from privacy.agreement import require_secp256k1_public
from privacy.errors import PlanInvalid, WeakKey
from privacy.plan import Plan
from privacy.policy import Policy

SPAN_FACTOR_MAX: Final = 4  # a buyer may give holders and broker this much longer than quoted
_log = structlog.get_logger("exchange.requests")


@dataclass(frozen=True, slots=True)
class Services:
    """What the requests' service works with."""

    settings: Settings
    chain: ChainSide
    store: Store
    follower: Follower
    waiting: Waiting
    listings: Listings
    participants: Participants
    require_licence: LicenceCheck


class Requests:
    """The requests of this exchange.

    Args:
        services: what it works with.
        start: starts the workflow of a request that was taken; again is no second one.
        now_s: the wall clock.
    """

    def __init__(
        self, services: Services, *, start: Callable[[Digest], None], now_s: Callable[[], float] = time.time
    ) -> None:
        self._with, self._start, self._now_s = services, start, now_s
        self._taking = threading.Lock()  # one at a time: balance and bond are read for all that wait

    # --- taking one

    def take(
        self, sender: Address, *, plan_json: Mapping[str, Any], request: Request, signature: bytes
    ) -> RequestRecord:
        """Take a signed request, and relay it to the chain. The same one again is no new one.

        Raises:
            NotYours: the sender is not the request's buyer.
            BadSignature: the buyer did not sign it.
            RequestInvalid, ListingUnknown, ListingStale, BuyerExcluded, NotAdmitted: not as planned.
            LicenceRequired, LicenceRefused, LicenceUnconfirmed: where a buyer needs a licence.
            QuoteMissing: no quote that holds covers it.
            NonceReused, PlanRequested, BalanceTooLow, BondTooLow, MarketFull: it cannot be taken now.
        """
        if sender != request.buyer:
            raise NotYours("request", f"its buyer {to_hex(request.buyer)}")
        deployment = self._with.chain.deployment
        request_id = require_request_signature(request, signature, deployment.chain_id, deployment.ledger)
        try:
            return self._with.store.request(request_id)
        except RequestUnknown:
            plan = self._require_planned(request, plan_json)
            self._with.require_licence(request.buyer, Roles.BUYER)  # last: it may ask the buyer's city
        now = int(self._now_s())
        record = RequestRecord(
            request_id=request_id,
            request=request,
            signature=signature,
            plan=plan.to_bytes(),
            holders=tuple(Address(asset.holder) for asset in plan.assets),
            stage=Stage.SUBMITTED,
            reason="",
            runs=0,
            acceptance=b"",
            created_at=now,
        )
        with self._taking:
            self._require_covered(request)
            self._with.store.write(lambda connection: self._insert(connection, record))
        self._start(request_id)
        return record

    def _require_planned(self, request: Request, plan_json: Mapping[str, Any]) -> Plan:
        """Require that the request is what its plan, its listing and a quote say."""
        from privacy.planning import verify_plan

        self._with.participants.require(request.buyer, Roles.BUYER)
        if request.broker != self._with.chain.broker:
            raise RequestInvalid("request.broker", to_hex(self._with.chain.broker), to_hex(request.broker))
        listing = self._with.store.listing(listing_id=request.listing)
        if listing is None:
            raise ListingUnknown(to_hex(request.listing))
        policy = Policy.from_json(listing.policy)
        if not policy.admits(request.buyer):
            raise BuyerExcluded
        try:
            plan = Plan.from_json(plan_json)
            verify_plan(plan, policy)
        except PlanInvalid as err:
            raise RequestInvalid("plan", "the plan that its query and the policy give", str(err)) from err
        if bytes(plan.hash()) != request.plan_hash:
            raise RequestInvalid("request.plan_hash", to_hex(plan.hash()), to_hex(request.plan_hash))
        current = asset_refs(self._with.listings.require_current(listing))
        if bytes(plan.listing.id) != listing.listing_id or list(plan.assets) != current:
            raise RequestInvalid("plan.assets", "the listing's assets at their present versions", "others")
        self._require_terms(request, plan)
        self._require_deadlines(request, policy, plan)
        return plan

    def _require_terms(self, request: Request, plan: Plan) -> None:
        quote = self._with.store.quote_for(request.buyer, request.plan_hash, int(self._now_s()))
        if quote is None:
            raise QuoteMissing
        expected = {
            "rho_micro": quote.rho_micro,
            "price_minor": quote.price_minor,
            "holders": plan.holders,
            "min_holders": plan.min_holders,
            "colluders": plan.colluders,
            "dropouts": plan.dropouts,
        }
        for name, value in expected.items():
            if getattr(request, name) != value:
                raise RequestInvalid(f"request.{name}", str(value), str(getattr(request, name)))
        try:
            require_secp256k1_public(bytes([request.key_parity]) + request.key_x)
        except WeakKey as err:
            raise RequestInvalid("request.key_x", "a point of secp256k1", "none") from err

    def _require_deadlines(self, request: Request, policy: Policy, plan: Plan) -> None:
        """Require windows that the broker can keep, and that do not bind its bond for ever."""
        windows, head = windows_of(self._with.settings, policy, plan), self._with.follower.head
        spans = {
            "share_by": (request.share_by - request.approve_by, windows.share),
            "contribute_by": (request.contribute_by - request.share_by, windows.contribute),
            "answer_by": (request.answer_by - request.contribute_by, windows.answer),
        }
        latest = head + 2 * windows.approve
        if not head + 1 < request.approve_by <= latest:
            expected = f"a block in ({head + 1}, {latest}]"
            raise RequestInvalid("request.approve_by", expected, str(request.approve_by))
        for name, (actual, least) in spans.items():
            if not least <= actual <= SPAN_FACTOR_MAX * least:
                expected = f"{least} to {SPAN_FACTOR_MAX * least} blocks after the deadline before it"
                raise RequestInvalid(f"request.{name}", expected, f"{actual}")

    def _require_covered(self, request: Request) -> None:
        """Require credits and bond beside those of requests that wait. A chain that is away decides later."""
        waiting = self._with.store.read(statements.waiting_requests)
        try:
            if self._shortfall(request, waiting) is not None:
                unopened = [each for each in waiting if not self._with.chain.is_open(each[0])]
                shortfall = self._shortfall(request, unopened)
                if shortfall is not None:
                    raise shortfall
        except ChainUnreachable:
            _log.warning("request_taken_without_balance_check")

    def _shortfall(
        self, request: Request, waiting: list[tuple[Digest, Address, int]]
    ) -> BalanceTooLow | BondTooLow | None:
        own = sum(price for _, buyer, price in waiting if buyer == request.buyer)
        credits_left = self._with.chain.balance(request.buyer) - own
        if credits_left < request.price_minor:
            return BalanceTooLow(price=request.price_minor, available=max(0, credits_left))
        bond_left = self._with.chain.free_bond() - sum(price for _, _, price in waiting)
        if bond_left < request.price_minor:
            return BondTooLow(price=request.price_minor, available=max(0, bond_left))
        return None

    def _insert(self, connection: Connection, record: RequestRecord) -> None:
        buyer, limit = record.request.buyer, self._with.settings.live_requests_max
        if statements.is_nonce_used(connection, buyer, record.request.nonce):
            raise NonceReused
        for request_id, stage in statements.requests_of_plan(connection, buyer, record.request.plan_hash):
            if stage in ANSWERED_STAGES or not stage.is_final:
                raise PlanRequested(to_hex(request_id), stage.value)
        if statements.live_count(connection) >= limit:
            raise MarketFull(limit)
        statements.add_request(connection, record)

    # --- showing one

    def get(self, viewer: Address, request_id: Digest) -> RequestRecord:
        """Return a request to its buyer, its holders, this broker or a regulator.

        Raises:
            RequestUnknown, NotYours
        """
        record = self._with.store.request(request_id)
        insiders = {record.request.buyer, self._with.chain.broker, *record.holders}
        if viewer not in insiders and not self._with.participants.has(viewer, Roles.REGULATOR):
            raise NotYours("request", "its buyer, its holders, its broker and regulators")
        return record

    def page(self, viewer: Address, after: int, limit: int) -> Page[RequestRecord]:
        """Return the requests that a viewer may see: its own, or all for this broker and regulators."""
        is_regulator = self._with.participants.has(viewer, Roles.REGULATOR)
        sees_all = is_regulator or viewer == self._with.chain.broker
        return self._with.store.request_page(None if sees_all else viewer, after, limit)

    def progress(self, record: RequestRecord) -> Progress:
        """Return what the chain says of a request."""
        return self._with.follower.progress(record.request_id, record.request)

    def gas(self, progress: Progress) -> dict[bytes, int]:
        """Return the gas of a request's transactions, as far as it is known or the chain answers."""
        wanted = list({event.at.tx_hash for event in progress.events})
        known = self._with.store.gas_of(wanted)
        missing = [each for each in wanted if each not in known]
        if missing:
            try:
                found = self._with.chain.gas_used(missing)
            except ChainUnreachable:
                return known
            self._with.store.put_gas(found)
            known.update(found)
        return known

    def answer(self, viewer: Address, request_id: Digest) -> bytes:
        """Return Y, still masked for the buyer, to the buyer alone.

        Raises:
            NotYours: the viewer is not the request's buyer.
            AnswerNotReady: there is no answer, or none that is on the chain.
        """
        record = self._with.store.request(request_id)
        if viewer != record.request.buyer:
            raise NotYours("answer", "the buyer of the request")
        answered, stored = self.progress(record).answered, self._with.store.answer(request_id)
        if answered is None or stored is None or stored.root != answered.answer_root:
            raise AnswerNotReady(record.stage.value)
        return stored.payload

    def accept(self, sender: Address, request_id: Digest, signature: bytes) -> RequestRecord:
        """Take the buyer's acceptance of an answer: the payment is released at once.

        Raises:
            NotYours: the sender is not the request's buyer.
            BadSignature: the buyer did not sign it.
            NotAnswerable: there is no answer to accept, or no longer.
        """
        record = self._with.store.request(request_id)
        buyer, deployment = record.request.buyer, self._with.chain.deployment
        if sender != buyer:
            raise NotYours("request", "its buyer")
        require_acceptance(buyer, request_id, signature, deployment.chain_id, deployment.ledger)
        if self.progress(record).stage not in ANSWERED_STAGES:
            self._with.follower.catch_up()
        stage = self.progress(record).stage
        if stage not in ANSWERED_STAGES:
            raise NotAnswerable(stage.value)
        if stage is Stage.ANSWERED:
            self._with.store.set_acceptance(request_id, signature)
            self._with.waiting.touch(request_id)
        return self._with.store.request(request_id)
