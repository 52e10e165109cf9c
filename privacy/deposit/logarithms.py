"""Small discrete logarithms: from m·G to m, |m| within a bound, by baby steps and giant steps.

The table has the 64 low bits of x(j·G), j = 1 … T, sorted; a point and its negative have one x, so it covers −T … T. The
giant steps go both ways from the point, 2T + 1 at a time, so that two candidates share one inversion, and thousands
of inversions share one (Montgomery); that is 1 µs a candidate, a third of what the curve library needs to make a point affine.

A value m costs about |m|/2T pairs of candidates of 2 µs: small values, which noisy answers mostly are, cost little, and the
bound limits only what an absurd point costs. T = 2^22 takes 48 MiB and 8 s to make, once on a machine if it has a
folder.

Source: D. Shanks, Class Number, a Theory of Factorization, and Genera (1971); P. Montgomery (1987) §10.3.1.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from gmpy2 import invert, mpz, pack, to_binary
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.curve import BASE_PRIME, COORDINATE_BYTES
from privacy.deposit.errors import LogarithmNotFound, TableInvalid, ValueOutOfRange
from privacy.deposit.points import generator, scalar
from privacy.deposit.sizes import BOUND_MAX
from privacy.files import write_whole

TABLE_BITS_MIN: Final = 8
TABLE_BITS_MAX: Final = 22
_P = mpz(BASE_PRIME)
_STEP = 1 << 11  # giant steps taken together; more share an inversion that is cheap already
_WORDS = COORDINATE_BYTES // 8
_BINARY_HEAD = 2  # gmpy2's type and sign
_MAGIC = b"SYL\x01"

Words = NDArray[np.uint64]


def table_bits(bound: int) -> int:
    """Return log2 T that suits a bound: T is about 2^5·√bound, as a table is made once and kept, and at most 2^22."""
    return max(TABLE_BITS_MIN, min(TABLE_BITS_MAX, bound.bit_length() // 2 + 5))


def balanced_bits(bound: int, count: int) -> int:
    """Return log2 T for which making the table costs about as much as using it, on values of a sixteenth of the bound.

    Args:
        bound: of |m|.
        count: of values.
    """
    steps = math.isqrt(max(1, count * bound >> 6))  # T² = count·(bound/16)/4
    return max(TABLE_BITS_MIN, min(TABLE_BITS_MAX, steps.bit_length()))


@dataclass(frozen=True, slots=True)
class LogTable:
    """The table for T = 2^bits baby steps.

    Attributes:
        bits: log2 T.
        keys: 64 low bits of x(j·G), ascending.
        steps: j of each key.
    """

    bits: int
    keys: Words = field(repr=False)
    steps: NDArray[np.uint32] = field(repr=False)

    @classmethod
    def make(cls, bits: int) -> LogTable:
        """Compute a table.

        Raises:
            ValueOutOfRange: bits outside 8 … 22.
        """
        if not TABLE_BITS_MIN <= bits <= TABLE_BITS_MAX:
            raise ValueOutOfRange(
                f"expected a table of {TABLE_BITS_MIN} to {TABLE_BITS_MAX} bits, got {bits}"
            )
        keys, steps = _baby_steps(1 << bits)
        order = np.argsort(keys)
        return cls(bits, keys[order], steps[order])

    @classmethod
    def kept(cls, bits: int, folder: Path) -> LogTable:
        """Read the table from a folder, or compute it and keep it there if that can be; a damaged one is made again.

        Raises:
            ValueOutOfRange: bits outside 8 … 22.
        """
        path = folder / f"deposit-logarithms-v1-{bits}.bin"
        try:
            return cls.from_bytes(path.read_bytes())
        except (OSError, TableInvalid):
            table = cls.make(bits)
        with suppress(OSError):  # the table serves without its file, which the next process makes again
            write_whole(path, table.to_bytes())
        return table

    @property
    def reach(self) -> int:
        """T."""
        return 1 << self.bits

    def to_bytes(self) -> bytes:
        """Encode with a digest at the end."""
        body = (
            _MAGIC
            + bytes([self.bits])
            + self.keys.astype("<u8").tobytes()
            + self.steps.astype("<u4").tobytes()
        )
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> LogTable:
        """Read what `to_bytes` wrote.

        Raises:
            TableInvalid: other bytes.
        """
        bits = data[4] if len(data) > 4 else 0
        if (
            data[:4] != _MAGIC
            or not TABLE_BITS_MIN <= bits <= TABLE_BITS_MAX
            or len(data) != 5 + (12 << bits) + 32
        ):
            raise TableInvalid("not a table of logarithms")
        if not hmac.compare_digest(hashlib.sha256(memoryview(data)[:-32]).digest(), data[-32:]):
            raise TableInvalid("a table of logarithms that is damaged")
        keys = np.frombuffer(data, dtype="<u8", count=1 << bits, offset=5)
        steps = np.frombuffer(data, dtype="<u4", count=1 << bits, offset=5 + (8 << bits))
        return cls(bits, keys.copy(), steps.copy())  # aligned: else every search would copy them

    def find(self, points: Sequence[G1Point], bounds: Sequence[int]) -> list[int]:
        """Return m of each point m·G.

        Args:
            points: in the subgroup.
            bounds: of |m|, one for each point, at most 2^40.

        Raises:
            ValueOutOfRange: a bound that is negative or above 2^40.
            LogarithmNotFound: naming the first point without a value within its bound.
        """
        if any(not 0 <= bound <= BOUND_MAX for bound in bounds):
            raise ValueOutOfRange(f"a bound must be in [0, {BOUND_MAX}]")
        strides = _Strides(2 * self.reach + 1)
        return [
            self._find_one(point, bound, position, strides)
            for position, (point, bound) in enumerate(zip(points, bounds, strict=True))
        ]

    def _find_one(self, point: G1Point, bound: int, position: int, strides: _Strides) -> int:
        for candidate in self._candidates(point, bound, strides):
            for value in (candidate, -candidate):
                if abs(value) <= bound and generator() * scalar(value) == point:
                    return value
        raise LogarithmNotFound(position, bound)

    def _candidates(self, point: G1Point, bound: int, strides: _Strides) -> Iterator[int]:
        """Yield integers one of which is ±m, if |m| is within the bound."""
        if point == G1Point.identity():
            yield 0
            return
        x, y = _affine(point)
        yield from self._matches(np.array([int(x % (1 << 64))], dtype=np.uint64), [0])
        stride = strides.stride
        count = -(-max(0, bound - self.reach) // stride)
        for first in range(0, count, _STEP):
            xs, ys = strides.take(first, min(first + _STEP, count))
            if x in xs:  # m is a whole number of strides, and their difference has no x
                yield (first + 1 + xs.index(x)) * stride
            found = _both_ways(x, y, xs, ys)
            # cell 2k is point + (first + 1 + k)·stride, cell 2k + 1 the other way, up to sign
            shifts = [(first + 1 + k) * stride for k in range(len(xs))]
            yield from self._matches(found, [shift for each in shifts for shift in (-each, each)])

    def _matches(self, found: Words, shifts: Sequence[int]) -> Iterator[int]:
        """Yield ±j + shift for each found x that is in the table."""
        order = np.argsort(found)
        places = np.searchsorted(self.keys, found[order])
        places[places == len(self.keys)] = 0
        for hit in np.flatnonzero(self.keys[places] == found[order]).tolist():
            step, shift = int(self.steps[places[hit]]), shifts[int(order[hit])]
            yield shift + step
            yield shift - step


class _Strides:
    """The points k·stride·G, k = 1, 2, …, affine; as many as were needed so far."""

    __slots__ = ("_point", "_step", "_xs", "_ys", "stride")

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self._step = generator() * scalar(stride)
        self._point = self._step
        self._xs: list[mpz] = []
        self._ys: list[mpz] = []

    def take(self, first: int, end: int) -> tuple[list[mpz], list[mpz]]:
        while len(self._xs) < end:
            x, y = _affine(self._point)
            self._xs.append(x)
            self._ys.append(y)
            self._point += self._step
        return self._xs[first:end], self._ys[first:end]


def _baby_steps(reach: int) -> tuple[Words, NDArray[np.uint32]]:
    """Return the low bits of x(j·G) for j = 1 … reach, and j of each, in the order in which they are found.

    From centres c·G with c = k·(2w + 1), the points (c ± i)·G, i = 1 … w, share their inversions.
    """
    width = min(_STEP, reach)
    xs, ys = _Strides(1).take(0, width)
    keys = [_low_words(xs)]
    steps = [np.arange(1, width + 1)]
    both = np.repeat(np.arange(1, width + 1), 2) * np.tile([1, -1], width)
    span = 2 * width + 1
    centres = _Strides(span)
    for k in range(1, -(-reach // span) + 1):
        (x,), (y,) = centres.take(k - 1, k)
        keys += [_low_words([x]), _both_ways(x, y, xs, ys)]
        steps += [np.array([k * span]), k * span + both]
    all_steps = np.concatenate(steps)
    kept = all_steps <= reach
    return np.concatenate(keys)[kept], all_steps[kept].astype(np.uint32)


def _both_ways(x: mpz, y: mpz, xs: Sequence[mpz], ys: Sequence[mpz]) -> Words:
    """Return the low bits of the x of P + Q_k and P − Q_k, alternating, from affine coordinates; no Q_k is ±P.

    Where Q_k is ±P the difference of their x is zero; it is replaced by one, and what is found there is meaningless.
    """
    differences = [other - x or mpz(1) for other in xs]
    before, product = [], mpz(1)
    for difference in differences:
        before.append(product)
        product = product * difference % _P
    rest = invert(product, _P)
    found = []
    for product, difference, other_x, other_y in zip(
        reversed(before), reversed(differences), reversed(xs), reversed(ys), strict=True
    ):
        inverse = rest * product % _P
        rest = rest * difference % _P
        together = other_x + x
        slope, other_slope = (other_y + y) * inverse, (other_y - y) * inverse
        found.append((slope * slope - together) % _P)
        found.append((other_slope * other_slope - together) % _P)
    found.reverse()
    return _low_words(found)


def _low_words(values: Sequence[mpz]) -> Words:
    """Return the 64 low bits of residues; packing them into one number is far cheaper than turning each over."""
    size = COORDINATE_BYTES * len(values)
    data = to_binary(pack(list(values), 8 * COORDINATE_BYTES))[_BINARY_HEAD:].ljust(size, b"\x00")
    words: Words = np.frombuffer(data, dtype="<u8").reshape(-1, _WORDS)[:, 0]
    return words


def _affine(point: G1Point) -> tuple[mpz, mpz]:
    data = point.to_xy_bytes_be()
    return mpz(int.from_bytes(data[:COORDINATE_BYTES], "big")), mpz(
        int.from_bytes(data[COORDINATE_BYTES:], "big")
    )
