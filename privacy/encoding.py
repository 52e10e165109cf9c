"""Bytes that are hashed: words, tagged hashes and canonical JSON (docs/protocol.md §0)."""

import json
import re
from functools import lru_cache
from typing import Any, NoReturn, cast

import rfc8785
import sha3

from privacy.errors import NotCanonical, WordInvalid

WORD_BYTES = 32
ADDRESS_BYTES = 20
TAG_PREFIX = b"shuyao/v1/"
JSON_DEPTH_MAX = 256
# a string without an end is one match as well: to try again at each of its quotes would take quadratic time
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def keccak(data: bytes) -> bytes:
    """Hash bytes with Keccak-256 as Ethereum has it (not NIST SHA3-256)."""
    return cast(bytes, sha3.keccak_256(data).digest())


def word(value: int | bytes) -> bytes:
    """Encode one value as a 32-byte word.

    Args:
        value: an unsigned integer below 2^256, an address (20 bytes, left-padded with zeros), or a
            32-byte string.

    Raises:
        WordInvalid: any other length or range. A string of variable length must be hashed by the caller, so
            that nobody pads one by accident.
    """
    if isinstance(value, int):
        if not 0 <= value < 1 << 256:
            raise WordInvalid("an integer word must be in [0, 2^256)")
        return value.to_bytes(WORD_BYTES, "big")
    if len(value) == WORD_BYTES:
        return bytes(value)
    if len(value) == ADDRESS_BYTES:
        return bytes(WORD_BYTES - ADDRESS_BYTES) + value
    raise WordInvalid(f"a word must be 32 or 20 bytes, not {len(value)}: hash longer strings first")


def tagged_hash(name: str, *words: int | bytes) -> bytes:
    """Return H(name; w1, …, wk), the protocol's domain-separated hash.

    Args:
        name: the ASCII name of the use; it fixes the number of words.
        words: integers, 32-byte strings or 20-byte addresses.
    """
    return keccak(_tag(name) + b"".join([word(value) for value in words]))


@lru_cache(maxsize=128)
def _tag(name: str) -> bytes:
    """Return the hash of a name; a tree of an answer asks for the same two a thousand times."""
    return keccak(TAG_PREFIX + name.encode("ascii"))


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value as RFC 8785 bytes.

    Raises:
        NotCanonical: the value has no canonical form: NaN, an integer beyond 2^53, a lone surrogate, another
            type.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as err:
        raise NotCanonical(f"the value has no canonical JSON form: {type(err).__name__}") from err


def parse_canonical_json(data: bytes) -> Any:
    """Parse bytes that must be their own RFC 8785 canonical form.

    Raises:
        NotCanonical: not UTF-8, not JSON, a repeated member name, or not their own canonical form.
    """
    _require_shallow(data)
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique_members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as err:
        raise NotCanonical(f"the bytes are not JSON: {type(err).__name__}") from err
    if canonical_json(value) != data:
        raise NotCanonical("the bytes are JSON, but not in canonical form (RFC 8785)")
    return value


def _require_shallow(data: bytes) -> None:
    """Bound the nesting before the recursive parser sees it: a deep text must not reach the C stack's end."""
    depth = 0
    for match in _BRACKETS.finditer(data):
        depth += 1 if match[0] in (b"[", b"{") else -1 if match[0] in (b"]", b"}") else 0
        if depth > JSON_DEPTH_MAX:
            raise NotCanonical(f"the bytes nest deeper than {JSON_DEPTH_MAX} levels")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
