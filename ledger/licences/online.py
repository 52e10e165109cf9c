"""The facts of an online check: the log's own files, opened with the same keys as a bundle's, once for each cosigned checkpoint.

Inclusion is checked against tiles that were themselves checked against the checkpoint: a full tile never changes, so it is checked once.
"""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.database import make_engine
from ledger.licences.bundle import Inclusion, StatusPart
from ledger.licences.errors import FactsMissing
from ledger.licences.facts import (
    CheckpointFact,
    Facts,
    Refused,
    StatusFact,
    open_checkpoint,
    open_issuer,
    open_status,
)
from ledger.licences.issuers import IssuerHistory
from ledger.licences.layout import BookFolder, FileVersion, file_version
from ledger.licences.policy import City
from ledger.licences.sdjwt import Presented
from ledger.licences.slots import SlotFiles
from ledger.licences.status import parse_status_token
from ledger.licences.store import BookStore
from ledger.log.layout import Layout
from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, TileReader, inclusion_proof
from ledger.log.tree import root_of, verify_inclusion

TILES_MAX: Final = 4096  # 8 KB each
HASH_SIZE: Final = 32


class CheckedTiles:
    """Leaf hashes of the log, by index, each out of a tile that was checked against a checkpoint. For one thread.

    Args:
        reader: of the log's tiles.
        tiles_max: full tiles that are kept.
    """

    def __init__(self, reader: TileReader, *, tiles_max: int = TILES_MAX) -> None:
        self._reader, self._tiles_max = reader, tiles_max
        self._full: OrderedDict[int, bytes] = OrderedDict()
        self._partial: tuple[int, bytes, bytes] = (-1, b"", b"")  # tree size, root, hashes

    def leaf_hash(self, index: int, size: int, root: bytes) -> bytes:
        """Return the leaf hash at an index of the tree with this size and root.

        Raises:
            LogError: a tile is missing, or does not lead to the root.
        """
        n, offset = divmod(index, TILE_WIDTH)
        if (n + 1) * TILE_WIDTH <= size:
            hashes = self._full.get(n)
            if hashes is None:
                hashes = self._checked(n, TILE_WIDTH, size, root)
                self._full[n] = hashes
                if len(self._full) > self._tiles_max:
                    self._full.popitem(last=False)
        else:
            if self._partial[:2] != (size, root):
                self._partial = (size, root, self._checked(n, size - n * TILE_WIDTH, size, root))
            hashes = self._partial[2]
        return hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]

    def _checked(self, n: int, width: int, size: int, root: bytes) -> bytes:
        """Return a tile's hashes after checking that its root is in the tree.

        A tree over `size` leaves is a tree over its tiles' roots, so the way up from a tile's root is the way up from its first leaf
        without the steps inside the tile.
        """
        hashes = self._reader.hashes(0, n, width)[: width * HASH_SIZE]
        inside = (width - 1).bit_length()
        path = inclusion_proof(self._reader, n * TILE_WIDTH, size)[inside:]
        verify_inclusion(root_of(hashes), n, -(-size // TILE_WIDTH), path, root)
        return hashes


@dataclass(frozen=True, slots=True)
class LocalCheckpoint(CheckpointFact):
    """A cosigned checkpoint of the log whose files are here: what a proof's path would show, checked tiles show."""

    tiles: CheckedTiles

    def includes(self, leaf_hash: bytes, place: Inclusion) -> bool:
        """Say whether a leaf stands at an index. The path is not looked at."""
        if not 0 <= place.index < self.checkpoint.size:
            return False
        found = self.tiles.leaf_hash(place.index, self.checkpoint.size, self.checkpoint.root)
        return hmac.compare_digest(found, leaf_hash)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was opened for one cosigned checkpoint."""

    checkpoint: LocalCheckpoint
    statuses: Mapping[int, StatusFact | Refused]
    issuers: Mapping[str, IssuerHistory | Refused]


class OnlineFacts:
    """Opens the facts of one book from its files alone, so that any number of processes may. `refresh` in any thread, `facts` in one.

    Args:
        root: the book's folder.
        city: the log's own city as a verifier knows it.
    """

    def __init__(self, root: Path, city: City) -> None:
        self._folder, self._city = BookFolder(root), city
        self._layout = Layout(self._folder.log)
        self._engine = make_engine(f"sqlite:///{self._folder.database}")
        self._store = BookStore(self._engine)
        self._tiles = CheckedTiles(DirectoryTiles(self._layout.public, nodes=self._layout.nodes))
        self._slots = SlotFiles(self._folder.slots, writable=False)
        self._tokens: dict[bytes, StatusFact | Refused] = {}
        self._histories: dict[str, tuple[FileVersion, IssuerHistory | Refused]] = {}
        self._seen: FileVersion | None = None
        self._refreshing = threading.Lock()
        self._snapshot: Snapshot | None = None

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def refresh(self) -> None:
        """Open what the newest cosigned checkpoint, the status lists and the issuers' histories have; cheap if nothing is new.

        Raises:
            LedgerError: a file of the log or the book is missing or damaged.
        """
        with self._refreshing:
            version = file_version(self._layout.cosigned)
            if version is None:
                return
            known = self._snapshot
            if known is None or version != self._seen:
                checkpoint = self._checkpoint()
                known = Snapshot(checkpoint, self._statuses(checkpoint.checkpoint.size), {})
            self._snapshot = Snapshot(known.checkpoint, known.statuses, self._issuers())
            self._seen = version

    def _checkpoint(self) -> LocalCheckpoint:
        opened = open_checkpoint(self._layout.cosigned.read_text(encoding="utf-8"), self._city)
        if isinstance(opened, Refused):
            raise FactsMissing(f"a cosigned checkpoint that verifies ({opened.reason})")
        return LocalCheckpoint(opened.checkpoint, opened.cosigned_at, opened.threshold, self._tiles)

    def _statuses(self, size: int) -> dict[int, StatusFact | Refused]:
        found, kept = {}, {}
        for row in self._store.newest_statuses(size):
            fact = self._tokens.get(row.token)
            if fact is None:
                text = self._folder.archived_token(row.token).read_text(encoding="ascii")
                fact = open_status(StatusPart(text, Inclusion(row.log_index, ())), self._city)
                if not isinstance(fact, Refused):
                    bits = parse_status_token(text).bits()
                    fact = StatusFact(fact.claims, fact.leaf_hash, fact.inclusion, bits.get)
            found[row.number] = kept[row.token] = fact
        self._tokens = kept
        return found

    def _issuers(self) -> dict[str, IssuerHistory | Refused]:
        for path in (self._folder.public / "issuers").glob("*.jwt"):
            known, version = self._histories.get(path.stem), file_version(path)
            if version is not None and (known is None or known[0] != version):
                self._histories[path.stem] = (
                    version,
                    open_issuer(path.read_text(encoding="ascii"), self._city),
                )
        return {uscc: fact for uscc, (_, fact) in self._histories.items()}

    def facts(self, presented: Presented) -> Facts:
        """Return the facts about a presentation."""
        snapshot, claims = self._snapshot, presented.claims
        if snapshot is None or claims.origin != self._city.origin:
            known = self._city if claims.origin == self._city.origin else None
            return Facts(presented=presented, origin=claims.origin, city=known)
        index = self._slots.get(claims.list, claims.index).leaf
        if index is not None and index >= snapshot.checkpoint.checkpoint.size:
            index = None
        return Facts(
            presented=presented,
            origin=claims.origin,
            city=self._city,
            checkpoint=snapshot.checkpoint,
            inclusion=None if index is None else Inclusion(index, ()),
            issuer=snapshot.issuers.get(claims.issuer),
            status=snapshot.statuses.get(claims.list),
        )
