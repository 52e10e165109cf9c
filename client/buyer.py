"""The buyer: quote, submit, wait, fetch, accept. Its keys never leave this process.

The order of writes is the proof: a request is signed once and stored, with its key and its Idempotency-Key, before
it is sent; a receipt is on disk before the request counts as answered. A buyer that was killed calls the same
functions again and resumes.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from client.answering import (
    AnsweredRequest,
    answered_request,
    decode_receipt,
    open_answer,
    require_masked_answer,
)
from client.chain_checks import ChainSource
from client.chain_view import ChainView
from client.curves import ArkworksCurves, Curves
from client.demands import Demands
from client.deposits import Deposits
from client.errors import (
    AnswerMismatch,
    AnswerNotReady,
    ExchangeProblem,
    ExchangeReplyInvalid,
    ExchangeUnreachable,
    ReceiptNotValid,
    RequestClosed,
    RequestExpired,
    StoreError,
)
from client.facts import RequestFacts, read_assets
from client.files import make_private_directory, write_atomically
from client.losses import Spending, earlier_spending, known_lines, losses_of, quoted_delta
from client.market import Market
from client.models import Model
from client.quoting import check_quote, derive, require_listing
from client.scores import Scores
from client.settings import ClientSettings
from client.stock_models import StockModel
from client.store import Store
from client.submitting import Submission
from client.types import Answer, Charge, LocalState, Losses, Progress, Quote, Status, StoredRequest, Verdict
from client.vault import Vault
from client.verify import Subject, run_procedure
from client.waiting import OnProgress, Wait
from ledger.chain import Chain
from ledger.database import make_engine
from ledger.eip712 import sign_acceptance
from ledger.encoding import canonical_json
from ledger.receipt import Receipt, RosterMember, sign_receipt
from ledger.signing import Signer
from ledger.types import Answered, Digest, RequestState, to_hex
from privacy.accounting import DELTA_DEFAULT
from privacy.terms import PlanKind

if TYPE_CHECKING:
    from privacy.answer import AnswerTable
    from privacy.plan import Plan
    from privacy.session import Member


def ignore_progress(progress: Progress) -> None:
    """Take no notice of progress."""


class Buyer:
    """One buyer on one market.

    Args:
        settings: where its state is and whom it talks to.
        signer: its account.
        market: the exchange; made from the settings if not given.
        chain: its own node; made from the settings if not given.
        rand: returns that many bytes of the system's randomness.
        now_s: Unix seconds.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        settings: ClientSettings,
        signer: Signer,
        *,
        market: Market | None = None,
        chain: Chain | None = None,
        rand: Callable[[int], bytes] = secrets.token_bytes,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        make_private_directory(settings.home)
        make_private_directory(settings.receipts)
        self._settings, self._signer, self._deployment = settings, signer, settings.deployment
        self._market = market or Market(settings.exchange_url, signer, timeout_s=settings.timeout_s)
        self._chain = chain or Chain(settings.rpc_url, timeout_s=settings.timeout_s)
        self._engine = make_engine(settings.database_url)
        self._store = Store(
            self._engine,
            buyer=signer.address,
            chain_id=self._deployment.chain_id,
            ledger=self._deployment.ledger,
        )
        self._vault = Vault(signer)
        self._scores = Scores(self._store, self._vault, rand)
        self._deposits = Deposits(self._market, settings.cache)
        self._view = ChainView(self._chain, settings)
        self._submission = Submission(
            deployment=self._deployment,
            signer=signer,
            market=self._market,
            store=self._store,
            vault=self._vault,
            view=self._view,
            rand=rand,
            now_s=now_s,
        )
        self._now_s, self._clock, self._sleep = now_s, clock, sleep
        self._curves: Curves | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and database."""
        self._market.close()
        self._chain.close()
        self._engine.dispose()

    # --- before anything is signed

    def quote(
        self,
        listing: str,
        sql: str,
        purpose: str | None = None,
        rho_micro: int | None = None,
        *,
        delta: Decimal | None = None,
        model: Model | StockModel | None = None,
        group_rows: int | None = None,
    ) -> Quote:
        """Ask for a price, and derive everything else.

        Args:
            listing: name or id.
            sql: one SELECT from the listing.
            purpose: one of the policy's; may be omitted where there is only one.
            rho_micro: ρ for the whole answer; the policy's most if not given.
            delta: δ at which losses are shown; the policy's, or 1e-9, if not given.
            model: the weights of SCORE, where the listing takes private weights; only its ciphertexts leave. Or ciphertexts of
                the stock library, whose scores this client cannot open: see `Answer.scores_path`.
            group_rows: the group size, at least 1, that expected errors are stated for; 1,000 if not given.

        Raises:
            QueryRejected: with every violation.
            ListingMismatch, QuoteMismatch, QuoteExpired, DeploymentMismatch: the exchange tells another story
                than the chain and the buyer's own derivation. Nothing was signed.
            ExchangeUnreachable, ExchangeProblem, ExchangeReplyInvalid: no quote.
        """
        head = self._view.head()
        shown = self._market.listing(listing)
        asset_ids = [asset.asset for asset in shown.assets]
        registered = read_assets(self._chain, self._deployment.assets, shown.listing_id, asset_ids)
        policy = require_listing(shown, listing, registered)
        derivation = derive(
            shown,
            policy,
            buyer=self._signer.address,
            sql=sql,
            purpose=purpose,
            rho_micro=rho_micro,
            model=None if model is None else self._scores.prepare(model, policy),
        )
        lines = {each.asset.asset_id: each.asset.line for each in registered}
        standing = self.standing(derivation.plan.hash())
        standing_id = None if standing is None else standing.request_id  # it would not be charged again
        answered_by = standing_id if standing and standing.state is LocalState.ANSWERED else None
        shown_delta = delta or policy.delta or DELTA_DEFAULT
        reply = self._market.quote(
            listing=to_hex(shown.listing_id),
            sql=sql,
            purpose=derivation.plan.purpose,
            rho_micro=derivation.plan.rho_micro,
            asked=None if derivation.plan.terms is None else derivation.plan.terms.asked,
            idempotency_key=self._submission.fresh_idempotency_key(),
        )
        return check_quote(
            derivation,
            reply,
            buyer=self._signer.address,
            head=head,
            now_s=self._now_s(),
            answered_by=answered_by,
            charge=Charge(lines, self._losses(derivation.plan, standing_id, lines, shown_delta)),
            group_rows=group_rows,
        )

    # --- requesting

    def submit(self, quote: Quote) -> Digest:
        """Sign and hand in a request; for an identical plan that is under way or answered, that one.

        Returns:
            The request id.

        Raises:
            QuoteExpired: ask for a new quote; nothing was signed.
            ExchangeUnreachable: the signed request is kept; call again, or `wait`.
            ExchangeProblem: refused; the same signed request is handed in again by the next call.
        """
        return self._submission.submit(quote)

    def wait(
        self, request_id: Digest, progress: OnProgress = ignore_progress, *, timeout_s: float | None = None
    ) -> None:
        """Wait until the answer's root is final on the chain; may be called again after any interruption.

        Raises:
            RequestUnknown: not one of this buyer's.
            RequestClosed, RequestExpired, RequestRefused: there will be no answer; nothing is paid.
            WaitTimedOut: not yet.
        """
        stored = self._store.get(request_id)
        if stored.state is LocalState.ANSWERED:
            return
        if stored.state is LocalState.CLOSED:
            raise RequestClosed(request_id, stored.detail)
        if stored.state is LocalState.PREPARED:
            self._submission.resume(stored)
        try:
            Wait(
                stored=stored,
                market=self._market,
                look=lambda: self._view.facts(stored),
                on_progress=progress,
                timeout_s=timeout_s,
                poll_s=self._settings.poll_s,
                clock=self._clock,
                sleep=self._sleep,
            ).run()
        except RequestClosed as err:
            self._store.set_state(request_id, LocalState.CLOSED, err.reason)
            raise
        except RequestExpired:
            self._store.set_state(request_id, LocalState.EXPIRED)
            raise

    def fetch(self, request_id: Digest) -> Answer:
        """Fetch, open and verify the answer, and keep its receipt. A stored one is served from the receipt.

        Raises:
            RequestUnknown, AnswerNotReady, RequestClosed: there is no answer.
            AnswerWithheld: neither the exchange nor the chain gave out the Y of the answer root.
            AnswerMismatch: the answer is wrong, and the chain proves it; or its scores do not open.
            ModelUnknown: its scores were asked with a model that this store does not have; the receipt is kept.
            ReceiptNotValid: the chain contradicts the receipt.
        """
        stored = self._store.get(request_id)
        path = self.receipt_path(request_id)
        if self.is_answered(request_id):
            return self._stored_answer(stored, path)
        self._view.head()
        facts = self._view.facts(stored)
        if facts.one(Answered) is None and facts.ended_because is not None:
            self._store.set_state(request_id, LocalState.CLOSED, facts.ended_because)
            raise RequestClosed(request_id, facts.ended_because)
        answered = answered_request(stored, facts, self._deployment)
        payload = self._masked_answer(answered)
        key = self._vault.open(stored.sealed_key, request_id)
        is_deposit = answered.plan.kind is PlanKind.DEPOSIT
        decrypt = self._deposits.decrypt if is_deposit else None
        opened = open_answer(answered, payload, key=key, deployment=self._deployment, decrypt=decrypt)
        data = canonical_json(sign_receipt(self._signer, opened.receipt).to_json())
        verdict = self._verify(data, facts)
        if verdict.status is not Status.VALID:
            raise _refusal(verdict)
        write_atomically(path, data)
        self._store.set_state(request_id, LocalState.ANSWERED)
        losses = self._answer_losses(stored, answered.session.members)
        shown = self._shown(request_id, opened.receipt, opened.table)
        return _answer(request_id, shown, opened.receipt, path, verdict, losses, opened.faults)

    def demand_chunk(self, request_id: Digest, chunk: int) -> bytes:
        """Demand one chunk of Y on the chain, by a transaction of the buyer's own, and wait for it.

        Raises:
            AnswerNotReady: no answer root yet.
            AnswerWithheld: the window passed without the chunk; `claim` then pays from the broker's bond.
        """
        stored = self._store.get(request_id)
        return self._demands(stored).demand(chunk)

    def claim(self, request_id: Digest) -> None:
        """Have the contract refund a request that was sealed and not answered, or whose chunk did not come.

        Raises:
            ClaimTooEarly: the contract does not find the broker in default, or not yet.
        """
        stored = self._store.get(request_id)
        self._demands(stored).claim()
        if (reason := self._view.facts(stored).ended_because) is not None:
            self._store.set_state(request_id, LocalState.CLOSED, reason)

    def accept(self, request_id: Digest) -> None:
        """Accept a verified answer, which pays broker and holders at once instead of after the window.

        Raises:
            AnswerNotReady: this buyer has not verified the answer.
        """
        stored = self._store.get(request_id)
        if stored.state is not LocalState.ANSWERED:
            raise AnswerNotReady(request_id, stored.state.value)
        deployment = self._deployment
        signature = sign_acceptance(self._signer, request_id, deployment.chain_id, deployment.ledger)
        self._market.accept(request_id, signature=signature, idempotency_key=f"accept-{request_id.hex()}")

    def requests(self) -> list[StoredRequest]:
        """Return every request of this buyer on this market, oldest first."""
        return list(self._store.all())

    def chain_states(self) -> dict[Digest, RequestState]:
        """Ask the chain where every request of this buyer stands; one that was never opened is NONE.

        Raises:
            DeploymentMismatch: another chain, or other code than ours.
            ChainUnreachable: no usable answer.
        """
        ids = [each.request_id for each in self._store.all()]
        return dict(zip(ids, self._view.states(ids), strict=True)) if ids else {}

    def standing(self, plan_hash: bytes) -> StoredRequest | None:
        """Return the request for this plan that is under way or answered, if there is one."""
        return self._store.good(plan_hash)

    def is_answered(self, request_id: Digest) -> bool:
        """Whether the request's receipt, verified when it was written, is here: `fetch` serves the answer from it.

        Raises:
            RequestUnknown: not one of this buyer's.
        """
        is_kept = self._store.get(request_id).state is LocalState.ANSWERED
        return is_kept and self.receipt_path(request_id).exists()

    def receipt_path(self, request_id: bytes) -> Path:
        """Return where the receipt of a request is, once it is answered."""
        return self._settings.receipts / f"{to_hex(request_id)}.json"

    @property
    def fits(self) -> Path:
        """Where the journals of fits of several steps are."""
        return self._settings.home / "fits"

    # --- answers

    def _masked_answer(self, answered: AnsweredRequest) -> bytes:
        """Return Y from the exchange, or, if it gives out none or another one, from the chain."""
        try:
            payload = self._market.answer(answered.stored.request_id)
            require_masked_answer(answered, payload)
        except (AnswerMismatch, ExchangeUnreachable, ExchangeReplyInvalid, ExchangeProblem):
            payload = self._demands(answered.stored).demand_all(answered)
        return payload

    def _demands(self, stored: StoredRequest) -> Demands:
        return Demands(
            engine=self._engine,
            chain=self._chain,
            signer=self._signer,
            settings=self._settings,
            stored=stored,
            look=lambda: self._view.facts(stored),
            clock=self._clock,
            sleep=self._sleep,
        )

    def _stored_answer(self, stored: StoredRequest, path: Path) -> Answer:
        try:
            data = path.read_bytes()
        except OSError as err:
            raise StoreError(f"the receipt {path.name} cannot be read: {err.strerror}") from err
        subject = self._subject(data, None)
        verdict = run_procedure(subject)
        if verdict.status is Status.INVALID:
            raise _refusal(verdict)
        receipt = subject.receipt
        losses = self._answer_losses(stored, receipt.roster)
        shown = self._shown(stored.request_id, receipt, decode_receipt(receipt, subject.decrypted))
        faults = () if subject.decrypted is None else subject.decrypted.faults
        return _answer(stored.request_id, shown, receipt, path, verdict, losses, faults)

    def _shown(
        self, request_id: Digest, receipt: Receipt, table: AnswerTable
    ) -> tuple[AnswerTable, Path | None]:
        """Return the table with its scores; or, where the stock library has the key, as it is, and the file of its scores."""
        sealed = self._scores.sealed(receipt)
        if sealed is None:
            return self._scores.shown(receipt, table), None
        path = self._settings.home / "scores" / f"{to_hex(request_id)}.json"
        make_private_directory(path.parent)
        write_atomically(path, json.dumps(sealed, ensure_ascii=False).encode())
        return table, path

    def _answer_losses(self, stored: StoredRequest, roster: Iterable[Member | RosterMember]) -> Losses:
        """Return what an answer cost, at the δ of its quote."""
        from privacy.plan import Plan

        lines = {Digest(member.asset): Digest(member.line) for member in roster}
        plan = Plan.from_bytes(stored.plan_json)
        return self._losses(plan, stored.request_id, lines, quoted_delta(stored))

    def _losses(
        self, plan: Plan, request_id: bytes | None, lines: Mapping[Digest, Digest], delta: Decimal
    ) -> Losses:
        requests = self._store.all()
        own = Spending(plan.rho_micro, tuple(Digest(asset.asset) for asset in plan.assets))
        known = {**known_lines(requests), **lines}
        return losses_of(own, earlier_spending(requests, but=request_id), known, delta)

    def _verify(self, data: bytes, facts: RequestFacts | None) -> Verdict:
        return run_procedure(self._subject(data, facts))

    def _subject(self, data: bytes, facts: RequestFacts | None) -> Subject:
        if self._curves is None:
            self._curves = ArkworksCurves(self._settings.cache)
        source = ChainSource(self._chain, self._deployment, self._settings.confirmations, facts)
        return Subject(data, source, self._curves)


def _answer(
    request_id: Digest,
    shown: tuple[AnswerTable, Path | None],
    receipt: Receipt,
    path: Path,
    verdict: Verdict,
    losses: Losses,
    faults: tuple[str, ...],
) -> Answer:
    table, scores_path = shown
    return Answer(
        request_id=request_id,
        columns=table.columns,
        rows=table.rows,
        error95=table.error95,
        receipt_path=path,
        survivors=len(receipt.survivors),
        verdict=verdict,
        losses=losses,
        faults=faults,
        scores_path=scores_path,
    )


def _refusal(verdict: Verdict) -> AnswerMismatch | ReceiptNotValid:
    step = verdict.first_failing
    if step is None:
        return ReceiptNotValid(0, "none", "no step failed")
    if step.name == "commitments":
        return AnswerMismatch(f"step {step.number} ({step.name}): {step.detail}")
    return ReceiptNotValid(step.number, step.name, step.detail)
