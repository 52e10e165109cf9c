"""The leaf of the log that every signed event has, its kinds and codes, and the transitions that a licence's status may make."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from ledger.encoding import Digest
from ledger.licences.encoding import DAY_NONE
from ledger.licences.errors import Malformed, TransitionRefused

LEAF_VERSION: Final = 1
NO_SLOT: Final = 0xFFFFFFFF  # list and index of what concerns no status slot
NO_CODE: Final = 0xFF
ZERO: Final = Digest(bytes(32))
LIST_BITS: Final = 20
LIST_SIZE: Final = 1 << LIST_BITS  # licences of one status list
LICENCE_LEAF_SIZE: Final = 155
_HEAD: Final = struct.Struct(">BB16s32s32sIIBii32sB")
_EXTRA_MAX: Final = (1 << 16) - 1
_TYPE: Final = re.compile(rb"[0-9A-HJ-NPQRTUWXY]{18}[0-9]{3}")


class Kind(IntEnum):
    """What an event does. Source: docs/licence.md §5."""

    ISSUE = 1
    SUPERSEDE = 2
    SUSPEND = 3
    RESUME = 4
    REVOKE = 5
    TRANSFER_OUT = 6
    TRANSFER_IN = 7
    KEY_ADD = 8
    KEY_RETIRE = 9
    KEY_COMPROMISE = 10
    STATUS_LIST = 11
    RECOGNISE = 12
    ACCESS_BATCH = 13


class Code(IntEnum):
    """The status of a licence, 4 bits. Source: docs/licence.md §6; 0 to 2 are fixed by the Token Status List."""

    VALID = 0
    REVOKED = 1
    SUSPENDED = 2
    NOT_ISSUED = 3
    CANCELLED = 0xB
    LAPSED = 0xC
    TRANSFERRED = 0xD
    WITHDRAWN = 0xE
    OTHER = 0xF


LICENCE_KINDS: Final = frozenset({Kind.ISSUE, Kind.SUPERSEDE, Kind.TRANSFER_IN})
CHANGE_KINDS: Final = frozenset({Kind.SUSPEND, Kind.RESUME, Kind.REVOKE, Kind.TRANSFER_OUT})
KEY_KINDS: Final = frozenset({Kind.KEY_ADD, Kind.KEY_RETIRE, Kind.KEY_COMPROMISE})
FINAL: Final = frozenset(
    {Code.REVOKED, Code.CANCELLED, Code.LAPSED, Code.TRANSFERRED, Code.WITHDRAWN, Code.OTHER}
)
_NEW: Final = (frozenset({Code.NOT_ISSUED}), frozenset({Code.VALID}))
_REVOKES: Final = FINAL - {Code.TRANSFERRED}
TRANSITIONS: Final[Mapping[Kind, tuple[frozenset[Code], frozenset[Code]]]] = MappingProxyType(
    {
        Kind.ISSUE: _NEW,
        Kind.SUPERSEDE: _NEW,
        Kind.TRANSFER_IN: _NEW,
        Kind.SUSPEND: (frozenset({Code.VALID}), frozenset({Code.SUSPENDED})),
        Kind.RESUME: (frozenset({Code.SUSPENDED}), frozenset({Code.VALID})),
        Kind.REVOKE: (frozenset({Code.VALID, Code.SUSPENDED}), _REVOKES),
        Kind.TRANSFER_OUT: (frozenset({Code.VALID}), frozenset({Code.TRANSFERRED})),
    }
)  # by kind: the codes before it, the codes after it


def require_transition(old: int, kind: Kind, code: int) -> None:
    """Refuse an event that a licence's status does not allow.

    Args:
        old: the 4-bit code of the slot before the event.
        kind: of the event.
        code: the code that the event sets.

    Raises:
        TransitionRefused: the event sets no status, or not from `old`, or not to `code`.

    Source: docs/licence.md §4.
    """
    before, after = TRANSITIONS.get(kind, (frozenset(), frozenset()))
    if old not in before or code not in after:
        raise TransitionRefused(old, kind.name.lower(), code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An entry of the log: what anybody can compute from a signed event alone.

    Attributes:
        kind: what the event does.
        event_id: 16 bytes.
        key_id: of the signer, 32 bytes.
        evidence: SHA-256 of the signed event, 32 bytes.
        list: the status list, or `NO_SLOT`.
        index: in the list, or `NO_SLOT`.
        code: status after the event, or `NO_CODE`.
        event_day: day of the event.
        last_day: the last day of validity, or `DAY_NONE`.
        previous: leaf hash of the licence's issue that the event is about, or zeros.
        type_code: the licence's type for an issue, else empty.
        extra: what the kind adds, at most 65535 bytes.
    """

    kind: Kind
    event_id: bytes
    key_id: bytes
    evidence: bytes
    list: int = NO_SLOT
    index: int = NO_SLOT
    code: int = NO_CODE
    event_day: int
    last_day: int = DAY_NONE
    previous: bytes = ZERO
    type_code: str = ""
    extra: bytes = b""

    def __post_init__(self) -> None:
        sizes = len(self.event_id), len(self.key_id), len(self.evidence), len(self.previous)
        if sizes != (16, 32, 32, 32):
            raise Malformed("leaf", "an id of 16 bytes and digests of 32", "other lengths")
        for day in (self.event_day, self.last_day):
            if not -DAY_NONE - 1 <= day <= DAY_NONE:
                raise Malformed("leaf.day", "a 32-bit day", str(day))
        _require_slot(self.kind, self.list, self.index, self.code)
        if (self.kind in LICENCE_KINDS) != bool(self.type_code):
            raise Malformed("leaf.type", "a type exactly in the leaf of an issue", repr(self.type_code[:32]))
        if self.type_code and not _TYPE.fullmatch(self.type_code.encode("utf-8", "replace")):
            raise Malformed("leaf.type", "21 characters", "something else")
        _require_links(self)

    @property
    def sets_status(self) -> bool:
        """Whether the event writes a status slot."""
        return self.code != NO_CODE

    def encode(self) -> bytes:
        """Return the entry's bytes. Source: docs/licence.md §5."""
        type_code = self.type_code.encode("ascii")
        head = _HEAD.pack(
            LEAF_VERSION,
            self.kind,
            self.event_id,
            self.key_id,
            self.evidence,
            self.list,
            self.index,
            self.code,
            self.event_day,
            self.last_day,
            self.previous,
            len(type_code),
        )
        return head + type_code + len(self.extra).to_bytes(2, "big") + self.extra

    @property
    def hash(self) -> Digest:
        """The leaf hash. Source: RFC 6962 §2.1."""
        return Digest(sha256(b"\0" + self.encode()).digest())

    @classmethod
    def decode(cls, entry: bytes) -> Leaf:
        """Read an entry's bytes strictly: one leaf has one encoding.

        Raises:
            Malformed: another length, version, kind, slot, code or type.
        """
        if len(entry) < _HEAD.size + 2:
            raise Malformed("leaf", f"at least {_HEAD.size + 2} bytes", f"{len(entry)} bytes")
        (
            version,
            kind,
            event_id,
            key_id,
            evidence,
            number,
            index,
            code,
            event_day,
            last_day,
            previous,
            length,
        ) = _HEAD.unpack_from(entry)
        if version != LEAF_VERSION:
            raise Malformed("leaf.version", str(LEAF_VERSION), str(version))
        at = _HEAD.size + length
        type_code, size, extra = entry[_HEAD.size : at], entry[at : at + 2], entry[at + 2 :]
        if len(size) != 2 or int.from_bytes(size, "big") != len(extra):
            raise Malformed("leaf", "lengths that add up", f"{len(entry)} bytes")
        if not type_code.isascii():
            raise Malformed("leaf.type", "ASCII", "something else")
        return cls(
            kind=_kind(kind),
            event_id=event_id,
            key_id=key_id,
            evidence=evidence,
            list=number,
            index=index,
            code=code,
            event_day=event_day,
            last_day=last_day,
            previous=previous,
            type_code=type_code.decode("ascii"),
            extra=extra,
        )


