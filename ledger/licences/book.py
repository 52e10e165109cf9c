"""The book of licences: the one writer that decides which signed events become leaves of the log.

The order is the proof. An event is checked against the state; the log makes it durable under a new checkpoint; then the state
follows; then the caller has a receipt. What the state has follows from the log, so a crash at any point loses nothing: the log
completes its batch, the state is brought up to it, and the same signed event handed in again gets the same receipt.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from sqlalchemy import Engine

from ledger.database import make_engine
from ledger.encoding import Digest
from ledger.errors import LedgerError
from ledger.licences.access import AccessFiles
from ledger.licences.checks import (
    Checker,
    IssueTerms,
    Parties,
    Pending,
    Prepared,
    licence_lookup,
    prepare,
)
from ledger.licences.config import SECRET_SIZE, Secrets, read_config, write_config
from ledger.licences.errors import (
    BookDamaged,
    BookExists,
    BookFull,
    BookMismatch,
    EventRefused,
    LicenceError,
    LicenceUnknown,
    PrivateRecordErased,
)
from ledger.licences.identifiers import Identifier, require_origin
from ledger.licences.layout import BookFolder
from ledger.licences.leaf import KEY_KINDS, LICENCE_KINDS, Kind, Leaf
from ledger.licences.record import template_id_of, unpack_record
from ledger.licences.sdjwt import parse as parse_credential
from ledger.licences.slots import licence_numbers
from ledger.licences.state import BookState, Standing
from ledger.licences.status import slots
from ledger.licences.store import BookStore, JobRow, create_tables
from ledger.licences.template import Template
from ledger.log.batch import Bundle, Item, decode_evidence
from ledger.log.errors import EventConflict
from ledger.log.layout import Layout
from ledger.log.notes import NoteSigner
from ledger.log.tiles import TILE_WIDTH, decode_bundle, tile_width
from ledger.log.writer import Log

RESERVE_MAX: Final = 1 << 28
_FLUSHED_BEFORE: Final = KEY_KINDS | {
    Kind.STATUS_LIST
}  # what is checked against the state and not against a batch


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a signed event stands in the log, for ever."""

    index: int
    leaf_hash: Digest


@dataclass(frozen=True, slots=True)
class KeptLicence:
    """A licence as the book keeps it: where it stands, and its credential, None where that was destroyed."""

    standing: Standing
    credential: str | None


