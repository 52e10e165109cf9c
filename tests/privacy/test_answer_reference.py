"""The table is derived a second time, from a plan's JSON and the cells, as docs/protocol.md §6 says and nothing else.

Nothing of `privacy` is used in the derivation; both must agree to the last bit.
"""

import json
import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.errors import PlanRejected
from privacy.gamma import chi_square_tail
from privacy.layout import cells_from_sums
from tests.privacy.plan_world import params_of, plan_of, policies, queries, sums_of, table_policy, table_rows

_Z_CELLS = {4: 2_497_706, 6: 2_638_258, 10: 2_807_034, 15: 2_935_200, 21: 3_038_075}
Z1, Z2, Z3 = Fraction(1_959_964, 10**6), Fraction(2_241_403, 10**6), Fraction(2_393_980, 10**6)
HALF = Fraction(1, 2)
Pair = tuple[Any, Any]
Z_CELLS = {k: Fraction(z, 10**6) for k, z in _Z_CELLS.items()}
MOMENTS = ("covar_samp", "covar_pop", "corr", "linreg")


def root(value: Fraction) -> Fraction:
    if value <= 0:
        return Fraction(0)
    k = 64 + max(0, value.denominator.bit_length() - value.numerator.bit_length())
    scaled = math.ceil(value * Fraction(4) ** k)
    found = math.isqrt(scaled)
    return Fraction(found + (found * found < scaled), 2**k)


def tail(freedom: Fraction, value: Fraction) -> Fraction:
    """The chi-square tail: one series for γ(a, x) and, beyond all that matters, for Γ(a)."""
    if value <= 0:
        return Fraction(1)
    with localcontext(Context(prec=110, Emin=-(10**12), Emax=10**12)):
        a, x = (Decimal(each.numerator) / each.denominator / 2 for each in (freedom, value))
        end = 4 * a + 400

        def gamma(upto: Decimal) -> Decimal:
            term = total = 1 / a
            k = 0
            while term > total * Decimal(10) ** -70:
                k += 1
                term *= upto / (a + k)
                total += term
            return total * (a * upto.ln() - upto).exp()

        found = Decimal(0) if x >= end else 1 - gamma(x) / gamma(end)
        return Fraction(int((found * 2**60).to_integral_value()), 2**60)


def dot(left: Any, right: Any) -> Fraction:
    return sum((x * y for x, y in zip(left, right, strict=True)), Fraction(0))


def multiplied(left: Any, right: Any) -> Any:
    return [[dot(row, column) for column in zip(*right, strict=True)] for row in left]


def determinant(matrix: Any) -> Fraction:
    if not matrix:
        return Fraction(1)
    return Fraction(0) + sum(
        (-1) ** j * matrix[0][j] * determinant([row[:j] + row[j + 1 :] for row in matrix[1:]])
        for j in range(len(matrix))
    )


def inverted(matrix: Any) -> Any:
    size, whole = range(len(matrix)), determinant(matrix)

    def minor(i: int, j: int) -> Fraction:
        return determinant([row[:j] + row[j + 1 :] for k, row in enumerate(matrix) if k != i])

    return [[(-1) ** (i + j) * minor(j, i) / whole for j in size] for i in size]


class Factor:
    def __init__(self, factor: dict[str, Any]) -> None:
        unit = Fraction(2) ** -int(factor["scale_bits"])
        self.column = factor["column"]
        self.center, self.width = int(factor["center"]) * unit, int(factor["half_width"]) * unit
        self.q = Fraction(0) if factor["type"] == "integer" and unit <= 1 else unit / 2


