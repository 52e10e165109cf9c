"""Who may sign what at which position of the log: the keys of issuers, registrar and service.

Source: docs/licence.md §2, §4, §5 (key order is log order).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.encoding import parse_canonical_json
from ledger.errors import MalformedValue
from ledger.licences.errors import LicenceError
from ledger.licences.keys import PublicKey
from ledger.licences.leaf import Kind
from ledger.replay.leaves import TYPE_SIZE

UNKNOWN: Final = 0  # number of every key, issuer and type that no key_add has named
_EXTRA_MAX: Final = 0xFFFF
_RECOGNISED_MAX: Final = 1 << 20  # pairs of a city and a type in all recognitions
_CELLS_MAX: Final = (
    1 << 26
)  # of the table key × type, a byte each: a city has some hundred types and thousands of keys


@dataclass(slots=True)
class KeySpan:
    """One issuer's key and the log indexes at which it was added and ended.

    Args:
        public: the key.
        issuer: USCC.
        types: that it may sign.
    """

    public: PublicKey
    issuer: str
    types: tuple[str, ...]
    added: int
    retired: int | None = None
    compromised: int | None = None

    @property
    def key_id(self) -> bytes:
        """The key's id, 32 bytes."""
        return self.public.key_id

    def to_json(self) -> dict[str, Any]:
        """Return the span as JSON."""
        return {
            "key": self.key_id.hex(),
            "issuer": self.issuer,
            "types": list(self.types),
            "added": self.added,
            "retired": self.retired,
            "compromised": self.compromised,
        }


class KeyBook:
    """The keys as of one position of the log.

    Args:
        registrar: key ids that may sign key events and recognitions; None pins the first that does.
        service: key ids that may sign status lists and batches of access records; None pins the first that does.
        cells_max: pairs of a key and a licence type that are kept; key_adds of a log made to fill the memory are
            differences beyond it.
    """

    def __init__(
        self,
        registrar: frozenset[bytes] | None,
        service: frozenset[bytes] | None,
        *,
        cells_max: int = _CELLS_MAX,
    ) -> None:
        self._registrar, self._service = registrar, service
        self.cells_max = cells_max
        self.spans: list[KeySpan] = []
        self.issuers: list[str] = [""]
        self.types: list[str] = [""]
        self.recognised: dict[str, tuple[tuple[str, ...], int]] = {}  # newest types and leaf by origin
        self._recognitions = 0
        self._key_numbers: dict[bytes, int] = {}
        self._issuer_numbers: dict[str, int] = {}
        self._type_numbers: dict[bytes, int] = {}
        self.active: NDArray[np.bool_] = np.zeros(1, np.bool_)
        self.issuer: NDArray[np.uint32] = np.zeros(1, np.uint32)
        self.allowed: NDArray[np.bool_] = np.zeros((1, 1), np.bool_)

    def key_number(self, key_id: bytes) -> int:
        """Return the number of a key, `UNKNOWN` before its key_add."""
        return self._key_numbers.get(key_id, UNKNOWN)

    def type_number(self, name: bytes) -> int:
        """Return the number of a licence type, `UNKNOWN` if no key may sign it."""
        return self._type_numbers.get(name, UNKNOWN)

    def may_sign(self, kind: int, key_id: bytes) -> bool:
        """Say whether a key may sign a leaf of kinds 8 to 13."""
        if kind in (Kind.STATUS_LIST, Kind.ACCESS_BATCH):
            self._service = self._service or frozenset({key_id})
            return key_id in self._service
        self._registrar = self._registrar or frozenset({key_id})
        return key_id in self._registrar

    def apply(self, kind: int, extra: bytes, index: int) -> str | None:
        """Take over one key event.

        Args:
            kind: 8, 9 or 10.
            extra: of the leaf.
            index: of the leaf.

        Returns:
            What is wrong with it, None if it took effect.
        """
        try:
            value = parse_canonical_json(extra, size_max=_EXTRA_MAX)
            if kind == Kind.KEY_ADD:
                return self._add(*_added(value), index)
            issuer, key_id = _ended(value)
        except MalformedValue as err:
            return str(err)
        return self._end(kind, issuer, key_id, index)

    def recognise(self, extra: bytes, index: int) -> str | None:
        """Take over one recognition, which replaces an older one of the same city.

        Args:
            extra: of the leaf.
            index: of the leaf.

        Returns:
            What is wrong with it, None if it took effect.
        """
        try:
            value = parse_canonical_json(extra, size_max=_EXTRA_MAX)
            if not isinstance(value, Mapping) or not isinstance(origin := value.get("origin"), str):
                raise MalformedValue("recognise", "a city with its origin", "something else")
            types = _types("recognise.types", value.get("types"))
        except MalformedValue as err:
            return str(err)
        if self._recognitions + len(types) + 1 > _RECOGNISED_MAX:
            return f"more than {_RECOGNISED_MAX} types in recognitions"
        self._recognitions += len(types) + 1
        self.recognised[origin] = (types, index)
        return None

    def _add(self, issuer: str, public: PublicKey, types: tuple[str, ...], index: int) -> str | None:
        key_id = public.key_id
        if key_id in self._key_numbers:
            return f"key {key_id.hex()} was added before, at {self._span(key_id).added}"
        new_types = sum(name.encode() not in self._type_numbers for name in types)
        if (len(self.spans) + 2) * (len(self.types) + new_types) > self.cells_max:
            return f"more than {self.cells_max} pairs of a key and a licence type"
        number = self._key_numbers[key_id] = len(self.spans) + 1
        self.spans.append(KeySpan(public, issuer, types, index))
        owner = self._issuer_numbers.setdefault(issuer, len(self.issuers))
        if owner == len(self.issuers):
            self.issuers.append(issuer)
        signs = [self._type(name) for name in types]
        self._grow(number + 1, len(self.types))
        self.active[number], self.issuer[number] = True, owner
        self.allowed[number, signs] = True
        return None

    def _end(self, kind: int, issuer: str, key_id: bytes, index: int) -> str | None:
        number = self.key_number(key_id)
        if number == UNKNOWN:
            return f"key {key_id.hex()} was never added"
        span = self._span(key_id)
        if span.issuer != issuer:
            return f"key {key_id.hex()} is of {span.issuer}, not of {issuer}"
        if kind == Kind.KEY_COMPROMISE:
            if span.compromised is not None:
                return f"key {key_id.hex()} was compromised before, at {span.compromised}"
            span.compromised = index
        else:
            if not self.active[number]:
                return f"key {key_id.hex()} had ended before"
            span.retired = index
        self.active[number] = False
        return None

    def _span(self, key_id: bytes) -> KeySpan:
        return self.spans[self._key_numbers[key_id] - 1]

    def _type(self, name: str) -> int:
        number = self._type_numbers.setdefault(name.encode(), len(self.types))
        if number == len(self.types):
            self.types.append(name)
        return number

    def _grow(self, keys: int, types: int) -> None:
        have_keys, have_types = self.allowed.shape
        if keys <= have_keys and types <= have_types:
            return
        shape = max(keys, 2 * have_keys), max(types, have_types + 64 if types > have_types else have_types)
        allowed = np.zeros(shape, np.bool_)
        allowed[:have_keys, :have_types] = self.allowed
        self.allowed = allowed
        self.active = np.append(self.active, np.zeros(shape[0] - have_keys, np.bool_))
        self.issuer = np.append(self.issuer, np.zeros(shape[0] - have_keys, np.uint32))


