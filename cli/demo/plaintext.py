"""The same question on the plain union of the holders' tables. Only the demo can do this: it has all tables on one machine.

It shares nothing with the private path but the parsed output list: the WHERE clause is the buyer's own text, and
the aggregates are DuckDB's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from privacy.logistic import step_names
from privacy.policy import Policy
from privacy.query import Output, OutputKind, Query

_PLAIN = {
    OutputKind.SUM: "sum",
    OutputKind.AVG: "avg",
    OutputKind.VAR_SAMP: "var_samp",
    OutputKind.VAR_POP: "var_pop",
    OutputKind.STDDEV_SAMP: "stddev_samp",
    OutputKind.STDDEV_POP: "stddev_pop",
    OutputKind.COVAR_SAMP: "covar_samp",
    OutputKind.COVAR_POP: "covar_pop",
    OutputKind.CORR: "corr",
}
_SUMS = (OutputKind.SUM, OutputKind.SCORE)
_ZERO_WHEN_EMPTY = {OutputKind.COUNT, OutputKind.COUNT_DISTINCT, OutputKind.HISTOGRAM, *_SUMS}
Weights = tuple[float, Mapping[str, float]]
"""An intercept, and a weight for each feature."""

OTHER = "other"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _number(column: str) -> str:
    """The column as DOUBLE with NaN as NULL: neither counts for a measure."""
    cast = f"CAST({_quote(column)} AS DOUBLE)"
    return f"CASE WHEN isnan({cast}) THEN NULL ELSE {cast} END"


def _histogram(output: Output, policy: Policy) -> list[str]:
    column = policy.column(output.column or "")
    assert (
        column is not None and column.low is not None and column.high is not None and output.bins is not None
    )
    low, high = float(column.low), float(column.high)
    width = (high - low) / output.bins
    value = f"least(greatest({_number(column.name)}, {low!r}), {high!r})"
    place = f"least(CAST(floor(({value} - {low!r}) / {width!r}) AS BIGINT), {output.bins - 1})"
    known = f"{_number(column.name)} IS NOT NULL"  # greatest() and least() pass NULL over
    return [f"count(*) FILTER (WHERE {known} AND {place} = {index})" for index in range(output.bins)]


def _score(output: Output, weights: Weights) -> str:
    """A row where a feature is NULL has no score, and SQL's sum passes it over."""
    intercept, by_feature = weights
    names = (output.column or "", *output.others)
    terms = [f"{by_feature[name]!r} * {_number(name)}" for name in names]
    return f"sum({' + '.join([repr(intercept), *terms])})"


def _expressions(output: Output, policy: Policy, score: Weights | None) -> list[str]:
    match output.kind:
        case OutputKind.GROUP:
            return []
        case OutputKind.COUNT:
            return ["count(*)"]
        case OutputKind.COUNT_DISTINCT:
            return [f"count(DISTINCT {_quote(output.column or '')})"]
        case OutputKind.HISTOGRAM:
            return _histogram(output, policy)
        case OutputKind.QUANTILE:
            return [f"quantile_cont({_number(output.column or '')}, {output.quantile})"]
        case (
            OutputKind.LINREG | OutputKind.CHI2 | OutputKind.LOGREG_STEP
        ):  # not in SQL; the tests compare them with numpy
            return ["NULL"] * _width(output)
        case OutputKind.SCORE:
            return ["NULL" if score is None else _score(output, score)]
    arguments = ", ".join(_number(name) for name in (output.column or "", *output.others))
    return [f"{_PLAIN[output.kind]}({arguments})"]


def _width(output: Output) -> int:
    """Return the number of the answer's columns that an output gives."""
    if output.kind is OutputKind.LINREG:
        return 2 * (1 + len(output.others))
    if output.kind is OutputKind.CHI2:
        return 3
    if output.kind is OutputKind.LOGREG_STEP:
        return len(step_names(output.name, output.others))
    return output.bins or 1 if output.kind is OutputKind.HISTOGRAM else 1


