"""Signed texts as a bundle has them: what is base64url of canonical JSON in them is written as that JSON, which takes a quarter less.

A text has one packed form: a part that can be written as JSON may not be written as a string.

Source: docs/licence.md §8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import Malformed

_PART_MAX: Final = 1 << 20
# of what was parsed, which is no circle
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)
_MARK: Final = "\0"  # before and after each value, where the whole is encoded
_SPLIT: Final = b'"\\u0000",'
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


def pack_credential(text: str) -> list[Any]:
    """Return the parts between the `~` of an SD-JWT: its JWT and its KB-JWT packed, disclosures as arrays where they can be."""
    first, *others = text.split("~")
    packed = [pack_jws(first)]
    for part in others[:-1]:
        array = _open(part, list)
        packed.append(part if array is None else array)
    return packed + [pack_jws(last) for last in others[-1:]]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The texts in a bundle, and its own bytes.

    Attributes:
        credential: an SD-JWT.
        issuer: a JWS, None where there is none.
        opened: what is JSON in them by its part, so that nobody has to parse it again.
        canonical: what the C encoder makes of the bundle.
    """

    credential: str
    issuer: str | None
    opened: Opened
    canonical: bytes


def unpack(bundle: Mapping[str, Any]) -> Unpacked:
    """Return the texts that `pack_credential` and `pack_jws` packed. The bundle is encoded once, for them and for itself.

    Args:
        bundle: parsed JSON, with the members `credential` and `issuer`.

    Raises:
        Malformed: a text has neither form or that of another text, or something has no canonical bytes.
    """
    credential, issuer = bundle["credential"], bundle["issuer"]
    values, marked = _mark_credential(credential, "bundle.credential")
    marked_issuer = None
    if issuer is not None:
        of_issuer, marked_issuer = _mark_jws(issuer, "bundle.issuer")
        _require_plain(of_issuer, "bundle.issuer")
        values += of_issuer  # after those of the credential: the encoder sorts the names of members
    closed, canonical = _encode(bundle, {**bundle, "credential": marked, "issuer": marked_issuer}, values)
    parts = iter(closed)
    texts = [_text_of_jws(credential[0], parts)]
    texts += [part if isinstance(part, str) else next(parts) for part in credential[1:-1]]
    texts += [_text_of_jws(last, parts) for last in credential[1:][-1:]]
    text = "~".join(texts)
    if text.count("~") != len(texts) - 1:
        raise Malformed("bundle.credential", "parts without ~", "one with it")
    issuer_text = None if issuer is None else _text_of_jws(issuer, parts)
    return Unpacked(text, issuer_text, dict(zip(closed, values, strict=True)), canonical)


def _mark_credential(value: object, field: str) -> tuple[list[Any], list[Any]]:
    """Return the JSON values in a packed credential, and the credential with a mark before and after each."""
    if not isinstance(value, list) or not value:
        raise Malformed(field, "an array of the parts of an SD-JWT", "something else")
    values, first = _mark_jws(value[0], field)
    marked = [first]
    for part in value[1:-1]:
        if isinstance(part, list):
            values.append(part)
            marked += (_MARK, part, _MARK)
        elif isinstance(part, str) and _open(part, list) is None:
            marked.append(part)
        else:
            raise Malformed(field, "a disclosure as an array, or a string that is none", "something else")
    for part in value[1:][-1:]:  # the KB-JWT
        own, last = _mark_jws(part, field)
        values += own
        marked.append(last)
    _require_plain(values, field)
    return values, marked


def _mark_jws(value: object, field: str) -> tuple[list[Any], Any]:
    """Return header and payload of a packed JWS, nothing of one that cannot be packed; and the JWS with a mark before and after each."""
    if isinstance(value, str):
        if pack_jws(value) is not value:
            raise Malformed(field, "a JWS of canonical JSON as an array", "a string")
        return [], value
    if not isinstance(value, list) or list(map(type, value)) != [dict, dict, str] or "." in value[2]:
        raise Malformed(
            field, "a string, or an array of two objects and a string without dots", "something else"
        )
    header, payload, signature = value
    return [header, payload], [_MARK, header, _MARK, _MARK, payload, _MARK, signature]


def _text_of_jws(value: Any, parts: Iterator[str]) -> str:
    """Put closed parts in the place of the JSON that they were; `value` has the shape that it must have."""
    return value if isinstance(value, str) else f"{next(parts)}.{next(parts)}.{value[2]}"


def _encode(bundle: object, marked: object, values: list[Any]) -> tuple[list[str], bytes]:
    """Return the base64url of the canonical bytes of each value, and the canonical bytes of the bundle, from one run of the encoder.

    Args:
        marked: the bundle with a mark before and after each of the values, always with a comma after it.
    """
    try:
        pieces = _ENCODER.encode(marked).encode("utf-8").split(_SPLIT)
        if len(pieces) == 2 * len(values) + 1:
            return [b64u(piece[:-1]) for piece in pieces[1::2]], b"".join(pieces)  # each without its comma
        # the bundle has a mark in it
        return [b64u(_bytes_of(value)) for value in values], _bytes_of(bundle)
    except (ValueError, TypeError, RecursionError) as err:
        raise Malformed("bundle", "a value with an RFC 8785 form", type(err).__name__) from err


def _bytes_of(value: object) -> bytes:
    return _ENCODER.encode(value).encode("utf-8")


def _require_plain(values: list[Any], field: str) -> None:
    if not _are_plain(values):
        raise Malformed(field, "JSON with ASCII names and without fractions", "something else")


def is_plain(value: object) -> bool:
    """Say whether the C encoder's form of a parsed value is that of RFC 8785: ASCII names, no fractions, no integers beyond 2^53."""
    return _are_plain([value])


def _are_plain(values: Iterable[Any]) -> bool:
    found = [values]
    for inner in found:  # grows: a call for each value would take twice the time
        for value in inner:
            kind = type(value)
            if kind is str:
                continue
            if kind is list:
                found.append(value)
            elif kind is dict:
                if not "".join(value).isascii():
                    return False
                found.append(value.values())
            elif kind is float:
                return False
    return True


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