def _added(value: object) -> tuple[str, PublicKey, tuple[str, ...]]:
    if not isinstance(value, Mapping) or value.keys() != {"issuer", "jwk", "types"}:
        raise MalformedValue("key_add", "issuer, jwk and types", "other members")
    return _issuer(value["issuer"]), _public(value["jwk"]), _types("key_add.types", value["types"])


def _types(field: str, types: object) -> tuple[str, ...]:
    if not isinstance(types, list) or not all(isinstance(t, str) and len(t) == TYPE_SIZE for t in types):
        raise MalformedValue(field, f"texts of {TYPE_SIZE} characters", "something else")
    if types != sorted(set(types)):
        raise MalformedValue(field, "ascending order, none twice", "another order")
    return tuple(types)


def _ended(value: object) -> tuple[str, bytes]:
    if not isinstance(value, Mapping) or value.keys() != {"issuer", "key"}:
        raise MalformedValue("key event", "issuer and key", "other members")
    try:
        key_id = bytes.fromhex(value["key"])
    except (TypeError, ValueError) as err:
        raise MalformedValue("key event.key", "64 hex digits", "something else") from err
    if len(key_id) != 32 or key_id.hex() != value["key"]:
        raise MalformedValue("key event.key", "64 lower-case hex digits", "another form")
    return _issuer(value["issuer"]), key_id


def _public(jwk: object) -> PublicKey:
    try:
        return PublicKey.from_jwk(jwk)
    except LicenceError as err:
        raise MalformedValue("key_add.jwk", "a public key", str(err)) from err


def _issuer(value: object) -> str:
    if not isinstance(value, str) or len(value) != 18:
        raise MalformedValue("issuer", "a unified social credit code of 18 characters", "something else")
    return value
