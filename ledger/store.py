"""The tables of the submitter and of the indexer, and every statement on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from ledger.chain import RawLog, TxReceipt
from ledger.database import named_errors, read_transaction, write_transaction
from ledger.errors import ChainMismatch, IntentAbandoned, IntentConflict
from ledger.transaction import Fees
from ledger.types import Address, Call, EventRef

metadata = MetaData()
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in INTEGER keys

accounts = Table(
    "chain_account",
    metadata,
    Column("account", LargeBinary(20), primary_key=True),
    Column("chain_id", String(80), nullable=False),
    Column("first_nonce", _BIG, nullable=False),
    Column("next_nonce", _BIG, nullable=False),
)
intents = Table(
    "chain_intent",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("account", LargeBinary(20), nullable=False),
    Column("key", String(300), nullable=False),
    Column("call_to", LargeBinary(20), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("value", String(80), nullable=False),
    Column("state", String(16), nullable=False),
    Column("nonce", _BIG),
    Column("tx_hash", LargeBinary(32)),
    Column("block", _BIG),
    Column("block_hash", LargeBinary(32)),
    Column("gas_used", _BIG),
    Column("revert", LargeBinary),
    Column("note", Text),
    UniqueConstraint("account", "key"),
    Index("chain_intent_open", "account", "state"),
)
attempts = Table(
    "chain_attempt",
    metadata,
    Column("tx_hash", LargeBinary(32), primary_key=True),
    Column("account", LargeBinary(20), nullable=False),
    Column("nonce", _BIG, nullable=False),
    Column("number", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("gas_limit", _BIG, nullable=False),
    Column("max_fee", String(80), nullable=False),
    Column("priority", String(80), nullable=False),
    UniqueConstraint("account", "nonce", "number"),
)
cursors = Table(
    "chain_cursor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("chain_id", String(80), nullable=False),
    Column("ledger", LargeBinary(20), nullable=False),
    Column("number", _BIG, nullable=False),
    Column("hash", LargeBinary(32)),
)
logs = Table(
    "chain_log",
    metadata,
    Column("block", _BIG, nullable=False),
    Column("log_index", Integer, nullable=False),
    Column("block_hash", LargeBinary(32), nullable=False),
    Column("tx_hash", LargeBinary(32), nullable=False),
    Column("address", LargeBinary(20), nullable=False),
    Column("topics", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("request_id", LargeBinary(32)),
    PrimaryKeyConstraint("block", "log_index"),
    Index("chain_log_request", "request_id", "block", "log_index"),
)
rollbacks = Table(
    "chain_rollback",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=True),
    Column("fork_block", _BIG, nullable=False),
    Column("head_before", _BIG, nullable=False),
    Column("events_lost", Integer, nullable=False),
)


def create_tables(engine: Engine) -> None:
    """Create the tables that are missing."""
    with named_errors():
        metadata.create_all(engine)


# --- intents ---------------------------------------------------------------------------------------------


class IntentState(StrEnum):
    """Where an intent stands.

    QUEUED: no nonce yet. SENT: signed, its bytes stored. MINED, FINAL: on the chain. REVERTED: an estimate or
    the mined transaction reverted; the same key may be submitted again. ABANDONED: given up by the caller.
    """

    QUEUED = "queued"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    REVERTED = "reverted"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Intent:
    """One stored call and what became of it."""

    seq: int
    key: str
    call: Call
    state: IntentState
    nonce: int | None
    tx_hash: bytes | None
    block: int | None
    block_hash: bytes | None
    gas_used: int | None
    revert: bytes | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction; a nonce has several when fees were raised."""

    tx_hash: bytes
    nonce: int
    number: int
    raw: bytes
    gas_limit: int
    fees: Fees


