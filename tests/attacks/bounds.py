"""What ρ allows an attacker, and how sure a count of successes is.

A Gaussian of parameter σ² = Δ²/(2ρ) hides one privacy unit exactly as well as N(0, 1) and N(μ, 1) are hard to tell
apart, μ = √(2ρ); losses add up, so an attacker that paid ρ in all has that μ, however it split ρ over questions. The
grid changes these probabilities by less than 2·10^-3 at the coarsest (computed exactly), below every slack here.

Source: Dong, Roth, Su, "Gaussian Differential Privacy", 2022, Theorem 2.7 and Corollary 3.3.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.decimals import RHO_SCALE

FALSE_ALARM = 1e-6
"""The probability with which a mechanism that keeps its promise fails one assertion of these tests."""

NORMAL = NormalDist()
Floats = NDArray[np.float64]


def mu_of(rho_micro: float) -> float:
    """Return μ = √(2ρ)."""
    return math.sqrt(2 * rho_micro / RHO_SCALE)


def success_max(rho_micro: float) -> float:
    """Return the best probability of guessing a bit of which both values are equally likely: Φ(μ/2)."""
    return NORMAL.cdf(mu_of(rho_micro) / 2)


def advantage_max(rho_micro: float) -> float:
    """Return the largest difference of true and false positives: 2Φ(μ/2) − 1."""
    return 2 * success_max(rho_micro) - 1


@lru_cache(maxsize=8)
def _log_choose(trials: int) -> Floats:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    result: Floats = logs[-1] - logs - logs[::-1]
    return result


def tail_at_least(successes: int, trials: int, probability: float) -> float:
    """Return P(X ≥ successes) of a binomial X."""
    if successes <= 0 or probability >= 1:
        return 1.0
    if probability <= 0:
        return 0.0
    count = np.arange(successes, trials + 1)
    logs = count * math.log(probability) + (trials - count) * math.log1p(-probability)
    return min(1.0, float(np.exp(_log_choose(trials)[successes:] + logs).sum()))


def _crossing(tail: Callable[[float], float], alpha: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) <= alpha else (low, middle)
    return low


def at_least(successes: int, trials: int, alpha: float = FALSE_ALARM) -> float:
    """Return the lower bound of Clopper and Pearson (1934): it is above the true probability with at most α."""
    return _crossing(lambda probability: tail_at_least(successes, trials, probability), alpha)


def at_most(successes: int, trials: int, alpha: float = FALSE_ALARM) -> float:
    """Return the upper bound, in the same sense."""
    return 1 - at_least(trials - successes, trials, alpha)


@dataclass(frozen=True, slots=True)
class Guesses:
    """Guesses of secret bits, half of which are one, each with noise of its own.

    Attributes:
        right: how many were right.
        trials: how many there were.
        rho_micro: what was paid for what each guess was made from.
    """

    right: int
    trials: int
    rho_micro: float

    @property
    def allowed(self) -> float:
        """The share of right guesses that ρ allows."""
        return success_max(self.rho_micro)

    @property
    def holds(self) -> bool:
        """Whether that many right guesses are no proof of more than ρ allows: false for a mechanism that keeps its
        promise with probability 1e-6 at most (Hoeffding 1956 covers unequal probabilities)."""
        return at_least(self.right, self.trials) <= self.allowed

    def to_json(self) -> dict[str, Any]:
        """Return the figure."""
        return {
            "right": round(self.right / self.trials, 4),
            "allowed": round(self.allowed, 4),
            "trials": self.trials,
            "rho_spent_on_each": self.rho_micro / RHO_SCALE,
            "holds": self.holds,
        }


def uniform(seed: str, count: int) -> Floats:
    """Return deterministic numbers in [0, 1), from SHAKE-256: what an attacker draws by itself."""
    stream = hashlib.shake_256(seed.encode()).digest(8 * count)
    result: Floats = (np.frombuffer(stream, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53
    return result


def secret_bits(seed: str, count: int) -> NDArray[np.int64]:
    """Return bits in random order, exactly half of them one."""
    bits = np.zeros(count, dtype=np.int64)
    bits[np.argsort(uniform(seed, count))[: count // 2]] = 1
    return bits
