"""SQL of one step of a logistic regression, in additions, products and quotients of doubles only.

An engine's exp() may differ from another's in the last bit. +, −, ·, / and floor may not (IEEE 754), as long as their
order is fixed; so σ(b·z) = (1 + tanh(b·z/2))/2 comes from a continued fraction, and every engine has the same integers.
Each layer is a subquery that adds columns, so that no expression is written out twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlglot import exp

from holder.engine import case, cast, double, selected
from privacy.logistic import FRACTIONS, LOGIT_MAX, Logistic, term_pairs

RESIDUAL: Final = "e"
"""The column of p − y, NULL in a row that adds nothing."""
_CURVATURE: Final = "h"


def step_rows(
    rows: exp.Select,
    *,
    keys: Sequence[str],
    target: exp.Expr,
    features: Sequence[exp.Expr],
    step: Logistic,
    dialect: str,
) -> exp.Select:
    """Return the rows with p − y and p·(1 − p), and each feature in [−1, 1], z1 on.

    Args:
        rows: with the columns that the other arguments name, of the table "r".
        keys: columns to keep.
        target: y as a double, NULL where a row has none.
        features: z1 on as doubles.
        step: the coefficients.
        dialect: sqlglot's name of the engine's language.
    """
    names = [f"z{number}" for number in range(1, step.terms)]
    layers: list[Mapping[str, exp.Expr]] = [
        {"y": target, **dict(zip(names, features, strict=True))},
        {"b": _logit(step)},
        {"x": _cut_half(exp.column("b"))},
        {"q": exp.Mul(this=exp.column("x"), expression=exp.column("x"))},
        {"t": tangent(exp.column("x"), exp.column("q"))},
        {RESIDUAL: _residual(), _CURVATURE: _variance()},
    ]
    kept = list(keys)
    for added in layers:
        columns: list[exp.Expr] = [exp.column(name) for name in kept]
        columns += [exp.alias_(value, name, copy=False) for name, value in added.items()]
        rows = selected(columns, rows.subquery("r", copy=False))
        if dialect == "postgres":
            # PostgreSQL would merge the layers and write every column out where it is used: 45 times for one tangent.
            rows = rows.offset(0, copy=False)
        kept += added
    return rows


def step_sums(step: Logistic, scale_bits: int) -> list[exp.Expr]:
    """Return the sums of a group over the columns of `step_rows`, in the order of the lane's bins."""
    one = double(2.0**scale_bits)

    def total(value: exp.Expr) -> exp.Expr:
        scaled = exp.Mul(this=exp.Paren(this=value), expression=one.copy())
        return exp.Sum(this=cast(exp.Floor(this=exp.Add(this=scaled, expression=double(0.5))), "bigint"))

    def product(value: str, *places: int) -> exp.Expr:
        found: exp.Expr = exp.column(value, table="r")
        for place in places:
            if place:
                found = exp.Mul(this=found, expression=exp.column(f"z{place}", table="r"))
        return found

    gradient = [total(product(RESIDUAL, place)) for place in range(step.terms)]
    return gradient + [total(product(_CURVATURE, *pair)) for pair in term_pairs(step.terms)]


def tangent(x: exp.Expr, square: exp.Expr) -> exp.Expr:
    """Return tanh x = x/(1 + x²/(3 + x²/(5 + …))), FRACTIONS levels deep, for |x| ≤ 14."""
    below: exp.Expr = double(2 * FRACTIONS + 1)
    for level in range(FRACTIONS - 1, -1, -1):
        below = exp.Paren(
            this=exp.Add(this=double(2 * level + 1), expression=_quotient(square.copy(), below))
        )
    return _quotient(x, below)


def _quotient(above: exp.Expr, below: exp.Expr) -> exp.Expr:
    return exp.Div(this=above, expression=below, typed=True)


def _logit(step: Logistic) -> exp.Expr:
    """Return b_0 + b_1·z_1 + …, added up from the left."""
    found: exp.Expr = double(float(step.coefficients[0]))
    for number, coefficient in enumerate(step.coefficients[1:], 1):
        term = exp.Mul(this=double(float(coefficient)), expression=exp.column(f"z{number}"))
        found = exp.Add(this=found, expression=term)
    return found


def _cut_half(logit: exp.Expr) -> exp.Expr:
    """Return half a logit that is cut to [−28, 28]."""
    below = exp.LT(this=logit.copy(), expression=double(-LOGIT_MAX))
    above = exp.GT(this=logit.copy(), expression=double(LOGIT_MAX))
    half = exp.Mul(this=logit, expression=double(0.5))
    return case((below, double(-LOGIT_MAX / 2)), (above, double(LOGIT_MAX / 2)), default=half)


def _residual() -> exp.Expr:
    """Return (½ + ½·t) − y."""
    half = exp.Mul(this=double(0.5), expression=exp.column("t"))
    probability = exp.Paren(this=exp.Add(this=double(0.5), expression=half))
    return exp.Sub(this=probability, expression=exp.column("y"))


def _variance() -> exp.Expr:
    """Return p·(1 − p) = ¼ − ¼·t²."""
    square = exp.Paren(this=exp.Mul(this=exp.column("t"), expression=exp.column("t")))
    quarter = exp.Mul(this=double(0.25), expression=square)
    return exp.Sub(this=double(0.25), expression=quarter)
