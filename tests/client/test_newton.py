"""Newton's steps from noisy answers: to scikit-learn's coefficients, within the stated error, from anywhere near."""

from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import linear_model

from client.newton import MOVE_MAX, Answered, Coefficients, Scale, zeros
from privacy.logistic import term_pairs
from tests.privacy.logistic_world import gaussians, simulated_rows

Floats = NDArray[np.float64]
SCALE = Scale((10.0, -3.0), (4.0, 0.5))


def ask(
    features: Floats, target: Floats, at: tuple[Decimal, ...], *, sigma: float = 0.0, seed: int = 0
) -> Answered:
    """Gradient and curvature as an answer has them, with noise of deviation sigma and that as their error."""
    rows = np.column_stack([np.ones(len(features)), features])
    p = 1 / (1 + np.exp(-rows @ np.array([float(each) for each in at])))
    gradient = rows.T @ (p - target)
    curvature = rows.T @ (rows * (p * (1 - p))[:, None])
    cells = [*gradient, *(curvature[pair] for pair in term_pairs(len(at)))]
    noise = sigma * gaussians(len(cells), seed)
    return Answered.of(at, list(cells + noise), [1.959964 * sigma + 1e-9] * len(cells))


def fit(features: Floats, target: Floats, *, steps: int, sigma: float = 0.0, seed: int = 0) -> Answered:
    """The last of some steps, each with its own noise; the last has as much of the budget as the others together."""
    at = zeros(1 + features.shape[1])
    for number in range(steps - 1):
        early = sigma * (steps - 1) ** 0.5
        at = ask(features, target, at, sigma=early, seed=1000 * seed + number).next()
    return ask(features, target, at, sigma=sigma, seed=1000 * seed + steps)


def sklearn_fit(features: Floats, target: Floats) -> list[float]:
    """What scikit-learn says of the features as they are, without a penalty."""
    raw = features * np.array(SCALE.half_widths) + np.array(SCALE.centers)
    found = linear_model.LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(raw, target)
    return [float(found.intercept_[0]), *map(float, found.coef_[0])]


def test_without_noise_the_coefficients_are_scikit_learns() -> None:
    for slopes in ((-0.5, 1.5, -2.5), (-3.0, 0.0, 1.0), (2.0, 6.0, -4.0)):
        features, target = simulated_rows(4000, 1, slopes)
        result = fit(features, target, steps=9).result(SCALE)
        assert result.values == pytest.approx(sklearn_fit(features, target), abs=1e-3)
        assert max(error or 1 for error in result.error95) < 1e-6


def test_standard_errors_are_those_of_the_information_matrix() -> None:
    features, target = simulated_rows(4000, 2)
    result = fit(features, target, steps=8).result(SCALE)
    raw = features * np.array(SCALE.half_widths) + np.array(SCALE.centers)
    rows = np.column_stack([np.ones(len(raw)), raw])
    p = 1 / (1 + np.exp(-rows @ np.array(sklearn_fit(features, target))))
    expected = np.sqrt(np.diag(np.linalg.inv(rows.T @ (rows * (p * (1 - p))[:, None]))))
    assert result.standard_errors == pytest.approx(list(expected), rel=1e-3)


@pytest.mark.parametrize(
    ("rows", "sigma", "steps"), [(5000, 2.0, 6), (5000, 2.0, 3), (1500, 4.0, 6)], ids=str
)
def test_the_stated_error_holds_in_at_least_95_percent_of_seeds(rows: int, sigma: float, steps: int) -> None:
    features, target = simulated_rows(rows, 3)
    truth, seeds = sklearn_fit(features, target), 300
    inside = np.zeros(3)
    for seed in range(seeds):
        result = fit(features, target, steps=steps, sigma=sigma, seed=seed).result(SCALE)
        inside += [
            error is not None and abs(value - each) <= error
            for value, each, error in zip(result.values, truth, result.error95, strict=True)
        ]
    assert min(inside) >= 0.95 * seeds, inside / seeds


def test_the_stated_error_is_hardly_more_than_the_noise() -> None:
    features, target = simulated_rows(20_000, 4)
    answered = fit(features, target, steps=6, sigma=2.0)
    result = answered.result(SCALE)
    inverse = np.linalg.inv(answered.curvature)
    noise = 2.241403 * 2.0 * np.linalg.norm(SCALE.matrix() @ inverse, axis=1)
    assert answered.is_settled
    assert result.error95 == pytest.approx(list(noise), rel=0.05)
    assert all(
        error < s for error, s in zip(result.error95, result.standard_errors, strict=True) if error and s
    )


def test_a_fit_that_is_not_there_yet_says_so_in_its_error() -> None:
    features, target = simulated_rows(4000, 5, (0.0, 6.0, -4.0))
    truth = sklearn_fit(features, target)
    for steps in (2, 3, 4):
        answered = fit(features, target, steps=steps)
        result = answered.result(SCALE)
        assert not answered.is_settled
        for value, each, error in zip(result.values, truth, result.error95, strict=True):
            assert error is not None
            assert abs(value - each) <= error


def test_curvature_within_its_noise_gives_no_error() -> None:
    features, target = simulated_rows(50, 6)
    result = fit(features, target, steps=4, sigma=40.0).result(SCALE)
    assert set(result.error95) == set(result.standard_errors) == {None}
    assert isinstance(result, Coefficients)


def test_noise_alone_moves_no_logit_by_more_than_eight() -> None:
    features, target = simulated_rows(20, 7)
    for seed in range(20):
        at = ask(features, target, zeros(3), sigma=100.0, seed=seed).next()
        assert sum(map(abs, at)) <= Decimal(MOVE_MAX) + Decimal("0.00000001")


def test_separable_rows_end_in_a_large_error_not_in_a_large_claim() -> None:
    features, _ = simulated_rows(2000, 8)
    target = (features[:, 0] > 0).astype(np.float64)
    answered = fit(features, target, steps=8)
    assert not answered.is_settled
    result = answered.result(SCALE)
    assert result.error95[1] is None or result.error95[1] > 0.1 * abs(result.values[1])
