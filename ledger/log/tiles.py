"""The published form of a log: tiles of 256 hashes and bundles of 256 entries, and proofs read from them."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ledger.log.errors import EntryMissing, EntryTooLong, ProofInvalid, StorageFailed, TileMalformed
from ledger.log.tree import (
    EMPTY_ROOT,
    HASH_SIZE,
    consistency_proof_from,
    fold_right,
    hash_leaves,
    inclusion_proof_from,
    parents,
    perfect_subtrees,
    range_root,
    subtree_roots,
)

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE
ENTRY_SIZE_MAX: Final = (1 << 16) - 1
BUNDLE_SIZE_MAX: Final = TILE_WIDTH * (2 + ENTRY_SIZE_MAX)
LEVEL_MAX: Final = 63
NODES_HEIGHT: Final = (
    4  # the lowest of the inner heights 4 to 7 that the writer keeps for each full tile of leaves
)
NODES_SIZE: Final = (16 + 8 + 4 + 2) * HASH_SIZE
_LEAF_TILES_KEPT: Final = 1024  # of up to 16 KB each
_UPPER_TILES_KEPT: Final = 2048
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)((?:/x[0-9]{3}){0,6})/([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)  # seven groups are more than the tiles of 2^63 entries need


def index_path(n: int) -> str:
    """Return a tile's index in path form: 1234067 is `x001/x234/067`. Source: C2SP tlog-tiles, Merkle Tree."""
    path = f"{n % 1000:03d}"
    while n >= 1000:
        n //= 1000
        path = f"x{n % 1000:03d}/{path}"
    return path


def tile_path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """Return the path of tile `n` of a level, below the log's prefix; a partial tile's carries its width."""
    return f"tile/{level}/{index_path(n)}" + ("" if width == TILE_WIDTH else f".p/{width}")


def bundle_path(n: int, width: int = TILE_WIDTH) -> str:
    """Return the path of entry bundle `n`, below the log's prefix."""
    return f"tile/entries/{index_path(n)}" + ("" if width == TILE_WIDTH else f".p/{width}")


@dataclass(frozen=True, slots=True)
class TileName:
    """What a tile's path names; `level` is None for an entry bundle."""

    level: int | None
    n: int
    width: int


def parse_tile_path(path: str) -> TileName:
    """Read a tile's or bundle's path, in its one canonical form.

    Raises:
        TileMalformed: any other form.
    """
    match = _PATH.fullmatch(path)
    if match:
        level = None if match[1] == "entries" else int(match[1])
        n = int(match[2].replace("/x", "") + match[3])
        width = TILE_WIDTH if match[4] is None else int(match[4])
        name = TileName(level, n, width)
        canonical = bundle_path(n, width) if level is None else tile_path(level, n, width)
        if canonical == path and width <= TILE_WIDTH and (level is None or level <= LEVEL_MAX):
            return name
    shown = path[:80].encode("utf-8", "replace").decode("utf-8")  # it may hold lone surrogates
    raise TileMalformed(shown, "a canonical tile path", "another form")


