"""Policies, queries and small tables for tests of plans, and the sums of a table as plain Python computes them."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from privacy.dimensions import Factor
from privacy.lanes import Lane, LaneKind, is_zero_one
from privacy.layout import group_index, lane_cells
from privacy.plan import Plan
from privacy.planning import build_plan, plan_parameters
from privacy.policy import Policy
from privacy.query import (
    MOMENT_KINDS,
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Comparison,
    IsNull,
    Literal,
    Negation,
    Output,
    OutputKind,
    Predicate,
    Query,
)
from privacy.session import SumParameters
from privacy.sql import parse_query
from privacy.types import Address, AssetRef, Digest, ListingRef
from tests.privacy.logistic_world import step_amounts

ROOT = Path(__file__).resolve().parents[2]

POLICY: dict[str, Any] = {
    "version": 1,
    "listing": "用电",
    "title": "Electricity use",
    "privacy_unit": {"column": "户号", "rows_per_unit": 3, "proved": False, "disjoint": True},
    "row_key": ["month"],
    "rows_max": 10_000,
    "columns": {
        "户号": {"type": "text", "filter": True},
        "城镇": {"type": "text", "domain": ["南山", "福田", 'O\'Hara "x"'], "filter": True},
        "Grade": {"type": "integer", "domain": [3, -1, 2], "low": -1, "high": 5, "filter": True},
        "kwh": {"type": "number", "low": "-2.75", "high": "1000.5", "scale_bits": 2, "filter": True},
        "age": {"type": "integer", "low": 0, "high": 120, "nullable": False, "filter": True},
        "secret": {"type": "text"},
    },
    "null_values": ["?"],
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
        "logreg",
    ],
    "purposes": ["research", "audit"],
    "rho": {"per_request": "1", "total": "100"},
    "price": {"fee_minor": 7, "rate_minor_per_rho": 10},
}

Row = dict[str, Any]


def policy_of(**changes: Any) -> Policy:
    """The policy, with some of its fields replaced."""
    return Policy.from_mapping({**POLICY, **changes})


def unit_of(**changes: Any) -> dict[str, Any]:
    """The policy's privacy unit, with some of its fields replaced."""
    return {**POLICY["privacy_unit"], **changes}


def assets_of(policy: Policy, holders: int) -> list[AssetRef]:
    """One asset for each of some holders."""
    return [
        AssetRef(
            asset=Digest(hashlib.sha256(b"asset%d" % number).digest()),
            version=number + 1,
            holder=Address(hashlib.sha256(b"holder%d" % number).digest()[:20]),
            policy_hash=policy.hash(),
            snapshot_root=Digest(hashlib.sha256(b"root%d" % number).digest()),
        )
        for number in range(holders)
    ]


def listing_of(policy: Policy) -> ListingRef:
    """The listing of a policy."""
    return ListingRef(Digest(b"\x11" * 32), policy.listing)


def plan_of(sql: str | Query, policy: Policy, *, holders: int = 3, rho_micro: int | None = None) -> Plan:
    """The plan of a query over some holders."""
    query = parse_query(sql, policy) if isinstance(sql, str) else sql
    return build_plan(
        query,
        policy,
        listing_of(policy),
        assets_of(policy, holders),
        purpose=policy.purposes[0],
        rho_micro=rho_micro,
    )


def params_of(plan: Plan, holders: int | None = None) -> SumParameters:
    """The parameters of a roster: the whole planned one, or a smaller one."""
    if holders is None:
        return plan_parameters(plan)
    return SumParameters.of(
        n=holders, colluders=plan.colluders, dropouts=plan.dropouts, min_holders=plan.min_holders
    )


def example(name: str) -> Policy:
    """The policy of an example."""
    return Policy.from_yaml((ROOT / "examples" / name / "policy.yaml").read_text(encoding="utf8"))


# --- sums, as the protocol's document defines them --------------------------------------------------------------


