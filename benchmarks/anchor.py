"""What an anchor of a city's log costs on the chain, at the longest consistency proof that 52,150,000 licences can need."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.environment import machine
from benchmarks.licences import ORIGIN
from benchmarks.report import Target, report
from cli import chain_process, processes
from cli.errors import CliError
from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.deploy import deploy_trust
from ledger.chain import Chain
from ledger.deploy import Step, run_steps
from ledger.log.tree import consistency_proof_from, node_hash, range_root
from ledger.signing import Signer
from ledger.types import Call

CITY = 52_150_000
WORST = (3 << 24) - 1  # 101…1 in binary: the proof to the whole city has 27 hashes, 23 of them in both roots
BATCH = 4_096
BATCH_ENDS = (BATCH * 2, (1 << 25) + BATCH, WORST + BATCH, CITY)
GAS_LIMIT = 300_000
TIMEOUT_S = 20.0


def run() -> dict[str, Any]:
    """Anchor the worst head on its own chain, then heads a batch apart."""
    env = machine()
    with development_chain() as url, Chain(url) as chain:
        bench = Anchoring(chain, url)
        first, worst = bench.anchor(0, CITY), bench.anchor(WORST, CITY)
        batches = [bench.anchor(size - BATCH, size) for size in BATCH_ENDS]
        version = str(chain.request("web3_clientVersion"))
    batch = max(batches, key=lambda anchored: anchored.gas)
    figures = {
        "anchor_27_hashes_gas": worst.gas,
        "licence_gas": batch.gas / BATCH,
        "revocation_gas": batch.gas / BATCH,
        "anchor_of_a_batch_gas": batch.gas,
        "first_anchor_gas": first.gas,
        "proof_hashes": worst.hashes,
        "proof_hashes_of_a_batch": batch.hashes,
    }
    targets = {
        "anchor_27_hashes_gas": Target(at_most=80_000),
        "licence_gas": Target(at_most=30),
        "revocation_gas": Target(at_most=30),
        "proof_hashes": Target(at_least=27),
    }
    method = {
        "chain": f"{version}, hard fork prague; gas of the mined transaction, calldata included",
        "anchor_27_hashes": f"from {WORST:,} to {CITY:,} entries; proof of random hashes without zero bytes, both roots from it",
        "licence, revocation": f"either is one leaf: the dearest of {len(batches)} anchors {BATCH:,} leaves apart, divided by {BATCH:,}",
    }
    return report("anchor", figures, targets, env | method)


@dataclass(frozen=True, slots=True)
class Anchored:
    """One anchor: its gas, and how many hashes its proof had."""

    gas: int
    hashes: int


class Anchoring:
    """Anchors heads of a log that is too large to be built, each on a contract of its own.

    Args:
        chain: mines each transaction at once.
        url: of its node.
    """

    def __init__(self, chain: Chain, url: str) -> None:
        self._chain, self._operator = chain, Signer(secrets.token_bytes(32))
        chain_process.fund(url, [self._operator.address])

    def anchor(self, old: int, size: int) -> Anchored:
        """Anchor the tree of `size` on a contract that has the tree of `old`."""
        contract, tree = self._contract(), SparseTree(old, size)
        if old:
            self._send(contract.anchor_call(tree.root(old), old, tree.random(), []))
        proof = consistency_proof_from(tree.subtree, old, size) if old else []
        call = contract.anchor_call(tree.root(size), size, tree.random(), proof)
        return Anchored(self._send(call), len(proof))

    def _contract(self) -> LogAnchorContract:
        trust = deploy_trust(
            self._chain,
            self._operator,
            operator=self._operator.address,
            registrar=self._operator.address,
            origin_hash=hashlib.sha256(ORIGIN.encode()).digest(),
        )
        return LogAnchorContract(self._chain, trust.anchor)

    def _send(self, call: Call) -> int:
        """Mine a call and return its gas; raises where it reverts."""
        nonce = self._chain.transaction_count(self._operator.address, "pending")
        step = Step("anchor", call.to, call.data, GAS_LIMIT)
        (receipt,) = run_steps(self._chain, self._operator, nonce, [step], None, TIMEOUT_S)
        return receipt.gas_used


class SparseTree:
    """A tree of which only the ways to two sizes are there; what no boundary cuts has a hash from nowhere.

    Args:
        sizes: the two boundaries.
    """

    def __init__(self, *sizes: int) -> None:
        self._sizes = sizes
        self._hashes: dict[tuple[int, int], bytes] = {}

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` leaves."""
        return range_root(self.subtree, 0, size)

    def subtree(self, height: int, index: int) -> bytes:
        """Return the root of a perfect subtree."""
        start, end = index << height, (index + 1) << height
        if (height, index) not in self._hashes:
            is_cut = any(start < size < end for size in self._sizes)
            halves = (self.subtree(height - 1, 2 * index + side) for side in (0, 1)) if is_cut else ()
            self._hashes[height, index] = node_hash(*halves) if is_cut else self.random()
        return self._hashes[height, index]

    @staticmethod
    def random() -> bytes:
        """Return 32 bytes without a zero: zero bytes of calldata would be cheaper."""
        return bytes(byte or 1 for byte in secrets.token_bytes(32))


@contextmanager
def development_chain() -> Iterator[str]:
    """Run anvil with the rules of the Prague hard fork for the block; yields its address."""
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    anvil = [str(chain_process.anvil_path()), "--port", str(port), "--silent", "--hardfork", "prague"]
    command = [*anvil, "--prune-history", "16"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as anvil:
        try:
            end = time.monotonic() + TIMEOUT_S
            while not chain_process.answers(url):
                if time.monotonic() > end or anvil.poll() is not None:
                    raise CliError(f"anvil does not answer at {url}")
                time.sleep(0.05)
            yield url
        finally:
            anvil.terminate()
