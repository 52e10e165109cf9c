"""Bundles of licences, put together from the log's own files.

Reads files alone, so any number of processes may serve while one writes. Checkpoint, tokens and histories are opened once for all
licences; what is left for one licence is a look into the slot files and a proof from the tiles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.database import make_engine
from ledger.licences import attest
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.encoding import parse_canonical
from ledger.licences.errors import BookDamaged, FactsMissing
from ledger.licences.layout import BookFolder, FileVersion, file_version
from ledger.licences.sdjwt import Presented, parse
from ledger.licences.slots import SlotFiles
from ledger.licences.store import BookStore, StatusRow
from ledger.log.batch import decode_evidence
from ledger.log.checkpoint import Checkpoint, Quorum, with_bare_quorum
from ledger.log.errors import EntryMissing
from ledger.log.layout import Layout
from ledger.log.notes import SignedNote
from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, inclusion_proof

LOOK_EVERY_S: Final = 0.25
_ANCHOR_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _History:
    path: Path
    version: FileVersion
    text: str


class _View:
    """One cosigned checkpoint, with the status tokens that are in it and, where it was anchored, the evidence."""

    def __init__(self, note: str, rows: Mapping[int, StatusRow], anchor: Mapping[str, Any] | None) -> None:
        self.note, self.rows, self.anchor = note, rows, anchor
        self.checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
        self.statuses: dict[int, StatusPart] = {}


class BundleMaker:
    """Makes bundles of one log's licences. Safe to share between threads.

    Args:
        root: the book's folder.
        database_url: where the book's tables are; by default SQLite in the folder.
        look_every_s: how often the files are looked at for a newer checkpoint.
        quorum: of the verifiers for whom the bundles are: no more of its signatures are put in than it needs. By default all are.
    """

    def __init__(
        self,
        root: Path,
        *,
        database_url: str | None = None,
        look_every_s: float = LOOK_EVERY_S,
        quorum: Quorum | None = None,
    ) -> None:
        self._folder = BookFolder(root)
        self._layout = Layout(self._folder.log)
        self._store = BookStore(make_engine(database_url or f"sqlite:///{self._folder.database}"))
        self._tiles = DirectoryTiles(self._layout.public, nodes=self._layout.nodes)
        self._slots = SlotFiles(self._folder.slots, writable=False)
        self._quorum = quorum
        self._look_every_s, self._looked_at = look_every_s, -look_every_s
        self._lock = threading.Lock()
        self._version: FileVersion | None = None
        self._newest: _View | None = None
        self._anchored: _View | None = None
        self._histories: dict[str, _History] = {}

    # --- for callers -------------------------------------------------------------------------------------

    def bundle_of(
        self, credential: str, *, anchored: bool = False, recognition: RecognitionPart | None = None
    ) -> Bundle:
        """Put the bundle of a licence together. What is not published yet is absent.

        Args:
            credential: an SD-JWT, or SD-JWT+KB; it is not verified.
            anchored: use the newest anchored checkpoint, if the licence is in it, instead of the newest of all.
            recognition: of this log by the verifier's city, where that is another one.

        Raises:
            LicenceError: the credential is malformed.
            FactsMissing: no checkpoint of this log is cosigned yet.
            LogError, DatabaseError: a file is missing or damaged.
        """
        presented = parse(credential)
        view, index = self._view_for(presented, anchored=anchored)
        history = self._history(presented.claims.issuer)
        status = self._status(view, presented.claims.list)
        return Bundle(
            credential=credential,
            origin=view.checkpoint.origin,
            checkpoint=view.note,
            inclusion=self._inclusion(view, index),
            issuer=None if history is None else history.text,
            status=status,
            anchor=view.anchor,
            recognition=recognition,
        )

    def recognition_of(self, origin: str) -> RecognitionPart | None:
        """Return why this city vouches for another log, for bundles of that log; None if it does not.

        Raises:
            FactsMissing: no checkpoint of this log is cosigned yet.
            LogError, DatabaseError: a file is missing or damaged.
        """
        view = self._look()
        size = view.checkpoint.size
        indexes = [index for index, named, _ in self._store.city_rows() if named == origin and index < size]
        if not indexes:
            return None
        place = self._inclusion(view, indexes[-1])
        if place is None:
            return None
        kept = decode_evidence(self._layout.evidence(place.index // TILE_WIDTH).read_bytes())
        return RecognitionPart(kept[place.index % TILE_WIDTH].decode("ascii"), view.note, place)

    # --- views -------------------------------------------------------------------------------------------

    def _view_for(self, presented: Presented, *, anchored: bool) -> tuple[_View, int | None]:
        view = self._look()
        # another credential in that slot can never be logged, so this index contradicts it, online and offline alike
        index = self._slots.get(presented.claims.list, presented.claims.index).leaf
        older = self._anchored
        if anchored and older is not None and index is not None and index < older.checkpoint.size:
            view = older
        if index is not None and index >= view.checkpoint.size:
            index = None
        return view, index

    def _look(self) -> _View:
        """Return the newest cosigned checkpoint's view, having looked at its file lately."""
        now = time.monotonic()
        if self._newest is None or now - self._looked_at >= self._look_every_s:
            with self._lock:
                if self._newest is None or now - self._looked_at >= self._look_every_s:
                    self._open_newest()
                    self._looked_at = now
        if self._newest is None:
            raise FactsMissing("a cosigned checkpoint")
        return self._newest

    def _open_newest(self) -> None:
        version = file_version(self._layout.cosigned)
        if version is not None and version != self._version:
            self._newest = self._view(self._layout.cosigned.read_text(encoding="utf-8"), None)
            self._version = version
        row = self._store.newest_anchor(with_evidence=True)
        known = None if self._anchored is None else self._anchored.checkpoint.size
        if row is not None and row.evidence is not None and row.size != known:
            evidence = parse_canonical(row.evidence.encode(), "anchor", size_max=_ANCHOR_MAX)
            self._anchored = self._view(row.checkpoint, evidence)

    def _view(self, text: str, anchor: Mapping[str, Any] | None) -> _View:
        note = SignedNote.parse(text)
        size = Checkpoint.parse(note.text).size
        rows = {row.number: row for row in self._store.newest_statuses(size)}
        if self._quorum is not None:
            text = with_bare_quorum(note, self._quorum).to_text()
            anchor = None if anchor is None else attest.with_bare_quorum(anchor, self._quorum)
        return _View(text, rows, anchor)

    # --- parts -------------------------------------------------------------------------------------------

    def _inclusion(self, view: _View, index: int | None) -> Inclusion | None:
        if index is None:
            return None
        return Inclusion(index, tuple(inclusion_proof(self._tiles, index, view.checkpoint.size)))

    def _status(self, view: _View, number: int) -> StatusPart | None:
        if number in view.statuses:
            return view.statuses[number]
        row = view.rows.get(number)
        if row is None:  # not kept: anybody may ask for any number, and a view would grow with each
            return None
        found = view.statuses[number] = self._open_status(view, row)
        return found

    def _open_status(self, view: _View, row: StatusRow) -> StatusPart:
        path = self._folder.archived_token(row.token)
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError as err:
            raise BookDamaged(path.name, "an archived status token", "none") from err
        place = self._inclusion(view, row.log_index)
        if place is None:
            raise EntryMissing(f"entry {row.log_index}")
        return StatusPart(text, place)

    def _history(self, issuer: str) -> _History | None:
        known = self._histories.get(issuer)
        path = self._folder.history(issuer) if known is None else known.path
        version = file_version(path)
        if version is None or (known is not None and known.version == version):
            return known
        text = path.read_text(encoding="ascii")
        found = self._histories[issuer] = _History(path, version, text)
        return found
