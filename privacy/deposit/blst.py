"""Ciphertexts by the arithmetic of blst, which `ckzg` brings: two fifths of the time of arkworks, called point by point.

blst adds in hand-written assembly, sums the table points of a factor in one call, and brings many sums to affine coordinates with
one inversion; arkworks' Python package offers neither. ckzg's module exports blst's public functions (`blst.h`), and nothing else of
it is used. If they are not there, or do not give what arkworks gives, `open_blst` returns nothing.

Source: docs/adr/0013-blst-of-ckzg.md; blst, bindings/blst.h, src/bulk_addition.c, src/multi_scalar.c.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.deposit.errors import DepositError, PointRefused
from privacy.deposit.fixed_base import (
    SMALL_WINDOWS,
    TABLES_KEPT,
    WINDOW,
    WINDOWS,
    Columns,
    Digits,
    small_digits,
)
from privacy.deposit.points import encode_points, generator
from privacy.deposit.sizes import POINT_BYTES

MODULE: Final = "ckzg"
_AFFINE_BYTES = 96  # blst_p1_affine: x and y, six limbs each, in Montgomery's form
_JACOBIAN_BYTES = 144  # blst_p1: x, y and z
_LIMB_BYTES = 8

Addresses = NDArray[np.uint64]
"""Of shape [sums, points]: where the points of each sum are in memory."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Multiples d·2^(12·w)·P, affine: uint64 of shape [windows, 4096, 12]. d = 0 is infinity, which blst has as zeros."""

    points: NDArray[np.uint64] = field(repr=False)

    def addresses(self, digits: Digits) -> Addresses:
        rows = np.arange(digits.shape[1]) * WINDOW
        return (digits + rows).astype(np.uint64) * _AFFINE_BYTES + np.uint64(self.points.ctypes.data)


class BlstUnusable(DepositError):
    """A library that is not the blst which `Blst` knows."""


