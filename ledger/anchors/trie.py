"""Merkle–Patricia proofs as `eth_getProof` gives them: the nodes on the path from a root to a value.

Source: Ethereum Yellow Paper, appendices C (hex prefix) and D (trie); EIP-1186.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ledger.anchors import rlp
from ledger.anchors.errors import EvidenceMalformed, TrieProofInvalid
from ledger.encoding import keccak, require_length, word
from ledger.rlp import Item
from ledger.types import Address

NODE_MAX: Final = 1024  # bytes; a full branch of hashes has 532
_BRANCH: Final = 17
_HASH_SIZE: Final = 32
_ODD: Final = 1  # bits of the first nibble of a hex prefix
_LEAF: Final = 2


def verify_account_and_storage(
    state_root: bytes,
    address: Address,
    account_proof: Sequence[bytes],
    storage_proofs: Mapping[int, Sequence[bytes]],
) -> dict[int, bytes]:
    """Verify that an account has certain values in its storage.

    Args:
        state_root: of a block, 32 bytes.
        account_proof: nodes from the state root to the account, the root first.
        storage_proofs: for each slot, the nodes from the account's storage root to its value.

    Returns:
        For each slot its value, 32 bytes. A slot that is zero has no proof: it is refused.

    Raises:
        TrieProofInvalid: a proof does not lead to a value.
        EvidenceMalformed: a node, the account or a value is of no known shape.
    """
    require_length("state_root", state_root, 32)
    require_length("address", address, 20)
    account = rlp.decode_list(value_at(state_root, address, account_proof), "account")
    if len(account) != 4:
        raise EvidenceMalformed(
            "account", "nonce, balance, storage root and code hash", f"{len(account)} items"
        )
    storage_root = rlp.require_bytes(account[2], "storage root", 32)
    values = {}
    for slot, proof in storage_proofs.items():
        encoded = value_at(storage_root, word(slot), proof)
        values[slot] = word(rlp.require_number(rlp.decode(encoded, "slot"), "slot"))
    return values


def value_at(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes:
    """Return the value that a secure trie (keys hashed) has at a key.

    Args:
        root: 32 bytes.
        key: not yet hashed.
        nodes: the proof, RLP of each node, the root first.

    Raises:
        TrieProofInvalid: a node is missing, left over or not the one that its parent names, or nothing is at
            the key.
        EvidenceMalformed: a node is no branch, extension or leaf.
    """
    path, rest = _nibbles(keccak(key)), iter(nodes)
    node = _node(root, rest)
    while True:
        if len(node) == _BRANCH:
            step, child = path[:1], node[path[0]] if path else b""
        else:
            step, is_leaf = _hex_prefix(rlp.require_bytes(node[0], "path of a node"))
            child = node[1]
            if is_leaf:
                break
        node, path = _node(child, rest), _without(path, step)
    if path != step:
        raise TrieProofInvalid("expected a leaf at the key, got one at another key")
    if next(rest, None) is not None:
        raise TrieProofInvalid("expected the proof to end with its leaf, got more nodes")
    return rlp.require_bytes(child, "value of a leaf")


def _node(reference: Item, rest: Iterator[bytes]) -> list[Item]:
    """Return the node that a parent names: the proof's next by hash, or one small enough to lie in the parent."""
    if isinstance(reference, bytes):
        encoded = next(rest, None) if len(reference) == _HASH_SIZE else None
        if encoded is None:
            raise TrieProofInvalid("expected a node on the path to the key, got none")
        if len(encoded) > NODE_MAX or keccak(encoded) != reference:
            raise TrieProofInvalid("expected the node that its parent names, got another")
        reference = rlp.decode_list(encoded, "node")
    if len(reference) not in (2, _BRANCH):
        raise EvidenceMalformed("node", f"2 or {_BRANCH} items", f"{len(reference)}")
    return reference


def _without(path: bytes, step: bytes) -> bytes:
    if not step or not path.startswith(step):
        raise TrieProofInvalid("expected a path to the key, got one that leaves it")
    return path[len(step) :]


def _nibbles(data: bytes) -> bytes:
    return bytes(nibble for byte in data for nibble in (byte >> 4, byte & 15))


def _hex_prefix(encoded: bytes) -> tuple[bytes, bool]:
    """Return the nibbles that a node stands for, and whether it is a leaf."""
    nibbles = _nibbles(encoded)
    flags = nibbles[0] if nibbles else 0xF
    if flags > _LEAF | _ODD or (not flags & _ODD and nibbles[1] != 0):
        raise EvidenceMalformed("path of a node", "a hex prefix", f"{len(encoded)} bytes of another form")
    return nibbles[1 if flags & _ODD else 2 :], bool(flags & _LEAF)
