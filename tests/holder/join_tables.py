"""Two small tables with every awkward key, and what each side of a join brings of them, as plain Python computes it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from privacy.fixed_point import quantise
from privacy.join import Rule, join_key
from privacy.join.errors import KeyMalformed
from privacy.lanes import Lane, LaneKind
from privacy.plan import Plan
from privacy.policy import Policy
from tests.privacy.join_plan_world import fields

Row = dict[str, Any]
TEXTS = ("X1", "x1", " X1", "Ｘ１", "X 1", "", None, "?", "Y2", "Y2 ", "Z\u200b3", "Z3")
GRADES = ("甲", "乙", "丙", "丁", None)
TOWNS = ("东镇", "西镇", "?", None, "南镇 ")


def example(*, rule: str = "text", **sides: int) -> Policy:
    """The example's policy with another rule and multiplicities, small lists and unknown values."""
    return Policy.from_mapping(example_fields(rule=rule, **sides))


def example_fields(*, rule: str = "text", **sides: int) -> dict[str, Any]:
    """The fields of that policy."""
    given = fields()
    given["null_values"] = ["?"]
    given["join"]["normalise"] = rule
    bank, power = sides.get("bank", 2), sides.get("power", 3)
    given["join"]["sides"] = {
        "银行": {"multiplicity": bank, "rows_max": 4000, "list_max": 64},
        "供电": {"multiplicity": power, "rows_max": 4000, "list_max": 64},
    }
    given["privacy_unit"]["rows_per_unit"] = bank * power
    return given


def bank_rows(count: int) -> list[Row]:
    """Deterministic customers."""
    rows = []
    for number in range(count):
        seed = hashlib.sha256(b"bank%d" % number).digest()
        rows.append(
            {
                "统一社会信用代码": _key(seed),
                "客户号": f"C{number:05}",
                "信用等级": GRADES[seed[3] % len(GRADES)],
                "贷款余额": None if seed[4] % 7 == 0 else seed[5] * 25.5,
            }
        )
    return rows


def power_rows(count: int) -> list[Row]:
    """Deterministic meters."""
    rows = []
    for number in range(count):
        seed = hashlib.sha256(b"power%d" % number).digest()
        rows.append(
            {
                "统一社会信用代码": _key(seed),
                "电表号": f"M{number:05}",
                "月份": f"2026-{seed[3] % 12 + 1:02}",
                "行业": ("制造业", "零售业", "农业")[seed[4] % 3],
                "镇": TOWNS[seed[6] % len(TOWNS)],
                "用电量": seed[7] * 20.125 - 100,
            }
        )
    return rows


def _key(seed: bytes) -> str | None:
    return TEXTS[seed[0] % len(TEXTS)] if seed[1] % 3 == 0 else f"K{seed[2] % 20}"


def normal(policy: Policy, text: str | None, rule: Rule) -> bytes | None:
    """A key's normal form, None where it matches nothing."""
    if text is None or text in policy.null_values:
        return None
    try:
        return join_key((rule,), (text,))
    except KeyMalformed:
        return None


def kept(
    rows: Sequence[Row], plan: Plan, policy: Policy, rule: Rule, side: str, most: int
) -> list[tuple[bytes, Row]]:
    """The rows that count, with their keys: of each key the m with the least hash."""
    names = [name for name in policy.row_key if (policy.column(name) or _none()).side == side]
    by_key: dict[bytes, list[Row]] = {}
    for row in rows:
        key = normal(policy, row["统一社会信用代码"], rule)
        if key is not None:
            by_key.setdefault(key, []).append(row)
    found, plan_hash = [], plan.hash().hex()
    for key, mine in by_key.items():
        ranked = sorted(mine, key=lambda row: _rank(row, plan_hash, names))
        found += [(key, row) for row in ranked[:most]]
    return found


def _none() -> Any:
    raise AssertionError("the policy lacks a column")


def _rank(row: Row, plan_hash: str, names: Sequence[str]) -> bytes:
    text = plan_hash
    for name in ("统一社会信用代码", *names):
        value = "" if row[name] is None else str(row[name])
        text += f"|{len(value)}:{value}"
    return hashlib.sha256(text.encode()).digest()[:16]


def group_of(plan: Plan, columns: Sequence[str], row: Mapping[str, Any], policy: Policy) -> int:
    """The number of a row's group among those of some of the plan's dimensions."""
    group = 0
    for dimension in plan.group_by:
        if dimension.column in columns:
            value = row[dimension.column]
            place = dimension.domain.index(value) if value in dimension.domain else len(dimension.domain)
            group = group * dimension.size + place
    return group


def amount(lane: Lane, row: Mapping[str, Any]) -> int:
    """What a row adds to a lane, on its grid."""
    if lane.kind is LaneKind.COUNT:
        return 1 << lane.grid_bits
    value = row[str(lane.column)]
    if value is None or math.isnan(value):
        return 0
    if lane.kind is LaneKind.COUNT_OF:
        return 1 << lane.grid_bits
    assert lane.low is not None and lane.high is not None
    clipped = min(max(float(value), float(lane.low)), float(lane.high))
    number = quantise(clipped, lane.scale_bits) - lane.center
    return (number if lane.kind is LaneKind.SUM else number**2) << lane.grid_bits
