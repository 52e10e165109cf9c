"""What must be seen in the log's order: keys, slots, transitions, status lists, status roots.

Between two leaves that change who may sign or that publish a list, licences and their events go through numpy at once:
sorted by slot, and where several touch the same slot, one round for each. A leaf that breaks a rule changes nothing,
because docs/licence.md §5 keeps it out of the log: what rests on it differs as well, and is named as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.licences.leaf import KEY_KINDS, LIST_BITS, LIST_SIZE, TRANSITIONS, Code, Kind
from ledger.licences.status import status_root
from ledger.replay.findings import Difference, Findings, Rule
from ledger.replay.keys import UNKNOWN, KeyBook
from ledger.replay.leaves import IS_LICENCE, NAMES_PREVIOUS, U8, grouped
from ledger.replay.links import NO_LEAF, load_links
from ledger.replay.scan import COLUMN, ChunkMeta, ScanPlan
from ledger.replay.slots import Page, SlotPages

REPLACED: Final = 14  # not in the log: what a supersede does to its predecessor
_EMPTY_LIST: Final = sha256(bytes([Code.NOT_ISSUED * 0x11]) * (LIST_SIZE // 2)).digest()
_CUTS: Final = frozenset({*KEY_KINDS, Kind.STATUS_LIST})
OP: Final = np.dtype(
    [
        ("slot", "<u8"),
        ("index", "<u8"),
        ("target", "<u8"),
        ("key", "<u4"),
        ("issuer", "<u4"),
        ("type", "<u4"),
        ("kind", "u1"),
        ("code", "u1"),
    ]
)
Ops = NDArray[Any]
Mask = NDArray[np.bool_]


def _legal() -> NDArray[np.bool_]:
    table = np.zeros((REPLACED + 1, 16), np.bool_)
    for kind, (before, _) in TRANSITIONS.items():
        table[kind, sorted(before)] = True
    table[REPLACED, [Code.VALID, Code.SUSPENDED]] = True
    return table


_LEGAL: Final = _legal()


def kind_name(kind: int) -> str:
    """Return a kind's name for a message."""
    return "supersede" if kind == REPLACED else Kind(kind).name.lower()


@dataclass(slots=True)
class _Chunk:
    """One chunk while it is replayed; its local numbers of keys and types are mapped to those of the key book."""

    first: int
    columns: Any
    meta: ChunkMeta
    leaf: NDArray[np.uint64]
    slot: NDArray[np.uint64]
    key_numbers: NDArray[np.int64]
    type_numbers: NDArray[np.int64]


