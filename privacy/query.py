"""The typed query that SQL is translated into: outputs, groups and filter, with their JSON and SQL forms.

A `Query` is what the buyer asked, free of spelling: column names are the policy's, literals are typed, AND
and OR are flat. `render_sql` writes it back, and parsing that text gives the same query again.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

Literal = str | int | Decimal
"""A text, an integer, or a number as an exact decimal."""


class OutputKind(StrEnum):
    """What one item of the SELECT list computes."""

    GROUP = "group"
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    VAR_SAMP = "var_samp"
    VAR_POP = "var_pop"
    STDDEV_SAMP = "stddev_samp"
    STDDEV_POP = "stddev_pop"
    HISTOGRAM = "histogram"
    QUANTILE = "quantile"
    COVAR_SAMP = "covar_samp"
    COVAR_POP = "covar_pop"
    CORR = "corr"
    LINREG = "linreg"
    CHI2 = "chi2"
    LOGREG_STEP = "logreg_step"
    SCORE = "score"


SCORE_FEATURES_MAX = 32
"""The features of a score: an encrypted model, a ciphertext for each, stays a small part of a plan."""

MOMENT_KINDS = (OutputKind.COVAR_SAMP, OutputKind.COVAR_POP, OutputKind.CORR, OutputKind.LINREG)
"""Aggregates of several measures: over the rows where none of these is NULL."""


class Comparison(StrEnum):
    """A comparison of a column with a literal."""

    EQUAL = "="
    NOT_EQUAL = "<>"
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in the query's text: line and character in it, from 1."""

    line: int | None
    position: int | None


@dataclass(frozen=True, slots=True)
class Output:
    """One item of the SELECT list.

    Attributes:
        name: the name of the column of the answer; for a histogram, regression or test, of its family of
            columns.
        kind: what is computed.
        column: the policy's name of the column, the first of several; None for COUNT(*).
        bins: the number of bins of a histogram or of a quantile's histogram, else None.
        quantile: q of a quantile, 0 < q < 1, else None.
        others: the columns after the first: y of COVAR(x, y), the predictors of LINREG, b of CHI2(a, b), the features
            of SCORE and LOGREG_STEP.
        present: of an aggregate of several measures those that may be NULL, by code point: it is over the rows
            where none of them is. Empty for CHI2 and LOGREG_STEP, which say themselves which rows they are over.
        coefficients: of LOGREG_STEP: the intercept's, then each feature's.
        at: where it stands in the text, for messages; no part of the query's identity.
    """

    name: str
    kind: OutputKind
    column: str | None = None
    bins: int | None = None
    quantile: Decimal | None = None
    others: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    coefficients: tuple[Decimal, ...] = ()
    at: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AllOf:
    """AND of at least two terms, none of them an AND."""

    terms: "tuple[Predicate, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR of at least two terms, none of them an OR."""

    terms: "tuple[Predicate, ...]"


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT of a term, with SQL's three values."""

    term: "Predicate"


@dataclass(frozen=True, slots=True)
class Compare:
    """A column compared with a literal."""

    column: str
    type: str
    comparison: Comparison
    value: Literal


@dataclass(frozen=True, slots=True)
class Among:
    """`column IN (values)`, at least one value."""

    column: str
    type: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """`column BETWEEN low AND high`, both inclusive."""

    column: str
    type: str
    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class IsNull:
    """`column IS NULL`."""

    column: str
    type: str


Condition = Compare | Among | Between | IsNull
"""A condition on one column."""

Predicate = AllOf | AnyOf | Negation | Condition


@dataclass(frozen=True, slots=True)
class Joined:
    """The two tables that a query joins, where a row of one and a row of the other have the same key.

    Attributes:
        sides: their names, ascending; which of them stands first in the text means nothing.
        key: the column that both have.
    """

    sides: tuple[str, str]
    key: str


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT over a listing.

    Attributes:
        listing: the listing's name.
        outputs: the SELECT list, in order.
        group_by: the policy's names of the group columns, in order.
        filter: the WHERE clause, or None.
        joined: the listing's two tables where it is of a private join, else None.
    """

    listing: str
    outputs: tuple[Output, ...]
    group_by: tuple[str, ...] = ()
    filter: Predicate | None = None
    joined: Joined | None = None
