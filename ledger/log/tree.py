"""RFC 6962 Merkle trees: hashing, roots, and proofs of inclusion and consistency."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from typing import Final

from ledger.errors import MalformedValue
from ledger.log.errors import ConsistencyInvalid, EntryMissing, ProofInvalid

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
SIZE_MAX: Final = (1 << 63) - 1
CHUNK_HEIGHT: Final = 16
_PAIR: Final = 2 * HASH_SIZE

Subtree = Callable[[int, int], bytes]  # (height, index) -> MTH(D[index * 2^height : (index + 1) * 2^height])


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry. Source: RFC 6962 §2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees. Source: RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


def hash_leaves(entries: Iterable[bytes]) -> bytes:
    """Return the leaf hashes of many entries, one after the other."""
    sha = sha256
    return b"".join([sha(b"\x00" + entry).digest() for entry in entries])


def split_hashes(hashes: bytes) -> list[bytes]:
    """Return concatenated hashes one by one."""
    return [hashes[i : i + HASH_SIZE] for i in range(0, len(hashes), HASH_SIZE)]


def level_above(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the hashes one level up; an odd last one is left out."""
    # pairs from a list are a quarter faster than slices of concatenated hashes: this is the log's innermost loop
    sha, each = sha256, iter(hashes)
    return [sha(b"\x01" + left + right).digest() for left, right in zip(each, each, strict=False)]


def parents(hashes: bytes) -> bytes:
    """Return the hashes one level up, for an even number of concatenated hashes (n * 64 bytes)."""
    sha = sha256
    return b"".join([sha(b"\x01" + hashes[i : i + _PAIR]).digest() for i in range(0, len(hashes), _PAIR)])


def subtree_roots(level_hashes: bytes, height: int) -> bytes:
    """Return the roots of consecutive whole subtrees.

    Args:
        level_hashes: a multiple of 2^height concatenated hashes.
        height: of the subtrees, above the given hashes.

    Raises:
        MalformedValue: the hashes do not fill whole subtrees.
    """
    if len(level_hashes) % (HASH_SIZE << height):
        raise MalformedValue(
            "level_hashes", f"a multiple of {HASH_SIZE << height} bytes", f"{len(level_hashes)} bytes"
        )
    hashes = split_hashes(level_hashes)
    for _ in range(height):
        hashes = level_above(hashes)
    return b"".join(hashes)


def fold_right(roots: Sequence[bytes]) -> bytes:
    """Return the root over the perfect subtrees of a tree, given from left (largest) to right.

    Raises:
        IndexError: never for a non-empty sequence.
    """
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def _level_root(hashes: list[bytes]) -> bytes:
    """Return the root over any number of hashes of one level."""
    spine: list[bytes] = []  # roots of the perfect subtrees from right to left
    while len(hashes) > 1:
        if len(hashes) % 2:
            spine.append(hashes[-1])
        hashes = level_above(hashes)
    return fold_right([*hashes, *reversed(spine)]) if hashes else EMPTY_ROOT


def root_of(leaf_hashes: bytes | Sequence[bytes]) -> bytes:
    """Return the tree's root over leaf hashes, concatenated or as a sequence. Source: RFC 6962 §2.1."""
    return _level_root(split_hashes(leaf_hashes) if isinstance(leaf_hashes, bytes) else list(leaf_hashes))


def _chunk_root(chunk: bytes | Sequence[bytes]) -> bytes:
    sha = sha256
    entries = split_hashes(chunk) if isinstance(chunk, bytes) else chunk
    return _level_root([sha(b"\x00" + entry).digest() for entry in entries])


def build_root(leaves: bytes | Sequence[bytes], *, workers: int = 1) -> bytes:
    """Return the root over many leaves at once.

    Args:
        leaves: the entries; or one byte string of 32-byte entries.
        workers: processes to hash in; 1 stays in this one.

    Raises:
        MalformedValue: a byte string that is no multiple of 32, or no positive number of workers.

    Source: RFC 6962 §2.1.
    """
    if isinstance(leaves, bytes) and len(leaves) % HASH_SIZE:
        raise MalformedValue("leaves", "a multiple of 32 bytes", f"{len(leaves)} bytes")
    if workers < 1:
        raise MalformedValue("workers", "at least 1", str(workers))
    step = (HASH_SIZE if isinstance(leaves, bytes) else 1) << CHUNK_HEIGHT
    chunks = [leaves[i : i + step] for i in range(0, len(leaves), step)]
    if not chunks:
        return EMPTY_ROOT
    # every chunk but the last is a perfect subtree, so the chunks' roots are one level of the tree
    if workers == 1 or len(chunks) == 1:
        return _level_root(list(map(_chunk_root, chunks)))
    with ProcessPoolExecutor(workers) as pool:
        return _level_root(list(pool.map(_chunk_root, chunks)))


