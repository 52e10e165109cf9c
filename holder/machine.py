"""The life of one request at this holder: SEEN → APPROVED → SHARED → CONTRIBUTED → UNMASKED → DONE.

`step` may be called at any time, by anybody, as often as one likes: it looks at the final chain and at the
store, and does the one thing that is due. Everything is checked here; what is sent was committed before;
what was decided once (secrets, noise, the one share of each peer) is read back, never made again.
"""

from __future__ import annotations

import secrets as system_secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from holder.audit_messages import stored_bundles
from holder.audit_seal import seal_for_regulators
from holder.calls import contribute_call, post_unmask_call, share_call
from holder.chain_side import PASSING_REVERTS, ChainSide, RequestView
from holder.checks import (
    build_session,
    check_request,
    check_roster,
    members_of,
    require_seal,
)
from holder.computation import Computation, SumComputation
from holder.data import DataRoom
from holder.deposit import DepositComputation
from holder.errors import (
    DeadlineTooNear,
    DeniedByHolder,
    ExchangeError,
    ExchangeMissing,
    Refusal,
    SealRefused,
    SessionChanged,
    ShareRefused,
    TransactionReverted,
)
from holder.exchange_client import Exchange
from holder.history import OwnHistory
from holder.join import JoinComputation
from holder.mail import Mail
from holder.score import ScoreComputation
from holder.session_secrets import SECRET_NAME, SessionSecrets
from holder.store import HolderStore
from holder.types import ENDED, Decision, Hold, OutMessage, Stage, StoredRequest
from ledger.contracts import Contracts
from ledger.errors import ContractReverted
from ledger.signing import Signer
from ledger.types import Call, Deployment, Digest, Opened
from privacy.errors import ProtocolError
from privacy.messages import Kind, decode_frame
from privacy.plan import Plan
from privacy.policy import Approval, Policy
from privacy.session import Session
from privacy.terms import PlanKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from privacy.generators import GeneratorCache
    from privacy.sealed_sum import ReceivedShares

AGAIN: Final = 0.0  # what a step returns when there may be more to do at once
RETRY_S: Final = 0.3
DECISION_S: Final = 0.5
_MOVES_MAX: Final = 8  # stages that one step may pass through
_AFTER_SHARING: Final = frozenset({Stage.CONTRIBUTED, Stage.UNMASKED})
_AFTER_APPROVAL: Final = _AFTER_SHARING | {Stage.SHARED}

log = structlog.get_logger("shuyao.holder")