def _where(sql: str) -> str:
    where = sqlglot.parse_one(sql, read="postgres").args.get("where")
    return f" {where.sql('duckdb')}" if isinstance(where, exp.Where) else ""


def plaintext_sql(
    query: Query,
    policy: Policy,
    sql: str,
    files: Sequence[Path],
    *,
    score: Weights | None = None,
    source: str | None = None,
) -> str:
    """Return the plain DuckDB query: one row for each group that has rows, group keys first.

    `source` is what stands after FROM in place of the files.
    """
    groups = []
    for name in query.group_by:
        column = policy.column(name)
        assert column is not None
        domain = ", ".join(_literal(value) for value in column.domain or ())
        key = f"CAST({_quote(name)} AS VARCHAR)"
        groups.append(f"CASE WHEN {_quote(name)} IN ({domain}) THEN {key} ELSE '{OTHER}' END")
    aggregates = [text for output in query.outputs for text in _expressions(output, policy, score)]
    union = "read_parquet([" + ", ".join(_literal(str(path)) for path in files) + "])"
    read = source or f"{union} AS {_quote(query.listing)}"
    grouping = f" GROUP BY {', '.join(str(i + 1) for i in range(len(groups)))}" if groups else ""
    what = ", ".join([*groups, *aggregates])
    # every name and literal is quoted above; the WHERE clause is one that the private path has accepted
    return f"SELECT {what} FROM {read}{_where(sql)}{grouping}"  # noqa: S608


def plaintext_rows(
    query: Query,
    policy: Policy,
    sql: str,
    files: Sequence[Path],
    *,
    like: Sequence[Sequence[Any]],
    score: Weights | None = None,
    source: str | None = None,
) -> list[list[Any]]:
    """Return the plain answer, row by row beside `like`, the private answer's rows (the same columns in the same order).

    `score` has the weights of SCORE, in the clear. A group without rows counts and sums to 0, and has no average.
    """
    connection = duckdb.connect(config={"threads": 2})
    found = connection.execute(
        plaintext_sql(query, policy, sql, files, score=score, source=source)
    ).fetchall()
    width = len(query.group_by)
    values = {tuple(row[:width]): row[width:] for row in found}
    widths = [_width(output) for output in query.outputs]
    empty = tuple(
        0 if output.kind in _ZERO_WHEN_EMPTY else None
        for output, count in zip(query.outputs, widths, strict=True)
        if output.kind is not OutputKind.GROUP
        for _ in range(count)
    )
    rows = []
    for row in like:
        shown = _group_keys(query, row, widths)
        plain = iter(
            _empty_sums(query, widths, values.get(tuple(str(shown[name]) for name in query.group_by), empty))
        )
        rows.append(_row(query, row, widths, plain))
    return rows


def _group_keys(query: Query, row: Sequence[Any], widths: Sequence[int]) -> dict[str, Any]:
    keys, place = {}, 0
    for output, width in zip(query.outputs, widths, strict=True):
        if output.kind is OutputKind.GROUP:
            keys[output.column or ""] = row[place]
        place += width
    return keys


def _empty_sums(query: Query, widths: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """SQL sums no value to NULL; the sealed sum has 0 there."""
    kinds = [
        output.kind
        for output, width in zip(query.outputs, widths, strict=True)
        if output.kind is not OutputKind.GROUP
        for _ in range(width)
    ]
    return [
        0 if value is None and kind in _SUMS else value for kind, value in zip(kinds, values, strict=True)
    ]


def _row(query: Query, row: Sequence[Any], widths: Sequence[int], plain: Any) -> list[Any]:
    out, place = [], 0
    for output, width in zip(query.outputs, widths, strict=True):
        for offset in range(width):
            out.append(row[place + offset] if output.kind is OutputKind.GROUP else next(plain))
        place += width
    return out