def tile_width(level: int, n: int, size: int) -> int:
    """Return how many hashes tile `n` of a level has in a tree of `size`; 0 if it is not in the tree."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries one after the other, each with its length in two bytes, big-endian.

    Raises:
        EntryTooLong: an entry has more than 65,535 bytes.
    """
    for entry in entries:
        if len(entry) > ENTRY_SIZE_MAX:
            raise EntryTooLong("entry", ENTRY_SIZE_MAX, len(entry))
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def decode_bundle(data: bytes, width: int, path: str = "entry bundle") -> list[bytes]:
    """Read a bundle of exactly `width` entries.

    Raises:
        TileMalformed: a torn entry, fewer entries, or bytes beyond the last.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(entries) != width:
        raise TileMalformed(
            path, f"{width} whole entries", f"{len(entries)}, ending at {at} of {len(data)} bytes"
        )
    return entries


def bundle_prefix(data: bytes, width: int, path: str = "entry bundle") -> bytes:
    """Return the bytes of a bundle's first `width` entries.

    Raises:
        TileMalformed: it has fewer.
    """
    at = 0
    for _ in range(width):
        if at + 2 > len(data):
            raise TileMalformed(path, f"at least {width} entries", "fewer")
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    if at > len(data):
        raise TileMalformed(path, "whole entries", "a torn one")
    return data[:at]


# --- tiles with their inner nodes ------------------------------------------------------------------------


class ExpandedTile:
    """A tile with the perfect subtrees inside it."""

    __slots__ = ("_heights", "width")

    def __init__(self, hashes: bytes, upper: bytes = b"") -> None:
        """Hash up a tile.

        Args:
            hashes: of the tile, 32 bytes each.
            upper: the inner nodes of heights 4 to 7 where they are known already (`NODES_SIZE` bytes); the few nodes
                below them that a proof needs are then hashed when they are asked for.
        """
        self.width = len(hashes) // HASH_SIZE
        self._heights: list[bytes] = [hashes]
        if upper:
            self._heights += [b""] * (NODES_HEIGHT - 1)
            at = 0
            for height in range(NODES_HEIGHT, TILE_HEIGHT):
                end = at + (TILE_SIZE >> height)
                self._heights.append(upper[at:end])
                at = end
            return
        while len(self._heights) < TILE_HEIGHT and len(self._heights[-1]) >= 2 * HASH_SIZE:
            below = self._heights[-1]
            self._heights.append(parents(below[: len(below) // (2 * HASH_SIZE) * (2 * HASH_SIZE)]))

    def node(self, height: int, offset: int) -> bytes:
        """Return the root of the perfect subtree `offset` of a height below 8."""
        known = self._heights[height]
        if known:
            return known[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]
        size = HASH_SIZE << height
        return subtree_roots(self._heights[0][offset * size : (offset + 1) * size], height)


class TileReader(Protocol):
    """Where tiles and bundles are read from."""

    def hashes(self, level: int, n: int, width: int) -> bytes:
        """Return the hashes of a tile as published, at least the first `width`.

        Raises:
            EntryMissing: it is not there.
            TileMalformed: it has another size than its name says.
        """

    def tile(self, level: int, n: int, width: int) -> ExpandedTile:
        """Return a tile with at least its first `width` hashes.

        Raises:
            EntryMissing: it is not there.
            TileMalformed: it has another size than its name says.
        """

    def bundle(self, n: int, width: int) -> bytes:
        """Return the bytes of a bundle's first `width` entries.

        Raises:
            EntryMissing: it is not there.
            TileMalformed: it has other entries than its name says.
        """


class CachedTiles:
    """A reader that keeps recent tiles expanded; a partial tile that is gone is read from the full one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leaf: OrderedDict[tuple[int, int], ExpandedTile] = OrderedDict()
        self._upper: OrderedDict[tuple[int, int], ExpandedTile] = OrderedDict()

    def _fetch(self, path: str, size_max: int) -> bytes:
        """Return a resource below the log's prefix, of at most `size_max` bytes.

        Raises:
            EntryMissing: it is not there.
        """
        raise EntryMissing(path)

    def _inner_nodes(self, n: int) -> bytes:
        """Return the inner nodes of full leaf tile `n` where they are kept, else nothing."""
        return b""

    def tile(self, level: int, n: int, width: int) -> ExpandedTile:
        """Return a tile with at least its first `width` hashes; see `TileReader`."""
        kept, bound = (self._upper, _UPPER_TILES_KEPT) if level else (self._leaf, _LEAF_TILES_KEPT)
        with self._lock:
            tile = kept.get((level, n))
            if tile is not None and tile.width >= width:
                kept.move_to_end((level, n))
                return tile
        hashes, upper = self.hashes(level, n, width), b""
        if len(hashes) == TILE_SIZE and level == 0:
            upper = self._inner_nodes(n)
        tile = ExpandedTile(hashes, upper)
        with self._lock:
            kept[level, n] = tile
            if len(kept) > bound:
                kept.popitem(last=False)
        return tile

    def hashes(self, level: int, n: int, width: int) -> bytes:
        """Return the hashes of a tile as published, at least the first `width`; not cached.

        Raises:
            EntryMissing: it is not there.
            TileMalformed: it has another size than its name says.
        """
        path = tile_path(level, n, width)
        found = width
        try:
            data = self._fetch(path, TILE_SIZE)
        except EntryMissing:
            if width == TILE_WIDTH:
                raise
            path, found = tile_path(level, n), TILE_WIDTH
            data = self._fetch(path, TILE_SIZE)
        if len(data) != found * HASH_SIZE:
            raise TileMalformed(path, f"{found * HASH_SIZE} bytes", f"{len(data)} bytes")
        return data

    def bundle(self, n: int, width: int) -> bytes:
        """Return the bytes of a bundle's first `width` entries; see `TileReader`."""
        try:
            return self._fetch(bundle_path(n, width), BUNDLE_SIZE_MAX)
        except EntryMissing:
            if width == TILE_WIDTH:
                raise
            return bundle_prefix(self._fetch(bundle_path(n), BUNDLE_SIZE_MAX), width, bundle_path(n))


