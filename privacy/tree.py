"""Merkle trees in the shape of RFC 6962 over leaf digests, each use with its own node tag."""

from collections.abc import Sequence

from privacy.encoding import tagged_hash


def tree_root(node_name: str, leaves: Sequence[bytes]) -> bytes:
    """Return the root over at least one leaf digest.

    Args:
        node_name: the tagged hash's name for inner nodes.
        leaves: digests, already domain-separated from nodes by their own name.

    Source: RFC 6962 §2.1, with the tagged hash in place of SHA-256 and its prefixes.
    """
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    left, right = tree_root(node_name, leaves[:split]), tree_root(node_name, leaves[split:])
    return tagged_hash(node_name, left, right)


def tree_path(node_name: str, leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the siblings from a leaf up to the root.

    Source: RFC 6962 §2.1.1.
    """
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*tree_path(node_name, leaves[:split], index), tree_root(node_name, leaves[split:])]
    return [*tree_path(node_name, leaves[split:], index - split), tree_root(node_name, leaves[:split])]


def root_of_path(node_name: str, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Recompute the root from a leaf and its path, or return None if the path has the wrong length."""
    if size == 1:
        return None if path else leaf
    if not path:
        return None
    split = _split(size)
    inner, sibling = path[:-1], path[-1]
    if index < split:
        left = root_of_path(node_name, leaf, index, split, inner)
        return None if left is None else tagged_hash(node_name, left, sibling)
    right = root_of_path(node_name, leaf, index - split, size - split, inner)
    return None if right is None else tagged_hash(node_name, sibling, right)


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
