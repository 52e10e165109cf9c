"""The tables of the book, and every statement on them.

`licence_key`, `licence_city` and `licence_status` follow from the log: they are written again without effect, and may be cleared and
made anew. The others are the service's own: what it promised (slots), what it works on, and what it published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from ledger.database import named_errors, read_transaction, write_transaction

metadata = MetaData()
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in INTEGER keys

keys = Table(
    "licence_key",
    metadata,
    Column("key_id", LargeBinary(32), primary_key=True),
    Column("issuer", String(18), nullable=False),
    Column("jwk", Text, nullable=False),
    Column("types", Text, nullable=False),
    Column("added", _BIG, nullable=False),
    Column("retired", _BIG),
    Column("compromised", _BIG),
    Index("licence_key_issuer", "issuer", "added"),
)
cities = Table(
    "licence_city",
    metadata,
    Column("log_index", _BIG, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("city", Text, nullable=False),
)
statuses = Table(
    "licence_status",
    metadata,
    Column("log_index", _BIG, primary_key=True),
    Column("list", _BIG, nullable=False),
    Column("day", Integer, nullable=False),
    Column("token", LargeBinary(32), nullable=False),
    Column("bits", LargeBinary(32), nullable=False),
    Index("licence_status_list", "list", "log_index"),
)
settings = Table(
    "licence_setting",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
slots = Table(
    "licence_slots",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("first", _BIG, nullable=False, unique=True),
    Column("length", _BIG, nullable=False),
)
jobs = Table(
    "licence_backfill",
    metadata,
    Column("job", String(100), primary_key=True),
    Column("description", Text, nullable=False),
    Column("first", _BIG, nullable=False),
    Column("length", _BIG, nullable=False),
    Column("issued_at", _BIG, nullable=False),
    Column("done", Boolean, nullable=False),
)
batches = Table(
    "licence_access_batch",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("writer", String(60), nullable=False),
    Column("first", _BIG, nullable=False),
    Column("length", _BIG, nullable=False),
    Column("event", Text, nullable=False),
    Column("log_index", _BIG),
    UniqueConstraint("writer", "first"),
)
histories = Table(
    "licence_history",
    metadata,
    Column("issuer", String(18), primary_key=True),
    Column("size", _BIG, nullable=False),
    Column("expires_at", _BIG, nullable=False),
    Column("jws", Text, nullable=False),
)
anchors = Table(
    "licence_anchor",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False, unique=True),
    Column("from_size", _BIG, nullable=False),
    Column("size", _BIG, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("status_root", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tx_hash", LargeBinary(32)),
    Column("block", _BIG),
    Column("evidence", Text),
    Index("licence_anchor_state", "state", "size"),
)
templates = Table(
    "licence_template",
    metadata,
    Column("id", LargeBinary(8), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
_DERIVED: Final = (keys, cities, statuses)


def create_tables(engine: Engine) -> None:
    """Create the tables that are missing."""
    with named_errors():
        metadata.create_all(engine)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An issuer's key: whose, as which JWK, for which types, and between which log indexes it counts."""

    key_id: bytes
    issuer: str
    jwk: str
    types: tuple[str, ...]
    added: int
    retired: int | None
    compromised: int | None

    @property
    def ended(self) -> int | None:
        """The first log index at which the key does not count any more; None while it counts."""
        ends = [at for at in (self.retired, self.compromised) if at is not None]
        return min(ends) if ends else None


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One logged status token: `token` and `bits` are SHA-256 of the signed token and of the unpacked bits."""

    log_index: int
    number: int
    day: int
    token: bytes
    bits: bytes


@dataclass(frozen=True, slots=True)
class JobRow:
    """A backfill: the licence numbers `first` … `first + count − 1` are its rows, in order."""

    job: str
    description: str
    first: int
    count: int
    issued_at: int
    done: bool


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A range of one writer's access records, the signed event of its batch, and where that was logged."""

    seq: int
    writer: str
    first: int
    count: int
    event: str
    log_index: int | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """The newest issuer history that the registrar signed."""

    issuer: str
    size: int
    expires_at: int
    jws: str


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """One anchor: `state` is `open` (stored with the submitter), `final` or `dropped` (a newer one took its place)."""

    key: str
    from_size: int
    size: int
    root: bytes
    status_root: bytes
    checkpoint: str
    state: str
    tx_hash: bytes | None
    block: int | None
    evidence: str | None


