"""A differential-privacy audit by sampling: the loss that attackers can prove must stay under the one claimed.

Neighbouring tables differ by one unit with more rows than m, all at the end of every clipping interval, so that the
engine's cap, the clipping and the sensitivity are audited together. Each slot of GROUP BY holds one such pair, so that a
release is as many independent runs as it has slots (a count of distinct units: five slots a run, as one unit is in
min(m, G) of them). The attacker knows everything but whether the unit is there. It tests the likelihood ratio of all cells,
of which the answer's table is a function, against thresholds that are fixed beforehand.

Each of two probabilities at each threshold gets a bound of Clopper and Pearson at α = 10^-6/(2·thresholds); together they
fail with 10^-6. Then ε ≥ ln((P(T > t | there) − δ) / P(T > t | not there)) for each δ, and μ ≥ Φ^-1 of the first less
Φ^-1 of the second. Claimed are `zcdp_epsilon(ρ, δ)`, as a quote shows it, and μ = √(2ρ), what the Gaussian gives exactly.

The kinds of plans that are no sums are in `tests.attacks.audit_kinds`, and in the same report.

Run it: python -m tests.attacks.audit
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from privacy.accounting import zcdp_epsilon
from privacy.layout import lane_cells
from privacy.plan import Plan
from tests.attacks.bounds import FALSE_ALARM, NORMAL, Floats, at_least, at_most, mu_of
from tests.attacks.broken import BROKEN
from tests.attacks.world import (
    REAL,
    Cells,
    Mechanism,
    attack_policy,
    honest,
    open_market,
    people,
    release,
    report,
)

MECHANISMS = {
    "COUNT": "COUNT(*)",
    "COUNT DISTINCT": "COUNT(DISTINCT person)",
    "SUM": "SUM(x)",
    "AVG": "AVG(x)",
    "VAR": "VAR(x)",
    "STDDEV": "STDDEV(x)",
    "HISTOGRAM": "HISTOGRAM(x, 4) AS h",
    "QUANTILE": "QUANTILE(x, 0.9, 4) AS q",
    "COVAR": "COVAR(x, y)",
    "CORR": "CORR(x, y)",
    "LINREG": "LINREG(y, x) AS r",
    "CHI2": "CHI2(a, b) AS t",
    "LOGREG STEP": "LOGREG_STEP(b, x, y, 4, 12, 12) AS s",
}

ROWS_PER_UNIT = 3
TARGET_ROWS = 5
RHO_MICRO = 1_000_000
DELTAS = (1e-5, 0.01, 0.1, 0.25)
SLOTS = 1000
THRESHOLDS = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Around μ/2, in claimed standard deviations."""

WHOLE = {"runs": 10_000}


@dataclass(frozen=True, slots=True)
class Loss:
    """What N runs with the unit and N without it prove.

    Attributes:
        runs: N.
        rho_micro: the claim.
        epsilons: for each δ a lower bound of ε, at least 0.
        mu: a lower bound of μ, at least 0.
        sensitivity: the largest μ that the cells without noise show: exact, no sample.
    """

    runs: int
    rho_micro: int
    epsilons: dict[float, float]
    mu: float
    sensitivity: float

    @property
    def exceeds_epsilon(self) -> bool:
        """Whether some ε is above the claimed one."""
        return any(epsilon > zcdp_epsilon(self.rho_micro, delta) for delta, epsilon in self.epsilons.items())

    @property
    def exceeds_mu(self) -> bool:
        """Whether μ is above √(2ρ)."""
        return self.mu > mu_of(self.rho_micro)

    @property
    def holds(self) -> bool:
        """Whether nothing proves more than is claimed."""
        claimed = mu_of(self.rho_micro) * (1 + 1e-9)
        return not self.exceeds_epsilon and not self.exceeds_mu and self.sensitivity <= claimed

    def to_json(self) -> dict[str, Any]:
        """Return the figure."""
        return {
            "runs": self.runs,
            "rho": self.rho_micro / 1e6,
            "epsilon": {
                f"{delta:g}": [round(epsilon, 3), round(zcdp_epsilon(self.rho_micro, delta), 3)]
                for delta, epsilon in self.epsilons.items()
            },
            "mu": [round(self.mu, 3), round(mu_of(self.rho_micro), 3)],
            "sensitivity_used": round(self.sensitivity / mu_of(self.rho_micro), 4),
            "holds": self.holds,
        }


