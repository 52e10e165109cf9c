"""One step of a logistic regression: the gradient and curvature of its loss at coefficients that the plan names.

With features z_0 = 1 and z_k = (v_k − c_k)/w_k in [−1, 1], a target y of 0 or 1 and p = σ(b·z), a row adds
(p − y)·z_k to gradient cell k and p·(1 − p)·z_j·z_k to curvature cell (j, k), j ≤ k, each rounded to a multiple of
2^-s. Whatever the coefficients, no row adds more than a vector of length √(features + 1), before rounding: with
q = |p − y| the square of its length is at most (q² + q²·(1 − q)²·(features + 2)/2)·(features + 1), and the first
factor is at most 1 for q in [0, 1] and up to FEATURES_MAX features. So the curvature comes at no cost in privacy.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any, Final

from privacy.decimals import decimal_text
from privacy.dimensions import Dimension, Factor
from privacy.errors import PlanInvalid
from privacy.fixed_point import power_of_two

FEATURES_MAX: Final = 8
COEFFICIENT_MAX: Final = 1000
COEFFICIENT_DIGITS_MAX: Final = 9
"""Digits after the point."""

SCALE_BITS_FINEST: Final = 40
SCALE_BITS_COARSEST: Final = 8

LOGIT_MAX: Final = 28
"""b·z is cut to [−28, 28]: σ(28) is 1 − 2^-40."""
FRACTIONS: Final = 22
"""Levels of tanh x = x/(1 + x²/(3 + x²/(5 + …))): at |x| ≤ 14 the error is below 2^-47, and |tanh x| stays below 1."""
ROW_ERROR: Final = power_of_two(-38)
"""The most by which doubles, the cut and the fraction change one row's number, before it is rounded."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """What a plan says of a step.

    Attributes:
        target: the dimension of two values of which the second counts as 1; None if the target is a measure of 0 and 1.
        features: each on the finest grid on which its half width is at most 2^30.
        coefficients: the intercept's and each feature's, of the scaled features.
    """

    target: Dimension | None
    features: tuple[Factor, ...]
    coefficients: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.features) <= FEATURES_MAX or len(self.coefficients) != 1 + len(self.features):
            raise PlanInvalid(f"expected 1 to {FEATURES_MAX} features and a coefficient more")
        if any(feature.half_width < 1 for feature in self.features):
            raise PlanInvalid("expected a width above zero of each feature")
        if not all(is_coefficient(each) for each in self.coefficients):
            raise PlanInvalid(f"expected coefficients of at most {COEFFICIENT_MAX} in absolute value")
        if self.target is not None and len(self.target.domain) != 2:
            raise PlanInvalid("expected a target of two values")

    @property
    def terms(self) -> int:
        """The number of coefficients."""
        return len(self.coefficients)

    @property
    def bins(self) -> int:
        """The cells of one group: the gradient's, then the curvature's (0, 0), (0, 1), …, (1, 1), …."""
        return self.terms + self.terms * (self.terms + 1) // 2

    def row_length_squared(self, scale_bits: int) -> int:
        """Return a bound on the squared length of what a row adds, in units of 2^-2s, rounding included.

        (2^s·√t + ½·√B)² ≤ 4^s·t + (2^s + 1)·B, with t terms and B > t cells.
        """
        return (self.terms << 2 * scale_bits) + ((1 << scale_bits) + 1) * self.bins

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan."""
        return {
            "target": None if self.target is None else self.target.to_json(),
            "features": [feature.to_json() for feature in self.features],
            "coefficients": [decimal_text(each) for each in self.coefficients],
        }


def is_coefficient(value: Decimal) -> bool:
    """Tell whether a number may be a coefficient: at most 1000 in absolute value, and 9 digits after the point."""
    digits = -int(value.normalize().as_tuple().exponent) if value.is_finite() else COEFFICIENT_DIGITS_MAX + 1
    return digits <= COEFFICIENT_DIGITS_MAX and abs(value) <= COEFFICIENT_MAX


def term_pairs(terms: int) -> list[tuple[int, int]]:
    """Return the places (j, k), j ≤ k, of the curvature's cells, in their order."""
    return list(combinations_with_replacement(range(terms), 2))


def step_names(name: str, features: tuple[str, ...]) -> list[str]:
    """Return the names of a step's columns: `name[gradient x]` for each term, `name[curvature x y]` for each pair."""
    terms = ("intercept", *features)
    pairs = [f"{name}[curvature {terms[j]} {terms[k]}]" for j, k in term_pairs(len(terms))]
    return [f"{name}[gradient {term}]" for term in terms] + pairs


def rounding_bound(rows: int, scale_bits: int) -> Fraction:
    """Return the most by which rounding and doubles change a sum over some rows."""
    return rows * (power_of_two(-scale_bits - 1) + ROW_ERROR)