class BookStore:
    """The rows of one book."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- what follows from the log -----------------------------------------------------------------------

    def put_derived(
        self,
        *,
        key_rows: Sequence[KeyRow] = (),
        city_rows: Sequence[tuple[int, str, str]] = (),
        status_rows: Sequence[StatusRow] = (),
    ) -> None:
        """Write rows that follow from the log; rows that are there with the same key are replaced."""
        if not (key_rows or city_rows or status_rows):
            return
        with write_transaction(self._engine) as c:
            for row in key_rows:
                c.execute(delete(keys).where(keys.c.key_id == row.key_id))
                c.execute(insert(keys).values(**_key_values(row)))
            for index, origin, city in city_rows:
                c.execute(delete(cities).where(cities.c.log_index == index))
                c.execute(insert(cities).values(log_index=index, origin=origin, city=city))
            for status in status_rows:
                c.execute(delete(statuses).where(statuses.c.log_index == status.log_index))
                c.execute(insert(statuses).values(**_status_values(status)))

    def clear_derived(self) -> None:
        """Forget what follows from the log."""
        with write_transaction(self._engine) as c:
            for table in _DERIVED:
                c.execute(delete(table))

    def key_rows(self) -> list[KeyRow]:
        """Return all issuer keys in the order in which they were added."""
        with read_transaction(self._engine) as c:
            return [_key(row) for row in c.execute(select(keys).order_by(keys.c.added))]

    def city_rows(self) -> list[tuple[int, str, str]]:
        """Return the recognitions: log index, origin, the city's canonical JSON."""
        with read_transaction(self._engine) as c:
            rows = c.execute(select(cities).order_by(cities.c.log_index))
            return [(row.log_index, row.origin, row.city) for row in rows]

    def newest_statuses(self, below: int) -> list[StatusRow]:
        """Return each list's newest token among the first `below` entries, ascending by list."""
        newest = select(statuses.c.list, func.max(statuses.c.log_index).label("at"))
        newest_by_list = newest.where(statuses.c.log_index < below).group_by(statuses.c.list).subquery()
        wanted = select(statuses).join(newest_by_list, statuses.c.log_index == newest_by_list.c.at)
        with read_transaction(self._engine) as c:
            return [_status(row) for row in c.execute(wanted.order_by(statuses.c.list))]

    def statuses_of(self, number: int, *, day_max: int | None = None, limit: int = 1000) -> list[StatusRow]:
        """Return the tokens of a list, the newest first, optionally of no later day."""
        wanted = select(statuses).where(statuses.c.list == number)
        if day_max is not None:
            wanted = wanted.where(statuses.c.day <= day_max)
        with read_transaction(self._engine) as c:
            rows = c.execute(wanted.order_by(statuses.c.log_index.desc()).limit(limit))
            return [_status(row) for row in rows]

    # --- settings and slots ------------------------------------------------------------------------------

    def setting(self, name: str) -> str | None:
        """Return a stored setting."""
        with read_transaction(self._engine) as c:
            value = c.execute(select(settings.c.value).where(settings.c.name == name)).scalar_one_or_none()
        return None if value is None else str(value)

    def put_setting(self, name: str, value: str) -> None:
        """Store a setting."""
        with write_transaction(self._engine) as c:
            c.execute(delete(settings).where(settings.c.name == name))
            c.execute(insert(settings).values(name=name, value=value))

    def next_number(self) -> int:
        """Return the first licence number that nobody has reserved."""
        with read_transaction(self._engine) as c:
            return _next_number(c)

    def reserve(self, key: str, count: int) -> tuple[int, int]:
        """Reserve licence numbers under a key and return the first and how many; a repeat returns the same.

        Durable when it returns. The numbers may never be used; they are never handed out again.
        """
        with write_transaction(self._engine) as c:
            row = c.execute(select(slots).where(slots.c.key == key)).one_or_none()
            if row is not None:
                return int(row.first), int(row.length)
            first = _next_number(c)
            c.execute(insert(slots).values(key=key, first=first, length=count))
            return first, count

    # --- backfill ----------------------------------------------------------------------------------------

    def put_template(self, template_id: bytes, data: bytes) -> None:
        """Store what the private records of a batch share; a repeat changes nothing."""
        with write_transaction(self._engine) as c:
            if c.execute(select(templates.c.id).where(templates.c.id == template_id)).one_or_none() is None:
                c.execute(insert(templates).values(id=template_id, data=data))

    def template(self, template_id: bytes) -> bytes | None:
        """Return a stored template."""
        with read_transaction(self._engine) as c:
            wanted = select(templates.c.data).where(templates.c.id == template_id)
            value = c.execute(wanted).scalar_one_or_none()
        return None if value is None else bytes(value)

    def job(self, job: str) -> JobRow | None:
        """Return a backfill by its name."""
        with read_transaction(self._engine) as c:
            row = c.execute(select(jobs).where(jobs.c.job == job)).one_or_none()
        return None if row is None else _job(row)

    def start_job(self, job: str, description: str, count: int, issued_at: int) -> JobRow:
        """Store a backfill with the licence numbers of its rows in one transaction; a repeat returns the stored one."""
        with write_transaction(self._engine) as c:
            row = c.execute(select(jobs).where(jobs.c.job == job)).one_or_none()
            if row is not None:
                return _job(row)
            first = _next_number(c)
            c.execute(insert(slots).values(key=f"backfill/{job}", first=first, length=count))
            made = JobRow(job, description, first, count, issued_at, False)
            c.execute(
                insert(jobs).values(
                    job=job,
                    description=description,
                    first=first,
                    length=count,
                    issued_at=issued_at,
                    done=False,
                )
            )
        return made

    def open_jobs(self) -> list[JobRow]:
        """Return the backfills that are not done, by their licence numbers."""
        with read_transaction(self._engine) as c:
            return [_job(row) for row in c.execute(select(jobs).where(~jobs.c.done).order_by(jobs.c.first))]

    def finish_job(self, job: str) -> None:
        """Mark a backfill as done."""
        with write_transaction(self._engine) as c:
            c.execute(update(jobs).where(jobs.c.job == job).values(done=True))

    # --- access batches ----------------------------------------------------------------------------------

    def batched_count(self, writer: str) -> int:
        """Return how many of a writer's records are in batches."""
        total = select(func.max(batches.c.first + batches.c.length)).where(batches.c.writer == writer)
        with read_transaction(self._engine) as c:
            return int(c.execute(total).scalar_one_or_none() or 0)

    def add_batch(self, writer: str, first: int, count: int, event: str) -> None:
        """Store a batch with its signed event before it is logged."""
        with write_transaction(self._engine) as c:
            c.execute(insert(batches).values(writer=writer, first=first, length=count, event=event))

    def open_batches(self) -> list[BatchRow]:
        """Return the batches that are not known to be logged, oldest first."""
        with read_transaction(self._engine) as c:
            rows = c.execute(select(batches).where(batches.c.log_index.is_(None)).order_by(batches.c.seq))
            return [_batch(row) for row in rows]

    def set_batch_logged(self, seq: int, log_index: int) -> None:
        """Store where a batch was logged."""
        with write_transaction(self._engine) as c:
            c.execute(update(batches).where(batches.c.seq == seq).values(log_index=log_index))

    def batch_of(self, writer: str, position: int) -> BatchRow | None:
        """Return the batch that has a writer's record."""
        at = and_(batches.c.first <= position, batches.c.first + batches.c.length > position)
        with read_transaction(self._engine) as c:
            row = c.execute(select(batches).where(batches.c.writer == writer, at)).one_or_none()
        return None if row is None else _batch(row)

    # --- published ---------------------------------------------------------------------------------------

    def put_history(self, row: HistoryRow) -> None:
        """Store an issuer history in the place of the older one."""
        with write_transaction(self._engine) as c:
            c.execute(delete(histories).where(histories.c.issuer == row.issuer))
            values = {"issuer": row.issuer, "size": row.size, "expires_at": row.expires_at, "jws": row.jws}
            c.execute(insert(histories).values(**values))

    def history(self, issuer: str) -> HistoryRow | None:
        """Return the newest issuer history."""
        with read_transaction(self._engine) as c:
            row = c.execute(select(histories).where(histories.c.issuer == issuer)).one_or_none()
        return None if row is None else HistoryRow(row.issuer, row.size, row.expires_at, row.jws)

    def add_anchor(self, row: AnchorRow) -> None:
        """Store an anchor before it is handed to the submitter; a repeat changes nothing."""
        with write_transaction(self._engine) as c:
            if c.execute(select(anchors.c.seq).where(anchors.c.key == row.key)).one_or_none() is None:
                c.execute(insert(anchors).values(**_anchor_values(row)))

    def set_anchor(self, key: str, **values: str | int | bytes | None) -> None:
        """Change columns of an anchor."""
        with write_transaction(self._engine) as c:
            c.execute(update(anchors).where(anchors.c.key == key).values(**values))

    def anchor_count(self) -> int:
        """Return how many anchors there ever were."""
        with read_transaction(self._engine) as c:
            return int(c.execute(select(func.max(anchors.c.seq))).scalar_one_or_none() or 0)

    def anchors_in(self, state: str) -> list[AnchorRow]:
        """Return the anchors in a state, oldest first."""
        with read_transaction(self._engine) as c:
            rows = c.execute(select(anchors).where(anchors.c.state == state).order_by(anchors.c.seq))
            return [_anchor(row) for row in rows]

    def newest_anchor(self, *, with_evidence: bool = False) -> AnchorRow | None:
        """Return the final anchor of the largest size, optionally only among those with evidence."""
        wanted = select(anchors).where(anchors.c.state == "final")
        if with_evidence:
            wanted = wanted.where(anchors.c.evidence.is_not(None))
        with read_transaction(self._engine) as c:
            row = c.execute(
                wanted.order_by(anchors.c.size.desc(), anchors.c.seq.desc()).limit(1)
            ).one_or_none()
        return None if row is None else _anchor(row)


