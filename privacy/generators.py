"""The generators of the commitments: made on demand, cached on disk, checked against a committed table.

`generators.txt` holds the digest of each of the 512 blocks of 256 generators; its root is a constant below.
No block is used before its digest was compared, whether it was read from the cache or computed just now, so
neither a damaged cache nor a faulty library can change what a commitment means.

Source: docs/protocol.md §5; RFC 9380.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from py_arkworks_bls12381 import G1Point

from privacy.curve import COORDINATE_BYTES, POINT_BYTES, blinding_generator, cell_generator
from privacy.encoding import keccak, tagged_hash
from privacy.errors import GeneratorsInvalid
from privacy.files import write_whole
from privacy.prg import CELLS_MAX
from privacy.tree import tree_root

BLOCK_POINTS = 256
BLOCKS = CELLS_MAX // BLOCK_POINTS
TABLE_ROOT = bytes.fromhex("8e662640e785d8ceea93fa3d5f4df200d7c51ae03f5981ac3e9fe058fe7eb2e1")
_TABLE_FILE = "generators.txt"
_NODE_NAME = "generators-node"
_XY_BYTES = 2 * COORDINATE_BYTES


@dataclass(frozen=True, slots=True)
class Generators:
    """Checked generators for vectors of up to `len(points)` cells.

    Attributes:
        points: G_0 … G_{d−1}.
        blinding: H.
        warnings: what was wrong with the cache and has been put right, or could not be written; for a log.
    """

    points: list[G1Point]
    blinding: G1Point
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class GeneratorCache:
    """Generators kept in memory and, if a directory is given, on disk; processes may share the directory.

    Attributes:
        directory: where blocks are kept, 24 KiB each; None keeps them in memory only.
    """

    directory: Path | None
    _points: list[G1Point] = field(default_factory=list, repr=False)
    _blinding: G1Point = field(default_factory=blinding_generator, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def take(self, count: int) -> Generators:
        """Return the first `count` generators, loading or making only the blocks that are missing.

        Raises:
            GeneratorsInvalid: more than 2^17, or a block that does not match the committed table.
        """
        if not 0 <= count <= CELLS_MAX:
            raise GeneratorsInvalid(f"generators: expected 0 to {CELLS_MAX}, got {count}")
        warnings: list[str] = []
        with self._lock:
            while len(self._points) < count:
                block = self._block(len(self._points) // BLOCK_POINTS, warnings)
                self._points += _decode_block(block)
            return Generators(self._points[:count], self._blinding, tuple(warnings))

    def _block(self, index: int, warnings: list[str]) -> bytes:
        path = None if self.directory is None else self.directory / f"generators-v1-{index:03}.bin"
        cached = None if path is None else _read(path)
        if cached is not None:
            if block_matches(index, cached):
                return cached
            warnings.append(f"cached generators, block {index}: damaged, made again")
        block = make_block(index)
        if not block_matches(index, block):
            raise GeneratorsInvalid(f"generators, block {index}: not what the committed table says")
        if path is not None:
            try:
                write_whole(path, block)
            except OSError as err:
                warnings.append(f"cached generators, block {index}: not written, {type(err).__name__}")
        return block


def make_block(index: int) -> bytes:
    """Compute generators 256·index … 256·index + 255, affine coordinates, 96 bytes each."""
    first = index * BLOCK_POINTS
    return b"".join(cell_generator(first + k).to_xy_bytes_be() for k in range(BLOCK_POINTS))


def block_digest(index: int, block: bytes) -> bytes:
    """Return H("generators"; index, keccak(block)), the block's points in their 128 bytes of EIP-2537.

    That form is what a contract hands to the precompile, so a contract can check the same digest.
    """
    padded = np.zeros((2 * BLOCK_POINTS, POINT_BYTES // 2), dtype=np.uint8)
    padded[:, -COORDINATE_BYTES:] = np.frombuffer(block, dtype=np.uint8).reshape(-1, COORDINATE_BYTES)
    return tagged_hash("generators", index, keccak(padded.tobytes()))


def block_matches(index: int, block: bytes) -> bool:
    """Tell whether a block is the one in the committed table."""
    return len(block) == BLOCK_POINTS * _XY_BYTES and block_digest(index, block) == digest_table()[index]


@cache
def digest_table() -> tuple[bytes, ...]:
    """Read the committed digests.

    Raises:
        GeneratorsInvalid: the file is not the one this module was made with.
    """
    return parse_table(Path(__file__).with_name(_TABLE_FILE).read_text(encoding="ascii"))


def parse_table(text: str) -> tuple[bytes, ...]:
    """Parse a table: one digest in hexadecimal on each line, in order.

    Raises:
        GeneratorsInvalid: another number of digests, or another root than the constant in this module.
    """
    try:
        digests = tuple(bytes.fromhex(line) for line in text.split())
    except ValueError as err:
        raise GeneratorsInvalid(f"{_TABLE_FILE}: expected hexadecimal lines") from err
    if len(digests) != BLOCKS or {len(digest) for digest in digests} != {32}:
        raise GeneratorsInvalid(f"{_TABLE_FILE}: expected {BLOCKS} digests, got {len(digests)} lines")
    if tree_root(_NODE_NAME, digests) != TABLE_ROOT:
        raise GeneratorsInvalid(f"{_TABLE_FILE}: expected the root {TABLE_ROOT.hex()}")
    return digests


def _decode_block(block: bytes) -> list[G1Point]:
    """Decode a block that matches the table: its points are in the subgroup."""
    from_xy = G1Point.from_xy_bytes_unchecked_be
    return [from_xy(block[k : k + _XY_BYTES]) for k in range(0, len(block), _XY_BYTES)]


def _read(path: Path) -> bytes | None:
    """Read a cached block; an unreadable one is as good as none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
