"""The tree above the chunks: upper tiles, and the root at every wanted size, from the chunks' roots in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledger.log.tiles import TILE_HEIGHT, TILE_WIDTH, DirectoryTiles
from ledger.log.tree import EMPTY_ROOT, HASH_SIZE, Frontier, fold_right, subtree_roots
from ledger.replay.findings import Difference
from ledger.replay.scan import CHUNK_HEIGHT, ChunkScan, ScanPlan, check_tile

_FIRST_LEVEL: Final = CHUNK_HEIGHT // TILE_HEIGHT  # of the tiles whose hashes are roots of chunks


@dataclass(slots=True)
class UpperTree:
    """Takes the chunks' roots in order.

    Args:
        plan: of the replay.
    """

    plan: ScanPlan
    roots: dict[int, bytes] = field(default_factory=dict)
    _frontier: Frontier = field(default_factory=Frontier)
    _chunk_roots: bytearray = field(default_factory=bytearray)

    def add(self, scan: ChunkScan) -> None:
        """Take the next chunk: the roots at the wanted sizes that end in it become known."""
        whole = _peaks(self._frontier)
        for size, pieces in scan.edges.items():
            self.roots[size] = fold_right([*whole, *pieces])
        if scan.root:
            self._frontier.append(scan.root)
            self._chunk_roots += scan.root

    def root(self, size: int) -> bytes:
        """Return the root at a wanted size."""
        return EMPTY_ROOT if size == 0 else self.roots[size]

    def check_tiles(self) -> list[Difference]:
        """Compare the tiles above the chunks with their roots, after the last chunk."""
        tiles = DirectoryTiles(self.plan.folder)
        differences: list[Difference] = []
        hashes, level = bytes(self._chunk_roots), _FIRST_LEVEL
        while hashes:
            each = 1 << TILE_HEIGHT * level
            for n in range(-(-len(hashes) // (TILE_WIDTH * HASH_SIZE))):
                part = hashes[n * TILE_WIDTH * HASH_SIZE : (n + 1) * TILE_WIDTH * HASH_SIZE]
                first = n * TILE_WIDTH * each
                differences += check_tile(tiles, level, n, part, entries_each=each, first=first)
            whole = len(hashes) // (TILE_WIDTH * HASH_SIZE) * TILE_WIDTH * HASH_SIZE
            hashes, level = subtree_roots(hashes[:whole], TILE_HEIGHT), level + 1
        return differences


def _peaks(frontier: Frontier) -> list[bytes]:
    state = frontier.to_bytes()[8:]
    return [state[i : i + HASH_SIZE] for i in range(0, len(state), HASH_SIZE)]