def sums_of(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The integer sums of rows that all pass the filter, none of a unit with too many rows."""
    sums = [0] * plan.cells
    cells = [lane_cells(plan, number) for number in range(len(plan.lanes))]
    units: set[tuple[int, int, Any]] = set()
    for row in rows:
        group = group_index(plan, [row[dimension.column] for dimension in plan.group_by])
        for number, lane in enumerate(plan.lanes):
            if lane.kind is LaneKind.DISTINCT:
                units.add((number, group, row[lane.column or ""]))
                continue
            if lane.logistic is not None:
                amounts = step_amounts(lane.logistic, str(lane.column), lane.scale_bits, row)
                for bin_, amount in enumerate(amounts):
                    sums[cells[number][bin_ * plan.groups + group]] += amount
                continue
            if any(_is_missing(row[name]) for name in lane.present):
                continue
            for bin_, amount in _amounts(lane, row):
                sums[cells[number][bin_ * plan.groups + group]] += amount
    for number, group, _ in units:
        sums[cells[number][group]] += 1
    return sums


def _is_missing(value: Any) -> bool:
    return value is None or math.isnan(value)


def _integer(value: Any, factor: Lane | Factor) -> int:
    assert factor.low is not None and factor.high is not None
    clipped = min(max(float(value), float(factor.low)), float(factor.high))
    return math.floor(clipped * 2.0**factor.scale_bits + 0.5)


def _amounts(lane: Lane, row: Mapping[str, Any]) -> list[tuple[int, int]]:
    if lane.kind is LaneKind.COUNT:
        return [(0, 1)]
    if lane.table:
        first, second = lane.table
        values = row[first.column], row[second.column]
        if values[0] not in first.domain or values[1] not in second.domain:
            return []
        return [(first.domain.index(values[0]) * len(second.domain) + second.domain.index(values[1]), 1)]
    value = row[lane.column or ""]
    if _is_missing(value):
        return []
    if lane.kind is LaneKind.COUNT_OF:
        return [(0, 1)]
    integer = _integer(value, lane)
    if lane.by is not None:
        other = row[lane.by.column]
        if _is_missing(other):
            return []
        return [(0, (integer - lane.center) * (_integer(other, lane.by) - lane.by.center))]
    if lane.kind is LaneKind.HISTOGRAM:
        inside = [k for k in range(lane.bins) if lane.edges[k] <= integer < lane.edges[k + 1]]
        return [(inside[0] if inside else lane.bins - 1, 1)]
    centred = integer - lane.center
    return [(0, centred if lane.kind is LaneKind.SUM else centred * centred)]


# --- strategies -------------------------------------------------------------------------------------------------

_letters = st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Pc", "Sm"], max_codepoint=0x9FFF)
names = st.one_of(
    st.sampled_from(["a", "town", "城镇", "select", "b c", 'q"q', "x'y", "用电量（度）", "A"]),
    st.text(_letters, min_size=1, max_size=8),
).filter(lambda text: text == text.strip() and _is_plain(text))
texts = st.one_of(st.sampled_from(["南山", "O'Hara", 'say "x"', "--", "/*", ";", "Ａ"]), names)
numbers = st.decimals(min_value=-(10**6), max_value=10**6, allow_nan=False, places=3)


def _is_plain(text: str) -> bool:
    import unicodedata

    return text.isprintable() and unicodedata.is_normalized("NFC", text)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    """A column of a policy."""
    kind = draw(st.sampled_from(["text", "integer", "number"]))
    column: dict[str, Any] = {"type": kind, "filter": draw(st.booleans()), "nullable": draw(st.booleans())}
    if kind == "text" and draw(st.booleans()):
        column["domain"] = draw(
            st.lists(texts.filter(lambda t: t != "other"), min_size=1, max_size=4, unique=True)
        )
    if kind == "integer" and draw(st.booleans()):
        column["domain"] = draw(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4, unique=True))
    if kind != "text" and draw(st.booleans()):
        low = draw(numbers)
        column["low"], column["high"] = str(low), str(low + draw(st.decimals(2, 10**6, places=2)))
        column["scale_bits"] = draw(st.integers(0, 12))
    return column


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy with at least one dimension and one measure."""
    given: dict[str, Any] = draw(st.dictionaries(names, columns(), max_size=5))
    given["城镇"] = POLICY["columns"]["城镇"]
    given["kwh"] = POLICY["columns"]["kwh"]
    if draw(st.booleans()):
        given["付费"] = {
            "type": "integer",
            "low": 0,
            "high": 1,
            "scale_bits": 1,
            "nullable": draw(st.booleans()),
        }
    unit = draw(st.sampled_from([None, "户号"]))
    rows = 1 if unit is None else draw(st.integers(1, 5))
    aggregates = [each for each in POLICY["aggregates"] if unit is not None or each != "count_distinct"]
    return policy_of(
        listing=draw(names),
        columns=given,
        privacy_unit={"column": unit, "rows_per_unit": rows, "proved": True, "disjoint": True},
        aggregates=aggregates,
        rows_max=draw(st.integers(5, 10**6)),
        min_holders=1,
    )


def _literals(kind: str) -> st.SearchStrategy[Literal]:
    if kind == "text":
        return texts
    if kind == "integer":
        return st.integers(-(2**63) + 1, 2**63 - 1)
    return numbers.map(lambda value: Decimal(value).normalize() + 0)


@st.composite
def _leaves(draw: st.DrawFn, policy: Policy) -> Predicate:
    column = draw(st.sampled_from([column for column in policy.columns if column.filter]))
    kind, name = column.type.value, column.name
    literals = _literals(kind)
    shape = draw(st.sampled_from(["compare", "among", "between", "null"]))
    if shape == "among":
        return Among(name, kind, tuple(draw(st.lists(literals, min_size=1, max_size=3))))
    if shape == "null":
        return IsNull(name, kind)
    if shape == "between" and kind != "text":
        return Between(name, kind, draw(literals), draw(literals))
    allowed = list(Comparison)[: 2 if kind == "text" else None]
    return Compare(name, kind, draw(st.sampled_from(allowed)), draw(literals))


def _joined(kind: type[AllOf] | type[AnyOf], terms: list[Predicate]) -> Predicate:
    """Join terms flatly, as parsing does."""
    flat: list[Predicate] = []
    for term in terms:
        flat += term.terms if isinstance(term, kind) else [term]
    return kind(tuple(flat))


def filters(policy: Policy) -> st.SearchStrategy[Predicate]:
    """A filter over the policy's filter columns."""
    return st.recursive(
        _leaves(policy),
        lambda inner: st.one_of(
            inner.map(Negation),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: _joined(AllOf, terms)),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: _joined(AnyOf, terms)),
        ),
        max_leaves=8,
    )


