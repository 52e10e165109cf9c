"""A holder whose database was restored from a backup refuses what was open then, and serves what comes."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from holder.errors import RestoredBackup
from holder.types import Stage
from ledger.types import Digest
from privacy.messages import Kind
from tests.faults.world import Books, Step, finish, holder_store, reach, require_books
from tests.stack import Stack, wait_until


def test_restored_backup_refuses_open_session_and_serves_the_next(stack: Stack, tmp_path: Path) -> None:
    stack.heal()
    before = Books.read(stack)
    quote = stack.quote()
    request_id = stack.buyer.submit(quote)
    reach(stack, request_id, Step.SHARED)
    _back_up(stack, tmp_path / "backup.db")
    reach(stack, request_id, Step.UNMASKED)
    stack.kill("holder-1")
    sent = holder_store(stack, 1).message(request_id, Kind.UNMASK)
    assert sent is not None
    _restore(stack, tmp_path / "backup.db")
    stack.start("holder-1")
    _require_refused(stack, request_id)
    outcome = finish(stack, request_id)
    require_books(stack, request_id, before, outcome, quote.price_minor)

    before = Books.read(stack)
    quote = stack.quote()
    later = stack.buyer.submit(quote)
    outcome = finish(stack, later)
    assert outcome.answer is not None and outcome.answer.survivors == len(stack.numbers)
    require_books(stack, later, before, outcome, quote.price_minor)
    _require_refused(stack, request_id)


def _require_refused(stack: Stack, request_id: Digest) -> None:
    stored = wait_until(
        lambda: (found := holder_store(stack, 1).request(request_id)).stage is Stage.REFUSED and found,
        "holder 1 to refuse",
    )
    assert stored.reason == RestoredBackup.__name__
    assert holder_store(stack, 1).message(request_id, Kind.UNMASK) is None, "no share is released again"


def _back_up(stack: Stack, target: Path) -> None:
    with closing(sqlite3.connect(_database(stack))) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _restore(stack: Stack, source: Path) -> None:
    stack.holder_engine(1).dispose()
    database = _database(stack)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(source, database)


def _database(stack: Stack) -> Path:
    return stack.home.holder(1) / "holder.db"
