"""Any table, split in any way over 1 to 20 holders, with any allowed dropouts, gives the plaintext answer plus the stated noise.

The sealed sum is the product's code, every party in one process. What noise each holder added is known here, as its seed
is: taken off, the numbers of the survivors' rows are left, exactly. And what is left when the colluders take off their own
noise has the law that is claimed: a discrete Gaussian of (survivors − c)·σ²/m, never less than σ².
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.answer import decode_answer
from privacy.curve import SignedCells
from privacy.errors import ParametersInvalid
from privacy.gamma import chi_square_tail
from privacy.layout import cells_from_sums, lane_cells
from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from privacy.session import SumParameters
from tests.privacy.logistic_world import uniforms
from tests.privacy.plan_world import Row, params_of, plan_of, sums_of, table_policy
from tests.privacy.sum_world import World

HOLDERS_MAX = 20
FALSE_ALARM = 1e-6
BINS = 16
QUERIES = [
    "SELECT COUNT(*) FROM 用电",
    "SELECT a, COUNT(*), SUM(x), AVG(v) FROM 用电 GROUP BY a",
    "SELECT f, b, VAR(z), COUNT(*) FROM 用电 GROUP BY f, b",
    "SELECT HISTOGRAM(x, 5) AS h, QUANTILE(z, 0.5, 4) AS q, CHI2(a, b) AS t FROM 用电",
    "SELECT b, CORR(x, v), COVAR(y, z) FROM 用电 GROUP BY b",
    "SELECT LINREG(y, x, z) AS l, LOGREG_STEP(b, x, y, 0.5, -3, 1.25) AS s FROM 用电",
]


@dataclass
class SplitWorld(World):
    """A sealed sum over a table: each holder's cells are those of its rows and its noise."""

    plan: Plan | None = None
    split: list[list[Row]] = field(default_factory=list)

    @property
    def the_plan(self) -> Plan:
        assert self.plan is not None
        return self.plan

    @property
    def params(self) -> SumParameters:
        return params_of(self.the_plan, self.n)

    def noise_of(self, holder: int) -> SignedCells:
        source = NoiseSource(self.secrets[holder].noise_seed, self.session.id, holder)
        return draw_noise_share(self.the_plan, self.params, source)

    def plain_of(self, holders: Collection[int]) -> SignedCells:
        rows = [row for holder in holders for row in self.split[holder]]
        return cells_from_sums(self.the_plan, sums_of(self.the_plan, rows))

    def input_of(self, holder: int) -> SignedCells:
        return self.plain_of([holder]) + self.noise_of(holder)


@dataclass(frozen=True, slots=True)
class Course:
    """Who does what: those who share, those who contribute, those whose shares unmask."""

    world: SplitWorld
    sharers: list[int]
    survivors: list[int]
    unmaskers: list[int]

    def run(self) -> NDArray[np.int64]:
        """The sum that the buyer opens."""
        result = self.world.aggregate(self.sharers, self.survivors, self.unmaskers)
        assert result.rejected == ()
        return np.array(self.world.opened(result.payload, self.survivors), dtype=np.int64)


def world_of(
    sql: str, split: list[list[Row]], *, planned: int, colluders: int, dropouts: int, seed: str = "split"
) -> SplitWorld:
    policy = table_policy(colluders=colluders, dropouts=dropouts, min_holders=1)
    plan = plan_of(sql, policy, holders=planned)
    return SplitWorld(
        len(split), plan.cells, plan.colluders, plan.dropouts, seed=seed, plan=plan, split=split
    )


def are_allowed(holders: int, colluders: int, dropouts: int) -> bool:
    try:
        SumParameters.of(n=holders, colluders=colluders, dropouts=dropouts, min_holders=1)
    except ParametersInvalid:
        return False
    return True


# --- exactness ------------------------------------------------------------------------------------------------------

_numbers = st.none() | st.floats(-1e4, 1e4) | st.sampled_from([0.0, 100.0, -50.0, 1e300, math.inf, -math.inf])
ROWS = st.fixed_dictionaries(
    {
        "x": _numbers,
        "y": st.floats(-100, 300),
        "z": st.integers(-5, 40),
        "v": _numbers | st.just(math.nan),
        "a": st.sampled_from(["p", "q", "r", "s", None]),
        "b": st.sampled_from(["u", "w", None]),
        "f": st.sampled_from([1, 2, 3, None]),
    }
)


@st.composite
def courses(draw: st.DrawFn) -> Course:
    n = draw(st.integers(1, HOLDERS_MAX))
    planned = draw(st.integers(n, min(n + 2, HOLDERS_MAX)))
    colluders, dropouts = draw(st.integers(0, n - 1)), draw(st.integers(0, n))
    assume(are_allowed(n, colluders, dropouts) and are_allowed(planned, colluders, dropouts))
    split: list[list[Row]] = [[] for _ in range(n)]
    for holder, row in draw(st.lists(st.tuples(st.integers(0, n - 1), ROWS), max_size=12)):
        split[holder].append(row)
    world = world_of(
        draw(st.sampled_from(QUERIES)),
        split,
        planned=planned,
        colluders=colluders,
        dropouts=dropouts,
        seed=f"split/{draw(st.integers(0, 9))}",
    )
    params = world.params
    sharers = draw(st.permutations(range(n)))[: draw(st.integers(params.floor, n))]
    survivors = draw(st.permutations(sharers))[: draw(st.integers(params.floor, len(sharers)))]
    unmaskers = draw(st.permutations(survivors))[: draw(st.integers(params.threshold, len(survivors)))]
    return Course(world, sharers, survivors, unmaskers)


