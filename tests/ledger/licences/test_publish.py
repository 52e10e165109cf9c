"""What is published: status tokens when they are due, histories that say what the log says, checkpoints with a quorum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.licences.errors import BookDamaged, EventRefused, FactsMissing, SignatureInvalid
from ledger.licences.events import Code, Kind
from ledger.licences.leaf import Leaf
from ledger.licences.publish import Publisher, Timing
from ledger.licences.status import StatusBits, StatusClaims, parse_status_token, status_root, status_token
from ledger.log.errors import CosignatureMissing
from tests.ledger.licences.books import DEPARTMENT, OTHER_DEPARTMENT, Books, make_books
from tests.ledger.licences.world import DAY


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


# --- status lists ----------------------------------------------------------------------------------------


def test_a_list_is_published_when_it_changed_and_not_again(books: Books) -> None:
    licence = books.issue()
    publisher = books.publisher
    (index,) = publisher.publish_statuses(books.now_s)
    assert publisher.publish_statuses(books.now_s) == []
    books.submit(books.change(licence, Kind.SUSPEND))
    (later,) = publisher.publish_statuses(books.now_s)
    assert later > index
    token = parse_status_token(books.book.folder.status_token(0).read_text())
    assert token.code(licence.claims.index) == Code.SUSPENDED


def test_an_unchanged_list_is_published_again_when_its_token_gets_old(books: Books) -> None:
    books.issue()
    publisher = Publisher(books.book, books.city.service, rand=books.rand, timing=Timing(status_renew_s=100))
    publisher.publish_statuses(books.now_s)
    assert publisher.publish_statuses(books.now_s + 99) == []
    assert len(publisher.publish_statuses(books.now_s + 100)) == 1


def test_every_token_is_a_leaf_and_archived_under_its_digest(books: Books) -> None:
    books.issue()
    (index,) = books.publisher.publish_statuses(books.now_s)
    leaf = Leaf.decode(books.book.log.entry(index))
    text = books.book.folder.archived_token(leaf.evidence).read_bytes()
    assert leaf.kind is Kind.STATUS_LIST and hashlib.sha256(text).digest() == leaf.evidence
    assert text == books.book.folder.status_token(0).read_bytes()
    assert leaf.extra == hashlib.sha256(books.book.state.slots.bits(0)).digest()
    assert books.book.folder.status_w3c(0).exists()


def test_the_status_at_a_past_time_is_the_newest_token_by_then(books: Books) -> None:
    licence = books.issue()
    publisher, at = books.publisher, licence.claims.index
    publisher.publish_statuses(books.now_s)
    for hours, kind in ((30, Kind.SUSPEND), (31, Kind.RESUME), (60, Kind.REVOKE)):
        books.submit(books.change(licence, kind, issued_at=books.now_s))
        publisher.publish_statuses(books.now_s + hours * 3600)
    found = {h: publisher.token_at(0, books.now_s + h * 3600).code(at) for h in (0, 29, 30, 31, 59, 60, 999)}
    assert found == {0: 0, 29: 0, 30: 2, 31: 0, 59: 0, 60: 1, 999: 1}
    with pytest.raises(FactsMissing):
        publisher.token_at(0, books.now_s - 1)


def test_a_missing_or_altered_archive_is_noticed(books: Books) -> None:
    books.issue()
    (index,) = books.publisher.publish_statuses(books.now_s)
    path = books.book.folder.archived_token(Leaf.decode(books.book.log.entry(index)).evidence)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BookDamaged):
        books.publisher.token_at(0, books.now_s)
    path.unlink()
    with pytest.raises(BookDamaged):
        books.publisher.token_at(0, books.now_s)


def test_the_newest_token_is_put_in_place_again_after_a_crash(books: Books) -> None:
    books.issue()
    books.publisher.publish_statuses(books.now_s)
    path = books.book.folder.status_token(0)
    expected = path.read_bytes()
    path.write_bytes(b"an older token")
    books.book.folder.status_w3c(0).unlink()
    books.publisher.repair()
    assert path.read_bytes() == expected and books.book.folder.status_w3c(0).exists()


def test_a_token_whose_bits_are_not_the_lists_is_refused(books: Books) -> None:
    licence = books.issue()
    claims = StatusClaims(
        origin=books.city.origin,
        list=0,
        event_id=books.rand(16),
        issued_at=books.now_s,
        expires_at=books.now_s + DAY,
        ttl_s=60,
    )
    before = StatusBits(books.book.state.slots.bits(0))
    books.submit(books.change(licence, Kind.REVOKE))
    with pytest.raises(EventRefused) as caught:
        books.submit(status_token(before, claims, books.city.service))
    assert caught.value.rule == "status"
    now = StatusBits(books.book.state.slots.bits(0))
    with pytest.raises(SignatureInvalid):
        books.submit(status_token(now, claims, books.city.registrar))
    books.submit(status_token(now, claims, books.city.service))


def test_the_status_root_is_of_the_newest_tokens_below_a_size(books: Books) -> None:
    books.issue()
    publisher = books.publisher
    assert publisher.status_root(books.book.size) == status_root([])
    (first,) = publisher.publish_statuses(books.now_s)
    books.issue()
    (second,) = publisher.publish_statuses(books.now_s)
    for index, size in ((first, first + 1), (first, second), (second, second + 1)):
        leaf = Leaf.decode(books.book.log.entry(index))
        assert publisher.status_root(size) == status_root([(0, leaf.evidence)])


def test_nobody_but_the_service_publishes(books: Books) -> None:
    with pytest.raises(EventRefused):
        Publisher(books.book, books.city.registrar, rand=books.rand)


# --- histories -------------------------------------------------------------------------------------------


def test_a_history_is_due_after_key_events_licences_and_time(books: Books) -> None:
    publisher, registrar = books.publisher, books.city.registrar
    assert publisher.histories_due(books.now_s) == [DEPARTMENT]
    assert publisher.publish_histories(registrar, books.now_s) == [DEPARTMENT]
    assert publisher.histories_due(books.now_s) == []
    books.admit(OTHER_DEPARTMENT)
    assert publisher.publish_histories(registrar, books.now_s) == [OTHER_DEPARTMENT]
    books.issue()
    assert publisher.publish_histories(registrar, books.now_s) == [DEPARTMENT]
    books.submit(books.key_event(Kind.KEY_RETIRE, OTHER_DEPARTMENT))
    assert publisher.publish_histories(registrar, books.now_s) == [OTHER_DEPARTMENT]
    assert set(publisher.histories_due(books.now_s + 4 * DAY)) == {DEPARTMENT, OTHER_DEPARTMENT}


def test_a_history_signed_elsewhere_is_taken_if_it_says_what_the_log_says(books: Books) -> None:
    publisher = books.publisher
    history = publisher.history_for(DEPARTMENT, books.now_s)
    taken = publisher.accept_history(history.sign(books.city.registrar), books.now_s)
    assert taken == history
    assert books.book.folder.history(DEPARTMENT).read_text() == history.sign(books.city.registrar)


def test_a_history_that_says_something_else_is_refused(books: Books) -> None:
    publisher, registrar = books.publisher, books.city.registrar
    history = publisher.history_for(DEPARTMENT, books.now_s)
    (span,) = history.keys
    wrong = (
        replace(history, keys=(replace(span, types=span.types[:1]),)),
        replace(history, keys=()),
        replace(history, size=history.size + 1),
        replace(history, origin="elsewhere.example/licences"),
        replace(history, issued_at=1, expires_at=books.now_s),
    )
    for one in wrong:
        with pytest.raises(EventRefused):
            publisher.accept_history(one.sign(registrar), books.now_s)
    with pytest.raises(SignatureInvalid):
        publisher.accept_history(history.sign(books.city.service), books.now_s)


def test_an_older_history_does_not_replace_a_newer_one(books: Books) -> None:
    publisher, registrar = books.publisher, books.city.registrar
    older = publisher.history_for(DEPARTMENT, books.now_s)
    books.submit(books.key_event(Kind.KEY_COMPROMISE, DEPARTMENT))
    publisher.publish_histories(registrar, books.now_s)
    with pytest.raises(EventRefused):
        publisher.accept_history(older.sign(registrar), books.now_s)


def test_an_issuer_without_keys_has_no_history(books: Books) -> None:
    with pytest.raises(FactsMissing):
        books.publisher.history_for(OTHER_DEPARTMENT, books.now_s)


# --- checkpoints -----------------------------------------------------------------------------------------


def test_three_of_four_witnesses_are_enough_and_two_are_not(books: Books) -> None:
    quorum = books.city.trust().quorum
    books.issue()
    with pytest.raises(CosignatureMissing):
        books.publisher.cosign(books.witness_client(alive=2), quorum)
    assert not books.publisher.is_cosigned()
    checkpoint = books.publisher.cosign(books.witness_client(alive=3), quorum)
    assert checkpoint.size == books.book.size and books.publisher.is_cosigned()
    books.issue()
    assert not books.publisher.is_cosigned()