@dataclass(slots=True)
class OrderedPass:
    """Replays chunks one after the other.

    Args:
        plan: of the replay; its chunks are scanned and linked.
        keys: empty, with the registrar and service of the policy.
        pages: empty.
        findings: gets every difference.
        sizes: ascending log sizes at which the status root is wanted.
    """

    plan: ScanPlan
    keys: KeyBook
    pages: SlotPages
    findings: Findings
    sizes: Sequence[int]
    newest_tokens: dict[int, bytes] = field(default_factory=dict)
    status_roots: dict[int, bytes] = field(default_factory=dict)
    status_lists: int = 0

    def replay(self, number: int) -> None:
        """Replay the next chunk."""
        first, count = self.plan.first(number), self.plan.count(number)
        meta = ChunkMeta.load(self.plan.meta_path(number))
        leaf, slot = load_links(self.plan, number, count)
        chunk = _Chunk(
            first=first,
            columns=np.fromfile(self.plan.columns_path(number), COLUMN),
            meta=meta,
            leaf=leaf,
            slot=slot,
            key_numbers=np.array([self.keys.key_number(row.tobytes()) for row in meta.keys], np.int64),
            type_numbers=np.array([self.keys.type_number(row.tobytes()) for row in meta.types], np.int64),
        )
        done = 0
        for which, position in enumerate(meta.special.tolist()):
            kind = int(chunk.columns["kind"][position])
            if kind in _CUTS:
                self._segment(chunk, done, position)
                done = position
            self._note_status_roots(first + position)
            self._special(chunk, which, position, kind)
        self._segment(chunk, done, count)
        self._note_status_roots(first + count)

    def finish(self) -> None:
        """Take note of the log's end."""
        self._note_status_roots(self.plan.size)

    def _differ(self, rule: Rule, detail: str, index: int, status_list: int | None = None) -> None:
        self.findings.add(Difference(rule, detail, index=index, status_list=status_list))

    # --- leaves of kinds 8 to 13 -------------------------------------------------------------------------

    def _special(self, chunk: _Chunk, which: int, position: int, kind: int) -> None:
        index = chunk.first + position
        row = chunk.columns[position]
        key_id = chunk.meta.keys[int(row["key"])].tobytes()
        if not self.keys.may_sign(kind, key_id):
            who = "the service" if kind in (Kind.STATUS_LIST, Kind.ACCESS_BATCH) else "the registrar"
            self._differ(Rule.WRONG_SIGNER, f"{kind_name(kind)}: expected {who}, got {key_id.hex()}", index)
            return
        extra = chunk.meta.extras[which]
        if kind in KEY_KINDS:
            problem = self.keys.apply(kind, extra, index)
            if problem is not None:
                self._differ(Rule.KEY_HISTORY, problem, index)
            elif kind == Kind.KEY_ADD:
                self._renumber(chunk)
        elif kind == Kind.RECOGNISE:
            problem = self.keys.recognise(extra, index)
            if problem is not None:
                self._differ(Rule.LEAF_MALFORMED, problem, index)
        elif kind == Kind.STATUS_LIST:
            evidence = chunk.meta.evidence[which].tobytes()
            self._status_list(int(row["list"]), evidence, extra, index)

    def _renumber(self, chunk: _Chunk) -> None:
        """Take in the key and the types that were just added."""
        span = self.keys.spans[-1]
        key = np.frombuffer(span.key_id, np.uint8)
        chunk.key_numbers[(chunk.meta.keys == key).all(axis=1)] = self.keys.key_number(span.key_id)
        unknown = np.flatnonzero(chunk.type_numbers == UNKNOWN)
        for local in unknown.tolist():
            chunk.type_numbers[local] = self.keys.type_number(chunk.meta.types[local].tobytes())

    def _status_list(self, number: int, evidence: bytes, extra: bytes, index: int) -> None:
        if number > self.plan.list_max:
            self._differ(Rule.SLOT_OUT_OF_RANGE, f"expected a list up to {self.plan.list_max}", index, number)
            return
        self.status_lists += 1
        self.newest_tokens[number] = evidence
        digest = self.pages.page(number).digest() if number in self.pages.lists else _EMPTY_LIST
        if digest != extra:
            detail = f"the bits published have digest {extra.hex()}, the events give {digest.hex()}"
            self._differ(Rule.STATUS_DIGEST, detail, index, number)

    def _note_status_roots(self, size: int) -> None:
        """Keep the status root for each wanted size up to this one."""
        while len(self.status_roots) < len(self.sizes) and self.sizes[len(self.status_roots)] <= size:
            self.status_roots[self.sizes[len(self.status_roots)]] = status_root(self.newest_tokens.items())

    # --- licences and their events -----------------------------------------------------------------------

    def _segment(self, chunk: _Chunk, begin: int, end: int) -> None:
        columns = chunk.columns[begin:end]
        kinds = columns["kind"]
        at = np.flatnonzero((kinds >= Kind.ISSUE) & (kinds < Kind.KEY_ADD))
        if not len(at):
            return
        columns, at = columns[at], at + begin
        ops = np.empty(len(at), OP)
        keys = chunk.key_numbers[columns["key"]]
        ops["slot"] = columns["list"].astype(np.uint64) << np.uint64(LIST_BITS) | columns["slot"]
        ops["index"], ops["target"] = at.astype(np.uint64) + np.uint64(chunk.first), chunk.leaf[at]
        ops["issuer"], ops["kind"], ops["code"] = self.keys.issuer[keys], columns["kind"], columns["code"]
        ops["key"] = keys
        ops["type"] = np.where(IS_LICENCE[columns["kind"]], chunk.type_numbers[columns["type"]], UNKNOWN)
        good = self._authorised(chunk, ops, keys, columns["key"])
        ops, predecessors = ops[good], chunk.slot[at[good]]
        self._rounds(self._with_predecessors(ops, predecessors))

    def _authorised(
        self, chunk: _Chunk, ops: Ops, keys: NDArray[np.int64], local: NDArray[np.uint16]
    ) -> Mask:
        good = self.keys.active[keys]
        for i in np.flatnonzero(~good).tolist():
            key_id = chunk.meta.keys[int(local[i])].tobytes().hex()
            state = "was never added" if keys[i] == UNKNOWN else "has ended"
            self._differ(Rule.KEY_NOT_ACTIVE, f"key {key_id} {state}", int(ops["index"][i]))
        allowed = ~IS_LICENCE[ops["kind"]] | self.keys.allowed[keys, ops["type"]]
        for i in np.flatnonzero(good & ~allowed).tolist():
            issuer = self.keys.issuers[int(ops["issuer"][i])]
            detail = f"the key of {issuer} may not sign this licence type"
            self._differ(Rule.TYPE_NOT_ALLOWED, detail, int(ops["index"][i]))
        good = good & allowed
        in_range = ops["slot"] >> np.uint64(LIST_BITS) <= self.plan.list_max
        for i in np.flatnonzero(good & ~in_range).tolist():
            number = int(ops["slot"][i]) >> LIST_BITS
            detail = f"expected a list up to {self.plan.list_max}"
            self._differ(Rule.SLOT_OUT_OF_RANGE, detail, int(ops["index"][i]), number)
        good = good & in_range
        lost = NAMES_PREVIOUS[ops["kind"]] & (ops["target"] == NO_LEAF)
        for i in np.flatnonzero(good & lost).tolist():
            detail = f"{kind_name(int(ops['kind'][i]))}: no licence before it has the leaf hash that it names"
            self._differ(Rule.LICENCE_UNKNOWN, detail, int(ops["index"][i]))
        return np.asarray(good & (~lost | IS_LICENCE[ops["kind"]]))

    @staticmethod
    def _with_predecessors(ops: Ops, predecessors: NDArray[np.uint64]) -> Ops:
        """Add what each supersede does to the licence that it replaces."""
        replaces = (ops["kind"] == Kind.SUPERSEDE) & (ops["target"] != NO_LEAF)
        if not replaces.any():
            return ops
        also = ops[replaces]
        also["kind"], also["code"], also["slot"] = REPLACED, Code.CANCELLED, predecessors[replaces]
        return np.concatenate([ops, also])

    def _rounds(self, ops: Ops) -> None:
        if not len(ops):
            return
        ops = ops[np.lexsort((ops["index"], ops["slot"]))]
        begins = np.flatnonzero(np.append(True, ops["slot"][1:] != ops["slot"][:-1]))
        rank = np.arange(len(ops)) - np.repeat(begins, np.diff(np.append(begins, len(ops))))
        order = np.argsort(rank, kind="stable")
        for _, begin, end in grouped(rank[order]):
            self._round(ops[order[begin:end]])

    def _round(self, ops: Ops) -> None:
        """Apply operations on distinct slots, ascending by slot."""
        for number, begin, end in grouped(ops["slot"] >> np.uint64(LIST_BITS)):
            part = ops[begin:end]
            slots = (part["slot"] & np.uint64(LIST_SIZE - 1)).astype(np.int64)
            page = self.pages.page(number)
            old = page.codes(slots)
            good = self._lawful(page, part, slots, old, number)
            page.set_codes(slots[good], part["code"][good])
            new = good & IS_LICENCE[part["kind"]]
            at = slots[new]
            page.issue[at], page.issuer[at], page.type[at] = (
                part["index"][new],
                part["issuer"][new],
                part["type"][new],
            )

    def _lawful(self, page: Page, ops: Ops, slots: NDArray[np.int64], old: U8, number: int) -> Mask:
        takes = IS_LICENCE[ops["kind"]]
        legal = _LEGAL[ops["kind"], old]
        free = old == Code.NOT_ISSUED
        tests = (
            (Rule.SLOT_REUSED, ~takes | free),
            (Rule.LICENCE_MISMATCH, takes | ~free & (page.issue[slots] == ops["target"])),
            (Rule.WRONG_ISSUER, takes | (page.issuer[slots] == ops["issuer"])),
            (
                Rule.TYPE_NOT_ALLOWED,
                takes | (ops["kind"] == REPLACED) | self.keys.allowed[ops["key"], page.type[slots]],
            ),
            (Rule.TRANSITION, legal),
        )
        good = np.ones(len(ops), np.bool_)
        for rule, passed in tests:
            for i in np.flatnonzero(good & ~passed).tolist():
                detail = (
                    f"{kind_name(int(ops['kind'][i]))} at slot {slots[i]} in status {int(old[i]):#x}"
                    f"{_holder(page, int(slots[i]), int(old[i]))}"
                )
                self._differ(rule, detail, int(ops["index"][i]), number)
            good &= passed
        return good


def _holder(page: Page, slot: int, code: int) -> str:
    return "" if code == Code.NOT_ISSUED else f", which has the licence issued at {int(page.issue[slot])}"
