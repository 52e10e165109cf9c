"""Engines: durable, one writer, named failures. The same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select, text, update

from ledger.database import make_engine, read_transaction, write_transaction
from ledger.errors import (
    DatabaseBusy,
    DatabaseConflict,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
)

metadata = MetaData()
counters = Table(
    "test_counter", metadata, Column("id", Integer, primary_key=True), Column("n", Integer, nullable=False)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{path}")
    metadata.create_all(made)
    yield made
    made.dispose()


def count_up(engine: Engine, times: int) -> None:
    """Check-then-write, which loses counts unless there is one writer at a time."""
    for _ in range(times):
        with write_transaction(engine) as c:
            n = c.scalar(select(counters.c.n).where(counters.c.id == 1))
            c.execute(update(counters).where(counters.c.id == 1).values(n=(n or 0) + 1))


def race(engine: Engine) -> int:
    with write_transaction(engine) as c:
        c.execute(insert(counters).values(id=1, n=0))
    threads = [threading.Thread(target=count_up, args=(engine, 25)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with read_transaction(engine) as c:
        return int(c.scalar(select(counters.c.n)) or 0)


def test_sqlite_is_set_to_lose_nothing(engine: Engine) -> None:
    with read_transaction(engine) as c:
        modes = [c.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert modes == ["wal", 2, 1]


def test_concurrent_writers_lose_no_count(engine: Engine) -> None:
    assert race(engine) == 100


def test_failed_block_keeps_nothing(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), write_transaction(engine) as c:
        c.execute(insert(counters).values(id=1, n=1))
        raise ZeroDivisionError
    with read_transaction(engine) as c:
        assert c.execute(select(counters)).all() == []


def test_reader_is_not_held_up_by_a_writer(engine: Engine) -> None:
    with write_transaction(engine) as writer:
        writer.execute(insert(counters).values(id=1, n=1))
        with read_transaction(engine) as reader:
            assert reader.execute(select(counters)).all() == []


def test_held_write_lock_is_busy(path: Path, engine: Engine) -> None:
    impatient = make_engine(f"sqlite:///{path}", busy_timeout_s=0.05)
    with write_transaction(engine), pytest.raises(DatabaseBusy), write_transaction(impatient):
        pass
    impatient.dispose()


def test_full_disk_is_named_and_keeps_nothing(engine: Engine) -> None:
    with engine.connect() as c:
        pages = c.scalar(text("PRAGMA page_count"))
    with pytest.raises(DatabaseFull), write_transaction(engine) as c:
        c.execute(text(f"PRAGMA max_page_count = {pages}"))
        c.execute(text("CREATE TABLE test_big (x BLOB)"))
        c.execute(text("INSERT INTO test_big VALUES (zeroblob(1000000))"))
    with write_transaction(engine) as c:
        c.execute(text("PRAGMA max_page_count = 1000000"))
        c.execute(insert(counters).values(id=1, n=1))


def test_repeated_key_is_a_conflict(engine: Engine) -> None:
    with write_transaction(engine) as c:
        c.execute(insert(counters).values(id=1, n=1))
    with pytest.raises(DatabaseConflict), write_transaction(engine) as c:
        c.execute(insert(counters).values(id=1, n=2))


def test_file_that_is_no_database_is_corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(DatabaseCorrupt), write_transaction(make_engine(f"sqlite:///{path}")):
        pass


def test_directory_that_is_missing_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable), read_transaction(make_engine(f"sqlite:///{tmp_path}/none/x.db")):
        pass


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://localhost/x", "oracle://x", "postgresql+asyncpg:///x"]
)
def test_other_databases_are_refused(url: str) -> None:
    if url.startswith("postgresql"):
        assert make_engine(url).url.drivername == "postgresql+psycopg"
        return
    with pytest.raises(DatabaseUnavailable):
        make_engine(url)


def test_error_names_no_statement_and_no_value(engine: Engine) -> None:
    with pytest.raises(DatabaseError) as caught, write_transaction(engine) as c:
        c.execute(text("SELECT 'a secret value' FROM nowhere"))
    assert "secret" not in str(caught.value) and "nowhere" not in str(caught.value)


@pytest.mark.postgres
def test_postgresql_writers_lose_no_count(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    assert race(engine) == 100
    with pytest.raises(DatabaseConflict), write_transaction(engine) as c:
        c.execute(insert(counters).values(id=1, n=2))
    metadata.drop_all(engine)
    engine.dispose()


def test_unreachable_postgresql_is_unavailable(unused_port: Callable[[], int]) -> None:
    engine = make_engine(f"postgresql://u:password@127.0.0.1:{unused_port()}/x")
    with pytest.raises(DatabaseUnavailable) as caught, write_transaction(engine):
        pass
    assert "password" not in str(caught.value)
