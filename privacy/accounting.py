"""Privacy accounting in whole micro-ρ: losses round up, budgets round down; and what ρ means as (ε, δ).

Source: Bun, Steinke, "Concentrated Differential Privacy", 2016 (zCDP, composition by addition).
"""

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from privacy.decimals import RHO_SCALE, decimal_text
from privacy.errors import BudgetExceeded, BudgetInvalid

RHO_MICRO_MAX = (1 << 64) - 1

DELTA_DEFAULT = Decimal("0.000000001")
"""δ at which losses are shown if neither policy nor buyer says another: below one in the number of people."""

_SLACK = 1e-12
"""More than all that rounding in doubles can take from an ε, relative and absolute."""


def split_rho(rho_micro: int, parts: int) -> tuple[int, ...]:
    """Split ρ evenly over lanes, each share rounded down: their sum never exceeds the charge."""
    return (rho_micro // parts,) * parts if parts else ()


def loss_micro(rho: Decimal) -> int:
    """Return a privacy loss in micro-ρ, rounded up."""
    return _micro(rho, ROUND_CEILING)


def budget_micro(rho: Decimal) -> int:
    """Return a budget in micro-ρ, rounded down."""
    return _micro(rho, ROUND_FLOOR)


def _micro(rho: Decimal, rounding: str) -> int:
    if not rho.is_finite() or rho < 0:
        raise BudgetInvalid(f"rho must be finite and not negative, not {rho}")
    micro = int((rho * RHO_SCALE).to_integral_value(rounding=rounding))
    if micro > RHO_MICRO_MAX:
        raise BudgetInvalid(f"rho must be below 2^64 micro-rho, not {rho}")
    return micro


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget line: reserved + spent ≤ total, whatever happens.

    Each change returns a new value; a caller stores it in the same write transaction in which it read the
    old one.
    """

    total_micro: int
    reserved_micro: int = 0
    spent_micro: int = 0

    def __post_init__(self) -> None:
        amounts = (self.total_micro, self.reserved_micro, self.spent_micro)
        if any(amount < 0 for amount in amounts) or self.reserved_micro + self.spent_micro > self.total_micro:
            raise BudgetInvalid("expected 0 <= reserved + spent <= total, in micro-rho")

    @property
    def available_micro(self) -> int:
        """What may still be reserved."""
        return self.total_micro - self.reserved_micro - self.spent_micro

    def reserve(self, rho_micro: int) -> "Budget":
        """Return the budget with a reservation made, before any data is read.

        Raises:
            BudgetExceeded: there is not that much left.
            BudgetInvalid: the amount is not positive.
        """
        _require_positive(rho_micro)
        if rho_micro > self.available_micro:
            raise BudgetExceeded(asked=rho_micro, available=self.available_micro)
        return Budget(self.total_micro, self.reserved_micro + rho_micro, self.spent_micro)

    def charge(self, rho_micro: int) -> "Budget":
        """Return the budget with a reservation turned into a charge, at the seal; it is never refunded."""
        self._require_reserved(rho_micro)
        return Budget(self.total_micro, self.reserved_micro - rho_micro, self.spent_micro + rho_micro)

    def release(self, rho_micro: int) -> "Budget":
        """Return the budget with a reservation given back: only if the request closed before its seal."""
        self._require_reserved(rho_micro)
        return Budget(self.total_micro, self.reserved_micro - rho_micro, self.spent_micro)

    def _require_reserved(self, rho_micro: int) -> None:
        _require_positive(rho_micro)
        if rho_micro > self.reserved_micro:
            raise BudgetInvalid(f"expected at most the reserved {self.reserved_micro}, not {rho_micro}")


def _require_positive(rho_micro: int) -> None:
    if rho_micro <= 0:
        raise BudgetInvalid(f"expected a positive amount of micro-rho, not {rho_micro}")


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
