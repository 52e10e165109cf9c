"""Anchor evidence of kind `proved`, made up without a node: a state of one contract under a header that four validators seal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.anchors.proof import (
    BINDING_SLOT,
    ROOT_SLOT,
    SIZE_SLOT,
    SLOTS,
    STATUS_SLOT,
    AnchorProof,
    binding_of,
)
from ledger.encoding import Address, keccak
from ledger.licences.attest import AnchorStatement, proved_evidence
from ledger.signing import Signer
from tests.ledger.anchors.sealing import MIX_HASH, VALIDATORS, enc, hex_prefix, nibbles, number, sealed


def storage(values: dict[int, int]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """Return the root of a storage trie, and the path to each slot: the slots' keys differ in their first nibble."""
    branch: list[bytes] = [b""] * 17
    leaves = {}
    for slot, value in values.items():
        path = nibbles(keccak(slot.to_bytes(32, "big")))
        leaves[slot] = enc([hex_prefix(path[1:], True), enc(number(value))])
        assert len(leaves[slot]) >= 32 and not branch[path[0]]
        branch[path[0]] = keccak(leaves[slot])
    root = enc(branch)
    return keccak(root), [(root, leaves[slot]) for slot in SLOTS]


def proved(
    statement: AnchorStatement,
    origin_hash: bytes,
    *,
    signers: Sequence[Signer] = VALIDATORS,
    chain_id: int | None = None,
) -> dict[str, Any]:
    """Return evidence that a chain held what a statement says; `chain_id` claims another chain than the contract's own."""
    storage_root, slots = storage(
        {
            ROOT_SLOT: int.from_bytes(statement.root, "big"),
            STATUS_SLOT: int.from_bytes(statement.status_root, "big"),
            SIZE_SLOT: statement.time_s << 64 | statement.size,
            BINDING_SLOT: int.from_bytes(binding_of(statement.chain_id, origin_hash), "big"),
        }
    )
    account = enc([b"\1", b"", storage_root, keccak(b"code")])
    leaf = enc([hex_prefix(nibbles(keccak(statement.contract)), True), account])
    fields = [bytes(32), bytes(32), bytes(20), keccak(leaf), bytes(32), bytes(32), bytes(256)]
    fields += [number(n) for n in (1, statement.block, 30_000_000, 0, statement.time_s)]
    fields += [b"", MIX_HASH, bytes(8)]
    header = sealed(fields, signers)
    claimed = statement.chain_id if chain_id is None else chain_id
    return proved_evidence(AnchorProof(claimed, Address(statement.contract), header, (leaf,), tuple(slots)))
