"""Privacy accounting in whole micro-ρ: how a charge is split over lanes, and what ρ means as (ε, δ).

Source: Bun, Steinke, "Concentrated Differential Privacy", 2016 (zCDP, composition by addition).
"""

import math
from dataclasses import dataclass
from decimal import Decimal

from privacy.decimals import RHO_SCALE, decimal_text
from privacy.errors import BudgetInvalid

DELTA_DEFAULT = Decimal("0.000000001")
"""δ at which losses are shown if neither policy nor buyer says another: below one in the number of people."""

_SLACK = 1e-12
"""More than all that rounding in doubles can take from an ε, relative and absolute."""


def split_rho(rho_micro: int, parts: int) -> tuple[int, ...]:
    """Split ρ evenly over lanes, each share rounded down: their sum never exceeds the charge."""
    return (rho_micro // parts,) * parts if parts else ()


def zcdp_epsilon(rho_micro: int, delta: float) -> float:
    """Return an ε for which ρ-zCDP implies (ε, δ)-DP; for display, an upper bound.

    The least over α > 1 of αρ + ln(1/(αδ))/(α − 1) + ln(1 − 1/α); every α gives a valid ε.

    Args:
        rho_micro: ρ in micro-ρ, ≥ 0.
        delta: 0 < δ < 1.

    Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, Proposition 12.
    """
    if not 0 < delta < 1 or rho_micro < 0:
        raise BudgetInvalid("expected rho >= 0 and 0 < delta < 1")
    if rho_micro == 0:
        return 0.0
    rho = rho_micro / RHO_SCALE

    def epsilon(log_excess: float) -> float:
        excess = math.exp(log_excess)  # α − 1
        alpha = 1 + excess
        return alpha * rho - math.log(alpha * delta) / excess + math.log1p(-1 / alpha)

    # The bound falls and then rises in α: a golden-section search on ln(α − 1) finds its least value.
    low, high = -20.0, 60.0
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(200):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if epsilon(left) <= epsilon(right) else (left, high)
    found = epsilon((low + high) / 2)
    simple = rho + 2 * math.sqrt(rho * -math.log(delta))
    return max(0.0, min(found, simple)) * (1 + _SLACK) + _SLACK


@dataclass(frozen=True, slots=True)
class PrivacyLoss:
    """A loss ρ, and an ε for which it implies (ε, δ)-differential privacy, rounded up.

    Attributes:
        rho_micro: ρ in micro-ρ.
        epsilon: ε at `delta`.
        delta: δ, 0 < δ < 1.
    """

    rho_micro: int
    epsilon: float
    delta: Decimal

    @classmethod
    def of(cls, rho_micro: int, delta: Decimal = DELTA_DEFAULT) -> "PrivacyLoss":
        """Convert a loss.

        Raises:
            BudgetInvalid: ρ is negative, or δ is not between 0 and 1.
        """
        if not (delta.is_finite() and 0 < delta < 1):
            raise BudgetInvalid(f"expected 0 < delta < 1, not {delta}")
        # δ as a double may be above the decimal: the next one below never is
        return cls(rho_micro, zcdp_epsilon(rho_micro, math.nextafter(float(delta), 0.0)), delta)

    def to_json(self) -> dict[str, str | float]:
        """Return the JSON object that a quote shows."""
        return {"rho": str(self.rho_micro), "epsilon": self.epsilon, "delta": decimal_text(self.delta)}
