"""Pearson's chi-square test of independence on a noisy contingency table.

Noise alone makes a table look dependent: the statistic's law under independence is no χ² but a weighted sum of such,
with weights 1 + φ·ρ_k·γ_l, φ = V/N, where ρ_k and γ_l are the non-zero eigenvalues of (I − √r√rᵀ)·diag(1/r)·(I − √r√rᵀ) for the
rows' shares r and the same for the columns'. Their power sums are rational in the shares, and three of them give the
p-value.

Source: Kifer, Rogers, "A New Class of Private Chi-Square Hypothesis Tests", 2017 (noise in the null's covariance);
Imhof, "Computing the distribution of quadratic forms in normal variables", 1961, §4 (Pearson's three moments).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from privacy.estimates import Z_ONE, Z_TWO, Estimate, Noisy, root
from privacy.fixed_point import power_of_two
from privacy.gamma import TAIL_BITS, chi_square_tail

EXPECTED_MIN = 5
"""The least expected count of a cell, as for Pearson's test without noise."""

QUADRATIC = Fraction(41, 10)
"""A weighted sum of χ² of one degree is within 4.1·√Σλ² of its mean Σλ with 97.5 %; the worst is a single one."""

_Table = list[list[Fraction]]


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums of the powers 1 to 3 of the eigenvalues of the noise's part, φ·ρ_k·γ_l."""

    first: Fraction
    second: Fraction
    third: Fraction


def estimate_independence(cells: Sequence[Noisy], columns: int) -> list[Estimate | None]:
    """Return the statistic, the degrees of freedom and the p-value.

    The statistic is that of the rows, its error that of the noise; the p-value is that of the noisy statistic under
    independence and noise, its error the distance to the p-values of the statistic's interval. All are None unless
    every row and column of the table and every expected count is large enough: the expected ones at least 5, and at
    least the 95 % error of one cell.

    Args:
        cells: the table, row by row.
        columns: its columns.
    """
    table = [[cell.value for cell in cells[k : k + columns]] for k in range(0, len(cells), columns)]
    rows = [sum(row, Fraction(0)) for row in table]
    sums = [sum(column, Fraction(0)) for column in zip(*table, strict=True)]
    total = sum(rows, Fraction(0))
    least = max(Fraction(EXPECTED_MIN), cells[0].error(Z_ONE))
    if min(rows) <= 0 or min(sums) <= 0 or min(rows) * min(sums) < least * total:
        return [None, None, None]
    freedom = (len(rows) - 1) * (columns - 1)
    found = total * (_squares(table, rows, sums) - 1)
    variance = cells[0].variance * cells[0].lane.unit ** 2
    noise = _noise_moments(variance / total, [each / total for each in rows], [each / total for each in sums])
    linear = root(Z_TWO**2 * variance * _gradient(table, rows, sums, found))
    statistic = max(Fraction(0), found - noise.first)
    error = linear + QUADRATIC * root(noise.second)
    p = _p_value(found, freedom, noise)
    ends = [chi_square_tail(Fraction(freedom), end) for end in (statistic - error, statistic + error)]
    return [
        Estimate(statistic, error),
        Estimate(Fraction(freedom), Fraction(0)),
        Estimate(p, max(abs(p - end) for end in ends) + power_of_two(-TAIL_BITS)),
    ]


def _squares(table: _Table, rows: Sequence[Fraction], sums: Sequence[Fraction]) -> Fraction:
    """Return Σ O²/(R·C)."""
    return sum(
        (
            value**2 / (row * column)
            for line, row in zip(table, rows, strict=True)
            for value, column in zip(line, sums, strict=True)
        ),
        Fraction(0),
    )


def _gradient(
    table: _Table, rows: Sequence[Fraction], sums: Sequence[Fraction], statistic: Fraction
) -> Fraction:
    """Return the sum of the squares of the statistic's derivatives by each count."""
    total = sum(rows, Fraction(0))
    of_rows = [
        sum((value**2 / column for value, column in zip(line, sums, strict=True)), Fraction(0)) / row**2
        for line, row in zip(table, rows, strict=True)
    ]
    of_columns = [
        sum((value**2 / row for value, row in zip(line, rows, strict=True)), Fraction(0)) / column**2
        for line, column in zip(zip(*table, strict=True), sums, strict=True)
    ]
    found = Fraction(0)
    for i, line in enumerate(table):
        for j, value in enumerate(line):
            slope = 2 * value / (rows[i] * sums[j]) - of_rows[i] - of_columns[j]
            found += ((statistic + total) / total + total * slope) ** 2
    return found


def _noise_moments(phi: Fraction, rows: Sequence[Fraction], columns: Sequence[Fraction]) -> _Moments:
    ours, theirs = _power_sums(rows), _power_sums(columns)
    first, second, third = (
        phi**power * mine * other
        for power, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=1)
    )
    return _Moments(first, second, third)


def _power_sums(shares: Sequence[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """Return Σ ρ^k, k = 1, 2, 3, of the eigenvalues ρ of P·diag(1/r)·P, P = I − √r√rᵀ."""
    size = len(shares)
    one, two, three = (sum((1 / share**power for share in shares), Fraction(0)) for power in (1, 2, 3))
    return one - size, two - 2 * one + size**2, three - 3 * two + 3 * size * one - size**3


def _p_value(statistic: Fraction, freedom: int, noise: _Moments) -> Fraction:
    """Return the tail of Σ (1 + μ)·χ²_1, μ the noise's eigenvalues, by its first three moments."""
    mean = freedom + noise.first
    second = freedom + 2 * noise.first + noise.second
    third = freedom + 3 * noise.first + 3 * noise.second + noise.third
    shape = second**3 / third**2
    return chi_square_tail(shape, shape + (statistic - mean) * root(shape / second))
