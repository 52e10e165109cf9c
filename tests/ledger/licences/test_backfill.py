"""The backfill: every row a licence, once; the same call goes on after a kill; nothing starts without the disk."""

from __future__ import annotations

import datetime
import hashlib
import json
import multiprocessing
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger.licences.backfill import Backfill, Progress
from ledger.licences.backfill_worker import Issuer
from ledger.licences.book import LicenceBook
from ledger.licences.errors import BackfillRefused, EventRefused
from ledger.licences.events import Kind
from ledger.licences.identifiers import Identifier
from ledger.licences.leaf import LICENCE_KINDS, Leaf
from ledger.licences.mapping import BackfillMapping
from ledger.licences.schema import demonstration_types
from ledger.licences.sdjwt import parse
from ledger.licences.verify import State
from ledger.log.batch import Bundle, Item
from tests.ledger.licences.books import DEPARTMENT, OTHER_DEPARTMENT, Books, Held, make_books
from tests.ledger.licences.world import BUSINESS, NOW, build_city

KIND = demonstration_types()[BUSINESS]
FIRST, LAST = datetime.date(2026, 3, 1), datetime.date(2036, 2, 29)


def write_rows(path: Path, count: int, **columns: Any) -> Path:
    table = {
        "编号": [f"SN{i:08d}" for i in range(count)],
        "发证日期": [FIRST] * count,
        "有效期至": [LAST if i % 3 else None for i in range(count)],
        "名称": [f"海港第{i}茶社" if i % 5 else None for i in range(count)],
        "注册资本": list(range(count)),
        **columns,
    }
    pq.write_table(pa.table(table), path, row_group_size=700)
    return path


def mapping(**changes: Any) -> BackfillMapping:
    value = {
        "version": 1,
        "type": BUSINESS,
        "type_version": KIND.version,
        "issuer": DEPARTMENT,
        "serial": {"column": "编号"},
        "licence_version": "001",
        "first_day": {"column": "发证日期"},
        "last_day": {"column": "有效期至"},
        "fields": {"entity_name": "名称", "registered_capital": "注册资本"},
        "holder": build_city("haigang").key("custodian").public.jwk(),
    }
    return BackfillMapping.parse(json.dumps({**value, **changes}, ensure_ascii=False).encode())


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def backfill(books: Books, source: Path, **changes: Any) -> Backfill:
    return Backfill(books.book, source, mapping=mapping(**changes), kind=KIND, key=books.key_of(DEPARTMENT))


def identifier(row: int) -> str:
    return Identifier(BUSINESS, DEPARTMENT, f"SN{row:08d}", "001").text