class Machine:
    """Drives requests. One thread may work on one request at a time; several on several.

    Args:
        store: the memory.
        chain: the final chain and our transactions.
        exchange: where messages go through.
        data: the rows.
        signer: the holder's account.
        contracts: encodes calls.
        generators: of the commitments.
        manual: every request waits for a person.
        ack_timeout_s: how long the broker may take to acknowledge an unmask message.
        rand: the system's randomness.
        now_s: clock, Unix seconds.
    """

    def __init__(
        self,
        *,
        store: HolderStore,
        chain: ChainSide,
        exchange: Exchange,
        data: DataRoom,
        signer: Signer,
        contracts: Contracts,
        generators: GeneratorCache,
        manual: bool = False,
        ack_timeout_s: float = 20.0,
        rand: Callable[[int], bytes] = system_secrets.token_bytes,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._chain, self._exchange, self._data = store, chain, exchange, data
        self._signer, self._contracts, self._generators = signer, contracts, generators
        self._mail = Mail(store, exchange, signer)
        self._manual, self._ack_timeout_s = manual, ack_timeout_s
        self._rand, self._now_s = rand, now_s
        self._secrets = SessionSecrets(store)
        self._computations: dict[PlanKind, Computation] = {
            PlanKind.SUM: SumComputation(store, data, self._secrets),
            PlanKind.SCORE: ScoreComputation(store, data, self._secrets),
            PlanKind.DEPOSIT: DepositComputation(store, data, self._secrets, signer),
            PlanKind.JOIN: JoinComputation(
                store=store,
                data=data,
                secrets=self._secrets,
                chain=chain,
                exchange=exchange,
                signer=signer,
                rand=rand,
            ),
        }
        self._history = OwnHistory(store, self._secrets, signer.address)
        self._steps = {
            Stage.SEEN: self._seen,
            Stage.PENDING_HUMAN: self._pending,
            Stage.APPROVED: self._approved,
            Stage.SHARED: self._shared,
            Stage.CONTRIBUTED: self._contributed,
            Stage.UNMASKED: self._unmasked,
        }

    @property
    def _deployment(self) -> Deployment:
        return self._contracts.deployment

    def observe(self, opened: Opened) -> bool:
        """Remember a request if it is for a listing of ours; True when it is new."""
        listings = {each.listing for each in self._store.entrustments()}
        if opened.request.listing not in listings:
            return False
        new = self._store.see(opened.request_id, opened.request)
        if new:
            log.info("request seen", request=opened.request_id.hex(), buyer=opened.request.buyer.hex())
        return new

    def reopen(self, first_lost: int) -> tuple[Digest, ...]:
        """Take back what followed from blocks that the chain lost; the requests are live again."""
        self._history.forget_all()
        return self._store.reopen(first_lost)

    def step(self, request_id: Digest) -> float | None:
        """Do what is due for one request.

        Returns:
            After how many seconds to look again although the chain stands still; None if only the chain matters.

        Raises:
            ExchangeError, SourceUnreadable, ChainUnreachable, DatabaseError: for now; try again.
        """
        for _ in range(_MOVES_MAX):
            stored = self._store.request(request_id)
            view = self._chain.view(request_id)
            if view is None or not stored.is_live:
                break
            try:
                if self._settle(stored, view) or stored.stage in ENDED:
                    continue
                self._history.require(stored, view)
                if self._repeat(stored, view):
                    return None
                wait = self._steps[stored.stage](stored, view)
            except Refusal as refusal:
                self._refuse(stored, refusal)
                continue
            if wait != AGAIN:
                return wait
            log.info("done with stage", request=request_id.hex(), stage=stored.stage.value)
        self._forget(request_id)
        return None

    # --- what the chain decided ---------------------------------------------------------------------------

    def _settle(self, stored: StoredRequest, view: RequestView) -> bool:
        """Follow the chain in the own ledger: a charge at the seal, a release when there was none.

        Returns:
            Whether anything was changed.
        """
        request_id, me = stored.request_id, self._signer.address
        if view.sealed is not None and me in view.contributed:
            if stored.sealed:
                return False
            self._store.mark_sealed(request_id, block=view.sealed.at.block)
            return True
        ending = view.sealed or view.closed
        if ending is not None:
            released = self._store.settle(request_id, Hold.RELEASED)
            if stored.stage in ENDED:
                return released
            why = "sealed without this holder" if view.closed is None else f"reason {view.closed.reason}"
            self._store.finish(request_id, Stage.CLOSED, block=ending.at.block, detail=why)
            return True
        if stored.hold is Hold.RESERVED and me not in view.approved and view.is_roster_closed:
            late = "the approval came too late for the roster"
            self._store.settle(request_id, Hold.RELEASED)
            self._store.refuse(request_id, DeadlineTooNear.__name__, late)
            return True
        return False

    # --- what the chain lost ------------------------------------------------------------------------------

    def _repeat(self, stored: StoredRequest, view: RequestView) -> bool:
        """Bring back a step of ours that the chain lost after we went on from it; True when one is missing.

        Its transaction was sent again as signed, but may have come before those of others that it needs. What it says
        is read from the store: the same keys, hashes and commitment.
        """
        me, stage = self._signer.address, stored.stage
        if stage in _AFTER_APPROVAL and me not in view.approved:
            if not view.is_roster_closed:
                self._send_approval(stored, view)
            return not view.is_roster_closed
        session = self._same_session(stored, view) if stage in _AFTER_SHARING else None
        if session is None:
            return False
        if me not in view.shared:
            if not view.is_sharing_closed:
                self._send_share(stored, view, session, self._mail.stored(stored.request_id, Kind.BUNDLE))
            return not view.is_sharing_closed
        if stage is Stage.UNMASKED and me not in view.contributed and view.sealed is None:
            if view.is_sharing_closed:
                self._contribute(stored, view, session)
            return True
        return False

    # --- SEEN and PENDING_HUMAN: check and approve --------------------------------------------------------

    def _seen(self, stored: StoredRequest, view: RequestView) -> float | None:
        self._require_time(view.opened.request.approve_by, "approve")
        try:
            policy = self._check(stored, view)
        except ExchangeMissing:
            return RETRY_S
        if self._manual or policy.approval is Approval.MANUAL:
            self._store.wait_for_human(stored.request_id)
            log.info("request waits for a person", request=stored.request_id.hex())
            return DECISION_S
        self._approve(stored, policy)
        return AGAIN

    def _pending(self, stored: StoredRequest, view: RequestView) -> float | None:
        if stored.decision is Decision.DENY:
            raise DeniedByHolder(stored.detail or "denied by a person")
        self._require_time(view.opened.request.approve_by, "approve")
        if stored.decision is None:
            return DECISION_S
        policy = self._check(stored, view)  # budget, assets and data may have changed meanwhile
        self._approve(stored, policy)
        return AGAIN

    def _check(self, stored: StoredRequest, view: RequestView) -> Policy:
        published = self._exchange.request(stored.request_id)
        checked = check_request(
            view.opened,
            published,
            me=self._signer.address,
            deployment=self._deployment,
            chain=self._chain,
            store=self._store,
        )
        self._data.require_unchanged(checked.asset)
        asset = checked.asset
        self._store.set_plan(
            stored.request_id, checked.plan.to_json(), asset.asset_id, asset.version, asset.line
        )
        return checked.policy

    def _send_approval(self, stored: StoredRequest, view: RequestView) -> None:
        request, keys = view.opened.request, self._secrets.public_keys(stored.request_id)
        call = self._contracts.ledger.approve(request, stored.asset_id or Digest(bytes(32)), keys)
        self._transact("approve", stored, call, deadline=request.approve_by)

    def _approve(self, stored: StoredRequest, policy: Policy) -> None:
        from privacy.sealed_sum import HolderSecrets

        drawn = HolderSecrets.generate(self._rand)
        secrets = {SECRET_NAME: drawn.to_bytes()}
        self._store.approve(stored.request_id, secrets, buyer_most=policy.rho_per_buyer_micro)

    # --- APPROVED: reserve on the chain, then read the data, draw the noise, share --------------------------

    def _approved(self, stored: StoredRequest, view: RequestView) -> float | None:
        request = view.opened.request
        if self._signer.address not in view.approved:
            self._send_approval(stored, view)
            return None
        plan = Plan.from_json(stored.plan)
        computation = self._computations[plan.kind]
        computation.prepare(stored, plan)  # while the others approve
        if not view.is_roster_closed:
            return None
        self._require_time(request.share_by, "share")
        session = check_roster(view, plan, deployment=self._deployment, chain=self._chain)
        cells = computation.vector(stored, view, session, plan)
        if cells is None:
            return RETRY_S
        self._share(stored, session, plan, cells)
        return AGAIN

    def _share(self, stored: StoredRequest, session: Session, plan: Plan, cells: NDArray[np.int64]) -> None:
        """Commit and deal the shares: all of it on disk, with the cells and the bundle, in one transaction."""
        from privacy.sealed_sum import commit, make_bundle

        mine = self._secrets.of(stored.request_id)
        me = session.index_of(self._signer.address)
        computation = self._computations[plan.kind]
        try:
            commitment = commit(self._generators.take(plan.cells), cells, mine.blinding)
            payload = make_bundle(mine, session, me) + computation.bundle_rider(stored, session, plan)
        except ProtocolError as err:
            raise ShareRefused(str(err)) from err
        sealed = seal_for_regulators(mine, session, me, self._chain.regulators(), self._rand)
        self._store.advance(
            stored.request_id,
            (Stage.APPROVED, Stage.SHARED),
            message=self._mail.sign(Kind.BUNDLE, session, me, payload),
            secrets={"cells": cells.astype("<i8").tobytes(), "commitment": commitment, **sealed},
            session=session.id,
        )
        computation.forget(stored.request_id)

    # --- SHARED: pass the shares on, wait for the peers', mask ---------------------------------------------

    def _shared(self, stored: StoredRequest, view: RequestView) -> float | None:
        request = view.opened.request
        session = self._same_session(stored, view)
        if session is None:
            return None
        is_shared = self._signer.address in view.shared
        if not is_shared and view.is_sharing_closed:
            raise DeadlineTooNear("the share came too late")
        bundle = self._mail.deliver(view, Kind.BUNDLE)
        if not is_shared:
            self._send_share(stored, view, session, bundle)
            return None
        sharers = self._sharers(session, view)
        if not view.is_sharing_closed or len(sharers) < session.params.floor:
            return None
        self._require_time(request.contribute_by, "contribute")
        return self._mask(stored, view, session, sharers)

    def _send_share(
        self, stored: StoredRequest, view: RequestView, session: Session, bundle: OutMessage
    ) -> None:
        call = share_call(
            self._contracts,
            view,
            session,
            me=session.index_of(self._signer.address),
            mine=self._secrets.of(stored.request_id),
            bundle_hash=bundle.message_hash,
            commitment=self._store.secret(stored.request_id, "commitment"),
        )
        self._transact("share", stored, call, deadline=view.opened.request.share_by)

    def _mask(
        self, stored: StoredRequest, view: RequestView, session: Session, sharers: set[int]
    ) -> float | None:
        from privacy.payloads import split_rider
        from privacy.sealed_sum import mask_input, open_bundles

        mine, me = self._secrets.of(stored.request_id), session.index_of(self._signer.address)
        bundles = self._mail.bundles(view, session, sharers - {me})
        if bundles is None:
            return RETRY_S
        plan = Plan.from_json(stored.plan)
        request = view.opened.request
        kept = stored_bundles(bundles) if plan.bundle_rider_size else {}
        try:
            split = {i: split_rider(p, plan.bundle_rider_size, sender=i) for i, p in bundles.items()}
            received = open_bundles(mine, session, me, {i: shares for i, (shares, _) in split.items()})
            riders = {i: rider for i, (_, rider) in split.items()}
            rider = self._computations[plan.kind].input_rider(stored, session, plan, riders)
            payload = mask_input(
                mine,
                session,
                me,
                sharers=sharers,
                buyer_key=bytes([request.key_parity]) + request.key_x,
                cells=np.frombuffer(self._store.secret(stored.request_id, "cells"), dtype="<i8"),
            )
        except ProtocolError as err:
            raise ShareRefused(str(err)) from err
        self._store.advance(
            stored.request_id,
            (Stage.SHARED, Stage.CONTRIBUTED),
            message=self._mail.sign(Kind.MASKED_INPUT, session, me, payload + rider),
            secrets={"received": received.to_bytes(), **kept},
        )
        return AGAIN

    # --- CONTRIBUTED: hand in the masked input, open the commitment, wait for the seal ---------------------

    def _contributed(self, stored: StoredRequest, view: RequestView) -> float | None:
        from privacy.sealed_sum import ReceivedShares

        session = self._same_session(stored, view)
        if session is None or not view.is_sharing_closed:
            return None
        received = ReceivedShares.from_bytes(self._store.secret(stored.request_id, "received"))
        sharers = self._sharers(session, view)
        if set(received.sharers) != sharers:
            raise SessionChanged("the chain now shows other holders that shared than those masked for")
        if self._signer.address not in view.contributed:
            return self._contribute(stored, view, session)
        if view.sealed is None:
            return None
        self._unmask(stored, view, session, sharers, received)
        return AGAIN

    def _contribute(self, stored: StoredRequest, view: RequestView, session: Session) -> float | None:
        request = view.opened.request
        if self._chain.head() >= request.contribute_by:
            return None  # too late; the chain says how it ends
        message = self._mail.deliver(view, Kind.MASKED_INPUT)
        call = contribute_call(
            self._contracts,
            view,
            session,
            mine=self._secrets.of(stored.request_id),
            bundle_hash=self._mail.stored(stored.request_id, Kind.BUNDLE).message_hash,
            frame=decode_frame(message.frame),
            commitment=self._store.secret(stored.request_id, "commitment"),
            receipt=message.receipt or b"",
        )
        self._transact("contribute", stored, call, deadline=request.contribute_by)
        return None

    # --- UNMASKED: exactly one share of each peer, once ----------------------------------------------------

    def _unmask(
        self,
        stored: StoredRequest,
        view: RequestView,
        session: Session,
        sharers: set[int],
        received: ReceivedShares,
    ) -> None:
        """Decide the one share of each peer, forget the others, and only then send."""
        from privacy.sealed_sum import unmask_payload

        me = session.index_of(self._signer.address)
        survivors = {session.index_of(holder) for holder in view.contributed}
        require_seal(view, survivors)
        try:
            payload = unmask_payload(received, session, me, sharers=sharers, survivors=survivors)
        except ProtocolError as err:
            raise SealRefused(str(err)) from err
        self._store.advance(
            stored.request_id,
            (Stage.CONTRIBUTED, Stage.UNMASKED),
            message=self._mail.sign(Kind.UNMASK, session, me, payload),
            erase=("received",),
        )

    def _unmasked(self, stored: StoredRequest, view: RequestView) -> float | None:
        session = self._same_session(stored, view)
        if session is None or view.sealed is None:
            return None
        self._require_same_survivors(stored, view, session)
        if view.answered or self._signer.address in view.posted:
            self._store.finish(stored.request_id, Stage.DONE, block=view.head)
            return AGAIN
        request = view.opened.request
        overdue = self._now_s() - stored.updated_at_s > self._ack_timeout_s
        last_moment = self._chain.head() + 1 >= request.answer_by
        message = self._mail.stored(stored.request_id, Kind.UNMASK)
        if message.receipt is None:
            try:
                self._mail.deliver(view, Kind.UNMASK)
            except ExchangeError:
                if not overdue and not last_moment:
                    raise
                self._post_unmask(stored, view, message)
        elif view.head >= request.answer_by:
            self._post_unmask(
                stored, view, message
            )  # acknowledged and never answered: nobody may say it lacked
        return None

    def _post_unmask(self, stored: StoredRequest, view: RequestView, message: OutMessage) -> None:
        frame = decode_frame(message.frame)
        call = post_unmask_call(self._contracts, view, self._signer.address, frame)
        try:
            self._chain.send("post-unmask", stored.request_id, call, is_late=False)
        except ContractReverted as err:
            log.warning("post-unmask reverted", request=stored.request_id.hex(), error=err.name)
            self._store.finish(
                stored.request_id, Stage.DONE, block=view.head, detail=f"not posted: {err.name}"
            )

    def _require_same_survivors(self, stored: StoredRequest, view: RequestView, session: Session) -> None:
        from privacy.sealed_sum import ShareType, Unmask

        payload = decode_frame(self._mail.stored(stored.request_id, Kind.UNMASK).frame).payload
        decided = {
            owner for owner, kind in Unmask.of_payload(payload).types().items() if kind is ShareType.SELF_SEED
        }
        if decided != {session.index_of(holder) for holder in view.contributed}:
            raise SessionChanged("the chain now shows other survivors than those unmasked for")

    # --- common -------------------------------------------------------------------------------------------

    def _same_session(self, stored: StoredRequest, view: RequestView) -> Session | None:
        """Return the session that we shared in, None while the chain is still coming back to it.

        Raises:
            SessionChanged: the roster is closed and another one.
        """
        if not view.is_roster_closed or self._signer.address not in view.approved:
            return None
        session = build_session(members_of(view), view, self._deployment)
        if session.id != stored.session:
            raise SessionChanged("the chain now shows another roster than the one shared in")
        return session

    @staticmethod
    def _sharers(session: Session, view: RequestView) -> set[int]:
        return {session.index_of(holder) for holder in view.shared}

    def _transact(self, step: str, stored: StoredRequest, call: Call, *, deadline: int) -> None:
        """Make a transaction that counts until a block; wait if it was sent already, try again what came too early.

        Raises:
            TransactionReverted: the contract refuses it.
            DeadlineTooNear: it was never sent, and the next block is too late.
        """
        is_late = self._chain.head() >= deadline
        try:
            self._chain.send(step, stored.request_id, call, is_late=is_late)
        except ContractReverted as err:
            if is_late or err.name not in PASSING_REVERTS:
                raise TransactionReverted(f"{step}: {err}") from err
            self._chain.send_again(step, stored.request_id, call)

    def _require_time(self, deadline: int, step: str) -> None:
        """Refuse when the next block is after a deadline.

        Raises:
            DeadlineTooNear: it is.
        """
        if self._chain.head() >= deadline:
            raise DeadlineTooNear(f"{step}: due in block {deadline}, the chain is at {self._chain.head()}")

    def _refuse(self, stored: StoredRequest, refusal: Refusal) -> None:
        self._store.refuse(stored.request_id, refusal.reason, str(refusal))
        request = stored.request_id.hex()
        log.warning("request refused", request=request, reason=refusal.reason, detail=str(refusal))

    def _forget(self, request_id: Digest) -> None:
        for computation in self._computations.values():
            computation.forget(request_id)
        self._history.forget(request_id)
        self._secrets.forget(request_id)
