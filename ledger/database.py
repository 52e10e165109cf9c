"""Engines and write transactions, with the driver's failures as named errors.

SQLite: write-ahead log, `synchronous=FULL`, foreign keys, a busy timeout, and every write transaction
begins with BEGIN IMMEDIATE. PostgreSQL through psycopg: every write transaction first takes one advisory
lock. So on both a check-then-write is one step, and there is one writer at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger.errors import (
    DatabaseBusy,
    DatabaseConflict,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
)

BUSY_TIMEOUT_S: Final = 10.0
_IMMEDIATE: Final = "shuyao_immediate"
_WRITER_LOCK: Final = 0x5348_5559_414F  # any constant of ours: the key of the advisory lock


def make_engine(url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Open a database by URL: `sqlite:///PATH`, or `postgresql://…`, which is reached through psycopg.

    Args:
        url: SQLAlchemy URL.
        busy_timeout_s: how long a writer waits for another before DatabaseBusy.

    Raises:
        DatabaseUnavailable: the URL names no supported database.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            return _sqlite(parsed.set(drivername="sqlite"), busy_timeout_s)
        if backend == "postgresql":
            return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as err:
        raise DatabaseUnavailable("expected a sqlite or postgresql URL") from err
    raise DatabaseUnavailable(f"expected a sqlite or postgresql URL, got {backend}")


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """Run the block in one transaction that holds the write lock from its first statement (SQLite).

    Raises:
        DatabaseFull, DatabaseBusy, DatabaseUnavailable, DatabaseCorrupt, DatabaseError: and nothing was kept.
    """
    with named_errors(), engine.connect() as connection:
        marked = connection.execution_options(**{_IMMEDIATE: True})
        with marked.begin():
            if engine.dialect.name == "postgresql":
                marked.execute(text(f"SET LOCAL lock_timeout = {int(BUSY_TIMEOUT_S * 1000)}"))
                marked.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield marked


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """Run the block in one read-only view of the database.

    Raises:
        DatabaseBusy, DatabaseUnavailable, DatabaseCorrupt, DatabaseError.
    """
    with named_errors(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn the driver's failures into this package's errors."""
    try:
        yield
    except DBAPIError as err:
        raise _named(err) from err
    except PoolTimeout as err:
        raise DatabaseBusy("no connection became free in time") from err


def _sqlite(url: Any, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.execute(text("BEGIN IMMEDIATE" if immediate else "BEGIN"))

    return engine


def _named(err: DBAPIError) -> DatabaseError:
    if isinstance(err, IntegrityError):
        return DatabaseConflict("a row with this key exists already, or a row that it needs does not")
    code = getattr(err.orig, "sqlite_errorcode", None)
    state = getattr(err.orig, "sqlstate", None)
    kind = type(err.orig).__name__
    if code is not None:
        primary = code & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            return DatabaseFull("no space left for the database")
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DatabaseBusy("another writer held the database for longer than the busy timeout")
        if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return DatabaseUnavailable("the database file cannot be opened for writing")
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return DatabaseCorrupt("the file is no SQLite database, or is damaged")
    if state is not None and state.startswith("53100"):
        return DatabaseFull("no space left for the database")
    if state in ("55P03", "40001", "40P01"):  # lock not available, serialisation failure, deadlock
        return DatabaseBusy("another writer held the same rows")
    if err.connection_invalidated or kind in ("OperationalError", "InterfaceError"):
        return DatabaseUnavailable(f"the database cannot be reached ({kind})")
    return DatabaseError(f"the database refused a statement ({kind})")