def require_each_row_once(books: Books, count: int, others: int = 0) -> None:
    leaves = [Leaf.decode(books.book.log.entry(index)) for index in range(books.book.size)]
    licences = [leaf for leaf in leaves if leaf.kind in LICENCE_KINDS]
    assert len(licences) == count + others
    assert len({leaf.event_id for leaf in leaves}) == len(leaves)
    assert len({(leaf.list, leaf.index) for leaf in licences}) == len(licences)
    for row in (0, 1, count // 2, count - 1):
        assert len(books.book.find(identifier(row))) == 1


def test_no_more_of_a_file_is_in_memory_than_what_is_being_issued(books: Books, tmp_path: Path) -> None:
    count = 32_768
    drawn = hashlib.shake_256(b"names").hexdigest(count * 256)
    names = [drawn[at : at + 512] for at in range(0, len(drawn), 512)]
    path = write_rows(tmp_path / "rows.parquet", count, 名称=names)
    size = path.stat().st_size
    job = backfill(books, path)
    row = books.book.start_backfill(job.job, "", job.rows, NOW)
    before = pa.total_allocated_bytes()
    most = [(pa.total_allocated_bytes() - before, len(chunk)) for chunk in job.chunks(row)]
    assert sum(rows for _, rows in most) == count and size > count * 512
    assert max(held for held, _ in most) < size // 2


def test_every_row_becomes_a_licence_that_is_found_and_valid(books: Books, tmp_path: Path) -> None:
    count = 1100
    job = backfill(books, write_rows(tmp_path / "rows.parquet", count))
    seen: list[Progress] = []
    end = job.run(now_s=NOW, workers=1, progress=seen.append, commit_bundles=2)
    assert (end.done, end.total, end.issued) == (count, count, count)
    assert [p.done for p in seen] == sorted(p.done for p in seen) and len(seen) > 2
    require_each_row_once(books, count)
    books.publish()
    for row in (0, 1, 5, 1099):
        (index,) = books.book.find(identifier(row))
        text = books.book.credential(index)
        presented = parse(text)
        assert presented.disclosed.get("entity_name") == (f"海港第{row}茶社" if row % 5 else None)
        assert presented.disclosed["registered_capital"] == str(row)
        assert presented.claims.not_before == 1772294400 and presented.claims.issued_at == NOW
        assert presented.claims.expires_at == (2087913600 if row % 3 else None)
        verdict = books.verdict(Held(credential_of(text), presented.claims, books.city.service))
        assert verdict.state is State.VALID


def credential_of(text: str) -> Any:
    return namedtuple("Text", ["text"])(text)


def test_a_second_run_of_the_same_job_issues_nothing(books: Books, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", 300)
    backfill(books, source).run(now_s=NOW, workers=1)
    size = books.book.size
    again = backfill(books, source).run(now_s=NOW + 99, workers=1)
    assert (again.done, again.issued, books.book.size) == (300, 0, size)


class Stopped(Exception):
    pass


def test_an_interrupted_run_goes_on_with_what_is_missing(books: Books, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", 1500)

    def stop(progress: Progress) -> None:
        if progress.issued > 500:
            raise Stopped

    with pytest.raises(Stopped):
        backfill(books, source).run(now_s=NOW, workers=1, progress=stop, commit_bundles=1)
    books.issue()  # the log does not end with a bundle any more
    done = 1500 - backfill(books, source).run(now_s=NOW + 99, workers=1, commit_bundles=2).issued
    assert 500 < done < 1500
    require_each_row_once(books, 1500, others=1)
    claims = parse(books.book.credential(books.book.find(identifier(1499))[0])).claims
    assert claims.issued_at == NOW  # of the job, not of the run


def test_other_entries_may_come_in_between(books: Books, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", 2000)
    ended = threading.Event()

    def meanwhile() -> None:
        while not ended.is_set():
            books.issue()
            books.publish()
            ended.wait(0.001)

    job, before = backfill(books, source), books.book.size
    with ThreadPoolExecutor(1) as beside:
        others = beside.submit(meanwhile)
        try:
            end = job.run(now_s=NOW, workers=1, commit_bundles=1)
        finally:
            ended.set()
        others.result()
    assert end.done == 2000
    leaves = [Leaf.decode(books.book.log.entry(index)) for index in range(books.book.size)]
    assert len({leaf.event_id for leaf in leaves}) == len(leaves) > before + 2000
    assert sum(leaf.kind in LICENCE_KINDS for leaf in leaves) > 2000
    assert all(len(books.book.find(identifier(row))) == 1 for row in range(0, 2000, 97))


def run_until_killed(root: Path, source: Path) -> None:
    city = build_city("haigang")
    books = Books(root, city, LicenceBook.open(root, city.log_signer))
    backfill(books, source).run(now_s=NOW, workers=1, commit_bundles=1)


def test_kill_9_in_the_middle_loses_and_doubles_nothing(books: Books, tmp_path: Path) -> None:
    count = 3000
    source = write_rows(tmp_path / "rows.parquet", count)
    books.book.close()
    context = multiprocessing.get_context("spawn")
    for wanted in (1, 6):
        process = context.Process(target=run_until_killed, args=(books.root, source))
        process.start()
        checkpoint = books.root / "log" / "public" / "checkpoint"
        deadline = time.monotonic() + 60
        while int(checkpoint.read_text().split("\n")[1]) < wanted * 256 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.join()
    books.book = LicenceBook.open(books.root, books.city.log_signer)
    end = backfill(books, source).run(now_s=NOW, workers=1)
    assert end.done == count and end.issued < count
    require_each_row_once(books, count)
    before = books.book.state.slots.bits(0), books.book.state.slots.leaves(0).tobytes()
    books.book.rebuild()
    assert (books.book.state.slots.bits(0), books.book.state.slots.leaves(0).tobytes()) == before


def test_it_does_not_start_without_the_disk(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
    job = backfill(books, write_rows(tmp_path / "rows.parquet", 300))
    with pytest.raises(BackfillRefused, match="MiB"):
        job.run(now_s=NOW, workers=1)
    assert books.book.size == 1


def test_slots_kept_for_a_backfill_are_not_for_others(books: Books, tmp_path: Path) -> None:
    job = backfill(books, write_rows(tmp_path / "rows.parquet", 300))
    row = books.book.start_backfill(job.job, "x", 300, NOW)
    ((number, index),) = books.book.slots_of(row.first + 7, 1)
    with pytest.raises(EventRefused, match="slot"):
        books.submit(books.licence(list=number, index=index).text)
    with pytest.raises(BackfillRefused, match="another file"):
        job.run(now_s=NOW, workers=1)


def test_a_key_that_is_over_or_of_another_issuer_signs_no_backfill(books: Books, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", 300)
    books.submit(books.key_event(Kind.KEY_RETIRE, DEPARTMENT))
    with pytest.raises(EventRefused, match="key"):
        backfill(books, source).run(now_s=NOW, workers=1)
    books.admit(OTHER_DEPARTMENT)
    with pytest.raises(EventRefused, match="key"):
        Backfill(books.book, source, mapping=mapping(), kind=KIND, key=books.key_of(OTHER_DEPARTMENT)).run(
            now_s=NOW, workers=1
        )


@pytest.mark.parametrize(
    "columns", [{"编号": ["ａ"] * 256}, {"编号": [None] * 256}, {"发证日期": [None] * 256}]
)
def test_a_row_that_can_be_no_licence_stops_it(books: Books, tmp_path: Path, columns: dict[str, Any]) -> None:
    schema = {"编号": pa.string(), "发证日期": pa.date32()}
    typed = {name: pa.array(values, schema[name]) for name, values in columns.items()}
    job = backfill(books, write_rows(tmp_path / "rows.parquet", 256, **typed))
    with pytest.raises(BackfillRefused):
        job.run(now_s=NOW, workers=1)


def test_files_and_mappings_that_do_not_fit_are_refused(books: Books, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", 10)
    with pytest.raises(BackfillRefused, match="column"):
        backfill(books, source, serial={"column": "没有"})
    with pytest.raises(BackfillRefused, match="fields"):
        backfill(books, source, fields={"no_such_field": "名称"})
    with pytest.raises(BackfillRefused):
        backfill(books, source, version=2)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(BackfillRefused):
        backfill(books, tmp_path / "text.parquet")
    with pytest.raises(BackfillRefused):
        BackfillMapping.parse(b"[" * 1000)


def test_a_mapping_may_be_yaml() -> None:
    plain = mapping()
    text = f"""
version: 1
type: {BUSINESS}
type_version: {KIND.version}
issuer: {DEPARTMENT}
serial: {{column: 编号}}
licence_version: "001"
first_day: {{column: 发证日期}}
last_day: {{column: 有效期至}}
fields: {{entity_name: 名称, registered_capital: 注册资本}}
holder: {json.dumps(plain.holder.jwk())}
"""
    assert BackfillMapping.parse(text.encode()) == plain


def test_a_worker_builds_the_bundles_that_the_log_would(books: Books, tmp_path: Path) -> None:
    job = backfill(books, write_rows(tmp_path / "rows.parquet", 512))
    row = books.book.start_backfill(job.job, "x", 512, NOW)
    issuer = Issuer(job.plan(row))
    (chunk,) = job.chunks(row)
    rows = issuer._rows(chunk.stretch)
    issued = issuer._issued(rows)
    items = [
        Item(one.event_id, one.leaf, one.record, issuer._lookup(r))
        for r, one in zip(rows, issued, strict=True)
    ]
    assert issuer._bundle(rows[:256], issued[:256]) == Bundle.of(items[:256])