class Lane:
    def __init__(
        self, plan: dict[str, Any], lane: dict[str, Any], start: int, roster: int, survivors: int
    ) -> None:
        self.kind, self.column, self.start = lane["kind"], lane["column"], start
        self.present = tuple(lane.get("present", []))
        self.edges = [int(edge) * Fraction(2) ** -int(lane["scale_bits"]) for edge in lane["edges"]]
        self.bins = max(1, len(lane["edges"]) - 1)
        self.table = [len(dimension["domain"]) for dimension in lane.get("table", [])]
        if self.table:
            self.bins = self.table[0] * self.table[1]
        self.by = lane["by"]["column"] if "by" in lane else None
        if self.table:
            self.by = lane["table"][1]["column"]
        if "logistic" in lane:
            terms = len(lane["logistic"]["coefficients"])
            self.bins = terms + terms * (terms + 1) // 2
            self.by = json.dumps([lane["logistic"]["coefficients"], lane["logistic"]["features"]])
        second = int(lane["by"]["scale_bits"]) if "by" in lane else 0
        s, g = int(lane["scale_bits"]), int(lane["grid_bits"])
        c = int(plan["colluders"])
        t = (roster + c) // 2 + 1
        divisor = roster - c - min(int(plan["dropouts"]), roster - t)
        sigma_squared = Fraction(4) ** g * int(lane["delta_squared"]) * 10**6 / (2 * int(lane["rho"]))
        self.variance = survivors * sigma_squared / divisor
        self.unit = Fraction(2) ** -(
            {"sum": s, "logistic": s, "square": 2 * s, "product": s + second}.get(self.kind, 0) + g
        )
        self.half_unit = Fraction(2) ** (-s - 1)
        self.factors = [Factor(lane), Factor(lane.get("by", lane))]
        self.center = int(lane["center"]) * Fraction(2) ** -s
        self.half_width = int(lane["half_width"]) * Fraction(2) ** -s
        self.rounding = Fraction(0) if lane["type"] == "integer" and s >= 0 else Fraction(2) ** (-s - 1)

    def error(self, z: Fraction) -> Fraction:
        return (root(z * z * self.variance) + HALF) * self.unit


