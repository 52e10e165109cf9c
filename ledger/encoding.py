"""Hashes and encodings of docs/protocol.md §0, as this package needs them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NewType, cast

import rfc8785
import sha3

from ledger.errors import MalformedValue

Digest = NewType("Digest", bytes)  # 32 bytes
Address = NewType("Address", bytes)  # 20 bytes
WORD: Final = 32
U64_MAX: Final = (1 << 64) - 1
U128_MAX: Final = (1 << 128) - 1
U256_MAX: Final = (1 << 256) - 1
DEPTH_MAX: Final = 256
SAFE_INTEGER: Final = (1 << 53) - 1
# a string without an end is one match as well: to try again at each of its quotes would take quadratic time
_STRINGS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(set(range(256)) - _STEPS.keys())
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*", re.ASCII)


def to_hex(value: bytes) -> str:
    """Write bytes as lower-case hex with `0x`."""
    return "0x" + value.hex()


def address_from_hex(text: str) -> Address:
    """Read an address in protocol form: `0x` and 40 lower-case hex digits.

    Raises:
        MalformedValue: anything else, a checksummed address too.
    """
    return Address(parse_hex(text, "address", 20))


def digest_from_hex(text: str) -> Digest:
    """Read 32 bytes in protocol form: `0x` and 64 lower-case hex digits.

    Raises:
        MalformedValue: anything else.
    """
    return Digest(parse_hex(text, "digest", 32))


def require_length(field: str, value: bytes, length: int) -> None:
    """Refuse a byte string of another length.

    Raises:
        MalformedValue: it is not `length` bytes.
    """
    if not isinstance(value, bytes) or len(value) != length:
        raise MalformedValue(field, f"{length} bytes", f"{len(value)} bytes")


def require_range(field: str, value: int, low: int, high: int) -> None:
    """Refuse an integer outside [low, high].

    Raises:
        MalformedValue: it is no integer or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MalformedValue(field, f"an integer in [{low}, {high}]", repr(value))


def require_keys(field: str, value: object, keys: frozenset[str]) -> Mapping[str, Any]:
    """Refuse anything but an object with exactly these keys.

    Raises:
        MalformedValue: no object, a key missing, or one too many.
    """
    if not isinstance(value, Mapping):
        raise MalformedValue(field, "an object", type(value).__name__)
    if value.keys() != keys:
        missing, extra = sorted(keys - value.keys()), sorted(map(str, value.keys() - keys))
        raise MalformedValue(field, f"the keys {sorted(keys)}", f"missing {missing}, unknown {extra}")
    return value


def keccak(data: bytes) -> Digest:
    """Return Keccak-256 of `data`, as Ethereum has it."""
    return Digest(cast(bytes, sha3.keccak_256(data).digest()))


def word(value: int | bytes) -> bytes:
    """Encode an integer, an address or a 32-byte string as one word, padded on the left.

    Raises:
        MalformedValue: the integer is negative or over 256 bits, or the bytes are not 20 or 32 long.
    """
    if isinstance(value, int):
        if not 0 <= value < 1 << 256:
            raise MalformedValue("word", "an unsigned integer of 256 bits", f"{value.bit_length()} bits")
        return value.to_bytes(WORD, "big")
    if len(value) not in (20, WORD):
        raise MalformedValue("word", "20 or 32 bytes", f"{len(value)} bytes")
    return value.rjust(WORD, b"\0")


def tagged_hash(name: str, *words: int | bytes) -> Digest:
    """Return H(name; words), the tagged hash of docs/protocol.md §0.

    Args:
        name: ASCII; it fixes the number of words.
        words: integers, addresses (20 bytes) or 32-byte strings. Variable parts enter as their `keccak`.
    """
    return keccak(keccak(b"shuyao/v1/" + name.encode("ascii")) + b"".join(map(word, words)))


def decimal(value: int) -> str:
    """Write an integer as protocol JSON has it: a decimal string without leading zeros."""
    return str(value)


def parse_decimal(text: object, field: str, low: int, high: int) -> int:
    """Read a decimal string in [low, high].

    Raises:
        MalformedValue: not a string, not in its one canonical form, or out of range.
    """
    if not isinstance(text, str) or len(text) > 80 or not _DECIMAL.fullmatch(text):
        raise MalformedValue(field, "a decimal string without leading zeros", _describe(text))
    value = int(text)
    if not low <= value <= high:
        raise MalformedValue(field, f"an integer in [{low}, {high}]", text)
    return value


def parse_hex(text: object, field: str, length: int | None) -> bytes:
    """Read lower-case hex with `0x`, of `length` bytes if that is given.

    Raises:
        MalformedValue: anything else.
    """
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise MalformedValue(field, "lower-case hex with 0x", _describe(text))
    value = bytes.fromhex(text[2:])
    if length is not None and len(value) != length:
        raise MalformedValue(field, f"{length} bytes", f"{len(value)} bytes")
    return value


def canonical_json(value: object) -> bytes:
    """Serialise to RFC 8785 (JCS) bytes.

    Raises:
        MalformedValue: the value has no canonical form (NaN, an integer over 2^53, a lone surrogate).
    """
    try:
        return rfc8785.dumps(cast(Any, value))
    except (ValueError, TypeError, RecursionError) as err:
        raise MalformedValue("JSON", "a value with an RFC 8785 form", type(err).__name__) from err


def parse_json(data: bytes, *, size_max: int = 1 << 26) -> Any:
    """Parse JSON that may come from anybody.

    Nesting is counted before parsing: a library that raises the interpreter's recursion limit (py_ecc does)
    turns deep input into a crash of the process instead of an error. An integer beyond 2^53 is the float that
    RFC 8785 takes it for.

    Raises:
        MalformedValue: too long, too deep, not UTF-8, or no JSON.
    """
    if len(data) > size_max:
        raise MalformedValue("JSON", f"at most {size_max} bytes", f"{len(data)} bytes")
    require_shallow(data)
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise MalformedValue("JSON", "a JSON text in UTF-8", type(err).__name__) from err


def printable(value: object) -> str:
    """Return a value's text for a message: a lone surrogate, which JSON from outside may carry, becomes its escape."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def parse_canonical_json(data: bytes, *, size_max: int = 1 << 26) -> Any:
    """Parse bytes that are their own RFC 8785 form, and no others.

    Raises:
        MalformedValue: too long, not UTF-8, no JSON, a repeated key, or another form of the same value.
    """
    value = parse_json(data, size_max=size_max)
    if canonical_json(value) != data:
        raise MalformedValue("JSON", "RFC 8785 bytes", "another form of the same value")
    return value


def require_shallow(data: bytes) -> None:
    """Refuse a JSON text that nests too deep for a recursive parser, before any parser sees it.

    Raises:
        MalformedValue: more than `DEPTH_MAX` levels.
    """
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX and _depth(data) > DEPTH_MAX:
        raise MalformedValue("JSON", f"at most {DEPTH_MAX} levels", "more")


def _depth(data: bytes) -> int:
    """Return the deepest nesting of a JSON text; brackets in strings do not count."""
    brackets = _STRINGS.sub(b"", data).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _number(text: str) -> int | float:
    value = int(text) if len(text) < 18 else float(text)
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else float(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_number)


def _describe(value: object) -> str:
    return f"a string of {len(value)} characters" if isinstance(value, str) else type(value).__name__
