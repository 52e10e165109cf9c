"""The demo's table of enterprises with a policy and a question of 660 cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.demo.electricity import write

TOWNS = ["滨海", "城北", "城南", "东湖", "高新", "古镇", "河西", "江口", "金山", "开发"]
INDUSTRIES = ["采矿", "电力", "纺织", "化工", "机械", "建材", "食品", "冶金", "医药"]
HOLDERS = 3

POLICY = f"""\
version: 1
listing: electricity
title: electricity use of enterprises
privacy_unit: {{column: enterprise_id, rows_per_unit: 1, proved: true, disjoint: true}}
row_key: [enterprise_id]
rows_max: 20000000
columns:
  enterprise_id: {{type: text, role: none, nullable: false}}
  town: {{type: text, role: dimension, domain: [{", ".join(TOWNS)}], filter: true}}
  industry: {{type: text, role: dimension, domain: [{", ".join(INDUSTRIES)}], filter: true}}
  kwh: {{type: number, role: measure, low: 0, high: 500000, scale_bits: 2, filter: true}}
  peak_kwh: {{type: number, role: measure, low: 0, high: 400000, scale_bits: 2, filter: true}}
  employees: {{type: integer, role: measure, low: 0, high: 5000, scale_bits: 0, nullable: false, filter: true}}
aggregates: [count, sum, avg]
purposes: [benchmark]
buyers: "*"
rho: {{per_request: "0.1", total: "1000"}}
price: {{fee_minor: 100, rate_minor_per_rho: 1000}}
min_holders: 3
approval: automatic
"""

# 11 towns × 10 industries × 6 lanes: count(*), and sum and count of kwh and of peak_kwh, and sum of employees
SQL = (
    "SELECT town, industry, COUNT(*) AS n, AVG(kwh) AS kwh, AVG(peak_kwh) AS peak, SUM(employees) AS employees "
    "FROM electricity GROUP BY town, industry"
)
CELLS = (len(TOWNS) + 1) * (len(INDUSTRIES) + 1) * 6


@contextmanager
def tables(rows: int) -> Iterator[list[Path]]:
    """Write the three holders' tables for the length of a benchmark."""
    with TemporaryDirectory(prefix="shuyao-bench-") as folder:
        paths = [Path(folder) / f"electricity-{number}.parquet" for number in range(1, HOLDERS + 1)]
        for number, path in enumerate(paths, start=1):
            write(path, number, rows, towns=TOWNS, industries=INDUSTRIES)
        yield paths
