"""How decoders of text and of JSON values are given bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from ledger.encoding import canonical_json, parse_json

T = TypeVar("T")


def text_of(data: bytes) -> str:
    """Read bytes as a text in which what is no UTF-8 is a lone surrogate, as JSON may carry one."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Write what `text_of` read."""
    return text.encode("utf-8", "surrogateescape")


def of_text(read: Callable[[str], T]) -> Callable[[bytes], T]:
    """Let a decoder of texts read bytes."""
    return lambda data: read(text_of(data))


def of_json(read: Callable[[Any], T]) -> Callable[[bytes], T]:
    """Let a decoder of JSON values read bytes, through the one parser that the product has for them."""
    return lambda data: read(parse_json(data))


def dumped(value: Any) -> bytes:
    """Write a JSON value as most clients do."""
    return json.dumps(value, ensure_ascii=False).encode()


def to_json(value: Any) -> bytes:
    """Write the JSON form of a value."""
    return canonical_json(value.to_json())
