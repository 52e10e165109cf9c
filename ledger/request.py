"""A buyer's request, as it is signed, and the states that it goes through on the chain."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

from ledger.encoding import (
    U64_MAX,
    U128_MAX,
    U256_MAX,
    Address,
    decimal,
    parse_decimal,
    parse_hex,
    require_keys,
    require_length,
    require_range,
    to_hex,
)
from ledger.errors import MalformedValue

MAX_HOLDERS: Final = 1024


class RequestState(IntEnum):
    """Where a request stands on the chain."""

    NONE = 0
    OPEN = 1
    SHARING = 2
    CONTRIBUTING = 3
    SEALED = 4
    ANSWERED = 5
    SETTLED = 6
    CLOSED = 7
    WITHHELD = 8
    DISPUTED = 9


_REQUEST_BYTES: Final = {"buyer": 20, "broker": 20, "listing": 32, "plan_hash": 32, "key_x": 32}
_REQUEST_RANGES: Final = {
    "key_parity": (2, 3),
    "rho_micro": (1, U64_MAX),
    "price_minor": (0, U128_MAX),
    "holders": (1, MAX_HOLDERS),
    "min_holders": (1, MAX_HOLDERS),
    "colluders": (0, MAX_HOLDERS - 1),
    "dropouts": (0, MAX_HOLDERS - 1),
    "approve_by": (0, U64_MAX),
    "share_by": (0, U64_MAX),
    "contribute_by": (0, U64_MAX),
    "answer_by": (0, U64_MAX),
    "nonce": (0, U256_MAX),
}
_REQUEST_NAMES: Final = {"rho_micro": "rho", "price_minor": "price"}  # field to JSON key, where they differ


@dataclass(frozen=True, slots=True)
class Request:
    """A buyer's request, as signed by EIP-712 (docs/protocol.md §2).

    Invariant: every field is in range, `min_holders <= holders`, and the four deadlines, which are block
    numbers, increase strictly.

    Raises:
        MalformedValue: when built with anything else.
    """

    buyer: Address
    broker: Address
    listing: bytes
    plan_hash: bytes
    key_x: bytes
    key_parity: int
    rho_micro: int
    price_minor: int
    holders: int
    min_holders: int
    colluders: int
    dropouts: int
    approve_by: int
    share_by: int
    contribute_by: int
    answer_by: int
    nonce: int

    def __post_init__(self) -> None:
        for name, length in _REQUEST_BYTES.items():
            require_length(f"request.{name}", getattr(self, name), length)
        for name, (low, high) in _REQUEST_RANGES.items():
            require_range(f"request.{name}", getattr(self, name), low, high)
        if self.min_holders > self.holders:
            raise MalformedValue("request.min_holders", f"at most {self.holders}", str(self.min_holders))
        deadlines = (self.approve_by, self.share_by, self.contribute_by, self.answer_by)
        if any(later <= earlier for earlier, later in pairwise(deadlines)):
            raise MalformedValue("request deadlines", "strictly increasing blocks", str(deadlines))

    def to_json(self) -> dict[str, str]:
        """Return the protocol's JSON form: decimal strings and lower-case hex."""
        return {
            _REQUEST_NAMES.get(field.name, field.name): (
                to_hex(value) if isinstance(value := getattr(self, field.name), bytes) else decimal(value)
            )
            for field in fields(self)
        }

    @classmethod
    def from_json(cls, value: object) -> Request:
        """Read the JSON form, strictly.

        Raises:
            MalformedValue: a key missing or unknown, an encoding not canonical, a value out of range.
        """
        names = {field.name: _REQUEST_NAMES.get(field.name, field.name) for field in fields(cls)}
        given = require_keys("request", value, frozenset(names.values()))
        parsed: dict[str, Any] = {}
        for name, key in names.items():
            if name in _REQUEST_BYTES:
                parsed[name] = parse_hex(given[key], f"request.{key}", _REQUEST_BYTES[name])
            else:
                parsed[name] = parse_decimal(given[key], f"request.{key}", *_REQUEST_RANGES[name])
        return cls(**parsed)
