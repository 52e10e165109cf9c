"""A real book and its log agree; whatever is changed beside the log is found."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from ledger.database import make_engine, write_transaction
from ledger.encoding import Digest
from ledger.licences import store as tables
from ledger.licences.access import SLOT_SIZE, AccessWriter, Use, make_record
from ledger.licences.batch import issue_batch
from ledger.licences.batches import AccessBatches
from ledger.licences.events import Kind, leaf_of_event
from ledger.licences.issuers import IssuerHistory, KeySpan
from ledger.licences.layout import BookFolder
from ledger.licences.leaf import Code
from ledger.licences.policy import City
from ledger.licences.schema import demonstration_types
from ledger.licences.slots import SlotFiles
from ledger.licences.store import AnchorRow, BookStore, HistoryRow
from ledger.licences.template import Row, Template
from ledger.log.batch import Item, decode_evidence, encode_evidence
from ledger.replay.anchors import ChainFacts
from ledger.replay.beside import Beside, Signatures
from ledger.replay.errors import BookUnreadable
from ledger.replay.evidence import SAMPLE
from ledger.replay.findings import Rule
from ledger.replay.licences import Against, LogReplay, replay_log
from ledger.replay.stages import ReplayOptions
from tests.ledger.licences.books import DEPARTMENT, Books, Held, make_books
from tests.ledger.licences.world import BUSINESS, FOOD
from tests.ledger.replay.synthetic import SyntheticLog

OPTIONS = ReplayOptions(rand=b"\x5a" * 8, workers=0)


@dataclass
class World:
    """A closed book with three licences, of which one is suspended, one revoked and one superseded."""

    books: Books
    root: Path
    licences: list[Held]
    suspended_at: int

    @property
    def city(self) -> City:
        return self.books.city.trust()

    def evidence_file(self) -> Path:
        return self.root / "log" / "private" / "evidence" / "000"

    def replayed(self, signatures: Signatures = Signatures.ALL, chain: ChainFacts | None = None) -> LogReplay:
        beside = Beside.of(self.root, signatures)
        return replay_log(self.root / "log", options=OPTIONS, against=Against(self.city, chain, beside))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    books = make_books(tmp_path_factory.mktemp("book"))
    licences = [books.issue() for _ in range(3)]
    books.publish()
    suspended = books.submit(books.change(licences[0], Kind.SUSPEND)).index
    books.submit(books.change(licences[1], Kind.REVOKE, Code.WITHDRAWN))
    licences.append(books.issue(previous=licences[2].leaf_hash))
    books.publish()
    books.book.close()
    return World(books, books.root, licences, suspended)


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    """A copy of the book, for the test to spoil."""
    root = tmp_path / "book"
    shutil.copytree(built.root, root)
    return replace(built, root=root)


def found(replay: LogReplay) -> list[tuple[Rule, int | None]]:
    return [(difference.rule, difference.index) for difference in replay.findings.kept]


@pytest.mark.parametrize("signatures", list(Signatures))
def test_a_book_and_its_log_agree(world: World, signatures: Signatures) -> None:
    replay = world.replayed(signatures)
    assert found(replay) == []
    assert replay.unchecked == (
        "anchors (no chain)",
        "the registry of issuers and keys on the chain (no registry)",
    )
    assert replay.counts.by_code == {"suspended": 1, "withdrawn": 1, "cancelled": 1, "valid": 1}
    everything = 1 + 4 + 2  # a key, four licences, two changes
    assert (
        replay.signed.checked
        == {Signatures.NONE: 0, Signatures.EVENTS: 3, Signatures.ALL: everything}[signatures]
    )
    assert everything < SAMPLE


def test_workers_check_signed_events(world: World) -> None:
    beside = Beside.of(world.root, Signatures.ALL)
    options = replace(OPTIONS, workers=1)
    assert (
        found(
            replay_log(world.root / "log", options=options, against=Against(city=world.city, beside=beside))
        )
        == []
    )


def test_a_status_without_an_event_is_found(world: World) -> None:
    held = world.licences[3].claims
    SlotFiles(world.root / "state" / "slots", writable=True).set_code(held.list, held.index, Code.REVOKED)
    (difference,) = world.replayed().findings.kept
    assert (difference.rule, difference.status_list) == (Rule.BOOK_STATUS, held.list)
    assert f"slot {held.index}" in difference.detail


def test_a_slot_that_points_to_another_leaf_is_found(world: World) -> None:
    held = world.licences[0].claims
    slots = SlotFiles(world.root / "state" / "slots", writable=True)
    slots.leaves(held.list)[held.index] += 1
    assert [rule for rule, _ in found(world.replayed())] == [Rule.BOOK_SLOT]


def test_a_slot_that_the_log_does_not_know_is_found(world: World) -> None:
    free = next(i for i in range(10) if i not in {held.claims.index for held in world.licences})
    slots = SlotFiles(world.root / "state" / "slots", writable=True)
    slots.leaves(0)[free] = 1
    assert found(world.replayed()) == [(Rule.BOOK_SLOT, 0)]


def test_changed_rows_are_found(world: World) -> None:
    engine = make_engine(f"sqlite:///{world.root / 'book.db'}")
    with write_transaction(engine) as c:
        c.execute(update(tables.keys).values(retired=3))
        c.execute(update(tables.statuses).values(bits=bytes(32)).where(tables.statuses.c.log_index > 5))
    rules = found(world.replayed())
    assert (Rule.BOOK_ROW, 0) in rules
    assert len(rules) == 2


def test_a_published_history_with_other_keys_than_the_log_is_found(world: World) -> None:
    history = issuer_history(world, added=1)
    rules = found(world.replayed())
    assert rules == [(Rule.ISSUER_HISTORY, history.size)]
    issuer_history(world, added=0)
    assert found(world.replayed()) == []


def issuer_history(world: World, *, added: int) -> IssuerHistory:
    """Publish a history that says at which index the department's key was added."""
    public = world.books.key_of(DEPARTMENT).public
    span = KeySpan(public, tuple(sorted((BUSINESS, FOOD))), added)
    history = IssuerHistory(DEPARTMENT, world.city.origin, 4, 1_000, 2_000, (span,))
    put_history(world, history.sign(world.books.city.registrar))
    return history