def require_plain_plus_noise(course: Course) -> None:
    world, survivors = course.world, course.survivors
    opened = course.run()
    noise: NDArray[np.int64] = np.sum([world.noise_of(i) for i in survivors], axis=0)
    plain = world.plain_of(survivors)
    assert (opened - noise).tolist() == plain.tolist()
    tables = [
        decode_answer(world.the_plan, world.params, len(survivors), list(map(int, cells)))
        for cells in (opened - noise, plain)
    ]
    assert tables[0] == tables[1]


@settings(max_examples=12, deadline=None)
@given(courses())
def test_any_split_of_any_table_gives_the_plaintext_plus_the_survivors_noise(course: Course) -> None:
    require_plain_plus_noise(course)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=250, deadline=None)
@given(courses())
def test_any_split_of_any_table_gives_the_plaintext_at_whole_size(course: Course) -> None:
    require_plain_plus_noise(course)


# --- the noise's law ------------------------------------------------------------------------------------------------


def every_setting() -> list[tuple[int, int, int]]:
    """Every (n, c, d_max) that SumParameters allows for 1 to 20 holders, once each."""
    found = []
    for n in range(1, HOLDERS_MAX + 1):
        for colluders in range(n):
            for dropouts in range(n):
                if are_allowed(n, colluders, dropouts):
                    params = SumParameters.of(n=n, colluders=colluders, dropouts=dropouts, min_holders=1)
                    if params.dropouts_max == dropouts:
                        found.append((n, colluders, dropouts))
    return found


def fewest(world: SplitWorld, number: int) -> Course:
    """As many dropouts as are allowed: some before they share, some before the seal, and some after it."""
    params = world.params
    order = [(k + number) % world.n for k in range(world.n)]
    missing = world.n - params.floor
    sharers = order[: world.n - (missing if number % 2 else missing // 2)]
    survivors = sharers[: params.floor]
    return Course(world, sharers, survivors, survivors[: params.threshold])


def residuals(settings_: Collection[tuple[int, int, int]]) -> Iterator[tuple[NDArray[np.float64], float]]:
    """For each lane of each setting, what the colluders do not know of an answer about no rows, and its claimed parameter."""
    for number, (n, colluders, dropouts) in enumerate(settings_):
        world = world_of(
            "SELECT a, b, COUNT(*), SUM(x), VAR(z) FROM 用电 GROUP BY a, b",
            [[] for _ in range(n)],
            planned=n,
            colluders=colluders,
            dropouts=dropouts,
            seed=f"law/{number}",
        )
        course = fewest(world, number)
        known = course.survivors[:colluders]
        view = course.run() - sum((world.noise_of(i) for i in known), np.zeros(world.cells, dtype=np.int64))
        for place, lane in enumerate(world.the_plan.lanes):
            honest = (len(course.survivors) - len(known)) * lane.share(world.params.divisor)
            assert honest >= lane.sigma_squared, "never less than what ρ needs"
            cells = lane_cells(world.the_plan, place)
            yield view[cells.start : cells.stop].astype(np.float64), float(honest)


def p_values(found: Collection[tuple[NDArray[np.float64], float]]) -> tuple[float, float]:
    """Pooled: chi-square over equal bins of the law, and a two-sided test of the variance.

    A discrete Gaussian of 16 grid units² or more, spread evenly over its unit, is a Gaussian up to 1e-60.
    """
    draws = np.concatenate([values for values, _ in found])
    deviations = np.concatenate([np.full(len(values), math.sqrt(variance)) for values, variance in found])
    scaled = (draws - 0.5 + uniforms(len(draws), 5)) / deviations
    edges = [NormalDist().inv_cdf(k / BINS) for k in range(1, BINS)]
    counts = np.bincount(np.searchsorted(edges, scaled), minlength=BINS)
    expected = len(draws) / BINS
    statistic = float(((counts - expected) ** 2 / expected).sum())
    shape = float(chi_square_tail(Fraction(BINS - 1), Fraction(statistic)))
    excess = (float((scaled**2).sum()) - len(draws)) / math.sqrt(2 * len(draws))
    return shape, 2 * (1 - NormalDist().cdf(abs(excess)))


def require_the_law(settings_: Collection[tuple[int, int, int]]) -> None:
    found = list(residuals(settings_))
    assert min(p_values(found)) > FALSE_ALARM
    for wrong in (0.5, 2.0):  # a test that could not tell these would say nothing
        assert min(p_values([(values, variance * wrong) for values, variance in found])) < FALSE_ALARM


def test_the_noise_left_by_colluders_and_dropouts_has_the_claimed_law() -> None:
    every = every_setting()
    require_the_law(every[:: len(every) // 14])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(5))
def test_the_noise_has_the_claimed_law_for_every_setting(part: int) -> None:
    require_the_law(every_setting()[part::5])


def test_every_setting_is_one_that_the_parameters_allow() -> None:
    every = every_setting()
    assert {n for n, _, _ in every} == set(range(1, HOLDERS_MAX + 1))
    assert any(colluders >= 6 and dropouts >= 6 for _, colluders, dropouts in every)
    assert all(colluders + dropouts < n for n, colluders, dropouts in every)


def test_one_holder_more_or_less_changes_the_plaintext_by_its_rows_alone() -> None:
    rows: list[Row] = [{"x": 5.0, "y": 1.0, "z": 3, "v": None, "a": "p", "b": "u", "f": 1}] * 4
    split: list[list[Any]] = [[rows[0]], [rows[1]], rows[2:]]
    world = world_of(QUERIES[1], split, planned=3, colluders=0, dropouts=1)
    both, all_three = world.plain_of([0, 1]), world.plain_of([0, 1, 2])
    assert (all_three - both).tolist() == world.plain_of([2]).tolist()
