"""The upper tail of the chi-square distribution, to a fixed number of digits: the same double for everybody.

Floating-point libraries differ in their last bit; a receipt's table is compared bit by bit. So the tail is computed
with 60 decimal digits and rounded to a multiple of 2^-60.

Source: NIST Digital Library of Mathematical Functions, 8.7.1 (series), 8.9.2 (continued fraction), 5.11.1 (Stirling).
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction

TAIL_BITS = 60
_DIGITS = 60
_STIRLING_FROM = 60
_TERMS_MAX = 1_000_000
_SMALL = Decimal(10) ** -45
_BERNOULLI = (
    "1/6",
    "-1/30",
    "1/42",
    "-1/30",
    "5/66",
    "-691/2730",
    "7/6",
    "-3617/510",
    "43867/798",
    "-174611/330",
)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def chi_square_tail(freedom: Fraction, value: Fraction) -> Fraction:
    """Return P(χ² > value), rounded to the nearest multiple of 2^-60.

    Args:
        freedom: the degrees of freedom, above 0; need not be whole.
        value: 1 for a value of 0 or below.
    """
    if value <= 0:
        return Fraction(1)
    with localcontext(Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-(10**15), Emax=10**15)):
        shape, half = _decimal(freedom / 2), _decimal(value / 2)
        tail = 1 - _lower_series(shape, half) if half < shape + 1 else _upper_fraction(shape, half)
        scaled = (tail * (1 << TAIL_BITS)).to_integral_value()
    return Fraction(int(scaled), 1 << TAIL_BITS)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _front(shape: Decimal, half: Decimal) -> Decimal:
    """Return x^a·e^-x/Γ(a)."""
    return (shape * half.ln() - half - _log_gamma(shape)).exp()


def _lower_series(shape: Decimal, half: Decimal) -> Decimal:
    term = total = 1 / shape
    for number in range(1, _TERMS_MAX):
        term *= half / (shape + number)
        total += term
        if term < total * _SMALL:
            break
    return _front(shape, half) * total


def _upper_fraction(shape: Decimal, half: Decimal) -> Decimal:
    """Evaluate the continued fraction from the front, by Lentz's method as modified by Thompson and Barnett."""
    start = half + 1 - shape
    upper, lower = 1 / _SMALL**2, 1 / start
    found = lower
    for number in range(1, _TERMS_MAX):
        factor = number * (shape - number)
        start += 2
        lower = 1 / (factor * lower + start)
        upper = start + factor / upper
        change = upper * lower
        found *= change
        if abs(change - 1) < _SMALL:
            break
    return _front(shape, half) * found


def _log_gamma(shape: Decimal) -> Decimal:
    """Return ln Γ by Stirling's series after a shift; its first term left out is below 1e-34."""
    shift = Decimal(1)
    while shape < _STIRLING_FROM:
        shift *= shape
        shape += 1
    total = (shape - Decimal("0.5")) * shape.ln() - shape + (2 * _PI).ln() / 2
    for number, text in enumerate(_BERNOULLI, start=1):
        total += _decimal(Fraction(text)) / (2 * number * (2 * number - 1) * shape ** (2 * number - 1))
    return total - shift.ln()
