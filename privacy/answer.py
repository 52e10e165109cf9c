"""From the cells of a sum to the answer's table, with the 95 % error of each number (docs/protocol.md §6).

One row for each group, the groups `other` and the empty ones too, ascending by group key. A histogram
called h gives one column for each bin, called by its ends, for example `h[17,25)`; the last bin is
closed, `h[82,90]`. A regression called r gives `r[intercept]`, `r[x1]`, … and their standard errors
`r[se intercept]`, `r[se x1]`, …; a test called t gives `t[statistic]`, `t[df]` and `t[p]`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from privacy.contingency import estimate_independence
from privacy.errors import AnswerInvalid, PlanInvalid
from privacy.estimates import (
    Z_ONE,
    Estimate,
    Noisy,
    estimate_average,
    estimate_count,
    estimate_deviation,
    estimate_sum,
    estimate_variance,
)
from privacy.lanes import CELL_MAX, LaneKey, LaneKind, count_key, find_lane, moment_keys, step_key
from privacy.layout import group_key, group_order, lane_cells
from privacy.logistic import rounding_bound
from privacy.moments import Cells, estimate_correlation, estimate_covariance, estimate_regression
from privacy.plan import Plan
from privacy.quantiles import estimate_quantile
from privacy.query import MOMENT_KINDS, Output, OutputKind
from privacy.session import SumParameters

Value = str | int | float | None

Column = list[tuple[Value, float | None]]
COUNTS = (OutputKind.COUNT, OutputKind.COUNT_DISTINCT, OutputKind.HISTOGRAM)


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """The answer.

    Attributes:
        columns: names, in the order of the SELECT list.
        rows: values; group keys are texts or integers, counts integers, the rest doubles or None.
        error95: for each row the errors; None where a value is no number.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    error95: tuple[tuple[float | None, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the table as a receipt has it: integers as decimal strings, doubles as JSON numbers."""
        return {
            "columns": list(self.columns),
            "rows": [[_json_value(value) for value in row] for row in self.rows],
            "error95": [list(row) for row in self.error95],
        }


def decode_answer(plan: Plan, params: SumParameters, survivors: int, cells: Sequence[int]) -> AnswerTable:
    """Return the table that a sum's cells stand for.

    Args:
        plan: the verified plan.
        params: the session's parameters, of its true roster.
        survivors: how many holders contributed.
        cells: the d cells of the sum, signed.

    Raises:
        AnswerInvalid: numbers that cannot belong to this plan and roster.
        PlanInvalid: the plan lacks a lane or dimension that its outputs need: it was never verified.
    """
    if len(cells) != plan.cells:
        raise AnswerInvalid(f"expected {plan.cells} cells, got {len(cells)}")
    if any(abs(int(cell)) >= CELL_MAX for cell in cells):
        raise AnswerInvalid("expected cells below 2^62 in absolute value")
    if not params.floor <= survivors <= params.holders:
        raise AnswerInvalid(f"expected {params.floor} to {params.holders} survivors, got {survivors}")
    values = cells if plan.terms is None else plan.terms.values(plan, cells)
    return decode_values(plan, params, survivors, values)


def decode_values(
    plan: Plan, params: SumParameters, contributors: int, values: Sequence[int | None]
) -> AnswerTable:
    """Return the table that values stand for.

    Args:
        plan: the verified plan.
        params: the session's parameters, of its true roster.
        contributors: how many noise shares are in each value.
        values: in the order of the plan's layout; None where it is not known.

    Raises:
        AnswerInvalid: an output needs a value that is not known, or there are more or fewer values than the plan's.
        PlanInvalid: the plan lacks a lane or dimension that its outputs need: it was never verified.
    """
    if len(values) != plan.values:
        raise AnswerInvalid(f"expected {plan.values} values, got {len(values)}")
    variances = _variances(plan, params, contributors)
    starts = [lane_cells(plan, number).start for number in range(len(plan.lanes))]
    groups = group_order(plan)
    columns: list[Column] = []
    for output in plan.outputs:

        def cell(lane: int, group: int, bin_: int = 0) -> Noisy:
            found = values[starts[lane] + bin_ * plan.groups + group]
            if found is None:
                raise AnswerInvalid("an output needs a value that the cells do not show")
            value = int(found) * plan.lanes[lane].unit
            return Noisy(plan.lanes[lane], value, variances[lane])

        columns += decode_output(plan, output, groups, cell)
    rows = tuple(tuple(pair[0] for pair in row) for row in zip(*columns, strict=True))
    errors = tuple(tuple(pair[1] for pair in row) for row in zip(*columns, strict=True))
    return AnswerTable(plan.columns, rows, errors)


def _variances(plan: Plan, params: SumParameters, survivors: int) -> list[Fraction]:
    """Return the noise parameter of each lane's cells: one share for each survivor."""
    return [survivors * lane.share(params.divisor) for lane in plan.lanes]


def decode_output(
    plan: Plan, output: Output, groups: Sequence[int], cell: Callable[..., Noisy]
) -> list[Column]:
    """Return the column of one output, or the columns of its bins: a value and an error for each group.

    Args:
        plan: the plan.
        output: one of its outputs.
        groups: numbers of groups, in the order of the rows.
        cell: gives the noisy cell of a lane's number, a group's and, where the lane has several, a bin's.

    Raises:
        PlanInvalid: the plan lacks a lane or dimension that the output needs.
    """
    if output.kind is OutputKind.GROUP:
        places = {dimension.column: place for place, dimension in enumerate(plan.group_by)}
        if output.column not in places:
            raise PlanInvalid(f"the plan does not group by {output.column!r}")
        return [[(group_key(plan, group)[places[output.column]], None) for group in groups]]
    if output.kind in COUNTS:
        kind = LaneKind(output.kind.value.removeprefix("count_"))
        number = find_lane(plan.lanes, LaneKey(kind, output.column, output.bins or 1))
        bins = range(plan.lanes[number].bins)
        return [[_count_pair(cell(number, group, bin_)) for group in groups] for bin_ in bins]
    if output.kind is OutputKind.SCORE:  # only its buyer opens it: privacy.score
        return [[(None, None)] * len(groups)]
    if output.kind in (OutputKind.LINREG, OutputKind.CHI2, OutputKind.LOGREG_STEP):
        return _families(plan, output, groups, cell)
    return [[_pair(estimate) for estimate in _estimates(plan, output, groups, cell)]]


def _estimates(
    plan: Plan, output: Output, groups: Sequence[int], cell: Callable[..., Noisy]
) -> Iterator[Estimate | None]:
    if output.kind is OutputKind.QUANTILE and output.quantile is not None:
        number = find_lane(plan.lanes, LaneKey(LaneKind.HISTOGRAM, output.column, output.bins or 1))
        bins = range(plan.lanes[number].bins)
        for group in groups:
            yield estimate_quantile([cell(number, group, bin_) for bin_ in bins], output.quantile)
        return
    if output.kind in MOMENT_KINDS:
        for group in groups:
            yield _pair_estimate(output, _moment_cells(plan, output, group, cell))
        return
    count = find_lane(plan.lanes, count_key([str(output.column)]))
    total = find_lane(plan.lanes, LaneKey(LaneKind.SUM, output.column))
    if output.kind is OutputKind.SUM:
        yield from (estimate_sum(cell(count, group), cell(total, group)) for group in groups)
        return
    if output.kind is OutputKind.AVG:
        yield from (estimate_average(cell(count, group), cell(total, group)) for group in groups)
        return
    square = find_lane(plan.lanes, LaneKey(LaneKind.SQUARE, output.column))
    sample = output.kind in (OutputKind.VAR_SAMP, OutputKind.STDDEV_SAMP)
    deviation = output.kind in (OutputKind.STDDEV_SAMP, OutputKind.STDDEV_POP)
    for group in groups:
        variance = estimate_variance(
            cell(count, group), cell(total, group), cell(square, group), sample=sample
        )
        yield estimate_deviation(variance) if deviation and variance is not None else variance


def _pair_estimate(output: Output, cells: Cells) -> Estimate | None:
    if output.kind is OutputKind.CORR:
        return estimate_correlation(cells)
    return estimate_covariance(cells, sample=output.kind is OutputKind.COVAR_SAMP)


def _families(plan: Plan, output: Output, groups: Sequence[int], cell: Callable[..., Noisy]) -> list[Column]:
    """Return the columns of a regression, of a step of one, or of a test of independence."""
    if output.kind is OutputKind.LOGREG_STEP:
        number = find_lane(plan.lanes, step_key(output))
        bins = range(plan.lanes[number].bins)
        more = rounding_bound(plan.holders * plan.rows_max, plan.lanes[number].scale_bits)
        return [[_step_pair(cell(number, group, bin_), more) for group in groups] for bin_ in bins]
    if output.kind is OutputKind.LINREG:
        fits = [estimate_regression(_moment_cells(plan, output, group, cell)) for group in groups]
        return [[_pair(each) for each in column] for column in zip(*fits, strict=True)]
    key = LaneKey(LaneKind.CONTINGENCY, output.column, by=output.others[0])
    number = find_lane(plan.lanes, key)
    lane = plan.lanes[number]
    tests = [
        estimate_independence(
            [cell(number, group, bin_) for bin_ in range(lane.bins)], len(lane.table[1].domain)
        )
        for group in groups
    ]
    statistic, freedom, p = ([_pair(each) for each in column] for column in zip(*tests, strict=True))
    whole: Column = [(None if value is None else int(value), error) for value, error in freedom]
    return [statistic, whole, p]


def _moment_cells(plan: Plan, output: Output, group: int, cell: Callable[..., Noisy]) -> Cells:
    """Return the cells of an aggregate of several measures in one group."""
    size = 1 + len(output.others)
    found = [cell(find_lane(plan.lanes, key), group) for key in moment_keys(output)]
    pairs = list(combinations(range(size), 2))
    first = len(found) - len(pairs)
    return Cells(
        found[0], found[1 : 1 + size], found[1 + size : first], dict(zip(pairs, found[first:], strict=True))
    )


def _step_pair(cell: Noisy, rounding: Fraction) -> tuple[Value, float | None]:
    return _pair(Estimate(cell.value, cell.error(Z_ONE) + rounding))


def _count_pair(count: Noisy) -> tuple[Value, float | None]:
    estimate = estimate_count(count)
    return int(estimate.value), float(estimate.error)


def _pair(estimate: Estimate | None) -> tuple[Value, float | None]:
    return (None, None) if estimate is None else (float(estimate.value), float(estimate.error))


def _json_value(value: Value) -> Any:
    return str(value) if isinstance(value, int) else value
