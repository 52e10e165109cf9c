"""tlog-tiles: paths, tiles and bundles as the specification's text has them, and proofs from the files."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.log.errors import EntryMissing, EntryTooLong, ProofInvalid, TileMalformed
from ledger.log.growth import Edges, grow
from ledger.log.tiles import (
    TILE_SIZE,
    CachedTiles,
    DirectoryTiles,
    TileName,
    bundle_path,
    consistency_proof,
    decode_bundle,
    encode_bundle,
    inclusion_proof,
    index_path,
    parse_tile_path,
    read_entry,
    root_at,
    root_of_edges,
    tile_path,
    tile_width,
    verified_entries,
)
from ledger.log.tree import EMPTY_ROOT, leaf_hash, root_of, verify_consistency, verify_inclusion
from tests.ledger.log.logs import item, items, make_log


class MemoryTiles(CachedTiles):
    """Tiles in a dictionary, as a far log would serve them."""

    def __init__(self, resources: dict[str, bytes]) -> None:
        super().__init__()
        self.resources = resources
        self.fetched: list[str] = []

    def _fetch(self, path: str, size_max: int) -> bytes:
        self.fetched.append(path)
        if path not in self.resources:
            raise EntryMissing(path)
        return self.resources[path]


def tiles_of(sizes: list[int], leaves: list[bytes]) -> tuple[dict[str, bytes], Edges]:
    resources: dict[str, bytes] = {}
    edges: Edges = ()
    at = 0
    for size in sizes:
        growth = grow(edges, at, b"".join(leaves[at:size]))
        resources.update(growth.tiles)
        edges, at = growth.edges, size
    return resources, edges


LEAVES = [leaf_hash(b"%d" % number) for number in range(70_000)]


def test_the_index_is_in_groups_of_three_digits() -> None:
    assert index_path(1234067) == "x001/x234/067"  # the specification's example
    assert [index_path(n) for n in (0, 999, 1000)] == ["000", "999", "x001/000"]
    assert tile_path(0, 273, 112) == "tile/0/273.p/112"
    assert bundle_path(1234067) == "tile/entries/x001/x234/067"


def test_a_tree_of_70000_has_the_specification_s_tiles() -> None:
    resources, _ = tiles_of([70_000], LEAVES)
    level = {
        at: [name for path in resources if (name := parse_tile_path(path)).level == at] for at in range(4)
    }
    assert [(name.n, name.width) for name in level[0]] == [(n, 256) for n in range(273)] + [(273, 112)]
    assert [(name.n, name.width) for name in level[1]] == [(0, 256), (1, 17)]
    assert [(name.n, name.width) for name in level[2]] == [(0, 1)]
    assert level[3] == []


def test_a_tree_of_256_has_a_full_tile_and_one_of_width_1() -> None:
    resources, _ = tiles_of([256], LEAVES)
    assert set(resources) == {"tile/0/000", "tile/1/000.p/1"}
    assert resources["tile/1/000.p/1"] == root_of(LEAVES[:256])


def test_each_hash_of_a_tile_is_the_subtree_that_the_specification_names() -> None:
    resources, _ = tiles_of([70_000], LEAVES)
    for level, n, at in ((0, 0, 0), (0, 273, 111), (1, 0, 255), (1, 1, 16), (2, 0, 0)):
        path = tile_path(level, n, tile_width(level, n, 70_000))
        span = 256**level
        start = (n * 256 + at) * span
        assert resources[path][at * 32 : at * 32 + 32] == root_of(LEAVES[start : start + span])


@given(st.integers(0, 63), st.integers(0, 1 << 40), st.integers(1, 256))
def test_paths_round_trip(level: int, n: int, width: int) -> None:
    assert parse_tile_path(tile_path(level, n, width)) == TileName(level, n, width)
    assert parse_tile_path(bundle_path(n, width)) == TileName(None, n, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/1",
        "tile/0/0001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/257",
        "tile/0/001.p/999",
        "tile/0" + "/x001" * 7 + "/001",
        "tile/0" + "/x001" * 2000 + "/001",
        "tile/0/001.p/01",
        "tile/0/001.p/",
        "tile/0/００１",
        "tile/entries/../../private/journal",
        "tile/0/001\n",
        "/tile/0/001",
        "checkpoint",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(TileMalformed):
        parse_tile_path(path)


def test_what_is_no_file_is_no_tile(tmp_path: Path) -> None:
    (tmp_path / "tile" / "0" / "000").mkdir(parents=True)
    os.mkfifo(tmp_path / "tile" / "0" / "001")
    for n in range(2):
        with pytest.raises(TileMalformed):
            DirectoryTiles(tmp_path).hashes(0, n, 256)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    for wrong, width in ((data + b"\0", len(entries)), (data, len(entries) + 1)):
        with pytest.raises(TileMalformed):
            decode_bundle(wrong, width)
    if data:
        with pytest.raises(TileMalformed):
            decode_bundle(data[:-1], len(entries))
        with pytest.raises(TileMalformed):
            decode_bundle(data, len(entries) - 1)


def test_a_bundle_s_bytes_are_written_out() -> None:
    assert encode_bundle([b"", b"abc"]) == bytes.fromhex("0000 0003 616263")
    assert len(encode_bundle([b"x" * 65_535])) == 65_537
    with pytest.raises(EntryTooLong):
        encode_bundle([b"x" * 65_536])


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=6, unique=True).map(sorted))
@example([1, 255, 256, 257, 65_535, 65_536, 65_537])
def test_a_tree_has_the_same_tiles_however_it_grew(sizes: list[int]) -> None:
    stepwise, edges = tiles_of(sizes, LEAVES)
    at_once, _ = tiles_of(sizes[-1:], LEAVES)
    assert at_once.items() <= stepwise.items()
    assert root_of_edges(edges) == root_of(LEAVES[: sizes[-1]])
    for size in sizes:
        for level in range(3):
            n = size >> 8 * (level + 1)
            width = tile_width(level, n, size)
            assert not width or tile_path(level, n, width) in stepwise


SIZES = [1, 2, 255, 256, 257, 600, 65_536, 66_000, 70_000]
RESOURCES, _ = tiles_of(SIZES, LEAVES)
ROOTS = {size: root_of(LEAVES[:size]) for size in SIZES}


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(SIZES), st.data())
def test_proofs_from_tiles_verify(size: int, data: st.DataObject) -> None:
    reader = MemoryTiles(RESOURCES)
    index = data.draw(st.integers(0, size - 1))
    older = data.draw(st.integers(0, size))
    root = ROOTS[size]
    assert root_at(reader, size) == root
    verify_inclusion(LEAVES[index], index, size, inclusion_proof(reader, index, size), root)
    verify_consistency(older, root_of(LEAVES[:older]), size, root, consistency_proof(reader, older, size))


def test_the_empty_tree_needs_no_tile() -> None:
    assert root_at(MemoryTiles({}), 0) == EMPTY_ROOT
    assert list(verified_entries(MemoryTiles({}), 0, EMPTY_ROOT)) == []


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one() -> None:
    resources, _ = tiles_of([600, 1024], LEAVES)
    pruned = {path: data for path, data in resources.items() if not path.startswith("tile/0/002.p")}
    reader = MemoryTiles(pruned)
    verify_inclusion(LEAVES[599], 599, 600, inclusion_proof(reader, 599, 600), root_of(LEAVES[:600]))
    assert "tile/0/002.p/88" in reader.fetched


def test_a_proof_reads_one_tile_a_level() -> None:
    reader = MemoryTiles(RESOURCES)
    inclusion_proof(reader, 5, 70_000)
    assert sorted(reader.fetched) == ["tile/0/000", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17"]
    inclusion_proof(reader, 6, 70_000)
    assert len(reader.fetched) == 4


@pytest.mark.parametrize("data", [b"", b"x" * (TILE_SIZE - 1), b"x" * (TILE_SIZE + 32), b"x" * 32])
def test_a_tile_of_another_size_is_refused(data: bytes) -> None:
    with pytest.raises(TileMalformed):
        inclusion_proof(MemoryTiles({"tile/0/000": data}), 0, 256)


def test_a_tile_that_is_not_there_is_named() -> None:
    with pytest.raises(EntryMissing, match="tile/0/000"):
        inclusion_proof(MemoryTiles({}), 0, 256)
    with pytest.raises(EntryMissing):
        inclusion_proof(MemoryTiles(RESOURCES), 600, 600)


def test_the_inner_nodes_that_the_writer_keeps_change_no_proof(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 700) as log:
        bare = DirectoryTiles(log.public_folder)
        for index in range(0, 700, 3):
            assert inclusion_proof(log.reader, index, 700) == inclusion_proof(bare, index, 700)


def test_the_whole_log_is_read_back_verified(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 700) as log:
        found = [
            entry
            for _, entries in verified_entries(log.reader, 700, log.checkpoint.root)
            for entry in entries
        ]
        assert found == [one.entry for one in items(0, 700)]
        assert read_entry(log.reader, 513, 700) == item(513).entry
        with pytest.raises(ProofInvalid):
            list(verified_entries(log.reader, 700, root_of(LEAVES[:700])))
        with pytest.raises(EntryMissing):
            read_entry(log.reader, 700, 700)


@pytest.mark.parametrize(
    "path", ["tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/188"]
)
def test_replay_finds_one_changed_bit_in_any_file(tmp_path: Path, path: str) -> None:
    with make_log(tmp_path / "log", 700) as log:
        data = bytearray((log.public_folder / path).read_bytes())
        data[-1] ^= 1
        (log.public_folder / path).write_bytes(data)
        with pytest.raises(TileMalformed):
            list(verified_entries(log.reader, 700, log.checkpoint.root))


def test_an_entry_bundle_with_a_swapped_entry_is_found(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 300) as log:
        path = log.public_folder / bundle_path(0)
        entries = decode_bundle(path.read_bytes(), 256)
        entries[0], entries[1] = entries[1], entries[0]
        path.write_bytes(encode_bundle(entries))
        with pytest.raises(TileMalformed):
            list(verified_entries(log.reader, 300, log.checkpoint.root))


def test_the_fixture_written_from_the_specification_is_read(tmp_path: Path) -> None:
    """Three entries, typed in with their hashes as RFC 6962's reference tree has them."""
    files = {
        "tile/0/000.p/3": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "tile/entries/000.p/3": "0000 0001 00 0001 10",
    }
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes.fromhex(data))
    reader = DirectoryTiles(tmp_path)
    root = bytes.fromhex("aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77")
    assert list(verified_entries(reader, 3, root)) == [(0, [b"", b"\x00", b"\x10"])]
    verify_inclusion(leaf_hash(b"\x10"), 2, 3, inclusion_proof(reader, 2, 3), root)
