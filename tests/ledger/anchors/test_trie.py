"""Merkle–Patricia proofs of every kind of node, made by hand; a node's own are in test_proof."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.anchors.errors import EvidenceMalformed, TrieProofInvalid
from ledger.anchors.trie import value_at, verify_account_and_storage
from ledger.encoding import keccak
from tests.ledger.anchors.sealing import address, enc, hex_prefix, nibbles

KEY = b"key"
PATH = nibbles(keccak(KEY))
OTHER = keccak(b"another subtree")


def branch(at: int, child: Any) -> list[Any]:
    return [*[OTHER] * at, child, *[OTHER] * (15 - at), b""]


def deep_trie(leaf_path: list[int], value: bytes = b"value") -> tuple[bytes, list[bytes]]:
    """Extension over 58 nibbles, a branch, a second branch by hash, and a leaf small enough to lie in it."""
    leaf = [hex_prefix(leaf_path, is_leaf=True), value]
    lower = enc(branch(PATH[59], leaf))
    upper = enc(branch(PATH[58], keccak(lower)))
    top = enc([hex_prefix(PATH[:58], is_leaf=False), keccak(upper)])
    return keccak(top), [top, upper, lower]


def test_extension_branches_and_embedded_leaf_lead_to_the_value() -> None:
    root, proof = deep_trie(PATH[60:])
    assert value_at(root, KEY, proof) == b"value"


def test_root_that_is_a_leaf_leads_to_the_value() -> None:
    leaf = enc([hex_prefix(PATH, is_leaf=True), b"value"])
    assert value_at(keccak(leaf), KEY, [leaf]) == b"value"


def test_embedded_branch_leads_to_the_value() -> None:
    inner = [*[b""] * PATH[63], [hex_prefix([], is_leaf=True), b"v"], *[b""] * (15 - PATH[63]), b""]
    top = enc([hex_prefix(PATH[:63], is_leaf=False), inner])
    assert value_at(keccak(top), KEY, [top]) == b"v"


@pytest.mark.parametrize(
    "leaf_path", [PATH[60:-1], [*PATH[60:], 0], [*PATH[60:-1], PATH[-1] ^ 1], []], ids=str
)
def test_leaf_of_another_key_is_refused(leaf_path: list[int]) -> None:
    root, proof = deep_trie(leaf_path)
    with pytest.raises(TrieProofInvalid):
        value_at(root, KEY, proof)


def test_missing_surplus_swapped_and_foreign_nodes_are_refused() -> None:
    root, proof = deep_trie(PATH[60:])
    other, foreign = deep_trie(PATH[60:], b"other")
    for altered in ([], proof[:-1], proof[1:], [*proof, proof[-1]], proof[::-1], [*proof[:2], foreign[2]]):
        with pytest.raises(TrieProofInvalid):
            value_at(root, KEY, altered)
    with pytest.raises(TrieProofInvalid):
        value_at(other, KEY, proof)
    with pytest.raises(TrieProofInvalid):
        value_at(root, b"another key", proof)


def test_empty_place_in_a_branch_proves_nothing() -> None:
    top = enc([*[b""] * 16, b"value"])
    with pytest.raises(TrieProofInvalid):
        value_at(keccak(top), KEY, [top])


@pytest.mark.parametrize("prefix", [b"\x60", b"\x21", b""], ids=["flag", "padding", "none"])
def test_path_of_the_key_under_another_prefix_is_refused(prefix: bytes) -> None:
    top = enc([prefix + keccak(KEY) if prefix else prefix, b"value"])
    with pytest.raises(EvidenceMalformed):
        value_at(keccak(top), KEY, [top])


def test_extension_that_leaves_the_path_is_refused() -> None:
    leaf = enc([hex_prefix(PATH[3:], is_leaf=True), b"value"])
    top = enc([hex_prefix([PATH[0], PATH[1], PATH[2] ^ 1], is_leaf=False), keccak(leaf)])
    with pytest.raises(TrieProofInvalid):
        value_at(keccak(top), KEY, [top, leaf])


@pytest.mark.parametrize(
    "node",
    [
        [],
        [b"", b"", b""],
        [b"\0"] * 18,
        b"a string",
        [[], b"value"],
        [hex_prefix(PATH, is_leaf=True), []],
    ],
    ids=repr,
)
def test_nodes_of_no_known_shape_are_refused(node: Any) -> None:
    top = enc(node)
    with pytest.raises((EvidenceMalformed, TrieProofInvalid)):
        value_at(keccak(top), KEY, [top])


def test_extension_of_no_nibbles_is_refused() -> None:
    leaf = enc([hex_prefix(PATH, is_leaf=True), b"value"])
    top = enc([hex_prefix([], is_leaf=False), keccak(leaf)])
    with pytest.raises(TrieProofInvalid):
        value_at(keccak(top), KEY, [top, leaf])


@pytest.mark.parametrize(
    "account",
    [
        b"string",
        [b"", b"", b""],
        [b"", b"", bytes(32), bytes(32), b""],
        [b"", b"", bytes(32)],
        [b"", b"", b"short", bytes(32)],
        [b"", b"", [], bytes(32)],
    ],
    ids=repr,
)
def test_accounts_of_no_known_shape_are_refused(account: Any) -> None:
    who = address(7)
    leaf = enc([hex_prefix(nibbles(keccak(who)), is_leaf=True), enc(account)])
    with pytest.raises(EvidenceMalformed):
        verify_account_and_storage(keccak(leaf), who, [leaf], {})


@pytest.mark.parametrize("value", [b"\0\1", bytes([1]) * 33, [], [b"1"]], ids=repr)
def test_slot_values_of_no_known_shape_are_refused(value: Any) -> None:
    who, slot = address(7), 3
    node = enc([hex_prefix(nibbles(keccak(slot.to_bytes(32, "big"))), is_leaf=True), enc(value)])
    account = enc([b"", b"", keccak(node), bytes([1]) * 32])
    leaf = enc([hex_prefix(nibbles(keccak(who)), is_leaf=True), account])
    with pytest.raises(EvidenceMalformed):
        verify_account_and_storage(keccak(leaf), who, [leaf], {slot: [node]})


def test_slot_value_is_filled_up_to_a_word() -> None:
    who, slot = address(7), 3
    node = enc([hex_prefix(nibbles(keccak(slot.to_bytes(32, "big"))), is_leaf=True), enc(b"\x12\x34")])
    account = enc([b"\x01", b"", keccak(node), bytes([1]) * 32])
    leaf = enc([hex_prefix(nibbles(keccak(who)), is_leaf=True), account])
    found = verify_account_and_storage(keccak(leaf), who, [leaf], {slot: [node]})
    assert found == {slot: (0x1234).to_bytes(32, "big")}