class Frontier:
    """The roots of a growing tree's perfect subtrees: all that is needed to append and to know the root."""

    __slots__ = ("_roots", "size")

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []  # by descending height: one per bit of the size

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, size = leaf, self.size
        while size & 1:
            carry = node_hash(self._roots.pop(), carry)
            size >>= 1
        self._roots.append(carry)
        self.size += 1

    def extend(self, leaf_hashes: bytes) -> None:
        """Add concatenated leaf hashes."""
        for i in range(0, len(leaf_hashes), HASH_SIZE):
            self.append(leaf_hashes[i : i + HASH_SIZE])

    def root(self) -> bytes:
        """Return the root at the present size."""
        return fold_right(self._roots) if self._roots else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """Return the state: u64 size and the subtree roots from the largest to the smallest."""
        return self.size.to_bytes(8, "big") + b"".join(self._roots)

    @classmethod
    def from_bytes(cls, state: bytes) -> Frontier:
        """Read `to_bytes` back.

        Raises:
            MalformedValue: another length than the size asks for.
        """
        size = int.from_bytes(state[:8], "big")
        expected = 8 + HASH_SIZE * size.bit_count()
        if len(state) != expected:
            raise MalformedValue("frontier", f"{expected} bytes", f"{len(state)} bytes")
        frontier = cls()
        frontier.size = size
        frontier._roots = [state[i : i + HASH_SIZE] for i in range(8, len(state), HASH_SIZE)]
        return frontier


# --- making proofs ---------------------------------------------------------------------------------------


def perfect_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Return the (height, index) of the perfect subtrees that make up MTH(D[start:end]), from the left.

    Args:
        start: a multiple of the largest power of two ≤ end - start.
        end: over start.
    """
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append((height, start >> height))
        start += 1 << height
    return found


def range_root(subtree: Subtree, start: int, end: int) -> bytes:
    """Return MTH(D[start:end]) from perfect subtrees, for a start as in `perfect_subtrees`."""
    if start == end:
        return EMPTY_ROOT
    return fold_right([subtree(height, index) for height, index in perfect_subtrees(start, end)])


def path_from(subtree: Subtree, height: int, index: int, size: int) -> list[bytes]:
    """Return the siblings, from the bottom, on the way from one perfect subtree to the root of the tree.

    Args:
        subtree: gives any perfect subtree of the tree.
        height: of the subtree to start from.
        index: of it among the subtrees of its height.
        size: leaves of the tree.
    """
    last = (size - 1) >> height
    inner = (index ^ last).bit_length()  # below it the path is not on the right edge
    path: list[bytes] = []
    for level in range(height, height + inner - 1):
        path.append(subtree(level, ((index >> (level - height)) ^ 1)))
    if inner:
        level = height + inner - 1
        # here the path is left and the edge is right: the sibling is what the tree has beyond, ragged perhaps
        path.append(range_root(subtree, ((index >> (inner - 1)) + 1) << level, size))
    edge = index >> inner
    for level in range(height + inner, height + inner + edge.bit_length()):
        if (edge >> (level - height - inner)) & 1:
            path.append(subtree(level, (edge >> (level - height - inner)) - 1))
    return path


def inclusion_proof_from(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """Return the inclusion proof of a leaf.

    Raises:
        EntryMissing: the index is not in the tree.

    Source: RFC 6962 §2.1.1.
    """
    if not 0 <= index < size:
        raise EntryMissing(f"entry {index} in a tree of {size}")
    return path_from(subtree, 0, index, size)


def consistency_proof_from(subtree: Subtree, size1: int, size2: int) -> list[bytes]:
    """Return the proof that the tree of `size1` is a prefix of the tree of `size2`.

    Raises:
        EntryMissing: the sizes are not 0 ≤ size1 ≤ size2.

    Source: RFC 6962 §2.1.2.
    """
    if not 0 <= size1 <= size2:
        raise EntryMissing(f"a prefix of {size1} entries in a tree of {size2}")
    if size1 in (0, size2):
        return []
    height = (size1 & -size1).bit_length() - 1
    index = (size1 - 1) >> height
    # a whole-tree prefix is known to the verifier as root1; anything else starts from its last perfect subtree
    seed = [subtree(height, index)] if index else []
    return seed + path_from(subtree, height, index, size2)


def memory_subtree(leaf_hashes: Sequence[bytes]) -> Subtree:
    """Return the perfect subtrees of a small tree in memory."""
    levels = [b"".join(leaf_hashes)]
    while len(levels[-1]) >= _PAIR:
        levels.append(parents(levels[-1][: len(levels[-1]) // _PAIR * _PAIR]))
    return lambda height, index: levels[height][index * HASH_SIZE : (index + 1) * HASH_SIZE]


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the inclusion proof of one leaf in a small tree in memory.

    Raises:
        EntryMissing: the index is not in the tree.
    """
    return inclusion_proof_from(memory_subtree(leaf_hashes), index, len(leaf_hashes))