_SEVERAL = (*MOMENT_KINDS, OutputKind.CHI2)


@st.composite
def _several(draw: st.DrawFn, kind: OutputKind, policy: Policy, group_by: tuple[str, ...]) -> Output | None:
    """An aggregate of several columns, if the policy has enough for it; its name is still to be given."""
    if kind is OutputKind.CHI2:
        known = [each for each in policy.columns if len(each.domain or ()) > 1 and each.name not in group_by]
    else:
        known = [column for column in policy.columns if column.is_measure]
    most = 5 if kind is OutputKind.LINREG else 2
    if len(known) < 2:
        return None
    chosen = draw(st.permutations(known))[: draw(st.integers(2, min(most, len(known))))]
    nullable = sorted(column.name for column in chosen if column.nullable)
    present = () if kind is OutputKind.CHI2 else tuple(nullable)
    first, *others = [column.name for column in chosen]
    return Output("", kind, first, others=tuple(others), present=present)


_coefficients = st.decimals(-1000, 1000, places=9).map(lambda value: value.normalize() + 0)


@st.composite
def _step(draw: st.DrawFn, policy: Policy, group_by: tuple[str, ...]) -> Output | None:
    """A step of a logistic regression, if the policy has a target and features."""
    targets = [each for each in policy.columns if is_zero_one(each) or len(each.domain or ()) == 2]
    targets = [each for each in targets if each.name not in group_by]
    if not targets:
        return None
    target = draw(st.sampled_from(targets)).name
    measures = [each.name for each in policy.columns if each.is_measure and each.name != target]
    features = draw(st.lists(st.sampled_from(measures), min_size=1, max_size=3, unique=True))
    size = 1 + len(features)
    coefficients = tuple(draw(st.lists(_coefficients, min_size=size, max_size=size)))
    return Output("", OutputKind.LOGREG_STEP, target, others=tuple(features), coefficients=coefficients)


