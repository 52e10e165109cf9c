"""The sampler: exactly the law, the same numbers everywhere, and no parameter that means "no noise".

The keys are fixed, so these tests always give the same result; only the comparison with OpenDP draws afresh, and fails
a correct sampler with probability below 1e-9.
"""

import decimal
import hashlib
import math
import time
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.errors import NoiseInvalid
from privacy.gamma import chi_square_tail
from privacy.gaussian import (
    MARGIN,
    SIGMA_SQUARED_MAX,
    SIGMA_SQUARED_MIN,
    Law,
    draw_discrete_gaussian,
    exact_trial,
    exp_bounds,
    key_stream,
)
from tests.privacy import gaussian_reference

KEY = bytes(range(32))
DRAWS = 200_000
PARAMETERS = [
    SIGMA_SQUARED_MIN,
    Fraction(1, 10),
    Fraction(1, 2),
    Fraction(1),
    Fraction(2),
    Fraction(16),
    Fraction(5000, 7),
    Fraction(10**12, 13),
    Fraction(1 << 100),
    SIGMA_SQUARED_MAX,
]


def key_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def probabilities(sigma_squared: Fraction, edges: Sequence[int]) -> list[float]:
    """P(edge[i] ≤ X < edge[i+1]) for the ends (−∞, edges, ∞); beyond σ = 1000 the integral is the sum to 1e-9."""
    sigma = math.sqrt(sigma_squared)
    if sigma > 1000:
        below = [0.5 * math.erfc(-(edge - 0.5) / sigma / math.sqrt(2)) for edge in edges]
    else:
        reach = math.ceil(40 * sigma) + 2
        values = np.arange(-reach, reach + 1, dtype=np.float64)
        weights = np.exp(-(values**2) / (2 * float(sigma_squared)))
        summed = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
        below = [float(summed[min(max(edge + reach, 0), len(summed) - 1)]) for edge in edges]
    return [there - here for here, there in pairwise([0.0, *below, 1.0])]


def bin_edges(sigma_squared: Fraction) -> list[int]:
    """Return at most 80 edges between −4σ and 4σ, at least one integer apart."""
    sigma = max(math.sqrt(sigma_squared), 0.3)
    return sorted({round(step / 10 * sigma) for step in range(-40, 41)} | {0, 1})


def counts(drawn: NDArray[np.int64], edges: Sequence[int]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.bincount(
        np.searchsorted(np.array(edges), drawn, side="right"), minlength=len(edges) + 1
    )
    return found


def merged(observed: Sequence[float], expected: Sequence[float]) -> list[tuple[float, float]]:
    """Join neighbours until 20 are expected in each."""
    joined, here, there = [], 0.0, 0.0
    for found, wanted in zip(observed, expected, strict=True):
        here, there = here + found, there + wanted
        if there >= 20:
            joined.append((here, there))
            here = there = 0.0
    if joined:
        last = joined.pop()
        joined.append((last[0] + here, last[1] + there))
    return joined


# --- the law ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_squared", PARAMETERS[1:])
def test_draws_follow_the_exact_probabilities(sigma_squared: Fraction) -> None:
    drawn = draw_discrete_gaussian(key_of(f"law {sigma_squared}"), sigma_squared, DRAWS)
    edges = bin_edges(sigma_squared)
    expected = [DRAWS * p for p in probabilities(sigma_squared, edges)]
    cells = merged(counts(drawn, edges).tolist(), expected)
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in cells)
    assert len(cells) > 1
    assert chi_square_tail(Fraction(len(cells) - 1), Fraction(statistic)) > 1e-3


def test_a_rounded_gaussian_would_fail_that_test() -> None:
    """At σ² = 1/4, zero has probability 0.7866; rounding a Gaussian makes it 0.6827."""
    drawn = draw_discrete_gaussian(key_of("quarter"), Fraction(1, 4), DRAWS)
    assert abs(float(np.mean(drawn == 0)) - 0.7866) < 0.004


