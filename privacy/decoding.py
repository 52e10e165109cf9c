"""Open shared secrets although some shares are wrong, and tell which.

A secret is accepted only if it is the one its owner fixed on the chain, so a wrong share can only cost time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from privacy.shamir import FIELD_PRIME, combine, lagrange_weights

_SUBSETS_MAX = 512  # tried where unique decoding fails; enough for every pair of 30 senders
_SUBSET_WORK_MAX = 2_000_000  # of multiplications for their weights, about a second


@dataclass(frozen=True, slots=True)
class Decoded:
    """A secret and the senders whose shares are not on the polynomial that opens it."""

    secret: int
    wrong: tuple[int, ...]


def decode_secret(
    shares: Mapping[int, int], threshold: int, is_right: Callable[[int], bool]
) -> Decoded | None:
    """Find the secret that `is_right` accepts, or None.

    Unique decoding mends ⌊(m − t)/2⌋ wrong shares of m in polynomial time; beyond that subsets are tried, up
    to a fixed amount of work, because the check tells a right secret from a wrong one.

    Args:
        shares: by roster index of the sender, in [0, p).
        threshold: t, the number of coefficients.
        is_right: compares with what the owner fixed.
    """
    senders = sorted(shares)
    polynomial = _gao(senders, [shares[sender] for sender in senders], threshold)
    if polynomial is not None and is_right(polynomial[0]):
        return Decoded(polynomial[0], _off_polynomial(shares, polynomial))
    for subset in _subsets(senders, threshold):
        secret = combine(lagrange_weights(subset), [shares[sender] for sender in subset])
        if is_right(secret):
            through = _interpolate(subset, [shares[sender] for sender in subset])
            return Decoded(secret, _off_polynomial(shares, through))
    return None


def _subsets(senders: Sequence[int], threshold: int) -> Iterator[tuple[int, ...]]:
    """Yield distinct sets of `threshold` senders, leaving out one, then two, and so on."""
    limit = min(_SUBSETS_MAX, _SUBSET_WORK_MAX // (threshold * threshold))
    seen: set[tuple[int, ...]] = set()
    everything = (
        tuple(sender for sender in senders if sender not in left_out)[:threshold]
        for count in range(len(senders) - threshold + 1)
        for left_out in combinations(senders, count)
    )
    for subset in islice(everything, 4 * limit):
        if subset not in seen and len(seen) < limit:
            seen.add(subset)
            yield subset


def _off_polynomial(shares: Mapping[int, int], polynomial: Sequence[int]) -> tuple[int, ...]:
    return tuple(s for s in sorted(shares) if _value(polynomial, s + 1) != shares[s])


def _gao(senders: Sequence[int], values: Sequence[int], threshold: int) -> list[int] | None:
    """Decode a Reed–Solomon word; constant term first, or None beyond its radius.

    Source: S. Gao, A new algorithm for decoding Reed–Solomon codes (2003), algorithm 1.
    """
    earlier, current = _vanishing(senders), _interpolate(senders, values)
    earlier_v, current_v = [0], [1]
    while 2 * (len(current) - 1) >= len(senders) + threshold:
        quotient, remainder = _divide(earlier, current)
        earlier, current = current, remainder
        earlier_v, current_v = current_v, _subtract(earlier_v, _multiply(quotient, current_v))
    polynomial, rest = _divide(current, current_v)
    if rest != [0] or len(polynomial) > threshold:
        return None
    return polynomial


def _vanishing(senders: Sequence[int]) -> list[int]:
    """Return Π (x − x_k)."""
    product = [1]
    for sender in senders:
        product = _multiply(product, [-(sender + 1) % FIELD_PRIME, 1])
    return product


def _interpolate(senders: Sequence[int], values: Sequence[int]) -> list[int]:
    """Return the polynomial of least degree through all points."""
    product = _vanishing(senders)
    total = [0] * len(senders)
    for sender, value in zip(senders, values, strict=True):
        basis = _without_root(product, sender + 1)
        factor = value * pow(_value(basis, sender + 1), -1, FIELD_PRIME) % FIELD_PRIME
        total = [(old + factor * term) % FIELD_PRIME for old, term in zip(total, basis, strict=True)]
    return _trim(total)


def _without_root(product: Sequence[int], root: int) -> list[int]:
    """Divide by (x − root), which divides it."""
    carry = 0
    quotient = []
    for coefficient in reversed(product[1:]):
        carry = (coefficient + carry * root) % FIELD_PRIME
        quotient.append(carry)
    return quotient[::-1]


def _value(polynomial: Sequence[int], x: int) -> int:
    total = 0
    for coefficient in reversed(polynomial):
        total = (total * x + coefficient) % FIELD_PRIME
    return total


def _divide(numerator: Sequence[int], denominator: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return quotient and remainder."""
    rest = list(numerator)
    inverse = pow(denominator[-1], -1, FIELD_PRIME)
    degree = len(denominator) - 1
    quotient = [0] * max(1, len(rest) - degree)
    for shift in range(len(rest) - degree - 1, -1, -1):
        factor = rest[shift + degree] * inverse % FIELD_PRIME
        quotient[shift] = factor
        for k, coefficient in enumerate(denominator):
            rest[shift + k] = (rest[shift + k] - factor * coefficient) % FIELD_PRIME
    return _trim(quotient), _trim(rest[:degree])


def _multiply(left: Sequence[int], right: Sequence[int]) -> list[int]:
    product = [0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for k, b in enumerate(right):
            product[i + k] = (product[i + k] + a * b) % FIELD_PRIME
    return _trim(product)


def _subtract(left: Sequence[int], right: Sequence[int]) -> list[int]:
    length = max(len(left), len(right))
    padded = [[*terms, *[0] * (length - len(terms))] for terms in (left, right)]
    return _trim([(a - b) % FIELD_PRIME for a, b in zip(*padded, strict=True)])


def _trim(polynomial: list[int]) -> list[int]:
    """Drop leading zeros, keeping one term."""
    while len(polynomial) > 1 and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial or [0]
