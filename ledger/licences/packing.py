"""Signed texts as a bundle has them: what is base64url of canonical JSON in them is written as that JSON, which takes a quarter less.

A text has one packed form: a part that can be written as JSON may not be written as a string.

Source: docs/licence.md §8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import Malformed

_PART_MAX: Final = 1 << 20
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_MARK: Final = "\0"
_SPLIT: Final = '"\\u0000",'
_START: Final = "["
_END: Final = "]"
_LEAVES: Final = frozenset({str, int, bool, type(None)})
_FIRST: Final[dict[type, str]] = {dict: "e", list: "W"}  # of the base64url of { and [

Packed: TypeAlias = str | list[Any]
# by part of a text, in base64url: the JSON in it, whose canonical bytes it is
Opened: TypeAlias = Mapping[str, Any]
NOTHING_OPENED: Final[Opened] = MappingProxyType({})


def pack_jws(text: str) -> Packed:
    """Return `[header, payload, signature]` with two JSON objects, or the text where it is no such JWS."""
    parts = text.split(".")
    if len(parts) != 3:
        return text
    header, payload = _open(parts[0], dict), _open(parts[1], dict)
    return text if header is None or payload is None else [header, payload, parts[2]]


def unpack_jws(value: object, field: str, opened: dict[str, Any]) -> str:
    """Return the text that `pack_jws` packed.

    Args:
        opened: gets what is JSON by its part, so that nobody has to parse it again.

    Raises:
        Malformed: neither form, or a text that has the other one.
    """
    return _join(value, _close(_json_of_jws(value, field), field, opened))


def pack_credential(text: str) -> list[Any]:
    """Return the parts between the `~` of an SD-JWT: its JWT and its KB-JWT packed, disclosures as arrays where they can be."""
    first, *others = text.split("~")
    packed = [pack_jws(first)]
    for part in others[:-1]:
        array = _open(part, list)
        packed.append(part if array is None else array)
    return packed + [pack_jws(last) for last in others[-1:]]


def unpack_credential(value: object, field: str, opened: dict[str, Any]) -> str:
    """Return the text that `pack_credential` packed.

    Args:
        opened: as in `unpack_jws`.

    Raises:
        Malformed: no array, a part of another shape, or one that has another form.
    """
    if not isinstance(value, list) or not value:
        raise Malformed(field, "an array of the parts of an SD-JWT", "something else")
    ends = (0, len(value) - 1)  # JWT and KB-JWT
    found = [
        _json_of_jws(part, field) if at in ends else _json_of_disclosure(part, field)
        for at, part in enumerate(value)
    ]
    closed = _close([each for values in found for each in values], field, opened)
    texts, at = [], 0
    for part, values in zip(value, found, strict=True):
        texts.append(_join(part, closed[at : at + len(values)]))
        at += len(values)
    text = "~".join(texts)
    if text.count("~") != ends[1]:
        raise Malformed(field, "parts without ~", "one with it")
    return text


def _json_of_jws(value: object, field: str) -> list[Any]:
    """Return header and payload of a packed JWS, nothing of one that cannot be packed."""
    if isinstance(value, str):
        if pack_jws(value) is not value:
            raise Malformed(field, "a JWS of canonical JSON as an array", "a string")
        return []
    if not isinstance(value, list) or list(map(type, value)) != [dict, dict, str] or "." in value[2]:
        raise Malformed(
            field, "a string, or an array of two objects and a string without dots", "something else"
        )
    return value[:2]


def _json_of_disclosure(value: object, field: str) -> list[Any]:
    if isinstance(value, list):
        return [value]
    if not isinstance(value, str) or _open(value, list) is not None:
        raise Malformed(field, "a disclosure as an array, or a string that is none", "something else")
    return []


def _join(value: object, closed: list[str]) -> str:
    """Put closed parts in the place of the JSON that they were; `value` has the shape that it must have."""
    if isinstance(value, list) and len(closed) == 2:
        return f"{closed[0]}.{closed[1]}.{value[2]}"
    return closed[0] if closed else str(value)


def is_plain(value: object) -> bool:
    """Say whether the C encoder's form of a parsed value is that of RFC 8785: ASCII names, no fractions, no integers beyond 2^53."""
    if isinstance(value, dict):
        return all(map(str.isascii, value)) and _are_plain(value.values())
    return _are_plain(value) if isinstance(value, list) else not isinstance(value, float)


def _are_plain(values: Iterable[object]) -> bool:
    kinds = set(map(type, values))
    return kinds <= _LEAVES or (float not in kinds and all(map(is_plain, values)))


def _open(part: str, kind: type) -> Any:
    """Return the JSON value whose canonical bytes a part is the base64url of; None where it is none of this kind."""
    if not part.startswith(_FIRST[kind]):
        return None
    try:
        data = parse_b64u(part, "part")
        value = parse_json(data, size_max=_PART_MAX)
        same = type(value) is kind and is_plain(value) and _ENCODER.encode(value).encode("utf-8") == data
    except (Malformed, MalformedValue, UnicodeEncodeError, RecursionError):
        return None
    return value if same else None


def _close(values: list[Any], field: str, opened: dict[str, Any]) -> list[str]:
    """Return the base64url of the canonical bytes of each value, all of them from one run of the encoder."""
    if not values:
        return []
    if not _are_plain(values):
        raise Malformed(field, "JSON with ASCII names and without fractions", "something else")
    marked = [each for value in values for each in (_MARK, value)]
    try:
        first, *texts = _ENCODER.encode(marked).split(_SPLIT)
        if first != _START or len(texts) != len(values):  # a value has the mark in it
            texts = [_ENCODER.encode(value) + _END for value in values]
        closed = [
            b64u(text[:-1].encode("utf-8")) for text in texts
        ]  # each with the comma or bracket after it
    except UnicodeEncodeError as err:
        raise Malformed(field, "Unicode without lone surrogates", "one") from err
    opened.update(zip(closed, values, strict=True))
    return closed
