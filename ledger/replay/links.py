"""Which licence each event and each superseding licence names: from a leaf hash to a log index and a status slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ledger.log.errors import EntryMissing, TileMalformed
from ledger.log.tiles import TILE_HEIGHT, TILE_WIDTH, DirectoryTiles, tile_width
from ledger.log.tree import HASH_SIZE
from ledger.replay.leaves import IS_LICENCE, grouped
from ledger.replay.runs import Records, Run, matches
from ledger.replay.scan import CHUNK_HEIGHT, COLUMN, ScanPlan

LINK: Final = np.dtype([("position", "<u4"), ("leaf", "<u8"), ("list", "<u4"), ("slot", "<u4")])
NO_LEAF: Final = (1 << 64) - 1
_BATCH: Final = 1 << 19  # matches that are checked against the tiles at once


def link_path(plan: ScanPlan, number: int) -> Path:
    """Return where a chunk's links are."""
    return plan.work / f"links-{number}.bin"


def write_links(
    plan: ScanPlan, needles: Sequence[Run], leaves: Sequence[Run], *, progress: Callable[[int], None]
) -> None:
    """Find the leaf that each `previous` names, and write the links of each chunk.

    A match of 64 bits counts only after all 256 were compared with the tile, and only if the leaf is a licence's.

    Args:
        plan: of the replay; all its chunks are scanned.
        needles: runs of the hashes that are looked for.
        leaves: runs of the leaf hashes.
        progress: told the number of matches checked so far.
    """
    waiting: list[Records] = []
    done = 0
    for pairs in matches(needles, leaves, plan.bits):
        waiting.append(pairs)
        if sum(map(len, waiting)) >= _BATCH:
            done += _write_batch(plan, np.concatenate(waiting))
            waiting = []
            progress(done)
    if waiting:
        progress(done + _write_batch(plan, np.concatenate(waiting)))


def load_links(plan: ScanPlan, number: int, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return for each entry of a chunk the log index and the slot (list << 20 | index) of the licence it names.

    Returns:
        Two arrays of shape (count,); the index is `NO_LEAF` where there is no such licence.
    """
    leaf, slot = np.full(count, NO_LEAF, np.uint64), np.zeros(count, np.uint64)
    path = link_path(plan, number)
    if path.exists():
        links = np.fromfile(path, LINK)
        links = links[np.lexsort((links["leaf"], links["position"]))]
        position, first = np.unique(links["position"], return_index=True)
        links = links[first]
        leaf[position] = links["leaf"]
        slot[position] = links["list"].astype(np.uint64) << np.uint64(20) | links["slot"]
    return leaf, slot


def _write_batch(plan: ScanPlan, pairs: Records) -> int:
    pairs = pairs[np.argsort(pairs["leaf"], kind="stable")]
    pairs = pairs[_confirmed(plan, pairs)]
    out = np.empty(len(pairs), LINK)
    licence = np.zeros(len(pairs), np.bool_)
    for number, begin, end in grouped(pairs["leaf"] >> np.uint64(CHUNK_HEIGHT)):
        columns = np.memmap(plan.columns_path(number), COLUMN, "r")
        at = columns[(pairs["leaf"][begin:end] - np.uint64(plan.first(number))).astype(np.int64)]
        licence[begin:end] = IS_LICENCE[at["kind"]] & (at["list"] <= plan.list_max)
        out["list"][begin:end], out["slot"][begin:end] = at["list"], at["slot"]
    out["leaf"] = pairs["leaf"]
    order = np.argsort(pairs["needle"], kind="stable")
    order = order[licence[order]]
    out, needle = out[order], pairs["needle"][order]
    for number, begin, end in grouped(needle >> np.uint64(CHUNK_HEIGHT)):
        part = out[begin:end]
        part["position"] = needle[begin:end] - np.uint64(plan.first(number))
        with link_path(plan, number).open("ab") as file:
            file.write(part.tobytes())
    return len(licence)


def _confirmed(plan: ScanPlan, pairs: Records) -> NDArray[np.bool_]:
    """Compare the wanted hashes with the tiles; `pairs` is sorted by leaf, so each tile is read once."""
    tiles = DirectoryTiles(plan.folder)
    confirmed = np.zeros(len(pairs), np.bool_)
    for n, begin, end in grouped(pairs["leaf"] >> np.uint64(TILE_HEIGHT)):
        width = tile_width(0, n, plan.size)
        try:
            data = tiles.hashes(0, n, width)
        except (EntryMissing, TileMalformed):
            continue  # reported when the chunk was read
        hashes = np.frombuffer(data, np.uint8).reshape(-1, HASH_SIZE)
        at = (pairs["leaf"][begin:end] - np.uint64(n * TILE_WIDTH)).astype(np.int64)
        confirmed[begin:end] = (hashes[at] == pairs["hash"][begin:end]).all(axis=1)
    return confirmed