class DirectoryTiles(CachedTiles):
    """The tiles of a published folder."""

    def __init__(self, folder: Path, *, nodes: Path | None = None) -> None:
        """Read from a folder.

        Args:
            folder: the log's prefix, with `tile/` in it.
            nodes: the writer's file of inner nodes, which saves most of a proof's hashing; never needed.
        """
        super().__init__()
        self._folder = os.fspath(folder)
        self._nodes_path = nodes
        self._nodes: int | None = None

    def close(self) -> None:
        """Close the file of inner nodes."""
        if self._nodes is not None:
            os.close(self._nodes)
            self._nodes = None

    def _fetch(self, path: str, size_max: int) -> bytes:
        try:
            # not blocking: in a folder that came from somebody else a pipe may stand where a tile belongs
            descriptor = os.open(f"{self._folder}/{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise TileMalformed(path, "a file", "something else")
                data = os.pread(descriptor, size_max + 1, 0)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError) as err:
            raise EntryMissing(path) from err
        except OSError as err:
            raise StorageFailed(f"{path} cannot be read: {err.strerror}") from err
        if len(data) > size_max:
            raise TileMalformed(path, f"at most {size_max} bytes", "more")
        return data

    def _inner_nodes(self, n: int) -> bytes:
        if self._nodes is None:
            if self._nodes_path is None:
                return b""
            with self._lock:
                if self._nodes is None:
                    self._nodes = os.open(self._nodes_path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._nodes, NODES_SIZE, n * NODES_SIZE)
        return data if len(data) == NODES_SIZE else b""


# --- proofs ----------------------------------------------------------------------------------------------


class _TreeInTiles:
    """The perfect subtrees of a tree of `size`, read from tiles; for one proof, which meets a tile many times."""

    __slots__ = ("_reader", "_size", "_tiles")

    def __init__(self, reader: TileReader, size: int) -> None:
        self._reader, self._size = reader, size
        self._tiles: dict[tuple[int, int], ExpandedTile] = {}

    def subtree(self, height: int, index: int) -> bytes:
        level, inner = height >> 3, height & 7
        n = index >> (TILE_HEIGHT - inner)
        tile = self._tiles.get((level, n))
        if tile is None:
            tile = self._tiles[level, n] = self._reader.tile(level, n, tile_width(level, n, self._size))
        return tile.node(inner, index & ((TILE_WIDTH >> inner) - 1))


def inclusion_proof(reader: TileReader, index: int, size: int) -> list[bytes]:
    """Return the inclusion proof of an entry in the tree of `size`, from its tiles.

    Raises:
        EntryMissing: the index is not in the tree, or a tile is not there.
        TileMalformed: a tile has another size than its name says.
    """
    return inclusion_proof_from(_TreeInTiles(reader, size).subtree, index, size)


def consistency_proof(reader: TileReader, size1: int, size2: int) -> list[bytes]:
    """Return the proof that the tree of `size1` is a prefix of the tree of `size2`, from its tiles.

    Raises:
        EntryMissing: the sizes are not 0 ≤ size1 ≤ size2, or a tile is not there.
        TileMalformed: a tile has another size than its name says.
    """
    return consistency_proof_from(_TreeInTiles(reader, size2).subtree, size1, size2)


