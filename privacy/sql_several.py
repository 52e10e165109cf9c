"""Aggregates of several arguments: a column with numbers, several measures, or two dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlglot import exp

from privacy.columns import Column
from privacy.decimals import decimal_text, read_decimal
from privacy.lanes import is_zero_one
from privacy.logistic import COEFFICIENT_DIGITS_MAX, COEFFICIENT_MAX, is_coefficient
from privacy.logistic import FEATURES_MAX as STEP_FEATURES_MAX
from privacy.policy import Aggregate, Policy
from privacy.query import SCORE_FEATURES_MAX, Output, OutputKind, Position
from privacy.sql_scan import Token, TokenKind
from privacy.sql_tree import SqlTree

BINS_MAX: Final = 1024
QUANTILE_BINS: Final = 64
"""The bins of a quantile's histogram if the query names none: a width of 1.6 % of the interval."""

QUANTILE_DIGITS_MAX: Final = 6
PREDICTORS_MAX: Final = 4
"""More would leave each of the lanes, 28 for five, too small a share of ρ."""

KINDS: Final = {
    "HISTOGRAM": (OutputKind.HISTOGRAM, Aggregate.HISTOGRAM),
    "QUANTILE": (OutputKind.QUANTILE, Aggregate.QUANTILE),
    "COVAR": (OutputKind.COVAR_SAMP, Aggregate.COVAR),
    "COVAR_SAMP": (OutputKind.COVAR_SAMP, Aggregate.COVAR),
    "COVAR_POP": (OutputKind.COVAR_POP, Aggregate.COVAR),
    "CORR": (OutputKind.CORR, Aggregate.CORR),
    "LINREG": (OutputKind.LINREG, Aggregate.LINREG),
    "CHI2": (OutputKind.CHI2, Aggregate.CHI2),
    "LOGREG_STEP": (OutputKind.LOGREG_STEP, Aggregate.LOGREG),
    "SCORE": (OutputKind.SCORE, Aggregate.SCORE),
}
_TAKES: Final = {
    OutputKind.HISTOGRAM: "HISTOGRAM takes a column and a whole number of bins",
    OutputKind.QUANTILE: "QUANTILE takes a column, a number between 0 and 1, and perhaps a whole number of bins",
    OutputKind.LINREG: f"LINREG takes a measure to explain and 1 to {PREDICTORS_MAX} measures that explain it",
    OutputKind.CHI2: "CHI2 takes two dimensions",
    OutputKind.LOGREG_STEP: f"LOGREG_STEP takes a target of two values, 1 to {STEP_FEATURES_MAX} measures, and a number for "
    "the intercept and for each measure",
    OutputKind.SCORE: f"SCORE takes 1 to {SCORE_FEATURES_MAX} measures",
}
_COUNTS: Final = {OutputKind.LINREG: (2, 1 + PREDICTORS_MAX), OutputKind.SCORE: (1, SCORE_FEATURES_MAX)}
"""How many columns an aggregate takes, the least and the most; two if nothing else is said."""


