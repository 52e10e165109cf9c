"""The state of a longer log: runs of the index of issues, chunks of recovery, several status lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ledger.licences.checks import IssueTerms
from ledger.licences.leaf import Code, Kind, Leaf
from ledger.licences.slots import LIST_SIZE
from ledger.log.batch import Bundle, Item
from tests.ledger.licences.books import DEPARTMENT, Books, make_books
from tests.ledger.licences.world import BUSINESS, seed_of


def bundles_of(books: Books, first: int, count: int) -> list[Bundle]:
    """Leaves of licences that nobody signed, as a backfill's bundles."""
    lists, indexes = books.book.slot_columns(first, count)
    key_id = books.key_of(DEPARTMENT).public.key_id
    items = []
    for n in range(count):
        leaf = Leaf(
            kind=Kind.ISSUE,
            event_id=seed_of("id", first + n)[:16],
            key_id=key_id,
            evidence=seed_of("evidence", first + n),
            list=int(lists[n]),
            index=int(indexes[n]),
            code=Code.VALID,
            event_day=20_000,
            type_code=BUSINESS,
        )
        items.append(Item(leaf.event_id, leaf.encode(), b"private"))
    return [Bundle.of(items[at : at + 256]) for at in range(0, count, 256)]


@pytest.mark.slow
def test_a_log_of_many_issues_over_two_lists_is_recovered_and_rebuilt(tmp_path: Path) -> None:
    books = make_books(tmp_path)
    while books.book.size % 256:
        books.issue()
    first = LIST_SIZE - 40_960
    books.book.store.reserve("skipped", first - books.book.store.next_number())
    count = 81_920
    job = books.book.start_backfill("job", "x", count, books.now_s)
    assert job.first == first
    terms = IssueTerms(
        DEPARTMENT, BUSINESS, books.key_of(DEPARTMENT).public.key_id, job.first, job.first + count
    )
    for at in range(0, count, 20_480):
        books.book.append_issues(bundles_of(books, first + at, 20_480), terms)
    assert books.book.state.slots.known_lists() == [0, 1]

    def picture() -> list[tuple[bytes, bytes]]:
        state = books.book.state
        return [(state.slots.bits(n), state.slots.leaves(n).tobytes()) for n in state.slots.known_lists()]

    def issue_at(index: int) -> int | None:
        found = books.book.state.issue_of(Leaf.decode(books.book.log.entry(index)).hash)
        return None if found is None else found.leaf_index

    before, looked_at = picture(), [300, 70_000, books.book.size - 1]
    assert [issue_at(index) for index in looked_at] == looked_at
    # a kill: the state stays as the last durable point left it
    books.book.log.close()
    books.book._engine.dispose()
    books.book = type(books.book).open(books.root, books.city.log_signer)
    assert picture() == before and [issue_at(index) for index in looked_at] == looked_at
    books.book.rebuild()
    assert picture() == before and [issue_at(index) for index in looked_at] == looked_at
    taken = np.flatnonzero(books.book.state.slots.leaves(1))
    assert len(taken) == 40_960
    books.book.close()