class LicenceBook:
    """A book that this process, and no other, writes. Methods may be called from any thread; use `create` and `open`."""

    def __init__(
        self, folder: BookFolder, log: Log, parties: Parties, secrets: Secrets, engine: Engine
    ) -> None:
        """Take over what `create` and `open` prepared."""
        self.folder, self.log, self.parties = folder, log, parties
        self._secrets, self._engine = secrets, engine
        self.store = BookStore(engine)
        self.state = BookState(folder.state, self.store, log)
        self._templates: dict[bytes, Template] = {}
        self._writing = threading.RLock()
        self._reserved = self.store.next_number()
        self._kept = self._open_jobs()
        self._checker = Checker(parties, slot_key=secrets.slot_key, may_use=self._may_use)

    @classmethod
    def create(
        cls, root: Path, parties: Parties, signer: NoteSigner, *, rand: bytes, database_url: str | None = None
    ) -> LicenceBook:
        """Create an empty book with its log, and open it.

        Args:
            root: a new or empty folder; private, but for the public folders in it.
            parties: origin and keys, for ever.
            signer: the log's note key, whose name is the origin.
            rand: 64 random bytes: the service's secrets.
            database_url: where the tables are; by default SQLite in the folder.

        Raises:
            BookExists: there is a book in this folder.
            LogError: as `Log.create`.
            DatabaseError.
        """
        folder = BookFolder(root)
        require_origin(parties.origin)
        if len(rand) != 2 * SECRET_SIZE:
            raise BookMismatch(f"expected {2 * SECRET_SIZE} random bytes, got {len(rand)}")
        if folder.config.exists():
            raise BookExists(f"there is a book in {root.name!r} already")
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        if not folder.log.exists():
            Log.create(folder.log, parties.origin, signer).close()
        write_config(folder, parties, Secrets(rand[:SECRET_SIZE], rand[SECRET_SIZE:]))
        return cls.open(root, signer, database_url=database_url)

    @classmethod
    def open(cls, root: Path, signer: NoteSigner, *, database_url: str | None = None) -> LicenceBook:
        """Open a book for writing, complete what a crash interrupted, and bring the state up to the log.

        Args:
            root: as given to `create`.
            signer: the log's key.
            database_url: as given to `create`.

        Raises:
            BookMismatch: there is no book in this folder.
            BookDamaged: a file of it is not as it was written.
            LogError: `LogBusy` when another process writes it; else as `Log.open`.
            DatabaseError.
        """
        folder = BookFolder(root)
        parties, secrets = read_config(folder)
        log = Log.open(folder.log, signer)
        try:
            engine = make_engine(database_url or f"sqlite:///{folder.database}")
            create_tables(engine)
            book = cls(folder, log, parties, secrets, engine)
            behind = book.state.open()
            if behind:
                book.skip_used_numbers()
        except BaseException:
            log.close()
            raise
        return book

    def close(self) -> None:
        """Make the state durable and let another process write. Later calls change nothing."""
        with self._writing:
            if self.state.size == self.log.size:
                self.state.sync()
            self.log.close()
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing -----------------------------------------------------------------------------------------

    def reserve(self, key: str, count: int) -> list[tuple[int, int]]:
        """Hand out status slots (list, index) for licences that an issuer is about to sign.

        Durable when it returns; the same key gets the same slots. A slot that is never used stays "not issued".

        Args:
            key: of the request, up to 200 characters; the caller's choice, without personal data.
            count: how many.

        Raises:
            EventRefused: no such count, or the key was used for another count.
            DatabaseError.
        """
        if not 1 <= count <= RESERVE_MAX or not 1 <= len(key) <= 190:
            raise EventRefused(
                "reserve", f"expected 1 to {RESERVE_MAX} slots under a key of 1 to 190 characters"
            )
        with self._writing:
            first, stored = self.store.reserve(f"issue/{key}", count)
            if stored != count:
                raise EventRefused("reserve", f"this key has {stored} slots, not {count}")
            self._reserved = self.store.next_number()
        return self.slots_of(first, count)

    def slots_of(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return the slots of consecutive licence numbers."""
        lists, indexes = slots(self._secrets.slot_key, first, count)
        return list(zip(lists.tolist(), indexes.tolist(), strict=True))

    def slot_columns(self, first: int, count: int) -> tuple[Any, Any]:
        """Return the slots of consecutive licence numbers as two int64 columns, lists and indexes."""
        lists, indexes = slots(self._secrets.slot_key, first, count)
        return lists.astype(np.int64), indexes.astype(np.int64)

    def submit(self, text: str, *, now_s: int) -> Receipt:
        """Log one signed event; the same event again gets the same receipt.

        Args:
            text: a credential with all its disclosures, a signed event, or a status token.
            now_s: Unix seconds.

        Raises:
            LicenceError: malformed, not signed by who may, or not possible now; nothing was kept.
            EventConflict: its id is taken by another event.
            LogError, DatabaseError: not acknowledged; hand it in again.
        """
        (answer,) = self.submit_all([text], now_s=now_s)
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    def submit_all(self, texts: Sequence[str], *, now_s: int) -> list[Receipt | LedgerError]:
        """Log many signed events in order, under one checkpoint; each is answered for itself.

        Args:
            texts, now_s: as `submit`.

        Returns:
            For each its receipt, or why it was refused.

        Raises:
            LogError, DatabaseError, BookFull: none of those not logged yet is acknowledged; hand all in again.
        """
        prepared = [self._prepared(text) for text in texts]
        answers: list[Receipt | LedgerError] = []
        with self._writing:
            self.state.catch_up()
            pending = Pending(self.state)
            for event in prepared:
                if isinstance(event, LedgerError):
                    answers.append(event)
                    continue
                if not pending.admits(event.leaf.kind):
                    self._flush(pending)
                    pending = Pending(self.state)
                answers.append(self._answer(event, pending, now_s))
            self._flush(pending)
        return answers

    def _prepared(self, text: str) -> Prepared | LedgerError:
        try:
            return prepare(text, self.parties, self._secrets.lookup_key)
        except LicenceError as err:
            return err

    def _answer(self, event: Prepared, pending: Pending, now_s: int) -> Receipt | LedgerError:
        """Check one event and put it on the batch, or say where it stands already, or why not."""
        leaf = event.leaf
        position = pending.by_event.get(leaf.event_id)
        if position is not None:
            same = pending.taken[position].entry == event.entry
            return (
                Receipt(self.state.size + position, event.leaf_hash)
                if same
                else EventConflict(position, None)
            )
        index = self.log.find(leaf.event_id)
        if index is not None:
            same = self.log.entry(index) == event.entry
            return Receipt(index, event.leaf_hash) if same else EventConflict(0, index)
        try:
            self._checker.require(event, pending, now_s)
        except LicenceError as err:
            return err
        return Receipt(self.state.size + pending.take(event), event.leaf_hash)

    def _flush(self, pending: Pending) -> None:
        """Log the checked events, then let the state follow."""
        if not pending.taken:
            return
        first = self.state.size
        indices = self.log.append([event.item for event in pending.taken])
        if indices != list(range(first, first + len(indices))):
            raise BookDamaged("log", f"the next entries at {first}", "others")
        self._follow(pending)

    def _follow(self, pending: Pending) -> None:
        try:
            self.state.apply([e.leaf for e in pending.taken], [e.leaf_hash for e in pending.taken])
        except OSError as err:
            raise BookFull("the events are logged, and the state will follow") from err

    def append_issues(self, bundles: Sequence[Bundle], terms: IssueTerms) -> int:
        """Log whole bundles of licences that a backfill has signed; return the index of the first.

        Key, type, list and index of every leaf are checked, that the slots are handed out and free, and one leaf hash of each bundle;
        the signatures are the backfill's own (it checks one of each bundle).

        Args:
            bundles: of 256 plain issues each, none of them logged yet.
            terms: whose they are.

        Raises:
            EventRefused: one of them may not be logged; nothing was kept.
            NotAligned: the log ends inside a bundle.
            LogError, DatabaseError, BookFull: not acknowledged.
        """
        with self._writing:
            self.state.catch_up()
            lists, indexes = self._checker.require_issues(bundles, terms, self.state)
            first = self.state.size
            if self.log.append_bundles(bundles)[0] != first:
                raise BookDamaged("log", f"the next entries at {first}", "others")
            self.state.apply_issues(lists, indexes, b"".join(b.leaf_hashes for b in bundles), terms.key_id)
        return first

    def append_loose_issues(self, items: Sequence[Item], terms: IssueTerms) -> int:
        """Log up to 256 licences of a backfill one by one, wherever the log ends; as `append_issues`.

        Raises:
            EventRefused, LogError, DatabaseError, BookFull: as `append_issues`.
        """
        bundle = Bundle.of(items)
        with self._writing:
            self.state.catch_up()
            lists, indexes = self._checker.require_issues([bundle], terms, self.state)
            first = self.state.size
            if self.log.append(items) != list(range(first, first + len(items))):
                raise BookDamaged("log", f"the next entries at {first}", "others")
            self.state.apply_issues(lists, indexes, bundle.leaf_hashes, terms.key_id)
        return first

    def start_backfill(self, job: str, description: str, rows: int, issued_at: int) -> JobRow:
        """Store a backfill and keep a licence number for each of its rows, in one step; a repeat returns the stored one.

        Raises:
            DatabaseError.
        """
        with self._writing:
            row = self.store.start_job(job, description, rows, issued_at)
            self._reserved = self.store.next_number()
            self._kept = self._open_jobs()
        return row

    def finish_backfill(self, job: str) -> None:
        """Mark a backfill as done."""
        with self._writing:
            self.store.finish_job(job)
            self._kept = self._open_jobs()

    def _open_jobs(self) -> list[tuple[int, int]]:
        return [(job.first, job.first + job.count) for job in self.store.open_jobs()]

    def _may_use(self, number: int) -> bool:
        """Say whether a licence number was handed out to whoever asked, and is not kept for a backfill."""
        return number < self._reserved and not any(first <= number < end for first, end in self._kept)

    @property
    def lookup_key(self) -> bytes:
        """The secret under which licences are found, for the workers of a backfill."""
        return self._secrets.lookup_key

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep all other writers of this process out, so that several calls see one state of the log."""
        with self._writing:
            yield

    # --- reading -----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Entries of the log."""
        return self.log.size

    def standing(self, number: int, index: int) -> Standing | None:
        """Return the licence that has a status slot, None where it is free."""
        return self.state.standing(number, index)

    def find(self, identifier: str) -> list[int]:
        """Return the log indexes of the licences with this identifier, ascending; erased ones are not found.

        Raises:
            IdentifierInvalid: it is no identifier.
            LogError: the log's files are damaged.
        """
        named = Identifier.parse(identifier)
        candidates = self.log.lookup(licence_lookup(self._secrets.lookup_key, named))
        return [index for index in candidates if self._identifier_of(index) == named]

    def credential(self, index: int) -> str:
        """Return a licence's credential with all its disclosures, from its private record.

        Raises:
            LicenceUnknown: no licence was issued at this log index.
            PrivateRecordErased: the credential was destroyed.
            LogError: the log's files are damaged.
        """
        if not 0 <= index < self.log.size or Leaf.decode(self.log.entry(index)).kind not in LICENCE_KINDS:
            raise LicenceUnknown(f"no licence was issued at log index {index}")
        return self._read(self.log.evidence(index))

    def issues_in(self, n: int, keys: Container[bytes]) -> list[KeptLicence]:
        """Return the licences among the entries 256 n … 256 n + 255 that one of some keys signed, ascending.

        Args:
            n: number of the bundle.
            keys: ids of keys.

        Raises:
            BookDamaged: a private record is missing.
            LogError: the log's files are damaged.
        """
        width = tile_width(0, n, self.state.size)
        entries = decode_bundle(self.log.reader.bundle(n, width), width) if width else []
        leaves = [(index, Leaf.decode(entry)) for index, entry in enumerate(entries, n * TILE_WIDTH)]
        own = [each for each in leaves if each[1].kind in LICENCE_KINDS and each[1].key_id in keys]
        if not own:
            return []
        try:
            kept = decode_evidence(Layout(self.folder.log).evidence(n).read_bytes())
        except FileNotFoundError as err:
            raise BookDamaged("private records", f"those of bundle {n}", "none") from err
        if len(kept) < width:
            raise BookDamaged("private records", f"{width} of bundle {n}", str(len(kept)))
        return [self._as_kept(index, leaf, kept[index % TILE_WIDTH]) for index, leaf in own]

    def _as_kept(self, index: int, leaf: Leaf, evidence: bytes) -> KeptLicence:
        code = self.state.slots.get(leaf.list, leaf.index).code
        standing = Standing(leaf.list, leaf.index, code, index, leaf.hash, leaf)
        return KeptLicence(standing, self._read(evidence) if evidence else None)

    def erase(self, index: int) -> None:
        """Destroy a licence's credential, its salts and disclosures, and the salts of its access records, durably.

        Leaf and status stay, and can be linked to the licence only by who kept a copy of the credential.

        Raises:
            LicenceUnknown: no licence was issued at this log index.
            LogError: not erased; ask again.
        """
        if not 0 <= index < self.log.size or Leaf.decode(self.log.entry(index)).kind not in LICENCE_KINDS:
            raise LicenceUnknown(f"no licence was issued at log index {index}")
        with self._writing:
            AccessFiles(self.folder.access).erase(index)
            self.log.erase_evidence(index)

    def rebuild(self) -> None:
        """Forget the state and make it again from the log. Handed-out slots that the tables lost are skipped over.

        Raises:
            LogError: the log's files are damaged.
            BookDamaged, DatabaseError.
        """
        with self._writing:
            self.state.rebuild()
            self.skip_used_numbers()

    def skip_used_numbers(self) -> None:
        """Never hand out a licence number that the log has used, where the tables have lost that it was handed out."""
        with self._writing:
            used, known = self._first_unused(), self.store.next_number()
            if used > known:
                self.store.reserve(f"recovered/{used}", used - known)
            self._reserved = self.store.next_number()

    def _first_unused(self) -> int:
        """Return the licence number after the last one that the log has used."""
        highest = -1
        for number in self.state.slots.known_lists():
            taken = np.flatnonzero(self.state.slots.leaves(number)).astype(np.int64)
            if len(taken):
                highest = max(highest, int(licence_numbers(self._secrets.slot_key, number, taken).max()))
        return highest + 1

    def _read(self, evidence: bytes) -> str:
        """Return the credential that a private record is of."""
        if not evidence:
            raise PrivateRecordErased("the credential and its salts were destroyed")
        template_id = template_id_of(evidence)
        template = None if template_id is None else self._template(template_id)
        return unpack_record(evidence, template).text

    def _template(self, template_id: bytes) -> Template:
        template = self._templates.get(template_id)
        if template is None:
            data = self.store.template(template_id)
            if data is None:
                raise BookDamaged("private record", "a template that the book has", "another")
            template = self._templates[template_id] = Template.decode(data)
        return template

    def _identifier_of(self, index: int) -> Identifier | None:
        evidence = self.log.evidence(index)
        return parse_credential(self._read(evidence)).claims.identifier if evidence else None
