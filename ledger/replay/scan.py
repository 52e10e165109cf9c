"""One chunk of the log: reads its bundles and tiles, checks the hashes, and leaves columns and sorted runs on disk.

Chunks are independent, so worker processes take them; what must be seen in order comes later, from the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.licences.leaf import LIST_BITS
from ledger.log.errors import EntryMissing, TileMalformed
from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, bundle_path, tile_path, tile_width
from ledger.log.tree import HASH_SIZE, parents, perfect_subtrees
from ledger.replay.findings import Difference, Rule
from ledger.replay.leaves import (
    ABSENT,
    DAYS,
    IS_LICENCE,
    IS_SPECIAL,
    NAMES_PREVIOUS,
    U8,
    Bundles,
    Columns,
    factorise,
    first_offences,
)
from ledger.replay.runs import Run, id_records, leaf_records, needle_records, write_run

CHUNK_HEIGHT: Final = 16
CHUNK: Final = 1 << CHUNK_HEIGHT
CHUNK_BYTES_MAX: Final = 1 << 28  # of one chunk's entries; 65,536 licences have 10 MB
LISTS_AHEAD: Final = 1024  # lists beyond the log's size that reservations may reach
COLUMN: Final = np.dtype(
    [
        ("kind", "u1"),
        ("code", "u1"),
        ("list", "<u4"),
        ("slot", "<u4"),
        ("key", "<u2"),
        ("type", "<u2"),
    ]
)


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What all chunks of one replay share.

    Args:
        folder: the log's prefix, with `tile/` in it.
        work: folder for columns and runs.
        size: entries of the log.
        bits: log2 of the number of ranges of the runs.
        factor: odd, 64 random bits, for the runs of event ids.
        sizes: ascending sizes at which the root is wanted.
        chunk_bytes_max: bytes of one chunk's entries that are read; those beyond it are differences, so that entries
            of 64 KiB do not fill the memory.
    """

    folder: Path
    work: Path
    size: int
    bits: int
    factor: int
    sizes: tuple[int, ...]
    chunk_bytes_max: int = CHUNK_BYTES_MAX

    @property
    def list_max(self) -> int:
        """The highest status list that a log of this size may have; a number beyond it would cost disk for nothing."""
        return (self.size >> LIST_BITS) + LISTS_AHEAD

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.size // CHUNK)

    def first(self, number: int) -> int:
        """Return the log index of a chunk's first entry."""
        return number << CHUNK_HEIGHT

    def count(self, number: int) -> int:
        """Return the number of a chunk's entries."""
        return min(CHUNK, self.size - self.first(number))

    def columns_path(self, number: int) -> Path:
        """Return where a chunk's columns are."""
        return self.work / f"columns-{number}.bin"

    def meta_path(self, number: int) -> Path:
        """Return where a chunk's keys, types and special leaves are."""
        return self.work / f"meta-{number}.npz"


@dataclass(frozen=True, slots=True)
class ChunkScan:
    """What a chunk's reader hands back.

    Args:
        number: of the chunk.
        root: of the whole chunk, or nothing if it is the log's ragged end.
        edges: for each wanted size that ends in this chunk, the roots of its perfect subtrees here, from the left.
        ids, leaves, needles: the sorted runs.
        differences: found in this chunk.
        days: distinct day << 4 | kind (day `DAYS` for all that are no sensible day), and how many leaves have it.
    """

    number: int
    root: bytes
    edges: dict[int, list[bytes]]
    ids: Run
    leaves: Run
    needles: Run
    differences: list[Difference]
    days: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class ChunkMeta:
    """The distinct values of a chunk, and its leaves that are no licence's.

    Args:
        keys: distinct key ids, uint8 of shape (k, 32).
        types: distinct licence types, uint8 of shape (t, 21).
        special: positions of the leaves of kinds 8 to 13, ascending.
        evidence: their evidence digests, uint8 of shape (m, 32).
        extras: their extra, in order.
    """

    keys: U8
    types: U8
    special: NDArray[np.int64]
    evidence: U8
    extras: tuple[bytes, ...]

    def save(self, path: Path) -> None:
        """Write the file."""
        blob = np.frombuffer(b"".join(self.extras), np.uint8)
        lengths = np.array([len(extra) for extra in self.extras], np.int64)
        arrays: dict[str, Any] = {
            "keys": self.keys,
            "types": self.types,
            "special": self.special,
            "evidence": self.evidence,
            "blob": blob,
            "lengths": lengths,
        }
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> ChunkMeta:
        """Read the file back."""
        with np.load(path, allow_pickle=False) as file:
            blob, ends = file["blob"].tobytes(), np.cumsum(file["lengths"]).tolist()
            extras = tuple(blob[a:b] for a, b in zip([0, *ends], ends, strict=False))
            return cls(file["keys"], file["types"], file["special"], file["evidence"], extras)