def root_at(reader: TileReader, size: int, *, within: int | None = None) -> bytes:
    """Return the root of the tree of `size`, from its tiles.

    Args:
        reader: the tiles.
        size: of the tree.
        within: a later size whose tiles are to be read, when `size` itself was never published.

    Raises:
        EntryMissing: a tile is not there.
        TileMalformed: a tile has another size than its name says.
    """
    return range_root(_TreeInTiles(reader, size if within is None else within).subtree, 0, size)


def read_entry(reader: TileReader, index: int, size: int) -> bytes:
    """Return one entry.

    Raises:
        EntryMissing: the index is not in the tree, or its bundle is not there.
        TileMalformed: the bundle is not what its name says.
    """
    if not 0 <= index < size:
        raise EntryMissing(f"entry {index} in a tree of {size}")
    n, offset = divmod(index, TILE_WIDTH)
    width = tile_width(0, n, size)
    return decode_bundle(reader.bundle(n, width), width, bundle_path(n, width))[offset]


# --- reading the whole log -------------------------------------------------------------------------------


def root_of_edges(edges: Sequence[bytes]) -> bytes:
    """Return the root of a tree from its right edge."""
    roots: list[bytes] = []
    for hashes in reversed(edges):
        tile = ExpandedTile(hashes)
        roots += [tile.node(height, index) for height, index in perfect_subtrees(0, tile.width)]
    return fold_right(roots) if roots else EMPTY_ROOT


class _TileCheck:
    """Rebuilds all levels from the leaves, a tile of each level in memory, and compares them with the published."""

    def __init__(self, reader: TileReader, size: int) -> None:
        self._reader, self._size = reader, size
        self._pending: list[bytes] = []

    def add(self, level: int, n: int, hashes: bytes) -> None:
        """Take the hashes of the next tile of a level.

        Raises:
            TileMalformed: the published tile has others.
        """
        width = len(hashes) // HASH_SIZE
        if self._reader.hashes(level, n, width)[: len(hashes)] != hashes:
            raise TileMalformed(tile_path(level, n, width), "the hashes of what is below it", "others")
        while len(self._pending) <= level + 1:
            self._pending.append(b"")
        self._pending[level] = hashes if width < TILE_WIDTH else b""
        if width == TILE_WIDTH:
            above = self._pending[level + 1] + subtree_roots(hashes, TILE_HEIGHT)
            self._pending[level + 1] = above
            if len(above) == TILE_SIZE:
                self.add(level + 1, n // TILE_WIDTH, above)

    def finish(self, root: bytes) -> None:
        """Compare the partial tiles above the leaves, and the root.

        Raises:
            TileMalformed: a published tile has other hashes.
            ProofInvalid: the leaves have another root.
        """
        for level, hashes in enumerate(self._pending):
            if level and hashes:
                self.add(level, self._size >> (TILE_HEIGHT * (level + 1)), hashes)
        if root_of_edges(self._pending) != root:
            raise ProofInvalid(f"the {self._size} entries have another root than the checkpoint")


def verified_entries(reader: TileReader, size: int, root: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Read the whole log in order, in flat memory, and verify entries, every tile and the root.

    The root is compared last: what was yielded is to be believed only when the iteration has ended without an error.

    Args:
        reader: the published tiles.
        size: of the verified checkpoint.
        root: of the verified checkpoint.

    Returns:
        An iterator over (index of the first entry, up to 256 entries).

    Raises:
        EntryMissing: a tile or bundle is not there.
        TileMalformed: one is not what is below it, or not what its name says.
        ProofInvalid: the entries have another root.
    """
    check = _TileCheck(reader, size)
    for n in range(-(-size // TILE_WIDTH)):
        width = tile_width(0, n, size)
        entries = decode_bundle(reader.bundle(n, width), width, bundle_path(n, width))
        check.add(0, n, hash_leaves(entries))
        yield n * TILE_WIDTH, entries
    check.finish(root)
