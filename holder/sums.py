"""From a plan to SQL and back: one grouped query per request, d exact integers.

The buyer's text never reaches an engine: every query here is built as a tree from the typed plan and
written by sqlglot in the engine's own dialect. A measure's row value is cast to a double, clipped, and
becomes floor(x·2^s + 0.5); integers are summed exactly; the integer centre is subtracted from the sums,
here, in Python's integers.

Rows cap: where registration did not prove it, at most m rows of a unit are kept, those with the least
H(plan hash, row) = the first 16 bytes of SHA-256(plan hash | length:unit | length:key | …), after the filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from holder.engine import (
    Engine,
    Reading,
    between,
    by_code_point,
    case,
    cast,
    double,
    negated,
    selected,
    whole,
)
from holder.errors import EngineFailed, RowsExceedCeiling
from holder.logistic import RESIDUAL, step_rows, step_sums
from privacy.columns import ColumnType
from privacy.dimensions import Dimension, Factor
from privacy.lanes import Lane, LaneKind
from privacy.layout import cells_from_sums
from privacy.logistic import Logistic
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.query import AllOf, Among, AnyOf, Between, Compare, IsNull, Literal, Negation, Predicate
from privacy.types import Digest

UNIT: Final = "u"
RANK: Final = "h"
SEPARATE: Final = (LaneKind.HISTOGRAM, LaneKind.CONTINGENCY, LaneKind.LOGISTIC)
"""Lanes with a query of their own."""
_COMPARISONS: Final[dict[str, type[exp.Binary]]] = {
    "=": exp.EQ,
    "<>": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
}
_ORDERED: Final = {"<", "<=", ">", ">="}


def compute_cells(engine: Engine, plan: Plan, policy: Policy, *, trim: bool = False) -> NDArray[np.int64]:
    """Run a plan over one holder's rows.

    Args:
        engine: the open relation.
        plan: verified against `policy`.
        policy: this holder's own copy.
        trim: see `Reading`.

    Returns:
        A cell for each value, in the plan's layout: each lane's integers times 2^grid bits, without noise.

    Raises:
        RowsExceedCeiling: more rows than the policy's ceiling.
        SchemaMismatch, EngineFailed
    """
    query = SumQuery(
        plan, Reading(policy, engine.schema(), dialect=engine.dialect, trim=trim), engine.relation
    )
    sums = [0] * plan.values
    offsets = _offsets(plan)
    rows = _add_main(plan, engine.fetch(query.main()), sums, offsets)
    if rows > plan.rows_max:
        raise RowsExceedCeiling(rows_max=plan.rows_max, rows=rows)
    for number, lane in enumerate(plan.lanes):
        if lane.kind is LaneKind.HISTOGRAM:
            _add_histogram(plan, engine.fetch(query.histogram(lane)), sums, offsets[number])
        elif lane.kind is LaneKind.CONTINGENCY:
            table = [
                (*row[:-3], int(row[-3]) * len(lane.table[1].domain) + int(row[-2]), row[-1])
                for row in engine.fetch(query.contingency(lane))
            ]
            _add_histogram(plan, table, sums, offsets[number])
        elif lane.logistic is not None:
            _add_step(plan, engine.fetch(query.step(lane, lane.logistic)), sums, offsets[number])
    return cells_from_sums(plan, sums)


class SumQuery:
    """The SQL of one plan over one relation."""

    def __init__(self, plan: Plan, reading: Reading, relation: exp.Table) -> None:
        self.plan, self.reading, self.relation = plan, reading, relation
        measures = [name for lane in plan.lanes for name in _measures(lane)]
        self._measures = list(dict.fromkeys(name for name in measures if name is not None))
        tabulated = [dimension for lane in plan.lanes for dimension in lane.table]
        self._dimensions = [*plan.group_by, *dict.fromkeys(tabulated)]
        self._needs_unit = self._is_capped or any(lane.kind is LaneKind.DISTINCT for lane in plan.lanes)

    @property
    def _is_capped(self) -> bool:
        unit = self.plan.unit
        return unit.column is not None and not unit.proved

    def plan_hash(self) -> Digest:
        """Return the hash that rows are ranked by."""
        return self.plan.hash()

    def main(self) -> exp.Select:
        """Return the query of every lane but the histograms, contingency tables and steps of regressions.

        Its rows: one code per dimension, COUNT(*), then per lane what `_add_main` expects.
        """
        columns = [*self._codes(), exp.Count(this=exp.Star())]
        for lane in self.plan.lanes:
            columns += self._aggregates(lane)
        return self._grouped(columns, len(self.plan.group_by))

    def contingency(self, lane: Lane) -> exp.Select:
        """Return the query of one contingency table: a code per dimension, the two of the table, and the count.

        Rows with an undeclared value, or none, in either are in no cell.
        """
        places = [self._dimensions.index(dimension) for dimension in lane.table]
        pair = [exp.column("c", table=f"d{place}") for place in places]
        columns = [*self._codes(), *pair, exp.Count(this=exp.Star())]
        query = self._grouped(columns, len(self.plan.group_by) + 2, places)
        declared = [negated(exp.Is(this=code.copy(), expression=exp.null())) for code in pair]
        return query.where(*declared, copy=False)

    def histogram(self, lane: Lane) -> exp.Select:
        """Return the query of one histogram: one code per dimension, the bin, and the count."""
        value = self._column(str(lane.column))
        low, width = lane.edges[0], lane.edges[-1] - lane.edges[0]
        offset = exp.Paren(this=exp.Sub(this=quantised(value, lane), expression=whole(low)))
        scaled = exp.Mul(this=offset, expression=whole(lane.bins))
        bin_ = exp.IntDiv(this=exp.Paren(this=scaled), expression=whole(width))
        last = whole(lane.bins - 1)
        bounded = case((exp.GT(this=bin_, expression=last), last.copy()), default=bin_.copy())
        columns = [*self._codes(), bounded, exp.Count(this=exp.Star())]
        query = self._grouped(columns, len(self.plan.group_by) + 1)
        return query.where(negated(exp.Is(this=value.copy(), expression=exp.null())), copy=False)

    def step(self, lane: Lane, step: Logistic) -> exp.Select:
        """Return the query of a step of a logistic regression: one code per dimension, and the sum of each bin.

        Rows with an unknown feature, or a target that is neither of its two values, add nothing.
        """
        keys = [f"k{number}" for number in range(len(self.plan.group_by))]
        rows = step_rows(
            self._kept() if self._is_capped else self._rows(),
            keys=keys,
            target=self._target(lane, step),
            features=[
                exp.Div(
                    this=cast(centred(self._column(feature.column), feature), "double"),
                    expression=double(feature.half_width),
                    typed=True,
                )
                for feature in step.features
            ],
            step=step,
            dialect=self.reading.dialect,
        )
        columns = [*self._codes(), *step_sums(step, lane.scale_bits)]
        query = self._grouped(columns, len(self.plan.group_by), rows=rows)
        known = negated(exp.Is(this=exp.column(RESIDUAL, table="r"), expression=exp.null()))
        return query.where(known, copy=False)

    def _target(self, lane: Lane, step: Logistic) -> exp.Expr:
        """Return y as a double: 0 or 1, NULL where a row has neither of its values."""
        value = self._column(str(lane.column))
        if step.target is None:
            return cast(quantised(value, replace(lane, scale_bits=0)), "double")
        kind = step.target.type.value
        key = self._ordered(value, kind)
        branches = [
            (exp.EQ(this=key.copy(), expression=_literal(kind, each)), double(float(number)))
            for number, each in enumerate(step.target.domain)
        ]
        return case(*branches)

    # --- rows ---------------------------------------------------------------------------------------------

    def _rows(self) -> exp.Select:
        """Return the filtered rows with their canonical columns."""
        value = self.reading.value
        columns = [
            exp.alias_(value(name), f"x{number}", copy=False) for number, name in enumerate(self._measures)
        ]
        columns += [
            exp.alias_(value(dimension.column), f"k{number}", copy=False)
            for number, dimension in enumerate(self._dimensions)
        ]
        if self._needs_unit and self.plan.unit.column is not None:
            columns.append(exp.alias_(value(self.plan.unit.column), UNIT, copy=False))
        if self._is_capped:
            columns.append(exp.alias_(self._rank(), RANK, copy=False))
        if not columns:
            columns = [exp.alias_(whole(1), "x")]
        query = selected(columns, self.relation.copy())
        if self.plan.filter is None:
            return query
        return query.where(self._condition(self.plan.filter), copy=False)

    def _kept(self) -> exp.Select:
        """Return the rows after the cap: of a unit with more than m rows, the m of least hash."""
        limit = exp.Literal.number(self.plan.unit.rows_per_unit)
        many = exp.GT(this=exp.Count(this=exp.Star()), expression=limit)
        heavy = selected([exp.column(UNIT)], exp.to_table("base"))
        heavy = heavy.group_by(exp.column(UNIT), copy=False).having(many, copy=False)
        names = [f"x{number}" for number in range(len(self._measures))]
        names += [f"k{number}" for number in range(len(self._dimensions))] + [UNIT]
        order = exp.Order(expressions=[exp.Ordered(this=exp.column(RANK), nulls_first=False)])
        rank = exp.Window(this=exp.RowNumber(), partition_by=[exp.column(UNIT)], order=order)
        light = selected(_columns(names), exp.to_table("base")).where(negated(_in_heavy()), copy=False)
        ranked = selected([*_columns(names), exp.alias_(rank, "n", copy=False)], exp.to_table("base")).where(
            _in_heavy(), copy=False
        )
        first = selected(_columns(names), ranked.subquery("ranked", copy=False))
        first = first.where(exp.LTE(this=exp.column("n"), expression=limit.copy()), copy=False)
        both = exp.union(light, first, distinct=False, copy=False)
        # Read three times rather than kept once: the hash is then computed for the ranked rows only.
        inlined = False if self.reading.dialect in ("duckdb", "postgres") else None
        kept = selected(_columns(names), both.subquery("kept", copy=False))
        kept = kept.with_("base", as_=self._rows(), materialized=inlined, copy=False)
        return kept.with_("heavy", as_=heavy, copy=False)

    def _rank(self) -> exp.Expr:
        """Return H(plan hash, row), ordered alike on every engine."""
        parts: list[exp.Expr] = [exp.Literal.string(self.plan_hash().hex())]
        unit = self.plan.unit.column
        for name in dict.fromkeys([*([] if unit is None else [unit]), *self.plan.unit.row_key]):
            text = exp.Coalesce(this=self.reading.key_text(name), expressions=[exp.Literal.string("")])
            length = cast(exp.Length(this=text.copy()), "text")
            parts += [exp.Literal.string("|"), length, exp.Literal.string(":"), text]
        return row_hash(concatenated(parts), self.reading.dialect)

    def _grouped(
        self,
        columns: list[exp.Expr],
        keys: int,
        tabulated: Sequence[int] = (),
        rows: exp.Select | None = None,
    ) -> exp.Select:
        if rows is None:
            rows = self._kept() if self._is_capped else self._rows()
        query = selected(columns, rows.subquery("r", copy=False))
        query = self._coded(query, [*range(len(self.plan.group_by)), *tabulated])
        if keys:
            numbers = [exp.Literal.number(number + 1) for number in range(keys)]
            query = query.group_by(*numbers, copy=False)
        return query

    def _coded(self, query: exp.Select, numbers: Sequence[int]) -> exp.Select:
        """Give each row of `r` the codes of its values of some dimensions."""
        for number in numbers:
            dimension = self._dimensions[number]
            # Code point by code point: under another collation a row might equal two declared values and count in both.
            key = self._ordered(exp.column(f"k{number}", table="r"), dimension.type.value)
            on = exp.EQ(this=key, expression=exp.column("v", table=f"d{number}"))
            query = query.join(_domain(dimension, number), on=on, join_type="left", copy=False)
        return query

    # --- columns and conditions ---------------------------------------------------------------------------

    def _codes(self) -> list[exp.Expr]:
        return [exp.column("c", table=f"d{number}") for number in range(len(self.plan.group_by))]

    def _column(self, name: str) -> exp.Expr:
        return exp.column(f"x{self._measures.index(name)}", table="r")

    def _aggregates(self, lane: Lane) -> list[exp.Expr]:
        if lane.kind is LaneKind.DISTINCT:
            unit = exp.column(UNIT, table="r")
            return [exp.Count(this=exp.Distinct(expressions=[unit]))]
        if lane.kind in (*SEPARATE, LaneKind.COUNT) or lane.column is None:
            return []
        value = self._column(lane.column)
        if lane.kind is LaneKind.COUNT_OF:
            return [exp.Count(this=self._where_present(value, lane))]
        if lane.kind is LaneKind.SUM:
            number = self._where_present(quantised(value, lane), lane)
            return [exp.Count(this=self._where_present(value, lane)), exp.Sum(this=number)]
        first = centred(value, lane)
        second = first.copy() if lane.by is None else centred(self._column(lane.by.column), lane.by)
        return [exp.Sum(this=self._where_present(exp.Mul(this=first, expression=second), lane))]

    def _where_present(self, value: exp.Expr, lane: Lane) -> exp.Expr:
        """Return a value that is NULL where one of the columns is NULL that the lane needs besides its own."""
        if not lane.present:
            return value
        known = [negated(exp.Is(this=self._column(name), expression=exp.null())) for name in lane.present]
        return case((exp.and_(*known, copy=False), value))

    def _condition(self, predicate: Predicate) -> exp.Expr:
        if isinstance(predicate, AllOf):
            return exp.and_(*[self._condition(term) for term in predicate.terms], copy=False)
        if isinstance(predicate, AnyOf):
            return exp.or_(*[self._condition(term) for term in predicate.terms], copy=False)
        if isinstance(predicate, Negation):
            return negated(self._condition(predicate.term))
        value = self.reading.value(predicate.column)
        if isinstance(predicate, IsNull):
            return exp.Is(this=value, expression=exp.null())
        if isinstance(predicate, Among):
            literals = [_literal(predicate.type, each) for each in predicate.values]
            return exp.In(this=value, expressions=literals)
        if isinstance(predicate, Between):
            low, high = _literal(predicate.type, predicate.low), _literal(predicate.type, predicate.high)
            return between(self._ordered(value, predicate.type), low, high)
        return self._compare(value, predicate)

    def _compare(self, value: exp.Expr, predicate: Compare) -> exp.Expr:
        operator = predicate.comparison.value
        if operator in _ORDERED:
            value = self._ordered(value, predicate.type)
        return _COMPARISONS[operator](this=value, expression=_literal(predicate.type, predicate.value))

    def _ordered(self, value: exp.Expr, kind: str) -> exp.Expr:
        """Return a value that is compared by code point, whatever the database's locale is."""
        return by_code_point(value, self.reading.dialect) if kind == ColumnType.TEXT.value else value


