"""A step of a logistic regression as docs/protocol.md §6 says, row by row in Python's doubles, and rows to fit."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.dimensions import Factor
from privacy.logistic import Logistic

Floats = NDArray[np.float64]
Row = dict[str, Any]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def scaled(factor: Factor, value: float) -> float:
    clipped = min(max(float(value), float(factor.low)), float(factor.high))
    return (math.floor(clipped * 2.0**factor.scale_bits + 0.5) - factor.center) / float(factor.half_width)


def target_of(step: Logistic, value: Any) -> float | None:
    if step.target is not None:
        domain = step.target.domain
        return float(domain.index(value)) if value in domain else None
    return None if _is_missing(value) else float(min(max(value, 0), 1))


def tangent(x: float) -> float:
    below = 45.0
    for level in range(21, -1, -1):
        below = (2 * level + 1) + (x * x) / below
    return x / below


def step_amounts(step: Logistic, column: str, scale_bits: int, row: Mapping[str, Any]) -> list[int]:
    """What a row adds to each bin; nothing if the target or a feature is unknown."""
    y = target_of(step, row[column])
    if y is None or any(_is_missing(row[feature.column]) for feature in step.features):
        return [0] * step.bins
    z = [1.0, *(scaled(feature, row[feature.column]) for feature in step.features)]
    logit = float(step.coefficients[0])
    for coefficient, each in zip(step.coefficients[1:], z[1:], strict=True):
        logit += float(coefficient) * each
    t = tangent(min(max(logit, -28.0), 28.0) * 0.5)
    e, h = (0.5 + 0.5 * t) - y, 0.25 - 0.25 * (t * t)
    values = [e * each for each in z]
    values += [h * z[j] * z[k] for j in range(len(z)) for k in range(j, len(z))]
    return [math.floor(value * 2.0**scale_bits + 0.5) for value in values]


def simulated_rows(
    count: int, seed: int, slopes: tuple[float, ...] = (-0.5, 1.5, -2.5)
) -> tuple[Floats, Floats]:
    """Rows of uniform features in [−1, 1] and a target that follows the logistic law; the first slope is the intercept."""
    draws = uniforms(count * len(slopes), seed).reshape(count, len(slopes))
    features = 2 * draws[:, 1:] - 1
    logits = slopes[0] + features @ np.array(slopes[1:])
    return features, (draws[:, 0] < 1 / (1 + np.exp(-logits))).astype(np.float64)


def uniforms(count: int, seed: int) -> Floats:
    """Deterministic numbers in (0, 1), of SHAKE-256."""
    stream = hashlib.shake_256(b"uniforms %d" % seed).digest(8 * count)
    found: Floats = (np.frombuffer(stream, dtype=">u8").astype(np.float64) + 0.5) / 2.0**64
    return found


def gaussians(count: int, seed: int) -> Floats:
    """Deterministic standard Gaussians, by Box and Muller."""
    draws = uniforms(2 * count, seed)
    found: Floats = np.sqrt(-2 * np.log(draws[:count])) * np.cos(2 * np.pi * draws[count:])
    return found
