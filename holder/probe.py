"""A test that an engine computes the numbers that every engine computes, before its numbers are trusted.

Engines differ in rounding, in NaN and infinity, in how text is ordered, in lengths and hashes. Registration runs the
same expressions that plans are made of on constants and compares them with what this module says.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from typing import Final

from sqlglot import exp

from holder.engine import Engine, by_code_point, case, cast, double, is_nan
from holder.errors import EngineDisagrees, EngineFailed
from holder.logistic import tangent
from holder.sums import concatenated, quantised, row_hash
from privacy.columns import ColumnType
from privacy.lanes import Lane, LaneKind
from privacy.logistic import FRACTIONS

_LOW: Final = Decimal(-1000)
_HIGH: Final = Decimal("1000.5")
_BITS: Final = 10
_VALUES: Final = (2.5, -2.5, 0.5, -0.5, 0.1, 999.9999, 1e300, -1e300, math.inf, -math.inf, 1000.5, -1000.0)
_HALVES: Final = (2.5, -2.5, 1.5, -0.5, -1.5)
_HALF_LOGITS: Final = (0.1, -1.7, 3.3, 13.9)
_BITS_KEPT: Final = 2.0**54
_TEXT: Final = "数钥 é"


def require_same_numbers(engine: Engine) -> None:
    """Run the probe.

    Raises:
        EngineDisagrees: naming the first expression whose value differs.
    """
    expressions, expected, names = _probe(engine.dialect)
    try:
        row = engine.fetch(exp.select(*expressions))[0]
    except EngineFailed as err:
        raise EngineDisagrees(f"{engine.dialect}: the engine lacks a function that plans need") from err
    for name, actual, wanted in zip(names, row, expected, strict=True):
        if (None if actual is None else int(actual)) != wanted:
            raise EngineDisagrees(f"{engine.dialect}: {name} gives another value than expected")


def _probe(dialect: str) -> tuple[list[exp.Expr], list[int | None], list[str]]:
    entries: list[tuple[str, exp.Expr, int | None]] = []
    fine = _lane(_LOW, _HIGH, _BITS)
    for value in _VALUES:
        entries.append(
            (f"the fixed point of {value}", quantised(double(value), fine), _expected(value, fine))
        )
    coarse = _lane(_LOW, _HIGH, 0)
    for value in _HALVES:
        entries.append(
            (f"the rounding of {value}", quantised(double(value), coarse), _expected(value, coarse))
        )
    for value in _HALF_LOGITS:
        found = tangent(double(value), double(value * value))
        entries.append((f"the tangent of {value}", _bits_of(found), math.floor(_tangent(value) * _BITS_KEPT)))
    nan = cast(exp.Literal.string("NaN"), "double")
    entries += [
        ("NaN", _flag(is_nan(nan, dialect)), 1),
        ("infinity as NaN", _flag(is_nan(double(math.inf), dialect)), 0),
        ("the order of text", _flag(_less("Z", "a", dialect)), 1),
        ("the order of Chinese text", _flag(_less("数", "钥", dialect)), 1),
        ("the length of Chinese text", exp.Length(this=exp.Literal.string(_TEXT)), len(_TEXT)),
        ("the order of row hashes", _flag(_hash_order(dialect)), _expected_hash_order()),
        ("an empty text", _flag(exp.Is(this=exp.Literal.string(""), expression=exp.null())), 0),
    ]
    names, expressions, expected = zip(*entries, strict=True)
    aliased = [exp.alias_(each, f"p{number}") for number, each in enumerate(expressions)]
    return aliased, list(expected), list(names)


def _lane(low: Decimal, high: Decimal, bits: int) -> Lane:
    return Lane(LaneKind.SUM, "x", ColumnType.NUMBER, low, high, bits, 0, 1, (), 1, 0, 1)


def _bits_of(real: exp.Expr) -> exp.Expr:
    scaled = exp.Mul(this=exp.Paren(this=real), expression=double(_BITS_KEPT))
    return cast(exp.Floor(this=scaled), "bigint")


def _tangent(x: float) -> float:
    below = 2.0 * FRACTIONS + 1
    for level in range(FRACTIONS - 1, -1, -1):
        below = (2.0 * level + 1) + (x * x) / below
    return x / below


def _expected(value: float, lane: Lane) -> int:
    clipped = min(max(value, float(_LOW)), float(_HIGH))
    return math.floor(clipped * 2.0**lane.scale_bits + 0.5)


def _flag(condition: exp.Expr) -> exp.Expr:
    return case((condition, exp.Literal.number(1)), default=exp.Literal.number(0))


def _less(first: str, second: str, dialect: str) -> exp.Expr:
    left = by_code_point(exp.Literal.string(first), dialect)
    return exp.LT(this=left, expression=exp.Literal.string(second))


def _hash_order(dialect: str) -> exp.Expr:
    texts = [concatenated([exp.Literal.string(_TEXT), exp.Literal.string(end)]) for end in ("1", "2")]
    return exp.LT(this=row_hash(texts[0], dialect), expression=row_hash(texts[1], dialect))


def _expected_hash_order() -> int:
    first, second = (hashlib.sha256((_TEXT + end).encode()).digest() for end in ("1", "2"))
    return int(first < second)