def _next_number(c: Connection) -> int:
    return int(c.execute(select(func.max(slots.c.first + slots.c.length))).scalar_one_or_none() or 0)


def _key_values(row: KeyRow) -> dict[str, Any]:
    return {
        "key_id": row.key_id,
        "issuer": row.issuer,
        "jwk": row.jwk,
        "types": " ".join(row.types),
        "added": row.added,
        "retired": row.retired,
        "compromised": row.compromised,
    }


def _key(row: Row[Any]) -> KeyRow:
    types = tuple(row.types.split())
    return KeyRow(row.key_id, row.issuer, row.jwk, types, row.added, row.retired, row.compromised)


def _status_values(row: StatusRow) -> dict[str, Any]:
    return {
        "log_index": row.log_index,
        "list": row.number,
        "day": row.day,
        "token": row.token,
        "bits": row.bits,
    }


def _status(row: Row[Any]) -> StatusRow:
    return StatusRow(row.log_index, row.list, row.day, row.token, row.bits)


def _job(row: Row[Any]) -> JobRow:
    return JobRow(row.job, row.description, row.first, row.length, row.issued_at, row.done)


def _batch(row: Row[Any]) -> BatchRow:
    return BatchRow(row.seq, row.writer, row.first, row.length, row.event, row.log_index)


def _anchor_values(row: AnchorRow) -> dict[str, Any]:
    names = (
        "key",
        "from_size",
        "size",
        "root",
        "status_root",
        "checkpoint",
        "state",
        "tx_hash",
        "block",
        "evidence",
    )
    return {name: getattr(row, name) for name in names}


def _anchor(row: Row[Any]) -> AnchorRow:
    return AnchorRow(
        row.key,
        row.from_size,
        row.size,
        row.root,
        row.status_root,
        row.checkpoint,
        row.state,
        row.tx_hash,
        row.block,
        row.evidence,
    )
