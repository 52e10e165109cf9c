"""One side's rows of a private join: keys in one form, with the group or the numbers of each.

Rows are filtered and read by the engine, as `holder.sums` does, and come as a stream of integers: key, order, group, and
what each lane adds. Here identifiers are brought to their form, of each key at most m rows are kept, those with the least
H(plan hash, row) as everywhere, and the value side adds up what a key's rows add. Memory grows with the keys, not the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from holder.engine import Engine, Reading, case, negated, selected, whole
from holder.errors import KeysExceedList, RowsExceedCeiling, SchemaMismatch
from holder.sums import RANK, UNIT, SumQuery, centred
from privacy.join.errors import KeyMalformed
from privacy.join.identifiers import Rule, join_key
from privacy.join.kind import JoinPlan, JoinPolicy, PlanSide
from privacy.join.values import KeyValues
from privacy.lanes import Lane, LaneKind
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.sides import asset_policy, side_filter
from privacy.types import Digest

BATCH_ROWS: Final = 1 << 14
WAITING_ROWS: Final = 1 << 20
SPELLINGS_MAX: Final = 1 << 20  # of keys, remembered with their normal form
_RANK_DIGITS: Final = 32
_RANK: Final = np.dtype(">u8")  # two words of a rank, which is ordered like bytes
_NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class SideRows:
    """What one side brings to a join.

    Attributes:
        sublists: of the matcher: for each of its groups the keys of the rows there; a key once for each of its rows.
        values: of the value side: its keys, each with the sum of what its rows add to each number, in the grid units of the
            plan's lanes. Number `lane·groups + group` is of one of the value side's groups.
        missing, malformed: rows without an identifier, and with one that its rule refuses: they match nothing.
    """

    sublists: tuple[tuple[bytes, ...], ...] | None
    values: KeyValues | None
    missing: int
    malformed: int


def read_side(
    engine: Engine,
    plan: Plan,
    policy: Policy,
    side: PlanSide,
    *,
    trim: bool = False,
    waiting_rows: int = WAITING_ROWS,
) -> SideRows:
    """Read the rows of one side.

    Args:
        engine: the open relation.
        plan: verified against `policy`.
        policy: this holder's own copy, of both sides.
        side: of the plan's terms, whose the rows are.
        trim: see `Reading`.
        waiting_rows: read before those beyond m of a key are dropped.

    Raises:
        RowsExceedCeiling, KeysExceedList: more rows or keys than the policy's ceilings.
        SchemaMismatch, EngineFailed
    """
    terms = plan.terms
    if not isinstance(terms, JoinPlan):
        raise SchemaMismatch(["the plan is of no join"])
    own = asset_policy(policy, side.name)
    reading = Reading(own, engine.schema(), dialect=engine.dialect, trim=trim)
    query = SideQuery(plan, policy, terms, side, reading, engine.relation)
    keys = _Keys(terms.normalise, side.list_max)
    rows = _Rows(side.multiplicity, query.width, waiting_rows)
    for batch in engine.stream(query.rows(), min(BATCH_ROWS, waiting_rows)):
        rows.add(keys, batch, query)
        if keys.rows > own.rows_max:
            raise RowsExceedCeiling(rows_max=own.rows_max, rows=keys.rows)
    numbers, kept = keys.ordered(), rows.kept()
    kept.index = numbers.place[kept.index]
    if side.name == terms.value.name:
        values = _summed(numbers.keys, kept, plan, query.side_plan.groups)
        return SideRows(None, values, keys.missing, keys.malformed)
    sublists = _listed(numbers.keys, kept, query.side_plan.groups)
    return SideRows(sublists, None, keys.missing, keys.malformed)


def require_keys(engine: Engine, policy: Policy, name: str, *, trim: bool = False) -> None:
    """Require at registration that a side has no more keys than its list: no later query then fails for that.

    Raises:
        SchemaMismatch: it has, as written; no two of its spellings were compared.
    """
    terms = policy.terms
    side = terms.side(name) if isinstance(terms, JoinPolicy) else None
    if side is None or not isinstance(terms, JoinPolicy):
        return
    own = asset_policy(policy, name)
    reading = Reading(own, engine.schema(), dialect=engine.dialect, trim=trim)
    distinct = exp.Count(this=exp.Distinct(expressions=[reading.value(terms.key)]))
    found = int(engine.fetch(selected([distinct], engine.relation.copy()))[0][0])
    if found > side.list_max:
        raise SchemaMismatch([f"{terms.key}: {found} different keys, the policy's list has {side.list_max}"])


class SideQuery(SumQuery):
    """The SQL of one side: a row for each that passes the side's conditions."""

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        terms: JoinPlan,
        side: PlanSide,
        reading: Reading,
        relation: exp.Table,
    ) -> None:
        self._hash = plan.hash()
        self.side_plan = replace(
            plan,
            group_by=tuple(each for each in plan.group_by if each.column in side.group_by),
            filter=side_filter(plan.filter, policy, side.name),
            lanes=plan.lanes if side.name == terms.value.name else (),
            unit=replace(plan.unit, row_key=reading.policy.row_key),
        )
        super().__init__(self.side_plan, reading, relation)

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return len(self.side_plan.lanes)

    def plan_hash(self) -> Digest:
        """Return the hash of the whole plan, by which rows are ranked."""
        return self._hash

    def rows(self) -> exp.Select:
        """Return the query: the key as written, its order, one code for each dimension, then a number for each lane."""
        rank: exp.Expr = exp.column(RANK, table="r")
        if self.reading.dialect == "duckdb":
            rank = exp.func("hex", rank)  # DuckDB takes 50 µs to hand one integer of 128 bits over
        columns: list[exp.Expr] = [exp.column(UNIT, table="r"), rank, *self._codes()]
        columns += [self._number(lane) for lane in self.side_plan.lanes]
        query = selected(columns, self._rows().subquery("r", copy=False))
        return self._coded(query, range(len(self.side_plan.group_by)))

    def _number(self, lane: Lane) -> exp.Expr:
        """Return what a row adds to a lane, without the grid; NULL for nothing."""
        if lane.kind is LaneKind.COUNT or lane.column is None:
            return whole(1)
        value = self._column(lane.column)
        if lane.kind is LaneKind.COUNT_OF:
            known = negated(exp.Is(this=value, expression=exp.null()))
            return self._where_present(case((known, whole(1))), lane)
        first = centred(value, lane)
        if lane.kind is LaneKind.SUM:
            return self._where_present(first, lane)
        return self._where_present(exp.Mul(this=first, expression=first.copy()), lane)


