"""Recursive length prefix: the encoding of transactions, headers and trie nodes.

Source: Ethereum Yellow Paper, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

Item: TypeAlias = "bytes | list[Item]"
SHORT_MAX: Final = 55  # longer bodies have a length of their own


def encode(item: bytes | Sequence[Item]) -> bytes:
    """Encode a byte string, or a list of items."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefix(0x80, len(item)) + item
    body = b"".join(map(encode, item))
    return _prefix(0xC0, len(body)) + body


def encode_number(value: int) -> bytes:
    """Return the byte string of a scalar: big-endian without leading zeros, to be encoded as an item."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _prefix(offset: int, length: int) -> bytes:
    if length <= SHORT_MAX:
        return bytes([offset + length])
    size = encode_number(length)
    return bytes([offset + SHORT_MAX + len(size)]) + size
