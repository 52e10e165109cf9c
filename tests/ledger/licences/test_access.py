"""Access records: durable together, listed to the holder, summed into batches, and unlinkable once erased."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import Digest
from ledger.licences.access import (
    RECORD_SIZE,
    SLOT_SIZE,
    AccessFiles,
    AccessRecord,
    AccessWriter,
    Use,
    make_record,
)
from ledger.licences.batches import AccessBatches
from ledger.licences.errors import BookBusy, BookClosed, BookDamaged, RecordMalformed
from ledger.licences.leaf import Kind, Leaf
from ledger.log.tree import leaf_hash, root_of, verify_inclusion
from tests.ledger.licences.books import Books, make_books
from tests.ledger.licences.world import seed_of

LEAF = Digest(seed_of("leaf"))
OTHER = Digest(seed_of("other leaf"))


def salt_of(number: int) -> bytes:
    return seed_of("salt", number)[:16]


def record_of(number: int, leaf: Digest = LEAF) -> AccessRecord:
    return make_record(leaf, audience="urn:tea-house", use=Use.VALID, now_s=number, salt=salt_of(number))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[AccessWriter]:
    made = AccessWriter(tmp_path, "api-0", delay_s=0)
    yield made
    made.close()


def fill(writer: AccessWriter, count: int, *, start: int = 0, leaf: Digest = LEAF, index: int = 7) -> None:
    tickets = [writer.enqueue(index, record_of(n, leaf), salt_of(n)) for n in range(start, start + count)]
    for ticket in tickets:
        ticket.result(10)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1), st.sampled_from(Use))
def test_a_record_has_74_bytes_and_reads_back(subject: bytes, time_s: int, use: Use) -> None:
    record = AccessRecord(subject, time_s, seed_of("verifier"), use)
    assert len(record.encode()) == RECORD_SIZE
    assert AccessRecord.decode(record.encode()) == record


@pytest.mark.parametrize("data", [b"", bytes(74), b"\1" + bytes(72) + b"\3", b"\1" + bytes(74)])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(RecordMalformed):
        AccessRecord.decode(data)


def test_a_record_links_to_its_licence_only_with_its_salt() -> None:
    record = record_of(1)
    assert record.is_of(salt_of(1), LEAF)
    assert not record.is_of(salt_of(2), LEAF)
    assert not record.is_of(salt_of(1), OTHER)
    assert record.encode().find(LEAF) < 0


def test_the_holder_is_listed_its_own_uses_in_order(writer: AccessWriter, tmp_path: Path) -> None:
    fill(writer, 3)
    fill(writer, 2, start=10, leaf=OTHER, index=8)
    fill(writer, 1, start=20)
    uses = AccessFiles(tmp_path).uses_of(7, LEAF)
    assert [use.record.time_s for use in uses] == [0, 1, 2, 20]
    assert all(use.record.is_of(use.salt, LEAF) for use in uses)


def test_many_threads_share_syncs_and_none_is_lost(writer: AccessWriter, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fill, args=(writer, 50), kwargs={"start": 100 * n}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    uses = AccessFiles(tmp_path).uses_of(7, LEAF)
    assert sorted(use.record.time_s for use in uses) == sorted(
        100 * n + i for n in range(8) for i in range(50)
    )


def test_records_of_one_group_have_one_future(tmp_path: Path) -> None:
    slow = AccessWriter(tmp_path, "slow", delay_s=0.2)
    first, second = (slow.enqueue(7, record_of(n), salt_of(n)) for n in range(2))
    assert first.group is second.group
    slow.close()
    assert first.group.done()
    with pytest.raises(BookClosed):
        slow.enqueue(7, record_of(3), salt_of(3))


def test_a_name_has_one_writer_and_a_plain_form(writer: AccessWriter, tmp_path: Path) -> None:
    with pytest.raises(BookBusy):
        AccessWriter(tmp_path, "api-0")
    with pytest.raises(BookDamaged):
        AccessWriter(tmp_path, "../api")


@pytest.mark.parametrize("torn", [1, SLOT_SIZE - 1, SLOT_SIZE, SLOT_SIZE + 5])
def test_what_a_crash_left_half_written_is_cut_off(tmp_path: Path, torn: int) -> None:
    first = AccessWriter(tmp_path, "api-0", delay_s=0)
    fill(first, 3)
    first.close()
    with (tmp_path / "api-0.records").open("ab") as file:
        file.write(b"\xee" * torn)
    second = AccessWriter(tmp_path, "api-0", delay_s=0)
    fill(second, 1, start=3)
    second.close()
    assert [use.record.time_s for use in AccessFiles(tmp_path).uses_of(7, LEAF)] == [0, 1, 2, 3]


def test_erasure_unlinks_the_records_and_keeps_their_bytes(writer: AccessWriter, tmp_path: Path) -> None:
    fill(writer, 3)
    fill(writer, 1, start=10, leaf=OTHER, index=8)
    files = AccessFiles(tmp_path)
    before = files.records("api-0", 0, 4)
    assert files.erase(7) == 3
    assert files.uses_of(7, LEAF) == [] and files.erase(7) == 0
    assert len(files.uses_of(8, OTHER)) == 1
    assert files.records("api-0", 0, 4) == before
    kept = (tmp_path / "api-0.records").read_bytes()
    assert not any(salt_of(n) in kept for n in range(3))


def test_an_altered_record_is_noticed(writer: AccessWriter, tmp_path: Path) -> None:
    fill(writer, 2)
    path = tmp_path / "api-0.records"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(BookDamaged):
        AccessFiles(tmp_path).records("api-0", 0, 2)


# --- batches ---------------------------------------------------------------------------------------------


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def test_records_become_batch_leaves_once(books: Books) -> None:
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    batches = AccessBatches(books.book, books.city.service, rand=books.rand)
    assert batches.seal(books.now_s) == []
    fill(writer, 5)
    (index,) = batches.seal(books.now_s)
    leaf = Leaf.decode(books.book.log.entry(index))
    records = AccessFiles(books.root / "access").records("api-0", 0, 5)
    assert leaf.kind is Kind.ACCESS_BATCH
    assert leaf.extra == root_of([leaf_hash(record) for record in records]) + (5).to_bytes(4, "big")
    assert batches.seal(books.now_s) == []
    fill(writer, 2, start=5)
    assert len(batches.seal(books.now_s)) == 1
    writer.close()


@pytest.mark.parametrize("count", [255, 256, 257, 513, 700])
def test_a_batch_made_in_pieces_has_the_root_of_the_whole(books: Books, count: int) -> None:
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    fill(writer, count)
    writer.close()
    (index,) = AccessBatches(books.book, books.city.service, rand=books.rand).seal(books.now_s)
    records = AccessFiles(books.root / "access").records("api-0", 0, count)
    assert Leaf.decode(books.book.log.entry(index)).extra[:32] == root_of(
        [leaf_hash(each) for each in records]
    )


def test_a_duty_and_a_holder_that_seal_at_once_make_one_batch(books: Books) -> None:
    writer, others = AccessWriter(books.root / "access", "api-0", delay_s=0), list[threading.Thread]()

    def rand(count: int) -> bytes:
        if not others:  # after what is in no batch was counted, and before the batch of it is stored
            others.append(threading.Thread(target=batches.seal, args=(books.now_s,)))
            others[0].start()
            others[0].join(0.5)
        return books.rand(count)

    batches = AccessBatches(books.book, books.city.service, rand=rand)
    fill(writer, 3)
    assert len(batches.seal(books.now_s)) == 1
    others[0].join(30)
    assert batches.seal(books.now_s) == []
    writer.close()


def test_a_holder_gets_its_uses_with_proofs_of_their_batches(books: Books) -> None:
    licence = books.issue()
    standing = books.book.standing(licence.claims.list, licence.claims.index)
    assert standing is not None
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    batches = AccessBatches(books.book, books.city.service, rand=books.rand)
    fill(writer, 4, leaf=standing.leaf_hash, index=standing.leaf_index)
    fill(writer, 3, start=50, leaf=OTHER, index=999)
    (index,) = batches.seal(books.now_s)
    fill(writer, 1, start=90, leaf=standing.leaf_hash, index=standing.leaf_index)
    writer.close()
    found = batches.uses_of(standing.leaf_index, standing.leaf_hash)
    assert [use.batch is None for use in found] == [False] * 4 + [True]
    root = Leaf.decode(books.book.log.entry(index)).extra[:32]
    for use in found[:4]:
        assert use.batch is not None and use.batch.log_index == index
        hashed = leaf_hash(use.listed.record.encode())
        verify_inclusion(hashed, use.batch.position, use.batch.count, use.batch.path, root)


def test_a_batch_stored_before_a_crash_is_logged_after_it(books: Books) -> None:
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    fill(writer, 2)
    writer.close()
    batches = AccessBatches(books.book, books.city.service, rand=books.rand)
    batches.prepare(books.now_s)  # the crash comes between this and the log
    books.reopen()
    again = AccessBatches(books.book, books.city.service, rand=books.rand)
    (index,) = again.seal(books.now_s)
    assert Leaf.decode(books.book.log.entry(index)).extra[32:] == (2).to_bytes(4, "big")
    assert again.seal(books.now_s) == []
