"""The book: what it takes, what it refuses, and that its state follows from the log alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ledger.encoding import Digest
from ledger.licences.access import AccessFiles, AccessWriter, Use, make_record
from ledger.licences.book import LicenceBook
from ledger.licences.checks import Parties
from ledger.licences.encoding import b64u
from ledger.licences.errors import (
    BookDamaged,
    BookExists,
    BookMismatch,
    EventRefused,
    LicenceError,
    LicenceUnknown,
    PrivateRecordErased,
    SignatureInvalid,
    TransitionRefused,
)
from ledger.licences.events import AccessBatch, Code, Kind, make_event
from ledger.licences.keys import SigningKey
from ledger.licences.leaf import Leaf
from ledger.licences.sdjwt import bind, present
from ledger.licences.slots import LIST_SIZE, licence_numbers
from ledger.licences.status import slots
from ledger.log.errors import EventConflict, LogBusy
from ledger.log.notes import NoteSigner
from tests.ledger.licences.books import DEPARTMENT, OTHER_DEPARTMENT, Books, Held, make_books
from tests.ledger.licences.world import BUSINESS, FOOD, build_city, seed_of


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def refused(books: Books, text: str, rule: str) -> None:
    size = books.book.size
    with pytest.raises(EventRefused) as caught:
        books.submit(text)
    assert caught.value.rule == rule
    assert books.book.size == size


def state_files(books: Books) -> dict[str, str]:
    folder = books.root / "state"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def derived_rows(books: Books) -> tuple[object, ...]:
    store = books.book.store
    return store.key_rows(), store.city_rows(), store.newest_statuses(books.book.size)


def some_history(books: Books) -> list[Held]:
    """Of everything something: issues, changes, a superseded licence, keys that end, tokens."""
    held = [books.issue() for _ in range(5)]
    books.submit(books.change(held[0], Kind.SUSPEND))
    books.submit(books.change(held[1], Kind.REVOKE, Code.WITHDRAWN))
    held.append(books.issue(previous=held[2].leaf_hash))
    books.publish()
    books.submit(books.change(held[0], Kind.RESUME))
    books.admit(OTHER_DEPARTMENT)
    books.submit(books.key_event(Kind.KEY_RETIRE, OTHER_DEPARTMENT))
    books.publish()
    return held


# --- what it takes ---------------------------------------------------------------------------------------


def test_an_issue_takes_its_slot_and_gets_a_receipt_for_its_leaf(books: Books) -> None:
    licence = books.licence()
    receipt = books.submit(licence.text)
    assert receipt.leaf_hash == licence.leaf_hash
    leaf = Leaf.decode(books.book.log.entry(receipt.index))
    assert leaf.hash == receipt.leaf_hash
    standing = books.book.standing(licence.claims.list, licence.claims.index)
    assert standing is not None and (standing.code, standing.leaf_index) == (Code.VALID, receipt.index)


def test_the_same_event_again_gets_the_same_receipt_and_no_second_leaf(books: Books) -> None:
    licence = books.licence()
    first = books.submit(licence.text)
    size = books.book.size
    assert books.submit(licence.text) == first
    assert books.book.submit_all([licence.text] * 3, now_s=books.now_s) == [first] * 3
    books.reopen()
    assert books.submit(licence.text) == first
    assert books.book.size == size


def test_the_same_event_twice_in_one_batch_is_one_leaf(books: Books) -> None:
    licence = books.licence()
    first, second = books.book.submit_all([licence.text, licence.text], now_s=books.now_s)
    assert first == second
    assert books.book.size == 2


def test_an_event_id_with_other_bytes_is_refused_for_ever(books: Books) -> None:
    licence = books.issue()
    other = books.licence(event_id=licence.claims.event_id)
    with pytest.raises(EventConflict):
        books.submit(other.text)
    answers = books.book.submit_all([books.licence().text, other.text], now_s=books.now_s)
    assert isinstance(answers[1], EventConflict)
    assert books.book.size == 3


def test_a_batch_is_answered_one_by_one(books: Books) -> None:
    good, bad = books.licence(), books.licence(key=books.city.service)
    answers = books.book.submit_all([good.text, bad.text, "no event", good.text], now_s=books.now_s)
    assert answers[0] == answers[3]
    assert isinstance(answers[1], EventRefused) and isinstance(answers[2], LicenceError)


def test_later_events_of_a_batch_see_the_earlier_ones(books: Books) -> None:
    licence = books.licence()
    suspend, revoke = books.change(licence, Kind.SUSPEND), books.change(licence, Kind.REVOKE)
    renewal = books.licence(previous=licence.leaf_hash)
    answers = books.book.submit_all([licence.text, suspend, suspend, revoke, renewal.text], now_s=books.now_s)
    assert answers[1] == answers[2]
    assert isinstance(answers[4], EventRefused) and answers[4].rule == "prev"
    assert books.code(licence) == Code.REVOKED


def test_a_key_counts_from_its_own_leaf_on_within_one_batch(books: Books) -> None:
    add = books.key_event(Kind.KEY_ADD, OTHER_DEPARTMENT)
    retire = books.key_event(Kind.KEY_RETIRE, OTHER_DEPARTMENT)
    first, second = books.licence(issuer=OTHER_DEPARTMENT), books.licence(issuer=OTHER_DEPARTMENT)
    answers = books.book.submit_all([first.text, add, first.text, retire, second.text], now_s=books.now_s)
    rules = [answer.rule if isinstance(answer, EventRefused) else None for answer in answers]
    assert rules == ["key", None, None, None, "key"]


def test_superseding_cancels_the_predecessor(books: Books) -> None:
    old = books.issue()
    new = books.issue(previous=old.leaf_hash)
    assert (books.code(old), books.code(new)) == (Code.CANCELLED, Code.VALID)
    refused(books, books.licence(previous=old.leaf_hash).text, "prev")


def test_transfer_in_does_not_need_its_predecessor_here(books: Books) -> None:
    licence = books.issue(previous=seed_of("a leaf of another city"), transfer_in=True)
    assert books.code(licence) == Code.VALID


def test_slots_are_handed_out_once_and_the_same_to_the_same_key(books: Books) -> None:
    first = books.book.reserve("department/7", 3)
    assert books.book.reserve("department/7", 3) == first
    assert not set(first) & set(books.book.reserve("department/8", 3))
    with pytest.raises(EventRefused):
        books.book.reserve("department/7", 4)
    books.reopen()
    assert books.book.reserve("department/7", 3) == first


def test_licence_numbers_invert_the_permutation_of_slots() -> None:
    key = seed_of("slots")
    for first in (0, 5 * LIST_SIZE - 500):
        lists, indexes = slots(key, first, 1000)
        back = [
            int(licence_numbers(key, int(number), np.array([index], dtype=np.int64))[0])
            for number, index in zip(lists, indexes, strict=True)
        ]
        assert back == list(range(first, first + 1000))


# --- what it refuses -------------------------------------------------------------------------------------


def test_the_operator_cannot_issue_or_change_without_the_issuer(books: Books) -> None:
    licence = books.issue()
    for key in (books.city.service, books.city.registrar):
        refused(books, books.licence(key=key).text, "key")
        refused(books, books.change(licence, Kind.REVOKE, key=key), "key")
    forged = books.change(licence, Kind.REVOKE)
    altered = forged[:-4] + ("AAAA" if not forged.endswith("AAAA") else "BBBB")
    with pytest.raises(LicenceError):
        books.submit(altered)
    assert books.code(licence) == Code.VALID


def test_a_signature_by_another_key_under_the_right_key_id_is_refused(books: Books) -> None:
    header, payload, _ = books.licence().credential.jwt.split(".")
    other = books.city.service.sign(f"{header}.{payload}".encode())
    with pytest.raises(SignatureInvalid):
        books.submit(f"{header}.{payload}.{b64u(other)}~")


def test_keys_sign_only_before_they_end_and_only_their_types(books: Books) -> None:
    licence = books.issue()
    books.admit(OTHER_DEPARTMENT, types=(FOOD,))
    refused(books, books.licence(issuer=OTHER_DEPARTMENT).text, "type")
    refused(books, books.licence(issuer=OTHER_DEPARTMENT, key=books.key_of(DEPARTMENT)).text, "issuer")
    books.submit(books.key_event(Kind.KEY_COMPROMISE, DEPARTMENT))
    refused(books, books.licence().text, "key")
    refused(books, books.change(licence, Kind.REVOKE), "key")


def test_another_issuer_cannot_change_a_licence(books: Books) -> None:
    licence = books.issue()
    books.admit(OTHER_DEPARTMENT)
    refused(books, books.change(licence, Kind.REVOKE, issuer=OTHER_DEPARTMENT), "issuer")
    refused(books, books.licence(issuer=OTHER_DEPARTMENT, previous=licence.leaf_hash).text, "prev")


def test_only_the_registrar_speaks_about_keys_and_each_key_is_added_once(books: Books) -> None:
    refused(books, books.key_event(Kind.KEY_ADD, OTHER_DEPARTMENT, key=books.key_of(DEPARTMENT)), "key")
    refused(books, books.key_event(Kind.KEY_RETIRE, OTHER_DEPARTMENT), "key")
    books.submit(books.key_event(Kind.KEY_RETIRE, DEPARTMENT))
    refused(books, books.key_event(Kind.KEY_RETIRE, DEPARTMENT), "key")
    books.submit(books.key_event(Kind.KEY_COMPROMISE, DEPARTMENT))
    refused(books, books.key_event(Kind.KEY_ADD, DEPARTMENT), "key")
    books.city.registrar, registrar = books.city.service, books.city.registrar
    text = books.key_event(Kind.KEY_ADD, OTHER_DEPARTMENT)
    books.city.registrar = registrar
    with pytest.raises(SignatureInvalid):
        books.submit(text)


def test_only_the_service_signs_access_batches(books: Books) -> None:
    event = AccessBatch(
        event_id=books.rand(16),
        issued_at=books.now_s,
        origin=books.city.origin,
        root=seed_of("root"),
        count=3,
    )
    books.submit(make_event(event, books.city.service))
    with pytest.raises(SignatureInvalid):
        books.submit(make_event(replace(event, event_id=books.rand(16)), books.key_of(DEPARTMENT)))


def test_slots_must_be_handed_out_and_free(books: Books) -> None:
    licence = books.issue()
    refused(books, books.licence(list=licence.claims.list, index=licence.claims.index).text, "slot")
    ((number, index),) = books.book.slots_of(10_000, 1)
    refused(books, books.licence(list=number, index=index).text, "slot")


def test_a_change_must_name_the_licence_of_its_slot(books: Books) -> None:
    licence, other = books.issue(), books.issue()
    refused(books, books.change(licence, Kind.REVOKE, licence=other.leaf_hash), "slot")
    refused(books, books.change(books.licence(), Kind.REVOKE), "slot")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Kind.REVOKE, Kind.RESUME),
        (Kind.REVOKE, Kind.REVOKE),
        (Kind.SUSPEND, Kind.SUSPEND),
        (Kind.SUSPEND, Kind.TRANSFER_OUT),
        (Kind.TRANSFER_OUT, Kind.REVOKE),
    ],
)
def test_transitions_that_the_specification_lacks_are_refused(books: Books, first: Kind, then: Kind) -> None:
    licence = books.issue()
    books.submit(books.change(licence, first))
    code = books.code(licence)
    with pytest.raises(TransitionRefused):
        books.submit(books.change(licence, then))
    assert books.code(licence) == code


def test_an_event_from_the_future_is_refused(books: Books) -> None:
    books.submit(books.licence(issued_at=books.now_s + 60).text)
    refused(books, books.licence(issued_at=books.now_s + 61).text, "iat")


def test_events_of_another_log_and_bound_presentations_are_refused(books: Books) -> None:
    refused(books, books.licence(origin="elsewhere.example/licences").text, "origin")
    licence = books.licence()
    bound = bind(present(licence.text, ()), licence.holder, nonce="n", audience="a", now_s=books.now_s)
    refused(books, bound, "form")


# --- its state -------------------------------------------------------------------------------------------


def test_the_state_made_again_from_the_log_is_identical(books: Books) -> None:
    held = some_history(books)
    books.reopen()
    before, rows, codes = state_files(books), derived_rows(books), [books.code(one) for one in held]
    books.book.rebuild()
    assert (state_files(books), derived_rows(books)) == (before, rows)
    assert [books.code(one) for one in held] == codes
    assert codes == [Code.VALID, Code.WITHDRAWN, Code.CANCELLED, Code.VALID, Code.VALID, Code.VALID]


def test_a_book_whose_state_and_tables_are_lost_goes_on(books: Books) -> None:
    held = some_history(books)
    before, rows = derived_rows(books), [books.code(one) for one in held]
    books.book.close()
    for path in [*(books.root / "state").rglob("*"), *books.root.glob("book.db*")]:
        if path.is_file():
            path.unlink()
    books.book = LicenceBook.open(books.root, books.city.log_signer)
    books.book.rebuild()  # the numbers that were handed out are lost with the tables: the used ones are skipped
    assert derived_rows(books) == before
    assert [books.code(one) for one in held] == rows
    later = books.issue()  # in a slot that was never used
    assert books.code(later) == Code.VALID


def test_tables_from_an_older_backup_are_brought_up_to_the_log(books: Books, tmp_path: Path) -> None:
    some_history(books)
    books.book.close()
    backup = (books.root / "book.db").read_bytes()
    books.book = LicenceBook.open(books.root, books.city.log_signer)
    books.submit(books.key_event(Kind.KEY_ADD, OTHER_DEPARTMENT, key=books.city.key("second")))
    used = [books.issue() for _ in range(3)]
    books.publish()
    books.reopen()
    rows = derived_rows(books)
    books.book.close()
    for path in books.root.glob("book.db*"):
        path.unlink()
    (books.root / "book.db").write_bytes(backup)
    books.book = LicenceBook.open(books.root, books.city.log_signer)
    assert derived_rows(books) == rows
    taken = {(one.claims.list, one.claims.index) for one in used}
    assert not taken & set(books.book.reserve("after the backup", 20))


def test_what_the_log_has_and_the_state_lacks_is_applied_on_opening(books: Books) -> None:
    licence = books.issue()
    books.reopen()
    stale = state_files(books)
    kept = {name: (books.root / "state" / name).read_bytes() for name in stale}
    books.submit(books.change(licence, Kind.SUSPEND))
    after = books.issue()
    books.book.close()
    expected = state_files(books)
    for name, data in kept.items():  # as if the power had failed before any page of the state was written
        (books.root / "state" / name).write_bytes(data)
    books.book = LicenceBook.open(books.root, books.city.log_signer)
    assert (books.code(licence), books.code(after)) == (Code.SUSPENDED, Code.VALID)
    books.book.close()
    assert state_files(books) == expected
    books.book = LicenceBook.open(books.root, books.city.log_signer)


def test_a_torn_mark_of_the_state_is_noticed(books: Books) -> None:
    books.book.close()
    good = (books.root / "state" / "applied").read_bytes()
    for bad in (b"", b'{"size":null}', b"[]"):
        (books.root / "state" / "applied").write_bytes(bad)
        with pytest.raises(BookDamaged):
            LicenceBook.open(books.root, books.city.log_signer)
    (books.root / "state" / "applied").write_bytes(good)
    books.book = LicenceBook.open(books.root, books.city.log_signer)


def test_a_book_has_one_writer(books: Books) -> None:
    with pytest.raises(LogBusy):
        LicenceBook.open(books.root, books.city.log_signer)


def test_a_book_is_not_created_twice_and_not_opened_where_there_is_none(books: Books, tmp_path: Path) -> None:
    city = build_city()
    parties = Parties(city.origin, city.registrar.public, city.service.public)
    with pytest.raises(BookExists):
        LicenceBook.create(books.root, parties, city.log_signer, rand=bytes(64))
    with pytest.raises(BookMismatch):
        LicenceBook.open(tmp_path / "nowhere", city.log_signer)


def test_the_books_secrets_are_readable_by_its_owner_alone(books: Books) -> None:
    assert (books.root / "book.json").stat().st_mode & 0o077 == 0
    assert books.root.stat().st_mode & 0o077 == 0


# --- finding and erasing ---------------------------------------------------------------------------------


def test_a_licence_is_found_by_its_identifier_whatever_happened_to_it(books: Books) -> None:
    licence, other = books.issue(), books.issue()
    books.submit(books.change(licence, Kind.SUSPEND))
    books.submit(books.change(licence, Kind.RESUME))
    books.submit(books.change(other, Kind.SUSPEND))
    (index,) = books.book.find(licence.claims.identifier.text)
    assert books.book.credential(index) == licence.text


def test_erasure_destroys_the_credential_and_leaves_leaf_and_status(books: Books) -> None:
    licence, beside = books.issue(), books.issue()
    (index,) = books.book.find(licence.claims.identifier.text)
    entry, signature = books.book.log.entry(index), licence.credential.jwt.rpartition(".")[2]
    writer, salt = AccessWriter(books.root / "access", "api-0", delay_s=0), seed_of("salt")[:16]
    leaf_hash = Digest(licence.leaf_hash)
    record = make_record(leaf_hash, audience="urn:x", use=Use.VALID, now_s=books.now_s, salt=salt)
    writer.add(index, record, salt)
    books.book.erase(index)
    assert AccessFiles(books.root / "access").uses_of(index, leaf_hash) == []
    writer.close()
    with pytest.raises(PrivateRecordErased):
        books.book.credential(index)
    assert books.book.find(licence.claims.identifier.text) == []
    assert books.book.log.entry(index) == entry and books.code(licence) == Code.VALID
    assert books.book.find(beside.claims.identifier.text)
    everything = b"".join(path.read_bytes() for path in books.root.rglob("*") if path.is_file())
    assert signature.encode() not in everything and salt not in everything
    assert not [d for d in licence.credential.disclosures if d.encode() in everything]
    # nor the hash by which who has the book's secret could tell the leaf of an identifier that it guesses
    column = (books.root / "log" / "private" / "index" / "by-key" / "column").read_bytes()
    assert column[8 * index : 8 * index + 8] == bytes(8)


def test_what_is_no_licence_has_no_credential(books: Books) -> None:
    for index in (0, 99):
        with pytest.raises(LicenceUnknown):
            books.book.credential(index)
        with pytest.raises(LicenceUnknown):
            books.book.erase(index)


def test_no_identifier_is_found_without_the_books_secret(books: Books, tmp_path: Path) -> None:
    licence = books.issue()
    identifier = licence.claims.identifier.text.encode()
    plain = {
        hashlib.sha256(identifier).digest()[:8],
        hashlib.sha256(licence.claims.identifier.serial.encode()).digest()[:8],
    }
    column = (books.root / "log" / "private" / "index" / "by-key" / "column").read_bytes()
    assert not plain & {column[i : i + 8] for i in range(0, len(column), 8)}


def test_the_log_key_of_another_log_does_not_open_the_book(books: Books) -> None:
    books.book.close()
    with pytest.raises(Exception, match="key"):
        LicenceBook.open(books.root, NoteSigner.from_seed(books.city.origin, seed_of("another")))
    books.book = LicenceBook.open(books.root, books.city.log_signer)


def test_es256_and_eddsa_issuers_are_both_taken(books: Books) -> None:
    key = SigningKey.generate("ES256", seed_of("p256"))
    books.keys[OTHER_DEPARTMENT] = key
    books.admit(OTHER_DEPARTMENT, types=(BUSINESS,))
    assert books.code(books.issue(issuer=OTHER_DEPARTMENT)) == Code.VALID
