"""SQL to a typed query: default-deny, and every violation reported with its rule, column and position.

The text is scanned first (`privacy.sql_scan`), then parsed by sqlglot without any text of the buyer's
(`privacy.sql_tree`). The tree is walked default-deny, and because sqlglot drops some tokens silently (a
trailing comma, a second name of a table), every token must be accounted for at the end.
"""

from sqlglot import exp

from privacy.columns import Column
from privacy.errors import PlanRejected
from privacy.fields import NAME_CHARS_MAX
from privacy.policy import Aggregate, Policy
from privacy.query import Output, OutputKind, Position, Predicate, Query
from privacy.query_text import FILTER_DEPTH_MAX, predicate_depth, render_sql
from privacy.sql_filter import FilterReader
from privacy.sql_join import JoinReader, read_name
from privacy.sql_names import Names
from privacy.sql_scan import BYTES_MAX, Scan, TokenKind
from privacy.sql_several import KINDS, SeveralReader, check_allowed
from privacy.sql_tree import SqlTree
from privacy.terms import join_policy
from privacy.types import Violation, listed

_KINDS = {
    "SUM": (OutputKind.SUM, Aggregate.SUM),
    "AVG": (OutputKind.AVG, Aggregate.AVG),
    "VAR": (OutputKind.VAR_SAMP, Aggregate.VAR),
    "VARIANCE": (OutputKind.VAR_SAMP, Aggregate.VAR),
    "VAR_SAMP": (OutputKind.VAR_SAMP, Aggregate.VAR),
    "VAR_POP": (OutputKind.VAR_POP, Aggregate.VAR),
    "STDDEV": (OutputKind.STDDEV_SAMP, Aggregate.STDDEV),
    "STDDEV_SAMP": (OutputKind.STDDEV_SAMP, Aggregate.STDDEV),
    "STDDEV_POP": (OutputKind.STDDEV_POP, Aggregate.STDDEV),
}


def parse_query(sql: str, policy: Policy) -> Query:
    """Translate a buyer's SQL into a typed query that the policy allows.

    Names are the policy's: exact (Unicode form NFC), or, unquoted, by ASCII case where that is unique. An
    output without AS is called `count(*)`, `count(distinct id)`, `sum(x)`, `histogram(x, 10)`, `corr(x, y)`, a
    group column by its own name.

    Args:
        sql: one SELECT from the policy's listing, at most 64 KB, nested at most 32 deep.
        policy: the listing's policy.

    Raises:
        PlanRejected: with every violation, in order of position; see `privacy.types.listed`.
    """
    scan = Scan(sql, joins=join_policy(policy.terms) is not None)
    names = Names(policy, scan)
    query = None
    clean = not scan.violations
    tree = SqlTree(scan) if scan.parsable else None
    if tree is not None and tree.root is not None:
        query = _Translator(tree, names).translate(tree.root)
    elif tree is not None and not clean:  # what was refused before is the cause
        scan.violations = [each for each in scan.violations if each.rule != "syntax"]
    names.check_tokens(0 if tree is None or tree.root is None else scan.end)
    if scan.violations or query is None:
        raise PlanRejected(listed(scan.violations))
    if query.filter is not None and predicate_depth(query.filter) > FILTER_DEPTH_MAX:
        message = f"AND, OR and NOT may be nested {FILTER_DEPTH_MAX} deep"
        raise PlanRejected([Violation("depth", message)])
    if len(render_sql(query).encode()) > BYTES_MAX:
        raise PlanRejected([Violation("size", f"in canonical form a query may have {BYTES_MAX} bytes")])
    return query


