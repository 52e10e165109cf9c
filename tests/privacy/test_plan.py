import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encoding import canonical_json, keccak, tagged_hash
from privacy.errors import PlanInvalid, PlanRejected
from privacy.lanes import LaneKind
from privacy.plan import Plan
from privacy.planning import build_plan, plan_parameters, verify_plan
from privacy.policy import Policy
from privacy.query import Compare, Comparison, Output, OutputKind, Query
from privacy.sql import parse_query
from privacy.types import Address, ListingRef
from tests.privacy.join_plan_world import JOIN, join_plan
from tests.privacy.plan_world import (
    assets_of,
    example,
    listing_of,
    plan_of,
    policies,
    policy_of,
    queries,
    table_policy,
    unit_of,
)

MORE_SQL = (
    "SELECT QUANTILE(age, 0.5, 4) AS q, LINREG(kwh, age) AS l, CORR(kwh, age) AS r, CHI2(城镇, Grade) AS t FROM 用电"
    " WHERE 城镇 IN ('南山', '福田') AND age BETWEEN 1 AND 9 AND kwh IS NOT NULL"
)
JOIN_SQL = (
    f"SELECT p.镇, b.信用等级, SUM(p.用电量) AS s {JOIN} WHERE b.信用等级 <> 'A' GROUP BY p.镇, b.信用等级"
)
SQL = "SELECT 城镇, COUNT(*) AS n, AVG(kwh) AS mean, HISTOGRAM(age, 4) AS h FROM 用电 WHERE age > 17 GROUP BY 城镇, grade"


def rules_of(sql: str | Query, policy: Policy, **options: Any) -> list[str]:
    with pytest.raises(PlanRejected) as caught:
        plan_of(sql, policy, **options)
    return [each.rule for each in caught.value.violations]


# --- what a plan contains ---------------------------------------------------------------------------------------


def test_plan_fixes_query_policy_and_what_follows() -> None:
    policy = policy_of()
    plan = plan_of(SQL, policy)
    assert plan.query == parse_query(SQL, policy)
    assert (plan.holders, plan.colluders, plan.dropouts, plan.min_holders, plan.divisor) == (3, 0, 1, 1, 2)
    assert plan.groups == 4 * 4
    assert [lane.title for lane in plan.lanes] == ["count", "count_of(kwh)", "sum(kwh)", "histogram(age)"]
    assert plan.cells == 16 * (1 + 1 + 1 + 4)
    assert sum(lane.rho_micro for lane in plan.lanes) <= plan.rho_micro == 1_000_000
    assert {lane.rho_micro for lane in plan.lanes} == {250_000}
    assert plan.columns == ("城镇", "n", "mean", "h[0,30)", "h[30,60)", "h[60,90)", "h[90,120]")
    assert [asset.holder for asset in plan.assets] == sorted(asset.holder for asset in assets_of(policy, 3))
    assert all(asset.policy_hash == policy.hash() for asset in plan.assets)


@pytest.mark.parametrize(
    ("holders", "colluders", "threshold", "dropouts"),
    [(1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 2, 1), (4, 1, 3, 1), (5, 1, 4, 1), (10, 3, 7, 3)],
)
def test_defaults_for_colluders_and_dropouts(
    holders: int, colluders: int, threshold: int, dropouts: int
) -> None:
    plan = plan_of(SQL, policy_of(), holders=holders)
    assert (plan.colluders, plan.dropouts) == (colluders, dropouts)
    assert plan_parameters(plan).threshold == threshold
    assert plan_parameters(plan).divisor == plan.divisor


def test_colluders_and_dropouts_of_the_policy_are_used() -> None:
    plan = plan_of(SQL, policy_of(colluders=1, dropouts=0), holders=5)
    assert (plan.colluders, plan.dropouts, plan.divisor) == (1, 0, 4)
    assert plan_of(SQL, policy_of(dropouts=9), holders=5).dropouts == 1


def test_plan_does_not_depend_on_the_order_of_assets_or_the_spelling_of_the_query() -> None:
    policy = policy_of()
    assets = assets_of(policy, 3)
    options: dict[str, Any] = {"purpose": "research", "rho_micro": None}
    first = build_plan(parse_query(SQL, policy), policy, listing_of(policy), assets, **options)
    spelled = SQL.replace("SELECT", "select").replace("age > 17", "((AGE>17))").replace("grade", '"Grade"')
    other = build_plan(parse_query(spelled, policy), policy, listing_of(policy), assets[::-1], **options)
    assert first == other
    assert first.hash() == other.hash()


def test_count_is_shared_where_a_measure_is_never_null() -> None:
    plan = plan_of("SELECT COUNT(*), AVG(age), SUM(age) FROM 用电", policy_of())
    assert [lane.title for lane in plan.lanes] == ["count", "sum(age)"]


