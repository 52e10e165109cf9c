"""Reconstruction: a table of 100 people from random sums of it.

Dinur and Nissim's attack: the buyer counts those with the secret flag in random subsets, four at a time by GROUP BY, and
looks for the table that fits the answers best. With an entry in [0, 1] for each person this is a linear program for the
absolute residual and a bounded least-squares problem for the squared one; the noise is Gaussian, so the second finds the
likelier table. Both are solved: the linear program by its dual (100 rows, one bounded variable an answer, the table its
multipliers) with HiGHS, the least squares by projected gradient steps on the 100 × 100 normal equations.

The same questions are paid from three budgets: a small one, ρ = 1, and the ρ = 50 that the examples' policies have in all.
Guesses of one table share their noise, so that their number is not binomial. For (ε, δ) and n independent bits at most
Binomial(n, e^ε/(1 + e^ε)) are right but for a probability of 2nδ (Steinke, Nasr, Jagielski, "Privacy Auditing with One
Training Run", 2023, its main theorem): that is what is asserted; Φ(μ/2) is shown beside it.

Run it: python -m tests.attacks.reconstruction
"""

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from privacy.accounting import zcdp_epsilon
from privacy.decimals import RHO_SCALE
from tests.attacks.bounds import FALSE_ALARM, Floats, success_max, tail_at_least, uniform
from tests.attacks.broken import SILENT
from tests.attacks.world import Market, attack_policy, open_market, people, release, report

PEOPLE = 100
COLUMNS = 12
GROUPS = 4
TOTALS = {"small": 50_000, "one": 1_000_000, "examples": 50_000_000}
"""ρ over all questions, in micro-ρ."""
NAKED = "without_noise"

DELTA = 1e-10
STEPS = 500
WHOLE = {"questions": 2500}


def run(*, questions: int) -> dict[str, Any]:
    """Ask `questions` times for four random sums and reconstruct the table within each budget."""
    ranks = {f"r{k}": np.argsort(uniform(f"rank{k}", PEOPLE)).astype(np.int64) for k in range(COLUMNS)}
    groups = {f"g{k}": np.argsort(uniform(f"group{k}", PEOPLE)) % GROUPS for k in range(COLUMNS)}
    # Independent fair bits, as the theorem has them, and not half of each.
    bits = (uniform("reconstruction", PEOPLE) < 0.5).astype(np.int64)
    more: dict[str, Any] = {name: {"type": "integer", "filter": True} for name in ranks}
    more |= {name: {"type": "integer", "domain": list(range(GROUPS))} for name in groups}
    table = people(PEOPLE, flag=bits, **ranks, **groups)
    half = PEOPLE // 2
    with open_market(attack_policy(more=more), table.iloc[:half], table.iloc[half:]) as market:
        design, answers = _ask(market, ranks, groups, questions)
    right = {
        name: [int((solve(design, found) == bits).sum()) for solve in (least_absolute, least_squares)]
        for name, found in answers.items()
    }
    budgets = {name: _figure(right[name], total) for name, total in TOTALS.items()}
    return {
        "attack": "reconstruction",
        "holds": all(each["holds"] for each in budgets.values()) and right[NAKED] == [PEOPLE, PEOPLE],
        "people": PEOPLE,
        "sums": GROUPS * questions,
        "budgets": budgets,
        NAKED: [each / PEOPLE for each in right[NAKED]],
    }


def _ask(market: Market, ranks: Any, groups: Any, questions: int) -> tuple[Floats, dict[str, Floats]]:
    """Return the subsets as rows of zeros and ones, and the noisy counts under each budget."""
    design = np.zeros((questions, GROUPS, PEOPLE))
    answers = {name: np.zeros((questions, GROUPS)) for name in (*TOTALS, NAKED)}
    for number in range(questions):
        drawn = uniform(f"question{number}", 5)
        first, second = (f"r{int(COLUMNS * each)}" for each in drawn[:2])
        low, high, group = int(5 + 30 * drawn[2]), int(65 + 30 * drawn[3]), f"g{int(COLUMNS * drawn[4])}"
        inside = (ranks[first] >= low) & (ranks[second] < high)
        design[number] = [inside & (groups[group] == value) for value in range(GROUPS)]
        where = f"flag = 1 AND month > {-1 - number} AND {first} >= {low} AND {second} < {high}"
        sql = f"SELECT COUNT(*) FROM 用电 WHERE {where} GROUP BY {group}"
        plans = {name: market.plan(sql, max(1, total // questions)) for name, total in TOTALS.items()}
        cells, grid = market.cells(plans["one"]), plans["one"].lanes[0].grid_bits
        for name, plan in plans.items():
            # The same counts on another grid: the rows are read once for all budgets.
            exact = [(each >> grid) << plan.lanes[0].grid_bits for each in cells]
            answers[name][number] = release(plan, exact).values()[:GROUPS]
        answers[NAKED][number] = release(plans["one"], cells, SILENT).values()[:GROUPS]
    flat = {name: found.reshape(-1) for name, found in answers.items()}
    return design.reshape(-1, PEOPLE), flat


def least_absolute(design: Floats, answers: Floats) -> Any:
    """Return the bits of the table x in [0, 1]^n with the least Σ|design·x − answers|, by linear programming.

    The dual has fewer rows: the most of Σ_j min(0, (designᵀ·y)_j) − answers·y over |y| ≤ 1. Its multipliers are x.
    """
    count, people = design.shape
    rows = sparse.hstack([-sparse.csr_array(design.T), -sparse.eye_array(people)]).tocsc()
    found = linprog(
        np.concatenate([answers, np.ones(people)]),
        A_ub=rows,
        b_ub=np.zeros(people),
        bounds=[(-1, 1)] * count + [(0, None)] * people,
        method="highs",
    )
    assert found.status == 0, found.message
    table = -found.ineqlin.marginals
    residual = float(np.abs(design @ table - answers).sum())
    assert math.isclose(residual, -found.fun, rel_tol=1e-6, abs_tol=1e-6), "both programs have one optimum"
    return (table > 0.5).astype(np.int64)


def least_squares(design: Floats, answers: Floats) -> Any:
    """Return the bits of the table in [0, 1]^n with the least squared residual, by projected gradient steps."""
    gram, target = design.T @ design, design.T @ answers
    step = 1 / float(np.linalg.eigvalsh(gram)[-1])
    table = np.clip(np.linalg.lstsq(design, answers, rcond=None)[0], 0, 1)
    for _ in range(STEPS):
        table = np.clip(table - step * (gram @ table - target), 0, 1)
    return (table > 0.5).astype(np.int64)


def _figure(right: list[int], total_micro: int) -> dict[str, Any]:
    """Return what each method got; each has half of the probability of a false alarm."""
    epsilon = zcdp_epsilon(total_micro, DELTA)
    chance = tail_at_least(max(right), PEOPLE, 1 / (1 + math.exp(-epsilon))) + 2 * PEOPLE * DELTA
    return {
        "rho_in_all": total_micro / RHO_SCALE,
        "right": right[0] / PEOPLE,
        "right_by_least_squares": right[1] / PEOPLE,
        "best_expected": round(success_max(total_micro), 4),
        "chance_of_as_many_if_private": float(f"{min(1.0, chance):.3g}"),
        "holds": chance > FALSE_ALARM / 2,
    }


if __name__ == "__main__":
    report(run, WHOLE)
