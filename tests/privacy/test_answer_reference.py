"""The table is derived a second time, from a plan's JSON and the cells, as docs/protocol.md §6 says and nothing else.

Nothing of `privacy` is used in the derivation; both must agree to the last bit.
"""

import json
import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.errors import PlanRejected
from tests.privacy.plan_world import params_of, plan_of, policies, queries

Z1, Z2, Z3 = Fraction(1_959_964, 10**6), Fraction(2_241_403, 10**6), Fraction(2_393_980, 10**6)
HALF = Fraction(1, 2)
Pair = tuple[Any, Any]


def root(value: Fraction) -> Fraction:
    if value <= 0:
        return Fraction(0)
    k = 64 + max(0, value.denominator.bit_length() - value.numerator.bit_length())
    scaled = math.ceil(value * Fraction(4) ** k)
    found = math.isqrt(scaled)
    return Fraction(found + (found * found < scaled), 2**k)


class Lane:
    def __init__(
        self, plan: dict[str, Any], lane: dict[str, Any], start: int, roster: int, survivors: int
    ) -> None:
        self.kind, self.column, self.start = lane["kind"], lane["column"], start
        self.bins = max(1, len(lane["edges"]) - 1)
        s, g = int(lane["scale_bits"]), int(lane["grid_bits"])
        c = int(plan["colluders"])
        t = (roster + c) // 2 + 1
        divisor = roster - c - min(int(plan["dropouts"]), roster - t)
        sigma_squared = Fraction(4) ** g * int(lane["delta_squared"]) * 10**6 / (2 * int(lane["rho"]))
        self.variance = survivors * sigma_squared / divisor
        self.unit = Fraction(2) ** -({"sum": s, "square": 2 * s}.get(self.kind, 0) + g)
        self.center = int(lane["center"]) * Fraction(2) ** -s
        self.half_width = int(lane["half_width"]) * Fraction(2) ** -s
        self.rounding = Fraction(0) if lane["type"] == "integer" and s >= 0 else Fraction(2) ** (-s - 1)

    def error(self, z: Fraction) -> Fraction:
        return (root(z * z * self.variance) + HALF) * self.unit


class Table:
    def __init__(self, data: bytes, roster: int, survivors: int, cells: list[int]) -> None:
        plan = json.loads(data)
        self.cells = cells
        self.names = [dimension["column"] for dimension in plan["group_by"]]
        keys = [
            [int(each) if dimension["type"] == "integer" else each for each in dimension["domain"]]
            + ["other"]
            for dimension in plan["group_by"]
        ]
        self.groups = list(product(*keys))
        self.lanes: dict[tuple[str, str | None, int], Lane] = {}
        start = 0
        for each in plan["lanes"]:
            lane = Lane(plan, each, start, roster, survivors)
            self.lanes[lane.kind, lane.column, lane.bins] = lane
            start += lane.bins * len(self.groups)
        columns = [column for output in plan["outputs"] for column in self.columns(output)]
        order = sorted(
            range(len(self.groups)),
            key=lambda g: [(0, k, "") if isinstance(k, int) else (1, 0, k) for k in self.groups[g]],
        )
        self.rows = [[column[g][0] for column in columns] for g in order]
        self.errors = [[column[g][1] for column in columns] for g in order]

    def value(self, lane: Lane, group: int, bin_: int = 0) -> Fraction:
        return self.cells[lane.start + bin_ * len(self.groups) + group] * lane.unit

    def columns(self, output: dict[str, Any]) -> list[list[Pair]]:
        kind, column, bins = output["kind"], output["column"], int(output["bins"] or 1)
        every = range(len(self.groups))
        if kind == "group":
            return [[(key[self.names.index(column)], None) for key in self.groups]]
        counts = {"count": "count", "count_distinct": "distinct", "histogram": "histogram"}
        if kind in counts:
            lane = self.lanes[counts[kind], column, bins]
            error = float(lane.error(Z1) + HALF)
            return [
                [(math.floor(self.value(lane, group, bin_) + HALF), error) for group in every]
                for bin_ in range(bins)
            ]
        return [[self.measure(kind, column, group) for group in every]]

    def measure(self, kind: str, column: str, group: int) -> Pair:
        count = self.lanes.get(("count_of", column, 1)) or self.lanes["count", None, 1]
        total = self.lanes["sum", column, 1]
        rows, centred = self.value(count, group), self.value(total, group)
        a, b = total.error(Z2), count.error(Z2)
        if kind == "sum":
            error = root(a**2 + (total.center * b) ** 2) + total.rounding * (abs(rows) + b)
            return float(centred + total.center * rows), float(error)
        if kind == "avg":
            if rows <= b:
                return None, None
            r = centred / rows
            return float(total.center + r), float((a + abs(r) * b) / (rows - b) + total.rounding)
        return self.spread(kind, count, total, self.lanes["square", column, 1], group)

    def spread(self, kind: str, count: Lane, total: Lane, square: Lane, group: int) -> Pair:
        rows, a, b = self.value(count, group), total.error(Z3), count.error(Z3)
        if rows - kind.endswith("samp") <= b:
            return None, None
        p, r = self.value(square, group) / rows, self.value(total, group) / rows
        t = r + total.center - square.center
        q = square.rounding
        e_p = (square.error(Z3) + abs(p) * b) / (rows - b) + q * (2 * square.half_width + q)
        e_t = (a + abs(r) * b) / (rows - b) + total.rounding
        value, error = max(Fraction(0), p - t * t), e_p + e_t * (2 * abs(t) + e_t)
        if kind.endswith("samp"):
            more = (value + error) * b / ((rows - 1) * (rows - 1 - b))
            value, error = value * rows / (rows - 1), error * rows / (rows - 1) + more
        if kind.startswith("stddev"):
            y = root(value)
            value, error = y, max(root(value + error) - y, y - root(max(Fraction(0), value - error)))
        return float(value), float(error)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_stranger_derives_the_same_table_from_the_plan_and_the_cells(data: st.DataObject) -> None:
    policy = data.draw(policies())
    holders = data.draw(st.integers(1, 10))
    try:
        plan = plan_of(data.draw(queries(policy)), policy, holders=holders)
    except PlanRejected:
        return
    smallest = next(n for n in range(1, holders + 1) if (n + plan.colluders) // 2 + 1 <= n)
    roster = data.draw(st.integers(smallest, holders))
    params = params_of(plan, roster)
    survivors = data.draw(st.integers(params.floor, roster))
    size = data.draw(st.sampled_from([2**4, 2**12, 2**30, 2**50]))
    cells = data.draw(st.lists(st.integers(-size, 8 * size), min_size=plan.cells, max_size=plan.cells))
    table = decode_answer(plan, params, survivors, cells)
    again = Table(plan.to_bytes(), roster, survivors, cells)
    assert [list(row) for row in table.rows] == again.rows
    assert [list(row) for row in table.error95] == again.errors


def test_the_reference_root_is_the_one_of_the_document() -> None:
    assert root(Fraction(4)) == 2
    assert root(Fraction(2)) == pytest.approx(math.sqrt(2))
    assert root(Fraction(2)) ** 2 > 2
