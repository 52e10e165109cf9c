"""The two serial forms of a query: JSON in a plan, and the SQL text that parses to the same query again."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from privacy.columns import ColumnType
from privacy.decimals import decimal_text, is_canonical_decimal
from privacy.encoding import JSON_DEPTH_MAX
from privacy.errors import PlanInvalid
from privacy.query import (
    MOMENT_KINDS,
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Comparison,
    IsNull,
    Literal,
    Negation,
    Output,
    OutputKind,
    Predicate,
    Query,
)
from privacy.types import from_decimal, read_text, require_members

FILTER_DEPTH_MAX = (JSON_DEPTH_MAX - 8) // 2
"""AND, OR and NOT inside each other, at most: each takes two levels of JSON; the rest is for what carries them."""

FUNCTIONS = {
    OutputKind.SUM: "SUM",
    OutputKind.AVG: "AVG",
    OutputKind.VAR_SAMP: "VAR_SAMP",
    OutputKind.VAR_POP: "VAR_POP",
    OutputKind.STDDEV_SAMP: "STDDEV_SAMP",
    OutputKind.STDDEV_POP: "STDDEV_POP",
    OutputKind.COVAR_SAMP: "COVAR_SAMP",
    OutputKind.COVAR_POP: "COVAR_POP",
    OutputKind.CORR: "CORR",
    OutputKind.LINREG: "LINREG",
    OutputKind.CHI2: "CHI2",
    OutputKind.LOGREG_STEP: "LOGREG_STEP",
    OutputKind.SCORE: "SCORE",
}

_SEVERAL = (*MOMENT_KINDS, OutputKind.CHI2, OutputKind.SCORE, OutputKind.LOGREG_STEP)


# --- JSON --------------------------------------------------------------------------------------------------


def literal_text(value: Literal) -> str:
    """Return a literal as a plan spells it."""
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def read_literal(kind: ColumnType, value: Any) -> Literal:
    """Read a literal of a column's type, as `literal_text` wrote it.

    Raises:
        PlanInvalid: it is not the canonical text of that type.
    """
    if kind is ColumnType.INTEGER:
        return from_decimal("an integer", value)
    if kind is ColumnType.NUMBER:
        if not is_canonical_decimal(value):
            raise PlanInvalid("a number must be a decimal string without superfluous zeros")
        return Decimal(value)
    return read_text("a text", value)


def predicate_to_json(predicate: Predicate) -> dict[str, Any]:
    """Return the JSON object of a filter."""
    if isinstance(predicate, AllOf | AnyOf):
        op = "and" if isinstance(predicate, AllOf) else "or"
        return {"op": op, "terms": [predicate_to_json(term) for term in predicate.terms]}
    if isinstance(predicate, Negation):
        return {"op": "not", "term": predicate_to_json(predicate.term)}
    leaf = {"column": predicate.column, "type": predicate.type}
    if isinstance(predicate, Compare):
        return {"op": predicate.comparison.value, **leaf, "value": literal_text(predicate.value)}
    if isinstance(predicate, Among):
        return {"op": "in", **leaf, "values": [literal_text(value) for value in predicate.values]}
    if isinstance(predicate, Between):
        low, high = literal_text(predicate.low), literal_text(predicate.high)
        return {"op": "between", **leaf, "low": low, "high": high}
    return {"op": "is_null", **leaf}


def predicate_depth(predicate: Predicate) -> int:
    """Return how many AND, OR and NOT are inside each other."""
    if isinstance(predicate, AllOf | AnyOf):
        return 1 + max(predicate_depth(term) for term in predicate.terms)
    return 1 + predicate_depth(predicate.term) if isinstance(predicate, Negation) else 0


def predicate_from_json(value: Any, depth: int = FILTER_DEPTH_MAX + 1) -> Predicate:
    """Read the JSON object of a filter.

    Raises:
        PlanInvalid: a member is missing, unknown or malformed, or the nesting is too deep.
    """
    if depth == 0:
        raise PlanInvalid(f"a filter may be nested {FILTER_DEPTH_MAX} deep at most")
    op = value.get("op") if isinstance(value, dict) else None
    if op == "and" or op == "or":
        terms = require_members("filter", value, ("op", "terms"))["terms"]
        if not isinstance(terms, list) or len(terms) < 2:
            raise PlanInvalid(f"a filter's {op} must have at least two terms")
        predicates = tuple(predicate_from_json(term, depth - 1) for term in terms)
        return AllOf(predicates) if op == "and" else AnyOf(predicates)
    if op == "not":
        return Negation(
            predicate_from_json(require_members("filter", value, ("op", "term"))["term"], depth - 1)
        )
    return _leaf_from_json(op, value)


def _leaf_from_json(op: Any, value: Any) -> Predicate:
    if not isinstance(op, str):
        raise PlanInvalid("a filter must be a JSON object whose op is a string")
    operands = {"in": ("values",), "between": ("low", "high"), "is_null": ()}.get(op, ("value",))
    members = require_members("filter", value, ("op", "column", "type", *operands))
    column, kind = read_text("a filter's column", members["column"]), read_type(members["type"])
    if op == "is_null":
        return IsNull(column, kind.value)
    if op == "between":
        return Between(
            column, kind.value, read_literal(kind, members["low"]), read_literal(kind, members["high"])
        )
    if op == "in":
        if not isinstance(members["values"], list) or not members["values"]:
            raise PlanInvalid("a filter's values must be a list of at least one")
        return Among(column, kind.value, tuple(read_literal(kind, each) for each in members["values"]))
    if op not in [each.value for each in Comparison]:
        raise PlanInvalid("a filter's op must be and, or, not, in, between, is_null or a comparison")
    return Compare(column, kind.value, Comparison(op), read_literal(kind, members["value"]))


def output_to_json(output: Output) -> dict[str, Any]:
    """Return the JSON object of an item of the SELECT list."""
    bins = None if output.bins is None else str(output.bins)
    value: dict[str, Any] = {
        "name": output.name,
        "kind": output.kind.value,
        "column": output.column,
        "bins": bins,
    }
    if output.kind is OutputKind.QUANTILE:
        value["quantile"] = None if output.quantile is None else decimal_text(output.quantile)
    if output.kind in _SEVERAL:
        value |= {"others": list(output.others), "present": list(output.present)}
    if output.kind is OutputKind.LOGREG_STEP:
        value["coefficients"] = [decimal_text(each) for each in output.coefficients]
    return value


def output_from_json(value: Any) -> Output:
    """Read the JSON object of an item of the SELECT list.

    Raises:
        PlanInvalid: a member is missing, unknown or malformed.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in [each.value for each in OutputKind]:
        raise PlanInvalid("an output's kind must be one of " + ", ".join(OutputKind))
    more: tuple[str, ...] = ("others", "present") if kind in _SEVERAL else ()
    if kind == OutputKind.QUANTILE.value:
        more = ("quantile",)
    if kind == OutputKind.LOGREG_STEP.value:
        more = (*more, "coefficients")
    members = require_members("output", value, ("name", "kind", "column", "bins", *more))
    column = members["column"]
    bins = None if members["bins"] is None else from_decimal("bins", members["bins"])
    quantile = read_literal(ColumnType.NUMBER, members["quantile"]) if "quantile" in members else None
    return Output(
        read_text("an output's name", members["name"]),
        OutputKind(kind),
        None if column is None else read_text("an output's column", column),
        bins,
        quantile if isinstance(quantile, Decimal) else None,
        _names("others", members),
        _names("present", members),
        read_decimals("coefficients", members.get("coefficients", [])),
    )


