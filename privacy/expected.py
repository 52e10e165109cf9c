"""What a quote says of errors, before anything is computed: for each column of the answer one, and what it rests on.

Where the error has a largest value, that one is stated: over all values within the declared bounds, and over the noise within
the same bounds that make the answer's own error hold with 95 %. A correlation, a regression, a quantile and a test have none
that would help: their values decide whether there is an answer at all. Theirs is stated twice, for values that are evenly spread and
for values that bunch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import product
from typing import Any, Final

from privacy.answer import COUNTS, decode_output
from privacy.estimates import (
    Z_THREE,
    Z_TWO,
    Estimate,
    Noisy,
    estimate_average,
    estimate_sum,
    estimate_variance,
    of_sample,
    root,
)
from privacy.fixed_point import power_of_two
from privacy.lanes import Lane, LaneKey, LaneKind, count_key, find_lane, moment_keys
from privacy.moments import Z_OF_CELLS, Cells, estimate_covariance
from privacy.plan import Plan
from privacy.query import Output, OutputKind
from privacy.session import SumParameters

ROWS_EXPECTED: Final = 1000
"""The group size for which a quote states the errors that depend on it, if the buyer names no other."""

BUNCHED: Final = Fraction(1, 10)
"""The part of their bounds, at the lower end, in which values are that bunch."""

_VARIANCES: Final = (OutputKind.VAR_SAMP, OutputKind.VAR_POP, OutputKind.STDDEV_SAMP, OutputKind.STDDEV_POP)
_DEVIATIONS: Final = (OutputKind.STDDEV_SAMP, OutputKind.STDDEV_POP)
_COVARIANCES: Final = (OutputKind.COVAR_SAMP, OutputKind.COVAR_POP)
_SAMPLES: Final = (OutputKind.VAR_SAMP, OutputKind.STDDEV_SAMP, OutputKind.COVAR_SAMP)
_FIXED: Final = (*COUNTS, OutputKind.LOGREG_STEP)


class Assumption(StrEnum):
    """What a stated error assumes of the values: see `MEANING`."""

    ANY = "any"
    SPREAD = "spread"


MEANING: Final = {
    Assumption.ANY: "whatever the values within the declared bounds: the error stated with the answer is at most this, "
    "with 95 % probability",
    Assumption.SPREAD: "only if the values are spread evenly over the declared bounds, and uncorrelated; the error if bunched is "
    "that of values in the lowest tenth of their bounds, and where there is none, there may be no value at all (null)",
}
"""Each assumption in words; both also assume that every holder of the listing contributes."""

NO_ERROR: Final = (
    "no error can be stated for groups of this size at this ρ: there may be no value at all (null)"
)


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """What a quote says about one column.

    Attributes:
        column: its name.
        error95: the 95 % error if every holder contributes; None for a group column, or where there may be no value.
        rows: the group size that the error is stated for; None if it does not depend on one.
        assumption: what is assumed of the values; None for a group column, and for a score that only its buyer can rate.
        bunched95: the 95 % error of values that bunch, where values that are evenly spread are assumed; None where there may
            then be no value, and under another assumption.
    """

    column: str
    error95: float | None
    rows: int | None
    assumption: Assumption | None
    bunched95: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of a quote."""
        return {
            "column": self.column,
            "error95": self.error95,
            "rows": None if self.rows is None else str(self.rows),
            "assumption": None if self.assumption is None else self.assumption.value,
            "error95_bunched": self.bunched95,
        }


def expected_error95(
    plan: Plan, params: SumParameters, *, rows: int = ROWS_EXPECTED
) -> tuple[ExpectedError, ...]:
    """Return what a quote says: the error of each column if all of the roster contributes.

    Args:
        plan: the plan that is quoted.
        params: of its whole roster.
        rows: the group size for which errors are stated that depend on one, at least 1.

    Raises:
        PlanInvalid: the plan lacks a lane or dimension that its outputs need: it was never verified.
    """
    variances, names = (
        [params.holders * lane.share(params.divisor) for lane in plan.lanes],
        iter(plan.columns),
    )
    expected: list[ExpectedError] = []
    for output in plan.outputs:
        if output.kind in (OutputKind.GROUP, OutputKind.SCORE):  # a score's error is known to its buyer alone
            expected.append(ExpectedError(next(names), None, None, None))
        elif output.kind in _BOUNDED:
            expected.append(_bounded(next(names), output, _Worst(plan, variances, rows)))
        elif output.kind in _FIXED:
            errors = _spread(plan, output, variances, rows, Fraction(1))  # they are those of any values
            expected += [ExpectedError(next(names), error, None, Assumption.ANY) for error in errors]
        else:
            even, bunched = (_spread(plan, output, variances, rows, part) for part in (Fraction(1), BUNCHED))
            expected += [
                ExpectedError(next(names), error, rows, Assumption.SPREAD, worse)
                for error, worse in zip(even, bunched, strict=True)
            ]
    return tuple(expected)