def scan_chunk(plan: ScanPlan, number: int) -> ChunkScan:
    """Read and check one chunk, and write its columns, meta and runs into the work folder."""
    tiles = DirectoryTiles(plan.folder)
    first, count = plan.first(number), plan.count(number)
    differences: list[Difference] = []
    bundles = _read_bundles(tiles, plan, number, differences)
    hashes = _checked_leaf_hashes(tiles, plan, number, bundles, differences)
    levels = _levels(hashes)
    _check_upper_tile(tiles, plan, number, levels, differences)
    columns = Columns.of(bundles.rows())
    good, offences = first_offences(columns, bundles.lengths)
    differences.extend(
        Difference(Rule.LEAF_MALFORMED, f"expected {expected}", index=first + position)
        for position, expected in offences
    )
    _write_columns(plan, number, bundles, columns, good)
    positions = np.flatnonzero(good)
    named = np.flatnonzero(good & NAMES_PREVIOUS[columns.kind])
    leaf_hashes = np.frombuffer(hashes, np.uint8).reshape(-1, HASH_SIZE)

    def run(name: str, records: Any) -> Run:
        return write_run(plan.work / f"{name}-{number}.bin", records, first=first, bits=plan.bits)

    day = columns.event_day[good].astype(np.int64)
    day = np.where((day >= 0) & (day < DAYS), day, DAYS) << 4 | columns.kind[good]
    return ChunkScan(
        number=number,
        root=levels[CHUNK_HEIGHT] if count == CHUNK else b"",
        edges=_edges(plan, number, levels),
        ids=run("ids", id_records(columns.event_ids[good], positions, plan.factor)),
        leaves=run("leaves", leaf_records(leaf_hashes, plan.factor)),
        needles=run("needles", needle_records(columns.previous[named], named, plan.factor)),
        differences=differences,
        days=np.unique(day, return_counts=True),
    )


def _edges(plan: ScanPlan, number: int, levels: list[bytes]) -> dict[int, list[bytes]]:
    first, count = plan.first(number), plan.count(number)
    return {
        size: [levels[h][i * HASH_SIZE : (i + 1) * HASH_SIZE] for h, i in perfect_subtrees(0, size - first)]
        for size in plan.sizes
        if first < size <= first + count
    }


