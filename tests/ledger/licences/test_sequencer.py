"""Group commits: each caller has its own answer, and a failure of the group is everybody's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ledger.licences.book import Receipt
from ledger.licences.errors import BookClosed, BookFull, EventRefused
from ledger.licences.group import GroupCommit
from ledger.licences.sequencer import Sequencer
from tests.ledger.licences.books import Books, make_books


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def test_concurrent_callers_get_their_own_receipts(books: Books) -> None:
    sequencer = Sequencer(books.book, clock=lambda: books.now_s)
    licences = [books.licence() for _ in range(24)]
    receipts: dict[int, Receipt] = {}

    def hand_in(part: int) -> None:
        for at in range(part, len(licences), 8):
            receipts[at] = sequencer.submit(licences[at].text, 30)

    threads = [threading.Thread(target=hand_in, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {at: receipt.leaf_hash for at, receipt in receipts.items()} == {
        at: licence.leaf_hash for at, licence in enumerate(licences)
    }
    assert sequencer.submit(licences[3].text) == receipts[3]
    sequencer.close()
    assert books.book.size == 1 + len(licences)


def test_a_refusal_is_its_own_callers_alone(books: Books) -> None:
    sequencer = Sequencer(books.book, clock=lambda: books.now_s, delay_s=0.05)
    good, bad = (
        sequencer.enqueue(books.licence().text),
        sequencer.enqueue(books.licence(key=books.city.service).text),
    )
    assert good.group is bad.group
    assert isinstance(good.result(30), Receipt) and isinstance(bad.result(30), EventRefused)
    with pytest.raises(EventRefused):
        sequencer.submit(books.licence(key=books.city.service).text)
    sequencer.close()


def test_a_failed_commit_fails_its_group_and_not_the_next() -> None:
    full = True

    def commit(items: Sequence[int]) -> Sequence[int]:
        if full:
            raise BookFull("test")
        return [2 * item for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit)
    with pytest.raises(BookFull):
        group.enqueue(1).result(10)
    full = False
    assert group.enqueue(21).result(10) == 42
    group.close()
    group.close()
    with pytest.raises(BookClosed):
        group.enqueue(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_programming_error_lets_nobody_wait_for_ever() -> None:
    def commit(items: Sequence[int]) -> Sequence[int]:
        raise ZeroDivisionError

    group: GroupCommit[int, int] = GroupCommit(commit)
    with pytest.raises(ZeroDivisionError):
        group.enqueue(1).result(10)
    while True:
        try:
            ticket = group.enqueue(2)
        except BookClosed:
            break
        with pytest.raises((BookClosed, ZeroDivisionError)):
            ticket.result(10)
    group.close()  # its thread has ended: what it raised is this test's