def _kind(value: int) -> Kind:
    try:
        return Kind(value)
    except ValueError as err:
        raise Malformed("leaf.kind", "1 to 13", str(value)) from err


def _require_slot(kind: Kind, number: int, index: int, code: int) -> None:
    allowed = TRANSITIONS.get(kind)
    if allowed is not None:
        if not (0 <= number < NO_SLOT and 0 <= index < LIST_SIZE):
            raise Malformed("leaf.index", "a status slot", f"list {number}, index {index}")
        if code not in allowed[1]:
            raise Malformed("leaf.code", f"a code that {kind.name} sets", str(code))
        return
    named = 0 <= number < NO_SLOT if kind is Kind.STATUS_LIST else number == NO_SLOT
    if not named or index != NO_SLOT or code != NO_CODE:
        raise Malformed("leaf.index", f"no status slot for {kind.name}", f"{number}, {index}, code {code}")


def _require_links(leaf: Leaf) -> None:
    """Refuse a leaf that names another leaf where its kind has none, or none where it needs one; the same for extra."""
    needs = leaf.kind in CHANGE_KINDS or leaf.kind in (Kind.SUPERSEDE, Kind.TRANSFER_IN)
    if needs != (leaf.previous != ZERO):
        raise Malformed("leaf.previous", "a leaf hash exactly where one is meant", leaf.kind.name)
    fixed = {Kind.STATUS_LIST: 32, Kind.ACCESS_BATCH: 36}.get(leaf.kind)
    if leaf.kind in TRANSITIONS:
        fixed = 0
    if len(leaf.extra) > _EXTRA_MAX or (len(leaf.extra) != fixed if fixed is not None else not leaf.extra):
        expected = f"{fixed} bytes" if fixed is not None else f"1 to {_EXTRA_MAX} bytes"
        raise Malformed("leaf.extra", expected, f"{len(leaf.extra)} bytes")