@st.composite
def queries(draw: st.DrawFn, policy: Policy) -> Query:
    """A query that the policy allows."""
    dimensions = [column.name for column in policy.columns if column.is_dimension]
    measures = [column for column in policy.columns if column.is_measure]
    group_by = tuple(draw(st.lists(st.sampled_from(dimensions), max_size=2, unique=True)))
    kinds = [OutputKind.GROUP] * bool(group_by) + list(OutputKind)[1:]
    kinds.remove(OutputKind.SCORE)  # of policies of another kind
    if policy.unit.column is None:
        kinds.remove(OutputKind.COUNT_DISTINCT)
    outputs = []
    for number, kind in enumerate([OutputKind.COUNT, *draw(st.lists(st.sampled_from(kinds), max_size=5))]):
        name = f"{draw(names)}{number}"
        if kind is OutputKind.LOGREG_STEP:
            step = draw(_step(policy, group_by))
            outputs += [] if step is None else [replace(step, name=name)]
            continue
        if kind in _SEVERAL:
            several = draw(_several(kind, policy, group_by))
            outputs += [] if several is None else [replace(several, name=name)]
            continue
        column, bins, quantile = None, None, None
        if kind is OutputKind.GROUP:
            column = draw(st.sampled_from(group_by))
        elif kind is OutputKind.COUNT_DISTINCT:
            column = policy.unit.column
        elif kind is not OutputKind.COUNT:
            column = draw(st.sampled_from(measures)).name
        if kind in (OutputKind.HISTOGRAM, OutputKind.QUANTILE):
            bins = draw(st.integers(1, 2))
        if kind is OutputKind.QUANTILE:
            quantile = draw(st.sampled_from([Decimal("0.5"), Decimal("0.999999"), Decimal("0.05")]))
        outputs.append(Output(name, kind, column, bins, quantile))
    filter_ = draw(st.none() | filters(policy))
    return Query(policy.listing, tuple(outputs), group_by, filter_)


# --- correlated rows --------------------------------------------------------------------------------------------


def table_policy(**changes: Any) -> Policy:
    """A policy over the rows of `table_rows`, each a unit of its own."""
    measures = {
        "x": {"type": "number", "low": 0, "high": 100, "scale_bits": 6},
        "y": {"type": "number", "low": -50, "high": 250, "scale_bits": 6, "nullable": False},
        "z": {"type": "integer", "low": 0, "high": 20, "nullable": False},
        "v": {"type": "number", "low": -100, "high": 100, "scale_bits": 6},
    }
    dimensions = {
        "a": {"type": "text", "domain": ["p", "q", "r"]},
        "b": {"type": "text", "domain": ["u", "w"]},
        "f": {"type": "integer", "domain": [2, 1]},
    }
    fields: dict[str, Any] = {
        "columns": measures | dimensions,
        "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
        "row_key": [],
        "rows_max": 200_000,
        "aggregates": [each for each in POLICY["aggregates"] if each != "count_distinct"],
        "rho": {"per_request": "20", "total": "100"},
    }
    return policy_of(**{**fields, **changes})


def table_rows(count: int, seed: int, *, missing: bool = True) -> list[Row]:
    """Rows of which y = 1.5·x − 2·z + 20 and noise, b and f depend on a, and some x and v are NULL."""
    rows: list[Row] = []
    for number in range(count):
        bits = hashlib.sha256(b"%d|%d" % (seed, number)).digest()
        unit = [int.from_bytes(bits[2 * k : 2 * k + 2], "big") / 65536 for k in range(12)]
        x, z = 100 * (unit[0] + unit[1]) / 2, int(21 * unit[2])
        a = "pqr"[int(3 * unit[3])]
        rows.append(
            {
                "x": None if missing and unit[4] < 0.05 else x,
                "y": 1.5 * x - 2 * z + 20 + 40 * (unit[5] + unit[6] - 1),
                "z": z,
                "v": None if missing and unit[7] < 0.1 else 100 * (unit[8] - unit[9]),
                "a": a,
                "b": "uw"[int(unit[10] < (0.6 if a == "p" else 0.45))],
                "f": 1 + int(unit[11] < 0.5),
            }
        )
    return rows