# --- expressions -----------------------------------------------------------------------------------------------------


def _measures(lane: Lane) -> list[str | None]:
    """Return the columns that a lane reads as values."""
    if lane.kind in (LaneKind.DISTINCT, LaneKind.CONTINGENCY):
        return []
    features = [] if lane.logistic is None else [feature.column for feature in lane.logistic.features]
    return [lane.column, *([] if lane.by is None else [lane.by.column]), *lane.present, *features]


def centred(value: exp.Expr, factor: Lane | Factor) -> exp.Expr:
    """Return a value's integer less the centre, as one factor of a product."""
    return exp.Paren(this=exp.Sub(this=quantised(value, factor), expression=whole(factor.center)))


def quantised(value: exp.Expr, lane: Lane | Factor) -> exp.Expr:
    """Return floor(clip(x)·2^s + 0.5) as an integer of 64 bits; NULL stays NULL.

    LEAST and GREATEST are not used: they skip NULL in some engines and return it in others.
    """
    if lane.low is None or lane.high is None:
        raise EngineFailed(f"expected a lane with bounds, found none for {lane.column}")
    low, high = double(float(lane.low)), double(float(lane.high))
    below, above = exp.LT(this=value.copy(), expression=low), exp.GT(this=value.copy(), expression=high)
    real = cast(value.copy(), "double")
    clipped = case((below, low.copy()), (above, high.copy()), default=real)
    scaled = exp.Mul(this=clipped, expression=double(2.0**lane.scale_bits))
    return cast(exp.Floor(this=exp.Add(this=scaled, expression=double(0.5))), "bigint")


