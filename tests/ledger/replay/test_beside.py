"""A real book and its log agree; whatever is changed beside the log is found."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import update

from ledger.database import make_engine, write_transaction
from ledger.licences import store as tables
from ledger.licences.batch import issue_batch
from ledger.licences.events import Kind, leaf_of_event
from ledger.licences.issuers import IssuerHistory, KeySpan
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
    assert replay.unchecked == ("anchors (no chain)",)
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
    row = HistoryRow(DEPARTMENT, 4, 2_000, history.sign(world.books.city.registrar))
    BookStore(make_engine(f"sqlite:///{world.root / 'book.db'}")).put_history(row)
    return history


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
