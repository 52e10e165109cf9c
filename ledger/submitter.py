"""The single writer of one account: calls are stored, signed, stored again, sent, and followed to their end.

The order is the proof. An intent is on disk before anything else; its nonce, fees and signed bytes are
on disk, in one transaction, before a byte leaves; after a crash the same bytes go out again. A nonce is
handed out once and belongs to one call: a stuck transaction is replaced under its own nonce, and a chain
that lost transactions gets the same bytes again, in the order of their nonces. An estimate that reverts
takes no nonce.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Engine

from ledger.abi import decode_revert
from ledger.chain import (
    BlockRef,
    Chain,
    TxReceipt,
    block_call,
    estimate_call,
    fee_calls,
    is_known,
    is_used,
    parse_block,
    parse_fees,
    parse_receipt,
    quantity,
    receipt_call,
    send_call,
)
from ledger.database import write_transaction
from ledger.encoding import keccak
from ledger.errors import (
    CallReverted,
    ChainError,
    ChainLostHistory,
    ChainRefused,
    ChainUnreachable,
    IntentAbandoned,
    IntentInFlight,
    IntentUnknown,
    SubmitterBehindChain,
    SubmitTimeout,
)
from ledger.signing import Signer
from ledger.store import Attempt, Intent, IntentState, IntentStore
from ledger.transaction import Fees, sign_transaction
from ledger.types import Call, to_hex

IN_FLIGHT_MAX: Final = 64
MAX_FEE_CAP: Final = 500 * 10**9  # wei per gas
_MISSING_MAX: Final = 5  # looks without a receipt for a used nonce, before it counts as another writer's
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class TxResult:
    """A transaction that is on the chain. `status` is 1; it is 0 only in `Submitter.result`, for a revert."""

    tx_hash: bytes
    block: int
    gas_used: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How the submitter paces itself.

    Args:
        confirmations: blocks on top of a transaction's own before it is final.
        in_flight_max: most transactions signed and not mined.
        stuck_blocks, stuck_s: blocks and seconds that pass before the fees of the next nonce are raised.
        resend_s: how often unmined bytes are sent again.
        poll_s: how often `wait` looks.
        sentinel_s: how often an idle submitter looks whether the chain lost transactions.
        max_fee_cap: wei per gas, never exceeded.
    """

    confirmations: int = 0
    in_flight_max: int = IN_FLIGHT_MAX
    stuck_blocks: int = 6
    stuck_s: float = 10.0
    resend_s: float = 3.0
    poll_s: float = 0.05
    sentinel_s: float = 1.0
    max_fee_cap: int = MAX_FEE_CAP


@dataclass(frozen=True, slots=True)
class _Sent:
    """When the bytes of one transaction went out."""

    first_at: float
    last_at: float
    first_block: int


