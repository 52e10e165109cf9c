"""RFC 6962 trees: proofs of any shape verify, and nothing else does."""

from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import MalformedValue
from ledger.log.errors import ConsistencyInvalid, EntryMissing, ProofInvalid
from ledger.log.tree import (
    EMPTY_ROOT,
    Frontier,
    build_root,
    consistency_path,
    hash_leaves,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    root_of,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(600)]
trees = st.integers(1, 600).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))


def slow_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 §2.1 writes it down."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


@settings(deadline=None)
@given(trees)
@example((599, 600))
@example((511, 512))
@example((512, 513))
def test_every_entry_is_proved_in_every_tree(tree: tuple[int, int]) -> None:
    index, size = tree
    root = root_of(LEAVES[:size])
    assert root == slow_root(LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, inclusion_path(LEAVES[:size], index), root)


@settings(deadline=None)
@given(trees, st.data())
def test_an_inclusion_proof_fails_on_any_change(tree: tuple[int, int], data: st.DataObject) -> None:
    index, size = tree
    root, path = root_of(LEAVES[:size]), inclusion_path(LEAVES[:size], index)
    other = data.draw(st.integers(0, 599).filter(lambda other: other != index))
    wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        (LEAVES[other], index, size, path, root),
        (LEAVES[index], other, size, path, root),
        (LEAVES[index], index, size, [*path, LEAVES[0]], root),
        (LEAVES[index], index, size, path, LEAVES[other] if size > 1 else EMPTY_ROOT),
    ]
    if path:
        cut = data.draw(st.integers(0, len(path) - 1))
        bit = 1 << data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(path[cut], "big") ^ bit).to_bytes(32, "big")
        wrong += [
            (LEAVES[index], index, size, [*path[:cut], flipped, *path[cut + 1 :]], root),
            (LEAVES[index], index, size, [*path[:cut], *path[cut + 1 :]], root),
            (LEAVES[index], index, size, [*path[:cut], path[cut][:31], *path[cut + 1 :]], root),
            (LEAVES[index], index, size, path[::-1] if path != path[::-1] else [], root),
        ]
    for case in wrong:
        with pytest.raises(ProofInvalid):
            verify_inclusion(*case)


@settings(deadline=None)
@given(st.integers(0, 600).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))))
@example((0, 0))
@example((0, 600))
@example((256, 600))
@example((600, 600))
def test_every_prefix_is_proved(sizes: tuple[int, int]) -> None:
    size1, size2 = sizes
    path = consistency_path(LEAVES[:size2], size1)
    verify_consistency(size1, root_of(LEAVES[:size1]), size2, root_of(LEAVES[:size2]), path)


@settings(deadline=None)
@given(
    st.integers(2, 600).flatmap(lambda size: st.tuples(st.integers(1, size - 1), st.just(size))), st.data()
)
def test_a_consistency_proof_fails_on_any_change(sizes: tuple[int, int], data: st.DataObject) -> None:
    size1, size2 = sizes
    root1, root2, path = (
        root_of(LEAVES[:size1]),
        root_of(LEAVES[:size2]),
        consistency_path(LEAVES[:size2], size1),
    )
    cut = data.draw(st.integers(0, len(path) - 1))
    bit = 1 << data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(path[cut], "big") ^ bit).to_bytes(32, "big")
    fork = root_of([*LEAVES[: size1 - 1], leaf_hash(b"forked")])
    for case in (
        (size1, fork, size2, root2, path),
        (size1, root1, size2, fork, path),
        (size2, root2, size1, root1, path),
        (size1, root1, size2, root2, [*path[:cut], flipped, *path[cut + 1 :]]),
        (size1, root1, size2, root2, [*path[:cut], *path[cut + 1 :]]),
        (size1, root1, size2, root2, [*path, root1]),
        (size1, root1, size2, root2, [root1, *path]),
        (size1, root1, size2, root2, []),
    ):
        with pytest.raises(ConsistencyInvalid):
            verify_consistency(*case)


