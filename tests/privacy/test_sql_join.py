"""SQL of private joins: one form is taken, and each other is refused with its rule, column and position."""

import pytest

from privacy.errors import PlanRejected
from privacy.query import AllOf, Joined
from privacy.query_text import render_sql
from privacy.sql import parse_query
from privacy.types import Violation
from tests.privacy.join_plan_world import FOLDER, JOIN, join_policy_of
from tests.privacy.plan_world import policy_of

POLICY = join_policy_of()
KEY = "统一社会信用代码"


def refused(sql: str) -> tuple[Violation, ...]:
    with pytest.raises(PlanRejected) as caught:
        parse_query(sql, POLICY)
    return caught.value.violations


def only(sql: str) -> Violation:
    (found,) = refused(sql)
    return found


def test_the_example_parses_and_its_canonical_text_parses_to_the_same() -> None:
    query = parse_query((FOLDER / "query.sql").read_text(encoding="utf8"), POLICY)
    assert query.joined == Joined(("供电", "银行"), KEY)
    assert query.group_by == ("行业",) and isinstance(query.filter, AllOf)
    assert parse_query(render_sql(query), POLICY) == query


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT COUNT(*) FROM 供电 JOIN 银行 ON 银行.{KEY} = 供电.{KEY}",
        f"SELECT COUNT(*) FROM 银行 INNER JOIN 供电 ON ((供电.{KEY} = 银行.{KEY}))",
        f'select count(*) from "银行" as "b ""x" join 供电 as P on "b ""x".{KEY} = p.{KEY};',
    ],
)
def test_every_spelling_of_the_join_is_one_query(text: str) -> None:
    assert parse_query(text, POLICY) == parse_query(f"SELECT COUNT(*) {JOIN}", POLICY)


def test_a_qualifier_may_be_left_out_where_the_column_is_of_one_table() -> None:
    with_names = parse_query(
        f"SELECT p.镇, SUM(p.用电量) {JOIN} WHERE b.信用等级 = '甲' GROUP BY p.镇", POLICY
    )
    without = parse_query(f"SELECT 镇, SUM(用电量) {JOIN} WHERE 信用等级 = '甲' GROUP BY 镇", POLICY)
    assert with_names == without


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("FROM 银行", "join"),
        ("FROM 银行, 供电", "join"),
        ("FROM 银行 JOIN 供电", "join"),
        (f"FROM 银行 LEFT JOIN 供电 ON 银行.{KEY} = 供电.{KEY}", "join"),
        (f"FROM 银行 b FULL JOIN 供电 p ON b.{KEY} = p.{KEY}", "syntax"),
        (f"FROM 银行 b CROSS JOIN 供电 p ON b.{KEY} = p.{KEY}", "join"),
        (f"FROM 银行 b NATURAL JOIN 供电 p ON b.{KEY} = p.{KEY}", "join"),
        (f"FROM 银行 b JOIN 供电 p USING ({KEY})", "join"),
        (f"FROM 银行 b JOIN 银行 c ON b.{KEY} = c.{KEY}", "join"),
        (f"FROM 银行 b JOIN 供电 b ON b.{KEY} = b.{KEY}", "duplicate-name"),
        (f"FROM 银行 b JOIN 供电 p ON b.{KEY} = b.{KEY}", "join-on"),
        (f"FROM 银行 b JOIN 供电 p ON {KEY} = {KEY}", "join-on"),
        (f"FROM 银行 b JOIN 供电 p ON b.{KEY} < p.{KEY}", "join-on"),
        (f"FROM 银行 b JOIN 供电 p ON b.{KEY} = p.{KEY} AND p.镇 = '东镇'", "join-on"),
        ("FROM 银行 b JOIN 供电 p ON b.客户号 = p.电表号", "join-on"),
        (f"FROM 银行 b JOIN 供电 p ON b.{KEY} = 'x'", "join-on"),
        (f"FROM 银行 b JOIN 水务 p ON b.{KEY} = p.{KEY}", "unknown-table"),
        (f"FROM 银行 b JOIN 供电 p ON x.{KEY} = p.{KEY}", "unknown-table"),
        (f"FROM 企业信用与用电 b JOIN 供电 p ON b.{KEY} = p.{KEY}", "unknown-table"),
        (f"FROM s.银行 b JOIN 供电 p ON b.{KEY} = p.{KEY}", "from"),
        (f"{JOIN} JOIN 供电 q ON q.{KEY} = p.{KEY}", "join"),
    ],
)
def test_other_joins_are_refused(source: str, rule: str) -> None:
    found = refused(f"SELECT COUNT(*) {source}")
    assert rule in [each.rule for each in found]
    assert all(each.line == 1 for each in found)


def test_measures_of_both_tables_are_refused_with_the_reason_and_place() -> None:
    found = only(f"SELECT SUM(p.用电量),\n AVG(b.贷款余额) {JOIN}")
    assert (found.rule, found.column, found.line, found.position) == ("join-sides", "贷款余额", 2, 2)
    assert "一" not in found.message and "query for each" in found.message


def test_a_condition_over_both_tables_is_refused_where_it_starts() -> None:
    found = only(f"SELECT COUNT(*) {JOIN}\nWHERE p.镇 = '东镇' AND (b.信用等级 = '甲' OR p.行业 = '制造业')")
    assert (found.rule, found.line) == ("join-filter", 2)
    found = only(f"SELECT COUNT(*) {JOIN} WHERE NOT (b.信用等级 = '甲' AND p.行业 = '制造业')")
    assert found.rule == "join-filter"


def test_conditions_of_single_tables_may_be_nested_and_negated() -> None:
    sql = f"SELECT COUNT(*) {JOIN} WHERE (b.信用等级 = '甲' OR b.贷款余额 > 1) AND ((p.镇 = '东镇') AND NOT p.月份 IS NULL)"
    query = parse_query(sql, POLICY)
    assert isinstance(query.filter, AllOf) and len(query.filter.terms) == 3


@pytest.mark.parametrize(
    ("select", "rule"),
    [
        ("HISTOGRAM(p.用电量, 4)", "join-aggregate"),
        (f"COUNT(DISTINCT b.{KEY})", "join-aggregate"),
        ("COVAR(p.用电量, b.贷款余额)", "join-product"),
        ("SUM(b.用电量)", "wrong-table"),
        ("SUM(x.用电量)", "unknown-table"),
        (f"b.{KEY}", "ungrouped-column"),
        ("SUM(p.用电量 * b.贷款余额)", "argument"),
        ("COUNT(b.信用等级)", "argument"),
    ],
)
def test_what_a_join_does_not_give_is_refused(select: str, rule: str) -> None:
    assert rule in [each.rule for each in refused(f"SELECT {select} {JOIN}")]


@pytest.mark.parametrize("clause", [f"WHERE b.{KEY} = '91'", f"GROUP BY b.{KEY}", f"GROUP BY {KEY}"])
def test_the_key_is_neither_filtered_nor_grouped_by(clause: str) -> None:
    assert refused(f"SELECT COUNT(*) {JOIN} {clause}")[0].rule in ("not-filter", "not-dimension")


def test_a_policy_without_a_join_refuses_one_as_before() -> None:
    with pytest.raises(PlanRejected) as caught:
        parse_query("SELECT COUNT(*) FROM 用电 a JOIN b ON a.x = b.x", policy_of())
    assert {each.rule for each in caught.value.violations} >= {"join"}
    with pytest.raises(PlanRejected) as caught:
        parse_query("SELECT SUM(用电.kwh) FROM 用电", policy_of())
    assert caught.value.violations[0].rule == "qualified-name"