class Submitter:
    """Sends the calls of one account. Safe to share between threads; one database, one account, one writer.

    Args:
        engine: holds the journal; its tables exist (`ledger.store.create_tables`).
        chain: the node.
        signer: the account.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        engine: Engine,
        chain: Chain,
        signer: Signer,
        *,
        settings: Settings | None = None,
        confirmations: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine, self._chain, self._signer = engine, chain, signer
        self._settings = settings or Settings(confirmations=confirmations)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._store = IntentStore(engine, signer.address)
        self._chain_id = 0  # not known before the chain answers for the first time
        self._sent: dict[bytes, _Sent] = {}  # by transaction hash
        self._missing: dict[int, int] = {}  # nonce -> looks without a receipt
        self._seen: tuple[bytes, int] | None = None  # head and nonce of the last round
        self._looked_at = -math.inf
        self._due, self._in_flight = True, True

    # --- for callers -------------------------------------------------------------------------------------

    def submit(self, key: str, call: Call) -> None:
        """Store an intent; the chain may be away. A repeat is no change; one that reverted is tried again.

        Raises:
            IntentConflict: the key was used with other content.
            IntentAbandoned: the key was given up.
        """
        self._store.add(key, call)
        self._due = True

    def execute(self, key: str, call: Call, timeout_s: float) -> TxResult:
        """Submit and wait; raises as both."""
        self.submit(key, call)
        return self.wait(key, timeout_s)

    def result(self, key: str) -> TxResult | None:
        """Return what became of an intent: None unless it is final on the chain, or was mined and reverted.

        Raises:
            IntentUnknown: no such key.
        """
        intent = self._get(key)
        ended = intent.state in (IntentState.FINAL, IntentState.REVERTED) and intent.tx_hash is not None
        return _result(intent) if ended else None

    def wait(self, key: str, timeout_s: float) -> TxResult:
        """Drive the submitter until an intent is final, and return its result. May be called again.

        Raises:
            ContractReverted: an estimate, or the mined transaction, reverted; the key may be submitted again.
            SubmitTimeout: not final in time; it is stored and goes on.
            IntentUnknown, IntentAbandoned, SubmitterBehindChain, ChainLostHistory.
        """
        deadline = self._clock() + timeout_s
        unreachable: ChainUnreachable | None = None
        result = self._ended(key)
        while result is None:
            try:
                self.tick()
                unreachable = None
            except ChainUnreachable as err:
                unreachable = err
            result = self._ended(key)
            if result is None and self._clock() >= deadline:
                raise SubmitTimeout(key, timeout_s, self._get(key).note) from unreachable
            if result is None:
                self._sleep(self._settings.poll_s)
        return result

    def abandon(self, key: str) -> None:
        """Give an intent up for good; it is not sent any more.

        Raises:
            IntentUnknown: no such key.
            IntentInFlight: its transaction is signed, so it may take effect at any time.
        """
        self._get(key)
        if not self._store.abandon(key):
            raise IntentInFlight(key)

    def resume_backup(self) -> None:
        """Go on from the chain's nonce, after the caller found out that this database is a restored backup.

        What was sent since the backup is on the chain or on its way, and not known here: the caller must not do it again.
        Without effect when the database is not behind.

        Raises:
            ChainUnreachable: no usable answer; call again.
        """
        self._store.skip_to(self._chain.transaction_count(self._signer.address, "pending"))
        self._due = True

    def tick(self) -> None:
        """Do what is due: follow, send again, replace, estimate, sign, send. Another thread's tick counts.

        Call it now and then, even when nothing is waited for: it notices that the chain lost transactions.

        Raises:
            ChainUnreachable: no usable answer; nothing is lost.
            SubmitterBehindChain: this database is a restored backup, or another writer uses the key.
            ChainLostHistory: the chain lost transactions of which this database has no bytes.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._due or self._in_flight or self._clock() - self._looked_at >= self._settings.sentinel_s:
                self._work()
        finally:
            self._lock.release()

    # --- one round ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        was_due, self._due = self._due, False  # before the journal is read: a later `submit` sets it again
        try:
            head, chain_nonce = self._look()
            resend = any(self._is_old(sent) for sent in self._sent.values())
            if was_due or resend or (head.hash, chain_nonce) != self._seen:
                self._round(head, chain_nonce)
                self._seen = (head.hash, chain_nonce)
        except BaseException:
            self._due = True
            raise

    def _look(self) -> tuple[BlockRef, int]:
        """Read the newest block and the account's next nonce in one round trip."""
        if not self._chain_id:
            self._chain_id = self._chain.chain_id()
        count = ("eth_getTransactionCount", [to_hex(self._signer.address), "latest"])
        block, nonce = map(_raised, self._chain.batch([block_call("latest"), count]))
        head = parse_block(block)
        if head is None:
            raise ChainUnreachable("expected a newest block, the node has none")
        self._looked_at = self._clock()
        return head, quantity(nonce)

    def _round(self, head: BlockRef, chain_nonce: int) -> None:
        next_nonce = self._require_known(chain_nonce)
        intents = self._store.open_intents(chain_nonce)
        for intent in intents:
            if (
                intent.nonce is not None
                and intent.nonce >= chain_nonce
                and intent.state is not IntentState.SENT
            ):
                self._store.set_lost(intent)
        self._follow(head, [i for i in intents if i.nonce is not None and i.nonce < chain_nonce])
        if next_nonce > chain_nonce:
            self._send_again(head, chain_nonce)
        else:
            self._sent.clear()
        queued = [i for i in intents if i.state is IntentState.QUEUED]
        room = self._settings.in_flight_max - (next_nonce - chain_nonce)
        if queued and room > 0:
            self._send_new(head, queued[:room])
        self._in_flight = bool(intents) or next_nonce > chain_nonce
        self._due |= len(queued) > max(room, 0)

    def _require_known(self, chain_nonce: int) -> int:
        first_nonce, next_nonce = self._store.nonces(self._chain_id, chain_nonce)
        account = to_hex(self._signer.address)
        if chain_nonce > next_nonce:
            raise SubmitterBehindChain(account, next_nonce, chain_nonce)
        if chain_nonce < first_nonce:
            raise ChainLostHistory(account, first_nonce, chain_nonce)
        return next_nonce

    def _follow(self, head: BlockRef, mined: list[Intent]) -> None:
        """Look for receipts of nonces that the chain has used."""
        attempts = self._store.attempts([i.nonce for i in mined if i.nonce is not None])
        answers = self._batched([receipt_call(attempt.tx_hash) for attempt in attempts])
        receipts = [parse_receipt(_raised(answer)) for answer in answers]
        found = {a.nonce: r for a, r in zip(attempts, receipts, strict=True) if r is not None}
        for intent in mined:
            receipt = found.get(intent.nonce or 0)
            if receipt is not None:
                self._missing.pop(intent.nonce or 0, None)
                self._record(head, intent, receipt)
            else:
                self._require_ours(intent.nonce or 0)
        for attempt in attempts:
            self._sent.pop(attempt.tx_hash, None)

    def _record(self, head: BlockRef, intent: Intent, receipt: TxReceipt) -> None:
        final = head.number - receipt.block >= self._settings.confirmations
        if not final and intent.block_hash == receipt.block_hash:
            return
        revert = None if receipt.status == 1 else self._revert_data(intent, receipt)
        self._store.set_mined(intent, receipt, final=final, revert=revert)

    def _revert_data(self, intent: Intent, receipt: TxReceipt) -> bytes:
        """Ask why a mined transaction reverted: on the state before its block, else, where old states are not kept,
        on the present one; empty when nobody knows."""
        for block in (receipt.block - 1, "latest"):
            try:
                self._chain.call(intent.call.to, intent.call.data, block, self._signer.address)
            except CallReverted as err:
                return err.data
            except ChainRefused:
                continue
        return b""

    def _require_ours(self, nonce: int) -> None:
        """Count looks at a used nonce without a receipt of ours; many mean that another writer used it."""
        self._missing[nonce] = self._missing.get(nonce, 0) + 1
        if self._missing[nonce] > _MISSING_MAX:
            raise SubmitterBehindChain(to_hex(self._signer.address), nonce, nonce + 1)

    def _send_again(self, head: BlockRef, chain_nonce: int) -> None:
        """Send the stored bytes of unmined nonces again, in order, and replace the first when it is stuck."""
        newest = {attempt.nonce: attempt for attempt in self._store.attempts_from(chain_nonce)}
        due = []
        for nonce, attempt in sorted(newest.items()):
            sent = self._sent.get(attempt.tx_hash)
            if sent is None or self._is_old(sent):
                due.append(attempt)
            if sent is not None and nonce == chain_nonce and self._is_stuck(sent, head):
                due = [self._replace(attempt)]
        self._send(head, due)

    def _is_old(self, sent: _Sent) -> bool:
        return self._clock() - sent.last_at >= self._settings.resend_s

    def _is_stuck(self, sent: _Sent, head: BlockRef) -> bool:
        blocks, seconds = head.number - sent.first_block, self._clock() - sent.first_at
        return blocks >= self._settings.stuck_blocks and seconds >= self._settings.stuck_s

    def _replace(self, stuck: Attempt) -> Attempt:
        """Sign the same call under the same nonce with higher fees, as far as the cap allows."""
        usual = Fees(*parse_fees(*self._chain.batch(fee_calls())))
        fees = stuck.fees.raised(usual, cap=self._settings.max_fee_cap)
        call = self._store.call_at(stuck.nonce)
        if fees == stuck.fees or call is None:
            return stuck
        attempt = self._sign(call, stuck.nonce, stuck.number + 1, stuck.gas_limit, fees)
        with write_transaction(self._engine) as c:
            self._store.add_attempt(c, attempt)
        return attempt

    def _send_new(self, head: BlockRef, queued: list[Intent]) -> None:
        """Estimate queued calls, and sign and send those that would not revert."""
        sender = self._signer.address
        estimates = [estimate_call(i.call.to, i.call.data, sender, i.call.value) for i in queued]
        *answers, block, tip = self._batched([*estimates, *fee_calls()])
        cap = self._settings.max_fee_cap
        fees = Fees(*(min(fee, cap) for fee in parse_fees(block, tip)))
        signed = []
        for intent, answer in zip(queued, answers, strict=True):
            if isinstance(answer, CallReverted):
                self._store.set_reverted(intent, answer.data)
            elif isinstance(answer, ChainError):
                self._store.set_note(intent, str(answer))
            else:
                attempt = self._take(intent, _with_margin(quantity(answer)), fees)
                signed += [] if attempt is None else [attempt]
        self._send(head, signed)

    def _take(self, intent: Intent, gas_limit: int, fees: Fees) -> Attempt | None:
        """Give an intent its nonce and its signed bytes in one transaction, before anything is sent."""
        with write_transaction(self._engine) as c:
            nonce = self._store.take_nonce(c, intent)
            if nonce is None:
                return None
            attempt = self._sign(intent.call, nonce, 1, gas_limit, fees)
            self._store.add_attempt(c, attempt)
        return attempt

    def _sign(self, call: Call, nonce: int, number: int, gas_limit: int, fees: Fees) -> Attempt:
        raw = sign_transaction(
            self._signer,
            chain_id=self._chain_id,
            nonce=nonce,
            gas_limit=gas_limit,
            fees=fees,
            to=call.to,
            data=call.data,
            value=call.value,
        )
        return Attempt(keccak(raw), nonce, number, raw, gas_limit, fees)

    def _send(self, head: BlockRef, attempts: list[Attempt]) -> None:
        """Send stored bytes; a node's refusal is noted and tried again, the bytes stay what they are."""
        answers = self._batched([send_call(attempt.raw) for attempt in attempts])
        now = self._clock()
        for attempt, answer in zip(attempts, answers, strict=True):
            before = self._sent.get(attempt.tx_hash)
            self._sent[attempt.tx_hash] = (
                _Sent(now, now, head.number) if before is None else replace(before, last_at=now)
            )
            if isinstance(answer, ChainRefused) and not is_known(answer) and not is_used(answer):
                self._store.set_note_at(attempt.nonce, str(answer))

    # --- small things ------------------------------------------------------------------------------------

    def _ended(self, key: str) -> TxResult | None:
        """Return the result of an intent that took effect, None while it is under way; raise other ends."""
        intent = self._get(key)
        if intent.state is IntentState.REVERTED:
            raise decode_revert(intent.revert or b"", tx_hash=intent.tx_hash)
        if intent.state is IntentState.ABANDONED:
            raise IntentAbandoned(key)
        return _result(intent) if intent.state is IntentState.FINAL else None

    def _get(self, key: str) -> Intent:
        intent = self._store.get(key)
        if intent is None:
            raise IntentUnknown(key)
        return intent

    def _batched(self, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += self._chain.batch(calls[start : start + _BATCH])
        return answers


def _with_margin(gas: int) -> int:
    """Leave room for what other transactions change before ours is mined; what is not used is not paid."""
    return gas + gas // 2 + 60_000


def _result(intent: Intent) -> TxResult:
    status = 0 if intent.state is IntentState.REVERTED else 1
    return TxResult(intent.tx_hash or b"", intent.block or 0, intent.gas_used or 0, status)


def _raised(answer: Any) -> Any:
    """Raise an answer of a batch that is an error."""
    if isinstance(answer, ChainError):
        raise answer
    return answer