def concatenated(parts: Sequence[exp.Expr]) -> exp.Expr:
    """Return the texts one after another."""
    joined = parts[0]
    for part in parts[1:]:
        joined = exp.DPipe(this=joined, expression=part, safe=True)
    return joined


def row_hash(text: exp.Expr, dialect: str) -> exp.Expr:
    """Return the first 16 bytes of SHA-256 of a text, as something that the engine orders like bytes."""
    if dialect == "postgres":
        encoded = exp.func("convert_to", text, exp.Literal.string("UTF8"))
        digest = exp.func("sha256", encoded)
        return exp.func("substr", digest, exp.Literal.number(1), exp.Literal.number(16))
    digest = exp.SHA2(this=text, length=exp.Literal.number(256))
    left = exp.func("LEFT", digest, exp.Literal.number(32))
    if dialect != "duckdb":
        return left
    hexadecimal = exp.DPipe(this=exp.Literal.string("0x"), expression=left, safe=True)
    return cast(hexadecimal, "uint128")  # 16 bytes sort in far less memory than 32 characters


def _columns(names: Sequence[str]) -> list[exp.Expr]:
    return [exp.column(name) for name in names]


def _in_heavy() -> exp.Expr:
    """Return the condition that the row's unit has too many rows."""
    same = exp.EQ(this=exp.column(UNIT, table="heavy"), expression=exp.column(UNIT, table="base"))
    one = selected([exp.Literal.number(1)], exp.to_table("heavy"))
    return exp.Exists(this=one.where(same, copy=False))


