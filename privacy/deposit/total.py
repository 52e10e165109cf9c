"""Sums over sub-cubes of a stored deposit, as a stream, and the check of its points when a trustee takes it in.

Both are one pure function a file, so that they run here, in processes, or on a cluster alike (`privacy.deposit.parallel`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.deposit.elgamal import Ciphertexts
from privacy.deposit.errors import DepositInvalid, PointRefused, SelectionInvalid
from privacy.deposit.parallel import Mapper
from privacy.deposit.points import are_in_subgroup, decode_curve_points, encode_points
from privacy.deposit.selection import Selection
from privacy.deposit.sizes import POINT_BYTES
from privacy.deposit.stored import BLOCK_CELLS, FRAGMENT_CELLS, Deposit
from privacy.encoding import WORD_BYTES
from privacy.prg import derive_key

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SumJob:
    """The part of a selection that is in one file."""

    deposit: Deposit
    fragment: int
    cells: Integers = field(repr=False)
    results: Integers = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckJob:
    """One file whose points are to be checked."""

    deposit: Deposit
    fragment: int
    rand: bytes = field(repr=False)


def sum_cells(deposit: Deposit, selection: Selection, *, mapper: Mapper = map) -> Ciphertexts:
    """Return the encrypted sums of a selection.

    Only files with selected cells are read, each block of them is checked against the deposit's root, and the points against
    the curve; the subgroup is `check_points`' matter, once, and that of whoever decrypts the sums.

    Args:
        deposit: complete, and with the root that is on the chain.
        selection: cells of it.
        mapper: where files are summed.

    Raises:
        SelectionInvalid: a cell beyond the deposit's last.
        DepositInvalid: a file or block that is not of the deposit's root, or a point that is none.
    """
    cells = selection.cells
    if len(cells) and int(cells[-1]) >= deposit.header.cells:
        raise SelectionInvalid(f"cell {int(cells[-1])} of {deposit.header.cells}")
    total = Ciphertexts.zero(selection.count)
    for results, data in mapper(sum_fragment, _sum_jobs(deposit, selection)):
        points = decode_curve_points(data)
        for result, a, b in zip(results, points[::2], points[1::2], strict=True):
            total.a[result] += a
            total.b[result] += b
    return total


def sum_fragment(job: SumJob) -> tuple[list[int], bytes]:
    """Return the sums over one file: the result cells that it has cells of, and A ‖ B of each.

    Raises:
        DepositInvalid: the file, a block or a point is not what the deposit's root says.
    """
    blocks = np.unique(job.cells // BLOCK_CELLS)
    ends = np.searchsorted(job.cells, (blocks + 1) * BLOCK_CELLS).tolist()
    totals: dict[int, tuple[G1Point, G1Point]] = {}
    for block, start, end in zip(blocks.tolist(), [0, *ends], ends, strict=False):
        ((a, b),) = job.deposit.read_blocks(job.fragment, [block])
        local = job.cells[start:end] - block * BLOCK_CELLS
        parts = _sums(a, local, job.results[start:end]), _sums(b, local, job.results[start:end])
        for (result, sum_a), (_, sum_b) in zip(*parts, strict=True):
            before = totals.get(result)
            totals[result] = (sum_a, sum_b) if before is None else (before[0] + sum_a, before[1] + sum_b)
    return list(totals), encode_points(point for pair in totals.values() for point in pair)


def fragments_of(selection: Selection) -> list[int]:
    """Return the files that have selected cells, ascending: a sum is one job for each."""
    found: list[int] = np.unique(selection.cells // FRAGMENT_CELLS).tolist()
    return found


def check_points(deposit: Deposit, rand: bytes, *, mapper: Mapper = map) -> None:
    """Require every point of a deposit to be in the subgroup; a trustee does so once, before it registers the deposit.

    Args:
        deposit: complete.
        rand: 32 bytes, drawn after the deposit's root was fixed.
        mapper: where files are checked.

    Raises:
        DepositInvalid: a file, block or point that is not of the root, or a point outside the subgroup, naming the file.
    """
    jobs = (
        CheckJob(deposit, fragment, derive_key(rand, bytes(WORD_BYTES), "deposit-check", fragment, 0))
        for fragment in range(deposit.header.fragments)
    )
    for _ in mapper(check_fragment, jobs):
        pass


def check_fragment(job: CheckJob) -> int:
    """Check the points of one file and return their number; errors as `check_points`."""
    points: list[G1Point] = []
    for columns in job.deposit.read_blocks(job.fragment, job.deposit.header.fragment_blocks(job.fragment)):
        for data in columns:
            points += _decode(data)
    if not are_in_subgroup(points, job.rand):
        raise DepositInvalid(f"fragment {job.fragment}: a point outside the subgroup of order q")
    return len(points)


def _sum_jobs(deposit: Deposit, selection: Selection) -> Iterator[SumJob]:
    cells, fragments = selection.cells, fragments_of(selection)
    ends = np.searchsorted(cells, [(each + 1) * FRAGMENT_CELLS for each in fragments]).tolist()
    for fragment, start, end in zip(fragments, [0, *ends], ends, strict=False):
        yield SumJob(deposit, fragment, cells[start:end], selection.results[start:end])


def _sums(column: bytes, cells: Integers, results: Integers) -> Iterable[tuple[int, G1Point]]:
    """Return for each result cell, ascending, the sum of its points in one column of a block."""
    order = np.argsort(results, kind="stable")
    own = results[order]
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    points = _chosen(column, cells)
    if bool(np.any(own != results)):
        points = [points[index] for index in order.tolist()]
    ends = [*starts[1:].tolist(), len(points)]
    runs = zip(own[starts].tolist(), starts.tolist(), ends, strict=True)
    return [(result, sum(points[start + 1 : end], points[start])) for result, start, end in runs]


def _chosen(column: bytes, cells: Integers) -> list[G1Point]:
    """Return the points of these cells; each is decoded once, however often it is chosen."""
    rows = np.frombuffer(column, dtype=f"V{POINT_BYTES}")
    different, places = np.unique(cells, return_inverse=True)
    points = _decode(rows[different].tobytes() if len(different) < len(rows) else column)
    return points if len(different) == len(cells) else [points[place] for place in places.tolist()]


def _decode(data: bytes) -> list[G1Point]:
    try:
        return decode_curve_points(data)
    except PointRefused as err:
        raise DepositInvalid(str(err)) from err