def test_an_empty_prefix_needs_no_proof_and_takes_none() -> None:
    verify_consistency(0, EMPTY_ROOT, 3, root_of(LEAVES[:3]), [])
    with pytest.raises(ConsistencyInvalid):
        verify_consistency(0, EMPTY_ROOT, 3, root_of(LEAVES[:3]), [LEAVES[0]])
    with pytest.raises(ConsistencyInvalid):
        verify_consistency(0, LEAVES[0], 3, root_of(LEAVES[:3]), [])


def test_an_interior_node_is_no_leaf() -> None:
    left, right = node_hash(LEAVES[0], LEAVES[1]), node_hash(LEAVES[2], LEAVES[3])
    root = root_of(LEAVES[:4])
    # as a hash it would sit in a tree of half the size; as an entry of 64 bytes its leaf hash is another
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != left
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf_hash(LEAVES[0] + LEAVES[1]), 0, 2, [right], root)
    with pytest.raises(ProofInvalid):
        verify_inclusion(left, 0, 4, [right], root)


def test_an_entry_of_64_bytes_is_hashed_as_an_entry() -> None:
    entry = LEAVES[0] + LEAVES[1]
    assert leaf_hash(entry) == sha256(b"\x00" + entry).digest()
    leaves = [*LEAVES[:2], leaf_hash(entry)]
    verify_inclusion(leaves[2], 2, 3, inclusion_path(leaves, 2), root_of(leaves))


def test_a_duplicated_last_node_gives_another_root() -> None:
    assert root_of(LEAVES[:3]) != root_of([*LEAVES[:3], LEAVES[2]])
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[2], 3, 4, [LEAVES[2], node_hash(*LEAVES[:2])], root_of(LEAVES[:3]))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, 1 << 63), (1 << 64, 1 << 65)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid):
        root_from_inclusion(LEAVES[0], index, size, [])


def test_no_proof_is_made_outside_the_tree() -> None:
    with pytest.raises(EntryMissing):
        inclusion_path(LEAVES[:3], 3)
    with pytest.raises(EntryMissing):
        consistency_path(LEAVES[:3], 4)


@settings(deadline=None)
@given(st.integers(0, 600))
def test_a_frontier_has_the_tree_s_root_at_every_size(size: int) -> None:
    frontier = Frontier()
    frontier.extend(b"".join(LEAVES[:size]))
    assert frontier.root() == root_of(LEAVES[:size])
    again = Frontier.from_bytes(frontier.to_bytes())
    for leaf in LEAVES[size:]:
        again.append(leaf)
    assert (again.size, again.root()) == (600, root_of(LEAVES))


def test_a_frontier_of_another_length_is_refused() -> None:
    with pytest.raises(MalformedValue):
        Frontier.from_bytes((3).to_bytes(8, "big") + LEAVES[0])


def test_whole_subtrees_have_their_own_roots() -> None:
    level = b"".join(LEAVES[:512])
    assert subtree_roots(level, 8) == root_of(LEAVES[:256]) + root_of(LEAVES[256:512])
    with pytest.raises(MalformedValue):
        subtree_roots(level[:-32], 8)


@pytest.mark.parametrize(
    "size",
    [0, 1, 7, (1 << 16) - 1, 1 << 16, (1 << 16) + 5, pytest.param((1 << 17) + 5, marks=pytest.mark.slow)],
)
def test_one_and_two_processes_build_the_same_root(size: int) -> None:
    entries = [number.to_bytes(32, "big") for number in range(size)]
    expected = root_of(hash_leaves(entries))
    assert build_root(entries) == build_root(b"".join(entries)) == expected
    assert build_root(b"".join(entries), workers=2) == expected


def test_leaves_that_are_not_32_bytes_are_refused_as_one_string() -> None:
    with pytest.raises(MalformedValue):
        build_root(b"x" * 33)
    with pytest.raises(MalformedValue):
        build_root([], workers=0)