def _domain(dimension: Dimension, number: int) -> exp.Expr:
    """Return a dimension's declared values with their codes, as a relation d<number>(v, c)."""
    rows = [
        exp.Tuple(expressions=[_literal(dimension.type.value, value), exp.Literal.number(code)])
        for code, value in enumerate(dimension.domain)
    ]
    columns = [exp.to_identifier("v"), exp.to_identifier("c")]
    alias = exp.TableAlias(this=exp.to_identifier(f"d{number}"), columns=columns)
    return exp.Values(expressions=rows, alias=alias)


def _literal(kind: str, value: Literal) -> exp.Expr:
    if kind == ColumnType.TEXT.value:
        return exp.Literal.string(str(value))
    if kind == ColumnType.INTEGER.value and isinstance(value, int):
        return exp.Literal.number(value) if abs(value) >= 1 << 63 else whole(value)
    return double(float(value))


# --- rows to sums ----------------------------------------------------------------------------------------------------


def _offsets(plan: Plan) -> list[int]:
    """Return where each lane's cells start: lanes outermost, then bins, then groups."""
    offsets, position = [], 0
    for lane in plan.lanes:
        offsets.append(position)
        position += lane.bins * plan.groups
    return offsets


def _group(plan: Plan, codes: Sequence[Any]) -> int:
    """Return the group of a row of codes; a missing code is the dimension's `other`, its last."""
    group = 0
    for dimension, code in zip(plan.group_by, codes, strict=True):
        size = len(dimension.domain) + 1
        group = group * size + (size - 1 if code is None else int(code))
    return group


