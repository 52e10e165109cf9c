"""Which index each entry of a batch has or gets: the rule that makes appends idempotent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.log.batch import EVENT_ID_SIZE, Bundle, Item
from ledger.log.errors import EventConflict
from ledger.log.tiles import TILE_WIDTH, TileReader, tile_width
from ledger.log.tree import HASH_SIZE, leaf_hash


class LeafHashes:
    """The leaf hashes of a log of `size`, a tile read once for entries that follow each other."""

    def __init__(self, reader: TileReader, size: int) -> None:
        self.size = size
        self._reader = reader
        self._n, self._hashes = -1, b""

    def at(self, index: int) -> bytes:
        """Return the leaf hash of one entry.

        Raises:
            EntryMissing: its tile is not there.
            TileMalformed: its tile has another size than its name says.
        """
        n, offset = divmod(index, TILE_WIDTH)
        if n != self._n:
            self._n, self._hashes = n, self._reader.hashes(0, n, tile_width(0, n, self.size))
        return self._hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]


def place_items(
    items: Sequence[Item], known: Mapping[int, int], logged: LeafHashes
) -> tuple[list[int], list[Item]]:
    """Place items one by one.

    Args:
        items: of the batch.
        known: the entries of those event ids that are logged, by their position in the batch.
        logged: the log.

    Returns:
        The index that each item has or gets, and the items that are new.

    Raises:
        EventConflict: an event id is taken by another entry.
    """
    indices: list[int] = []
    new: list[Item] = []
    placed: dict[bytes, tuple[int, bytes]] = {}
    for position, item in enumerate(items):
        earlier = placed.get(item.event_id)
        if position in known:
            if logged.at(known[position]) != leaf_hash(item.entry):
                raise EventConflict(position, known[position])
            indices.append(known[position])
        elif earlier is not None:
            if earlier[1] != item.entry:
                raise EventConflict(position, None)
            indices.append(earlier[0])
        else:
            index = logged.size + len(new)
            placed[item.event_id] = (index, item.entry)
            indices.append(index)
            new.append(item)
    return indices, new


def place_bundles(
    bundles: Sequence[Bundle], known: Mapping[int, int], logged: LeafHashes
) -> tuple[list[int], list[Bundle]]:
    """Place whole bundles; a bundle is logged already only as a whole, unchanged, where a bundle begins.

    Args:
        bundles: of 256 entries each.
        known: the entries of those event ids that are logged, by their position over all bundles.
        logged: the log.

    Returns:
        The first index that each bundle has or gets, and the bundles that are new.

    Raises:
        EventConflict: an event id is taken, and not by a repetition of its bundle.
    """
    firsts: dict[int, int] = {}
    for position in sorted(known):
        number, offset = divmod(position, TILE_WIDTH)
        first = known[position] - offset
        leaf = bundles[number].leaf_hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]
        follows = offset == 0 or (position - 1 in known and firsts.get(number) == first)
        if not follows or first % TILE_WIDTH or logged.at(known[position]) != leaf:
            raise EventConflict(position, known[position])
        firsts[number] = first
    _require_whole(firsts, known)
    _require_distinct(b"".join(bundle.event_ids for bundle in bundles))
    indices: list[int] = []
    new: list[Bundle] = []
    for number, bundle in enumerate(bundles):
        indices.append(firsts[number] if number in firsts else logged.size + len(new) * TILE_WIDTH)
        if number not in firsts:
            new.append(bundle)
    return indices, new


def _require_whole(firsts: Mapping[int, int], known: Mapping[int, int]) -> None:
    for number, first in firsts.items():
        if (number + 1) * TILE_WIDTH - 1 not in known:
            raise EventConflict(number * TILE_WIDTH, first)


def _require_distinct(event_ids: bytes) -> None:
    ids = [event_ids[at : at + EVENT_ID_SIZE] for at in range(0, len(event_ids), EVENT_ID_SIZE)]
    if len(set(ids)) == len(ids):
        return
    seen: set[bytes] = set()
    for position, event_id in enumerate(ids):
        if event_id in seen:
            raise EventConflict(position, None)
        seen.add(event_id)
