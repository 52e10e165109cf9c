"""The noise that is drawn is the noise that is claimed.

Every bound here is chosen so that a correct sampler fails a run of the whole file with probability below 1e-6: each
of at most 45 checks fails with probability at most 2e-8.
"""

import math
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from privacy.decimals import RHO_SCALE
from privacy.errors import NoiseInvalid, PlanInvalid
from privacy.gaussian import draw_discrete_gaussian
from privacy.lanes import SHARE_MIN, Lane, LaneKind
from privacy.noise import NoiseSource, draw_noise_share, share_parameter
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.session import SumParameters
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import params_of, plan_of, policy_of

SUMS = 20_000
FALSE_ALARM = 2e-8


def _policy() -> Policy:
    columns: dict[str, Any] = {
        "a": {"type": "integer", "domain": list(range(99))},
        "b": {"type": "integer", "domain": list(range(199))},
    }
    unit = {"column": None, "rows_per_unit": 1, "disjoint": True}
    return policy_of(columns=columns, privacy_unit=unit, aggregates=["count"])


def _count_plan(holders: int, rho_micro: int) -> Plan:
    plan = plan_of("SELECT COUNT(*) FROM 用电 GROUP BY a, b", _policy(), holders=holders, rho_micro=rho_micro)
    assert plan.cells == SUMS
    return plan


def _lane(**changes: Any) -> Lane:
    counting: dict[str, Any] = {
        "kind": LaneKind.COUNT,
        "column": None,
        "type": None,
        "low": None,
        "high": None,
        "scale_bits": 0,
        "center": 0,
        "half_width": 1,
        "edges": (),
        "delta_squared": 1,
        "grid_bits": 8,
        "rho_micro": 10**6,
    }
    return Lane(**{**counting, **changes})


def _tail(parameter: float, bound: float) -> float:
    """P(|X| > bound) for a discrete Gaussian of this parameter, summed exactly."""
    reach = math.ceil(40 * math.sqrt(parameter))
    values = np.arange(-reach, reach + 1, dtype=np.float64)
    weights = np.exp(-(values**2) / (2 * parameter))
    return float(weights[np.abs(values) > bound].sum() / weights.sum())


def _divergence(q: float, p: float) -> float:
    """KL(q‖p) of coins: P(a mean of N tosses of p is at least as far as q) ≤ exp(−N·KL), Chernoff's bound."""
    return sum(a * math.log(a / b) for a, b in ((q, p), (1 - q, 1 - p)) if a > 0)


# --- 20,000 sums ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holders", [1, 3, 10])
@pytest.mark.parametrize("rho_micro", [10_000, 100_000, 1_000_000])
def test_sums_of_shares_have_the_claimed_variance_and_tail(holders: int, rho_micro: int) -> None:
    """Of n contributions, each has parameter σ²/m with σ² = Δ²/(2ρ), so that the sum has n/m·σ².

    Variance: the sample variance of N Gaussians, relative to the true one, exceeds 1 ± ε with probability at most
    exp(−N/2·(ε − ln(1 + ε))) and exp(−N/2·(−ε − ln(1 − ε))); ε = 0.065 makes each less than 1e-8.
    """
    plan = _count_plan(holders, rho_micro)
    params = params_of(plan)
    assert params.divisor == {1: 1, 3: 2, 10: 4}[holders]
    sums: npt.NDArray[np.int64] = np.sum([fresh_noise(plan, params) for _ in range(holders)], axis=0)
    sigma_squared = RHO_SCALE / (2 * rho_micro)  # in counts², as Δ = 1
    claimed = holders / params.divisor * sigma_squared * 4.0 ** plan.lanes[0].grid_bits

    epsilon = 0.065
    assert math.exp(-SUMS / 2 * (epsilon - math.log1p(epsilon))) < FALSE_ALARM / 2
    assert math.exp(-SUMS / 2 * (-epsilon - math.log1p(-epsilon))) < FALSE_ALARM / 2
    assert abs(float(np.mean(sums.astype(float) ** 2)) / claimed - 1) < epsilon
    assert abs(float(np.mean(sums))) < 6 * math.sqrt(claimed / SUMS)
    for deviations in (1.0, 1.96, 3.0):
        bound = deviations * math.sqrt(claimed)
        found, expected = float(np.mean(np.abs(sums) > bound)), _tail(claimed, bound)
        assert SUMS * _divergence(found, expected) < -math.log(FALSE_ALARM / 2)


