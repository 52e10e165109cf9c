"""The one writer of a log: idempotent appends in a write order that survives a kill at any point.

The order is the safety argument: (1) the batch is durable in a journal; (2) bundles, evidence, tiles and index are
written; (3) they are durable; (4) the checkpoint is signed and takes the place of the old one; (5) the journal goes;
(6) the caller is answered. Recovery runs the same steps from the journal and comes to the same bytes: a checkpoint has
no time in it, and Ed25519 signatures are deterministic. So a log that was seen with a new checkpoint never forks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ledger.errors import MalformedValue
from ledger.log.batch import (
    NO_KEY,
    Batch,
    Bundle,
    Item,
    cut,
    decode_evidence,
    encode_evidence,
    key_hash,
)
from ledger.log.checkpoint import (
    Checkpoint,
    Quorum,
    sign_checkpoint,
    verify_checkpoint,
    verify_log_checkpoint,
)
from ledger.log.errors import (
    CheckpointMalformed,
    EntryMissing,
    LogClosed,
    LogDamaged,
    LogExists,
    NotAligned,
    NoteMalformed,
    NoteUnverified,
    TileMalformed,
    WrongOrigin,
)
from ledger.log.files import TEMPORARY, Files, storage_errors
from ledger.log.growth import Edges, Growth, grow, read_edges, restore_nodes
from ledger.log.layout import Layout, locked, outgrown_partials, release_lock, take_lock
from ledger.log.notes import NoteKey, NoteSigner, SignedNote
from ledger.log.placement import LeafHashes, place_bundles, place_items
from ledger.log.store import EventIndex
from ledger.log.tiles import (
    NODES_SIZE,
    TILE_WIDTH,
    DirectoryTiles,
    bundle_path,
    read_entry,
    root_at,
    root_of_edges,
    verified_entries,
)
from ledger.log.tree import EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class _Head:
    """What the newest checkpoint says, and what is needed to go on from it."""

    checkpoint: Checkpoint
    note: str
    edges: Edges


def _load_head(at: Layout, reader: DirectoryTiles, key: NoteKey) -> _Head:
    """Read the newest checkpoint and the right edge of its tree, and check one against the other."""
    try:
        note = SignedNote.parse(at.checkpoint.read_bytes())
        checkpoint = verify_log_checkpoint(note, origin=key.name, log_key=key)
        edges = read_edges(reader, checkpoint.size)
    except (NoteMalformed, NoteUnverified, CheckpointMalformed, WrongOrigin) as err:
        raise LogDamaged(f"the checkpoint is torn or altered: {err}") from err
    except (FileNotFoundError, EntryMissing, TileMalformed) as err:
        raise LogDamaged(f"the newest tree is not there: {err}") from err
    if root_of_edges(edges) != checkpoint.root:
        raise LogDamaged(f"the tiles of {checkpoint.size} entries do not have the checkpoint's root")
    _require_no_rollback(at, checkpoint, key)
    return _Head(checkpoint, note.to_text(), edges)


def _require_no_rollback(at: Layout, checkpoint: Checkpoint, key: NoteKey) -> None:
    """Refuse a checkpoint older than the cosigned one: going on from it would fork a tree that witnesses have seen."""
    try:
        cosigned = verify_log_checkpoint(at.cosigned.read_bytes(), origin=key.name, log_key=key)
    except FileNotFoundError:
        return
    except (NoteMalformed, NoteUnverified, CheckpointMalformed, WrongOrigin) as err:
        raise LogDamaged(f"the cosigned checkpoint is torn or altered: {err}") from err
    if cosigned.size > checkpoint.size or (cosigned.size == checkpoint.size and cosigned != checkpoint):
        raise LogDamaged(
            f"the witnesses cosigned {cosigned.size} entries, the checkpoint has {checkpoint.size}: it was rolled back"
        )


class Log:
    """A log that this process, and no other, writes. Methods may be called from any thread."""

    def __init__(self, folder: Path, signer: NoteSigner, *, files: Files, lock: int) -> None:
        """Take over an open lock; use `create` and `open`."""
        self._at = Layout(folder)
        self._signer, self._files, self._lock = signer, files, lock
        self._process = os.getpid()
        self._writing = threading.RLock()
        self._index = EventIndex(self._at.index, files=files)
        self._reader = DirectoryTiles(self._at.public, nodes=self._at.nodes)
        self._head = _load_head(self._at, self._reader, signer.key)
        with storage_errors():
            restore_nodes(self._at.nodes, self._reader, self.size, files=files)
        self._index.open(self.size)

    # --- opening ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, origin: str, signer: NoteSigner, *, files: Files | None = None) -> Log:
        """Create an empty log and open it.

        Args:
            folder: a new or empty folder; `public/` in it is to be served, `private/` is not.
            origin: the log's name for ever, a URL without its scheme.
            signer: its Ed25519 key, of the same name.
            files: the file system.

        Raises:
            LogExists: there is a log in this folder, or what is left of one that the world may have seen.
            LogBusy: another process creates one.
            WrongOrigin: the key has another name than the log.
            StorageFailed: the folder cannot be written.
        """
        if signer.key.name != origin:
            raise WrongOrigin(origin, signer.key.name)
        files = files or Files()
        at = Layout(folder)
        with storage_errors():
            at.make(files)
        with locked(at.lock):
            if at.config.exists():
                raise LogExists(f"there is a log in {folder.name!r} already")
            note = sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), signer)
            with storage_errors():
                if at.checkpoint.exists() and at.checkpoint.read_bytes() != note.encode("utf-8"):
                    raise LogExists(
                        f"there is the checkpoint of a log in {folder.name!r}, without its log.json"
                    )
                files.replace(at.checkpoint, (note.encode("utf-8"),))
                files.sync(())
                at.write_config(files, signer)
        return cls.open(folder, signer, files=files)

    @classmethod
    def open(cls, folder: Path, signer: NoteSigner, *, files: Files | None = None) -> Log:
        """Open a log for writing, and complete the batch that a crash may have interrupted.

        Args:
            folder: as given to `create`.
            signer: the log's key.
            files: the file system.

        Raises:
            EntryMissing: there is no log in this folder.
            LogBusy: another process writes it.
            NoteUnverified: the key is not the log's.
            LogDamaged: its files are torn or contradict each other.
            StorageFailed: what was interrupted cannot be completed.
        """
        at = Layout(folder)
        at.require_config(signer)
        lock = take_lock(at.lock)
        try:
            log = cls(folder, signer, files=files or Files(), lock=lock)
            log._settle()
        except BaseException:
            release_lock(lock)
            raise
        return log

    def close(self) -> None:
        """Let another process write this log."""
        with self._writing:
            self._reader.close()
            self._index.close()
            if self._lock >= 0 and os.getpid() == self._process:
                release_lock(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- reading ---------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Entries under the newest checkpoint."""
        return self._head.checkpoint.size

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint."""
        return self._head.checkpoint

    @property
    def checkpoint_text(self) -> str:
        """The newest checkpoint as a signed note, with the cosignatures that are in."""
        return self._head.note

    @property
    def reader(self) -> DirectoryTiles:
        """The published tiles."""
        return self._reader

    @property
    def public_folder(self) -> Path:
        """What is to be served."""
        return self._at.public

    def cosigned(self) -> str | None:
        """Return the newest checkpoint that a quorum has cosigned, or None."""
        try:
            return self._at.cosigned.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def entry(self, index: int) -> bytes:
        """Return one entry.

        Raises:
            EntryMissing: the log has no such index.
        """
        return read_entry(self._reader, index, self.size)

    def evidence(self, index: int) -> bytes:
        """Return the private evidence beside one entry; empty after its erasure.

        Raises:
            EntryMissing: the log has no such index.
            LogDamaged: the evidence file is torn.
        """
        return self._evidence_of(index)[index % TILE_WIDTH]

    def _evidence_of(self, index: int) -> list[bytes]:
        if not 0 <= index < self.size:
            raise EntryMissing(f"entry {index} in a log of {self.size}")
        n, offset = divmod(index, TILE_WIDTH)
        found = self._read_evidence(n)
        if len(found) <= offset:
            raise LogDamaged(f"evidence bundle {n}: expected over {offset} items, got {len(found)}")
        return found

    def _read_evidence(self, n: int) -> list[bytes]:
        try:
            return decode_evidence(self._at.evidence(n).read_bytes())
        except FileNotFoundError as err:
            raise LogDamaged(f"evidence bundle {n} is not there") from err

    def find(self, event_id: bytes) -> int | None:
        """Return the index of an event, or None."""
        return self._index.find(event_id)

    def lookup(self, key: bytes) -> list[int]:
        """Return the indices that may have this look-up key, ascending; the caller checks each."""
        return self._index.lookup(key)

    # --- appending -------------------------------------------------------------------------------------------

    def append(self, items: Sequence[Item]) -> list[int]:
        """Append entries durably, under one new checkpoint.

        An event id that is logged already with the same entry keeps its index, for ever; its first evidence stays.

        Args:
            items: in the order in which they are to be logged.

        Returns:
            The index of each item.

        Raises:
            EventConflict: an event id is taken by another entry; nothing is written.
            DiskFull: no room; not acknowledged, repeat it later.
            StorageFailed: the operating system refused to write; as for `DiskFull`.
            LogClosed: the log was closed, or is another process's.
        """
        with self._writing:
            self._settle()
            known = self._index.find_many(b"".join(item.event_id for item in items))
            indices, new = place_items(items, known, LeafHashes(self._reader, self.size))
            if new:
                self._commit(cut(new, self.size))
            return indices

    def append_bundles(self, bundles: Sequence[Bundle]) -> list[int]:
        """Append whole bundles of 256 that were prepared elsewhere, under one new checkpoint.

        A bundle that is logged already, as a whole and unchanged, keeps its index.

        Args:
            bundles: of 256 entries each.

        Returns:
            The index of the first entry of each bundle.

        Raises:
            NotAligned: the log ends inside a bundle; fill it with `append` first.
            EventConflict: an event id is taken, and not by a repetition of this bundle; nothing is written.
            MalformedValue: a bundle does not have 256 entries.
            DiskFull: no room; not acknowledged, repeat it later.
            StorageFailed: the operating system refused to write; as for `DiskFull`.
            LogClosed: the log was closed, or is another process's.
        """
        with self._writing:
            self._settle()
            if any(bundle.count != TILE_WIDTH for bundle in bundles):
                raise MalformedValue("bundles", f"{TILE_WIDTH} entries each", "another number")
            if self.size % TILE_WIDTH:
                raise NotAligned(self.size)
            known = self._index.find_many(b"".join(bundle.event_ids for bundle in bundles))
            indices, new = place_bundles(bundles, known, LeafHashes(self._reader, self.size))
            if new:
                self._commit(new)
            return indices

    def _commit(self, bundles: Sequence[Bundle]) -> None:
        batch = Batch(self.size, self._head.checkpoint.root, tuple(bundles))
        with storage_errors():
            self._files.replace(self._at.journal, batch.to_journal())
            self._apply(batch)

    def _settle(self) -> None:
        """Complete the batch that a crash or a full disk interrupted, if there is one; run by every writing call."""
        self._require_lock()
        unfinished = self._at.journal.with_name(self._at.journal.name + TEMPORARY)
        if unfinished.exists():
            with storage_errors():
                self._files.remove(unfinished)  # not a journal yet: nothing of it was written elsewhere
        with storage_errors():
            try:
                journal = self._at.journal.read_bytes()
            except FileNotFoundError:
                return
        batch = Batch.from_journal(journal)
        checkpoint = self._head.checkpoint
        with storage_errors():
            self._files.sync_names(self._at.folder)
            if (batch.base, batch.base_root) == (checkpoint.size, checkpoint.root):
                self._apply(batch)
            elif batch.base + batch.count == checkpoint.size:
                self._finish(batch)
            else:
                raise LogDamaged(f"the journal starts at {batch.base}, the log has {checkpoint.size} entries")

    def _require_lock(self) -> None:
        # a forked process has a copy of this object and not the lock: both would write, and the log would fork
        if self._lock < 0 or os.getpid() != self._process:
            raise LogClosed("this log was closed, or is open in the process that this one was forked from")

    def _apply(self, batch: Batch) -> None:
        """Take steps 2 to 5 of the write order; the same files from the same journal, as often as it takes."""
        head = self._head
        growth = grow(head.edges, batch.base, b"".join(bundle.leaf_hashes for bundle in batch.bundles))
        event_ids = b"".join(bundle.event_ids for bundle in batch.bundles)
        lookups = b"".join(bundle.lookups for bundle in batch.bundles)
        written = self._write_bundles(batch)
        written += self._write_tiles(batch, growth)
        written += self._index.stage(batch.base, event_ids, lookups)
        self._files.sync(written)
        checkpoint = Checkpoint(head.checkpoint.origin, batch.base + batch.count, root_of_edges(growth.edges))
        note = sign_checkpoint(checkpoint, self._signer)
        self._files.replace(self._at.checkpoint, (note.encode("utf-8"),))
        self._index.advance(event_ids, lookups)
        self._head = _Head(checkpoint, note, growth.edges)
        self._finish(batch)

    def _write_tiles(self, batch: Batch, growth: Growth) -> list[Path]:
        for path, data in growth.tiles:
            self._files.write(self._at.public / path, data)
        written = [self._at.public / path for path, _ in growth.tiles]
        if growth.nodes:
            self._files.write_at(self._at.nodes, batch.base // TILE_WIDTH * NODES_SIZE, growth.nodes)
            written.append(self._at.nodes)
        return written

    def _write_bundles(self, batch: Batch) -> list[Path]:
        written: list[Path] = []
        index = batch.base
        for bundle in batch.bundles:
            n, offset = divmod(index, TILE_WIDTH)
            entries = bundle.entries
            evidence = self._at.evidence(n)
            if offset:
                entries = self._reader.bundle(n, offset) + entries
                kept = self._read_evidence(n)[:offset]
                # the only copy of the earlier evidence is in this file, so it is replaced and not overwritten
                self._files.replace(evidence, (encode_evidence([*kept, *decode_evidence(bundle.evidence)]),))
            else:
                self._files.write(evidence, bundle.evidence)
                written.append(evidence)
            path = self._at.public / bundle_path(n, offset + bundle.count)
            self._files.write(path, entries)
            written.append(path)
            index += bundle.count
        return written

    def _finish(self, batch: Batch) -> None:
        """Remove what the new checkpoint makes superfluous."""
        for path in outgrown_partials(batch.base, batch.base + batch.count):
            self._files.remove_folder(self._at.public / path)
        self._files.remove(self._at.journal)
        self._index.maintain()

    # --- afterwards ------------------------------------------------------------------------------------------

    def erase_evidence(self, index: int) -> None:
        """Erase the private evidence beside one entry and its look-up key, durably; the entry itself stays.

        Raises:
            EntryMissing: the log has no such index.
            LogDamaged: the evidence file is torn.
            StorageFailed: the operating system refused to write; the evidence may still be there.
            LogClosed: the log was closed, or is another process's.
        """
        with self._writing:
            self._settle()
            found = self._evidence_of(index)
            found[index % TILE_WIDTH] = b""
            with storage_errors():
                self._index.erase_lookup(index)
                self._files.replace(self._at.evidence(index // TILE_WIDTH), (encode_evidence(found),))
                self._files.sync(())  # the last journal's removal too: it had the evidence in it

    def publish_cosigned(self, note: str, *, quorum: Quorum) -> None:
        """Publish a checkpoint of this log that a quorum has cosigned.

        Args:
            note: the log's checkpoint with cosignatures.
            quorum: the witnesses that count.

        Raises:
            NoteUnverified: the log did not sign it.
            CosignatureMissing: the quorum is not reached; `CosignatureReplayed`, `NoteMalformed`: see
                `verify_checkpoint`.
            LogDamaged: it is signed by this log and contradicts it.
            StorageFailed: the operating system refused to write.
            LogClosed: the log was closed, or is another process's.
        """
        key = self._signer.key
        checkpoint = verify_checkpoint(note, origin=key.name, log_key=key, quorum=quorum).checkpoint
        with self._writing:
            self._settle()  # an interrupted batch may have published a checkpoint that is newer than the one in memory
            if (
                checkpoint.size > self.size
                or root_at(self._reader, checkpoint.size, within=self.size) != checkpoint.root
            ):
                raise LogDamaged(
                    f"a checkpoint of {checkpoint.size} entries, signed by this log, contradicts it"
                )
            with storage_errors():
                if checkpoint == self._head.checkpoint:
                    merged = SignedNote.parse(self._head.note).with_signatures(
                        SignedNote.parse(note).signatures
                    )
                    self._files.replace(self._at.checkpoint, (merged.to_text().encode("utf-8"),))
                    self._head = _Head(checkpoint, merged.to_text(), self._head.edges)
                published = self.cosigned()
                if (
                    published is None
                    or Checkpoint.parse(SignedNote.parse(published).text).size <= checkpoint.size
                ):
                    self._files.replace(self._at.cosigned, (note.encode("utf-8"),))


def rebuild_index(
    folder: Path,
    signer: NoteSigner,
    identify: Callable[[bytes], tuple[bytes, bytes | None]],
    *,
    files: Files | None = None,
) -> None:
    """Write a closed log's index of event ids and look-up keys again, from its entries, in flat memory.

    Args:
        folder: of the log.
        signer: its key.
        identify: gives an entry's event id (16 bytes) and its look-up key, if it has one.
        files: the file system.

    Raises:
        LogBusy: the log is open.
        LogDamaged: its checkpoint is torn.
        EntryMissing, TileMalformed, ProofInvalid: see `verified_entries`.
        StorageFailed: the operating system refused to write.
    """
    files = files or Files()
    at = Layout(folder)
    at.require_config(signer)
    reader = DirectoryTiles(at.public)
    with locked(at.lock), storage_errors():
        checkpoint = _load_head(at, reader, signer.key).checkpoint
        for old in at.index.rglob("*"):
            if old.is_file():
                files.remove(old)
        index = EventIndex(at.index, files=files)
        written = index.stage(0, b"", b"")
        for first, entries in verified_entries(reader, checkpoint.size, checkpoint.root):
            keys = [identify(entry) for entry in entries]
            lookups = b"".join(NO_KEY if key is None else key_hash(key) for _, key in keys)
            index.stage(first, b"".join(event_id for event_id, _ in keys), lookups)
        files.sync(written)
