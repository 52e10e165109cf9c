"""A chain for tests: the contract's rules of a request's life, in memory, mined when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from exchange.mirror import is_market_event
from ledger.eip712 import request_id as request_id_of
from ledger.encoding import keccak
from ledger.errors import ChainUnreachable
from ledger.types import (
    Address,
    Answered,
    Approved,
    ChunkDemanded,
    ChunkPosted,
    Closed,
    Contributed,
    DemandRefuted,
    Deployment,
    Digest,
    Event,
    EventRef,
    Opened,
    Request,
    Sealed,
    Settled,
    Shared,
    UnmaskPosted,
    Withheld,
)
from privacy.errors import ParametersInvalid
from privacy.session import SumParameters

WINDOW = 20


class Reverted(Exception):
    """The contract refuses."""


def address(text: str) -> Address:
    """Return an address made of a text."""
    return Address(keccak(text.encode())[:20])


DEPLOYMENT = Deployment(
    chain_id=31337,
    participants=address("participants"),
    assets=address("assets"),
    ledger=address("ledger"),
    settlement=address("settlement"),
    manager=address("manager"),
    block=1,
)


@dataclass(slots=True)
class _Life:
    """What the contract keeps of one request."""

    request: Request
    state: str = "open"
    approved: list[Address] = field(default_factory=list)
    shared: list[Address] = field(default_factory=list)
    contributed: list[Address] = field(default_factory=list)
    posted: list[Address] = field(default_factory=list)
    since: int = 0
    demanded_at: int = 0
    demand: int = 0


class FakeChain:
    """The chain side of one broker, with hands for holders and buyers.

    Attributes:
        balances, bond: credits of buyers, and the broker's free bond.
        away: the node does not answer; what was indexed can be read.
        automine: every transaction is mined at once in a block of its own.
        mined, failed: what the broker did, in order.
        failing: act types that revert with this reason whatever the contract says.
    """

    def __init__(self, broker: Address, *, automine: bool = True, head: int = 100) -> None:
        self._broker = broker
        self.balances: dict[Address, int] = {}
        self.bond = 10**9
        self.away = False
        self.automine = automine
        self.failing: dict[type, str] = {}
        self.mined: list[Act] = []
        self.failed: list[Act] = []
        self._head = self._indexed = head
        self._lives: dict[Digest, _Life] = {}
        self._nonces: set[tuple[Address, int]] = set()
        self._events: list[Event] = []
        self._given = 0
        self._rolled_back = False
        self._queue: list[tuple[str, Act]] = []
        self._acts: dict[str, Outcome] = {}
        self._lock = threading.RLock()

    # --- ChainSide

    @property
    def deployment(self) -> Deployment:
        return DEPLOYMENT

    @property
    def broker(self) -> Address:
        return self._broker

    def tick(self) -> Tick:
        with self._lock:
            self._require_there()
            self._indexed = self._head
            new = tuple(self._events[self._given :])
            self._given = len(self._events)
            rolled_back, self._rolled_back = self._rolled_back, False
            return Tick(self._head, new, rolled_back)

    def head(self) -> int:
        return self._indexed

    def request_events(self, request_id: Digest) -> Sequence[Event]:
        with self._lock:
            seen = self._events[: self._given]
            return [each for each in seen if getattr(each, "request_id", None) == request_id]

    def ended_requests(self) -> set[Digest]:
        with self._lock:
            seen = self._events[: self._given]
            return {each.request_id for each in seen if isinstance(each, Settled | Closed | Withheld)}

    def market_events(self) -> Sequence[Event]:
        with self._lock:
            return [each for each in self._events[: self._given] if is_market_event(each)]

    def submit(self, act: Act) -> str:
        with self._lock:
            key = f"{type(act).__name__}/{keccak(repr(act).encode()).hex()}"
            known = self._acts.get(key)
            if known is None or known.fate is Fate.FAILED:
                self._acts[key] = Outcome(Fate.WAITING)
                self._queue.append((key, act))
            if self.automine and not self.away:
                self.mine()
            return key

    def outcome(self, key: str) -> Outcome:
        return self._acts[key]

    def waiting_count(self) -> int:
        return len(self._queue)

    def balance(self, account: Address) -> int:
        self._require_there()
        return self.balances.get(account, 0)

    def free_bond(self) -> int:
        self._require_there()
        return self.bond

    def is_open(self, request_id: Digest) -> bool:
        self._require_there()
        return request_id in self._lives

    def answer_window(self) -> int:
        return WINDOW

    def gas_used(self, tx_hashes: Sequence[bytes]) -> dict[bytes, int]:
        self._require_there()
        return dict.fromkeys(tx_hashes, 50_000)

    def _require_there(self) -> None:
        if self.away:
            raise ChainUnreachable("the test took the chain away")

    # --- the chain itself

    def mine(self, blocks: int = 1) -> None:
        """Mine what waits into the next block, and empty ones after it."""
        with self._lock:
            queue, self._queue = self._queue, []
            for key, act in queue:
                try:
                    if type(act) in self.failing:
                        raise Reverted(self.failing[type(act)])
                    self._execute(act)
                    self._acts[key] = Outcome(Fate.DONE)
                    self.mined.append(act)
                except Reverted as err:
                    self._acts[key] = Outcome(Fate.FAILED, str(err))
                    self.failed.append(act)
            self._head += blocks

    def mine_to(self, block: int) -> None:
        """Mine until the head is at least this block."""
        self.mine(max(1, block - self._head))

    @property
    def real_head(self) -> int:
        """The newest block, indexed or not."""
        return self._head

    def emit(self, kind: type[Event], **values: Any) -> None:
        """Put an event into the next block."""
        with self._lock:
            index = len(self._events)
            tx_hash = keccak(f"tx {index}".encode())
            at = EventRef(self._head + 1, index, keccak(f"block {self._head + 1}".encode()), tx_hash)
            self._events.append(kind(at=at, **values))
            if self.automine:
                self._head += 1

    def lose(self, keep: Callable[[Event], bool]) -> None:
        """Lose the events that are not kept, as a chain does that replaced its last blocks."""
        with self._lock:
            self._events = [each for each in self._events if keep(each)]
            self._given = len(self._events)
            self._rolled_back = True
            for life in self._lives.values():
                kinds = {type(each) for each in self._events}
                if Settled not in kinds and life.state == "settled":
                    life.state = "answered"
                    self.bond -= life.request.price_minor
                if Answered not in kinds and life.state == "answered":
                    life.state = "sealed"
                if Sealed not in kinds and life.state == "sealed":
                    life.state = "contributing"

    # --- holders and buyers

    def approve(self, request_id: Digest, event: Approved) -> None:
        """Approve as the holder of `event`."""
        life = self._life(request_id, "open")
        self._require(self._head < life.request.approve_by, "ComputeLedgerTooLate")
        self._require(len(life.approved) < life.request.holders, "ComputeLedgerRosterFull")
        life.approved.append(event.holder)
        values = {name: getattr(event, name) for name in Approved.__dataclass_fields__ if name != "at"}
        self.emit(Approved, **values)

    def share(self, request_id: Digest, holder: Address, hashes: dict[str, bytes]) -> None:
        """Share as a holder."""
        life = self._life(request_id, "open")
        self._require(self._is_roster_closed(life), "ComputeLedgerTooEarly")
        self._require(self._head < life.request.share_by, "ComputeLedgerTooLate")
        self._require(holder in life.approved and holder not in life.shared, "ComputeLedgerStageWrong")
        life.shared.append(holder)
        self.emit(Shared, request_id=request_id, holder=holder, **hashes)

    def contribute(self, request_id: Digest, holder: Address, commitment: bytes, input_hash: bytes) -> None:
        """Contribute as a holder."""
        life = self._life(request_id, "open")
        self._require(self._is_sharing_closed(life), "ComputeLedgerTooEarly")
        self._require(self._head < life.request.contribute_by, "ComputeLedgerTooLate")
        self._require(holder in life.shared and holder not in life.contributed, "ComputeLedgerStageWrong")
        life.contributed.append(holder)
        values = {"commitment": commitment, "input_hash": input_hash}
        self.emit(Contributed, request_id=request_id, holder=holder, **values)

    def post_unmask(self, request_id: Digest, holder: Address, payload: bytes) -> None:
        """Publish an unmask message as a survivor."""
        life = self._life(request_id, "sealed")
        life.posted.append(holder)
        self.emit(UnmaskPosted, request_id=request_id, holder=holder, payload=payload)

    def demand(self, request_id: Digest, chunk: int) -> None:
        """Demand a chunk as the buyer."""
        life = self._life(request_id, "answered")
        life.demanded_at, life.demand = self._head + 1, chunk
        self.emit(ChunkDemanded, request_id=request_id, chunk=chunk)

    # --- the contract's rules

    def _execute(self, act: Act) -> None:
        request_id = request_id_of(act.request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
        match act:
            case Open():
                self._open(request_id, act)
            case Seal():
                self._seal(request_id)
            case Close():
                self._close(request_id)
            case PostAnswer():
                self._answer(request_id, act)
            case Release():
                self._release(request_id, act)
            case PostChunk() | RefuteDemand():
                self._meet_demand(request_id, act)
            case Withhold():
                self._withhold(request_id)

    def _open(self, request_id: Digest, act: Open) -> None:
        request, nonce = act.request, (act.request.buyer, act.request.nonce)
        self._require(request_id not in self._lives, "ComputeLedgerStateWrong")
        self._require(self._head + 1 < request.approve_by, "ComputeLedgerDeadlinesWrong")
        self._require(nonce not in self._nonces, "ComputeLedgerNonceUsed")
        self._require(self.balances.get(request.buyer, 0) >= request.price_minor, "ERC20InsufficientBalance")
        self._require(self.bond >= request.price_minor, "SettlementBondTooSmall")
        self._nonces.add(nonce)
        self.balances[request.buyer] -= request.price_minor
        self.bond -= request.price_minor
        self._lives[request_id] = _Life(request)
        self._emit_here(Opened, request_id=request_id, request=request, signature=act.signature)

    def _seal(self, request_id: Digest) -> None:
        life = self._life(request_id, "open")
        is_closed = self._is_contributing_closed(life) and self._closing_reason(life) == 0
        self._require(is_closed and bool(life.contributed), "ComputeLedgerTooEarly")
        life.state = "sealed"
        values = {"survivors": len(life.contributed), "commitment_sum": bytes(128)}
        self._emit_here(Sealed, request_id=request_id, **values)

    def _close(self, request_id: Digest) -> None:
        life = self._life(request_id, "open")
        reason = self._closing_reason(life)
        self._require(reason != 0, "ComputeLedgerNotClosable")
        life.state = "closed"
        self._pay_back(life)
        self._emit_here(Closed, request_id=request_id, reason=reason)

    def _answer(self, request_id: Digest, act: PostAnswer) -> None:
        life = self._life(request_id, "sealed")
        self._require(self._head < life.request.answer_by, "ComputeLedgerTooLate")
        life.state, life.since = "answered", self._head + 1
        self._emit_here(Answered, request_id=request_id, answer_root=act.root)

    def _release(self, request_id: Digest, act: Release) -> None:
        life = self._life(request_id, "answered")
        if not act.acceptance:
            self._require(life.demanded_at == 0, "ComputeLedgerDemandOpen")
            self._require(self._head >= life.since + WINDOW, "ComputeLedgerTooEarly")
        life.state = "settled"
        self.bond += life.request.price_minor
        self._emit_here(Settled, request_id=request_id)

    def _meet_demand(self, request_id: Digest, act: PostChunk | RefuteDemand) -> None:
        life = self._life(request_id, "answered")
        self._require(life.demanded_at != 0, "ComputeLedgerDemandMissing")
        life.demanded_at, life.since = 0, self._head + 1
        if isinstance(act, PostChunk):
            self._emit_here(ChunkPosted, request_id=request_id, chunk=act.chunk, data=act.data)
        else:
            self._emit_here(DemandRefuted, request_id=request_id, chunk=life.demand, cells=act.cells)

    def _withhold(self, request_id: Digest) -> None:
        life = self._life(request_id, "sealed")
        self._require(self._head >= life.request.answer_by + WINDOW, "ComputeLedgerTooEarly")
        self._pay_back(life)
        if life.posted and len(life.posted) >= self._parameters(life).threshold:
            life.state = "withheld"
            self._emit_here(Withheld, request_id=request_id)
        else:
            life.state = "closed"
            self._emit_here(Closed, request_id=request_id, reason=5)

    def _pay_back(self, life: _Life) -> None:
        self.balances[life.request.buyer] += life.request.price_minor
        self.bond += life.request.price_minor

    def _parameters(self, life: _Life) -> SumParameters:
        request = life.request
        return SumParameters.of(
            n=len(life.approved),
            colluders=request.colluders,
            dropouts=request.dropouts,
            min_holders=request.min_holders,
        )

    def _closing_reason(self, life: _Life) -> int:
        if not self._is_roster_closed(life):
            return 0
        try:
            floor = self._parameters(life).floor
        except ParametersInvalid:
            return 1
        if not self._is_sharing_closed(life):
            return 0
        if len(life.shared) < floor:
            return 2
        if not self._is_contributing_closed(life):
            return 0
        if len(life.contributed) < floor:
            return 3
        return 4 if self._head >= life.request.answer_by else 0

    def _is_roster_closed(self, life: _Life) -> bool:
        return len(life.approved) == life.request.holders or self._head >= life.request.approve_by

    def _is_sharing_closed(self, life: _Life) -> bool:
        done = len(life.shared) == len(life.approved) or self._head >= life.request.share_by
        return self._is_roster_closed(life) and done

    def _is_contributing_closed(self, life: _Life) -> bool:
        done = len(life.contributed) == len(life.shared) or self._head >= life.request.contribute_by
        return self._is_sharing_closed(life) and done

    def _life(self, request_id: Digest, state: str) -> _Life:
        life = self._lives.get(request_id)
        actual = "open" if life is not None and life.state == "contributing" else life and life.state
        if life is None or actual != state:
            raise Reverted("ComputeLedgerStateWrong")
        return life

    def _emit_here(self, kind: type[Event], **values: Any) -> None:
        automine, self.automine = self.automine, False
        try:
            self.emit(kind, **values)
        finally:
            self.automine = automine

    @staticmethod
    def _require(condition: bool, reason: str) -> None:
        if not condition:
            raise Reverted(reason)


def moved(event: Event, block: int) -> Event:
    """Return an event as if it had been mined in another block."""
    return replace(event, at=replace(event.at, block=block))
