"""Newton's method on noisy gradients and curvatures of a logistic loss: the next coefficients, and how far off the last are.

Coefficients b are those of features scaled to [−1, 1]. At b, with g and H the loss's gradient and curvature, an
answer has g + η and A⁻¹ = H + E; each number in η and E has deviation σ at most. The coefficients wanted are b + δ,
where the gradient is zero. The answer says `move = −A·(g + η)`. Exactly,

    move − δ = A·(−η − E·δ + r),  r = what the gradient from b to b + δ has beyond H·δ.

δ depends on earlier noise only, so that for a term l·(b + δ) the first two parts are a Gaussian of deviation at most
σ·|A·l|·√(1 + 2·|δ|²). As |σ''| ≤ σ' along a logit, with D = Σ|δ_k| no logit moves by more than D, and
|l·A·r| ≤ √(l·A·l)·f(D)·D·√(δ·H·δ), f(D) = (e^D − 1 − D)/D². What earlier answers' noise did is in δ: the method is
Newton's, whose result does not depend on where it starts from but for r. The bound takes δ from `move`.

Source: Bach, "Self-concordant analysis for logistic regression", 2010 (the bound on r).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.logistic import COEFFICIENT_DIGITS_MAX, COEFFICIENT_MAX, term_pairs

Floats = NDArray[np.float64]

Z_COLUMN: Final = 1.959964
"""How many deviations the stated error of a step's column has, rounding apart."""
Z_NOISE: Final = 2.241403
"""|Gaussian| < z with probability 97.5 %: above 95 %, for what is not exactly Gaussian."""
MOVE_MAX: Final = 8.0
"""No step moves a logit by more: Newton's steps from zero are too short rather than too long, what is longer is noise."""
_D_SMALL: Final = 1e-4
_D_MAX: Final = 50.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How coefficients of scaled features become those of the features themselves.

    Attributes:
        centers, half_widths: a feature is scaled as (x − center)/half_width.
    """

    centers: tuple[float, ...]
    half_widths: tuple[float, ...]

    def matrix(self) -> Floats:
        """Return L: with b of the scaled features, L·b are the intercept and slopes of the features."""
        found = np.diag([1.0, *(1 / width for width in self.half_widths)])
        found[0, 1:] = [-center / width for center, width in zip(self.centers, self.half_widths, strict=True)]
        return found


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What a fit found, for the intercept and each feature.

    Attributes:
        values: coefficients of the features as they are.
        error95: for each the distance that the coefficients which a fit to all rows would give keep with 95 %, or None
            if the curvature is within its noise.
        standard_errors: of a sample's coefficients, from the noisy curvature; None likewise.
    """

    values: tuple[float, ...]
    error95: tuple[float | None, ...]
    standard_errors: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered step.

    Attributes:
        coefficients: where, b.
        gradient, curvature: as answered.
        deviation: a bound on σ.
    """

    coefficients: Floats
    gradient: Floats
    curvature: Floats
    deviation: float

    @classmethod
    def of(
        cls, coefficients: Sequence[Decimal], values: Sequence[float], errors: Sequence[float]
    ) -> Answered:
        """Read the columns of a LOGREG_STEP, gradient and then curvature, with their 95 % errors."""
        terms = len(coefficients)
        curvature = np.zeros((terms, terms))
        for (j, k), value in zip(term_pairs(terms), values[terms:], strict=True):
            curvature[j, k] = curvature[k, j] = value
        return cls(
            np.array([float(each) for each in coefficients]),
            np.array(values[:terms], dtype=np.float64),
            curvature,
            max(errors) / Z_COLUMN,
        )

    @property
    def move(self) -> Floats:
        """Newton's step, where the curvature is no less than its noise."""
        return -_inverse(self.curvature, self.deviation) @ self.gradient

    @property
    def is_settled(self) -> bool:
        """Whether the bound on r is below that on the noise, for each coefficient."""
        if not self._is_definite:
            return False
        noise, beyond, _ = self._errors(np.eye(len(self.gradient)))
        return bool(np.all(beyond <= noise))

    def next(self) -> tuple[Decimal, ...]:
        """Return where to ask next."""
        move = self.move
        length = float(np.abs(move).sum())
        return _decimals(self.coefficients + move * (MOVE_MAX / max(length, MOVE_MAX)))

    def result(self, scale: Scale) -> Coefficients:
        """Return the coefficients that this step leads to, with their errors."""
        move = self.move
        transform = scale.matrix()
        values = tuple(map(float, transform @ (self.coefficients + move)))
        if not self._is_definite:
            nothing = (None,) * len(values)
            return Coefficients(values, nothing, nothing)
        noise, beyond, sampling = self._errors(transform)
        return Coefficients(values, tuple(map(float, noise + beyond)), tuple(map(float, sampling)))

    @property
    def _is_definite(self) -> bool:
        """Whether the least eigenvalue is above about the largest that E has."""
        least = float(np.linalg.eigvalsh(self.curvature)[0])
        return least > 2 * self.deviation * math.sqrt(len(self.gradient))

    def _errors(self, transform: Floats) -> tuple[Floats, Floats, Floats]:
        """Return for each row l of a matrix the bounds on the noise and on |l·A·r|, and √(l·A·l)."""
        move, inverse = self.move, np.linalg.inv(self.curvature)
        growth = math.sqrt(1 + 2 * float(move @ move))
        noise: Floats = Z_NOISE * self.deviation * growth * np.linalg.norm(transform @ inverse, axis=1)
        sampling: Floats = np.sqrt(np.einsum("ij,jk,ik->i", transform, inverse, transform))
        distance = float(np.abs(move).sum())
        beyond = _excess(distance) * distance * math.sqrt(float(move @ self.curvature @ move))
        return noise, sampling * beyond, sampling


def zeros(terms: int) -> tuple[Decimal, ...]:
    """Return where a fit starts that knows nothing."""
    return (Decimal(0),) * terms


def _inverse(curvature: Floats, least: float) -> Floats:
    """Return the inverse, of a matrix whose eigenvalues are raised to the least one."""
    values, vectors = np.linalg.eigh(curvature)
    found: Floats = (vectors / np.maximum(values, least)) @ vectors.T
    return found


def _excess(distance: float) -> float:
    """Return f(D) = (e^D − 1 − D)/D², ½ at 0."""
    if distance < _D_SMALL:
        return 0.5 + distance / 6
    distance = min(distance, _D_MAX)
    return float((np.expm1(distance) - distance) / distance**2)


def _decimals(values: Floats) -> tuple[Decimal, ...]:
    """Return coefficients as a query spells them, none beyond what a query may have."""
    most = float(COEFFICIENT_MAX)
    scaled = [round(min(max(float(value), -most), most) * 10**COEFFICIENT_DIGITS_MAX) for value in values]
    return tuple(Decimal(each).scaleb(-COEFFICIENT_DIGITS_MAX) for each in scaled)