def neighbours(units: int, block: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the rows of ordinary people at two holders, and those of the units under attack.

    Args:
        units: how many pairs of neighbouring tables.
        block: the slots of each: 1, or 5 if a unit's rows are in a slot each.
    """
    slots = np.arange(units * block)
    ordinary = people(len(slots), slot=slots, x=(slots * 7) % 100, y=(slots * 3) % 100 - 50.0)
    here, there = ordinary.assign(person=slots + 10**6), ordinary.assign(person=slots + 2 * 10**6)
    rows = np.arange(units * TARGET_ROWS)
    unit, month = rows // TARGET_ROWS, rows % TARGET_ROWS
    slot = unit * block + (month if block > 1 else 0)
    extreme = people(len(rows), person=unit, month=month, slot=slot, x=1e9, y=1e9, a="p", b="u")
    return here, there, extreme


def cell_variances(plan: Plan) -> Floats:
    """Return σ² of each cell as claimed, in grid units²: what the honest noise has together."""
    sigma = np.zeros(plan.values)
    for number, lane in enumerate(plan.lanes):
        cells = lane_cells(plan, number)
        sigma[cells.start : cells.stop] = float(lane.sigma_squared)
    return sigma


def likelihoods(view: Cells, without: Cells, with_: Cells, plan: Plan, block: int) -> tuple[Floats, Floats]:
    """Return each run's log likelihood ratio, scaled to N(0, 1) without the unit and N(μ, 1) with it, and its μ."""
    units = max(1, (plan.groups - 1) // block)
    shift = (with_ - without).astype(np.float64)
    weights = shift / cell_variances(plan)
    unit = (np.arange(plan.cells) % plan.groups) // block
    inside = unit < units
    assert not shift[~inside].any()
    sums = np.bincount(unit[inside], ((view - without) * weights)[inside], units)
    mu = np.sqrt(np.bincount(unit[inside], (shift * weights)[inside], units))
    return sums / mu, mu


def lower_bounds(absent: Floats, present: Floats, rho_micro: int, sensitivity: float) -> Loss:
    """Return what the statistics prove."""
    runs, alpha = len(absent), FALSE_ALARM / (2 * len(THRESHOLDS))
    epsilons, mu = dict.fromkeys(DELTAS, 0.0), 0.0
    for offset in THRESHOLDS:
        threshold = mu_of(rho_micro) / 2 + offset
        hits = at_least(int((present > threshold).sum()), runs, alpha)
        alarms = at_most(int((absent > threshold).sum()), runs, alpha)
        if 0 < hits < 1 and 0 < alarms < 1:
            mu = max(mu, NORMAL.inv_cdf(hits) - NORMAL.inv_cdf(alarms))
        for delta in DELTAS:
            if hits > delta:
                epsilons[delta] = max(epsilons[delta], math.log((hits - delta) / alarms))
    return Loss(runs, rho_micro, epsilons, mu, sensitivity)


def audit(name: str, *, runs: int, mechanism: Mechanism = REAL) -> Loss:
    """Audit one aggregate.

    Args:
        name: one of `MECHANISMS`.
        runs: at least so many runs on each table.
        mechanism: how honest holders draw their noise.
    """
    block = TARGET_ROWS if name == "COUNT DISTINCT" else 1
    slots = min(runs // block, SLOTS) * block if block > 1 else min(runs, SLOTS)
    policy = attack_policy(slots=slots, rows=ROWS_PER_UNIT)
    here, there, extreme = neighbours(slots // block, block)
    sql = f"SELECT slot, {MECHANISMS[name]} FROM 用电 GROUP BY slot"
    with open_market(policy, here, there) as market:
        plan = market.plan(sql, RHO_MICRO)
        without = market.cells(plan)
    with open_market(policy, pd.concat([here, extreme])) as market:
        assert market.plan(sql, RHO_MICRO).hash() == plan.hash(), "a plan does not depend on rows"
        with_ = [market.cells(plan)[0], *without[1:]]
    absent: list[Floats] = []
    present: list[Floats] = []
    sensitivity = 0.0
    for number in range(-(-runs * block // slots)):
        for exact, found in ((without, absent), (with_, present)):
            released = release(plan, exact, mechanism)
            if number == 0:
                assert len(released.table().rows) == plan.groups
            scores, mu = likelihoods(released.view, honest(without), honest(with_), plan, block)
            found.append(scores)
            sensitivity = max(sensitivity, float(mu.max()))
    return lower_bounds(np.concatenate(absent), np.concatenate(present), RHO_MICRO, sensitivity)


def run(*, runs: int) -> dict[str, Any]:
    """Audit every aggregate, every broken mechanism on an aggregate of two lanes, and the other kinds."""
    from tests.attacks.audit_kinds import run_kinds

    sound = {name: audit(name, runs=runs).to_json() for name in MECHANISMS}
    broken = {name: audit("AVG", runs=runs, mechanism=each).to_json() for name, each in BROKEN.items()}
    sound_kinds, broken_kinds = run_kinds(runs=runs)
    sound, broken = {**sound, **sound_kinds}, {**broken, **broken_kinds}
    holds = all(each["holds"] for each in sound.values())
    caught = not any(each["holds"] for each in broken.values())
    return {"attack": "audit", "holds": holds and caught, "mechanisms": sound, "broken": broken}


if __name__ == "__main__":
    report(run, WHOLE)