@pytest.mark.parametrize("sigma_squared", [Fraction(1, 2), Fraction(16), Fraction(10**8)])
def test_draws_are_distributed_as_those_of_opendp(sigma_squared: Fraction) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
    theirs = np.array(dp.m.make_gaussian(*space, scale=math.sqrt(sigma_squared))([0] * 50_000))
    ours = draw_discrete_gaussian(key_of("peer"), sigma_squared, 50_000)
    edges = bin_edges(sigma_squared)
    pairs = merged(counts(ours, edges).tolist(), counts(theirs, edges).tolist())
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs)
    assert chi_square_tail(Fraction(len(pairs) - 1), Fraction(statistic)) > 1e-9


def test_draws_of_one_key_are_not_correlated_with_their_neighbours() -> None:
    drawn = draw_discrete_gaussian(key_of("neighbours"), Fraction(100), DRAWS).astype(np.float64)
    for lag in (1, 2, 3, 7):
        assert abs(float(np.mean(drawn[:-lag] * drawn[lag:]))) / 100 < 5 / math.sqrt(DRAWS)


# --- the same numbers everywhere -------------------------------------------------------------------------------------

FIRST = {
    Fraction(1, 3): [0, 0, 0, -1, 0, 0],
    Fraction(1): [-1, 0, 1, -1, 1, -1],
    Fraction(16): [1, 2, -7, -4, -7, -3],
    Fraction(5000, 7): [29, 18, 2, -36, -10, -25],
    Fraction(10**12, 13): [81112, 149651, -488850, -302393, -41279, -210282],
    SIGMA_SQUARED_MAX: [
        -181854669047627556,
        164543750678378290,
        -359681554046542022,
        -332484682967249284,
        31298490378906919,
        -231207868210948264,
    ],
}


@pytest.mark.parametrize("sigma_squared", FIRST)
def test_known_answers(sigma_squared: Fraction) -> None:
    """Typed in from a run of the second implementation: key 00 01 … 1f, 60 draws, the first six."""
    assert draw_discrete_gaussian(KEY, sigma_squared, 60)[:6].tolist() == FIRST[sigma_squared]


def test_a_hundred_thousand_draws_have_the_known_digest() -> None:
    """Typed in from a run of the second implementation; they are several chunks of ours."""
    drawn = draw_discrete_gaussian(KEY, Fraction(123456789, 1000), 100_000)
    digest = hashlib.sha256(drawn.astype("<i8").tobytes()).hexdigest()
    assert digest == "ac3d0802015ca95024922af03cfc19fa22fbfee60f61d7739e590f74a4ead664"


@pytest.mark.parametrize("sigma_squared", PARAMETERS)
def test_the_second_implementation_draws_the_same(sigma_squared: Fraction) -> None:
    for count in (1, 150):
        key = key_of(f"second {sigma_squared}")
        expected = gaussian_reference.draw(key, sigma_squared, count)
        assert draw_discrete_gaussian(key, sigma_squared, count).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(st.fractions(min_value=Fraction(1, 1000), max_value=10**12), st.binary(min_size=32, max_size=32))
def test_the_second_implementation_draws_the_same_for_any_parameter(
    sigma_squared: Fraction, key: bytes
) -> None:
    assert draw_discrete_gaussian(key, sigma_squared, 8).tolist() == gaussian_reference.draw(
        key, sigma_squared, 8
    )


@pytest.mark.parametrize("sigma_squared", PARAMETERS)
def test_where_doubles_do_not_decide_integers_say_the_same(sigma_squared: Fraction) -> None:
    """With a margin of 1 no coin is decided by doubles; with one of 2^-10 a part of them."""
    key = key_of(f"forced {sigma_squared}")
    usual = draw_discrete_gaussian(key, sigma_squared, 1000).tolist()
    assert draw_discrete_gaussian(key, sigma_squared, 1000, margin=1.0).tolist() == usual
    assert draw_discrete_gaussian(key, sigma_squared, 1000, margin=2.0**-10).tolist() == usual


# --- 64 bits that do not decide --------------------------------------------------------------------------------------


def threshold(quotient: int) -> int:
    """⌊2^64·e^-v⌋, by another library's exponential."""
    with decimal.localcontext(prec=80):
        return int(Decimal(2) ** 64 * Decimal(-quotient).exp())