def put_history(world: World, text: str) -> Path:
    """Put a history into the tables and where it is served from."""
    row = HistoryRow(DEPARTMENT, 4, 2_000, text)
    BookStore(make_engine(f"sqlite:///{world.root / 'book.db'}")).put_history(row)
    path = BookFolder(world.root).history(DEPARTMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_history_as_of_a_size_that_the_log_never_had_is_found(world: World) -> None:
    public = world.books.key_of(DEPARTMENT).public
    span = KeySpan(public, (BUSINESS,), 10**9)
    history = IssuerHistory(DEPARTMENT, world.city.origin, 10**9 + 1, 1_000, 2_000, (span,))
    put_history(world, history.sign(world.books.city.registrar))
    (difference,) = world.replayed().findings.kept
    assert difference.rule is Rule.ISSUER_HISTORY and "as of size" in difference.detail


def test_a_history_that_the_registrar_did_not_sign_is_found(world: World) -> None:
    public = world.books.key_of(DEPARTMENT).public
    span = KeySpan(public, tuple(sorted((BUSINESS, FOOD))), 0)
    history = IssuerHistory(DEPARTMENT, world.city.origin, 4, 1_000, 2_000, (span,))
    put_history(world, history.sign(world.books.city.service))
    assert [rule for rule, _ in found(world.replayed())] == [Rule.ISSUER_HISTORY]


def test_another_history_served_than_in_the_tables_is_found(world: World) -> None:
    issuer_history(world, added=0)
    path = BookFolder(world.root).history(DEPARTMENT)
    kept = path.read_text()
    path.unlink()
    assert [rule for rule, _ in found(world.replayed())] == [Rule.ISSUER_HISTORY]
    path.write_text(kept)
    path.with_name(f"{'9' * 18}.jwt").write_text(kept)  # of an issuer that the log does not know
    assert {rule for rule, _ in found(world.replayed())} == {Rule.ISSUER_HISTORY}


def test_an_older_token_served_as_the_newest_is_found(world: World) -> None:
    newest = BookFolder(world.root).status_token(0)
    kept = newest.read_bytes()
    archived = sorted((world.root / "public" / "status" / "archive").rglob("*.jwt"))
    newest.write_bytes(next(path.read_bytes() for path in archived if path.read_bytes() != kept))
    (difference,) = world.replayed().findings.kept
    assert (difference.rule, difference.status_list) == (Rule.TOKEN_DIGEST, 0)
    newest.unlink()
    (difference,) = world.replayed().findings.kept
    assert (difference.rule, difference.status_list) == (Rule.TOKEN_MISSING, 0)


def test_rows_of_what_the_log_does_not_have_are_found(world: World) -> None:
    engine = make_engine(f"sqlite:///{world.root / 'book.db'}")
    row = {"day": 1, "token": bytes(32), "bits": bytes(32)}
    with write_transaction(engine) as c:
        c.execute(insert(tables.statuses).values(log_index=900, list=0, **row))
        c.execute(insert(tables.statuses).values(log_index=901, list=7, **row))
        c.execute(insert(tables.cities).values(log_index=902, origin="x", city="{}"))
    assert found(world.replayed()) == [(Rule.BOOK_ROW, 900), (Rule.BOOK_ROW, 901), (Rule.BOOK_ROW, 902)]


def test_access_records_are_compared_with_their_batches(tmp_path: Path) -> None:
    books = make_books(tmp_path)
    licence = books.issue()
    writer = AccessWriter(books.root / "access", "api-0", delay_s=0)
    batches = AccessBatches(books.book, books.city.service, rand=books.rand)
    indexes = []
    for _ in range(2):
        for number in range(3):
            salt = books.rand(16)
            used = make_record(
                Digest(licence.leaf_hash), audience="urn:tea-house", use=Use.VALID, now_s=number, salt=salt
            )
            writer.enqueue(1, used, salt).result(10)
        indexes += batches.seal(books.now_s)
    writer.close()
    books.publish()
    books.book.close()
    world = World(books, books.root, [licence], 0)
    assert found(world.replayed()) == []
    engine = make_engine(f"sqlite:///{world.root / 'book.db'}")
    with write_transaction(engine) as c:  # a crash before the row is told where its batch was logged
        c.execute(update(tables.batches).where(tables.batches.c.first == 3).values(log_index=None))
    assert found(world.replayed()) == []
    records = world.root / "access" / "api-0.records"
    kept = records.read_bytes()
    records.write_bytes(kept[:-SLOT_SIZE])
    assert found(world.replayed()) == [(Rule.ACCESS_BATCH, indexes[1])]
    records.write_bytes(kept[SLOT_SIZE:] + kept[:SLOT_SIZE])
    assert found(world.replayed()) == [(Rule.ACCESS_BATCH, index) for index in indexes]
    records.unlink()
    assert found(world.replayed()) == [(Rule.ACCESS_BATCH, index) for index in indexes]


def test_a_batch_of_access_records_that_is_not_in_the_log_is_found(world: World) -> None:
    (world.root / "access").mkdir(exist_ok=True)
    (world.root / "access" / "api-9.records").write_bytes(b"")
    engine = make_engine(f"sqlite:///{world.root / 'book.db'}")
    with write_transaction(engine) as c:
        made_up = {"writer": "api-9", "first": 0, "length": 5, "event": "x", "log_index": 2}
        c.execute(insert(tables.batches).values(**made_up))
    assert found(world.replayed()) == [(Rule.ACCESS_BATCH, 2)]


def test_an_anchor_that_the_chain_has_not_is_found(world: World) -> None:
    store = BookStore(make_engine(f"sqlite:///{world.root / 'book.db'}"))
    row = AnchorRow("a/1", 0, 2, bytes(32), bytes(32), "", "final", bytes(32), 77, None)
    store.add_anchor(row)
    chain = SyntheticLog().chain()
    origin_hash = hashlib.sha256(world.city.origin.encode()).digest()
    pin = world.city.anchor
    assert pin is not None
    chain = replace(chain, origin_hash=origin_hash, chain_id=pin.chain_id, contract=pin.contract)
    replay = world.replayed(chain=chain)
    assert [(d.rule, d.block) for d in replay.findings.kept] == [(Rule.ANCHOR_BLOCK, 77)]


def test_archived_tokens_are_compared_with_their_leaves(world: World) -> None:
    first, second = sorted((world.root / "public" / "status" / "archive").rglob("*.jwt"))
    kept = first.read_bytes()
    first.write_bytes(kept[:-1] + (b"A" if kept[-1:] != b"A" else b"B"))
    assert [rule for rule, _ in found(world.replayed())] == [Rule.TOKEN_DIGEST]
    first.write_bytes(kept)
    second.unlink()
    assert [rule for rule, _ in found(world.replayed())] == [Rule.TOKEN_MISSING]


def change_evidence(world: World, index: int, record: bytes) -> None:
    records = decode_evidence(world.evidence_file().read_bytes())
    records[index] = record
    world.evidence_file().write_bytes(encode_evidence(records))


def test_an_event_whose_signed_form_is_gone_is_found(world: World) -> None:
    change_evidence(world, world.suspended_at, b"")
    assert found(world.replayed()) == [(Rule.EVIDENCE_MISSING, world.suspended_at)]


def test_an_erased_credential_is_counted_and_no_difference(world: World) -> None:
    change_evidence(world, 1, b"")
    replay = world.replayed()
    assert found(replay) == []
    assert replay.signed.erased == 1


def test_another_signed_event_than_the_leafs_is_found(world: World) -> None:
    records = decode_evidence(world.evidence_file().read_bytes())
    change_evidence(world, world.suspended_at, records[world.suspended_at + 1])
    change_evidence(world, 1, records[2])
    change_evidence(world, 2, b"\x07nonsense")
    assert found(world.replayed()) == [
        (Rule.EVIDENCE_DIGEST, 1),
        (Rule.EVIDENCE_DIGEST, 2),
        (Rule.EVIDENCE_DIGEST, world.suspended_at),
    ]


def test_a_revocation_that_the_operator_made_up_is_found(tmp_path: Path) -> None:
    books = make_books(tmp_path)
    held = books.issue()
    forged = books.change(held, Kind.REVOKE, Code.REVOKED)
    # the operator appends past the book's checks: first a signature that is none, then a leaf that the event is not
    head, _, _ = forged.rpartition(".")
    broken = f"{head}.{'A' * 86}"
    leaf = leaf_of_event(broken)
    books.book.log.append([Item(leaf.event_id, leaf.encode(), broken.encode())])
    resumed = books.change(held, Kind.SUSPEND)
    other = replace(leaf_of_event(resumed), code=int(Code.OTHER), kind=Kind.REVOKE)
    books.book.log.append([Item(other.event_id, other.encode(), resumed.encode())])
    books.book.state.catch_up()
    size = books.book.log.size
    books.book.close()
    beside = Beside.of(books.root, Signatures.EVENTS)
    replay = replay_log(
        books.root / "log", options=OPTIONS, against=Against(city=books.city.trust(), beside=beside)
    )
    rules = [r for r in found(replay) if r[0] in (Rule.EVENT_SIGNATURE, Rule.EVIDENCE_LEAF)]
    assert rules == [(Rule.EVENT_SIGNATURE, size - 2), (Rule.EVIDENCE_LEAF, size - 1)]


def test_compact_private_records_are_rebuilt_and_checked(tmp_path: Path) -> None:
    books = make_books(tmp_path)
    kind = demonstration_types()[BUSINESS]
    key = books.key_of(DEPARTMENT)
    template = Template.of(
        kind, issuer=DEPARTMENT, origin=books.city.origin, holder=key.public, signer=key.public
    )
    books.book.store.put_template(template.id, template.encode())
    slots = books.book.reserve("batch", 3)
    rows = [
        Row(
            books.rand(16),
            books.rand(32),
            f"{i:05d}",
            "001",
            books.now_s,
            books.now_s,
            None,
            number,
            index,
            ["甲"] * len(kind.names),
        )
        for i, (number, index) in enumerate(slots)
    ]
    issued = issue_batch(rows, template, key)
    books.book.log.append([Item(one.event_id, one.leaf, one.record) for one in issued])
    books.book.state.catch_up()
    books.publish()
    books.book.close()
    beside = Beside.of(books.root, Signatures.ALL)
    replay = replay_log(
        books.root / "log", options=OPTIONS, against=Against(city=books.city.trust(), beside=beside)
    )
    assert found(replay) == []
    assert replay.signed.checked == 4


def test_a_folder_without_a_book_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BookUnreadable):
        Beside.of(tmp_path, Signatures.NONE)