def test_hash_is_the_tagged_hash_of_the_canonical_json() -> None:
    plan = plan_of(SQL, policy_of())
    assert plan.to_bytes() == canonical_json(plan.to_json())
    assert plan.hash() == tagged_hash("plan", keccak(plan.to_bytes()))


def test_canonical_json_of_a_plan_is_as_documented() -> None:
    plan = plan_of(
        "SELECT SUM(kwh) AS s FROM 用电 WHERE 城镇 IN ('南山') AND kwh <= 1.50", policy_of(), holders=1
    )
    value = json.loads(plan.to_bytes())
    assert value["version"] == "1"
    assert value["kind"] == "sum"
    assert value["filter"] == {
        "op": "and",
        "terms": [
            {"op": "in", "column": "城镇", "type": "text", "values": ["南山"]},
            {"op": "<=", "column": "kwh", "type": "number", "value": "1.5"},
        ],
    }
    assert value["outputs"] == [{"name": "s", "kind": "sum", "column": "kwh", "bins": None}]
    assert value["unit"] == {
        "column": "户号",
        "rows": "3",
        "row_key": ["month"],
        "proved": False,
        "disjoint": True,
        "holders": "1",
    }
    assert value["lanes"][1] == {
        "kind": "sum",
        "column": "kwh",
        "type": "number",
        "low": "-2.75",
        "high": "1000.5",
        "scale_bits": "2",
        "center": "1995",
        "half_width": "2007",
        "edges": [],
        "delta_squared": str((3 * 2007) ** 2),
        "grid_bits": "0",
        "rho": "500000",
    }


# --- what is refused --------------------------------------------------------------------------------------------


def test_distinct_units_over_several_holders_need_disjoint_units() -> None:
    policy = policy_of(privacy_unit=unit_of(disjoint=False))
    sql = "SELECT COUNT(*),\n  COUNT(DISTINCT 户号) FROM 用电"
    with pytest.raises(PlanRejected, match="private join") as caught:
        plan_of(sql, policy)
    (violation,) = caught.value.violations
    assert (violation.rule, violation.column, violation.line, violation.position) == (
        "distinct-holders",
        "户号",
        2,
        3,
    )
    assert plan_of(sql, policy, holders=1).lanes[1].kind is LaneKind.DISTINCT


def test_a_sum_that_could_wrap_is_refused() -> None:
    columns = {"x": {"type": "number", "low": 0, "high": 2**30, "scale_bits": 20}}
    policy = policy_of(columns=columns, rows_max=2**20)
    assert rules_of("SELECT SUM(x) FROM 用电", policy) == ["overflow"]
    assert plan_of("SELECT SUM(x) FROM 用电", policy_of(columns=columns, rows_max=2**8))


def test_noise_that_could_wrap_is_refused() -> None:
    columns = {"x": {"type": "number", "low": 0, "high": 2**30, "scale_bits": 20}}
    policy = policy_of(columns=columns, rows_max=2**8)
    assert rules_of("SELECT SUM(x) FROM 用电", policy, rho_micro=2) == ["overflow"]


def test_too_many_cells_are_refused() -> None:
    columns = {name: {"type": "integer", "domain": list(range(99))} for name in "abc"}
    policy = policy_of(columns=columns)
    assert rules_of("SELECT COUNT(*) FROM 用电 GROUP BY a, b, c", policy) == ["cells"]
    assert plan_of("SELECT COUNT(*) FROM 用电 GROUP BY a, b", policy).cells == 10_000


def test_a_request_must_be_within_rho_purpose_listing_and_holders() -> None:
    policy = policy_of(min_holders=3)
    query = parse_query(SQL, policy)
    with pytest.raises(PlanRejected) as caught:
        build_plan(
            query,
            policy,
            ListingRef(listing_of(policy).id, "another"),
            [
                replace(asset, holder=Address(bytes(20)), policy_hash=asset.asset)
                for asset in assets_of(policy, 2)
            ],
            purpose="marketing",
            rho_micro=1_000_001,
        )
    rules = [each.rule for each in caught.value.violations]
    assert rules == ["listing", "purpose", "rho", "policy", "assets", "holders"]


def test_no_holders_no_rho_and_too_little_rho_are_refused() -> None:
    policy = policy_of()
    assert rules_of(SQL, policy, holders=0) == ["holders"]
    assert rules_of(SQL, policy, rho_micro=0) == ["rho"]
    assert rules_of(SQL, policy, rho_micro=3) == ["rho"]
    assert rules_of(SQL, policy_of(colluders=2), holders=2) == ["holders"]