def _read_bundles(
    tiles: DirectoryTiles, plan: ScanPlan, number: int, differences: list[Difference]
) -> Bundles:
    parts: list[tuple[bytes | None, int]] = []
    begin = plan.first(number) // TILE_WIDTH
    reasons, room = {}, plan.chunk_bytes_max
    for position in range(-(-plan.count(number) // TILE_WIDTH)):
        n = begin + position
        width = tile_width(0, n, plan.size)
        try:
            data = tiles.bundle(n, width)
            room -= len(data)
            if room < 0:
                raise TileMalformed(bundle_path(n, width), f"chunks of {plan.chunk_bytes_max} bytes", "more")
            parts.append((data, width))
        except (EntryMissing, TileMalformed) as err:
            reasons[position] = str(err)
            parts.append((None, width))
    bundles, bad = Bundles.join(parts)
    for position in bad:
        n, width = begin + position, parts[position][1]
        reason = reasons.get(position, f"{bundle_path(n, width)}: expected {width} whole entries")
        detail = f"{width} entries cannot be read: {reason}"
        differences.append(Difference(Rule.ENTRY_MISSING, detail, index=n * TILE_WIDTH))
    return bundles


def _checked_leaf_hashes(
    tiles: DirectoryTiles, plan: ScanPlan, number: int, bundles: Bundles, differences: list[Difference]
) -> bytes:
    """Return the leaf hashes as published, after comparing each with its entry.

    The tree is built on the published hashes: a changed entry is then one difference at its own index, and not at
    every root after it.
    """
    computed = bundles.hashes()
    first, count = plan.first(number), plan.count(number)
    published = []
    for n in range(first // TILE_WIDTH, -(-(first + count) // TILE_WIDTH)):
        width = tile_width(0, n, plan.size)
        try:
            published.append(tiles.hashes(0, n, width)[: width * HASH_SIZE])
        except (EntryMissing, TileMalformed) as err:
            differences.append(Difference(Rule.TILE_MISSING, str(err), index=n * TILE_WIDTH))
            at = (n * TILE_WIDTH - first) * HASH_SIZE
            published.append(computed[at : at + width * HASH_SIZE])
    hashes = b"".join(published)
    if hashes != computed:
        pairs = (np.frombuffer(data, np.uint8).reshape(-1, HASH_SIZE) for data in (hashes, computed))
        unequal = np.not_equal(*pairs).any(axis=1) & (bundles.lengths != ABSENT)
        differences.extend(
            Difference(
                Rule.LEAF_HASH, "the entry does not hash to its leaf in the tile", index=first + int(i)
            )
            for i in np.flatnonzero(unequal)
        )
    return hashes


def _levels(hashes: bytes) -> list[bytes]:
    levels = [hashes]
    for _ in range(CHUNK_HEIGHT):
        below = levels[-1]
        levels.append(parents(below[: len(below) // (2 * HASH_SIZE) * (2 * HASH_SIZE)]))
    return levels


def _check_upper_tile(
    tiles: DirectoryTiles, plan: ScanPlan, number: int, levels: list[bytes], differences: list[Difference]
) -> None:
    if levels[8]:
        differences.extend(
            check_tile(tiles, 1, number, levels[8], entries_each=TILE_WIDTH, first=plan.first(number))
        )


def check_tile(
    tiles: DirectoryTiles, level: int, n: int, computed: bytes, *, entries_each: int, first: int
) -> list[Difference]:
    """Compare one tile above the leaves with the hashes computed from the tiles below it.

    Args:
        tiles: of the log.
        level: of the tile, at least 1.
        n: its number.
        computed: the hashes that it must have, 32 bytes each.
        entries_each: entries below one of its hashes.
        first: index of the first entry below the tile.
    """
    width = len(computed) // HASH_SIZE
    path = tile_path(level, n, width)
    try:
        published = tiles.hashes(level, n, width)[: len(computed)]
    except (EntryMissing, TileMalformed) as err:
        return [Difference(Rule.TILE_MISSING, str(err), index=first)]
    differences = []
    for k in range(width):
        if published[k * HASH_SIZE : (k + 1) * HASH_SIZE] != computed[k * HASH_SIZE : (k + 1) * HASH_SIZE]:
            at = first + k * entries_each
            detail = f"{path}: hash {k} is not that of entries {at} to {at + entries_each - 1}"
            differences.append(Difference(Rule.TILE_HASH, detail, index=at))
    return differences


def _write_columns(
    plan: ScanPlan, number: int, bundles: Bundles, columns: Columns, good: NDArray[np.bool_]
) -> None:
    """Write what the ordered pass needs; a leaf that is malformed or missing has kind 0."""
    out = np.zeros(len(good), COLUMN)
    out["kind"] = np.where(good, columns.kind, 0)
    kinds = out["kind"]
    out["code"], out["list"], out["slot"] = columns.code, columns.status_list, columns.slot
    keys, out["key"] = factorise(columns.key_ids)
    types, out["type"] = factorise(np.where(IS_LICENCE[kinds][:, None], columns.types, 0))
    out.tofile(plan.columns_path(number))
    special = np.flatnonzero(IS_SPECIAL[kinds])
    tail = columns.extra_length[special]
    extras = tuple(
        bundles.entry(int(position))[-int(length) :] for position, length in zip(special, tail, strict=True)
    )
    meta = ChunkMeta(keys, types, special, columns.evidence[special], extras)
    meta.save(plan.meta_path(number))