def consistency_path(leaf_hashes: Sequence[bytes], size1: int) -> list[bytes]:
    """Return the proof that the first `size1` leaves are a prefix of a small tree in memory.

    Raises:
        EntryMissing: there are fewer leaves.
    """
    return consistency_proof_from(memory_subtree(leaf_hashes), size1, len(leaf_hashes))


# --- checking proofs -------------------------------------------------------------------------------------


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to.

    Args:
        leaf: hash of the leaf, 32 bytes.
        index: of the leaf, in [0, size).
        size: leaves of the tree, up to 2^63 - 1.
        path: the siblings from the bottom, 32 bytes each.

    Raises:
        ProofInvalid: a hash is not 32 bytes, the index is outside, or the path is too long or too short.

    Source: RFC 9162 §2.1.3.2, which keeps RFC 6962's tree.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"index {index} is outside a tree of {size}")
    if set(map(len, path)) - {HASH_SIZE} or len(leaf) != HASH_SIZE:
        raise ProofInvalid("a hash of the proof is not 32 bytes")
    sha, at, last, root = (
        sha256,
        index,
        size - 1,
        leaf,
    )  # hashed in place: a call for each node costs as much as its hash
    for sibling in path:
        if last == 0:
            raise ProofInvalid(f"{len(path)} hashes are too many for entry {index} of {size}")
        if at & 1 or at == last:
            root = sha(b"\x01" + sibling + root).digest()
            while at and not at & 1:  # levels at which the right edge has no sibling
                at, last = at >> 1, last >> 1
        else:
            root = sha(b"\x01" + root + sibling).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise ProofInvalid(f"{len(path)} hashes are too few for entry {index} of {size}")
    return root


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is at `index` of the tree with this root; arguments as `root_from_inclusion`.

    Raises:
        ProofInvalid: the proof is malformed or leads to another root.
    """
    if not hmac.compare_digest(root_from_inclusion(leaf, index, size, path), root):
        raise ProofInvalid(f"the proof of entry {index} of {size} leads to another root")


def verify_consistency(size1: int, root1: bytes, size2: int, root2: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree of `size1` is a prefix of the tree of `size2`.

    Args:
        size1: leaves of the older tree.
        root1: its root, 32 bytes.
        size2: leaves of the newer tree, up to 2^63 - 1.
        root2: its root, 32 bytes.
        path: the proof, 32 bytes each; empty when `size1` is 0 or both sizes are equal.

    Raises:
        ConsistencyInvalid: the sizes shrink, the proof is malformed, or it leads to another root.

    Source: RFC 9162 §2.1.4.2, which keeps RFC 6962's tree.
    """
    if not 0 <= size1 <= size2 <= SIZE_MAX:
        raise ConsistencyInvalid(f"a tree of {size1} is no prefix of a tree of {size2}")
    if any(len(node) != HASH_SIZE for node in path):
        raise ConsistencyInvalid("a hash of the proof is not 32 bytes")
    if size1 in (0, size2):
        _require_trivial(size1, root1, size2, root2, path)
        return
    older, newer = _consistent_roots(size1, root1, size2, path)
    if not (hmac.compare_digest(older, root1) and hmac.compare_digest(newer, root2)):
        raise ConsistencyInvalid(f"the proof from {size1} to {size2} leads to another root")


def _require_trivial(size1: int, root1: bytes, size2: int, root2: bytes, path: Sequence[bytes]) -> None:
    if path:
        raise ConsistencyInvalid(f"{len(path)} hashes for sizes {size1} and {size2}, expected none")
    if size1 == 0 and root1 != EMPTY_ROOT:
        raise ConsistencyInvalid("a tree of 0 entries with the root of another")
    if size1 == 0 < size2 and len(root2) != HASH_SIZE:
        raise ConsistencyInvalid("a root is not 32 bytes")
    if size1 == size2 and not hmac.compare_digest(root1, root2):
        raise ConsistencyInvalid(f"two roots at the same size {size1}")


def _consistent_roots(size1: int, root1: bytes, size2: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the older and the newer root that a proof with 0 < size1 < size2 leads to."""
    nodes = [root1, *path] if size1 & (size1 - 1) == 0 else list(path)
    if not nodes:
        raise ConsistencyInvalid("the proof is empty")
    at, last = size1 - 1, size2 - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    older = newer = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            raise ConsistencyInvalid(f"{len(path)} hashes are too many from {size1} to {size2}")
        if at & 1 or at == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ConsistencyInvalid(f"{len(path)} hashes are too few from {size1} to {size2}")
    return older, newer