# --- the largest error ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Worst:
    """The cells of one group that make an error largest: all rows at the ends of their intervals, and the noise at its bound.

    What they are fed to grows with every sum and falls with the count, so these cells bound all others, and those of any
    larger group.
    """

    plan: Plan
    variances: Sequence[Fraction]
    rows: int

    def few(self, key: LaneKey, z: Fraction) -> Noisy:
        """Return the least that a count of this many rows shows."""
        return self._cell(key, lambda margin: self.rows - margin, z)

    def many(self, key: LaneKey, z: Fraction) -> Noisy:
        """Return the most that it shows."""
        return self._cell(key, lambda margin: self.rows + margin, z)

    def most(self, key: LaneKey, z: Fraction, sign: int = 1) -> Noisy:
        """Return the sum of as many rows at one end, with the most noise."""
        lane = self.plan.lanes[find_lane(self.plan.lanes, key)]
        largest = self.rows * lane.row_max * power_of_two(-lane.value_bits)
        return self._cell(key, lambda margin: sign * (largest + margin), z)

    def _cell(self, key: LaneKey, value: Callable[[Fraction], Fraction], z: Fraction) -> Noisy:
        number = find_lane(self.plan.lanes, key)
        lane, variance = self.plan.lanes[number], self.variances[number]
        margin = Noisy(lane, Fraction(0), variance).error(z)
        return Noisy(lane, value(margin), variance)


def _bounded(name: str, output: Output, worst: _Worst) -> ExpectedError:
    """Return the largest error of one output; none where the count may be within its own error."""
    error = _BOUNDED[output.kind](output, worst)
    total = worst.most(LaneKey(LaneKind.SUM, output.column), Z_TWO) if output.kind is OutputKind.SUM else None
    is_sized = total is None or total.rounding > 0
    stated = None if error is None else float(error)
    return ExpectedError(name, stated, worst.rows if is_sized else None, Assumption.ANY)


def _of_sum(output: Output, worst: _Worst) -> Fraction | None:
    count = worst.many(count_key([str(output.column)]), Z_TWO)
    return estimate_sum(count, worst.most(LaneKey(LaneKind.SUM, output.column), Z_TWO)).error


def _of_average(output: Output, worst: _Worst) -> Fraction | None:
    count = worst.few(count_key([str(output.column)]), Z_TWO)
    found = estimate_average(count, worst.most(LaneKey(LaneKind.SUM, output.column), Z_TWO))
    return None if found is None else found.error


def _of_variance(output: Output, worst: _Worst) -> Fraction | None:
    count = worst.few(count_key([str(output.column)]), Z_THREE)
    square = worst.most(LaneKey(LaneKind.SQUARE, output.column), Z_THREE)
    totals = [worst.most(LaneKey(LaneKind.SUM, output.column), Z_THREE, sign) for sign in (-1, 1)]
    found = [estimate_variance(count, total, square, sample=False) for total in totals]
    errors = [each.error for each in found if each is not None]
    if not errors:
        return None
    largest = Estimate(square.value / count.value, max(errors))  # of every variance, and of every error
    error = _sampled(output, count, largest, Z_THREE)
    # |√(V ± e) − √V| ≤ √e, and that is what it is where all rows are alike
    return root(error) if error is not None and output.kind in _DEVIATIONS else error


def _of_covariance(output: Output, worst: _Worst) -> Fraction | None:
    keys = moment_keys(output)
    z = Z_OF_CELLS[len(keys)]
    count, joint = worst.few(keys[0], z), worst.most(keys[-1], z)
    found = []
    for signs in product((-1, 1), repeat=2):
        totals = [worst.most(key, z, sign) for key, sign in zip(keys[1:-1], signs, strict=True)]
        found.append(estimate_covariance(Cells(count, totals, [], {(0, 1): joint}), sample=False))
    known = [each for each in found if each is not None]
    if not known:
        return None
    largest = Estimate(max(abs(each.value) for each in known), max(each.error for each in known))
    return _sampled(output, count, largest, z)


def _sampled(output: Output, count: Noisy, largest: Estimate, z: Fraction) -> Fraction | None:
    if output.kind not in _SAMPLES:
        return largest.error
    found = of_sample(largest, count.value, count.error(z))
    return None if found is None else found.error


_BOUNDED: Final[Mapping[OutputKind, Callable[[Output, _Worst], Fraction | None]]] = {
    OutputKind.SUM: _of_sum,
    OutputKind.AVG: _of_average,
    **dict.fromkeys(_VARIANCES, _of_variance),
    **dict.fromkeys(_COVARIANCES, _of_covariance),
}


# --- values that are spread over a part of their bounds -------------------------------------------------------


def _spread(
    plan: Plan, output: Output, variances: Sequence[Fraction], rows: int, part: Fraction
) -> list[float | None]:
    """Return the error of each column of an output, without noise: of so many rows spread evenly over a part of their bounds.

    Args:
        part: of each interval, from its lower end; of a table's rows and columns, what is spread over all of them while the rest
            is in the first.
    """

    def cell(number: int, group: int, bin_: int = 0) -> Noisy:
        lane = plan.lanes[number]
        return Noisy(lane, rows * _mean(lane, bin_, part), variances[number])

    return [column[0][1] for column in decode_output(plan, output, [0], cell)]


def _mean(lane: Lane, bin_: int, part: Fraction) -> Fraction:
    """Return what a row adds to a cell on average."""
    largest, away = lane.row_max * power_of_two(-lane.value_bits), 1 - part
    if lane.kind is LaneKind.SUM:
        return -away * largest
    if lane.kind is LaneKind.SQUARE:
        return (away**2 + part**2 / 3) * largest
    if lane.kind is LaneKind.PRODUCT:
        return away**2 * largest
    if lane.kind is LaneKind.HISTOGRAM:
        filled = math.ceil(part * lane.bins)
        return Fraction(bin_ < filled, filled)
    if lane.kind is LaneKind.CONTINGENCY:
        first, second = (len(dimension.domain) for dimension in lane.table)
        row, column = divmod(bin_, second)
        return (away * (row == 0) + part / first) * (away * (column == 0) + part / second)
    return largest
