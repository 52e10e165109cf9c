"""Entry bundles as numpy columns: the leaves of docs/licence.md §5, thousands at a time.

The strict decoder of one leaf is `ledger.licences.leaf.Leaf`; here the same rules are tables and masks, because a
call an entry would take minutes over a city's log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.licences.encoding import DAY_NONE
from ledger.licences.leaf import (
    CHANGE_KINDS,
    LICENCE_KINDS,
    LICENCE_LEAF_SIZE,
    LIST_SIZE,
    NO_CODE,
    NO_SLOT,
    TRANSITIONS,
    Kind,
)

HEAD_SIZE: Final = 132  # up to and including the type's length
TYPE_SIZE: Final = 21
EVENT_SIZE: Final = HEAD_SIZE + 2  # a leaf without type and extra
DAYS: Final = 1 << 16  # days that are counted one by one: up to the year 2149
ABSENT: Final = -1
KINDS: Final = 1 + max(Kind)

U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]


def _kinds(*kinds: int) -> Bools:
    table = np.zeros(256, np.bool_)
    table[list(kinds)] = True
    return table


IS_KIND: Final = _kinds(*range(1, KINDS))
IS_LICENCE: Final = _kinds(*LICENCE_KINDS)
IS_CHANGE: Final = _kinds(*CHANGE_KINDS)
IS_SPECIAL: Final = _kinds(*range(Kind.KEY_ADD, KINDS))
NAMES_PREVIOUS: Final = IS_CHANGE | _kinds(Kind.SUPERSEDE)  # previous is a leaf of this log
_HAS_END: Final = IS_LICENCE | _kinds(Kind.STATUS_LIST, Kind.RECOGNISE)
_HAS_PREVIOUS: Final = NAMES_PREVIOUS | _kinds(Kind.TRANSFER_IN)


def _codes() -> Bools:
    table = np.zeros((256, 256), np.bool_)
    for kind, (_, after) in TRANSITIONS.items():
        table[kind, sorted(after)] = True
    table[Kind.KEY_ADD : KINDS, NO_CODE] = True
    return table


def _extras() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    low, high = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for kind, least, most in (
        (Kind.KEY_ADD, 1, 0xFFFF),
        (Kind.KEY_RETIRE, 1, 0xFFFF),
        (Kind.KEY_COMPROMISE, 1, 0xFFFF),
        (Kind.STATUS_LIST, 32, 32),
        (Kind.RECOGNISE, 1, 0xFFFF),
        (Kind.ACCESS_BATCH, 36, 36),
    ):
        low[kind], high[kind] = least, most
    return low, high


_CODE_OK: Final = _codes()
_EXTRA_MIN, _EXTRA_MAX = _extras()


@dataclass(frozen=True, slots=True)
class Bundles:
    """Consecutive entry bundles as one buffer.

    Args:
        buffer: the bytes; the byte before each entry is 0x00, so that a leaf's preimage is one slice.
        starts: offset of each entry in the buffer, int64 of shape (n,).
        lengths: of each entry, int64 of shape (n,); `ABSENT` where the entry is not there.
    """

    buffer: bytearray
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence[tuple[bytes | None, int]]) -> tuple[Bundles, list[int]]:
        """Join bundles; one that is absent or torn leaves its entries missing.

        Args:
            parts: bytes of each bundle (None: absent) and the number of its entries that are wanted.

        Returns:
            The buffer, and the positions of the bundles that could not be read.
        """
        pieces, starts, lengths, bad = [bytes(LICENCE_LEAF_SIZE)], [], [], []
        base = LICENCE_LEAF_SIZE
        for position, (data, count) in enumerate(parts):
            found = None if data is None else _entries(data, count)
            if found is None or data is None:
                bad.append(position)
                starts.append(np.ones(count, np.int64))
                lengths.append(np.full(count, ABSENT, np.int64))
                continue
            starts.append(found[0] + base)
            lengths.append(found[1])
            pieces.append(data)
            base += len(data)
        pieces.append(bytes(LICENCE_LEAF_SIZE))
        buffer = bytearray(b"".join(pieces))
        joined = np.concatenate(starts)
        np.frombuffer(buffer, np.uint8)[joined - 1] = 0
        return cls(buffer, joined, np.concatenate(lengths)), bad

    def hashes(self) -> bytes:
        """Return the leaf hashes, one after the other; those of missing entries mean nothing."""
        view, sha = memoryview(self.buffer), sha256
        begins = (self.starts - 1).tolist()
        ends = (self.starts + self.lengths).tolist()
        return b"".join([sha(view[a:b]).digest() for a, b in zip(begins, ends, strict=True)])

    def entry(self, position: int) -> bytes:
        """Return the bytes of one entry."""
        start = int(self.starts[position])
        return bytes(self.buffer[start : start + int(self.lengths[position])])

    def rows(self) -> U8:
        """Return the first `LICENCE_LEAF_SIZE` bytes of each entry, uint8 of shape (n, 155); past its end they mean nothing."""
        whole = np.frombuffer(self.buffer, np.uint8)
        return np.lib.stride_tricks.sliding_window_view(whole, LICENCE_LEAF_SIZE)[self.starts]


def _entries(data: bytes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return offsets and lengths of the first `count` entries, None if the bundle ends before."""
    stride = LICENCE_LEAF_SIZE + 2
    if len(data) == count * stride:
        prefixes = np.frombuffer(data, np.uint8).reshape(count, stride)[:, :2]
        if not prefixes[:, 0].any() and (prefixes[:, 1] == LICENCE_LEAF_SIZE).all():
            return np.arange(2, count * stride, stride), np.full(count, LICENCE_LEAF_SIZE, np.int64)
    starts, at, size = [], 0, len(data)
    for _ in range(count):
        if at + 2 > size:
            return None
        starts.append(at + 2)
        at += 2 + (data[at] << 8 | data[at + 1])
    if at > size:
        return None
    begin = np.array(starts, np.int64)
    return begin, np.diff(np.append(begin, at + 2)) - 2


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields of many leaves, arrays of shape (n,) or (n, width)."""

    rows: U8
    kind: U8
    code: U8
    status_list: NDArray[np.uint32]
    slot: NDArray[np.uint32]
    event_day: NDArray[np.int32]
    last_day: NDArray[np.int32]
    type_length: NDArray[np.int64]
    extra_length: NDArray[np.int64]

    @classmethod
    def of(cls, rows: U8) -> Columns:
        """Split rows of leaves into fields."""
        type_length = rows[:, 131].astype(np.int64)
        tail = HEAD_SIZE + np.minimum(type_length, TYPE_SIZE)
        every = np.arange(len(rows))
        extra = rows[every, tail].astype(np.int64) << 8 | rows[every, tail + 1]
        return cls(
            rows=rows,
            kind=np.ascontiguousarray(rows[:, 1]),
            code=np.ascontiguousarray(rows[:, 90]),
            status_list=_number(rows, 82, np.uint32),
            slot=_number(rows, 86, np.uint32),
            event_day=_number(rows, 91, np.int32),
            last_day=_number(rows, 95, np.int32),
            type_length=type_length,
            extra_length=extra,
        )

    @property
    def event_ids(self) -> U8:
        """Event ids, uint8 of shape (n, 16)."""
        return self.rows[:, 2:18]

    @property
    def key_ids(self) -> U8:
        """Ids of the signers' keys, uint8 of shape (n, 32)."""
        return self.rows[:, 18:50]

    @property
    def evidence(self) -> U8:
        """Digests of the signed events, uint8 of shape (n, 32)."""
        return self.rows[:, 50:82]

    @property
    def previous(self) -> U8:
        """Leaf hashes of the licences that are named, uint8 of shape (n, 32)."""
        return self.rows[:, 99:131]

    @property
    def types(self) -> U8:
        """Licence types, uint8 of shape (n, 21); zeros where the leaf has none."""
        return np.where(
            (self.type_length == TYPE_SIZE)[:, None], self.rows[:, HEAD_SIZE : LICENCE_LEAF_SIZE - 2], 0
        )


