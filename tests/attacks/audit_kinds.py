"""The audit by sampling for plans of other kinds than a sum: what their answers, and who helps to make them, get to see.

As in `tests.attacks.audit`: in each slot a pair of neighbouring tables that differ by one unit with more rows than m, all at the
end of the clipping interval; who attacks knows everything else, and tests the likelihood ratio. The rows go through the product's
own code to exact numbers, and the noise is drawn by it. What comes after the noise (weights, masks, encryption) is left out: it is
post-processing.

- **score**: the noisy numbers of one holder that the encrypted weights meet, the whole noise being its own.
- **join**: who has the matcher and the buyer sees the answer less the matcher's own noise, so that of the value side is left;
  and, as the matcher, how many entries of each of its sub-lists matched, dummies included. The unit is a key of the value side.
- **deposit**: the decrypted sums less the noise of the c trustees that may lie; d_max more never shared.
"""

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from holder.depositor import Table, tabulated
from holder.settings import EngineSettings, FileSource
from privacy.deposit.subcube import plan_selection
from privacy.deposit.terms import deposit_policy
from privacy.gaussian import draw_discrete_gaussian
from privacy.join.dummies import draw_dummies
from privacy.join.kind import match_rho
from privacy.layout import cells_from_sums
from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from privacy.planning import plan_parameters
from privacy.policy import Policy
from privacy.score.combine import packed_factors
from tests.attacks.audit import (
    RHO_MICRO,
    ROWS_PER_UNIT,
    TARGET_ROWS,
    Loss,
    cell_variances,
    lower_bounds,
    neighbours,
)
from tests.attacks.bounds import Floats
from tests.attacks.broken import NOBODY_COLLUDES, UNSPLIT
from tests.attacks.join_amplification import joined, matches_of, read_rows
from tests.attacks.world import REAL, Cells, Mechanism, attack_policy, open_market
from tests.holder.join_tables import example_fields
from tests.holder.join_world import customer, meter
from tests.privacy.deposit.plan_world import make_plan, policy_mapping
from tests.privacy.join_plan_world import JOIN, join_plan, terms_of
from tests.privacy.score_world import encrypted, fixed

SLOTS = 400
SHARED_KEY = "公司"
Draw = Callable[[Mechanism], Cells]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of neighbouring tables, one in each of `SLOTS` slots, and what is seen of them.

    Attributes:
        exact: the numbers that are seen, without the unit and with it, before noise.
        variances: of the noise of each number, as claimed.
        slots: the slot of each number; those of `other` are in none.
        rho_micro: what is claimed for them together.
        draw: draws the noise of one release.
    """

    exact: tuple[Cells, Cells]
    variances: Floats
    slots: Cells
    rho_micro: int
    draw: Draw = field(repr=False)

    def statistics(self, mechanism: Mechanism, *, present: bool) -> Floats:
        """Return each slot's log likelihood ratio in one release: N(0, 1) without the unit, N(μ, 1) with it."""
        seen = self.exact[present] + self.draw(mechanism) - self.exact[0]
        return self._by_slot(seen * self._weights) / self.mu

    @property
    def mu(self) -> Floats:
        """The μ of each slot that the exact numbers show."""
        moved = self.exact[1] - self.exact[0]
        assert not moved[self.slots >= SLOTS].any()
        result: Floats = np.sqrt(self._by_slot(moved * self._weights))
        return result

    @property
    def _weights(self) -> Floats:
        result: Floats = (self.exact[1] - self.exact[0]) / self.variances
        return result

    def _by_slot(self, numbers: Floats) -> Floats:
        return np.bincount(self.slots, numbers, SLOTS + 1)[:SLOTS]

    def only(self, chosen: slice, rho_micro: int) -> "Pairs":
        """Return who sees some of the numbers only."""
        without, with_ = (each[chosen] for each in self.exact)
        return Pairs(
            (without, with_),
            self.variances[chosen],
            self.slots[chosen],
            rho_micro,
            lambda mechanism: self.draw(mechanism)[chosen],
        )


