import math
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import PrivacyLoss, split_rho, zcdp_epsilon
from privacy.errors import BudgetInvalid


@given(st.integers(0, 10**12), st.integers(1, 100))
def test_a_split_never_exceeds_what_is_charged(rho_micro: int, parts: int) -> None:
    shares = split_rho(rho_micro, parts)
    assert len(shares) == parts
    assert rho_micro - parts < sum(shares) <= rho_micro
    assert split_rho(rho_micro, 0) == ()


@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("rho_micro", [1, 1000, 50_000, 500_000, 1_000_000, 50_000_000])
def test_epsilon_is_the_least_over_a_fine_grid_of_orders(rho_micro: int, delta: float) -> None:
    rho = rho_micro / 1e6
    found = zcdp_epsilon(rho_micro, delta)
    least = min(
        alpha * rho - math.log(alpha * delta) / (alpha - 1) + math.log1p(-1 / alpha)
        for alpha in (1 + math.exp(step / 200) for step in range(-2000, 6000))
    )
    assert found == pytest.approx(max(0.0, least), rel=1e-3)
    assert found <= rho + 2 * math.sqrt(rho * math.log(1 / delta))


def test_epsilon_of_known_values() -> None:
    """With ρ = 0.5 and δ = 1e-6 the simple bound ρ + 2√(ρ·ln(1/δ)) gives 5.757; the tight one less."""
    assert zcdp_epsilon(500_000, 1e-6) == pytest.approx(5.2215, abs=1e-4)
    assert zcdp_epsilon(0, 1e-6) == 0


@given(st.integers(1, 10**9), st.sampled_from([1e-12, 1e-9, 1e-6, 0.01]))
def test_epsilon_is_rounded_up_and_never_above_the_simple_bound(rho_micro: int, delta: float) -> None:
    """The bound at the found α, in 50 digits, is not above what is shown."""
    with localcontext(Context(prec=50)):
        rho, log_delta = Decimal(rho_micro) / 10**6, Decimal(delta).ln()
        found = Decimal(zcdp_epsilon(rho_micro, delta))
        grid = [1 + Decimal(10) ** (Decimal(k) / 20) for k in range(-60, 160)]
        least = min(a * rho - (a.ln() + log_delta) / (a - 1) + (1 - 1 / a).ln() for a in grid)
        assert found <= rho + 2 * (rho * -log_delta).sqrt() + Decimal("1e-9")
        assert found <= max(least, Decimal(0)) * Decimal("1.001") + Decimal("1e-9")


def test_a_loss_says_its_delta_and_refuses_an_impossible_one() -> None:
    loss = PrivacyLoss.of(500_000)
    assert loss.to_json() == {"rho": "500000", "epsilon": loss.epsilon, "delta": "0.000000001"}
    assert loss.epsilon == pytest.approx(6.474, abs=0.001)
    for delta in ("0", "1", "-0.5", "nan", "2"):
        with pytest.raises(BudgetInvalid):
            PrivacyLoss.of(1, Decimal(delta))


@pytest.mark.parametrize("rho_micro", [10_000, 500_000, 5_000_000])
def test_epsilon_holds_for_the_gaussian_itself_and_is_not_far_from_its_own(rho_micro: int) -> None:
    """A Gaussian with Δ/σ = r = √(2ρ) is (ε, δ)-private exactly for δ(ε) = Φ(r/2 − ε/r) − e^ε·Φ(−r/2 − ε/r).

    Source: Balle, Wang, "Improving the Gaussian Mechanism", 2018, Theorem 8.
    """
    ratio = math.sqrt(2 * rho_micro / 1e6)

    def delta(epsilon: float) -> float:
        first, second = ratio / 2 - epsilon / ratio, -ratio / 2 - epsilon / ratio
        return (math.erfc(-first / math.sqrt(2)) - math.exp(epsilon) * math.erfc(-second / math.sqrt(2))) / 2

    epsilon = zcdp_epsilon(rho_micro, 1e-6)
    assert delta(epsilon) <= 1e-6 < delta(0.88 * epsilon)


@given(st.integers(0, 10**8), st.integers(0, 10**8))
def test_epsilon_grows_with_rho(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert zcdp_epsilon(low, 1e-6) <= zcdp_epsilon(high, 1e-6) * (1 + 1e-9)


@pytest.mark.parametrize(("rho_micro", "delta"), [(-1, 0.1), (1, 0.0), (1, 1.0), (1, math.nan)])
def test_epsilon_of_nonsense_is_refused(rho_micro: int, delta: float) -> None:
    with pytest.raises(BudgetInvalid):
        zcdp_epsilon(rho_micro, delta)