class IntentStore:
    """The intents, attempts and next nonce of one account."""

    def __init__(self, engine: Engine, account: Address) -> None:
        self._engine, self._account = engine, account
        self._mine: Final = intents.c.account == account

    def nonces(self, chain_id: int, chain_nonce: int) -> tuple[int, int]:
        """Return the first nonce whose bytes this database holds, and the next that it hands out.

        The first time, both are the chain's.

        Raises:
            ChainMismatch: the account's journal belongs to another chain.
        """
        wanted = select(accounts).where(accounts.c.account == self._account)
        with read_transaction(self._engine) as c:
            row = c.execute(wanted).one_or_none()
        if row is None:
            values = {"chain_id": str(chain_id), "first_nonce": chain_nonce, "next_nonce": chain_nonce}
            with write_transaction(self._engine) as c:
                row = c.execute(wanted).one_or_none()
                if row is None:
                    c.execute(insert(accounts).values(account=self._account, **values))
                    return chain_nonce, chain_nonce
        if row.chain_id != str(chain_id):
            raise ChainMismatch(f"this journal is of chain {row.chain_id}, the node serves {chain_id}")
        return int(row.first_nonce), int(row.next_nonce)

    def skip_to(self, nonce: int) -> None:
        """Hand out no nonce below this one: the account used them after this database was backed up."""
        where = (accounts.c.account == self._account) & (accounts.c.next_nonce < nonce)
        with write_transaction(self._engine) as c:
            c.execute(update(accounts).where(where).values(next_nonce=nonce))

    def add(self, key: str, call: Call) -> None:
        """Store an intent; a repeat is no change, except that a reverted one is queued again.

        Raises:
            IntentConflict: the key has other content.
            IntentAbandoned: the key was given up.
        """
        known = self.get(key)
        if known is not None and known.call == call and known.state not in _STOPPED:
            return
        with write_transaction(self._engine) as c:
            row = c.execute(select(intents).where(self._mine, intents.c.key == key)).one_or_none()
            if row is None:
                values = {"call_to": call.to, "data": call.data, "value": str(call.value)}
                c.execute(insert(intents).values(account=self._account, key=key, state="queued", **values))
                return
            known = _intent(row)
            if known.call != call:
                raise IntentConflict(key)
            if known.state is IntentState.ABANDONED:
                raise IntentAbandoned(key)
            if known.state is IntentState.REVERTED:
                c.execute(update(intents).where(intents.c.seq == row.seq).values(**_FRESH))

    def abandon(self, key: str) -> bool:
        """Give up an intent that holds no live nonce; say whether it could be."""
        stopped = intents.c.state.in_(("queued", "reverted", "abandoned"))
        with write_transaction(self._engine) as c:
            wanted = update(intents).where(self._mine, intents.c.key == key, stopped)
            return c.execute(wanted.values(state="abandoned")).rowcount == 1

    def get(self, key: str) -> Intent | None:
        """Return an intent by its key."""
        with read_transaction(self._engine) as c:
            row = c.execute(select(intents).where(self._mine, intents.c.key == key)).one_or_none()
        return None if row is None else _intent(row)

    def open_intents(self, chain_nonce: int) -> list[Intent]:
        """Return what needs work, oldest first: not yet final, or mined once and lost by the chain since."""
        lost = and_(intents.c.nonce >= chain_nonce, intents.c.state.in_(("final", "reverted")))
        live = intents.c.state.in_(("queued", "sent", "mined"))
        with read_transaction(self._engine) as c:
            rows = c.execute(select(intents).where(self._mine, or_(live, lost)).order_by(intents.c.seq))
            return [_intent(row) for row in rows]

    def attempts_from(self, nonce: int) -> list[Attempt]:
        """Return the signed transactions from a nonce on, by nonce and number."""
        return self._attempts(attempts.c.nonce >= nonce)

    def attempts(self, nonces: Collection[int]) -> list[Attempt]:
        """Return the signed transactions of some nonces, by nonce and number."""
        return self._attempts(attempts.c.nonce.in_(nonces)) if nonces else []

    def _attempts(self, which: ColumnElement[bool]) -> list[Attempt]:
        wanted = select(attempts).where(attempts.c.account == self._account, which)
        with read_transaction(self._engine) as c:
            return [_attempt(row) for row in c.execute(wanted.order_by(attempts.c.nonce, attempts.c.number))]

    def call_at(self, nonce: int) -> Call | None:
        """Return the call that a nonce belongs to, None when its intent moved to another nonce."""
        with read_transaction(self._engine) as c:
            row = c.execute(select(intents).where(self._mine, intents.c.nonce == nonce)).one_or_none()
        return None if row is None else _intent(row).call

    def take_nonce(self, c: Connection, intent: Intent) -> int | None:
        """Hand out the next nonce, in the caller's transaction; None when the intent is no longer queued."""
        taken = update(intents).where(intents.c.seq == intent.seq, intents.c.state == "queued")
        account = accounts.c.account == self._account
        nonce = int(c.execute(select(accounts.c.next_nonce).where(account)).scalar_one())
        if c.execute(taken.values(state="sent", nonce=nonce, note=None)).rowcount == 0:
            return None
        c.execute(update(accounts).where(account).values(next_nonce=nonce + 1))
        return nonce

    def add_attempt(self, c: Connection, attempt: Attempt) -> None:
        """Store a signed transaction, in the caller's transaction, before it is sent."""
        c.execute(
            insert(attempts).values(
                tx_hash=attempt.tx_hash,
                account=self._account,
                nonce=attempt.nonce,
                number=attempt.number,
                raw=attempt.raw,
                gas_limit=attempt.gas_limit,
                max_fee=str(attempt.fees.max_fee),
                priority=str(attempt.fees.priority),
            )
        )

    def set_mined(self, intent: Intent, receipt: TxReceipt, *, final: bool, revert: bytes | None) -> None:
        """Record where an intent was mined; `revert` is its revert data when it took no effect."""
        state = IntentState.FINAL if final else IntentState.MINED
        self._set(
            intent,
            state=(state if revert is None else IntentState.REVERTED).value,
            tx_hash=receipt.tx_hash,
            block=receipt.block,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            revert=revert,
        )

    def set_lost(self, intent: Intent) -> None:
        """Record that the chain does not have the intent's transaction any more: it is to be sent again."""
        self._set(intent, **_LOST)

    def set_reverted(self, intent: Intent, revert: bytes) -> None:
        """Record that an estimate reverted; no nonce was taken."""
        self._set(intent, state="reverted", revert=revert)

    def set_note(self, intent: Intent, note: str) -> None:
        """Record why an intent cannot be sent at present."""
        if intent.note != note:
            self._set(intent, note=note)

    def set_note_at(self, nonce: int, note: str) -> None:
        """Record why the node does not take the transaction of a nonce."""
        changed = and_(self._mine, intents.c.nonce == nonce, func.coalesce(intents.c.note, "") != note)
        with write_transaction(self._engine) as c:
            c.execute(update(intents).where(changed).values(note=note))

    def _set(self, intent: Intent, **values: Any) -> None:
        unchanged = and_(intents.c.seq == intent.seq, intents.c.state == intent.state.value)
        with write_transaction(self._engine) as c:
            c.execute(update(intents).where(unchanged).values(**values))


