"""Small tables with every awkward value, a policy over them, and the sums as plain Python computes them."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from privacy.fixed_point import quantise
from privacy.lanes import LaneKind
from privacy.layout import cell_index, cells_from_sums, group_index
from privacy.plan import Plan
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.sql import parse_query
from privacy.types import Address, AssetRef, Digest, ListingRef
from tests.privacy.logistic_world import step_amounts

INF, NAN = math.inf, math.nan
Row = dict[str, Any]

POLICY: dict[str, Any] = {
    "version": 1,
    "listing": "用电",
    "title": "Electricity use",
    "privacy_unit": {"column": "person", "rows_per_unit": 3, "proved": False, "disjoint": True},
    "row_key": ["id", "month"],
    "rows_max": 10_000,
    "columns": {
        "id": {"type": "integer"},
        "month": {"type": "text", "domain": ["2026-03", "2026-01", "2025-12"]},
        "person": {"type": "text"},
        "城镇": {"type": "text", "domain": ["南山", "福田", 'O\'Hara "x"', "a:b %s"], "filter": True},
        "grade": {
            "type": "integer",
            "domain": [1, 2, 9007199254740993],
            "low": -3,
            "high": 1000,
            "filter": True,
        },
        "kwh": {"type": "number", "low": "-2.75", "high": "1000.5", "scale_bits": 1, "filter": True},
        "age": {"type": "integer", "low": 0, "high": 120, "nullable": False, "filter": True},
    },
    "null_values": ["?", "n/a"],
    "aggregates": [
        "count",
        "count_distinct",
        "sum",
        "avg",
        "var",
        "stddev",
        "histogram",
        "quantile",
        "covar",
        "corr",
        "linreg",
        "chi2",
    ],
    "purposes": ["research"],
    "rho": {"per_request": "1", "total": "100"},
    "price": {"fee_minor": 1, "rate_minor_per_rho": 10},
    "min_holders": 2,
    "approval": "automatic",
}

KWH = [
    2.5,
    -2.5,
    NAN,
    INF,
    -INF,
    None,
    0.25,
    -0.25,
    0.75,
    1e308,
    -1e308,
    5e-324,
    -0.0,
    999.75,
    1000.5,
    -2.75,
    0.1,
]
TOWNS = ["南山", "福田", 'O\'Hara "x"', "a:b %s", "?", None, "龙岗", "other", "南山 "]
GRADES = [1, 2, 9007199254740993, 9007199254740992, None, -5]


def policy(**changes: Any) -> Policy:
    """The policy, with some of its fields replaced."""
    return Policy.from_mapping({**POLICY, **changes})


def proved(rows_per_unit: int = 1000) -> dict[str, Any]:
    """A privacy unit whose bound registration proves."""
    return {"column": "person", "rows_per_unit": rows_per_unit, "proved": True, "disjoint": True}


def make_plan(sql: str, given: Policy, *, rho_micro: int = 500_000) -> Plan:
    """The plan of a query over three holders."""
    assets = [
        AssetRef(Digest(bytes([n]) * 32), 1, Address(bytes([n]) * 20), given.hash(), Digest(bytes(32)))
        for n in (1, 2, 3)
    ]
    listing = ListingRef(Digest(bytes([9]) * 32), given.listing)
    return build_plan(
        parse_query(sql, given), given, listing, assets, purpose="research", rho_micro=rho_micro
    )


def make_rows(count: int, *, persons: int = 40) -> list[Row]:
    """Deterministic rows that go through all awkward values."""
    rows = []
    for number in range(count):
        seed = hashlib.sha256(number.to_bytes(4, "big")).digest()
        rows.append(
            {
                "id": number,
                "month": f"2026-{seed[0] % 12 + 1:02}",
                "person": f"人{seed[1] % persons}",
                "城镇": TOWNS[seed[2] % len(TOWNS)],
                "grade": GRADES[seed[3] % len(GRADES)],
                "kwh": KWH[seed[4] % len(KWH)] if seed[5] % 4 else seed[6] / 7 - 3,
                "age": seed[7] % 130 - 5,
            }
        )
    return rows


def expected_cells(rows: Sequence[Row], plan: Plan, given: Policy, keep: Callable[[Row], bool]) -> list[int]:
    """The cells as plain Python computes them."""
    nulls = set(given.null_values)
    kept = [row for row in rows if keep(row)]
    if plan.unit.column is not None and not plan.unit.proved:
        kept = _cap(kept, plan)
    sums = [0] * plan.values
    units: dict[tuple[int, int], set[Any]] = {}
    for row in kept:
        key = [None if row[d.column] in nulls else row[d.column] for d in plan.group_by]
        group = group_index(plan, key)
        for number, lane in enumerate(plan.lanes):
            value = None if lane.column is None else row[lane.column]
            if lane.kind is LaneKind.DISTINCT:
                units.setdefault((number, group), set()).add(value)
                continue
            if lane.table:
                places = [
                    list(d.domain).index(row[d.column]) if row[d.column] in d.domain else None
                    for d in lane.table
                ]
                if None not in places:
                    bin_ = places[0] * len(lane.table[1].domain) + places[1]
                    sums[cell_index(plan, number, group, bin_)] += 1
                continue
            if lane.logistic is not None:
                known = {name: None if each in nulls else each for name, each in row.items()}
                amounts = step_amounts(lane.logistic, str(lane.column), lane.scale_bits, known)
                for bin_, amount in enumerate(amounts):
                    sums[cell_index(plan, number, group, bin_)] += amount
                continue
            needed = [lane.column, *([] if lane.by is None else [lane.by.column]), *lane.present]
            if any(name is not None and _is_missing(row[name]) for name in needed):
                continue
            bin_, amount = _amount(lane, value)
            if lane.by is not None:
                amount = _centred(lane, value) * _centred(lane.by, row[lane.by.column])
            sums[cell_index(plan, number, group, bin_)] += amount
    for (number, group), found in units.items():
        sums[cell_index(plan, number, group)] = len(found)
    return [int(cell) for cell in cells_from_sums(plan, sums)]


def _is_missing(value: Any) -> bool:
    return value is None or math.isnan(value)


def _centred(factor: Any, value: Any) -> int:
    clipped = min(max(float(value), float(factor.low)), float(factor.high))
    return quantise(clipped, factor.scale_bits) - int(factor.center)


def _amount(lane: Any, value: Any) -> tuple[int, int]:
    if lane.kind in (LaneKind.COUNT, LaneKind.COUNT_OF):
        return 0, 1
    number = quantise(min(max(float(value), float(lane.low)), float(lane.high)), lane.scale_bits)
    if lane.kind is LaneKind.HISTOGRAM:
        inside = [k for k in range(lane.bins) if lane.edges[k] <= number < lane.edges[k + 1]]
        return (inside[0] if inside else lane.bins - 1), 1
    centred = number - lane.center
    return 0, centred if lane.kind is LaneKind.SUM else centred * centred


def _cap(rows: Sequence[Row], plan: Plan) -> list[Row]:
    by_unit: dict[str, list[Row]] = {}
    for row in rows:
        by_unit.setdefault(row[plan.unit.column or ""], []).append(row)
    kept, plan_hash = [], plan.hash().hex()
    for mine in by_unit.values():
        kept += sorted(mine, key=lambda row: _rank(row, plan, plan_hash))[: plan.unit.rows_per_unit]
    return kept


def _rank(row: Row, plan: Plan, plan_hash: str) -> bytes:
    text = plan_hash
    for name in (plan.unit.column or "", *plan.unit.row_key):
        text += f"|{len(str(row[name]))}:{row[name]}"
    return hashlib.sha256(text.encode()).digest()[:16]


def write_csv(path: Path, rows: Sequence[Row], *, separator: str = ",") -> None:
    """Write rows as CSV; None is an empty field."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(["" if value is None else _text(value) for value in row.values()])


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def columns_of(rows: Sequence[Row]) -> Mapping[str, list[Any]]:
    """The rows by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}