def read_decimals(what: str, values: Any) -> tuple[Decimal, ...]:
    """Read a list of decimals in canonical form.

    Raises:
        PlanInvalid: it is none.
    """
    if not isinstance(values, list):
        raise PlanInvalid(f"{what} must be a list of decimals")
    found = [read_literal(ColumnType.NUMBER, each) for each in values]
    return tuple(each for each in found if isinstance(each, Decimal))


def _names(what: str, members: Mapping[str, Any]) -> tuple[str, ...]:
    names = members.get(what, [])
    if not isinstance(names, list):
        raise PlanInvalid(f"an output's {what} must be a list of JSON strings")
    return tuple(read_text(f"an output's {what}", name) for name in names)


def read_type(value: Any) -> ColumnType:
    """Read a column type.

    Raises:
        PlanInvalid: it is none.
    """
    if value not in [each.value for each in ColumnType]:
        raise PlanInvalid("a type must be one of " + ", ".join(ColumnType))
    return ColumnType(value)


# --- SQL ---------------------------------------------------------------------------------------------------


def render_sql(query: Query) -> str:
    """Write a query as SQL that parses to the same query; never nested deeper than the text it came from."""
    outputs = ", ".join(f"{_expression(output)} AS {_quoted(output.name)}" for output in query.outputs)
    sql = f"SELECT {outputs} FROM {_source(query)}"  # noqa: S608 (text for our parser, never run)
    if query.filter is not None:
        sql += f" WHERE {_predicate(query.filter)}"
    if query.group_by:
        sql += " GROUP BY " + ", ".join(_quoted(name) for name in query.group_by)
    return sql


def _source(query: Query) -> str:
    if query.joined is None:
        return _quoted(query.listing)
    first, second = map(_quoted, query.joined.sides)
    key = _quoted(query.joined.key)
    return f"{first} JOIN {second} ON {first}.{key} = {second}.{key}"


def _expression(output: Output) -> str:
    column = "" if output.column is None else _quoted(output.column)
    if output.kind is OutputKind.GROUP:
        return column
    if output.kind is OutputKind.COUNT:
        return "COUNT(*)"
    if output.kind is OutputKind.COUNT_DISTINCT:
        return f"COUNT(DISTINCT {column})"
    if output.kind is OutputKind.HISTOGRAM:
        return f"HISTOGRAM({column}, {output.bins})"
    if output.kind is OutputKind.QUANTILE and output.quantile is not None:
        return f"QUANTILE({column}, {decimal_text(output.quantile)}, {output.bins})"
    numbers = map(decimal_text, output.coefficients)
    arguments = ", ".join([column, *map(_quoted, output.others), *numbers])
    return f"{FUNCTIONS[output.kind]}({arguments})"


def _predicate(predicate: Predicate) -> str:
    if isinstance(predicate, AllOf):
        return " AND ".join(_operand(term, AnyOf) for term in predicate.terms)
    if isinstance(predicate, AnyOf):
        return " OR ".join(_predicate(term) for term in predicate.terms)
    if isinstance(predicate, Negation):
        return "NOT " + _operand(predicate.term, AllOf | AnyOf)
    column = _quoted(predicate.column)
    if isinstance(predicate, Compare):
        return f"{column} {predicate.comparison.value} {_literal(predicate.value)}"
    if isinstance(predicate, Among):
        return f"{column} IN ({', '.join(_literal(value) for value in predicate.values)})"
    if isinstance(predicate, Between):
        return f"{column} BETWEEN {_literal(predicate.low)} AND {_literal(predicate.high)}"
    return f"{column} IS NULL"


def _operand(predicate: Predicate, enclosed: Any) -> str:
    text = _predicate(predicate)
    return f"({text})" if isinstance(predicate, enclosed) else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Literal) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else literal_text(value)
