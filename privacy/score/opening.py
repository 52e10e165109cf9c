"""The buyer's part: from the cells of an answer to the scores, with the 95 % error of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from privacy.answer import AnswerTable, decode_answer
from privacy.errors import AnswerInvalid
from privacy.estimates import HALF, Z_ONE, Estimate, Noisy, root
from privacy.expected import ROWS_EXPECTED, Assumption, ExpectedError, expected_error95
from privacy.fixed_point import power_of_two
from privacy.layout import cell_index, group_order
from privacy.paillier.encrypt import decrypt
from privacy.paillier.errors import PaillierError
from privacy.paillier.keys import PrivateKey
from privacy.paillier.packing import unpack
from privacy.plan import Plan
from privacy.score.combine import score_terms
from privacy.score.model import FixedWeights
from privacy.score.shape import ScoreShape, score_output
from privacy.session import SumParameters

T = TypeVar("T")


def open_scores(
    plan: Plan,
    params: SumParameters,
    survivors: int,
    cells: Sequence[int],
    *,
    key: PrivateKey,
    weights: FixedWeights,
) -> AnswerTable:
    """Return the answer's table with its scores opened.

    Args:
        plan, params, survivors, cells: as in `privacy.answer.decode_answer`.
        key: the one that the plan's model is under.
        weights: that the model encrypts; the errors are computed from them.

    Raises:
        AnswerInvalid: the cells hold no answer to this plan, or scores that these weights cannot give.
        PlanInvalid: a plan of another kind.
    """
    table = decode_answer(plan, params, survivors, cells)
    terms = score_terms(plan)
    if key.public.n != terms.model.key.n or len(weights.weights) != len(terms.model.ciphertexts):
        raise AnswerInvalid("the key or the weights are not those of the plan's model")
    try:
        packed = decrypt(key, terms.ciphertexts(plan, cells))
        scores = unpack(packed, terms.layout, count=plan.groups)
    except PaillierError as err:
        raise AnswerInvalid(f"the scores do not open: {err}") from err
    shape = ScoreShape.of(plan)
    scale = shape.unit * power_of_two(-weights.scale_bits)
    values = terms.values(plan, cells)
    estimates = {
        group: Estimate(
            scores[group] * scale,
            _error(
                plan, params, survivors, weights, rows=int(values[cell_index(plan, shape.count, group)] or 0)
            ),
        )
        for group in range(plan.groups)
    }
    place = plan.columns.index(score_output(plan).name)
    order = group_order(plan)
    rows = [_with(row, place, float(estimates[g].value)) for g, row in zip(order, table.rows, strict=True)]
    errors = [
        _with(row, place, float(estimates[g].error)) for g, row in zip(order, table.error95, strict=True)
    ]
    return AnswerTable(table.columns, tuple(rows), tuple(errors))


def expected_score_error95(
    plan: Plan, params: SumParameters, weights: FixedWeights, *, rows: int = ROWS_EXPECTED
) -> tuple[ExpectedError, ...]:
    """Return what a quote says, with the error of the score under the buyer's own weights.

    Args:
        plan, params: as in `privacy.expected.expected_error95`.
        weights: the buyer's.
        rows: the group size that it is stated for, where the rounding of values makes that matter.

    Raises:
        PlanInvalid: a plan of another kind.
    """
    shape = ScoreShape.of(plan)
    lane = plan.lanes[shape.count]
    noise = Noisy(lane, Fraction(0), params.holders * lane.share(params.divisor)).error(Z_ONE)
    counted = math.ceil((rows + noise) / lane.unit)
    error = float(_error(plan, params, params.holders, weights, rows=counted))
    sized = any(_rounding(plan, number) for number in shape.sums)
    name = score_output(plan).name
    stated = ExpectedError(name, error, rows if sized else None, Assumption.ANY)
    return tuple(
        stated if each.column == name else each for each in expected_error95(plan, params, rows=rows)
    )


def _error(
    plan: Plan, params: SumParameters, survivors: int, weights: FixedWeights, *, rows: int
) -> Fraction:
    """Return the 95 % error: of Σ a_l·noise_l, whose terms are independent, and of the rounding of each row's values.

    Args:
        rows: the noisy cell of the group's count.
    """
    shape = ScoreShape.of(plan)
    lanes = [plan.lanes[number] for number in (shape.count, *shape.sums)]
    coefficients = shape.coefficients(weights.weights)
    variances = [survivors * lane.share(params.divisor) for lane in lanes]
    variance = sum((a * a * v for a, v in zip(coefficients, variances, strict=True)), Fraction(0))
    discrete = HALF * sum(abs(a) for a in coefficients)
    scale = shape.unit * power_of_two(-weights.scale_bits)
    noise = (root(Z_ONE * Z_ONE * variance) + discrete) * scale
    counted = Noisy(lanes[0], rows * lanes[0].unit, variances[0])
    most = abs(counted.value) + counted.error(Z_ONE)
    unit = power_of_two(-weights.scale_bits)
    rounding = sum(
        (
            abs(w) * unit * _rounding(plan, number)
            for w, number in zip(weights.weights[1:], shape.sums, strict=True)
        ),
        Fraction(0),
    )
    return noise + rounding * most


def _rounding(plan: Plan, number: int) -> Fraction:
    lane = plan.lanes[number]
    return Noisy(lane, Fraction(0), Fraction(0)).rounding


def _with(row: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*row[:place], value, *row[place + 1 :])
