"""Making a deposit: encrypt the cells of a cube block by block and write them, so that a crash costs at most one file.

Files appear whole or not at all, and the manifest comes last. What is encrypted, and the randomness, follow from the seed and the
values: after a crash the rest is written and the deposit is the same to the byte. The folder of an unfinished deposit has a
keyed hash of header and cells, so it is never finished with other values.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from privacy.deposit.elgamal import encrypt_columns
from privacy.deposit.errors import DepositInUse, DepositInvalid, LengthMismatch
from privacy.deposit.keys import DepositKey
from privacy.deposit.parallel import Mapper
from privacy.deposit.sizes import POINT_BYTES
from privacy.deposit.stored import (
    BLOCK_CELLS,
    LEAVES_FILE,
    MANIFEST_FILE,
    SCHEMA,
    Deposit,
    DepositHeader,
    fragment_name,
    leaf_of,
    manifest_bytes,
    read_fragment,
    tree_root,
)
from privacy.encoding import WORD_BYTES, tagged_hash

RUN_FILE = "unfinished"

Block = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class BlockJob:
    """One block to encrypt: it has the seed in it and goes only to processes of this machine.

    Attributes:
        key: K in 96 bytes.
        values: int64, little-endian.
        seed: of the deposit.
        context: H("deposit-block"; header hash, block).
    """

    key: bytes = field(repr=False)
    values: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    context: bytes = field(repr=False)


def write_deposit(
    folder: Path,
    header: DepositHeader,
    key: DepositKey,
    cells: NDArray[np.int64],
    *,
    seed: bytes,
    mapper: Mapper = map,
) -> Deposit:
    """Encrypt cells into a folder, or finish what a crash left there.

    Args:
        folder: new, empty, or with the beginning of the same deposit.
        header: what the deposit is of.
        key: the joint key.
        cells: of the cube, in its order.
        seed: 32 secret bytes of this deposit, stored before the first call and kept until the deposit is complete.
        mapper: where blocks are encrypted; only this machine's processes, as the seed goes there.

    Raises:
        LengthMismatch: another number of cells than the header's, or a seed of another length.
        DepositInvalid: the key is not the header's.
        DepositInUse: the folder has another deposit, or a complete one, which `Deposit.open` reads.
        ValueOutOfRange: a cell beyond 62 bits.
    """
    if len(cells) != header.cells:
        raise LengthMismatch("cells", expected=header.cells, actual=len(cells))
    if len(seed) != WORD_BYTES:
        raise LengthMismatch("bytes of a seed", expected=WORD_BYTES, actual=len(seed))
    if key.id != header.key_id:
        raise DepositInvalid("the key is not the one of the deposit's header")
    _claim(folder, _run_id(header, cells, seed))
    missing = [
        fragment for fragment in range(header.fragments) if not (folder / fragment_name(fragment)).exists()
    ]
    jobs = (job for fragment in missing for job in _jobs(header, fragment, key, cells, seed))
    encrypted = iter(mapper(encrypt_block, jobs))
    for fragment in missing:
        _write_fragment(
            folder / fragment_name(fragment), _take(encrypted, len(header.fragment_blocks(fragment)))
        )
    return _complete(folder, header)


def encrypt_block(job: BlockJob) -> Block:
    """Return the two columns of a block.

    Raises:
        ValueOutOfRange: a cell beyond 62 bits.
    """
    return encrypt_columns(job.key, np.frombuffer(job.values, dtype="<i8"), job.seed, job.context)


def _jobs(
    header: DepositHeader, fragment: int, key: DepositKey, cells: NDArray[np.int64], seed: bytes
) -> Iterator[BlockJob]:
    for block in header.fragment_blocks(fragment):
        values = cells[block * BLOCK_CELLS : (block + 1) * BLOCK_CELLS].astype("<i8")
        yield BlockJob(key.key, values.tobytes(), seed, tagged_hash("deposit-block", header.hash, block))


def _take(blocks: Iterator[Block], count: int) -> list[Block]:
    return [next(blocks) for _ in range(count)]


def _run_id(header: DepositHeader, cells: NDArray[np.int64], seed: bytes) -> bytes:
    """Return a hash of all that the bytes of a deposit follow from; keyed, as cells could be guessed."""
    digest = hashlib.sha256(cells.astype("<i8").tobytes()).digest()
    return hmac.digest(seed, b"deposit-run" + header.hash + digest, "sha256")


def _claim(folder: Path, run: bytes) -> None:
    """Mark a folder as this deposit's, or refuse one that is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN_FILE
    if not path.exists():
        if any(each != path.with_suffix(".tmp") for each in folder.iterdir()):
            raise DepositInUse(f"{folder.name}: expected an empty folder or an unfinished deposit")
        _write(path, run)
    elif not hmac.compare_digest(path.read_bytes(), run):
        raise DepositInUse(f"{folder.name}: an unfinished deposit of other values, or with another seed")


def _write_fragment(path: Path, blocks: list[Block]) -> None:
    unfinished = path.with_suffix(".tmp")
    options = {"compression": "NONE", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(unfinished, SCHEMA, **options) as file:
        for columns in blocks:
            count = len(columns[0]) // POINT_BYTES
            arrays = [
                pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(POINT_BYTES), count, [None, pa.py_buffer(data)]
                )
                for data in columns
            ]
            file.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=BLOCK_CELLS)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    _rename(unfinished, path)


def _complete(folder: Path, header: DepositHeader) -> Deposit:
    """Write leaves and manifest from what is on disk; then the deposit is no longer unfinished."""
    leaves: list[bytes] = []
    for fragment in range(header.fragments):
        blocks = header.fragment_blocks(fragment)
        read = read_fragment(folder / fragment_name(fragment), header, fragment, blocks)
        leaves += [leaf_of(block, *columns) for block, columns in zip(blocks, read, strict=True)]
    _write(folder / LEAVES_FILE, b"".join(leaves))
    _write(folder / MANIFEST_FILE, manifest_bytes(header, tree_root(leaves)))
    (folder / RUN_FILE).unlink()
    return Deposit(folder, header, tuple(leaves))


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _rename(unfinished, path)


def _rename(source: Path, target: Path) -> None:
    """Rename and make the name durable."""
    source.replace(target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