class Table:
    def __init__(self, data: bytes, roster: int, survivors: int, cells: list[int]) -> None:
        plan = json.loads(data)
        self.cells = cells
        self.rows_max = int(plan["holders"]) * int(plan["rows_max"])
        self.names = [dimension["column"] for dimension in plan["group_by"]]
        keys = [
            [int(each) if dimension["type"] == "integer" else each for each in dimension["domain"]]
            + ["other"]
            for dimension in plan["group_by"]
        ]
        self.groups = list(product(*keys))
        self.lanes: dict[tuple[Any, ...], Lane] = {}
        start = 0
        for each in plan["lanes"]:
            lane = Lane(plan, each, start, roster, survivors)
            self.lanes[lane.kind, lane.column, *lane.present, lane.by, lane.bins] = lane
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
            lane = self.lanes[counts[kind], column, None, bins]
            error = float(lane.error(Z1) + HALF)
            return [
                [(math.floor(self.value(lane, group, bin_) + HALF), error) for group in every]
                for bin_ in range(bins)
            ]
        if kind == "quantile":
            lane = self.lanes["histogram", column, None, bins]
            return [[self.quantile(lane, Fraction(output["quantile"]), group) for group in every]]
        if kind == "chi2":
            (lane,) = [
                each
                for each in self.lanes.values()
                if each.table and (each.column, each.by) == (column, *output["others"])
            ]
            return list(map(list, zip(*(self.chi2(lane, group) for group in every), strict=True)))
        if kind == "logreg_step":
            (lane,) = [
                each
                for each in self.lanes.values()
                if each.kind == "logistic"
                and each.column == column
                and json.loads(each.by or "")[0] == output["coefficients"]
                and [feature["column"] for feature in json.loads(each.by or "")[1]] == output["others"]
            ]
            error = float(lane.error(Z1) + self.rows_max * (lane.half_unit + Fraction(1, 2**38)))
            return [
                [(float(self.value(lane, group, bin_)), error) for group in every]
                for bin_ in range(lane.bins)
            ]
        if kind in MOMENTS:
            return list(map(list, zip(*(self.moments(output, group) for group in every), strict=True)))
        return [[self.measure(kind, column, group) for group in every]]

    def quantile(self, lane: Lane, q: Fraction, group: int) -> Pair:
        h = [self.value(lane, group, k) for k in range(lane.bins)]
        b, rows = len(h), sum(h, Fraction(0))

        def error(weight: Fraction) -> Fraction:
            return (root(Z1 * Z1 * weight * lane.variance) + HALF) * lane.unit

        if rows <= error(Fraction(b)):
            return None, None
        d = [sum(h[:k], Fraction(0)) - q * rows for k in range(b + 1)]
        e = [error(k * (1 - q) ** 2 + (b - k) * q**2) for k in range(b + 1)]

        def cross(k: int) -> Fraction:
            width = lane.edges[k + 1] - lane.edges[k]
            return lane.edges[k] + width * (HALF if d[k] == d[k + 1] else -d[k] / (d[k + 1] - d[k]))

        first = min(k for k in range(b) if d[k + 1] >= 0)
        last = max(k for k in range(b) if d[k] <= 0)
        low = lane.edges[min(k for k in range(b) if d[k + 1] >= -e[k + 1] - q)]
        high = lane.edges[max(k for k in range(b) if d[k] <= e[k] + 1 - q) + 1]
        x = (cross(first) + cross(last)) / 2
        return float(x), float(max(high - x, x - low) + lane.rounding)

    def chi2(self, lane: Lane, group: int) -> list[Pair]:
        a, b = lane.table
        o = [[self.value(lane, group, i * b + j) for j in range(b)] for i in range(a)]
        r, c = [sum(row) for row in o], [sum(row[j] for row in o) for j in range(b)]
        n = sum(r, Fraction(0))
        least = max(Fraction(5), lane.error(Z1))
        if min(r) <= 0 or min(c) <= 0 or min(r) * min(c) < least * n:
            return [(None, None)] * 3
        both = list(product(range(a), range(b)))
        t = n * (sum(o[i][j] ** 2 / (r[i] * c[j]) for i, j in both) - 1)
        phi = lane.variance * lane.unit**2 / n
        s = [sum(((n / each) ** k for each in r), Fraction(0)) for k in (1, 2, 3)]
        u = [sum(((n / each) ** k for each in c), Fraction(0)) for k in (1, 2, 3)]

        def powers(v: list[Fraction], k: int) -> list[Fraction]:
            return [v[0] - k, v[1] - 2 * v[0] + k * k, v[2] - 3 * v[1] + 3 * k * v[0] - k**3]

        m = [phi ** (k + 1) * x * y for k, (x, y) in enumerate(zip(powers(s, a), powers(u, b), strict=True))]
        of_row = [sum(o[i][j] ** 2 / c[j] for j in range(b)) / r[i] ** 2 for i in range(a)]
        of_column = [sum(o[i][j] ** 2 / r[i] for i in range(a)) / c[j] ** 2 for j in range(b)]
        slopes = [(t + n) / n + n * (2 * o[i][j] / (r[i] * c[j]) - of_row[i] - of_column[j]) for i, j in both]
        error = root(Z2**2 * phi * n * sum((x * x for x in slopes), Fraction(0))) + Fraction(41, 10) * root(
            m[1]
        )
        f = Fraction((a - 1) * (b - 1))
        k1, k2, k3 = f + m[0], f + 2 * m[0] + m[1], f + 3 * m[0] + 3 * m[1] + m[2]
        h = k2**3 / k3**2
        value = max(Fraction(0), t - m[0])
        p = tail(h, h + (t - k1) * root(h / k2))
        ends = [tail(f, value - error), tail(f, value + error)]
        p_error = max(abs(p - end) for end in ends) + Fraction(1, 2**60)
        return [(float(value), float(error)), (int(f), 0.0), (float(p), float(p_error))]

    def moments(self, output: dict[str, Any], group: int) -> list[Pair]:
        kind, names, present = output["kind"], [output["column"], *output["others"]], output["present"]
        size = len(names)

        def find(kind: str, *columns: str) -> Lane:
            rest = [name for name in present if name not in columns]
            by = columns[1] if len(columns) > 1 else None
            return self.lanes[kind, columns[0], *rest, by, 1]

        count = self.lanes["count_of", *present, None, 1] if present else self.lanes["count", None, None, 1]
        totals = [find("sum", name) for name in names]
        seconds = {
            (i, j): find("product", *sorted((names[i], names[j]))) for i in range(size) for j in range(i)
        }
        if kind in ("corr", "linreg"):
            seconds |= {(i, i): find("square", names[i]) for i in range(size)}
        z = Z_CELLS[1 + size + len(seconds)]
        n, b = self.value(count, group), count.error(z)
        none: list[Pair] = [(None, None)] * (2 * size if kind == "linreg" else 1)
        if n <= b:
            return none

        def mean(lane: Lane) -> tuple[Fraction, Fraction]:
            r = self.value(lane, group) / n
            return r, (lane.error(z) + abs(r) * b) / (n - b)

        m = [(lane.center + mean(lane)[0], mean(lane)[1] + lane.rounding) for lane in totals]
        v, e = [[Fraction(0)] * size for _ in names], [[Fraction(0)] * size for _ in names]
        for (i, j), lane in seconds.items():
            x, y = lane.factors
            k, other = names.index(x.column), names.index(y.column)
            p, e_p = mean(lane)
            t, w = m[k][0] - x.center, m[other][0] - y.center
            v[i][j] = v[j][i] = p - t * w
            e[i][j] = e[j][i] = (
                e_p
                + abs(t) * m[other][1]
                + abs(w) * m[k][1]
                + m[k][1] * m[other][1]
                + x.q * y.width
                + y.q * x.width
                + x.q * y.q
            )
        if kind == "corr":
            if v[0][0] <= e[0][0] or v[1][1] <= e[1][1]:
                return none
            values = [v[0][1] / root(v[0][0] * v[1][1])]
            for sign in (-1, 1):
                width = root((v[0][0] + sign * e[0][0]) * (v[1][1] + sign * e[1][1]))
                values += [(v[0][1] + e[0][1]) / width, (v[0][1] - e[0][1]) / width]
            value, *ends = [min(Fraction(1), max(Fraction(-1), each)) for each in values]
            return [(float(value), float(max(abs(value - end) for end in ends)))]
        if kind == "linreg":
            return self.linreg(n, b, m, v, e) or none
        value, error = v[0][1], e[0][1]
        if kind == "covar_samp":
            if n - 1 <= b:
                return none
            more = (abs(value) + error) * b / ((n - 1) * (n - 1 - b))
            value, error = value * n / (n - 1), error * n / (n - 1) + more
        return [(float(value), float(error))]

    def linreg(self, n: Fraction, b: Fraction, m: Any, v: Any, e: Any) -> list[Pair] | None:
        """Cramer's rule where the other implementation eliminates."""
        size = range(1, len(m))
        a, ea = [[v[i][j] for j in size] for i in size], [[e[i][j] for j in size] for i in size]
        if any(determinant([row[:k] for row in a[:k]]) <= 0 for k in size):
            return None
        inverse = inverted(a)
        absolute = [[abs(x) for x in row] for row in inverse]
        growth = multiplied(absolute, ea)
        contracted = [[int(i == j) - x for j, x in enumerate(row)] for i, row in enumerate(growth)]
        if any(determinant([row[:k] for row in contracted[:k]]) <= 0 for k in size):
            return None
        reach = multiplied(inverted(contracted), absolute)

        def solved(right: list[Fraction], errors: list[Fraction]) -> tuple[list[Fraction], list[Fraction]]:
            found = [dot(row, right) for row in inverse]
            moved = [d + dot(row, [abs(x) for x in found]) for row, d in zip(ea, errors, strict=True)]
            return found, [dot(row, moved) for row in reach]

        slopes, d = solved(v[0][1:], e[0][1:])
        x, ex = [each[0] for each in m[1:]], [each[1] for each in m[1:]]
        beta = [abs(s) + error for s, error in zip(slopes, d, strict=True)]
        errors = dot([abs(s) for s in slopes], ex) + dot(
            d, [abs(k) + ek for k, ek in zip(x, ex, strict=True)]
        )
        pairs: list[Pair] = [(float(m[0][0] - dot(slopes, x)), float(m[0][1] + errors))]
        pairs += [(float(s), float(error)) for s, error in zip(slopes, d, strict=True)]
        freedom = n - len(m)
        if freedom <= b:
            return pairs + [(None, None)] * len(m)
        residual = v[0][0] - dot(slopes, v[0][1:])
        er = e[0][0] + 2 * dot(beta, e[0][1:]) + dot(beta, [dot(row, beta) for row in ea])
        y, ey = solved(x, ex)
        h = [
            (
                1 + dot(x, y),
                dot([abs(k) for k in x], ey) + dot(ex, [abs(k) + w for k, w in zip(y, ey, strict=True)]),
            )
        ]
        for j in range(len(a)):
            column, bounds = solved([Fraction(int(i == j)) for i in range(len(a))], [Fraction(0)] * len(a))
            h.append((column[j], bounds[j]))
        for k, ek in h:
            value = root(max(Fraction(0), residual) * k / freedom)
            low = root(max(Fraction(0), residual - er) * max(Fraction(0), k - ek) / (freedom + b))
            high = root(max(Fraction(0), residual + er) * (k + ek) / (freedom - b))
            pairs.append((float(value), float(max(value - low, high - value))))
        return pairs

    def measure(self, kind: str, column: str, group: int) -> Pair:
        count = self.lanes.get(("count_of", column, None, 1)) or self.lanes["count", None, None, 1]
        total = self.lanes["sum", column, None, 1]
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
        return self.spread(kind, count, total, self.lanes["square", column, None, 1], group)

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