@pytest.mark.parametrize("quotient", [1, 2, 5, 9, 13])
def test_a_quotients_word_on_the_edge_is_told_by_its_further_bits(quotient: int) -> None:
    law, edge = Law.of(Fraction(511)), threshold(quotient)  # t² = σ²/2: a coin of 0 accepts V < 15
    with decimal.localcontext(prec=80):
        rest = Decimal(2) ** 64 * Decimal(-quotient).exp() - edge
    further = int.from_bytes(key_stream(KEY, 1, 5, 3).update(bytes(8)), "little")
    is_below = Decimal(further) / Decimal(2) ** 64 < rest
    low = exact_trial(KEY, law, 5, 3, (0, edge - 1, 0))
    high = exact_trial(KEY, law, 5, 3, (0, edge + 1, 0))
    on = exact_trial(KEY, law, 5, 3, (0, edge, 0))
    assert (low, high) == (16 * quotient, 16 * (quotient - 1))
    assert on == (low if is_below else high)


def test_a_coin_on_the_edge_is_told_by_its_further_bits() -> None:
    law = Law.of(Fraction(16))
    gamma = law.gamma(3, 0)
    with decimal.localcontext(prec=80):
        chance = Decimal(2) ** 64 * (-Decimal(gamma.numerator) / Decimal(gamma.denominator)).exp()
    edge, first = int(chance), 3 << (64 - law.bits)
    second = (1 << 64) - 1  # V = 0
    for draw in range(8):
        further = int.from_bytes(key_stream(KEY, 2, 0, draw).update(bytes(8)), "little")
        is_below = Decimal(further) / Decimal(2) ** 64 < chance - edge
        assert exact_trial(KEY, law, 0, draw, (first, second, edge)) == (3 if is_below else None)
        assert exact_trial(KEY, law, 0, draw, (first, second, edge - 1)) == 3
        assert exact_trial(KEY, law, 0, draw, (first | 1, second, edge - 1)) == -3
        assert exact_trial(KEY, law, 0, draw, (first, second, edge + 1)) is None


def test_minus_zero_is_refused() -> None:
    law = Law.of(Fraction(16))
    assert exact_trial(KEY, law, 0, 0, (0, (1 << 64) - 1, 0)) == 0
    assert exact_trial(KEY, law, 0, 0, (1, (1 << 64) - 1, 0)) is None


@settings(deadline=None)
@given(st.fractions(min_value=0, max_value=400), st.sampled_from([64, 128, 192, 640]))
def test_bounds_of_the_exponential_hold_and_are_close(gamma: Fraction, bits: int) -> None:
    low, high = exp_bounds(gamma, bits)
    with decimal.localcontext(prec=400):
        true = Decimal(2) ** bits * (-Decimal(gamma.numerator) / Decimal(gamma.denominator)).exp()
        assert low <= true <= high
    assert high - low <= 2


# --- no noise is never drawn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameter",
    [
        Fraction(0),
        Fraction(-1),
        SIGMA_SQUARED_MIN / 2,
        SIGMA_SQUARED_MAX * 2,
        Fraction(10) ** 700,
        0.0,
        1.0,
        math.nan,
        math.inf,
        -math.inf,
        None,
        16,
    ],
)
def test_a_parameter_that_is_no_fraction_above_zero_is_an_error(parameter: Any) -> None:
    with pytest.raises(NoiseInvalid):
        draw_discrete_gaussian(KEY, parameter, 3)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_an_error(key: bytes) -> None:
    with pytest.raises(NoiseInvalid, match="32 bytes"):
        draw_discrete_gaussian(key, Fraction(16), 3)


def test_a_count_out_of_range_is_an_error() -> None:
    for count in (-1, (1 << 32) + 1):
        with pytest.raises(NoiseInvalid, match="count"):
            draw_discrete_gaussian(KEY, Fraction(16), count)
    assert len(draw_discrete_gaussian(KEY, Fraction(16), 0)) == 0


@pytest.mark.parametrize("margin", [0.0, MARGIN / 2, -1.0, math.nan])
def test_the_margin_cannot_be_made_smaller(margin: float) -> None:
    with pytest.raises(NoiseInvalid, match="margin"):
        draw_discrete_gaussian(KEY, Fraction(16), 3, margin=margin)


def test_a_draw_takes_less_than_five_microseconds() -> None:
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        draw_discrete_gaussian(KEY, Fraction(5000, 7), 100_000)
        taken.append(time.perf_counter() - begin)
    assert min(taken) / 100_000 < 5e-6
