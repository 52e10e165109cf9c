"""What the book knows, and that all of it follows from the log: status slots, issuer keys, recognised cities, logged status tokens.

The log comes first, the state second. The file `applied` says how much of the log is durably in the state; after a crash
everything from there on is applied again. Every write is of a final value, so that doing it again changes nothing and no
reader sees an older status in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ledger.encoding import Digest, parse_json
from ledger.errors import MalformedValue
from ledger.licences.encoding import canonical
from ledger.licences.errors import BookDamaged
from ledger.licences.keys import PublicKey
from ledger.licences.leaf import KEY_KINDS, LICENCE_KINDS, LICENCE_LEAF_SIZE, Code, Kind, Leaf
from ledger.licences.slots import SlotFiles
from ledger.licences.store import BookStore, KeyRow, StatusRow
from ledger.log.files import Files
from ledger.log.store import SortedRuns
from ledger.log.tiles import TILE_WIDTH, decode_bundle, tile_width
from ledger.log.writer import Log

SYNC_EVERY: Final = 1 << 16  # entries applied between two durable points
_CHUNK: Final = 1 << 18
_APPLIED: Final = "applied"
_ENTRY: Final = np.dtype(
    [
        ("length", ">u2"),
        ("version", "u1"),
        ("kind", "u1"),
        ("event_id", "V16"),
        ("key_id", "V32"),
        ("evidence", "V32"),
        ("list", ">u4"),
        ("index", ">u4"),
        ("code", "u1"),
        ("event_day", ">i4"),
        ("last_day", ">i4"),
        ("previous", "V32"),
        ("type_length", "u1"),
        ("type", "V21"),
        ("extra_length", ">u2"),
    ]
)
_FAST_KINDS: Final = (Kind.ISSUE, Kind.TRANSFER_IN)  # a leaf of these touches its own slot and nothing else
_NO_HASH: Final = bytes(8)

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Standing:
    """A licence as the log has it now."""

    number: int
    index: int
    code: int
    leaf_index: int
    leaf_hash: Digest
    leaf: Leaf


class _Changes:
    """The final values that a range of entries leaves behind."""

    def __init__(self) -> None:
        self.bulk: list[tuple[Numbers, Numbers, Numbers]] = []  # lists, slots, log indexes of licences
        self.codes: dict[tuple[int, int], int] = {}  # slot -> code, where it is not what an issue sets
        self.keys: dict[bytes, KeyRow] = {}
        self.cities: list[tuple[int, str, str]] = []
        self.statuses: list[StatusRow] = []

    def add_issue(self, number: int, index: int, leaf_index: int) -> None:
        """Note one licence."""
        lists, indexes, leaves = (np.array([value], dtype=np.int64) for value in (number, index, leaf_index))
        self.bulk.append((lists, indexes, leaves))


class BookState:
    """The state of one book, over its folder, its tables and its log's tiles.

    Args:
        folder: of the files; made if missing.
        store: the tables.
        log: what it follows.
    """

    def __init__(self, folder: Path, store: BookStore, log: Log) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "issues").mkdir(exist_ok=True)
        self._folder, self._store, self._log = folder, store, log
        self.slots = SlotFiles(folder / "slots", writable=True)
        self._files = Files()
        self._issues = SortedRuns(folder / "issues", files=self._files)
        self.keys: dict[bytes, KeyRow] = {}
        self._last_issue: dict[bytes, int] = {}  # by key, of what was applied leaf by leaf
        self._last_bulk = -1  # of what was applied in columns, or before this process
        self._public: dict[bytes, PublicKey] = {}
        self.size = 0  # entries applied
        self._synced = 0
        self._indexed = 0  # entries findable by leaf hash

    def open(self) -> bool:
        """Load the state and apply what the log has beyond it; say whether the tables were behind the files.

        Raises:
            BookDamaged: the state is of another or a longer log, or a file is not as it was written.
            BookFull, DatabaseError.
        """
        # Files and tables may be of different ages, such as after a restored backup: what either lacks is applied again.
        applied, known = self._read_applied(), int(self._store.setting(_APPLIED) or 0)
        self.size = self._synced = min(applied, known)
        if self.size > self._log.size:
            raise BookDamaged("state", f"at most the log's {self._log.size} entries", f"{self.size}")
        self._issues.open(self.size)
        self._indexed = self.size
        self._last_bulk = self.size - 1
        self.keys = {row.key_id: row for row in self._store.key_rows()}
        self.catch_up()
        return known < applied

    def rebuild(self) -> None:
        """Forget everything and make it again from the log.

        Raises:
            LogError: the log's files are damaged.
            BookFull, DatabaseError.
        """
        (self._folder / _APPLIED).unlink(missing_ok=True)
        self.slots.clear()
        for path in (self._folder / "issues").iterdir():
            path.unlink()
        self._store.clear_derived()
        self._issues = SortedRuns(self._folder / "issues", files=self._files)
        self._issues.open(0)
        self.keys, self._public = {}, {}
        self.size = self._synced = self._indexed = 0
        self.catch_up()
        self.sync()

    def catch_up(self) -> None:
        """Apply the entries that the log has and the state does not."""
        while self.size < self._log.size:
            end = min(self._log.size, (self.size // _CHUNK + 1) * _CHUNK)
            changes = _Changes()
            for first, data, leaf_hashes in self._bundles(self.size, end):
                self._collect(changes, first, data, leaf_hashes)
            self._write(changes, end)

    def apply(self, leaves: Sequence[Leaf], leaf_hashes: Sequence[bytes]) -> None:
        """Apply the log's next entries, which the caller has in hand."""
        changes, first = _Changes(), self.size
        self._index(first, b"".join(map(_hash_key, leaves, leaf_hashes)))
        for index, leaf in enumerate(leaves, first):
            self._note(changes, index, leaf)
        self._write(changes, first + len(leaves))

    def apply_issues(self, lists: Numbers, indexes: Numbers, leaf_hashes: bytes, key_id: bytes) -> None:
        """Apply the log's next entries, all of them plain issues by one key, from columns: the backfill's way."""
        changes, first = _Changes(), self.size
        self._index(first, _hash_keys(leaf_hashes))
        changes.bulk.append((lists, indexes, np.arange(first, first + len(lists), dtype=np.int64)))
        self._last_issue[key_id] = first + len(lists) - 1
        self._write(changes, first + len(lists))

    def sync(self) -> None:
        """Make the state durable, and say so."""
        self.slots.sync()
        if self._issues.column.exists():
            self._files.sync([self._issues.column])
        self._files.replace(self._folder / _APPLIED, (canonical({"size": self.size}, "applied"),))
        self._store.put_setting(_APPLIED, str(self.size))
        self._synced = self.size
        self._issues.maintain()  # only now: a run beyond the durable size would be dropped on opening, with all that it has

    # --- questions ---------------------------------------------------------------------------------------

    def public_key(self, key_id: bytes) -> PublicKey | None:
        """Return an issuer's public key by its id; whether it is active is another question."""
        row = self.keys.get(key_id)
        if row is None:
            return None
        key = self._public.get(key_id)
        if key is None:
            key = self._public[key_id] = PublicKey.from_jwk(parse_json(row.jwk.encode()))
        return key

    def last_issue(self, key_id: bytes) -> int:
        """Return a log index from which on the key has signed no licence: the last one's, or a later one after a restart."""
        return max(self._last_issue.get(key_id, -1), self._last_bulk)

    def standing(self, number: int, index: int) -> Standing | None:
        """Return the licence that has a status slot, None where the slot is free."""
        slot = self.slots.get(number, index)
        if slot.leaf is None:
            return None
        entry = self.entry(slot.leaf)
        leaf = Leaf.decode(entry)
        return Standing(number, index, slot.code, slot.leaf, leaf.hash, leaf)

    def issue_of(self, leaf_hash: bytes) -> Standing | None:
        """Return the licence whose issue has this leaf hash."""
        for at in self._issues.find(leaf_hash[:8]):
            leaf = Leaf.decode(self.entry(at))
            if leaf.hash == leaf_hash and leaf.kind in LICENCE_KINDS:
                return Standing(
                    leaf.list, leaf.index, self.slots.get(leaf.list, leaf.index).code, at, leaf.hash, leaf
                )
        return None

    def entry(self, index: int) -> bytes:
        """Return an entry of the log."""
        return self._log.entry(index)

    # --- applying ----------------------------------------------------------------------------------------

    def _bundles(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Return (first index, bundle bytes, leaf hashes) of the entries [start, end), whole bundles at a time."""
        at = start
        while at < end:
            n, skip = divmod(at, TILE_WIDTH)
            width = tile_width(0, n, self._log.size)  # chunks end with bundles, or with the log
            data = self._log.reader.bundle(n, width)
            hashes = self._log.reader.hashes(0, n, width)[: width * 32]
            if skip:
                entries = decode_bundle(data, width)[skip:]
                data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
            yield at, data, hashes[skip * 32 :]
            at = n * TILE_WIDTH + width

    def _collect(self, changes: _Changes, first: int, data: bytes, leaf_hashes: bytes) -> None:
        """Note the changes of one bundle."""
        count = len(leaf_hashes) // 32
        rows = entry_columns(data, count)
        if rows is not None and np.isin(rows["kind"], _FAST_KINDS).all():
            self._index(first, _hash_keys(leaf_hashes))
            numbers = np.arange(first, first + count, dtype=np.int64)
            self._last_bulk = first + count - 1
            changes.bulk.append((rows["list"].astype(np.int64), rows["index"].astype(np.int64), numbers))
            return
        leaves = [Leaf.decode(entry) for entry in decode_bundle(data, count)]
        hashes = [leaf_hashes[i * 32 : i * 32 + 32] for i in range(count)]
        self._index(first, b"".join(map(_hash_key, leaves, hashes)))
        for index, leaf in enumerate(leaves, first):
            self._note(changes, index, leaf)

    def _index(self, first: int, hashes: bytes) -> None:
        """Make the issues among the log's next entries findable by leaf hash; what is already is left alone."""
        hashes = hashes[max(0, self._indexed - first) * 8 :]
        if hashes:
            self._issues.stage(self._indexed, hashes)
            self._issues.advance(hashes)
            self._indexed += len(hashes) // 8

    def _note(self, changes: _Changes, index: int, leaf: Leaf) -> None:
        if leaf.kind in LICENCE_KINDS:
            changes.add_issue(leaf.list, leaf.index, index)
            self._last_issue[leaf.key_id] = index
            if leaf.kind is Kind.SUPERSEDE:
                replaced = self.issue_of(leaf.previous)
                if replaced is None:
                    raise BookDamaged(
                        "log", "an issue for every licence that is superseded", f"none at {index}"
                    )
                changes.codes[replaced.number, replaced.index] = Code.CANCELLED
        elif leaf.sets_status:
            changes.codes[leaf.list, leaf.index] = leaf.code
        elif leaf.kind in KEY_KINDS:
            row = self._key_after(changes, index, leaf)
            changes.keys[row.key_id] = row
        elif leaf.kind is Kind.RECOGNISE:
            city = parse_json(leaf.extra)
            changes.cities.append((index, city["origin"], leaf.extra.decode("utf-8")))
        elif leaf.kind is Kind.STATUS_LIST:
            changes.statuses.append(StatusRow(index, leaf.list, leaf.event_day, leaf.evidence, leaf.extra))

    def _key_after(self, changes: _Changes, index: int, leaf: Leaf) -> KeyRow:
        extra: dict[str, Any] = parse_json(leaf.extra)
        if leaf.kind is Kind.KEY_ADD:
            key = PublicKey.from_jwk(extra["jwk"])
            jwk = canonical(extra["jwk"], "jwk").decode("ascii")
            return KeyRow(key.key_id, extra["issuer"], jwk, tuple(extra["types"]), index, None, None)
        key_id = bytes.fromhex(extra["key"])
        row = changes.keys.get(key_id) or self.keys.get(key_id)
        if row is None:
            raise BookDamaged("log", "a key_add for every key that ends", f"none at {index}")
        if leaf.kind is Kind.KEY_RETIRE:
            return replace(row, retired=index)
        return replace(row, compromised=index)

    def _write(self, changes: _Changes, end: int) -> None:
        self._store.put_derived(
            key_rows=list(changes.keys.values()), city_rows=changes.cities, status_rows=changes.statuses
        )
        self.keys.update(changes.keys)
        issued = [np.concatenate(column) for column in zip(*changes.bulk, strict=True)]
        for number in np.unique(issued[0]).tolist() if issued else ():
            here = issued[0] == number
            self._write_issues(changes, number, issued[1][here], issued[2][here])
        for (number, index), code in changes.codes.items():
            self.slots.set_code(number, index, code)
        self.size = end
        if self.size - self._synced >= SYNC_EVERY:
            self.sync()

    def _write_issues(self, changes: _Changes, number: int, indexes: Numbers, leaves: Numbers) -> None:
        codes = np.zeros(len(indexes), dtype=np.uint8)
        changed = {index: code for (at, index), code in changes.codes.items() if at == number}
        if changed:
            for position in np.flatnonzero(np.isin(indexes, list(changed))):
                codes[position] = changed[int(indexes[position])]
        self.slots.set_issued(number, indexes, leaves, codes)

    def _read_applied(self) -> int:
        path = self._folder / _APPLIED
        if not path.exists():
            return 0
        try:
            return int(parse_json(path.read_bytes())["size"])
        except (MalformedValue, KeyError, TypeError, ValueError) as err:
            raise BookDamaged("applied", 'an object {"size"}', "something else") from err


def entry_columns(data: bytes, count: int) -> npt.NDArray[np.void] | None:
    """Return the columns of an entry bundle in which every entry has the form of a licence's leaf, else None."""
    if len(data) != count * _ENTRY.itemsize:
        return None
    rows = np.frombuffer(data, dtype=_ENTRY)
    fits = (rows["length"] == LICENCE_LEAF_SIZE) & (rows["type_length"] == 21) & (rows["extra_length"] == 0)
    return rows if fits.all() else None


def _hash_key(leaf: Leaf, leaf_hash: bytes) -> bytes:
    return leaf_hash[:8] if leaf.kind in LICENCE_KINDS else _NO_HASH


def _hash_keys(leaf_hashes: bytes) -> bytes:
    return np.frombuffer(leaf_hashes, dtype=np.uint8).reshape(-1, 32)[:, :8].tobytes()
