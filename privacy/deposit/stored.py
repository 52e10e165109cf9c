"""A deposit on disk: encrypted cells in Parquet, a manifest, and a Merkle tree that binds every cell to the deposit's root.

    manifest.json           canonical JSON: policy, key, cube, number of cells, root of the tree
    leaves.bin              32 bytes for each block of 8,192 cells
    fragment-00000.parquet  eight blocks, each a row group: columns `a` and `b`, 96 bytes a cell, neither compressed nor encoded

The deposit root, which is on the chain, is a hash of the manifest alone. Every block is checked against its leaf when it is
read, so neither disk nor carrier can change a sum unseen.

Source: docs/protocol.md, Encrypted deposit; RFC 6962 §2.1 for the tree.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from privacy.deposit.cube import CELLS_MAX, Cube
from privacy.deposit.errors import DepositInvalid
from privacy.deposit.keys import DepositKey
from privacy.deposit.sizes import POINT_BYTES
from privacy.encoding import canonical_json, keccak, parse_canonical_json, tagged_hash
from privacy.errors import NotCanonical, PlanInvalid
from privacy.types import DIGEST_BYTES, Digest, from_decimal, from_hex, require_members, to_hex

BLOCK_CELLS: Final = 8_192
FRAGMENT_BLOCKS: Final = 8
FRAGMENT_CELLS: Final = BLOCK_CELLS * FRAGMENT_BLOCKS
MANIFEST_BYTES_MAX: Final = 1 << 24
MANIFEST_FILE: Final = "manifest.json"
LEAVES_FILE: Final = "leaves.bin"
SCHEMA: Final = pa.schema([pa.field(name, pa.binary(POINT_BYTES), nullable=False) for name in ("a", "b")])


@dataclass(frozen=True, slots=True)
class DepositHeader:
    """What a deposit is of, before there are any bytes.

    Attributes:
        policy: hash of the policy under which the trustees' assets are registered.
        key_id: of the joint key.
        cube: the cube.
    """

    policy: Digest
    key_id: Digest
    cube: dict[str, Any] = field(repr=False)
    cells: int

    @classmethod
    def of(cls, policy: Digest, key: DepositKey, cube: Cube) -> DepositHeader:
        """Return the header of a deposit of a cube under a key."""
        return cls(policy, key.id, cube.to_json(), cube.cells)

    @property
    def hash(self) -> bytes:
        """H("deposit-header"; keccak(JCS(manifest without root)))."""
        return tagged_hash("deposit-header", keccak(canonical_json(self.to_json())))

    @property
    def blocks(self) -> int:
        """The number of blocks; the last one may be short."""
        return -(-self.cells // BLOCK_CELLS)

    @property
    def fragments(self) -> int:
        """The number of files."""
        return -(-self.blocks // FRAGMENT_BLOCKS)

    def block_size(self, block: int) -> int:
        """Return the cells of a block."""
        return min(BLOCK_CELLS, self.cells - block * BLOCK_CELLS)

    def fragment_blocks(self, fragment: int) -> range:
        """Return the blocks of a file."""
        first = fragment * FRAGMENT_BLOCKS
        return range(first, min(first + FRAGMENT_BLOCKS, self.blocks))

    def to_json(self) -> dict[str, Any]:
        """Return the manifest without its root."""
        return {
            "version": "1",
            "policy": to_hex(self.policy),
            "key": to_hex(self.key_id),
            "cube": self.cube,
            "cells": str(self.cells),
            "block_cells": str(BLOCK_CELLS),
        }


@dataclass(frozen=True, slots=True)
class Deposit:
    """A complete deposit in a folder; it can be sent to other processes, and to other machines that share the folder.

    Attributes:
        folder: where it is.
        header: what it is of.
        leaves: of the blocks, in order; they belong to the manifest's root.
    """

    folder: Path
    header: DepositHeader
    leaves: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Deposit:
        """Read manifest and leaves.

        Raises:
            DepositInvalid: one is missing or malformed, or the leaves are not those of the root.
        """
        manifest = _read(folder / MANIFEST_FILE, MANIFEST_BYTES_MAX)
        header, root = _parse_manifest(manifest)
        data = _read(folder / LEAVES_FILE, DIGEST_BYTES * (CELLS_MAX // BLOCK_CELLS))
        if len(data) != DIGEST_BYTES * header.blocks:
            raise DepositInvalid(f"expected {header.blocks} leaves, found {len(data)} bytes of them")
        leaves = tuple(data[k : k + DIGEST_BYTES] for k in range(0, len(data), DIGEST_BYTES))
        if not hmac.compare_digest(tree_root(leaves), root):
            raise DepositInvalid("the leaves are not those of the manifest's root")
        return cls(folder, header, leaves)

    @property
    def manifest(self) -> bytes:
        """The canonical bytes of the manifest."""
        return manifest_bytes(self.header, tree_root(self.leaves))

    @property
    def root(self) -> Digest:
        """The deposit root, H("deposit"; keccak(manifest))."""
        return Digest(tagged_hash("deposit", keccak(self.manifest)))

    def require_root(self, root: bytes) -> None:
        """Require that this is the deposit with that root.

        Raises:
            DepositInvalid: it has another.
        """
        if not hmac.compare_digest(self.root, root):
            raise DepositInvalid(f"expected the deposit {root.hex()}, found {self.root.hex()}")

    def require_of(self, header: DepositHeader) -> None:
        """Require that this deposit is of that policy, key and cube.

        Raises:
            DepositInvalid: it is of another.
        """
        if not hmac.compare_digest(self.header.hash, header.hash):
            raise DepositInvalid("a deposit of another policy, key or cube")

    def read_blocks(self, fragment: int, wanted: Sequence[int]) -> list[tuple[bytes, bytes]]:
        """Read blocks of one file, each checked against its leaf.

        Args:
            fragment: the file's number.
            wanted: numbers of blocks in it.

        Returns:
            For each block its two columns, 96 bytes a cell.

        Raises:
            DepositInvalid: a file that is missing or malformed, or a block that is not the leaf's.
        """
        path = self.folder / fragment_name(fragment)
        read = read_fragment(path, self.header, fragment, wanted)
        for block, columns in zip(wanted, read, strict=True):
            if not hmac.compare_digest(leaf_of(block, *columns), self.leaves[block]):
                raise DepositInvalid(f"block {block} of {path.name} is not the one of the deposit's root")
        return read


def fragment_name(fragment: int) -> str:
    """Return the name of a file."""
    return f"fragment-{fragment:05}.parquet"


def leaf_of(block: int, a: bytes, b: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ u32 block ‖ u32 cells ‖ A … ‖ B …)."""
    count = len(a) // POINT_BYTES
    digest = hashlib.sha256(b"\x00" + block.to_bytes(4, "big") + count.to_bytes(4, "big"))
    digest.update(a)
    digest.update(b)
    return digest.digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over at least one leaf, nodes SHA-256(0x01 ‖ left ‖ right).

    Source: RFC 6962 §2.1.
    """
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def manifest_bytes(header: DepositHeader, root: bytes) -> bytes:
    """Return the canonical bytes of a manifest."""
    return canonical_json({**header.to_json(), "root": to_hex(root)})


def read_fragment(
    path: Path, header: DepositHeader, fragment: int, wanted: Sequence[int]
) -> list[tuple[bytes, bytes]]:
    """Read blocks of a file, not yet checked against anything but their form.

    Raises:
        DepositInvalid: the file is missing, no Parquet file, or of another form.
    """
    blocks = header.fragment_blocks(fragment)
    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
            if not file.schema_arrow.equals(SCHEMA) or sizes != [
                header.block_size(block) for block in blocks
            ]:
                raise DepositInvalid(f"{path.name}: expected {len(blocks)} row groups of points")
            return [
                _columns(file.read_row_group(block - blocks.start, use_threads=False)) for block in wanted
            ]
    except (pa.ArrowException, OSError) as err:
        raise DepositInvalid(f"{path.name}: cannot be read, {type(err).__name__}") from err


def _columns(table: pa.Table) -> tuple[bytes, bytes]:
    a, b = (_bytes_of(table.column(name).combine_chunks()) for name in ("a", "b"))
    return a, b


def _bytes_of(column: Any) -> bytes:
    """Return the bytes of a column without NULLs."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    if column.null_count:
        raise DepositInvalid("a column of points with NULLs")
    start = column.offset * POINT_BYTES
    data: bytes = column.buffers()[1][start : start + len(column) * POINT_BYTES].to_pybytes()
    return data


