"""What the buyer can do on the chain by itself when the exchange fails it: demand the answer, claim the refund."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from client.answering import AnsweredRequest, require_masked_answer
from client.errors import AnswerMismatch, AnswerNotReady, AnswerWithheld, ClaimTooEarly
from client.facts import RequestFacts
from client.settings import ClientSettings
from client.types import StoredRequest
from ledger.chain import Chain
from ledger.contracts import Contracts, members_from_events
from ledger.errors import ChainError, ContractReverted, SubmitTimeout
from ledger.signing import Signer
from ledger.store import create_tables
from ledger.submitter import Submitter
from ledger.types import Answered, Call, Sealed, to_hex


@dataclass(frozen=True, slots=True)
class Demands:
    """The buyer's own transactions about one request; its account needs a little of the chain's own coin.

    Args:
        engine: the buyer's database; the journal of transactions is in it.
        chain: the buyer's node.
        signer: the buyer's account.
        settings: the buyer's.
        stored: the request.
        look: reads the request's final events.
        clock, sleep: seconds.
    """

    engine: Engine
    chain: Chain
    signer: Signer
    settings: ClientSettings
    stored: StoredRequest
    look: Callable[[], RequestFacts]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def demand_all(self, answered: AnsweredRequest) -> bytes:
        """Demand every chunk of Y that is not on the chain yet, ascending, and put Y together.

        Raises:
            AnswerWithheld: a chunk did not come.
            AnswerMismatch: the chunks are not the answer, which the contract rules out.
        """
        from privacy.sealed_sum_answer import chunk_count

        chunks = [self.demand(number) for number in range(chunk_count(answered.plan.cells))]
        payload = b"".join(chunks)
        try:
            require_masked_answer(answered, payload)
        except AnswerMismatch as err:
            raise AnswerMismatch(f"the chunks on the chain are not the answer: {err}") from err
        return payload

    def demand(self, chunk: int) -> bytes:
        """Demand one chunk, unless it is demanded or posted already, and wait until it is posted.

        Raises:
            AnswerNotReady: there is no answer to demand.
            AnswerWithheld: the contract does not take the demand any more, or the chunk did not come in time.
        """
        facts = self.look()
        if facts.one(Answered) is None:
            raise AnswerNotReady(self.stored.request_id, facts.state)
        if chunk not in facts.chunks and chunk not in facts.demanded:
            self._send(f"demand:{to_hex(self.stored.request_id)}:{chunk}", self._demand_call(chunk), chunk)
        deadline = self.clock() + self.settings.answer_timeout_s
        while True:
            try:
                facts = self.look()
            except ChainError:
                facts = RequestFacts((), 0)  # the chain is away; the window counts its blocks, not our time
            if chunk in facts.chunks:
                return facts.chunks[chunk]
            if facts.ended_because is not None:
                raise AnswerWithheld(f"chunk {chunk} will not come: {facts.ended_because}")
            if self.clock() > deadline:
                raise AnswerWithheld(
                    f"chunk {chunk} was demanded on the chain and did not come: claim the refund after the window"
                )
            self.sleep(self.settings.poll_s)

    def claim(self) -> None:
        """End a request that the contract finds in default, which refunds the buyer.

        Raises:
            ClaimTooEarly: the contract does not, or not yet.
        """
        facts = self.look()
        if facts.ended_because is not None:
            return
        ledger = Contracts(self.chain, self.settings.deployment).ledger
        members = members_from_events(facts.events)
        end = ledger.close if facts.one(Sealed) is None else ledger.withhold
        try:
            self._submitter().execute(
                f"claim:{to_hex(self.stored.request_id)}",
                end(self.stored.request, members),
                self.settings.answer_timeout_s,
            )
        except ContractReverted as err:
            raise ClaimTooEarly(f"the contract refuses: {err}") from err

    def _demand_call(self, chunk: int) -> Call:
        return Contracts(self.chain, self.settings.deployment).ledger.demand_chunk(self.stored.request, chunk)

    def _send(self, key: str, call: Call, chunk: int) -> None:
        try:
            self._submitter().execute(key, call, self.settings.answer_timeout_s)
        except ContractReverted as err:
            raise AnswerWithheld(f"chunk {chunk} cannot be demanded any more: {err}") from err
        except SubmitTimeout as err:
            raise AnswerWithheld(f"the demand for chunk {chunk} is not mined yet; it goes on: {err}") from err

    def _submitter(self) -> Submitter:
        create_tables(self.engine)
        return Submitter(
            self.engine,
            self.chain,
            self.signer,
            confirmations=self.settings.confirmations,
            clock=self.clock,
            sleep=self.sleep,
        )
