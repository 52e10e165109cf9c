"""The discrete Gaussian, exactly, as a function of a key: the same integers on every machine, whatever its libm.

A draw is a run of trials (Canonne, Kamath, Steinke 2020, Algorithms 2 and 3, with the discrete Laplace's first coin and
the Gaussian's tossed as one: e^-x · e^-y = e^-(x+y)). The scale t of the discrete Laplace is 2^k, so that its
remainder U is k uniform bits and nothing is rejected for it. Each coin of probability e^-γ, γ rational, is a uniform real R,
shown 64 bits at a time, that falls below e^-γ or not.

64 bits and a double decide nearly always: the double γ of a trial that could be accepted at all is wrong by less than 2^-43
(below), an exponential function that keeps 2^-44 makes e^-γ wrong by less than 2^-42 of itself, and what is within
`MARGIN` = 2^-36 of it is decided in integers instead, with as many further bits of R as it takes. So a result depends on the
real numbers alone.

Why 2^-43: γ = Y²/2σ² − V + σ²/2t² matters only below 60; beyond, 2^64·e^-γ is below 2^-20, so every word but 0 is rejected for
certain, and 0 goes to the integers. V ≤ 15, greater ones go to the integers too, and σ²/2t² ≤ 1: so Y²/2σ² < 76, and the double is at
most seven roundings, each 2^-53 of 76 (Y twice, Y², 1/2σ², their product, two sums), and that of σ²/2t² away.

Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020; RFC 8439 (ChaCha20); docs/protocol.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from numpy.typing import NDArray

from privacy.encoding import WORD_BYTES
from privacy.errors import NoiseInvalid

MARGIN: Final = 2.0**-36
SIGMA_SQUARED_MIN: Final = Fraction(1, 1 << 64)
SIGMA_SQUARED_MAX: Final = Fraction(1 << 115)
DRAWS_MAX: Final = 1 << 32
_WORD_BITS: Final = 64
_WORDS: Final = 3  # of a trial: remainder and sign, quotient, coin
_WIRE: Final = np.dtype("<u8")
_QUOTIENT_COIN: Final = 1
_GAUSSIAN_COIN: Final = 2
_GUARD_BITS: Final = 64
_QUOTIENT_MAX: Final = 15  # above it, a trial is done in integers: Y then needs more than 62 bits
_CHUNK: Final = 1 << 14  # draws at a time, so that a round's arrays stay in the cache

Words = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Law:
    """The discrete Gaussian with parameter σ², and the discrete Laplace it is drawn from.

    Attributes:
        sigma_squared: σ².
        bits: k; the Laplace's scale is t = 2^k, the largest with t² ≤ 2σ², at least 1.
    """

    sigma_squared: Fraction
    bits: int

    @classmethod
    def of(cls, sigma_squared: Fraction) -> Law:
        """Return the law.

        Raises:
            NoiseInvalid: σ² is no fraction, or not in 2^-64 … 2^115: zero, negative, not a number, infinite.
        """
        if not isinstance(sigma_squared, Fraction):
            raise NoiseInvalid(f"a noise parameter must be a fraction, not {type(sigma_squared).__name__}")
        if not SIGMA_SQUARED_MIN <= sigma_squared <= SIGMA_SQUARED_MAX:
            raise NoiseInvalid("a noise parameter must be above zero, from 2^-64 to 2^115")
        bits = 0
        while 4 << 2 * bits <= 2 * sigma_squared:
            bits += 1
        return cls(sigma_squared, bits)

    def gamma(self, size: int, quotient: int) -> Fraction:
        """Return γ of a trial that came to |Y| = `size` with V = `quotient`: it is accepted with probability e^-γ."""
        laplace = self.sigma_squared / (2 << 2 * self.bits)
        return size * size / (2 * self.sigma_squared) - quotient + laplace


def draw_discrete_gaussian(
    key: bytes, sigma_squared: Fraction, count: int, *, margin: float = MARGIN
) -> NDArray[np.int64]:
    """Draw integers from the discrete Gaussian with parameter σ², exactly: P(y) ∝ exp(−y²/2σ²).

    Args:
        key: 32 bytes, uniform, used for these draws alone. Who knows it knows them.
        sigma_squared: σ².
        count: how many.
        margin: from which distance of a coin's probability doubles decide; a larger one is slower, and changes nothing.

    Returns:
        `count` integers; the j-th is a function of key, σ², j and count.

    Raises:
        NoiseInvalid: a parameter that is not above zero (it is never taken for "no noise"), another key length, a count
            that is negative or above 2^32, a smaller margin; or a draw beyond 63 bits (probability below 2^-100).
    """
    law = Law.of(sigma_squared)
    if len(key) != WORD_BYTES:
        raise NoiseInvalid(f"a noise key must be {WORD_BYTES} bytes, not {len(key)}")
    if not 0 <= count <= DRAWS_MAX or not margin >= MARGIN:
        raise NoiseInvalid("expected a count of 0 to 2^32 and a margin of at least 2^-36")
    drawn = np.zeros(count, dtype=np.int64)
    stream, waiting, number = key_stream(key), np.arange(count), 0
    while len(waiting):
        words = np.frombuffer(stream.update(bytes(8 * _WORDS * len(waiting))), dtype=_WIRE)
        tried = words.reshape(-1, _WORDS)
        accepted = np.empty(len(waiting), dtype=np.bool_)
        for start in range(0, len(waiting), _CHUNK):
            part = slice(start, start + _CHUNK)
            trials = _Trials(key, law, number, waiting[part], tried[part])
            drawn[waiting[part]], accepted[part] = trials.decide(margin)
        waiting, number = waiting[~accepted], number + 1
    return drawn


def key_stream(key: bytes, coin: int = 0, number: int = 0, draw: int = 0) -> CipherContext:
    """Return ChaCha20's stream of zeros: of all trials, or of the further bits of one trial's coin.

    Args:
        key: 32 bytes.
        coin: 0 for the trials; 1 for the quotient's coin, 2 for the Gaussian's.
        number: the trial's round, from 0.
        draw: the draw's position, from 0.

    Source: RFC 8439 §2.4, block counter from 0.
    """
    nonce = b"".join(value.to_bytes(4, "big") for value in (coin, number, draw))
    return Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), None).encryptor()


# --- with doubles ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trials:
    """One round's trials of some draws."""

    key: bytes
    law: Law
    number: int
    draws: NDArray[np.int64]
    words: NDArray[np.uint64]

    def decide(self, margin: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return each trial's value, and whether it is accepted."""
        first, second, third = self.words[:, 0], self.words[:, 1], self.words[:, 2]
        quotient, unclear = _quotients(second)
        size = (quotient << np.uint64(self.law.bits)) + self._remainders(first)
        bound = self._chance(size, quotient) * 2.0**_WORD_BITS
        coin = third.astype(np.float64)
        accepted = coin + 1.0 <= bound * (1.0 - margin)
        unclear |= ~accepted & (coin < bound * (1.0 + margin) + 2.0**-20)
        negative = (first & np.uint64(1)).astype(np.bool_)
        values = size.astype(np.int64)
        accepted &= ~(negative & (values == 0))
        values = np.where(negative, -values, values)
        for index in np.flatnonzero(unclear):
            words = int(first[index]), int(second[index]), int(third[index])
            value = exact_trial(self.key, self.law, self.number, int(self.draws[index]), words)
            accepted[index] = value is not None
            values[index] = 0 if value is None else value
        return values, accepted

    def _remainders(self, first: NDArray[np.uint64]) -> NDArray[np.uint64]:
        if self.law.bits == 0:
            return np.zeros_like(first)
        return first >> np.uint64(_WORD_BITS - self.law.bits)

    def _chance(self, size: NDArray[np.uint64], quotient: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return e^-γ, each with a relative error below 2^-42 wherever it is above 2^-84."""
        square = size.astype(np.float64)
        square *= square
        square *= float(1 / (2 * self.law.sigma_squared))
        square -= quotient
        square += float(self.law.gamma(0, 0))
        chance: NDArray[np.float64] = np.exp(-square)
        return chance


def _quotients(words: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return V of each word, the number of v ≥ 1 with R < e^-v, and whether 64 bits and 62 of Y do not tell."""
    above = np.searchsorted(_QUOTIENT_BOUNDS, words, side="right")
    quotient = len(_QUOTIENT_BOUNDS) - above
    unclear = np.searchsorted(_QUOTIENT_BOUNDS, words, side="left") != above
    return quotient.astype(np.uint64), unclear | (quotient > _QUOTIENT_MAX)


# --- with integers ---------------------------------------------------------------------------------------------------


def exact_trial(key: bytes, law: Law, number: int, draw: int, words: Words) -> int | None:
    """Return what one trial comes to, None where it is rejected, without a rounding anywhere.

    Args:
        key: 32 bytes.
        law: what is drawn.
        number, draw: the trial's round and position.
        words: the trial's three words.

    Raises:
        NoiseInvalid: the value does not fit in 63 bits.
    """
    first, second, third = words
    remainder = first >> (_WORD_BITS - law.bits)
    quotient, uniform = 0, _Uniform(second, key_stream(key, _QUOTIENT_COIN, number, draw))
    while uniform.is_below_exp(Fraction(quotient + 1)):
        quotient += 1
    size, is_negative = remainder + (quotient << law.bits), bool(first & 1)
    if is_negative and size == 0:
        return None
    coin = _Uniform(third, key_stream(key, _GAUSSIAN_COIN, number, draw))
    if not coin.is_below_exp(law.gamma(size, quotient)):
        return None
    if size >> 63:
        raise NoiseInvalid("a draw does not fit in 63 bits")
    return -size if is_negative else size


class _Uniform:
    """A uniform real in [0, 1), of which 64 bits more are shown whenever they are needed."""

    def __init__(self, word: int, further: CipherContext) -> None:
        self._shown, self._bits, self._further = word, _WORD_BITS, further

    def is_below_exp(self, gamma: Fraction) -> bool:
        """Say whether R < e^-γ, γ ≥ 0. It ends: e^-γ is irrational for every rational γ > 0 (Lindemann)."""
        if gamma == 0:
            return True
        while True:
            low, high = exp_bounds(gamma, self._bits)
            if self._shown < low:
                return True
            if self._shown >= high:
                return False
            word = int.from_bytes(self._further.update(bytes(8)), "little")
            self._shown, self._bits = self._shown << _WORD_BITS | word, self._bits + _WORD_BITS


def exp_bounds(gamma: Fraction, bits: int) -> tuple[int, int]:
    """Return integers low ≤ 2^bits · e^-γ ≤ high, at most two apart; γ ≥ 0."""
    if gamma >= bits:
        return 0, 1  # e^-γ < 2^-γ ≤ 2^-bits
    whole, rest = divmod(gamma, 1)
    precision = bits + _GUARD_BITS
    low, high = _exp_series(rest, precision)
    low_one, high_one = _exp_series(Fraction(1), precision)
    for _ in range(whole):
        low, high = low * low_one >> precision, -(-high * high_one >> precision)
    return low >> _GUARD_BITS, -(-high >> _GUARD_BITS)


def _exp_series(gamma: Fraction, bits: int) -> tuple[int, int]:
    """Return bounds of 2^bits · e^-γ, 0 ≤ γ ≤ 1, by the alternating series, each term rounded both ways."""
    low = high = 0
    term_low = term_high = 1 << bits
    step, sign = 0, 1
    while term_high > 1:
        low, high = (low + term_low, high + term_high) if sign > 0 else (low - term_high, high - term_low)
        step, sign = step + 1, -sign
        divisor = gamma.denominator * step
        term_low = term_low * gamma.numerator // divisor
        term_high = -(-term_high * gamma.numerator // divisor)
    return low - 1, high + 1  # the rest of an alternating series is at most its first term


def _quotient_bounds() -> NDArray[np.uint64]:
    """Return ⌊2^64·e^-v⌋ for v = 44 … 1, and 0 below them: a word that is one of these does not tell V."""
    bounds = [0]
    for quotient in range(44, 0, -1):
        low, _ = exp_bounds(Fraction(quotient), 2 * _WORD_BITS)  # 64 bits more than it takes
        bounds.append(low >> _WORD_BITS)
    return np.array(bounds, dtype=np.uint64)


_QUOTIENT_BOUNDS: Final = _quotient_bounds()
