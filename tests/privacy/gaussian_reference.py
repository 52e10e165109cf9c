"""The sampler of docs/protocol.md §5 a second time, from the document: one draw after the other, fractions only.

ChaCha20 is RFC 8439 in plain Python; e^-γ is bounded by 1/e^γ, of which the series has positive terms only.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import factorial

MASK = (1 << 32) - 1


def quarter(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for to, by, rotated, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[to] = (x[to] + x[by]) & MASK
        mixed = x[rotated] ^ x[to]
        x[rotated] = (mixed << shift | mixed >> (32 - shift)) & MASK


def chacha20_words(key: bytes, nonce: bytes) -> Iterator[int]:
    """Yield the key stream as little-endian u64."""
    counter = 0
    while True:
        words = [int.from_bytes(b"expand 32-byte k"[i : i + 4], "little") for i in range(0, 16, 4)]
        words += [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]
        words += [counter] + [int.from_bytes(nonce[i : i + 4], "little") for i in range(0, 12, 4)]
        x = list(words)
        for _ in range(10):
            for i in range(4):
                quarter(x, i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        block = b"".join(((a + b) & MASK).to_bytes(4, "little") for a, b in zip(x, words, strict=True))
        yield from (int.from_bytes(block[i : i + 8], "little") for i in range(0, 64, 8))
        counter += 1


def falls_below(word: int, further: Iterator[int], gamma: Fraction) -> bool:
    """Say whether the real whose 64-bit digits are these is below e^-γ."""
    if gamma == 0:
        return True
    low, width, terms = Fraction(word, 1 << 64), Fraction(1, 1 << 64), 8
    while True:
        least = sum((gamma**i / factorial(i) for i in range(terms)), Fraction(0))  # ≤ e^γ
        above, below = 1 / least, Fraction(0)
        if gamma < terms:  # rest of the series ≤ its first term · 1/(1 − γ/terms)
            below = 1 / (least + gamma**terms / factorial(terms) / (1 - gamma / (terms + 1)))
        if low + width <= below:
            return True
        if low >= above:
            return False
        if above - below > width / 4 and terms < 400:
            terms *= 2
            continue
        width /= 1 << 64
        low += next(further) * width


def draw(key: bytes, sigma_squared: Fraction, count: int) -> list[int]:
    """Draw `count` integers."""
    k = 0
    while 4 ** (k + 1) <= 2 * sigma_squared:
        k += 1
    t = 2**k
    found: dict[int, int] = {}
    trials, rounds = chacha20_words(key, bytes(12)), 0
    while len(found) < count:
        for j in range(count):
            if j in found:
                continue
            a, b, c = next(trials), next(trials), next(trials)
            more = [
                chacha20_words(key, b"".join(n.to_bytes(4, "big") for n in (coin, rounds, j)))
                for coin in (1, 2)
            ]
            remainder, sign = a * t // 2**64, -1 if a % 2 else 1
            v, digits = 0, list[int]()
            while falls_below(b, replayed(more[0], digits), Fraction(v + 1)):
                v += 1
            y = remainder + t * v
            gamma = Fraction(y * y) / (2 * sigma_squared) - v + sigma_squared / (2 * t * t)
            if (y or sign > 0) and falls_below(c, more[1], gamma):
                found[j] = sign * y
        rounds += 1
    return [found[j] for j in range(count)]


def replayed(source: Iterator[int], digits: list[int]) -> Iterator[int]:
    """Yield the digits of one real again from the first, reading further ones as they are needed."""
    position = 0
    while True:
        if position == len(digits):
            digits.append(next(source))
        yield digits[position]
        position += 1
