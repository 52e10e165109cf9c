"""A large made-up table of meter readings, several of each customer, written in pieces: memory stays flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

TOWNS = ("滨海", "城北", "城南", "东湖", "高新", "古镇", "河西", "江口", "金山", "开发")
ROWS_PER_UNIT = 4
CHUNK_ROWS = 500_000

POLICY = f"""\
version: 1
listing: readings
title: meter readings of a benchmark
privacy_unit: {{column: customer, rows_per_unit: {ROWS_PER_UNIT}, proved: false, disjoint: true}}
row_key: [reading]
rows_max: 20000000
columns:
  customer: {{type: text, role: none, nullable: false}}
  reading: {{type: integer, role: none, nullable: false}}
  town: {{type: text, role: dimension, domain: [{", ".join(TOWNS)}], filter: true}}
  kwh: {{type: number, role: measure, low: 0, high: 100000, scale_bits: 4, filter: true}}
aggregates: [count, count_distinct, sum, avg]
purposes: [benchmark]
buyers: "*"
rho: {{per_request: "0.1", total: "100"}}
price: {{fee_minor: 100, rate_minor_per_rho: 1000}}
min_holders: 1
approval: automatic
"""

SQL = (
    "SELECT town, COUNT(*) AS n, COUNT(DISTINCT customer) AS customers, AVG(kwh) AS kwh "
    "FROM readings GROUP BY town"
)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea, Flood 2014)."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def write(path: Path, rows: int) -> None:
    """Write `rows` readings of about rows/4 customers; more than a third of them have more than the cap."""
    with pq.ParquetWriter(path, _chunk(0, 1, rows).schema, compression="zstd") as writer:
        for start in range(0, rows, CHUNK_ROWS):
            writer.write_table(_chunk(start, min(CHUNK_ROWS, rows - start), rows))


def _chunk(start: int, count: int, rows: int) -> pa.Table:
    reading = np.arange(start, start + count, dtype=np.uint64)
    customer = mix(reading + np.uint64(1)) % np.uint64(max(1, rows // ROWS_PER_UNIT))
    town = (mix(customer) % np.uint64(len(TOWNS))).astype(np.int32)
    kwh = (mix(reading + np.uint64(1 << 40)) >> np.uint64(40)).astype(np.float64) / 200
    return pa.table(
        {
            "customer": pa.array([f"C{number:08d}" for number in customer.tolist()]),
            "reading": pa.array(reading.astype(np.int64)),
            "town": pa.DictionaryArray.from_arrays(pa.array(town), pa.array(TOWNS)).dictionary_decode(),
            "kwh": pa.array(kwh),
        }
    )