def _number(rows: U8, at: int, kind: Any) -> NDArray[Any]:
    wide = np.dtype(kind).newbyteorder(">")
    return np.asarray(np.ascontiguousarray(rows[:, at : at + 4]).view(wide).ravel().astype(kind))


def first_offences(columns: Columns, lengths: NDArray[np.int64]) -> tuple[Bools, list[tuple[int, str]]]:
    """Find the leaves that are not in their one accepted form.

    Args:
        columns: of the leaves.
        lengths: of the entries; `ABSENT` where one is missing, which is no offence here.

    Returns:
        The mask of well-formed leaves, and (position, what was expected) of each other, ascending.

    Source: docs/licence.md §5.
    """
    there = lengths != ABSENT
    good = there.copy()
    offences: list[tuple[int, str]] = []
    for expected, test in _CHECKS:
        passed = test(columns, lengths)
        offences.extend((int(position), expected) for position in np.flatnonzero(good & ~passed))
        good &= passed
    return good, sorted(offences)


Test = Callable[[Columns, NDArray[np.int64]], Bools]
_CHECKS: Final[tuple[tuple[str, Test], ...]] = (
    ("at least 134 bytes", lambda c, n: n >= EVENT_SIZE),
    ("version 1", lambda c, n: c.rows[:, 0] == 1),
    ("a kind in 1 … 13", lambda c, n: IS_KIND[c.kind]),
    ("a type in licences and nowhere else", lambda c, n: c.type_length == TYPE_SIZE * IS_LICENCE[c.kind]),
    ("as many bytes as its lengths say", lambda c, n: n == EVENT_SIZE + c.type_length + c.extra_length),
    (
        "extra of this kind's length",
        lambda c, n: (c.extra_length >= _EXTRA_MIN[c.kind]) & (c.extra_length <= _EXTRA_MAX[c.kind]),
    ),
    ("a code of this kind", lambda c, n: _CODE_OK[c.kind, c.code]),
    (
        "a status list for licences, their events and status lists only",
        lambda c, n: (c.status_list != NO_SLOT) == ((c.kind < Kind.KEY_ADD) | (c.kind == Kind.STATUS_LIST)),
    ),
    (
        "an index below 2^20 for licences and their events only",
        lambda c, n: np.where(c.kind < Kind.KEY_ADD, c.slot < LIST_SIZE, c.slot == NO_SLOT),
    ),
    ("a previous leaf where the kind has one", lambda c, n: c.previous.any(axis=1) == _HAS_PREVIOUS[c.kind]),
    (
        "a last day in licences, status lists and recognitions only",
        lambda c, n: _HAS_END[c.kind] | (c.last_day == DAY_NONE),
    ),
)


