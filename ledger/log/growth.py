"""Which tiles a growing tree gains: the pure part of an append."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.log.files import Files
from ledger.log.tiles import (
    NODES_HEIGHT,
    NODES_SIZE,
    TILE_HEIGHT,
    TILE_SIZE,
    TILE_WIDTH,
    CachedTiles,
    tile_path,
    tile_width,
)
from ledger.log.tree import HASH_SIZE, level_above, split_hashes

Edges = tuple[bytes, ...]  # the hashes of the partial tile of each level: all that a tree needs to grow


@dataclass(frozen=True, slots=True)
class Growth:
    """What an append adds.

    `tiles` are the new tiles by path, `edges` the new right edge, `nodes` the inner nodes of the leaf tiles that
    became full.
    """

    tiles: tuple[tuple[str, bytes], ...]
    edges: Edges
    nodes: bytes


def _tile_roots(hashes: bytes) -> tuple[bytes, bytes]:
    """Return the roots of full tiles, and their inner nodes of heights 4 to 7, tile by tile."""
    kept: list[bytes] = []
    tiles = len(hashes) // TILE_SIZE
    level_hashes = split_hashes(hashes)
    for height in range(1, TILE_HEIGHT + 1):
        level_hashes = level_above(level_hashes)
        if NODES_HEIGHT <= height < TILE_HEIGHT:
            kept.append(b"".join(level_hashes))
    nodes = []
    for n in range(tiles):
        for level in kept:
            width = len(level) // tiles
            nodes.append(level[n * width : (n + 1) * width])
    return b"".join(level_hashes), b"".join(nodes)


def grow(edges: Edges, size: int, leaf_hashes: bytes) -> Growth:
    """Return what a tree of `size` with this right edge gains by more leaves.

    A partial tile that does not change is published already and is not among the new tiles.
    """
    tiles: list[tuple[str, bytes]] = []
    new_edges: list[bytes] = []
    nodes = b""
    added, level = leaf_hashes, 0
    while added or level < len(edges):
        old = edges[level] if level < len(edges) else b""
        first = size >> (TILE_HEIGHT * (level + 1))
        hashes = old + added
        full = len(hashes) // TILE_SIZE
        for k in range(full):
            tiles.append((tile_path(level, first + k), hashes[k * TILE_SIZE : (k + 1) * TILE_SIZE]))
        rest = hashes[full * TILE_SIZE :]
        if rest and added:
            tiles.append((tile_path(level, first + full, len(rest) // HASH_SIZE), rest))
        new_edges.append(rest)
        added, inner = _tile_roots(hashes[: full * TILE_SIZE])
        nodes = inner if level == 0 else nodes
        level += 1
    return Growth(tuple(tiles), tuple(new_edges), nodes)


def read_edges(reader: CachedTiles, size: int) -> Edges:
    """Read the right edge of the tree of `size` from its tiles.

    Raises:
        EntryMissing: a tile is not there.
        TileMalformed: a tile has another size than its name says.
    """
    edges: list[bytes] = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        n = size >> (TILE_HEIGHT * (level + 1))
        width = tile_width(level, n, size)
        edges.append(reader.hashes(level, n, width)[: width * HASH_SIZE] if width else b"")
        level += 1
    return tuple(edges)


def restore_nodes(path: Path, reader: CachedTiles, size: int, *, files: Files) -> None:
    """Write the file of inner nodes again from the tiles if it is not whole, as after a restored backup.

    Raises:
        OSError: as the operating system says.
        EntryMissing: a tile is not there.
        TileMalformed: a tile has another size than its name says.
    """
    full = size // TILE_WIDTH
    if path.exists() and path.stat().st_size >= full * NODES_SIZE:
        return
    nodes = (_tile_roots(reader.hashes(0, n, TILE_WIDTH))[1] for n in range(full))
    files.replace_pieces(path, ((n * NODES_SIZE, data) for n, data in enumerate(nodes)))
