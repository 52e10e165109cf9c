"""Shamir's secret sharing over GF(2^255 − 19), with weights computed once for a set of holders.

Holder i has the share at x = i + 1. Which holders answer is the same for every secret of a session, so the
Lagrange weights are too.

Source: A. Shamir, How to share a secret, CACM 22 (1979); docs/protocol.md §4.
"""

from collections.abc import Sequence
from math import prod

FIELD_PRIME = (1 << 255) - 19  # p
_REDUCE_EVERY = 8  # Horner steps: x has at most 11 bits, so the accumulator stays below 350 bits


def split(secret: int, coefficients: Sequence[int], count: int) -> list[int]:
    """Deal shares of a secret to holders 0 … count − 1.

    Args:
        secret: in [0, p).
        coefficients: of x, x², …, uniform in [0, p); their number is the threshold − 1.
        count: the number of holders.
    """
    polynomial = [secret, *coefficients]
    return [evaluate(polynomial, index) for index in range(count)]


def evaluate(polynomial: Sequence[int], index: int) -> int:
    """Return the share of one holder: the polynomial (constant term first) at x = index + 1."""
    x = index + 1
    total = 0
    for step, coefficient in enumerate(reversed(polynomial)):
        total = total * x + coefficient
        if step % _REDUCE_EVERY == 0:
            total %= FIELD_PRIME
    return total % FIELD_PRIME


def lagrange_weights(indices: Sequence[int]) -> list[int]:
    """Return w with f(0) = Σ w_k·f(x_k) for every polynomial f of degree below the number of holders.

    Args:
        indices: distinct roster indices; their points are x = index + 1.
    """
    points = [index + 1 for index in indices]
    product = prod(points)  # the factors are small: it is cheaper to reduce once
    numerators = [product // x % FIELD_PRIME for x in points]
    denominators = [prod([other - x for other in points if other != x]) % FIELD_PRIME for x in points]
    inverses = _inverses(denominators)
    return [n * inverse % FIELD_PRIME for n, inverse in zip(numerators, inverses, strict=True)]


def combine(weights: Sequence[int], shares: Sequence[int]) -> int:
    """Return Σ w_k·s_k mod p."""
    return sum([weight * share for weight, share in zip(weights, shares, strict=True)]) % FIELD_PRIME


def _inverses(values: Sequence[int]) -> list[int]:
    """Return the inverses mod p of non-zero values, with one inversion (P. Montgomery, 1987, §10.3.1)."""
    products = [1]  # of all values before each
    for value in values:
        products.append(products[-1] * value % FIELD_PRIME)
    rest = pow(products.pop(), -1, FIELD_PRIME)
    inverses = []
    for value, before in zip(reversed(values), reversed(products), strict=True):
        inverses.append(rest * before % FIELD_PRIME)
        rest = rest * value % FIELD_PRIME
    return inverses[::-1]
