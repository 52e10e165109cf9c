"""Generators: the committed table, the cache on disk, and a cache that lies."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from privacy import curve, curve_reference, generators
from privacy.encoding import keccak, tagged_hash
from privacy.errors import GeneratorsInvalid
from privacy.generators import (
    BLOCK_POINTS,
    BLOCKS,
    GeneratorCache,
    block_digest,
    block_matches,
    digest_table,
    make_block,
    parse_table,
)
from privacy.prg import CELLS_MAX
from privacy.tree import tree_root


def block_path(directory: Path, index: int) -> Path:
    return directory / f"generators-v1-{index:03}.bin"


def test_the_table_covers_every_cell_under_the_root_in_the_code() -> None:
    assert len(digest_table()) == BLOCKS == 512
    assert BLOCKS * BLOCK_POINTS == CELLS_MAX == 1 << 17
    assert tree_root("generators-node", digest_table()) == generators.TABLE_ROOT


def test_a_block_digest_is_over_the_points_in_the_chains_form() -> None:
    block = make_block(3)
    first = 3 * BLOCK_POINTS
    points = b"".join(curve.encode_point(curve.cell_generator(first + k)) for k in range(BLOCK_POINTS))
    assert block_digest(3, block) == tagged_hash("generators", 3, keccak(points)) == digest_table()[3]
    assert not block_matches(4, block)


@pytest.mark.parametrize("index", [0, 1, 255, 256, 65_535, 131_071])
def test_the_second_library_makes_the_same_generators(index: int) -> None:
    reference = curve_reference.hash_to_point(index.to_bytes(4, "big"), curve.DST_CELLS)
    assert curve_reference.encode_point(reference) == curve.encode_point(curve.cell_generator(index))


def test_the_blinding_base_is_of_its_own_tag() -> None:
    reference = curve_reference.hash_to_point(b"", curve.DST_BLINDING)
    assert curve_reference.encode_point(reference) == curve.encode_point(curve.blinding_generator())
    assert curve.hash_to_point(b"", curve.DST_CELLS) != curve.blinding_generator()


def test_only_the_blocks_that_are_needed_are_made(tmp_path: Path) -> None:
    taken = GeneratorCache(tmp_path).take(257)
    assert len(taken.points) == 257
    assert taken.warnings == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "generators-v1-000.bin",
        "generators-v1-001.bin",
    ]
    assert block_path(tmp_path, 0).stat().st_size == BLOCK_POINTS * 96


def test_a_second_process_reads_what_the_first_wrote(tmp_path: Path) -> None:
    made = GeneratorCache(tmp_path).take(300)
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    read = GeneratorCache(tmp_path).take(300)
    assert read.points == made.points
    assert read.warnings == ()
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == stamps


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "empty", "other block"])
def test_a_damaged_cache_is_replaced_with_a_warning_and_never_used(tmp_path: Path, damage: str) -> None:
    honest = GeneratorCache(None).take(10).points
    block = make_block(0)
    bad = {
        "flip": bytes([block[0] ^ 1]) + block[1:],
        "truncate": block[:-1],
        "extend": block + b"\x00",
        "empty": b"",
        "other block": make_block(1),
    }[damage]
    block_path(tmp_path, 0).write_bytes(bad)
    taken = GeneratorCache(tmp_path).take(10)
    assert taken.points == honest
    assert taken.warnings == ("cached generators, block 0: damaged, made again",)
    assert block_path(tmp_path, 0).read_bytes() == block
    assert GeneratorCache(tmp_path).take(10).warnings == ()


def test_an_unusable_directory_costs_only_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    taken = GeneratorCache(file).take(1)
    assert len(taken.points) == 1
    assert taken.warnings[0].startswith("cached generators, block 0: not written")


def test_more_generators_than_exist_are_refused() -> None:
    for count in (-1, CELLS_MAX + 1):
        with pytest.raises(GeneratorsInvalid):
            GeneratorCache(None).take(count)


def test_a_table_that_was_changed_is_refused() -> None:
    lines = [digest.hex() for digest in digest_table()]
    assert parse_table("\n".join(lines)) == digest_table()
    swapped = [lines[1], lines[0], *lines[2:]]
    for text in (lines[:-1], [*lines, lines[0]], swapped, ["00" * 32, *lines[1:]], ["xyz"], ["00"] * 512, []):
        with pytest.raises(GeneratorsInvalid):
            parse_table("\n".join(text))


def take_in_process(directory: str) -> tuple[int, tuple[str, ...]]:
    taken = GeneratorCache(Path(directory)).take(300)
    return len(taken.points), taken.warnings


def test_processes_share_one_directory(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        results = list(pool.map(take_in_process, [str(tmp_path)] * 4))
    assert results == [(300, ())] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "generators-v1-000.bin",
        "generators-v1-001.bin",
    ]


@pytest.mark.slow
def test_the_whole_table_is_what_the_library_makes() -> None:
    for index in range(BLOCKS):
        assert block_matches(index, make_block(index))
