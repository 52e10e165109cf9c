"""What the node asks of a data engine, and how a policy's columns are read on every engine alike.

An engine runs SELECTs that we generated (`holder.sums`, `holder.snapshot`) over one relation, and nothing else. Each
policy column becomes one canonical expression per type, so that the same content gives the same numbers everywhere:

- number: an IEEE double; NaN becomes NULL;
- integer: 64 bits;
- text: characters as stored; where the source says so, spaces around it are trimmed;
- from text, a policy's `null_values` are NULL, and so is an empty number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from sqlglot import exp

from holder.errors import SchemaMismatch
from privacy.columns import Column, ColumnType
from privacy.policy import Policy

NUMBER_PATTERN: Final = (
    r"^([+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?"
    r"|[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])$"
)
INTEGER_PATTERN: Final = r"^[+-]?[0-9]{1,18}$"
INTEGER_LIMIT: Final = 9.2e18  # a double of this size still fits 64 bits


class SourceType(StrEnum):
    """The classes of column types that engines report."""

    INTEGER = "integer"  # up to 64 bits
    WIDE = "wide"  # decimals, and integers over 64 bits
    FLOAT = "float"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    OTHER = "other"


class Engine(Protocol):
    """One open relation. Opened for one piece of work and closed after it."""

    dialect: str  # sqlglot's name
    relation: exp.Table

    def schema(self) -> Mapping[str, SourceType]:
        """Return the relation's columns, in order."""
        ...

    def fetch(self, query: exp.Query) -> list[tuple[Any, ...]]:
        """Run a query that returns few rows."""
        ...

    def stream(self, query: exp.Query, batch: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Run a query that returns many rows, in batches, in flat memory."""
        ...

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what tells whether the data are still the registered ones."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Reading:
    """A policy's columns as expressions over one engine's relation.

    Args:
        policy: what the columns are to be.
        schema: what the engine has.
        dialect: sqlglot's name of the engine's language.
        trim: whether spaces around text are not part of it.

    Raises:
        SchemaMismatch: a column is missing or has a type that cannot be read as the policy says.
    """

    def __init__(
        self, policy: Policy, schema: Mapping[str, SourceType], *, dialect: str, trim: bool = False
    ) -> None:
        self.policy, self.schema, self.dialect, self.trim = policy, schema, dialect, trim
        problems = [problem for column in policy.columns if (problem := self._problem(column)) is not None]
        problems += [
            f"{name}: expected a column of the policy" for name in self._keys() if policy.column(name) is None
        ]
        if problems:
            raise SchemaMismatch(problems)

    def value(self, name: str) -> exp.Expr:
        """Return a column's canonical value."""
        column = self._column(name)
        if column.type is ColumnType.TEXT:
            return self._text(column)
        return self._number(column) if column.type is ColumnType.NUMBER else self._integer(column)

    def key_text(self, name: str) -> exp.Expr:
        """Return a unit's or row key's column as text that is the same on every engine."""
        column = self._column(name)
        value = self.value(name)
        return value if column.type is ColumnType.TEXT else cast(value, "text")

    def malformed(self, name: str) -> exp.Expr | None:
        """Return a condition that holds for values that cannot be read as the policy says; None if there are none."""
        column = self._column(name)
        source = self.schema[name]
        if column.type is ColumnType.TEXT:
            return None
        if source is SourceType.TEXT:
            pattern = NUMBER_PATTERN if column.type is ColumnType.NUMBER else INTEGER_PATTERN
            matches = exp.RegexpLike(this=self._blank_is_null(column), expression=exp.Literal.string(pattern))
            return negated(matches)
        if column.type is ColumnType.INTEGER and source is not SourceType.INTEGER:
            real = self._real(name)
            inside = between(real, double(-INTEGER_LIMIT), double(INTEGER_LIMIT))
            whole = exp.EQ(this=exp.Floor(this=real.copy()), expression=real.copy())
            return exp.and_(negated(is_nan(real, self.dialect)), negated(exp.and_(inside, whole)))
        return None

    def _keys(self) -> tuple[str, ...]:
        unit = self.policy.unit.column
        return tuple(dict.fromkeys([*self.policy.row_key, *([] if unit is None else [unit])]))

    def _column(self, name: str) -> Column:
        column = self.policy.column(name)
        if column is None:
            raise SchemaMismatch([f"{name}: expected a column of the policy"])
        return column

    def _problem(self, column: Column) -> str | None:
        source = self.schema.get(column.name)
        if source is None:
            return f"{column.name}: expected in the source, found none of this name"
        wanted = _READABLE[column.type]
        if source not in wanted:
            return f"{column.name}: expected {column.type.value}, found a column of type {source.value}"
        if column.type is ColumnType.NUMBER and column.name in self._keys():
            return f"{column.name}: expected an integer or text as a unit or row key, found number"
        return None

    def _raw(self, name: str) -> exp.Expr:
        return exp.column(exp.to_identifier(name, quoted=True))

    def _text(self, column: Column) -> exp.Expr:
        raw = self._raw(column.name)
        if self.schema[column.name] is not SourceType.TEXT:
            return cast(raw, "text")
        text: exp.Expr = cast(raw, "text")  # an enumeration or a padded CHAR becomes plain text
        if self.trim:
            text = trimmed(text)
        return self._without(text, self.policy.null_values)

    def _blank_is_null(self, column: Column) -> exp.Expr:
        text = trimmed(cast(self._raw(column.name), "text"))
        return self._without(text, tuple(dict.fromkeys([*self.policy.null_values, ""])))

    @staticmethod
    def _without(text: exp.Expr, values: Sequence[str]) -> exp.Expr:
        for value in values:
            text = exp.Nullif(this=text, expression=exp.Literal.string(value))
        return text

    def _real(self, name: str) -> exp.Expr:
        raw = self._raw(name)
        if self.schema[name] is SourceType.WIDE and self.dialect == "duckdb":
            raw = cast(raw, "text")  # its own cast of a wide decimal to double rounds twice
        return cast(raw, "double")

    def _number(self, column: Column) -> exp.Expr:
        if self.schema[column.name] is SourceType.TEXT:
            real: exp.Expr = cast(self._blank_is_null(column), "double")
        else:
            real = self._real(column.name)
        if self.schema[column.name] is SourceType.INTEGER:
            return real
        return case((negated(is_nan(real, self.dialect)), real.copy()))

    def _integer(self, column: Column) -> exp.Expr:
        source = self.schema[column.name]
        if source is SourceType.TEXT:
            return cast(self._blank_is_null(column), "bigint")
        if source is SourceType.INTEGER:
            return cast(self._raw(column.name), "bigint")
        real = self._real(column.name)
        inside = between(real, double(-INTEGER_LIMIT), double(INTEGER_LIMIT))
        # the CASE is not enough: DuckDB may convert before it decides
        converted = exp.TryCast(this=self._raw(column.name), to=_KINDS["bigint"].copy())
        return case((inside, converted))


_READABLE: Final = {
    ColumnType.TEXT: {
        SourceType.TEXT,
        SourceType.INTEGER,
        SourceType.BOOLEAN,
        SourceType.DATE,
    },
    ColumnType.INTEGER: {SourceType.INTEGER, SourceType.WIDE, SourceType.FLOAT, SourceType.TEXT},
    ColumnType.NUMBER: {SourceType.INTEGER, SourceType.WIDE, SourceType.FLOAT, SourceType.TEXT},
}


_KINDS: Final = {kind: exp.DataType.build(kind) for kind in ("text", "double", "bigint", "uint128")}


# --- small expressions -----------------------------------------------------------------------------------------------


def cast(value: exp.Expr, kind: str) -> exp.Expr:
    """Return a conversion to `text`, `double` or `bigint`. As in all of these, the node is used, not copied."""
    return exp.Cast(this=value, to=_KINDS[kind].copy())


def trimmed(text: exp.Expr) -> exp.Expr:
    """Return a text without the spaces around it. Few texts have any, and looking first is ten times cheaper."""
    patterns = [exp.Like(this=text.copy(), expression=exp.Literal.string(each)) for each in (" %", "% ")]
    trim = exp.Trim(this=text.copy(), expression=exp.Literal.string(" "), position="BOTH")
    return case((exp.or_(*patterns, copy=False), trim), default=text)


def negated(condition: exp.Expr) -> exp.Expr:
    """Return NOT of a condition."""
    return exp.not_(condition, copy=False)


def double(value: float) -> exp.Expr:
    """Return an IEEE double as an expression: its shortest text, cast, so that no engine reads it as a decimal."""
    text = {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, repr(float(value)))
    return cast(exp.Literal.string(text), "double")


def whole(value: int) -> exp.Expr:
    """Return an integer of 64 bits as an expression."""
    return cast(exp.Literal.number(value), "bigint")


def is_nan(real: exp.Expr, dialect: str) -> exp.Expr:
    """Return a condition that is true for NaN, false for every other double and NULL for NULL.

    In general NaN is what is not `<= +inf`, in SQL's order as in IEEE 754; DuckDB has a function for it.
    """
    if dialect == "duckdb":
        return exp.IsNan(this=real.copy())
    return negated(exp.LTE(this=real.copy(), expression=double(float("inf"))))


def between(value: exp.Expr, low: exp.Expr, high: exp.Expr) -> exp.Expr:
    """Return `value BETWEEN low AND high`."""
    return exp.Between(this=value.copy(), low=low, high=high)


def case(*branches: tuple[exp.Expr, exp.Expr], default: exp.Expr | None = None) -> exp.Case:
    """Return a CASE; without a default it is NULL where no branch holds."""
    built = exp.Case()
    for condition, result in branches:
        built = built.when(condition, result, copy=False)
    return built if default is None else built.else_(default, copy=False)


def by_code_point(text: exp.Expr, dialect: str) -> exp.Expr:
    """Return a text as it is ordered by code point, whatever the database's locale is."""
    if dialect != "postgres":
        return text
    return exp.Collate(this=exp.Paren(this=text), expression=exp.to_identifier("C", quoted=True))


def selected(columns: Sequence[exp.Expr], relation: exp.Expr) -> exp.Select:
    """Return SELECT columns FROM relation."""
    return exp.Select().select(*columns, copy=False).from_(relation, copy=False)