def test_a_histogram_column_that_has_the_name_of_another_is_refused() -> None:
    sql = 'SELECT HISTOGRAM(age, 1) AS h, COUNT(*) AS "h[0,120]" FROM 用电'
    assert rules_of(sql, policy_of()) == ["duplicate-name"]


@pytest.mark.parametrize(
    "query",
    [
        Query("用电", (Output("n", OutputKind.SUM, "secret"),)),
        Query("用电", (Output("n", OutputKind.COUNT),), ("kwh",)),
        Query("用电", (Output("n", OutputKind.COUNT),), (), Compare("secret", "text", Comparison.EQUAL, "a")),
        Query("用电", (Output("n", OutputKind.COUNT),), (), Compare("kwh", "text", Comparison.EQUAL, "a")),
        Query("用电", (Output("n", OutputKind.COUNT),), (), Compare("age", "number", Comparison.EQUAL, 1)),
        Query("用电", (Output("n", OutputKind.COUNT, "kwh"),)),
        Query("用电", (Output("n", OutputKind.SUM, "kwh", 5),)),
        Query("用电", (Output("n\u200b", OutputKind.COUNT),)),
        Query("用电", ()),
        Query("else", (Output("n", OutputKind.COUNT),)),
    ],
)
def test_a_query_made_by_hand_gets_no_further_than_one_in_sql(query: Query) -> None:
    with pytest.raises(PlanRejected):
        plan_of(query, policy_of())


# --- round trips and verification -------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_plan_is_read_back_and_verified(data: st.DataObject) -> None:
    policy = data.draw(policies())
    query = data.draw(queries(policy))
    holders = data.draw(st.integers(1, 12))
    try:
        plan = plan_of(query, policy, holders=holders, rho_micro=data.draw(st.integers(1000, 1_000_000)))
    except PlanRejected as err:
        assert {each.rule for each in err.violations} <= {"overflow", "cells", "duplicate-name"}
        return
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.hash() == plan.hash()
    verify_plan(again, policy)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for name, each in value.items() for leaf in _leaves(each, (*path, name))]
    if isinstance(value, list):
        return [(*path, None)] + [leaf for i, each in enumerate(value) for leaf in _leaves(each, (*path, i))]
    return [path]


def _with(value: Any, path: tuple[Any, ...], changed: Any) -> Any:
    """Return a copy with another value at a leaf, or, where the path ends with None, one more in its list."""
    copied = copy.deepcopy(value)
    place = copied
    for step in path[:-1]:
        place = place[step]
    if path[-1] is None:
        place.append(changed)
    else:
        place[path[-1]] = changed
    return copied


_INPUTS = ("listing", "purpose", "rho", "assets")
_PLAN = plan_of(SQL, policy_of())
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from(
        ["0", "1", "01", "-1", "2", "10", "", "city", "age", "kwh", "城镇", "number", "text", "1.50", "sum"]
    ),
    st.sampled_from([[], {}, ["1"], {"op": "not"}]),
    st.floats(),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_leaves(_PLAN.to_json())), _VALUES)
def test_no_changed_field_survives_verification(path: tuple[Any, ...], changed: Any) -> None:
    value = _with(_PLAN.to_json(), path, changed)
    try:
        plan = Plan.from_json(value)
        verify_plan(plan, policy_of())
    except (PlanInvalid, PlanRejected):
        return
    assert plan == _PLAN or path[0] in (*_INPUTS, "outputs", "filter", "listing_name")
    assert plan.to_json() == value
    assert (plan.hash() == _PLAN.hash()) == (plan == _PLAN)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(_PLAN.to_bytes()) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_gives_another_hash(index: int, flip: int) -> None:
    data = bytearray(_PLAN.to_bytes())
    data[index] ^= flip
    try:
        plan = Plan.from_bytes(bytes(data))
    except PlanInvalid:
        return
    assert plan.to_bytes() == bytes(data)
    assert plan.hash() != _PLAN.hash()


