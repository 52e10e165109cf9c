"""The demo's made-up table: a year's electricity use of enterprises by town and industry.

Every value is a function of (holder, row) alone, so two runs give the same table on any machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Uniform = npt.NDArray[np.float64]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea, Flood 2014): spreads counters over 64 bits."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _uniform(holder: int, column: int, rows: int) -> Uniform:
    """Return `rows` numbers in [0, 1) for one column of one holder."""
    start = np.uint64((holder << 48) + (column << 40) + 1)
    counters = np.arange(rows, dtype=np.uint64) + start
    return (_mix(counters) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _choice(share: Uniform, names: list[str], skew: float) -> pa.Array:
    """Pick names, the earlier ones more often; `skew` 1 is even."""
    indices = np.minimum((share**skew * len(names)).astype(np.int32), len(names) - 1)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names)).dictionary_decode()


def table(holder: int, rows: int, *, towns: list[str], industries: list[str]) -> pa.Table:
    """Make the table of one holder.

    Args:
        holder: from 1; other holders have other enterprises.
        rows: number of enterprises, one row each.
        towns, industries: the policy's domains; a hundredth of the rows is outside them, or unknown.
    """
    size = sum(_uniform(holder, c, rows) for c in (3, 4, 5, 6)) - 2.0  # near normal, variance 1/3
    kwh = np.round(np.minimum(np.exp(9.0 + 1.6 * size), 499_999.0), 1)
    peak = np.round(kwh * (0.25 + 0.4 * _uniform(holder, 7, rows)), 1)
    employees = np.minimum(1 + kwh / (150 + 900 * _uniform(holder, 8, rows)), 5000).astype(np.int64)
    unknown = _uniform(holder, 9, rows) < 0.01
    return pa.table(
        {
            "enterprise_id": pa.array([f"E{holder}-{i:07d}" for i in range(rows)]),
            "town": _choice(_uniform(holder, 1, rows), [*towns, "市外"], 1.3),
            "industry": _choice(_uniform(holder, 2, rows), industries, 1.7),
            "kwh": pa.array(kwh, mask=unknown),
            "peak_kwh": pa.array(peak, mask=unknown),
            "employees": pa.array(employees),
        }
    )


def write(path: Path, holder: int, rows: int, *, towns: list[str], industries: list[str]) -> None:
    """Write one holder's table as Parquet, in pieces, so that memory stays flat."""
    pq.write_table(table(holder, rows, towns=towns, industries=industries), path, compression="zstd")