class _Translator:
    """Walks one SELECT; what it refuses is recorded."""

    def __init__(self, tree: SqlTree, names: Names) -> None:
        self.tree = tree
        self.names = names
        self.scan = tree.scan
        self.policy = names.policy
        join = join_policy(names.policy.terms)
        self.join = None if join is None else JoinReader(tree, names, join)
        self.group_by: list[str] = []

    def translate(self, root: exp.Expr) -> Query | None:
        """Return the query of a statement."""
        if not isinstance(root, exp.Select):
            self.tree.refuse("statement", "a query is one SELECT", root)
            return None
        self.tree.accept("SELECT", *[","] * (len(root.expressions) - 1))
        joined = ("joins",) if self.join is not None else ()
        for name in _extras(root, "expressions", "from_", "where", "group", *joined):
            self._refuse_clause(name, root)
        if self.join is None:
            self._read_from(root)
        else:
            self.join.read_tables(root)
        self.group_by = self._read_groups(root.args.get("group"))
        outputs = [self._read_output(node) for node in root.expressions]
        if not outputs:
            self.tree.refuse("syntax", "SELECT needs at least one item", root)
        self._check_outputs([output for output in outputs if output is not None], root)
        if self.join is not None:
            self.join.check_outputs([output for output in outputs if output is not None])
        where = root.args.get("where")
        filter_ = self._read_where(where) if where is not None else None
        if not self.scan.violations:
            self.tree.require_accounted()
        if self.scan.violations:
            return None
        known = tuple(output for output in outputs if output is not None)
        tables = None if self.join is None else self.join.tables
        return Query(self.policy.listing, known, tuple(self.group_by), filter_, tables)

    def _read_from(self, root: exp.Select) -> None:
        source = root.args.get("from_")
        table = source.this if isinstance(source, exp.From) else None
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            self.tree.refuse("from", f"FROM must name the listing {self.policy.listing!r}", table or root)
            return
        self.tree.accept("FROM", "name")
        token = self.tree.token(table.this)
        extras = _extras(table, "this")
        if {"db", "catalog"} & set(extras):
            self.tree.refuse("qualified-name", "the listing's name has no parts", table)
        elif token is not None:
            self.names.check_listing(token)
        if "alias" in extras:
            self.tree.refuse("table-alias", "the listing takes no second name", table.args["alias"])
        for name in set(extras) - {"alias", "db", "catalog"}:
            self._refuse_clause(name, table)

    def _refuse_clause(self, name: str, node: exp.Expr) -> None:
        """Record a part of a node that the grammar does not have, at that part if it has a place."""
        value = node.args[name]
        part = value[0] if isinstance(value, list) else value
        at = part if isinstance(part, exp.Expr) and self.tree.first_token(part) else node
        if name == "joins":
            self.tree.refuse("join", "a query reads one listing: joins are not offered", at)
        else:
            self.tree.refuse("clause", f"{name.strip('_').upper()} is not offered", at)

    def _read_where(self, where: exp.Expr) -> Predicate | None:
        self.tree.accept("WHERE")
        if self.join is not None:
            self.join.check_filter(where.this)
        return FilterReader(self.tree, self.names).read(where.this)

    def _read_groups(self, group: exp.Expr | None) -> list[str]:
        if group is None:
            return []
        nodes = group.expressions
        self.tree.accept("GROUP", "BY", *[","] * (len(nodes) - 1))
        for name in _extras(group, "expressions"):
            self.tree.refuse("clause", f"GROUP BY {name.upper()} is not offered", group)
        if not nodes:
            self.tree.refuse("syntax", "GROUP BY needs at least one column", group.parent or group)
        columns: dict[str, None] = {}
        for node in nodes:
            column = self._column(node, "GROUP BY takes names of columns")
            if column is None:
                continue
            if not column.is_dimension:
                message = f"{column.name!r} has no declared domain to group by"
                self.tree.refuse("not-dimension", message, node, column.name)
            elif column.name in columns:
                message = f"{column.name!r} is grouped by twice"
                self.tree.refuse("duplicate-group", message, node, column.name)
            else:
                columns[column.name] = None
        return list(columns)

    def _read_output(self, node: exp.Expr) -> Output | None:
        alias = None
        if isinstance(node, exp.Alias):
            alias, node = self._read_alias(node), node.this
        token = self.tree.first_token(node)
        at = None if token is None else Position(*self.scan.place(token.start))
        if isinstance(node, exp.Column):
            return self._read_group_output(node, alias, at)
        name = "" if token is None else token.word
        if isinstance(node, exp.Star):
            self.tree.refuse("star", "a query returns aggregates and groups, never rows", node)
        elif isinstance(node, exp.Count) and token is not None and token.kind is TokenKind.WORD:
            return self._read_count(node, alias, at)
        elif isinstance(node, exp.Anonymous) and token is self.tree.token(node) and name in KINDS:
            self.tree.accept("name")
            return SeveralReader(self.tree, self.policy, self._column, self.group_by).read(
                node, name, alias, at
            )
        elif isinstance(node, exp.Func) and token is self.tree.token(node) and name in _KINDS:
            self.tree.accept("name")
            return self._read_aggregate(node, name, alias, at)
        elif isinstance(node, exp.Anonymous) and token is not None:
            self.names.check_function(token)
        else:
            message = "the SELECT list takes group columns and aggregates of one column"
            self.tree.refuse("expression", message, node)
        return None

    def _read_alias(self, node: exp.Alias) -> str:
        token = self.tree.token(node.args["alias"])
        if token is None or not token.is_name:
            message = "an output's name is a word or stands in double quotes"
            self.tree.refuse("name", message, node.args["alias"])
            return ""
        self.tree.accept("name")
        before = self.tree.before(token)
        if before is not None and before.keyword == "AS":
            self.tree.accept("AS")
        name = token.value
        if not 1 <= len(name) <= NAME_CHARS_MAX or name != name.strip():
            message = f"an output's name has 1 to {NAME_CHARS_MAX} characters, and no spaces at its ends"
            self.scan.refuse("name", message, token.start)
        return name

    def _read_group_output(self, node: exp.Column, alias: str | None, at: Position | None) -> Output | None:
        column = self._column(node, "expected a column")
        if column is None:
            return None
        if column.name not in self.group_by:
            message = f"{column.name!r} is neither grouped by nor in an aggregate: no row is ever returned"
            self.tree.refuse("ungrouped-column", message, node, column.name)
            return None
        return Output(alias or column.name, OutputKind.GROUP, column.name, at=at)

    def _read_count(self, node: exp.Count, alias: str | None, at: Position | None) -> Output | None:
        self.tree.accept("name")
        what = node.this
        if isinstance(what, exp.Star) and not _extras(what) and not _extras(node, "this", "big_int"):
            self.tree.accept("*")
            check_allowed(self.tree, self.policy, Aggregate.COUNT, node, None)
            return Output(alias or "count(*)", OutputKind.COUNT, at=at)
        unit = self.policy.unit.column
        message = "COUNT takes *, or DISTINCT and the privacy unit's column"
        if not isinstance(what, exp.Distinct) or len(what.expressions) != 1 or _extras(what, "expressions"):
            self.tree.refuse("argument", message, node)
            return None
        self.tree.accept("DISTINCT")
        column = self._column(what.expressions[0], message)
        if column is None:
            return None
        if column.name != unit:
            wanted = "there is no unit column" if unit is None else f"that is {unit!r}"
            self.tree.refuse("not-unit", f"{message}: {wanted}", what.expressions[0], column.name)
            return None
        check_allowed(self.tree, self.policy, Aggregate.COUNT_DISTINCT, node, column.name)
        return Output(
            alias or f"count(distinct {column.name})", OutputKind.COUNT_DISTINCT, column.name, at=at
        )

    def _read_aggregate(
        self, node: exp.Expr, name: str, alias: str | None, at: Position | None
    ) -> Output | None:
        kind, aggregate = _KINDS[name]
        arguments = node.expressions if isinstance(node, exp.Anonymous) else [node.this]
        if len(arguments) != 1 or _extras(node, "this", "expressions"):
            self.tree.refuse("argument", f"{name} takes one column", node)
            return None
        column = self._column(arguments[0], f"{name} takes one column")
        if column is None:
            return None
        check_allowed(self.tree, self.policy, aggregate, node, column.name)
        if not column.is_measure:
            self.tree.refuse("not-measure", f"{column.name!r} is no measure", arguments[0], column.name)
            return None
        return Output(alias or f"{name.lower()}({column.name})", kind, column.name, at=at)

    def _column(self, node: exp.Expr, expected: str) -> Column | None:
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            self.tree.refuse("argument", expected, node)
            return None
        if _extras(node, "this", "table", "db", "catalog"):
            self.tree.refuse("argument", expected, node)
            return None
        return read_name(self.tree, self.names, node)

    def _check_outputs(self, outputs: list[Output], root: exp.Select) -> None:
        seen: set[str] = set()
        for output in outputs:
            if output.name in seen:
                message = f"two outputs are called {output.name!r}: give one another name with AS"
                self._refuse_at("duplicate-name", message, output)
            seen.add(output.name)
        if not self.scan.violations and all(output.kind is OutputKind.GROUP for output in outputs):
            self.tree.refuse("no-aggregate", "a query needs at least one aggregate", root)

    def _refuse_at(self, rule: str, message: str, output: Output) -> None:
        at = output.at or Position(None, None)
        self.scan.violations.append(Violation(rule, message, output.column, at.line, at.position))


def _extras(node: exp.Expr, *allowed: str) -> list[str]:
    """Return the names of a node's arguments that are set and not allowed."""
    return [
        name for name, value in node.args.items() if name not in allowed and value not in (None, False, [])
    ]