# --- the privacy that is claimed --------------------------------------------------------------------------------


@pytest.mark.parametrize("holders", [1, 3, 10])
@pytest.mark.parametrize("rho_micro", [10_000, 1_000_000])
def test_shares_of_the_fewest_honest_holders_are_zcdp_rho(holders: int, rho_micro: int) -> None:
    """Rényi divergences of the sum of m shares from itself moved by Δ, computed from the exact distribution."""
    plan = plan_of("SELECT COUNT(*) FROM 用电", _policy(), holders=holders, rho_micro=rho_micro)
    lane, params = plan.lanes[0], params_of(plan)
    share = float(share_parameter(lane, params.divisor))
    reach = math.ceil(12 * math.sqrt(share))
    weights = np.exp(-(np.arange(-reach, reach + 1, dtype=np.float64) ** 2) / (2 * share))
    total = np.ones(1)
    for _ in range(params.divisor):
        total = np.convolve(total, weights / weights.sum())
    moved = 1 << lane.grid_bits
    here, there = total[moved:], total[:-moved]
    keep = (here > 1e-250) & (there > 1e-250)  # what is left out adds less than 1e-100
    here, there = np.log(here[keep]), np.log(there[keep])
    for alpha in (1.5, 2.0, 4.0):
        loss = math.log(float(np.sum(np.exp(alpha * here + (1 - alpha) * there)))) / (alpha - 1)
        assert loss <= alpha * rho_micro / RHO_SCALE * (1 + 1e-9)


def test_on_the_integers_themselves_the_claim_would_be_false() -> None:
    """n = 10, ρ = 1, Δ = 1 without the grid: ten shares of parameter 1/20 lose far more than ρ."""
    weights = np.exp(-(np.arange(-12, 13, dtype=np.float64) ** 2) * 10)
    total = np.ones(1)
    for _ in range(10):
        total = np.convolve(total, weights / weights.sum())
    here, there = total[1:], total[:-1]
    keep = (here > 1e-250) & (there > 1e-250)
    assert math.log(float(np.sum(here[keep] ** 2 / there[keep]))) / 2 > 2


@given(
    st.integers(1, 40),
    st.integers(1, 10**6),
    st.integers(1, 50),
    st.booleans(),
    st.none() | st.integers(0, 10),
    st.none() | st.integers(0, 10),
)
def test_every_smaller_roster_has_shares_of_sixteen_grid_units(
    holders: int, rho_micro: int, rows: int, disjoint: bool, colluders: int | None, dropouts: int | None
) -> None:
    unit = {"column": "户号", "rows_per_unit": rows, "proved": True, "disjoint": disjoint}
    colluders = None if colluders is None else min(colluders, holders - 1)
    policy = policy_of(privacy_unit=unit, colluders=colluders, dropouts=dropouts)
    plan = plan_of("SELECT COUNT(*) FROM 用电", policy, holders=holders, rho_micro=rho_micro)
    (lane,) = plan.lanes
    for fewer in range(plan.colluders + 1, holders + 1):
        if (fewer + plan.colluders) // 2 + 1 > fewer:
            continue
        assert share_parameter(lane, params_of(plan, fewer).divisor) >= SHARE_MIN
    coarser = lane.sigma_squared / 4 / plan.divisor
    assert lane.grid_bits == 0 or coarser < SHARE_MIN


# --- parameters -------------------------------------------------------------------------------------------------


