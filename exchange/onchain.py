"""The real chain side: one indexer and one submitter, both in the exchange's database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine

from exchange.chainside import (
    Act,
    Close,
    Fate,
    Open,
    Outcome,
    PostAnswer,
    PostChunk,
    RefuteDemand,
    Release,
    Seal,
    Tick,
    Withhold,
)
from exchange.mirror import MARKET_EVENTS
from exchange.progress import END_EVENTS
from ledger.chain import Chain, parse_receipt, receipt_call
from ledger.contracts import Contracts, decode_revert
from ledger.encoding import keccak
from ledger.errors import ChainError, ContractReverted, LedgerError
from ledger.indexer import Indexer
from ledger.signing import Signer
from ledger.store import IntentState, IntentStore, Rollback, create_tables
from ledger.submitter import Submitter
from ledger.types import Address, Call, Deployment, Digest, Event, EventRef, RequestState

_LAST_LOG: Final = (1 << 31) - 1  # after every log of a block


class OnChain:
    """The contracts of one deployment, read and written as one broker.

    Args:
        engine: the exchange's database; the tables of index and journal are made here.
        chain: the node.
        deployment: the contracts.
        signer: the broker.
        confirmations: blocks on top of one before it counts.
    """

    def __init__(
        self, engine: Engine, chain: Chain, deployment: Deployment, signer: Signer, *, confirmations: int
    ) -> None:
        create_tables(engine)
        self._chain, self._signer, self._confirmations = chain, signer, confirmations
        self._contracts = Contracts(chain, deployment)
        self._indexer = Indexer(
            engine, chain, self._contracts, confirmations=confirmations, on_rollback=self._on_rollback
        )
        self._submitter = Submitter(engine, chain, signer, confirmations=confirmations)
        self._journal = IntentStore(engine, signer.address)
        self._after: EventRef | None = None
        self._rolled_back = False
        self._looked_to = -1
        self._waiting: set[str] = set()
        self._window: int | None = None

    @property
    def deployment(self) -> Deployment:
        """The contracts."""
        return self._contracts.deployment

    @property
    def broker(self) -> Address:
        """The account of this exchange."""
        return self._signer.address

    # --- the index

    def tick(self) -> Tick:
        """Index what is new, and send, replace and confirm what was asked for."""
        fault = ""
        try:
            self._submitter.tick()
        except LedgerError as err:
            fault = type(err).__name__
        if self._after is None:
            self._after = _end_of(self.head())
        has_new = self._indexer.tick() > 0
        rolled_back, self._rolled_back = self._rolled_back, False
        head, events = self.head(), tuple[Event, ...]()
        if has_new or rolled_back or (self._confirmations and head != self._looked_to):
            events = tuple(self._indexer.events(after=self._after))
        if head != self._looked_to:
            self._forget_ended()
        self._looked_to = head
        if events:
            self._after = events[-1].at
        return Tick(head, events, rolled_back, fault)

    def _forget_ended(self) -> None:
        """Stop counting transactions that ended, whether or not anybody still asks for them."""
        for key in tuple(self._waiting):
            self.outcome(key)

    def head(self) -> int:
        """Return the newest indexed block that counts."""
        return max(0, self._indexer.head() - self._confirmations)

    def request_events(self, request_id: Digest) -> Sequence[Event]:
        """Return a request's indexed events, in the chain's order."""
        return self._indexer.events(request_id)

    def ended_requests(self) -> set[Digest]:
        """Return the requests whose end is indexed: settled, closed or withheld."""
        ends = self._indexer.events(kinds=END_EVENTS)
        return {event.request_id for event in ends if isinstance(event, END_EVENTS)}

    def market_events(self) -> Sequence[Event]:
        """Return the indexed events of participants and assets, in the chain's order."""
        return self._indexer.events(kinds=MARKET_EVENTS)

    # --- transactions

    def submit(self, act: Act) -> str:
        """Ask for a transaction and return its key. The same act again is no new one, unless it failed."""
        call = self._call(act)
        key = f"{type(act).__name__.lower()}/{keccak(call.data).hex()}"
        self._waiting.add(key)
        self._submitter.submit(key, call)
        return key

    def outcome(self, key: str) -> Outcome:
        """Return what became of a transaction that was asked for."""
        intent = self._journal.get(key)
        if intent is None or intent.state in (IntentState.QUEUED, IntentState.SENT, IntentState.MINED):
            return Outcome(Fate.WAITING)
        self._waiting.discard(key)
        if intent.state is IntentState.FINAL:
            return Outcome(Fate.DONE)
        reverted = decode_revert(intent.revert or b"")
        return Outcome(Fate.FAILED, reverted.name if isinstance(reverted, ContractReverted) else "given up")

    def waiting_count(self) -> int:
        """Return how many transactions wait."""
        return len(self._waiting)

    def _call(self, act: Act) -> Call:
        ledger = self._contracts.ledger
        match act:
            case Open(request, signature):
                return ledger.open(request, signature)
            case Seal(request, members):
                return ledger.seal(request, members)
            case PostAnswer(request, root):
                return ledger.answer(request, root)
            case Release(request, members, acceptance):
                return ledger.release(request, members, acceptance)
            case Close(request, members):
                return ledger.close(request, members)
            case Withhold(request, members):
                return ledger.withhold(request, members)
            case RefuteDemand(request, members, cells, tree_root):
                return ledger.refute_demand(request, members, cells, tree_root)
            case PostChunk(request, members, cells, chunk, data, path):
                return ledger.post_chunk(request, members, cells=cells, chunk=chunk, data=data, path=path)

    # --- read from the node

    def balance(self, account: Address) -> int:
        """Read an account's credits."""
        return self._contracts.settlement.balance_of(account)

    def free_bond(self) -> int:
        """Read the part of the broker's bond that stands for nothing yet."""
        bond = self._contracts.settlement.bond_of(self.broker)
        return bond.total - bond.locked

    def is_open(self, request_id: Digest) -> bool:
        """Say whether the contract has opened the request."""
        return self._contracts.ledger.state(request_id).state is not RequestState.NONE

    def answer_window(self) -> int:
        """Read the window after an answer, in blocks; it never changes."""
        if self._window is None:
            self._window = self._contracts.ledger.window()
        return self._window

    def gas_used(self, tx_hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Read the gas of mined transactions; those not found are left out."""
        answers = self._chain.batch([receipt_call(each) for each in tx_hashes]) if tx_hashes else []
        receipts = [None if isinstance(each, ChainError) else parse_receipt(each) for each in answers]
        return {each.tx_hash: each.gas_used for each in receipts if each is not None}

    def _on_rollback(self, rollback: Rollback) -> None:
        self._rolled_back = True
        if self._after is not None and self._after.block > rollback.fork_block:
            self._after = _end_of(rollback.fork_block)


def _end_of(block: int) -> EventRef:
    """Return a place after every event of a block and before those of the next."""
    return EventRef(block, _LAST_LOG, bytes(32), bytes(32))
