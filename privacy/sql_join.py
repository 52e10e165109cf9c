"""The join of a query: two tables of the listing, brought together where their key is the same.

Only `FROM a JOIN b ON a.key = b.key` is taken. Each condition of WHERE that AND joins is about one table, and all measures
are of one table: what would need a row of one table beside a row of the other is refused, as nobody ever sees both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from privacy.columns import Column
from privacy.query import Joined, Output
from privacy.sql_names import Names
from privacy.sql_tree import SqlTree
from privacy.types import Violation

if TYPE_CHECKING:
    from privacy.join.kind import JoinPolicy

# an alias of this spelling would be the start of another kind of join, read as a name
_OTHER_JOINS: Final = frozenset(
    ["LEFT", "RIGHT", "FULL", "OUTER", "SEMI", "ANTI", "ASOF", "POSITIONAL", "GLOBAL", "STRAIGHT_JOIN"]
)


def read_name(tree: SqlTree, names: Names, node: exp.Expr) -> Column | None:
    """Return the column that a column node names; if there is none, record why.

    In a join the name of its table may stand before it, where it must be the column's.
    """
    token = tree.token(node.this)
    before = node.args.get("table")
    if any(node.args.get(name) for name in ("db", "catalog")) or (before is not None and not names.tables):
        tree.refuse("qualified-name", "a column is written without its table", node)
        return None
    tree.accept("name")
    column = None if token is None else names.column(token)
    if before is None or not isinstance(before, exp.Identifier):
        return column
    tree.accept("name", ".")
    qualifier = tree.token(before)
    side = None if qualifier is None else names.table(qualifier)
    if column is None or side is None:
        return None
    if column.side not in (None, side):
        message = f"{column.name!r} is a column of {column.side!r}, not of {side!r}"
        tree.refuse("wrong-table", message, node, column.name)
        return None
    return column


class JoinReader:
    """Reads what is special in a query that joins; what it refuses is recorded.

    Args:
        tree: where violations are recorded and tokens accounted for.
        names: told which names stand for the tables.
        terms: the policy's.
    """

    def __init__(self, tree: SqlTree, names: Names, terms: JoinPolicy) -> None:
        self._tree, self._names, self._terms = tree, names, terms

    @property
    def tables(self) -> Joined:
        """The tables, in the one form that does not depend on the text."""
        first, second = (side.name for side in self._terms.sides)
        return Joined((first, second), self._terms.key)

    # --- FROM

    def read_tables(self, root: exp.Select) -> None:
        """Read FROM, JOIN and ON, and give the tables their names."""
        source = root.args.get("from_")
        joins = root.args.get("joins") or []
        table = source.this if isinstance(source, exp.From) else None
        if table is None or len(joins) != 1 or not isinstance(joins[0], exp.Join):
            self._tree.refuse("join", f"expected {self._form}", table or root)
            return
        join = joins[0]
        wrong = [name for name in _set(join) if name not in ("this", "on", "kind")]
        kind = join.args.get("kind")
        if wrong or kind not in (None, "", "INNER") or join.args.get("on") is None:
            self._tree.refuse("join", f"no other join is offered: expected {self._form}", join)
            return
        self._tree.accept("FROM", "JOIN", "ON", *(["INNER"] if kind else []))
        read = [self._read_table(each) for each in (table, join.this)]
        if None not in read and len(set(read)) == 1:
            self._tree.refuse("join", f"a table is not joined with itself: expected {self._form}", join.this)
        self._read_condition(join.args["on"])

    @property
    def _form(self) -> str:
        (first, second), key = self.tables.sides, self._terms.key
        return f"FROM {first} JOIN {second} ON {first}.{key} = {second}.{key}"

    def _read_table(self, table: exp.Expr) -> str | None:
        """Return the side of a table, and remember by what name the query calls it."""
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            self._tree.refuse("from", f"expected {self._form}", table)
            return None
        if set(_set(table)) - {"this", "alias"}:
            self._tree.refuse(
                "from", f"a table has one name and perhaps a second: expected {self._form}", table
            )
            return None
        self._tree.accept("name")
        token = self._tree.token(table.this)
        side = None if token is None else self._names.side(token)
        alias = table.args.get("alias")
        called = side if alias is None else self._read_alias(alias)
        if side is None or called is None:
            return side
        if called in self._names.tables:
            self._tree.refuse("duplicate-name", f"two tables are called {called!r}", alias or table)
        self._names.tables[called] = side
        return side

    def _read_alias(self, alias: exp.Expr) -> str | None:
        identifier = alias.this if isinstance(alias, exp.TableAlias) else None
        token = self._tree.token(identifier) if isinstance(identifier, exp.Identifier) else None
        if token is None or not token.is_name or _set(alias) != ["this"]:
            self._tree.refuse("name", "a table's second name is a word or stands in double quotes", alias)
            return None
        if token.word in _OTHER_JOINS:
            self._tree.refuse("join", f"{token.word} JOIN is not offered: expected {self._form}", alias)
            return None
        self._tree.accept("name")
        before = self._tree.before(token)
        if before is not None and before.keyword == "AS":
            self._tree.accept("AS")
        return token.value

    def _read_condition(self, condition: exp.Expr) -> None:
        """Require that ON is the equality of the declared key, each with its table."""
        while isinstance(condition, exp.Paren):
            condition = condition.this
        if not isinstance(condition, exp.EQ):
            self._tree.refuse("join-on", f"ON takes the equality of the key alone: {self._form}", condition)
            return
        self._tree.accept("=")
        sides = []
        for node in (condition.this, condition.args["expression"]):
            before = node.args.get("table") if isinstance(node, exp.Column) else None
            token = self._tree.token(before) if isinstance(before, exp.Identifier) else None
            if token is None:
                message = f"each side of ON is the key with its table: {self._form}"
                self._tree.refuse("join-on", message, node if self._tree.first_token(node) else condition)
                return
            column = read_name(self._tree, self._names, node)
            if column is not None and column.name != self._terms.key:
                message = f"{column.name!r} is not the key {self._terms.key!r}, the one column that rows are matched by"
                self._tree.refuse("join-on", message, node, column.name)
            sides.append(self._names.tables.get(token.value, token.value))
        if len(set(sides)) == 1:
            self._tree.refuse("join-on", f"ON compares the keys of both tables: {self._form}", condition)

    # --- what keeps to one table

    def check_outputs(self, outputs: Sequence[Output]) -> None:
        """Record aggregates that a join does not have, products across tables, and measures of a second table."""
        from privacy.join.kind import KINDS, measured

        first: tuple[str, str] | None = None
        for output in outputs:
            columns = [(name, self._side(name)) for name in measured(output)]
            sides = {side for _, side in columns if side is not None}
            if len(sides) > 1:
                message = "products across tables are not offered: neither holder may see the other's values"
                self._refuse("join-product", message, output)
            elif output.kind not in KINDS:
                known = "COUNT(*), SUM, AVG, VAR and STDDEV"
                self._refuse("join-aggregate", f"a join has {known}, not {output.kind.value}", output)
            elif sides and first is not None and {first[1]} != sides:
                message = (
                    f"{output.column!r} is of {sides.pop()!r} and {first[0]!r} of {first[1]!r}: one table's holder adds up, "
                    "encrypted, what the other's gives, so all measures are of one table. Ask a query for each"
                )
                self._refuse("join-sides", message, output)
            elif sides and first is None:
                first = str(output.column), sides.pop()

    def check_filter(self, condition: exp.Expr) -> None:
        """Record each condition, of those that AND joins, that is about both tables."""
        stack, conjuncts = [condition], []
        while stack:
            node = stack.pop()
            while isinstance(node, exp.Paren):
                node = node.this
            if isinstance(node, exp.And):
                stack += [node.args["expression"], node.this]
            else:
                conjuncts.append(node)
        for node in conjuncts:
            tokens = [self._tree.token(each.this) for each in node.find_all(exp.Column)]
            found = [self._names.find(token) for token in tokens if token is not None]
            sides = {column.side for column in found if column is not None and column.side is not None}
            if len(sides) > 1:
                message = (
                    "a condition is about one table: each holder filters its own rows, and OR or NOT over both would need a "
                    "row of each. Join conditions of single tables by AND"
                )
                self._tree.refuse("join-filter", message, node)

    def _side(self, name: str) -> str | None:
        column = self._names.columns.get(name)
        return None if column is None else column.side

    def _refuse(self, rule: str, message: str, output: Output) -> None:
        line, position = (None, None) if output.at is None else (output.at.line, output.at.position)
        self._tree.scan.violations.append(Violation(rule, message, output.column, line, position))


def _set(node: exp.Expr) -> list[str]:
    """Return the names of a node's arguments that are set."""
    return [name for name, value in node.args.items() if value not in (None, False, [])]