def check_allowed(
    tree: SqlTree, policy: Policy, aggregate: Aggregate, node: exp.Expr, column: str | None
) -> None:
    """Record a violation unless the policy allows an aggregate."""
    if aggregate not in policy.aggregates:
        allowed = ", ".join(policy.aggregates)
        message = f"the policy does not allow {aggregate.value}, only {allowed}"
        tree.refuse("aggregate-not-allowed", message, node, column)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call in the text."""

    node: exp.Anonymous
    name: str
    kind: OutputKind
    alias: str | None
    at: Position | None

    @property
    def takes(self) -> str:
        return _TAKES.get(self.kind, f"{self.name} takes two measures")


class SeveralReader:
    """Reads one such aggregate; what it refuses is recorded.

    Args:
        tree: where violations are recorded and tokens accounted for.
        policy: the listing's.
        read_column: reads a column's name at a node, or records why it is none.
        group_by: the query's group columns.
    """

    def __init__(
        self,
        tree: SqlTree,
        policy: Policy,
        read_column: Callable[[exp.Expr, str], Column | None],
        group_by: Sequence[str],
    ) -> None:
        self._tree, self._policy, self._read_column, self._group_by = tree, policy, read_column, group_by

    def read(self, node: exp.Anonymous, name: str, alias: str | None, at: Position | None) -> Output | None:
        """Return the output of a call, or None after a violation."""
        kind, aggregate = KINDS[name]
        call = _Call(node, name, kind, alias, at)
        arguments = list(node.expressions)
        if not arguments:
            self._tree.refuse("argument", call.takes, node)
            return None
        self._tree.accept(*[","] * (len(arguments) - 1))
        first = self._column(call, arguments[0])
        check_allowed(self._tree, self._policy, aggregate, node, None if first is None else first.name)
        if kind in (OutputKind.HISTOGRAM, OutputKind.QUANTILE):
            return self._binned(call, first, arguments[1:])
        if kind is OutputKind.LOGREG_STEP:
            return self._step(call, first, arguments)
        least, most = _COUNTS.get(kind, (2, 2))
        if not least <= len(arguments) <= most:
            self._tree.refuse("argument", call.takes, node)
            return None
        columns = [first, *(self._column(call, each) for each in arguments[1:])]
        known = self._different(call, columns, arguments)
        return None if known is None else _output(call, known)

    def _different(
        self, call: _Call, columns: Sequence[Column | None], arguments: Sequence[exp.Expr]
    ) -> list[Column] | None:
        """Return the columns if all of them could be read; refuse one that stands there twice."""
        known = [column for column in columns if column is not None]
        if len(known) < len(columns):
            return None
        for place, column in enumerate(known):
            if column in known[:place]:
                message = f"{column.name!r} stands in {call.name} twice"
                self._tree.refuse("repeated-column", message, arguments[place], column.name)
        return known

    def _column(self, call: _Call, node: exp.Expr) -> Column | None:
        """Read one column, a measure or, for a contingency table, a dimension that is not grouped by."""
        column = self._read_column(node, call.takes)
        if column is None:
            return None
        if call.kind is OutputKind.LOGREG_STEP and node is call.node.expressions[0]:
            return self._target(column, node)
        if call.kind is not OutputKind.CHI2:
            if column.is_measure:
                return column
            self._tree.refuse("not-measure", f"{column.name!r} is no measure", node, column.name)
        elif column.domain is None:
            message = f"{column.name!r} has no declared domain to tabulate"
            self._tree.refuse("not-dimension", message, node, column.name)
        elif len(column.domain) < 2:
            message = f"{column.name!r} has one declared value: a test of independence needs two"
            self._tree.refuse("domain", message, node, column.name)
        elif column.name in self._group_by:
            message = f"{column.name!r} is grouped by: within a group it does not vary"
            self._tree.refuse("grouped-column", message, node, column.name)
        else:
            return column
        return None

    # --- steps of a logistic regression -------------------------------------------------------------------

    def _target(self, column: Column, node: exp.Expr) -> Column | None:
        if column.name in self._group_by:
            message = f"{column.name!r} is grouped by: within a group it does not vary"
            self._tree.refuse("grouped-column", message, node, column.name)
        elif is_zero_one(column) or len(column.domain or ()) == 2:
            return column
        else:
            message = (
                f"{column.name!r} is neither a dimension of two declared values nor an integer from 0 to 1"
            )
            self._tree.refuse("not-binary", message, node, column.name)
        return None

    def _step(self, call: _Call, target: Column | None, arguments: Sequence[exp.Expr]) -> Output | None:
        """Read the features, as many as there are numbers less one, and the coefficients."""
        half, odd = divmod(len(arguments), 2)
        if odd or not 1 <= half - 1 <= STEP_FEATURES_MAX:
            self._tree.refuse("argument", call.takes, call.node)
            return None
        features = [self._column(call, each) for each in arguments[1:half]]
        numbers = [self._coefficient(call, each) for each in arguments[half:]]
        known = self._different(call, [target, *features], arguments)
        coefficients = tuple(number for number in numbers if number is not None)
        return None if known is None or len(coefficients) < half else _output(call, known, coefficients)

    def _coefficient(self, call: _Call, node: exp.Expr) -> Decimal | None:
        sign = ""
        if isinstance(node, exp.Neg):
            self._tree.accept("-")
            sign, node = "-", node.this
        token = self._number(node)
        if token is None:
            self._tree.refuse("argument", call.takes, node)
            return None
        value = read_decimal(sign + token.text)
        if value is not None and is_coefficient(value):
            return value
        message = (
            f"a coefficient has at most {COEFFICIENT_DIGITS_MAX} digits after the point and is at most "
            f"{COEFFICIENT_MAX} in absolute value, not {token.text[:40]}"
        )
        self._tree.scan.refuse("coefficient", message, token.start)
        return None

    # --- histograms and quantiles -------------------------------------------------------------------------

    def _binned(self, call: _Call, column: Column | None, rest: Sequence[exp.Expr]) -> Output | None:
        tokens = [self._number(node) for node in rest]
        known = [token for token in tokens if token is not None]
        wanted = (1,) if call.kind is OutputKind.HISTOGRAM else (1, 2)
        if len(known) < len(tokens) or len(known) not in wanted:
            self._tree.refuse("argument", call.takes, call.node)
            return None
        quantile = self._quantile(known.pop(0)) if call.kind is OutputKind.QUANTILE else Decimal(0)
        if column is None:
            return None
        steps = column.grid().high - column.grid().low
        bins = self._bins(call, known[0]) if known else min(QUANTILE_BINS, steps)
        if quantile is None or bins is None:
            return None
        if bins > steps:
            message = f"{column.name!r} has {steps} steps, too few for {bins} bins"
            self._tree.refuse("bins", message, call.node, column.name)
        if call.kind is OutputKind.HISTOGRAM:
            name = call.alias or f"histogram({column.name}, {bins})"
            return Output(name, call.kind, column.name, bins, at=call.at)
        name = call.alias or f"quantile({column.name}, {decimal_text(quantile)})"
        return Output(name, call.kind, column.name, bins, quantile, at=call.at)

    def _number(self, node: exp.Expr) -> Token | None:
        token = self._tree.token(node)
        if token is None or token.kind is not TokenKind.NUMBER:
            return None
        self._tree.accept("number")
        return token

    def _bins(self, call: _Call, token: Token) -> int | None:
        if not token.text.isdigit():
            self._tree.refuse("argument", call.takes, call.node)
            return None
        bins = int(token.text[:10])
        if not 1 <= bins <= BINS_MAX:
            message = f"a histogram has 1 to {BINS_MAX} bins, not {token.text[:40]}"
            self._tree.scan.refuse("bins", message, token.start)
            return None
        return bins

    def _quantile(self, token: Token) -> Decimal | None:
        value = read_decimal(token.text)
        digits = 0 if value is None else max(0, -int(value.as_tuple().exponent))
        if value is not None and 0 < value < 1 and digits <= QUANTILE_DIGITS_MAX:
            return value
        message = f"a quantile is above 0 and below 1 with at most {QUANTILE_DIGITS_MAX} digits, not {token.text[:40]}"
        self._tree.scan.refuse("quantile", message, token.start)
        return None


def _output(call: _Call, columns: Sequence[Column], coefficients: tuple[Decimal, ...] = ()) -> Output:
    """Return the output of a call on columns; which rows it is over stands in it, unless its kind says so itself."""
    names = [column.name for column in columns]
    says_itself = call.kind in (OutputKind.CHI2, OutputKind.LOGREG_STEP)
    return Output(
        call.alias or f"{call.name.lower()}({', '.join(names)})",
        call.kind,
        names[0],
        others=tuple(names[1:]),
        present=() if says_itself else tuple(sorted(column.name for column in columns if column.nullable)),
        coefficients=coefficients,
        at=call.at,
    )