def _add_main(plan: Plan, rows: Sequence[tuple[Any, ...]], sums: list[int], offsets: list[int]) -> int:
    """Put the main query's numbers in their places; return the number of rows counted."""
    keys, total = len(plan.group_by), 0
    for row in rows:
        group = _group(plan, row[:keys])
        values = iter(row[keys:])
        count = int(next(values))
        total += count
        for offset, lane in zip(offsets, plan.lanes, strict=True):
            if lane.kind not in SEPARATE:
                sums[offset + group] += _lane_sum(lane, count, values)
    return total


def _lane_sum(lane: Lane, count: int, values: Any) -> int:
    if lane.kind is LaneKind.COUNT:
        return count
    if lane.kind is LaneKind.SUM:
        present, total = int(next(values)), next(values)
        return int(total or 0) - lane.center * present
    return int(next(values) or 0)


def _add_histogram(plan: Plan, rows: Sequence[tuple[Any, ...]], sums: list[int], offset: int) -> None:
    keys = len(plan.group_by)
    for row in rows:
        group, bin_, count = _group(plan, row[:keys]), int(row[keys]), int(row[keys + 1])
        sums[offset + bin_ * plan.groups + group] += count


def _add_step(plan: Plan, rows: Sequence[tuple[Any, ...]], sums: list[int], offset: int) -> None:
    keys = len(plan.group_by)
    for row in rows:
        group = _group(plan, row[:keys])
        for bin_, total in enumerate(row[keys:]):
            sums[offset + bin_ * plan.groups + group] += int(total or 0)