@pytest.mark.parametrize(
    "plan", [_PLAN, plan_of(MORE_SQL, policy_of()), join_plan(JOIN_SQL)], ids=["sum", "more", "join"]
)
def test_a_text_that_could_not_be_written_again_is_refused_wherever_it_stands(plan: Plan) -> None:
    value = plan.to_json()
    texts = [path for path in _leaves(value) if path[-1] is not None]
    assert len(texts) > 40
    for path in texts:
        with pytest.raises(PlanInvalid):
            Plan.from_json(_with(value, path, "\ud800"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(_json | st.fixed_dictionaries(dict.fromkeys(_PLAN.to_json(), _json)))
def test_any_other_json_is_refused(value: Any) -> None:
    with pytest.raises(PlanInvalid):
        Plan.from_json(value)


@pytest.mark.parametrize("name", sorted(_PLAN.to_json()))
def test_a_missing_or_unknown_field_is_refused(name: str) -> None:
    value = _PLAN.to_json()
    del value[name]
    with pytest.raises(PlanInvalid, match=name):
        Plan.from_json(value)
    with pytest.raises(PlanInvalid, match="extra"):
        Plan.from_json({**_PLAN.to_json(), "extra": "1"})


def test_bytes_that_are_not_canonical_are_refused() -> None:
    data = _PLAN.to_bytes()
    for other in (
        data + b"\n",
        b" " + data,
        data.replace(b'"version":"1"', b'"version":"1","version":"1"'),
        b"{}",
    ):
        with pytest.raises(PlanInvalid):
            Plan.from_bytes(other)


def test_a_filter_nested_without_end_is_refused() -> None:
    nested: Any = {"op": "is_null", "column": "age", "type": "integer"}
    for _ in range(5000):
        nested = {"op": "not", "term": nested}
    with pytest.raises(PlanInvalid, match="deep"):
        Plan.from_json({**_PLAN.to_json(), "filter": nested})


def test_verification_refuses_what_another_policy_gives() -> None:
    with pytest.raises(PlanRejected):
        verify_plan(_PLAN, policy_of(rows_max=9999))
    with pytest.raises(PlanInvalid, match="lanes"):
        verify_plan(replace(_PLAN, lanes=_PLAN.lanes[::-1]), policy_of())
    with pytest.raises(PlanInvalid, match="dropouts"):
        verify_plan(replace(_PLAN, dropouts=0), policy_of())
    with pytest.raises(PlanInvalid, match="assets"):
        verify_plan(replace(_PLAN, assets=_PLAN.assets[::-1]), policy_of())


def test_the_examples_can_be_asked_with_little_rho() -> None:
    for name, sql in (
        (
            "adult",
            "SELECT education, sex, COUNT(*), SUM(fnlwgt), AVG(age), VAR(fnlwgt) FROM adult GROUP BY education, sex",
        ),
        (
            "electricity",
            "SELECT town, industry, COUNT(*), SUM(kwh), STDDEV(kwh) FROM electricity GROUP BY town, industry",
        ),
    ):
        for holders in (2, 3, 10, 100):
            assert plan_of(sql, example(name), holders=holders, rho_micro=10_000).cells > 100


# --- lanes of several columns -----------------------------------------------------------------------------------


def test_lanes_of_several_columns_are_shared_where_their_rows_are_the_same() -> None:
    plan = plan_of(
        "SELECT COVAR(y, z) AS c, CORR(z, y) AS r, VAR(z) AS v, LINREG(x, z) AS l FROM 用电", table_policy()
    )
    assert [(lane.title, lane.present) for lane in plan.lanes] == [
        ("count", ()),
        ("sum(y)", ()),
        ("sum(z)", ()),
        ("product(y, z)", ()),
        ("square(z)", ()),
        ("square(y)", ()),
        ("count_of(x)", ()),
        ("sum(x)", ()),
        ("sum(z)", ("x",)),
        ("square(x)", ()),
        ("square(z)", ("x",)),
        ("product(x, z)", ()),
    ]
    assert plan.columns[3:] == ("l[intercept]", "l[z]", "l[se intercept]", "l[se z]")


@given(st.integers(1, 10**9), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_a_product_has_the_sensitivity_of_its_widths_and_as_many_bits_as_fit(rows: int, holders: int) -> None:
    policy = table_policy(rows_max=rows)
    plan = plan_of("SELECT COVAR(x, y) AS c FROM 用电", policy, holders=holders)
    lane = plan.lanes[-1]
    assert lane.by is not None and lane.kind is LaneKind.PRODUCT
    assert lane.delta_squared == (lane.half_width * lane.by.half_width) ** 2
    widest = max(lane.half_width, lane.by.half_width)
    assert plan.holders * rows * lane.half_width * lane.by.half_width < 2**61
    assert plan.holders * rows * (4 * widest) ** 2 >= 2**57 or widest > 2**28
    assert lane.value_bits == lane.scale_bits + lane.by.scale_bits


def test_a_contingency_table_counts_each_unit_once_in_each_of_its_rows() -> None:
    policy = policy_of()
    plan = plan_of("SELECT CHI2(城镇, grade) AS t FROM 用电", policy)
    (lane,) = plan.lanes
    assert (lane.bins, lane.delta_squared, plan.cells) == (9, 9, 9)
    assert plan.columns == ("t[statistic]", "t[df]", "t[p]")


def test_columns_of_the_answer_with_one_name_are_refused() -> None:
    sql = 'SELECT LINREG(y, x) AS l, COUNT(*) AS "l[intercept]" FROM 用电'
    assert rules_of(sql, table_policy()) == ["duplicate-name"]
