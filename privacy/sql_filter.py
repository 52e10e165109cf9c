"""The WHERE clause: AND, OR and NOT of comparisons of a filter column with literals of its type."""

from decimal import Decimal

from sqlglot import exp

from privacy.columns import INTEGER_MAX, Column, ColumnType
from privacy.decimals import read_decimal
from privacy.query import (
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Comparison,
    IsNull,
    Literal,
    Negation,
    Predicate,
)
from privacy.sql_join import read_name
from privacy.sql_names import Names
from privacy.sql_scan import TokenKind
from privacy.sql_tree import SqlTree

_COMPARISONS: dict[type[exp.Expr], Comparison] = {
    exp.EQ: Comparison.EQUAL,
    exp.NEQ: Comparison.NOT_EQUAL,
    exp.LT: Comparison.LESS,
    exp.LTE: Comparison.LESS_OR_EQUAL,
    exp.GT: Comparison.GREATER,
    exp.GTE: Comparison.GREATER_OR_EQUAL,
}
_ORDERED = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)
TEXT_CHARS_MAX = 1024


class FilterReader:
    """Translates a condition; what it refuses is recorded and becomes None."""

    def __init__(self, tree: SqlTree, names: Names) -> None:
        self.tree = tree
        self.names = names

    def read(self, node: exp.Expr) -> Predicate | None:
        """Return the typed predicate of a condition."""
        if isinstance(node, exp.Paren):
            return self.read(node.this)
        if isinstance(node, exp.And | exp.Or):
            return self._connective(node)
        if isinstance(node, exp.Not):
            self.tree.accept("NOT")
            term = self.read(node.this)
            return None if term is None else Negation(term)
        if type(node) in _COMPARISONS:
            return self._compare(node)
        if isinstance(node, exp.In):
            return self._among(node)
        if isinstance(node, exp.Between):
            return self._between(node)
        if isinstance(node, exp.Is):
            return self._is_null(node)
        self._refuse(node)
        return None

    def _connective(self, node: exp.Expr) -> Predicate | None:
        """Flatten one connective, without recursion: sqlglot nests a long chain to the left."""
        kind = type(node)
        terms: list[exp.Expr] = []
        stack = [node]
        while stack:
            each = stack.pop()
            inner = each
            while isinstance(inner, exp.Paren):
                inner = inner.this
            if type(inner) is kind:
                self.tree.accept("AND" if kind is exp.And else "OR")
                stack += [inner.args["expression"], inner.this]
            else:
                terms.append(each)
        predicates = [self.read(term) for term in terms]
        known = tuple(predicate for predicate in predicates if predicate is not None)
        if len(known) < len(predicates):
            return None
        return AllOf(known) if kind is exp.And else AnyOf(known)

    def _compare(self, node: exp.Expr) -> Predicate | None:
        comparison = _COMPARISONS[type(node)]
        # `!=` is taken for `<>`, and whichever stands in the text accounts for itself.
        self.tree.accept("=" if comparison is Comparison.EQUAL else comparison.value)
        column = self._column(node.this, node)
        value = self._literal(column, node.args["expression"])
        if column is None or value is None:
            return None
        return Compare(column.name, column.type.value, comparison, value)

    def _among(self, node: exp.In) -> Predicate | None:
        column = self._column(node.this, node)
        self.tree.accept("IN", *[","] * (len(node.expressions) - 1))
        if any(node.args.get(name) for name in ("query", "unnest", "field")) or not node.expressions:
            self.tree.refuse("expression", "IN needs a list of literals in parentheses", node)
            return None
        values = [self._literal(column, each) for each in node.expressions]
        known = tuple(value for value in values if value is not None)
        if column is None or len(known) < len(values):
            return None
        return Among(column.name, column.type.value, known)

    def _between(self, node: exp.Between) -> Predicate | None:
        self.tree.accept("BETWEEN", "AND")
        column = self._column(node.this, node)
        low, high = self._literal(column, node.args["low"]), self._literal(column, node.args["high"])
        if node.args.get("symmetric") is not None:
            self.tree.refuse("expression", "BETWEEN takes no SYMMETRIC", node)
            return None
        if column is None or low is None or high is None:
            return None
        return Between(column.name, column.type.value, low, high)

    def _is_null(self, node: exp.Is) -> Predicate | None:
        self.tree.accept("IS", "NULL")
        column = self._column(node.this, node)
        if not isinstance(node.args["expression"], exp.Null):
            self.tree.refuse("expression", "IS is followed by NULL or NOT NULL", node)
            return None
        return None if column is None else IsNull(column.name, column.type.value)

    def _column(self, node: exp.Expr, condition: exp.Expr) -> Column | None:
        """Return the column at the left of a condition, if WHERE may use it so."""
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            message = "a condition has a column at its left and literals at its right"
            self.tree.refuse("expression", message, node)
            return None
        token, column = self.tree.token(node.this), read_name(self.tree, self.names, node)
        if column is None or token is None:
            return None
        if not column.filter:
            message = f"{column.name!r} may not be used in WHERE"
            self.names.scan.refuse("not-filter", message, token.start, column.name)
            return None
        if column.type is ColumnType.TEXT and isinstance(condition, _ORDERED):
            message = f"{column.name!r} is a text, whose order differs between engines: use = or IN"
            self.names.scan.refuse("text-order", message, token.start, column.name)
            return None
        return column

    def _literal(self, column: Column | None, node: exp.Expr) -> Literal | None:
        """Return a literal of the column's type; without a column, of any type."""
        sign = ""
        if isinstance(node, exp.Neg):
            self.tree.accept("-")
            sign, node = "-", node.this
        token = self.tree.token(node) if isinstance(node, exp.Literal) else None
        if token is None:
            hint = self._hint(node)
            at = node if self.tree.first_token(node) else node.parent or node
            self.tree.refuse("literal", "expected a literal" + hint, at, column.name if column else None)
            return None
        self.tree.accept(token.kind.value)
        if column is None:
            return ""
        is_text = token.kind is TokenKind.STRING
        value = _typed(column.type, is_text, sign + token.value if not is_text or not sign else None)
        if value is None:
            message = f"{column.name!r} is compared with {_EXPECTED[column.type]}"
            self.names.scan.refuse("literal", message, token.start, column.name)
        return value

    def _hint(self, node: exp.Expr) -> str:
        """Return what may have been meant where a literal is expected."""
        if isinstance(node, exp.Null):
            return ": IS NULL tests for it"
        name = self.tree.token(node.this) if isinstance(node, exp.Column) else None
        if name is None:
            return ""
        text = name.value.replace("'", "''")
        return f"; a text stands in single quotes: '{text}'"

    def _refuse(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Column):
            self._column(node, node)
            self.tree.refuse("expression", "a column alone is no condition", node)
            return
        message = "a condition is a comparison, IN, BETWEEN or IS NULL, joined by AND, OR and NOT"
        self.tree.refuse("expression", message, node)


_EXPECTED = {
    ColumnType.TEXT: f"a text in single quotes, of at most {TEXT_CHARS_MAX} characters",
    ColumnType.INTEGER: "an integer of 64 bits",
    ColumnType.NUMBER: "a number of at most 40 digits",
}


def _typed(kind: ColumnType, is_text: bool, text: str | None) -> Literal | None:
    """Read a literal of a type."""
    if text is None or (kind is ColumnType.TEXT) != is_text:
        return None
    if kind is ColumnType.TEXT:
        return text if len(text) <= TEXT_CHARS_MAX else None
    number = read_decimal(text)
    if number is None:
        return None
    if kind is ColumnType.NUMBER:
        return Decimal(number)
    digits = text.removeprefix("-")
    if not digits.isdigit() or abs(number) > INTEGER_MAX:
        return None
    return int(text)