# --- keys ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ordered:
    """The keys ascending, and for each number that a key was given its place among them."""

    keys: tuple[bytes, ...]
    place: NDArray[np.int64]


class _Keys:
    """Numbers the keys as they come."""

    def __init__(self, rule: Rule, most: int) -> None:
        self._rules, self._most = (rule,), most
        self._numbers: dict[bytes, int] = {}
        self._known: dict[str, int] = {}
        self.rows = self.missing = self.malformed = 0

    def number(self, text: str | None) -> int:
        """Return a key's number, −1 for what matches nothing.

        Raises:
            KeysExceedList: one more than the list has places.
        """
        self.rows += 1
        if text is None:
            self.missing += 1
            return _NOWHERE
        found = self._known.get(text)
        if found is None:
            found = self._number(text)
            if len(self._known) < SPELLINGS_MAX:
                self._known[text] = found
        self.malformed += found == _NOWHERE
        return found

    def _number(self, text: str) -> int:
        try:
            key = join_key(self._rules, (text,))
        except KeyMalformed:
            return _NOWHERE
        found = self._numbers.setdefault(key, len(self._numbers))
        if len(self._numbers) > self._most:
            raise KeysExceedList(most=self._most)
        return found

    def ordered(self) -> _Ordered:
        """Return the keys in an order that does not depend on how they came."""
        keys = sorted(self._numbers)
        place = np.zeros(len(keys), dtype=np.int64)
        for at, key in enumerate(keys):
            place[self._numbers[key]] = at
        return _Ordered(tuple(keys), place)


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Block:
    """Rows as columns: number of the key, rank in two words, group, and what each lane adds."""

    index: NDArray[np.int64]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    group: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def take(self, where: NDArray[Any]) -> _Block:
        """Return some of the rows."""
        return _Block(
            self.index[where], self.high[where], self.low[where], self.group[where], self.numbers[where]
        )


