"""From rows to the cells of a cube: units bounded first, values clipped and rounded, then summed.

All of it happens at the depositor; what leaves is encrypted cells.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from privacy.deposit.cube import Cube, CubeLane
from privacy.deposit.errors import RowsRefused
from privacy.lanes import LaneKind
from privacy.types import Digest

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
RANK_BYTES = 16


@dataclass(frozen=True, slots=True)
class CubeRows:
    """Rows, by column.

    Attributes:
        codes: for each dimension the place of each row's value, |domain| for an undeclared value or NULL.
        measures: by column; NaN is NULL.
    """

    codes: tuple[Integers, ...] = field(repr=False)
    measures: Mapping[str, Numbers] = field(repr=False)
    count: int

    def __post_init__(self) -> None:
        for column in (*self.codes, *self.measures.values()):
            if len(column) != self.count:
                raise RowsRefused(f"expected columns of {self.count} rows, found {len(column)}")

    def taken(self, kept: NDArray[np.bool_]) -> CubeRows:
        """Return the rows where `kept` is true."""
        measures = {name: values[kept] for name, values in self.measures.items()}
        return CubeRows(tuple(codes[kept] for codes in self.codes), measures, int(kept.sum()))


def bound_units(
    policy_hash: Digest, units: Sequence[str | None], keys: Sequence[Sequence[str | None]], rows_per_unit: int
) -> NDArray[np.bool_]:
    """Tell which rows count: of a unit's rows the m with the least hash.

    The hash is the first 16 bytes of SHA-256 of `hex(policy hash)` and, for the unit and each further column, `|⟨characters⟩:⟨text⟩`;
    NULL is empty. It is a plan's rule (docs/protocol.md §6) with the policy in place of the plan, as a deposit is
    made before any plan.

    Args:
        policy_hash: of the deposit's policy.
        units: the unit of each row, as text.
        keys: for each row the columns that tell a unit's rows apart, as text.
        rows_per_unit: m, at least 1.

    Raises:
        RowsRefused: as many keys as units are needed.
    """
    if len(units) != len(keys):
        raise RowsRefused(f"expected a key for each of {len(units)} rows, found {len(keys)}")
    rows: defaultdict[str | None, list[int]] = defaultdict(list)
    for row, unit in enumerate(units):
        rows[unit].append(row)
    kept = np.ones(len(units), dtype=bool)
    for unit, own in rows.items():
        if len(own) > rows_per_unit:
            own.sort(key=lambda row: _rank(policy_hash, (unit, *keys[row])))
            kept[own[rows_per_unit:]] = False
    return kept


def tabulate(cube: Cube, rows: CubeRows) -> Integers:
    """Return the cells of a cube.

    Args:
        cube: the cube.
        rows: bounded already: no unit has more than m of them.

    Raises:
        RowsRefused: more rows than the cube's ceiling, another number of dimensions, a place outside a domain, or a
            measure that is not there.
    """
    if rows.count > cube.rows_max or len(rows.codes) != len(cube.dimensions):
        message = f"expected at most {cube.rows_max} rows of {len(cube.dimensions)} dimensions"
        raise RowsRefused(f"{message}, found {rows.count} of {len(rows.codes)}")
    groups = np.zeros(rows.count, dtype=np.int64)
    for dimension, codes in zip(cube.dimensions, rows.codes, strict=True):
        if rows.count and not 0 <= int(codes.min()) <= int(codes.max()) < dimension.size:
            raise RowsRefused(f"{dimension.column!r}: a place outside [0, {dimension.size})")
        groups = groups * dimension.size + codes
    cells = np.zeros(cube.cells, dtype=np.int64)
    for index, lane in enumerate(cube.lanes):
        known = np.ones(rows.count, dtype=bool)
        for name in _needed(lane):
            known &= ~np.isnan(_measure(rows, name))
        own = rows.taken(known)
        start = cube.start(index)
        bins = _bins(lane, own)
        np.add.at(cells, start + bins * cube.groups + groups[known], _values(lane, own))
    return cells


def quantised(values: Numbers, *, low: Decimal, high: Decimal, scale_bits: int) -> Integers:
    """Return ⌊clip(x)·2^s + 0.5⌋ of each value, in IEEE doubles."""
    clipped = np.clip(values, float(low), float(high))
    return np.floor(np.ldexp(clipped, scale_bits) + 0.5).astype(np.int64)


def _needed(lane: CubeLane) -> set[str]:
    """Return the measures that must not be NULL for a row to add anything."""
    names = {lane.column, None if lane.by is None else lane.by.column, *lane.present}
    return {name for name in names if name is not None}


def _measure(rows: CubeRows, name: str) -> Numbers:
    if name not in rows.measures:
        raise RowsRefused(f"the rows have no measure {name!r}")
    return rows.measures[name]


def _integers(lane: CubeLane, rows: CubeRows) -> Integers:
    """Return the quantised values of the lane's measure."""
    if lane.column is None or lane.low is None or lane.high is None:
        raise RowsRefused("a lane that reads no value")
    return quantised(rows.measures[lane.column], low=lane.low, high=lane.high, scale_bits=lane.scale_bits)


def _bins(lane: CubeLane, rows: CubeRows) -> Integers:
    """Return the bin of each row: the last one holds its upper end too."""
    if lane.kind is not LaneKind.HISTOGRAM:
        return np.zeros(rows.count, dtype=np.int64)
    found = np.searchsorted(np.array(lane.edges), _integers(lane, rows), side="right") - 1
    return np.minimum(found, lane.bins - 1).astype(np.int64)


def _values(lane: CubeLane, rows: CubeRows) -> Integers:
    """Return what each row adds."""
    if lane.kind in (LaneKind.COUNT, LaneKind.COUNT_OF, LaneKind.HISTOGRAM):
        return np.ones(rows.count, dtype=np.int64)
    centred = _integers(lane, rows) - lane.center
    if lane.by is not None:
        by = lane.by
        second = quantised(rows.measures[by.column], low=by.low, high=by.high, scale_bits=by.scale_bits)
        return centred * (second - by.center)
    return centred * centred if lane.kind is LaneKind.SQUARE else centred


def _rank(policy_hash: Digest, texts: Sequence[str | None]) -> bytes:
    parts = [policy_hash.hex()]
    parts += [f"|{len(text)}:{text}" for text in (each or "" for each in texts)]
    return hashlib.sha256("".join(parts).encode()).digest()[:RANK_BYTES]