def _parse_manifest(data: bytes) -> tuple[DepositHeader, bytes]:
    try:
        names = ("version", "policy", "key", "cube", "cells", "block_cells", "root")
        members = require_members("manifest", parse_canonical_json(data), names)
        cube = members["cube"]
        if (
            members["version"] != "1"
            or members["block_cells"] != str(BLOCK_CELLS)
            or not isinstance(cube, dict)
        ):
            raise DepositInvalid(f"expected a manifest of version 1 with blocks of {BLOCK_CELLS} cells")
        cells = from_decimal("cells", members["cells"])
        if not 1 <= cells <= CELLS_MAX:
            raise DepositInvalid(f"expected 1 to {CELLS_MAX} cells, found {cells}")
        policy = Digest(from_hex("policy", members["policy"], DIGEST_BYTES))
        key_id = Digest(from_hex("key", members["key"], DIGEST_BYTES))
        header = DepositHeader(policy, key_id, cube, cells)
        return header, from_hex("root", members["root"], DIGEST_BYTES)
    except (NotCanonical, PlanInvalid) as err:
        raise DepositInvalid(f"a manifest: {err}") from err


def _read(path: Path, size_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(size_max + 1)
    except OSError as err:
        raise DepositInvalid(f"{path.name}: cannot be read, {type(err).__name__}") from err
    if len(data) > size_max:
        raise DepositInvalid(f"{path.name}: expected at most {size_max} bytes")
    return data
