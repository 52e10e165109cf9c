"""Rounds of publishing: what is due is done in order, and a part that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.encoding import Digest
from ledger.licences.access import AccessWriter, Use, make_record
from ledger.licences.batches import AccessBatches
from ledger.licences.rounds import Rounds
from ledger.licences.verify import State
from ledger.log.errors import CosignatureMissing
from tests.ledger.licences.books import DEPARTMENT, Books, make_books
from tests.ledger.licences.world import seed_of


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def rounds_of(books: Books, *, alive: int = 4, registrar: bool = True) -> Rounds:
    return Rounds(
        books.publisher,
        witnesses=books.witness_client(alive),
        quorum=books.city.trust().quorum,
        batches=AccessBatches(books.book, books.city.service, rand=books.rand),
        registrar=books.city.registrar if registrar else None,
    )


def test_one_round_makes_a_new_licence_valid(books: Books) -> None:
    licence = books.issue()
    done = rounds_of(books).run(books.now_s)
    assert (len(done.statuses), done.histories, done.cosigned, done.problems) == (1, (DEPARTMENT,), True, ())
    assert books.verdict(licence).state is State.VALID


def test_a_round_with_nothing_new_logs_nothing(books: Books) -> None:
    books.issue()
    rounds = rounds_of(books)
    rounds.run(books.now_s)
    size = books.book.size
    for seconds in (1, 60, 599, 600):
        done = rounds.run(books.now_s + seconds)
        assert (done.statuses, done.histories, done.cosigned) == ((), (), True)
    assert books.book.size == size


def test_changes_wait_for_their_turn_unless_wanted(books: Books) -> None:
    books.issue()
    rounds = rounds_of(books)
    rounds.run(books.now_s)
    books.issue()
    assert rounds.run(books.now_s + 599).statuses == ()
    assert len(rounds.run(books.now_s + 599, wanted=True).statuses) == 1


def test_access_records_are_batched_in_their_round(books: Books) -> None:
    rounds = rounds_of(books)
    rounds.run(books.now_s)
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    salt = seed_of("salt")[:16]
    record = make_record(
        Digest(seed_of("leaf")), audience="urn:x", use=Use.VALID, now_s=books.now_s, salt=salt
    )
    writer.add(0, record, salt)
    writer.close()
    assert rounds.run(books.now_s + 60).batches == ()
    assert len(rounds.run(books.now_s + 3600).batches) == 1


def test_too_few_witnesses_are_told_of_and_the_rest_is_done(books: Books) -> None:
    books.issue()
    done = rounds_of(books, alive=2).run(books.now_s)
    assert len(done.statuses) == 1 and not done.cosigned
    ((part, error),) = done.problems
    assert part == "cosignatures" and isinstance(error, CosignatureMissing)
    assert rounds_of(books).run(books.now_s).cosigned


def test_without_the_registrars_key_histories_are_left_to_it(books: Books) -> None:
    licence = books.issue()
    assert rounds_of(books, registrar=False).run(books.now_s).histories == ()
    assert books.verdict(licence).state is State.UNKNOWN
    publisher = books.publisher
    for issuer in publisher.histories_due(books.now_s):
        signed = publisher.history_for(issuer, books.now_s).sign(books.city.registrar)  # elsewhere
        publisher.accept_history(signed, books.now_s)
    assert books.verdict(licence).state is State.VALID
