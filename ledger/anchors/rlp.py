"""Recursive length prefix, decoded strictly: what decodes is its own encoding, byte for byte.

Source: Ethereum Yellow Paper, appendix B.
"""

from __future__ import annotations

from typing import Final

from ledger.anchors.errors import EvidenceMalformed
from ledger.rlp import SHORT_MAX, Item

_DEPTH_MAX: Final = 16


def decode(data: bytes, what: str) -> Item:
    """Decode one item that fills `data`.

    Args:
        what: names the data in errors.

    Raises:
        EvidenceMalformed: bytes are missing or left over, a length is not minimal, or lists nest too deep.
    """
    item, end = _item(data, 0, len(data), what, 0)
    if end != len(data):
        raise EvidenceMalformed(what, f"an RLP item of {end} bytes", f"{len(data)} bytes")
    return item


def decode_list(data: bytes, what: str) -> list[Item]:
    """Decode a list that fills `data`.

    Raises:
        EvidenceMalformed: no canonical RLP, or a string.
    """
    return require_list(decode(data, what), what)


def require_list(item: Item, what: str) -> list[Item]:
    """Refuse a string where a list belongs.

    Raises:
        EvidenceMalformed: it is a string.
    """
    if isinstance(item, bytes):
        raise EvidenceMalformed(what, "an RLP list", f"a string of {len(item)} bytes")
    return item


def require_bytes(item: Item, what: str, length: int | None = None) -> bytes:
    """Refuse a list, or a string of another length, where a string belongs.

    Raises:
        EvidenceMalformed: it is a list, or not `length` bytes.
    """
    if not isinstance(item, bytes):
        raise EvidenceMalformed(what, "an RLP string", f"a list of {len(item)} items")
    if length is not None and len(item) != length:
        raise EvidenceMalformed(what, f"{length} bytes", f"{len(item)} bytes")
    return item


def require_number(item: Item, what: str, size_max: int = 32) -> int:
    """Read a scalar of at most `size_max` bytes.

    Raises:
        EvidenceMalformed: it is a list, longer, or has leading zeros.
    """
    value = require_bytes(item, what)
    if len(value) > size_max or value[:1] == b"\0":
        raise EvidenceMalformed(what, f"a scalar of at most {size_max} bytes", f"{len(value)} bytes")
    return int.from_bytes(value, "big")


def _item(data: bytes, start: int, limit: int, what: str, depth: int) -> tuple[Item, int]:
    """Decode the item that begins at `start` and ends before `limit`; return it and where it ends."""
    if depth > _DEPTH_MAX:
        raise EvidenceMalformed(what, f"at most {_DEPTH_MAX} levels of lists", "more")
    if start >= limit:
        raise EvidenceMalformed(what, "an RLP item", "the end of the data")
    first = data[start]
    if first < 0x80:
        return data[start : start + 1], start + 1
    is_list = first >= 0xC0
    body, end = _bounds(data, start, limit, first - (0xC0 if is_list else 0x80), what)
    if not is_list:
        if end - body == 1 and data[body] < 0x80:
            raise EvidenceMalformed(what, "a byte below 0x80 as itself", "one with a prefix")
        return data[body:end], end
    items: list[Item] = []
    while body < end:
        item, body = _item(data, body, end, what, depth + 1)
        items.append(item)
    return items, end


def _bounds(data: bytes, start: int, limit: int, code: int, what: str) -> tuple[int, int]:
    """Return where the body of the item at `start` begins and ends."""
    body = start + 1
    if code > SHORT_MAX:
        size = data[body : min(limit, body + code - SHORT_MAX)]
        code, body = int.from_bytes(size, "big"), body + code - SHORT_MAX
        if size[:1] == b"\0" or code <= SHORT_MAX:
            raise EvidenceMalformed(what, "the shortest form of a length", f"{len(size)} bytes for {code}")
    if body + code > limit:
        raise EvidenceMalformed(what, f"{code} bytes of an RLP item", f"{max(0, limit - body)} bytes")
    return body, body + code
