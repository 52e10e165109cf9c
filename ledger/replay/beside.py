"""What the operator keeps beside the log, reconciled with it one to one: slots, rows, archived tokens, signed events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ledger.anchors.types import Anchored
from ledger.database import make_engine
from ledger.errors import DatabaseError
from ledger.licences.errors import LicenceError
from ledger.licences.layout import BookFolder
from ledger.licences.leaf import LIST_SIZE, Code, Kind
from ledger.licences.policy import City
from ledger.licences.slots import SlotFiles
from ledger.licences.status import TOKEN_MAX, parse_status_token
from ledger.licences.store import BookStore
from ledger.replay.errors import BookUnreadable
from ledger.replay.findings import Difference, Rule
from ledger.replay.leaves import U8
from ledger.replay.ordered import OrderedPass
from ledger.replay.published import check_histories, check_newest_tokens
from ledger.replay.scan import COLUMN, ChunkMeta, ScanPlan
from ledger.replay.slots import Page, SlotPages
from ledger.replay.uses import check_uses

_ROWS_BEYOND: Final = 1000  # rows of a list that are not in the log and are still named one by one
_STATUS: Final = np.dtype([("index", "<u8"), ("list", "<u4"), ("token", "u1", (32,)), ("bits", "u1", (32,))])


class Signatures(StrEnum):
    """Whose signatures are checked: nobody's, those of events and of a sample of credentials, or everybody's."""

    NONE = "none"
    EVENTS = "events"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Beside:
    """Where the operator's own data are.

    Args:
        folder: of the book.
        database_url: of the book's tables.
        signatures: which signed events are read and verified.
    """

    folder: BookFolder
    database_url: str
    signatures: Signatures

    @classmethod
    def of(cls, root: Path, signatures: Signatures, *, database_url: str | None = None) -> Beside:
        """Find the parts of a book.

        Args:
            root: the book's folder.
            signatures: as above.
            database_url: where the tables are; by default SQLite in the folder.

        Raises:
            BookUnreadable: there is no book in this folder, or no database.
        """
        folder = BookFolder(root)
        if not folder.config.is_file():
            raise BookUnreadable(f"there is no book in {root.name!r}")
        if database_url is None and not folder.database.is_file():
            raise BookUnreadable(f"the book in {root.name!r} has no database of its own; name its URL")
        return cls(folder, database_url or f"sqlite:///{folder.database}", signatures)


@contextmanager
def open_store(database_url: str) -> Iterator[BookStore]:
    """Open a book's tables for the block.

    Raises:
        BookUnreadable: the URL names no database.
    """
    try:
        engine = make_engine(database_url)
    except DatabaseError as err:
        raise BookUnreadable(str(err)) from err
    try:
        yield BookStore(engine)
    finally:
        engine.dispose()


def check_slots(pages: SlotPages, slots: SlotFiles) -> Iterator[Difference]:
    """Compare every slot's status and leaf with the book's.

    Args:
        pages: as derived from the log.
        slots: the book's files.

    Raises:
        BookUnreadable: a file is not as long as it must be.
    """
    try:
        for number in sorted(pages.lists | set(slots.known_lists())):
            page = pages.page(number) if number in pages.lists else None
            yield from _check_list(number, page, slots)
    except LicenceError as err:
        raise BookUnreadable(str(err)) from err


def _check_list(number: int, page: Page | None, slots: SlotFiles) -> Iterator[Difference]:
    packed = slots.view(number)
    codes: U8 = np.empty(LIST_SIZE, np.uint8)
    codes[::2], codes[1::2] = packed & 0xF, packed >> 4
    derived = np.full(LIST_SIZE, Code.NOT_ISSUED, np.uint8) if page is None else page.all_codes()
    issued = derived != Code.NOT_ISSUED
    issue = np.zeros(LIST_SIZE, np.uint64) if page is None else page.issue
    for slot in np.flatnonzero(codes != derived).tolist():
        detail = (
            f"slot {slot}: the book has status {int(codes[slot]):#x}, the log gives {int(derived[slot]):#x}"
        )
        index = int(issue[slot]) if issued[slot] else None
        yield Difference(Rule.BOOK_STATUS, detail, index=index, status_list=number)
    expected: NDArray[np.uint64] = np.where(issued, issue + np.uint64(1), np.uint64(0))
    leaves = slots.leaves(number)
    for slot in np.flatnonzero(leaves != expected).tolist():
        book, log = (
            f"leaf {value - 1}" if value else "none" for value in (int(leaves[slot]), int(expected[slot]))
        )
        yield Difference(
            Rule.BOOK_SLOT,
            f"slot {slot}: the book has {book}, the log has {log}",
            index=int(issue[slot]) if issued[slot] else int(leaves[slot]) - 1,
            status_list=number,
        )


def check_rows(
    store: BookStore, plan: ScanPlan, ordered: OrderedPass, anchors: Iterable[Anchored] | None
) -> Iterator[Difference]:
    """Compare the rows that follow from the log, and the anchors that the book calls final, one to one.

    Args:
        store: the book's tables.
        plan: of the replay.
        ordered: after its last chunk.
        anchors: the chain's events, if the chain is known.

    Raises:
        BookUnreadable: the database cannot be read.
    """
    try:
        yield from _check_keys(store, ordered)
        yield from _check_statuses(store, plan)
        yield from _check_cities(store, plan)
        if anchors is not None:
            yield from _check_anchor_rows(store, anchors)
    except DatabaseError as err:
        raise BookUnreadable(str(err)) from err


def _check_keys(store: BookStore, ordered: OrderedPass) -> Iterator[Difference]:
    rows = {
        row.key_id: (row.issuer, row.types, row.added, row.retired, row.compromised)
        for row in store.key_rows()
    }
    spans = {s.key_id: (s.issuer, s.types, s.added, s.retired, s.compromised) for s in ordered.keys.spans}
    for key_id in sorted(rows.keys() | spans.keys()):
        if rows.get(key_id) != spans.get(key_id):
            index = (spans.get(key_id) or rows[key_id])[2]
            yield Difference(Rule.BOOK_ROW, f"key {key_id.hex()}: row and log differ", index=index)


def _check_statuses(store: BookStore, plan: ScanPlan) -> Iterator[Difference]:
    leaves = status_leaves(plan)
    # a row may name a list of which the log has no leaf at all
    in_book = {row.number for row in store.newest_statuses((1 << 63) - 1)}
    for number in sorted(in_book | set(np.unique(leaves["list"]).tolist())):
        logged = {
            int(leaf["index"]): (leaf["token"].tobytes(), leaf["bits"].tobytes())
            for leaf in leaves[leaves["list"] == number]
        }
        limit = len(logged) + _ROWS_BEYOND
        rows = {row.log_index: (row.token, row.bits) for row in store.statuses_of(number, limit=limit)}
        for index in sorted(logged.keys() | rows.keys()):
            if logged.get(index) != rows.get(index):
                what = (
                    "has no row"
                    if index not in rows
                    else "has another row"
                    if index in logged
                    else "is not in the log"
                )
                yield Difference(Rule.BOOK_ROW, f"the status list {what}", index=index, status_list=number)


def _check_cities(store: BookStore, plan: ScanPlan) -> Iterator[Difference]:
    rows = {index: city.encode() for index, _, city in store.city_rows()}
    logged = dict(_special(plan, Kind.RECOGNISE))
    for index in sorted(rows.keys() | logged.keys()):
        if rows.get(index) != logged.get(index):
            yield Difference(Rule.BOOK_ROW, "the recognised city's row and leaf differ", index=index)


def _check_anchor_rows(store: BookStore, anchors: Iterable[Anchored]) -> Iterator[Difference]:
    on_chain = {(a.size, a.root, a.status_root, a.block) for a in anchors}
    for row in store.anchors_in("final"):
        if (row.size, row.root, row.status_root, row.block) not in on_chain:
            detail = f"the book has an anchor of size {row.size} that the chain has not in this block"
            yield Difference(Rule.ANCHOR_BLOCK, detail, index=row.size, block=row.block)


def status_leaves(plan: ScanPlan) -> NDArray[np.void]:
    """Return all status_list leaves: log index, list, digest of the token, digest of the bits."""
    parts = [np.empty(0, _STATUS)]
    for number in range(plan.chunks):
        meta = ChunkMeta.load(plan.meta_path(number))
        if len(meta.special):
            rows = np.memmap(plan.columns_path(number), COLUMN, "r")[meta.special]
            which = np.flatnonzero(rows["kind"] == Kind.STATUS_LIST)
            part = np.empty(len(which), _STATUS)
            part["index"] = meta.special[which] + plan.first(number)
            part["list"], part["token"] = rows["list"][which], meta.evidence[which]
            for at, i in enumerate(which.tolist()):
                part["bits"][at] = np.frombuffer(meta.extras[i], np.uint8)
            parts.append(part)
    return np.concatenate(parts)


def _special(plan: ScanPlan, kind: Kind) -> Iterator[tuple[int, bytes]]:
    """Yield log index and extra of the leaves of one kind of 8 to 13."""
    for number in range(plan.chunks):
        meta = ChunkMeta.load(plan.meta_path(number))
        if len(meta.special):
            kinds = np.memmap(plan.columns_path(number), COLUMN, "r")["kind"][meta.special]
            for which in np.flatnonzero(kinds == kind).tolist():
                yield plan.first(number) + int(meta.special[which]), meta.extras[which]


def check_archive(folder: BookFolder, plan: ScanPlan, *, unpack_bits: bool) -> Iterator[Difference]:
    """Compare every archived status token with its leaf.

    Args:
        folder: of the book.
        plan: of the replay.
        unpack_bits: also unpack each list and compare it with the digest in the leaf.
    """
    for leaf in status_leaves(plan):
        index, number = int(leaf["index"]), int(leaf["list"])
        path = folder.archived_token(leaf["token"].tobytes())
        try:
            with path.open("rb") as file:
                data = file.read(TOKEN_MAX + 1)
        except OSError as err:
            detail = f"the archive has no token {path.stem}: {err.strerror}"
            yield Difference(Rule.TOKEN_MISSING, detail, index=index, status_list=number)
            continue
        if sha256(data).digest() != leaf["token"].tobytes():
            detail = f"the archived token {path.stem} has another digest than its leaf"
            yield Difference(Rule.TOKEN_DIGEST, detail, index=index, status_list=number)
        elif unpack_bits and (problem := _token_problem(data, number, leaf["bits"].tobytes())):
            yield Difference(Rule.TOKEN_BITS, problem, index=index, status_list=number)


def _token_problem(data: bytes, number: int, digest: bytes) -> str | None:
    try:
        token = parse_status_token(data.decode("ascii", "replace"))
        bits = token.bits()
    except LicenceError as err:
        return str(err)
    if token.claims.list != number or bits.digest != digest:
        return f"the token is of list {token.claims.list} with bits {bits.digest.hex()}, the leaf has {digest.hex()}"
    return None


def check_beside(
    beside: Beside,
    plan: ScanPlan,
    ordered: OrderedPass,
    anchors: Iterable[Anchored] | None,
    city: City | None,
) -> Iterator[Difference]:
    """Reconcile all but the signed events, which are `ledger.replay.evidence`'s.

    Args:
        beside: the operator's data.
        plan: of the replay.
        ordered: after its last chunk.
        anchors: the chain's events, if the chain is known.
        city: whose registrar signs the issuer histories, if a policy names it.

    Raises:
        BookUnreadable: a file or the database cannot be read.
    """
    yield from check_slots(ordered.pages, SlotFiles(beside.folder.slots, writable=False))
    with open_store(beside.database_url) as store:
        yield from check_rows(store, plan, ordered, anchors)
        try:
            yield from check_uses(beside.folder, store, dict(_special(plan, Kind.ACCESS_BATCH)))
            yield from check_histories(beside.folder, store, plan, ordered, city)
        except DatabaseError as err:
            raise BookUnreadable(str(err)) from err
    yield from check_newest_tokens(beside.folder, ordered)
    yield from check_archive(beside.folder, plan, unpack_bits=beside.signatures is not Signatures.NONE)