def grouped(values: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Return (value, begin, end) for each stretch of equal values in an ascending array."""
    distinct, begins = np.unique(values, return_index=True)
    ends = np.append(begins[1:], len(values))[: len(distinct)]
    return list(zip(distinct.tolist(), begins.tolist(), ends.tolist(), strict=True))


def factorise(rows: U8) -> tuple[U8, NDArray[np.uint16]]:
    """Return the distinct rows and, for each row, the number of its equal among them.

    Rows are told apart by a 64-bit mix first and compared in full after it: rows made to collide cost time only.

    Args:
        rows: uint8 of shape (n, width), n at most 65,536.

    Returns:
        Distinct rows, uint8 of shape (k, width); numbers in [0, k), shape (n,).
    """
    count, width = rows.shape
    words = -(-width // 8)
    padded = np.zeros((count, words * 8), np.uint8)
    padded[:, :width] = rows
    mix = np.zeros(count, np.uint64)
    for word in padded.view(np.uint64).T:
        mix = (mix ^ word) * np.uint64(0x9E3779B97F4A7C15)
    _, first, number = np.unique(mix, return_index=True, return_inverse=True)
    distinct = rows[first]
    if not np.array_equal(distinct[number], rows):
        whole, number = np.unique(padded.view(f"V{words * 8}").ravel(), return_inverse=True)
        distinct = whole.view(np.uint8).reshape(-1, words * 8)[:, :width]
    return np.ascontiguousarray(distinct), number.astype(np.uint16)
