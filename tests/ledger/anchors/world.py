"""A chain with the trust contracts, and the recursive definitions of RFC 6962 §2.1 to judge them by."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ledger.abi import interface
from ledger.anchors.contract import IssuerRegistryContract, LogAnchorContract
from ledger.anchors.deploy import deploy_trust
from ledger.anchors.types import EMPTY_ROOT, TrustDeployment
from ledger.chain import Chain, TxReceipt
from ledger.deploy import Step, fund, run_steps
from ledger.errors import CallReverted
from ledger.signing import Signer
from ledger.types import Address, Call, to_hex
from tests.ledger.conftest import ETHER, RICH, Anvil, signer_for

ORIGIN_HASH = hashlib.sha256(b"log.example/city").digest()
ADMINISTRATOR = Signer(RICH)
OPERATOR = signer_for("log operator")
REGISTRAR = signer_for("trust registrar")


@dataclass
class Trust:
    """The trust contracts on a chain of their own, which mines each transaction at once."""

    anvil: Anvil
    deployment: TrustDeployment

    def __post_init__(self) -> None:
        self.chain: Chain = self.anvil.chain
        self.log = LogAnchorContract(self.chain, self.deployment.anchor)
        self.issuers = IssuerRegistryContract(self.chain, self.deployment.issuers)

    def send(self, signer: Signer, call: Call) -> TxReceipt:
        nonce = self.chain.transaction_count(signer.address, "pending")
        step = Step("call", call.to, call.data, 300_000)
        return run_steps(self.chain, signer, nonce, [step], None, 20)[0]

    def anchor(self, leaves: Sequence[bytes], size: int, status: bytes) -> TxReceipt:
        """Anchor the first `size` leaves, with the proof from what is anchored."""
        proof = consistency(leaves[:size], self.log.head().size)
        return self.send(OPERATOR, self.log.anchor_call(root(leaves[:size]), size, status, proof))

    def refusal(self, signer: Signer, call: Call) -> tuple[str, dict[str, Any]] | None:
        """The named error that a call reverts with on the newest state, None when it takes effect."""
        try:
            self.chain.call(call.to, call.data, sender=signer.address)
        except CallReverted as err:
            return named(call.to == self.deployment.anchor, err.data)
        return None


@contextmanager
def mined_now_and_then(url: str, *, every_s: float = 2.0) -> Iterator[None]:
    """Mine beside the block: a node that mines at each transaction can leave the last of a batch waiting for the next one."""
    done = threading.Event()

    def mine() -> None:
        with Chain(url) as chain:
            while not done.wait(every_s):
                chain.request("evm_mine")

    miner = threading.Thread(target=mine)
    miner.start()
    try:
        yield
    finally:
        done.set()
        miner.join()


def make_trust(anvil: Anvil) -> Trust:
    with mined_now_and_then(anvil.url):
        deployment = deploy_trust(
            anvil.chain,
            ADMINISTRATOR,
            operator=OPERATOR.address,
            registrar=REGISTRAR.address,
            origin_hash=ORIGIN_HASH,
        )
    fund(anvil.chain, ADMINISTRATOR, [OPERATOR.address, REGISTRAR.address], 10 * ETHER)
    return Trust(anvil, deployment)


def named(is_anchor: bool, data: bytes) -> tuple[str, dict[str, Any]]:
    """Name an error and its arguments by the contract's own ABI."""
    abi = interface("LogAnchor" if is_anchor else "IssuerRegistry")
    signature = abi.errors[data[:4]]
    words = [data[4 + 32 * i : 36 + 32 * i] for i in range(len(signature.inputs))]
    return signature.name, {
        name: word if kind == "bytes32" else Address(word[12:]) if kind == "address" else int.from_bytes(word)
        for (name, kind), word in zip(signature.inputs, words, strict=True)
    }


def call_from(chain: Chain, call: Call, sender: Address, slots: dict[int, bytes]) -> str | None:
    """Run a call on a contract whose storage is replaced; return the name of the error, None if there is none."""
    override = {
        to_hex(call.to): {"stateDiff": {to_hex(k.to_bytes(32, "big")): to_hex(v) for k, v in slots.items()}}
    }
    request = {"to": to_hex(call.to), "data": to_hex(call.data), "from": to_hex(sender)}
    try:
        chain.request("eth_call", request, "latest", override)
    except CallReverted as err:
        return named(True, err.data)[0]
    return None


def head_slots(
    root: bytes, size: int, status: bytes = bytes(31) + b"\1", time_s: int = 1
) -> dict[int, bytes]:
    """The storage that holds a head, by the contract's documentation."""
    return {1: root, 2: status, 3: (size | time_s << 64).to_bytes(32, "big")}


# --- RFC 6962 §2.1, word for word ------------------------------------------------------------------------


def split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH of leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def consistency(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """PROOF(m, D[n]); empty where none is needed."""
    if size in (0, len(leaves)):
        return []
    return subproof(lambda start, end: root(leaves[start:end]), size, 0, len(leaves), is_whole=True)


def subproof(
    range_root: Callable[[int, int], bytes], size: int, start: int, end: int, *, is_whole: bool
) -> list[bytes]:
    """SUBPROOF(m, D[start:end], b), with m counted from the first leaf of all."""
    if size == end:
        return [] if is_whole else [range_root(start, end)]
    middle = start + split(end - start)
    if size <= middle:
        return [*subproof(range_root, size, start, middle, is_whole=is_whole), range_root(middle, end)]
    return [*subproof(range_root, size, middle, end, is_whole=False), range_root(start, middle)]


def sparse_growth(size1: int, size2: int) -> tuple[bytes, bytes, list[bytes]]:
    """Both roots and the proof of a log too large to build: subtrees that no boundary cuts have hashes from nowhere.

    No byte of the proof is zero, since zero bytes are cheaper on the chain.
    """

    def range_root(start: int, end: int) -> bytes:
        length = end - start
        if length & (length - 1) == 0 and not start < size1 < end:
            return bytes(b or 1 for b in hashlib.sha256(f"{start}-{end}".encode()).digest())
        middle = start + split(length)
        return hashlib.sha256(b"\1" + range_root(start, middle) + range_root(middle, end)).digest()

    proof = subproof(range_root, size1, 0, size2, is_whole=True)
    return range_root(0, size1), range_root(0, size2), proof


def leaf(i: int, salt: bytes = b"") -> bytes:
    return hashlib.sha256(b"\0" + salt + i.to_bytes(8, "big")).digest()
