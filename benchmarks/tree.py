"""The log's tree over a million leaves beside two libraries from npm, and inclusion proofs read from a log on disk."""

from __future__ import annotations

import hashlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.environment import machine, run_npm_peer
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms_of
from ledger.log.batch import Bundle, Item
from ledger.log.notes import NoteSigner
from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, inclusion_proof
from ledger.log.tree import build_root, leaf_hash, verify_inclusion
from ledger.log.writer import Log

LEAVES = 1_000_000
PROOFS = 2_000
BUNDLES_AT_ONCE = 256
REPEATS = 3


def run() -> dict[str, Any]:
    """Build the same million leaves with each; then read proofs from a log of as many entries."""
    env = machine()
    leaves = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(LEAVES))
    peer = run_npm_peer("merkle", "tree.mjs", {"leaves": LEAVES})
    ours_s = min(cpu_ms_of(lambda: build_root(leaves))[0] for _ in range(REPEATS)) / 1e3
    with tempfile.TemporaryDirectory() as folder:
        with written_log(Path(folder)) as log:
            service_us = time_proofs(log.reader, log.size, log.checkpoint.root)
        published = DirectoryTiles(log.public_folder)
        stranger_us = time_proofs(published, log.size, log.checkpoint.root)
    figures = {
        "times_faster_than_openzeppelin": peer["openzeppelin_simple_s"] / ours_s,
        "times_faster_than_merkletreejs": peer["merkletreejs_s"] / ours_s,
        "tree_s": ours_s,
        "openzeppelin_simple_s": peer["openzeppelin_simple_s"],
        "openzeppelin_standard_s": peer["openzeppelin_standard_s"],
        "merkletreejs_s": peer["merkletreejs_s"],
        "proof_from_disk_p50_us": statistics.median(service_us),
        "proof_from_disk_p99_us": sorted(service_us)[PROOFS * 99 // 100],
        "proof_from_tiles_alone_p50_us": statistics.median(stranger_us),
        "proof_from_tiles_alone_p99_us": sorted(stranger_us)[PROOFS * 99 // 100],
    }
    targets = {
        "times_faster_than_openzeppelin": Target(at_least=100),
        "times_faster_than_merkletreejs": Target(at_least=5),
        "proof_from_disk_p50_us": Target(at_most=100),
    }
    method = {
        "leaves": f"{LEAVES:,} digests of 32 bytes",
        "peers": "@openzeppelin/merkle-tree 1.0.8 (SimpleMerkleTree, the cheaper of its two) and merkletreejs 0.6.0 with Node's SHA-256",
        "time": f"CPU of the process: ours the least of {REPEATS}, the peers once",
        "proofs": f"{PROOFS:,} entries spread over a log of {LEAVES // TILE_WIDTH * TILE_WIDTH:,} that the log's own writer wrote, "
        "one reader, files in the system's cache; each proof verified outside the timing",
        "proof_from_disk": "as the service reads: published tiles, and the writer's file of inner nodes",
        "proof_from_tiles_alone": "as anybody reads: published tiles only, level-0 tiles hashed up for each proof",
    }
    return report("tree", figures, targets, env | method)


@contextmanager
def written_log(folder: Path) -> Iterator[Log]:
    """Write a log of a million entries, a little fewer so that whole bundles do, and keep it open for the block."""
    signer = NoteSigner.from_seed("bench.example/tree", secrets.token_bytes(32))
    with Log.create(folder, signer.key.name, signer) as log:
        bundles = LEAVES // TILE_WIDTH
        for first in range(0, bundles, BUNDLES_AT_ONCE):
            log.append_bundles([_bundle(n) for n in range(first, min(first + BUNDLES_AT_ONCE, bundles))])
        yield log


def _bundle(n: int) -> Bundle:
    return Bundle.of(
        [
            Item(i.to_bytes(16, "big"), hashlib.sha256(str(i).encode()).digest())
            for i in range(n * TILE_WIDTH, (n + 1) * TILE_WIDTH)
        ]
    )


def time_proofs(reader: DirectoryTiles, size: int, root: bytes) -> list[float]:
    """Return the microseconds of each proof."""
    spent = []
    for k in range(PROOFS):
        index = k * 7_368_787 % size  # a prime step: neighbours are never asked one after the other
        begin = time.perf_counter()
        path = inclusion_proof(reader, index, size)
        spent.append((time.perf_counter() - begin) * 1e6)
        entry = hashlib.sha256(str(index).encode()).digest()
        verify_inclusion(leaf_hash(entry), index, size, path, root)
    return spent