_STOPPED: Final = (IntentState.REVERTED, IntentState.ABANDONED)
_NOWHERE: Final = dict.fromkeys(("tx_hash", "block", "block_hash", "gas_used", "revert"))
_LOST: Final = {**_NOWHERE, "state": "sent"}
_FRESH: Final = {**_NOWHERE, "state": "queued", "nonce": None, "note": None}


def _intent(row: Row[Any]) -> Intent:
    return Intent(
        seq=row.seq,
        key=row.key,
        call=Call(Address(row.call_to), row.data, int(row.value)),
        state=IntentState(row.state),
        nonce=row.nonce,
        tx_hash=row.tx_hash,
        block=row.block,
        block_hash=row.block_hash,
        gas_used=row.gas_used,
        revert=row.revert,
        note=row.note,
    )


def _attempt(row: Row[Any]) -> Attempt:
    fees = Fees(int(row.max_fee), int(row.priority))
    return Attempt(row.tx_hash, row.nonce, row.number, row.raw, row.gas_limit, fees)


# --- logs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Position:
    """A block that the index has reached. `hash` is None only before the first."""

    number: int
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class IndexedLog:
    """A log with what it is looked up by."""

    log: RawLog
    kind: str
    request_id: bytes | None


@dataclass(frozen=True, slots=True)
class Rollback:
    """A time when the chain had lost or replaced blocks. Everything after `fork_block` was indexed anew."""

    generation: int
    fork_block: int
    head_before: int
    events_lost: int


