"""Mechanisms that are broken on purpose: every attack and the audit must catch what they leak."""

import secrets
from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np

from privacy.gaussian import draw_discrete_gaussian
from privacy.noise import share_parameter
from privacy.plan import Plan
from privacy.session import SumParameters
from tests.attacks.bounds import NORMAL, uniform
from tests.attacks.world import Cells, Mechanism


def _scaled(plan: Plan, params: SumParameters, factor: Fraction) -> Cells:
    """Draw a share of which the variance is multiplied by a factor."""
    parameters = [share_parameter(lane, params.divisor) * factor for lane in plan.lanes]
    draws = [
        draw_discrete_gaussian(secrets.token_bytes(32), parameter, plan.groups * lane.bins)
        for lane, parameter in zip(plan.lanes, parameters, strict=True)
    ]
    return np.concatenate(draws)


def _public(plan: Plan, params: SumParameters) -> Cells:
    """Return noise of the right law that follows from the plan's hash."""
    uniforms = uniform(plan.hash().hex(), plan.cells)
    scales = np.concatenate(
        [np.full(plan.groups * lane.bins, sqrt(share_parameter(lane, params.divisor))) for lane in plan.lanes]
    )
    gaussian = np.array([NORMAL.inv_cdf(min(max(each, 1e-12), 1 - 1e-12)) for each in uniforms])
    result: Cells = np.rint(gaussian * scales).astype(np.int64)
    return result


def _forgotten_rows(plan: Plan, params: SumParameters) -> Cells:
    """Draw as if each unit had one row."""
    rows = plan.unit.rows_per_unit
    lanes = [replace(lane, delta_squared=max(1, lane.delta_squared // rows**2)) for lane in plan.lanes]
    factors = [
        Fraction(lane.delta_squared, old.delta_squared) for lane, old in zip(lanes, plan.lanes, strict=True)
    ]
    return _scaled(plan, params, min(factors))


def _all_holders(plan: Plan, params: SumParameters) -> Cells:
    """Draw σ²/n instead of σ²/(n − c − d): as if nobody colluded and nobody dropped out."""
    return _scaled(plan, params, Fraction(params.divisor, params.holders))


def _one_lane(plan: Plan, params: SumParameters) -> Cells:
    """Draw for every lane as if it had the whole of ρ."""
    return _scaled(plan, params, Fraction(1, len(plan.lanes)))


def _nothing(plan: Plan, params: SumParameters) -> Cells:
    return np.zeros(plan.cells, dtype=np.int64)


QUARTER = Mechanism(lambda plan, params: _scaled(plan, params, Fraction(1, 4)))
PUBLIC_SEED = Mechanism(_public, _public)
FORGOTTEN_ROWS = Mechanism(_forgotten_rows)
NOBODY_COLLUDES = Mechanism(_all_holders)
UNSPLIT = Mechanism(_one_lane)
SILENT = Mechanism(_nothing)
"""No noise: each attack must succeed against it, or it proves nothing."""

BROKEN = {
    "a quarter of the variance": QUARTER,
    "a public seed": PUBLIC_SEED,
    "m forgotten in the sensitivity": FORGOTTEN_ROWS,
    "sigma^2/n, as if nobody colluded or dropped out": NOBODY_COLLUDES,
    "rho not split over the lanes": UNSPLIT,
}
