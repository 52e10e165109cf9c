"""Bundles from the log's own files: what they have, what they lack, and that online and offline agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.licences.bundle import Bundle
from ledger.licences.errors import FactsMissing
from ledger.licences.events import Code, Kind, Recognition, make_event
from ledger.licences.online import OnlineFacts
from ledger.licences.sdjwt import bind, parse, present
from ledger.licences.verify import Expected, Missing, Reason, State, verify, verify_facts
from ledger.log.notes import SignedNote
from ledger.log.tiles import root_at
from tests.ledger.licences.books import DEPARTMENT, Books, Held, make_books
from tests.ledger.licences.world import BUSINESS, DAY


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


def both_ways(
    books: Books, licence: Held, text: str | None = None, expected: Expected | None = None
) -> tuple[State, object]:
    """Judge a licence from its bundle, and as the service does from the facts that it has open; both must say the same."""
    policy, credential = books.city.policy(), text or licence.text
    bundle = books.maker().bundle_of(credential).to_bytes()
    offline = verify(bundle, policy, now_s=books.now_s, expected=expected)
    bare = books.maker(bare=True).bundle_of(credential).to_bytes()
    assert replace(verify(bare, policy, now_s=books.now_s, expected=expected), presented=None) == replace(
        offline, presented=None
    )
    with closing(OnlineFacts(books.root, books.city.trust())) as opened:
        opened.refresh()
        online = verify_facts(opened.facts(parse(credential)), policy, now_s=books.now_s, expected=expected)
    assert (offline.state, offline.reason, offline.missing) == (online.state, online.reason, online.missing)
    assert (offline.facts, offline.code) == (online.facts, online.code)
    return offline.state, offline.reason or offline.missing


def test_a_published_licence_is_valid_offline_and_online(books: Books) -> None:
    licence = books.issue()
    books.publish()
    assert both_ways(books, licence) == (State.VALID, ())


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        (Kind.SUSPEND, Code.SUSPENDED, Reason.SUSPENDED),
        (Kind.REVOKE, Code.REVOKED, Reason.REVOKED),
        (Kind.REVOKE, Code.WITHDRAWN, Reason.REVOKED),
        (Kind.TRANSFER_OUT, Code.TRANSFERRED, Reason.REVOKED),
    ],
)
def test_what_happened_to_a_licence_shows_after_the_next_publication(
    books: Books, kind: Kind, code: Code, reason: Reason
) -> None:
    licence = books.issue()
    books.publish()
    books.submit(books.change(licence, kind, code))
    assert both_ways(books, licence)[0] is State.VALID
    assert books.code(licence) == code
    books.publish()
    assert both_ways(books, licence) == (State.INVALID, reason)


def test_a_presentation_is_judged_with_its_bearer(books: Books) -> None:
    licence = books.issue()
    books.publish()
    shown = bind(
        present(licence.text, ()), licence.holder, nonce="n-1", audience="urn:bank", now_s=books.now_s
    )
    assert both_ways(books, licence, shown, Expected("n-1", "urn:bank")) == (State.VALID, ())
    assert both_ways(books, licence, shown, Expected("n-2", "urn:bank")) == (
        State.INVALID,
        Reason.NONCE_MISMATCH,
    )


def test_without_a_cosigned_checkpoint_there_is_no_bundle(books: Books) -> None:
    licence = books.issue()
    with pytest.raises(FactsMissing):
        books.maker().bundle_of(licence.text)


def test_a_licence_that_the_checkpoint_does_not_have_yet_is_unknown(books: Books) -> None:
    books.issue()
    books.publish()
    licence = books.issue()
    state, missing = both_ways(books, licence)
    assert state is State.UNKNOWN and isinstance(missing, tuple) and Missing.INCLUSION in missing


def test_a_credential_in_a_slot_of_another_can_never_be_logged_and_is_invalid(books: Books) -> None:
    licence = books.issue()
    books.publish()
    forged = books.licence(list=licence.claims.list, index=licence.claims.index)
    assert both_ways(books, forged) == (State.INVALID, Reason.NOT_IN_LOG)


def test_lists_that_the_log_has_not_leave_nothing_in_memory(books: Books) -> None:
    books.issue()
    books.publish()
    maker = books.maker()
    for number in (7, 8, 9):  # anybody may make such credentials up: nobody checks who signed them here
        assert maker.bundle_of(books.licence(list=number, index=1).text).status is None
    assert maker._newest is not None
    assert not maker._newest.statuses


def test_a_maker_follows_the_checkpoints_and_histories(books: Books) -> None:
    licence = books.issue()
    books.publish()
    maker = books.maker()
    first = maker.bundle_of(licence.text)
    books.submit(books.key_event(Kind.KEY_COMPROMISE, DEPARTMENT))
    books.now_s += 1
    books.publish()
    second = maker.bundle_of(licence.text)
    assert first.checkpoint != second.checkpoint and first.issuer != second.issuer
    verdict = verify(second, books.city.policy(), now_s=books.now_s)
    assert verdict.state is State.VALID  # issued before the key was compromised


def test_an_older_checkpoint_is_still_proved_after_the_log_grew_by_bundles(books: Books) -> None:
    licence = books.issue()
    books.publish()
    texts = [books.licence().text for _ in range(300)]
    maker = books.maker()
    bundle = maker.bundle_of(licence.text)
    books.book.submit_all(texts, now_s=books.now_s)
    assert books.maker().bundle_of(licence.text) == bundle
    assert both_ways(books, licence)[0] is State.VALID
    books.publish()
    assert both_ways(books, licence)[0] is State.VALID


def test_a_bundle_for_a_quorum_has_no_signature_more_than_it_needs(books: Books) -> None:
    licence = books.issue()
    books.publish()
    full, bare = (books.maker(bare=each).bundle_of(licence.text) for each in (False, True))
    assert full.checkpoint is not None and bare.checkpoint is not None
    quorum = books.city.trust().quorum
    lines = [SignedNote.parse(note).signatures for note in (full.checkpoint, bare.checkpoint)]
    assert list(map(len, lines)) == [1 + len(quorum.keys), 1 + quorum.threshold]
    assert replace(bare, checkpoint=full.checkpoint) == full


def test_bundles_have_one_canonical_form(books: Books) -> None:
    licence = books.issue()
    books.publish()
    bundle = books.maker().bundle_of(licence.text)
    assert Bundle.parse(bundle.to_bytes()) == bundle


def test_a_licence_of_a_recognised_city_is_valid_in_the_other(books: Books, tmp_path: Path) -> None:
    away = make_books(tmp_path, "lianan")
    licence = away.issue()
    head = away.publish()
    event = Recognition(
        event_id=books.rand(16),
        issued_at=books.now_s,
        expires_at=books.now_s + 30 * DAY,
        origin=books.city.origin,
        city=away.city.trust(types=(BUSINESS,), name="", anchor=None),
        size=head.size,
        root=root_at(away.book.log.reader, head.size),
    )
    books.submit(make_event(event, books.city.registrar))
    books.publish()
    part = books.maker().recognition_of(away.city.origin)
    assert part is not None and books.maker().recognition_of("nobody.example/licences") is None
    policy = books.city.policy()
    with_it = verify(away.maker().bundle_of(licence.text, recognition=part), policy, now_s=books.now_s)
    without = verify(away.maker().bundle_of(licence.text), policy, now_s=books.now_s)
    assert (with_it.state, without.state) == (State.VALID, State.UNKNOWN)
    away.book.close()