class LogStore:
    """The indexed logs of one deployment."""

    def __init__(self, engine: Engine, chain_id: int, ledger: Address) -> None:
        self._engine, self._chain_id, self._ledger = engine, chain_id, ledger

    def position(self, start: int) -> Position:
        """Return the stored position; the first time, `start`.

        Raises:
            ChainMismatch: the tables belong to another deployment.
        """
        with read_transaction(self._engine) as c:
            row = c.execute(select(cursors).where(cursors.c.id == 1)).one_or_none()
        if row is None:
            values = {"id": 1, "chain_id": str(self._chain_id), "ledger": self._ledger}
            with write_transaction(self._engine) as c:
                row = c.execute(select(cursors).where(cursors.c.id == 1)).one_or_none()
                if row is None:
                    c.execute(insert(cursors).values(**values, number=start, hash=None))
                    return Position(start, None)
        if (row.chain_id, row.ledger) != (str(self._chain_id), self._ledger):
            raise ChainMismatch("these tables index another deployment; rebuild them")
        return Position(row.number, row.hash)

    def append(self, before: Position, after: Position, found: Sequence[IndexedLog]) -> bool:
        """Store logs and move the position in one transaction.

        Returns:
            False, and nothing is stored, when another process moved the position meanwhile.
        """
        with write_transaction(self._engine) as c:
            if not self._move(c, before, after):
                return False
            if found:
                c.execute(insert(logs), [_log_values(item) for item in found])
        return True

    def roll_back(self, before: Position, fork: Position, *, head_before: int) -> Rollback | None:
        """Forget everything after `fork` in one transaction; None when another process was faster."""
        with write_transaction(self._engine) as c:
            if not self._move(c, before, fork):
                return None
            lost = c.execute(delete(logs).where(logs.c.block > fork.number)).rowcount
            values = {"fork_block": fork.number, "head_before": head_before, "events_lost": lost}
            generation = c.execute(insert(rollbacks).values(**values)).inserted_primary_key
        return Rollback(generation=int(generation[0] if generation else 0), **values)

    def clear(self, start: int) -> None:
        """Forget all logs, so that the index is rebuilt from the chain."""
        with write_transaction(self._engine) as c:
            c.execute(delete(logs))
            c.execute(update(cursors).values(number=start, hash=None))

    def known_blocks(self, below: int, limit: int) -> list[Position]:
        """Return blocks with logs, by number and hash, the newest first, below a number."""
        wanted = select(logs.c.block, logs.c.block_hash).where(logs.c.block < below).distinct()
        with read_transaction(self._engine) as c:
            rows = c.execute(wanted.order_by(logs.c.block.desc()).limit(limit))
            return [Position(row.block, row.block_hash) for row in rows]

    def find(
        self,
        *,
        request_id: bytes | None,
        kinds: Collection[str] | None,
        after: EventRef | None,
        to_block: int,
        limit: int | None = None,
    ) -> list[RawLog]:
        """Return logs in the chain's order, up to and with a block."""
        wanted = select(logs).where(logs.c.block <= to_block)
        if request_id is not None:
            wanted = wanted.where(logs.c.request_id == request_id)
        if kinds is not None:
            wanted = wanted.where(logs.c.kind.in_(kinds))
        if after is not None:
            later = and_(logs.c.block == after.block, logs.c.log_index > after.log_index)
            wanted = wanted.where(or_(logs.c.block > after.block, later))
        with read_transaction(self._engine) as c:
            rows = c.execute(wanted.order_by(logs.c.block, logs.c.log_index).limit(limit))
            return [_raw_log(row) for row in rows]

    def rollbacks_after(self, generation: int) -> list[Rollback]:
        """Return the rollbacks with a higher generation, oldest first."""
        wanted = select(rollbacks).where(rollbacks.c.generation > generation).order_by(rollbacks.c.generation)
        with read_transaction(self._engine) as c:
            return [
                Rollback(row.generation, row.fork_block, row.head_before, row.events_lost)
                for row in c.execute(wanted)
            ]

    @staticmethod
    def _move(c: Connection, before: Position, after: Position) -> bool:
        same = cursors.c.hash.is_(None) if before.hash is None else cursors.c.hash == before.hash
        unchanged = and_(cursors.c.id == 1, cursors.c.number == before.number, same)
        moved = c.execute(update(cursors).where(unchanged).values(number=after.number, hash=after.hash))
        return moved.rowcount == 1


def _log_values(item: IndexedLog) -> dict[str, Any]:
    log = item.log
    return {
        "block": log.block,
        "log_index": log.log_index,
        "block_hash": log.block_hash,
        "tx_hash": log.tx_hash,
        "address": log.address,
        "topics": b"".join(log.topics),
        "data": log.data,
        "kind": item.kind,
        "request_id": item.request_id,
    }


def _raw_log(row: Row[Any]) -> RawLog:
    return RawLog(
        address=Address(row.address),
        topics=tuple(row.topics[i : i + 32] for i in range(0, len(row.topics), 32)),
        data=row.data,
        block=row.block,
        block_hash=row.block_hash,
        tx_hash=row.tx_hash,
        log_index=row.log_index,
    )