def test_the_share_is_exact() -> None:
    lane = _lane(delta_squared=9, grid_bits=5, rho_micro=300_000)
    assert lane.sigma_squared == Fraction(9 * 10**6 * 4**5, 600_000)
    assert share_parameter(lane, 7) == Fraction(9 * 10**6 * 4**5, 600_000 * 7)


@pytest.mark.parametrize(
    "changes",
    [{"delta_squared": 0}, {"rho_micro": 0}, {"half_width": 0}, {"grid_bits": -1}, {"edges": (1, 1)}],
)
def test_a_lane_without_sensitivity_or_budget_cannot_exist(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanInvalid):
        _lane(**changes)


def test_a_coarse_grid_or_a_wrong_divisor_is_an_error() -> None:
    with pytest.raises(NoiseInvalid, match="grid units"):
        share_parameter(_lane(grid_bits=1), 1)
    for divisor in (0, -1):
        with pytest.raises(NoiseInvalid, match="divisor"):
            share_parameter(_lane(), divisor)


def test_a_roster_larger_than_planned_is_an_error() -> None:
    plan = _count_plan(3, 100_000)
    with pytest.raises(NoiseInvalid, match="as planned"):
        fresh_noise(plan, SumParameters.of(n=9, colluders=0, dropouts=1, min_holders=1))


def test_a_draw_has_one_number_for_each_cell_and_lanes_of_their_own_scale() -> None:
    plan = plan_of("SELECT COUNT(*), SUM(kwh), HISTOGRAM(age, 4) AS h FROM 用电 GROUP BY 城镇", policy_of())
    drawn = fresh_noise(plan, params_of(plan))
    assert drawn.dtype == np.int64
    assert len(drawn) == plan.cells


# --- the seed ---------------------------------------------------------------------------------------------------

SEED, SESSION = bytes(range(32)), bytes(range(64, 96))


def test_noise_is_a_function_of_seed_session_index_and_plan() -> None:
    plan = plan_of("SELECT COUNT(*), SUM(kwh) FROM 用电 GROUP BY 城镇", policy_of())
    params = params_of(plan)

    def draw(source: NoiseSource) -> bytes:
        return draw_noise_share(plan, params, source).tobytes()

    base = NoiseSource(SEED, SESSION, 1)
    assert draw(base) == draw(NoiseSource(SEED, SESSION, 1))
    others = [
        NoiseSource(SESSION, SESSION, 1),
        NoiseSource(SEED, SEED, 1),
        NoiseSource(SEED, SESSION, 2),
    ]
    assert len({draw(base), *map(draw, others)}) == 4


def test_each_lane_has_a_key_that_follows_from_the_document() -> None:
    def hkdf(info: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=SESSION, info=info).derive(SEED)

    source = NoiseSource(SEED, SESSION, 258)
    assert source.key(0) == hkdf(b"shuyao/v1/noise\0\x01\x02\x00\x00")
    assert source.key(7) == hkdf(b"shuyao/v1/noise\0\x01\x02\x00\x07")


def test_lanes_of_one_plan_have_noise_of_their_own() -> None:
    plan = plan_of("SELECT COUNT(*), SUM(kwh) FROM 用电 GROUP BY 城镇", policy_of())
    source, params = NoiseSource(SEED, SESSION, 0), params_of(plan)
    parts = [
        draw_discrete_gaussian(
            source.key(number), share_parameter(lane, params.divisor), plan.groups
        ).tolist()
        for number, lane in enumerate(plan.lanes)
    ]
    assert len(parts) > 1
    assert draw_noise_share(plan, params, source).tolist() == list(chain.from_iterable(parts))


def test_a_source_of_another_length_cannot_exist_and_shows_no_seed() -> None:
    for seed, session in ((b"", SESSION), (SEED, b"")):
        with pytest.raises(NoiseInvalid):
            NoiseSource(seed, session, 0)
    assert SEED.hex() not in repr(NoiseSource(SEED, SESSION, 0))
    assert str(SEED) not in repr(NoiseSource(SEED, SESSION, 0))