def test_the_reference_tail_is_the_chi_square_distributions() -> None:
    for value in (Fraction(1, 1000), Fraction(384146, 10**5), Fraction(40)):
        assert float(tail(Fraction(1), value)) == pytest.approx(math.erfc(math.sqrt(value / 2)), abs=1e-15)
        assert float(tail(Fraction(2), value)) == pytest.approx(math.exp(-value / 2), abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.fractions(Fraction(1, 50), 300), st.fractions(-5, 2000))
def test_both_tails_agree_to_the_last_bit(freedom: Fraction, value: Fraction) -> None:
    assert chi_square_tail(freedom, value) == tail(freedom, value)


SEVERAL = (
    (
        "SELECT a, QUANTILE(x, 0.25, 9) AS q, COVAR(x, y) AS c, COVAR_POP(z, x) AS d, CORR(y, x) AS r, LINREG(y, x, z) AS l,"
        " LINREG(x, y) AS k, LINREG(v, x, y, z) AS m FROM 用电 GROUP BY a"
    ),
    "SELECT CHI2(a, b) AS t FROM 用电",
    "SELECT b, CHI2(a, f) AS t, COUNT(*) FROM 用电 GROUP BY b",
)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2**62), st.sampled_from([200, 1200]), st.integers(1, 3))
def test_a_stranger_derives_the_same_statistics_of_several_columns(
    which: int, seed: int, count: int, holders: int
) -> None:
    """Real rows, so that the values are not null."""
    policy = table_policy()
    plan = plan_of(SEVERAL[which], policy, holders=holders)
    cells = [int(cell) for cell in cells_from_sums(plan, sums_of(plan, table_rows(count, seed)))]
    params = params_of(plan)
    table = decode_answer(plan, params, holders, cells)
    again = Table(plan.to_bytes(), holders, holders, cells)
    assert [list(row) for row in table.rows] == again.rows
    assert [list(row) for row in table.error95] == again.errors
    assert any(isinstance(value, float) for row in table.rows for value in row)