class Blst:
    """blst's arithmetic; see `Arithmetic`. Tables of the last few points are kept, 9 MB each, made in 0.1 s."""

    def __init__(self, path: str) -> None:
        """Load a library.

        Args:
            path: of a shared library that exports blst's functions.

        Raises:
            BlstUnusable: it cannot be loaded, does not export one of them, lays points out in another way than `blst.h`
                says, or adds wrongly.
        """
        # the interpreter's lock stays held: giving it up and taking it again costs more than one call computes
        try:
            self._library = ctypes.PyDLL(path)
        except OSError as err:
            raise BlstUnusable("expected a shared library, it cannot be loaded") from err
        self._sum = self._function("blst_p1s_add", 3)
        self._add = self._function("blst_p1_add_or_double_affine", 3)
        self._from_affine = self._function("blst_p1_from_affine", 2)
        self._to_affine = self._function("blst_p1s_to_affine", 3)
        self._decode = self._function("blst_p1_deserialize", 2)
        self._is_in_subgroup = self._function("blst_p1_affine_in_g1", 1)
        self._is_in_subgroup.restype = ctypes.c_bool
        self._encode = self._function("blst_p1_affine_serialize", 2)
        self._table_of = lru_cache(maxsize=TABLES_KEPT)(self._make_table)
        self._require_sums()

    def ciphertexts(self, key: bytes, factors: Digits, values: NDArray[np.int64]) -> Columns:
        """Return the ciphertexts of values; see `Arithmetic`.

        Raises:
            PointRefused: the key is no point of the subgroup, or infinity.
        """
        base, joint = self._table_of(encode_points([generator()]), WINDOWS), self._table_of(key, WINDOWS)
        minus = self._table_of(encode_points([-generator()]), SMALL_WINDOWS)
        small = small_digits(np.abs(values))
        contents = np.where((values < 0)[:, None], minus.addresses(small), base.addresses(small))
        a = self._sums(base.addresses(factors))
        return a, self._sums(np.hstack([contents, joint.addresses(factors)]))

    def _function(self, name: str, arguments: int) -> ctypes._NamedFuncPointer:
        found: ctypes._NamedFuncPointer | None = getattr(self._library, name, None)
        if found is None:
            raise BlstUnusable(f"expected the function {name}, it is not exported")
        found.argtypes, found.restype = [ctypes.c_void_p] * arguments, ctypes.c_int
        return found

    def _require_sums(self) -> None:
        """Require a few sums that arkworks gives too: a module that changed must not write wrong cells."""
        sizes = self._function("blst_p1_affine_sizeof", 0)(), self._function("blst_p1_sizeof", 0)()
        if sizes != (_AFFINE_BYTES, _JACOBIAN_BYTES):
            raise BlstUnusable(
                f"expected points of {_AFFINE_BYTES} and {_JACOBIAN_BYTES} bytes, found {sizes}"
            )
        g = generator()
        points = [g, -g, g + g]  # and behind them infinity, zeros
        stored = np.zeros((len(points) + 1, _AFFINE_BYTES // _LIMB_BYTES), dtype=np.uint64)
        for row, point in zip(stored, points, strict=False):
            self._decode(row.ctypes.data, encode_points([point]))
        added = np.array([[0, 2, 2], [0, 0, 3], [0, 1, 3]], dtype=np.uint64)
        found = self._sums(added * np.uint64(_AFFINE_BYTES) + np.uint64(stored.ctypes.data))
        if found != encode_points([g + g + g + g + g, g + g, G1Point.identity()]):
            raise BlstUnusable("expected the sums that arkworks gives")

    def _sums(self, addresses: Addresses) -> bytes:
        """Return the sum of each row of points, encoded."""
        count, points = addresses.shape
        sums = np.empty((count, _JACOBIAN_BYTES // _LIMB_BYTES), dtype=np.uint64)
        source, target = np.ascontiguousarray(addresses), sums.ctypes.data
        step = points * _LIMB_BYTES
        begins = range(source.ctypes.data, source.ctypes.data + count * step, step)
        ends = range(target, target + sums.nbytes, _JACOBIAN_BYTES)
        _all(map(self._sum, ends, begins, repeat(points)))
        infinite = ~sums[:, _AFFINE_BYTES // _LIMB_BYTES :].any(axis=1)
        sums[infinite] = 1  # any z that has an inverse: a zero would spoil the one inversion of all
        affine = np.empty((count, _AFFINE_BYTES // _LIMB_BYTES), dtype=np.uint64)
        self._normalise(affine, sums)
        encoded = np.empty((count, POINT_BYTES), dtype=np.uint8)
        target, start = encoded.ctypes.data, affine.ctypes.data
        ends = range(target, target + encoded.nbytes, POINT_BYTES)
        _all(map(self._encode, ends, range(start, start + affine.nbytes, _AFFINE_BYTES)))
        encoded[infinite] = 0
        return encoded.tobytes()

    def _normalise(self, target: NDArray[np.uint64], jacobian: NDArray[np.uint64]) -> None:
        """Bring points to affine coordinates; none is infinity, both arrays are contiguous."""
        if len(jacobian):
            first = (ctypes.c_void_p * 2)(jacobian.ctypes.data, None)
            self._to_affine(target.ctypes.data, ctypes.addressof(first), len(jacobian))

    def _make_table(self, encoded: bytes, windows: int) -> _Table:
        points = np.zeros((windows, WINDOW, _AFFINE_BYTES // _LIMB_BYTES), dtype=np.uint64)
        # 1·P … 4096·P of a window, the last of which is the next one's P
        sums = np.empty((WINDOW, _JACOBIAN_BYTES // _LIMB_BYTES), dtype=np.uint64)
        affine = np.empty((WINDOW, _AFFINE_BYTES // _LIMB_BYTES), dtype=np.uint64)
        step = affine[-1:].ctypes.data
        # of others a multiple may be infinity, which `_normalise` does not take
        if not any(encoded) or self._decode(step, encoded) or not self._is_in_subgroup(step):
            raise PointRefused(0, "expected a point of the subgroup that is not infinity")
        begin = sums.ctypes.data
        end = begin + sums.nbytes
        for window in range(windows):
            self._from_affine(begin, step)
            ends, begins = (
                range(begin + _JACOBIAN_BYTES, end, _JACOBIAN_BYTES),
                range(begin, end, _JACOBIAN_BYTES),
            )
            _all(map(self._add, ends, begins, repeat(step)))
            self._normalise(affine, sums)
            points[window, 1:] = affine[:-1]
        return _Table(points)


def open_blst(module: str = MODULE) -> Blst | None:
    """Return blst if the module brings it and it computes what arkworks computes, else nothing."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return None
    try:
        return Blst(found.origin)
    except BlstUnusable:
        return None


def _all(calls: Iterable[int]) -> None:
    """Make calls whose results are in memory."""
    deque(calls, maxlen=0)