class _Rows:
    """Collects rows, and drops those beyond m of a key as it goes."""

    def __init__(self, multiplicity: int, width: int, waiting_rows: int) -> None:
        self._most, self._waiting_rows = multiplicity, waiting_rows
        none, ranks = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
        self._blocks = [_Block(none, ranks, ranks, none, np.zeros((0, width), dtype=np.int64))]
        self._waiting = 0

    def add(self, keys: _Keys, batch: Sequence[tuple[Any, ...]], query: SideQuery) -> None:
        """Add a batch of the query's rows."""
        dimensions = query.side_plan.group_by
        columns = list(zip(*batch, strict=True))
        index = np.fromiter(map(keys.number, columns[0]), dtype=np.int64, count=len(batch))
        ranks = np.frombuffer(b"".join(map(_rank, columns[1])), dtype=_RANK).astype(np.uint64)
        group = np.zeros(len(batch), dtype=np.int64)
        for dimension, codes in zip(dimensions, columns[2:], strict=False):
            other = dimension.size - 1
            group *= dimension.size
            group += np.array([other if code is None else int(code) for code in codes], dtype=np.int64)
        numbers = np.zeros((len(batch), query.width), dtype=np.int64)
        for lane, column in enumerate(columns[2 + len(dimensions) :]):
            numbers[:, lane] = [0 if value is None else int(value) for value in column]
        high, low = ranks.reshape(-1, 2).T
        block = _Block(index, high, low, group, numbers)
        self._blocks.append(block.take(index != _NOWHERE))
        self._waiting += len(batch)
        if self._waiting >= self._waiting_rows:
            self._blocks, self._waiting = [self.kept()], 0

    def kept(self) -> _Block:
        """Return the rows that count: of each key the m with the least rank."""
        blocks = self._blocks
        every = _Block(
            np.concatenate([block.index for block in blocks]),
            np.concatenate([block.high for block in blocks]),
            np.concatenate([block.low for block in blocks]),
            np.concatenate([block.group for block in blocks]),
            np.concatenate([block.numbers for block in blocks]),
        )
        ordered = every.take(np.lexsort((every.low, every.high, every.index)))
        first = np.flatnonzero(np.diff(ordered.index, prepend=_NOWHERE))
        runs = np.diff(first, append=len(ordered.index))
        place = np.arange(len(ordered.index)) - np.repeat(first, runs)
        return ordered.take(place < self._most)


def _rank(value: str | bytes | memoryview) -> bytes:
    """Return the 16 bytes of a row's rank, whatever the engine gives them as; as digits, without the leading zeros."""
    return bytes.fromhex(value.zfill(_RANK_DIGITS)) if isinstance(value, str) else bytes(value)


def _listed(keys: tuple[bytes, ...], kept: _Block, groups: int) -> tuple[tuple[bytes, ...], ...]:
    order = np.lexsort((kept.index, kept.group))
    index, group = kept.index[order], kept.group[order]
    ends = np.searchsorted(group, np.arange(groups + 1))
    return tuple(
        tuple(keys[each] for each in index[start:end].tolist())
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    )


def _summed(keys: tuple[bytes, ...], kept: _Block, plan: Plan, groups: int) -> KeyValues:
    """Add up what the rows of each key add to each number."""
    values = groups * len(plan.lanes)
    pieces = list(_pieces(kept, plan, groups, values))
    codes = np.concatenate([code for code, _ in pieces]) if pieces else np.zeros(0, dtype=np.int64)
    numbers = np.concatenate([number for _, number in pieces]) if pieces else np.zeros(0, dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    found, first = np.unique(codes[order], return_index=True)
    totals = np.add.reduceat(numbers[order], first) if len(found) else numbers
    starts = np.searchsorted(found, np.arange(len(keys) + 1) * values)
    return KeyValues(keys, starts.astype(np.int64), found % values, totals)


def _pieces(
    kept: _Block, plan: Plan, groups: int, values: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield for each lane where its rows' numbers belong, `key·values + number`, and them, on the lane's grid."""
    for number, lane in enumerate(plan.lanes):
        some = kept.take(kept.numbers[:, number] != 0)
        place = some.index * values + number * groups + some.group
        yield place, some.numbers[:, number] << lane.grid_bits
