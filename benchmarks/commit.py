"""Commitments to 1,024 signed cells: ours beside py_ecc's sum of products, and what they cost a holder."""

from __future__ import annotations

import hashlib
import tempfile
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point, Scalar
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.optimized_bls12_381.optimized_curve import add, multiply, neg, normalize

from benchmarks.environment import machine
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms, cpu_ms_of
from privacy.curve import commit, encode_point
from privacy.encoding import keccak, tagged_hash
from privacy.generators import GeneratorCache, Generators
from privacy.prg import CURVE_ORDER

CELLS = 1024
REPEATS = 15
Point = tuple[FQ, FQ, FQ]


def signed_cells(count: int) -> NDArray[np.int64]:
    """Return cells over the whole range |x| < 2^62, both signs, the same on every machine."""
    stream = hashlib.shake_256(b"shuyao/benchmark/commit").digest(8 * count)
    return np.frombuffer(stream, dtype="<i8") >> 1


def run() -> dict[str, Any]:
    """Measure and compare; py_ecc does all the cells once."""
    env = machine(("py_arkworks_bls12381", "py_ecc", "numpy"))
    cells = signed_cells(CELLS)
    blinding = int.from_bytes(hashlib.sha512(b"shuyao/benchmark/blinding").digest(), "big") % CURVE_ORDER
    with tempfile.TemporaryDirectory() as folder:
        cold_ms, _ = cpu_ms_of(lambda: GeneratorCache(Path(folder)).take(CELLS))
        loading_ms = cpu_ms(lambda: GeneratorCache(Path(folder)).take(CELLS), repeats=REPEATS)
        node = GeneratorCache(Path(folder))
        generators = node.take(CELLS)  # as `holder.warming.prepare` does before the node is ready

    def verified_path() -> bytes:
        kept = node.take(CELLS)
        return tagged_hash("commitment", bytes(32), bytes(20), keccak(commit(kept, cells, blinding)))

    path_ms = cpu_ms(verified_path, repeats=REPEATS)
    ours_ms = cpu_ms(lambda: commit(generators, cells, blinding), repeats=REPEATS)
    bases = [_py_ecc_point(point) for point in (*generators.points, generators.blinding)]
    peer_ms, peer_point = cpu_ms_of(lambda: naive_sum(bases, [*cells.tolist(), blinding]))
    if _encoded(peer_point) != commit(generators, cells, blinding):
        raise AssertionError("py_ecc's sum is another point")
    figures = {
        "times_faster_than_py_ecc": peer_ms / ours_ms,
        "commit_ms": ours_ms,
        "py_ecc_ms": peer_ms,
        "holder_added_ms": path_ms,
        "generators_loaded_at_start_ms": loading_ms,
        "generators_made_ms": cold_ms,
        "naive_arkworks_ms": _naive_arkworks_ms(generators, cells),
    }
    targets = {
        "times_faster_than_py_ecc": Target(at_least=120),
        "holder_added_ms": Target(at_most=10),
    }
    method = {
        "cells": f"{CELLS}, |x| < 2^62 with both signs, and a blinding below q",
        "peer": "py_ecc.optimized_bls12_381: Σ |x|·G, negated where x < 0, one product at a time; all cells",
        "checked": "both points are equal",
        "holder_added_ms covers": "a request in a running node: generators, which it keeps in memory, commitment, hash of it",
        "not in it": "generators_loaded_at_start_ms, once a start; generators_made_ms, once a home",
        "time": f"CPU of the process, all threads; ours the median of {REPEATS}, py_ecc once",
    }
    return report("commit", figures, targets, env | method)


def naive_sum(bases: list[Point], scalars: list[int]) -> Point:
    """Return Σ x_j·P_j with py_ecc, one product at a time."""
    products = (
        neg(multiply(base, -scalar)) if scalar < 0 else multiply(base, scalar)
        for base, scalar in zip(bases, scalars, strict=True)
    )
    return reduce(add, products)


def _naive_arkworks_ms(generators: Generators, cells: NDArray[np.int64]) -> float:
    """Return what one product at a time costs with the fast library."""

    def work() -> G1Point:
        total = G1Point.identity()
        for point, cell in zip(generators.points, cells.tolist(), strict=True):
            total = total + (-point if cell < 0 else point) * Scalar(abs(cell))
        return total

    return cpu_ms(work, repeats=1, warm_up=0)


def _py_ecc_point(point: G1Point) -> Point:
    data = point.to_xy_bytes_be()
    return FQ(int.from_bytes(data[:48], "big")), FQ(int.from_bytes(data[48:], "big")), FQ(1)


def _encoded(point: Point) -> bytes:
    x, y = normalize(point)
    return encode_point(
        G1Point.from_xy_bytes_unchecked_be(int(x).to_bytes(48, "big") + int(y).to_bytes(48, "big"))
    )