def audit_kind(name: str, *, runs: int, mechanism: Mechanism = REAL) -> Loss:
    """Audit what is seen of one kind.

    Args:
        name: one of `KINDS`.
        runs: at least so many runs on each table.
        mechanism: how noise is drawn.
    """
    pairs = KINDS[name]()
    absent, present = (
        np.concatenate([pairs.statistics(mechanism, present=there) for _ in range(-(-runs // SLOTS))])
        for there in (False, True)
    )
    return lower_bounds(absent, present, pairs.rho_micro, float(pairs.mu.max()))


def _slots_of(plan: Plan) -> Cells:
    """Return the slot of each value of a plan that groups by slot alone."""
    return np.arange(plan.values) % plan.groups


# --- score -------------------------------------------------------------------------------------------------


@cache
def score_pairs() -> Pairs:
    """The noisy count and sums of one holder, under a buyer's encrypted weights."""
    policy = attack_policy(
        slots=SLOTS,
        rows=ROWS_PER_UNIT,
        aggregates=["count", "score"],
        min_holders=1,
        score={"features": "*", "weight_bits": 32, "weight_scale_bits": 16},
    )
    ordinary, _, extreme = neighbours(SLOTS, 1)
    asked = encrypted(fixed("1", "0.5", "-2")).to_json()
    exact, plans = [], []
    for rows in (ordinary, pd.concat([ordinary, extreme])):
        with open_market(policy, rows) as market:
            plans.append(
                market.plan_of_one("SELECT slot, SCORE(x, y) AS s FROM 用电 GROUP BY slot", RHO_MICRO, asked)
            )
            exact.append(market.values(plans[-1]))
    plan, params = plans[0], plan_parameters(plans[0])
    assert plans[1].hash() == plan.hash() and params.divisor == 1

    def draw(mechanism: Mechanism) -> Cells:
        return mechanism.draw(plan, params)

    packed_factors(
        plan, (exact[1] + draw(REAL)).tolist()
    )  # what the weights meet is within the plan's bounds
    return Pairs((exact[0], exact[1]), cell_variances(plan), _slots_of(plan), RHO_MICRO, draw)


# --- join --------------------------------------------------------------------------------------------------


@cache
def join_pairs() -> Pairs:
    """Sums of a joined table, then the numbers of matches."""
    policy = _join_policy()
    sql = f"SELECT b.信用等级, COUNT(*), SUM(p.用电量) {JOIN} GROUP BY b.信用等级"
    plan = join_plan(sql, policy, rho_micro=RHO_MICRO)
    terms, params = terms_of(plan), plan_parameters(plan)
    assert params.divisor == 1
    bank, others, target = [], [], []
    for slot in range(SLOTS):
        bank += [customer(f"{SHARED_KEY}{slot}", 10 * slot + n, f"档{slot}") for n in range(TARGET_ROWS)]
        bank.append(customer(f"另一{SHARED_KEY}{slot}", 10 * slot + 9, f"档{slot}"))
        others.append(meter(f"另一{SHARED_KEY}{slot}", 10 * slot + 9, 1.5 * slot))
        target += [meter(f"{SHARED_KEY}{slot}", 10 * slot + n, 1e9) for n in range(TARGET_ROWS)]
    matcher = read_rows(bank, plan, policy, terms.matcher)
    sides = [read_rows(rows, plan, policy, terms.value) for rows in (others, others + target)]
    exact = [np.concatenate([joined(plan, matcher, side), matches_of(matcher, side)]) for side in sides]
    matches = np.full(plan.groups, float(terms.match.sigma_squared))

    def draw(mechanism: Mechanism) -> Cells:
        source = NoiseSource(secrets.token_bytes(32), secrets.token_bytes(32), 0)
        if mechanism is REAL:
            sums, dummies = draw_noise_share(plan, params, source), draw_dummies(plan, terms, source)
            return np.concatenate([sums, np.array(dummies) - terms.match.offset])
        few = draw_discrete_gaussian(source.key(len(plan.lanes)), terms.match.sigma_squared / 4, plan.groups)
        return np.concatenate([mechanism.draw(plan, params), few])

    variances = np.concatenate([cell_variances(plan), matches])
    slots = np.concatenate([_slots_of(plan), np.arange(plan.groups)])
    return Pairs((exact[0], exact[1]), variances, slots, RHO_MICRO, draw)


def _join_policy() -> Policy:
    given = example_fields(bank=2, power=ROWS_PER_UNIT)
    given["columns"]["信用等级"]["domain"] = [f"档{slot}" for slot in range(SLOTS)]
    for side in given["join"]["sides"].values():
        side["list_max"] = 2 * SLOTS
    return Policy.from_mapping({**given, "rho": {"per_request": "1000", "total": "100000"}})


def join_sums() -> Pairs:
    """What the buyer sees."""
    pairs = join_pairs()
    return pairs.only(slice(0, -SLOTS - 1), RHO_MICRO - match_rho(RHO_MICRO))


def join_matches() -> Pairs:
    """What the matcher sees."""
    return join_pairs().only(slice(-SLOTS - 1, None), match_rho(RHO_MICRO))


# --- deposit -----------------------------------------------------------------------------------------------


@cache
def deposit_pairs() -> Pairs:
    """The sums of a deposited cube with the noise of the trustees that neither lie nor are away."""
    columns = {
        "person": {"type": "integer"},
        "month": {"type": "integer"},
        "slot": {"type": "integer", "domain": list(range(SLOTS)), "nullable": False},
        "x": {"type": "integer", "low": 0, "high": 8, "nullable": False},
    }
    member = {
        **policy_mapping()["deposit"],
        "cube": {"dimensions": ["slot"], "measures": ["x"], "histograms": {}},
    }
    policy = Policy.from_mapping(
        policy_mapping(
            columns=columns,
            deposit=member,
            aggregates=["count", "sum"],
            row_key=["month"],
            rows_max=10_000,
            privacy_unit={
                "column": "person",
                "rows_per_unit": ROWS_PER_UNIT,
                "proved": False,
                "disjoint": True,
            },
        )
    )
    plan = make_plan(
        "SELECT slot, COUNT(*) AS n, SUM(x) AS s FROM power GROUP BY slot", policy, rho_micro=RHO_MICRO
    )
    params = plan_parameters(plan)
    assert params.divisor == plan.holders - plan.colluders - plan.dropouts == 2
    terms = deposit_policy(policy)
    selection = plan_selection(plan, policy, terms.cube(policy))
    ordinary, _, extreme = neighbours(SLOTS, 1)
    exact = []
    for rows in (ordinary, pd.concat([ordinary, extreme])):
        sums = np.zeros(plan.values, dtype=np.int64)
        np.add.at(sums, selection.results, _cube_cells(policy, rows)[selection.cells])
        exact.append(cells_from_sums(plan, sums.tolist()))

    def draw(mechanism: Mechanism) -> Cells:
        total: Cells = np.sum([mechanism.draw(plan, params) for _ in range(params.divisor)], axis=0)
        return total

    return Pairs((exact[0], exact[1]), cell_variances(plan), _slots_of(plan), RHO_MICRO, draw)


def _cube_cells(policy: Policy, rows: pd.DataFrame) -> Cells:
    """Return the cells of the cube as a depositor's command reads and bounds them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        numbers = rows[["person", "month", "slot"]].assign(x=rows.x.clip(-100, 100).astype(np.int64))
        numbers.to_parquet(path, index=False)
        table = Table(FileSource("parquet", path), EngineSettings(Path(folder), threads=1))
        return tabulated(policy, deposit_policy(policy), table)


KINDS: dict[str, Callable[[], Pairs]] = {
    "SCORE": score_pairs,
    "JOIN, its sums": join_sums,
    "JOIN, its matches": join_matches,
    "JOIN, both": join_pairs,
    "DEPOSIT": deposit_pairs,
}

BROKEN_KINDS: dict[str, tuple[str, Mechanism]] = {
    "SCORE: rho not split over the lanes": ("SCORE", UNSPLIT),
    "JOIN, its matches: dummies of a quarter of the variance": ("JOIN, its matches", UNSPLIT),
    "DEPOSIT: sigma^2/n, as if no trustee lied or was away": ("DEPOSIT", NOBODY_COLLUDES),
}
"""What is audited, and how it is broken on purpose; dummies have a quarter of their variance under every mechanism but the real one."""


def run_kinds(*, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Audit every kind, and every broken one."""
    sound = {name: audit_kind(name, runs=runs).to_json() for name in KINDS}
    broken = {
        name: audit_kind(kind, runs=runs, mechanism=mechanism).to_json()
        for name, (kind, mechanism) in BROKEN_KINDS.items()
    }
    return sound, broken
