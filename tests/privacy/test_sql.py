from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import PlanRejected
from privacy.policy import Policy
from privacy.query import (
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Comparison,
    IsNull,
    Negation,
    Output,
    OutputKind,
    Query,
)
from privacy.query_text import render_sql
from privacy.sql import parse_query
from privacy.types import Violation
from tests.privacy.plan_world import ROOT, example, policies, policy_of, queries

POLICY = policy_of()
COUNT = Output("count(*)", OutputKind.COUNT)


def parse(sql: str, policy: Policy = POLICY) -> Query:
    return parse_query(sql, policy)


def violations_of(sql: str, policy: Policy = POLICY) -> tuple[Violation, ...]:
    with pytest.raises(PlanRejected) as caught:
        parse_query(sql, policy)
    assert caught.value.violations
    return caught.value.violations


def rules_of(sql: str, policy: Policy = POLICY) -> list[tuple[str, int | None, int | None]]:
    return [(each.rule, each.line, each.position) for each in violations_of(sql, policy)]


def where(condition: str) -> str:
    return f'SELECT COUNT(*) FROM "用电" WHERE {condition}'


# --- what is taken ----------------------------------------------------------------------------------------------


def test_every_aggregate_with_names_and_defaults() -> None:
    query = parse(
        'SELECT 城镇, grade AS g, COUNT(*), count(DISTINCT 户号) AS 户数, SUM(kwh), AVG(kwh) "平均 kWh", VAR(kwh),'
        " VARIANCE(age) v, VAR_SAMP(age), VAR_POP(age), STDDEV(age), STDDEV_SAMP(age), STDDEV_POP(age),"
        " HISTOGRAM(age, 10), histogram(kwh,3) AS h FROM 用电 GROUP BY 城镇, GRADE;"
    )
    assert query.group_by == ("城镇", "Grade")
    assert [(each.name, each.kind, each.column, each.bins) for each in query.outputs] == [
        ("城镇", OutputKind.GROUP, "城镇", None),
        ("g", OutputKind.GROUP, "Grade", None),
        ("count(*)", OutputKind.COUNT, None, None),
        ("户数", OutputKind.COUNT_DISTINCT, "户号", None),
        ("sum(kwh)", OutputKind.SUM, "kwh", None),
        ("平均 kWh", OutputKind.AVG, "kwh", None),
        ("var(kwh)", OutputKind.VAR_SAMP, "kwh", None),
        ("v", OutputKind.VAR_SAMP, "age", None),
        ("var_samp(age)", OutputKind.VAR_SAMP, "age", None),
        ("var_pop(age)", OutputKind.VAR_POP, "age", None),
        ("stddev(age)", OutputKind.STDDEV_SAMP, "age", None),
        ("stddev_samp(age)", OutputKind.STDDEV_SAMP, "age", None),
        ("stddev_pop(age)", OutputKind.STDDEV_POP, "age", None),
        ("histogram(age, 10)", OutputKind.HISTOGRAM, "age", 10),
        ("h", OutputKind.HISTOGRAM, "kwh", 3),
    ]


def test_where_keeps_precedence_and_types() -> None:
    query = parse(
        where(
            "age >= 18 AND NOT kwh BETWEEN -1.50 AND 2e2 OR 城镇 IN ('南山','O''Hara \"x\"') AND grade IS NOT NULL"
        )
    )
    assert query.filter == AnyOf(
        (
            AllOf(
                (
                    Compare("age", "integer", Comparison.GREATER_OR_EQUAL, 18),
                    Negation(Between("kwh", "number", Decimal("-1.5"), Decimal(200))),
                )
            ),
            AllOf(
                (
                    Among("城镇", "text", ("南山", 'O\'Hara "x"')),
                    Negation(IsNull("Grade", "integer")),
                )
            ),
        )
    )


def test_connectives_are_flat_whatever_the_parentheses() -> None:
    flat = parse(where("age = 1 AND age <> 2 AND age < 3")).filter
    assert parse(where("(age = 1 AND (age != 2)) AND ((age < 3))")).filter == flat
    assert isinstance(flat, AllOf)
    assert len(flat.terms) == 3


def test_names_match_exactly_in_nfc_or_by_ascii_case_when_unquoted_and_unique() -> None:
    policy = policy_of(
        columns={
            "café": {"type": "integer", "filter": True},
            "Twin": {"type": "integer", "filter": True},
            "twin": {"type": "integer", "filter": True},
            "select": {"type": "integer", "filter": True},
            "度（千）": {"type": "integer", "filter": True},
        }
    )
    assert parse(where("cafe\u0301 = 1"), policy).filter == Compare("café", "integer", Comparison.EQUAL, 1)
    assert parse(
        where('"select" = 1 AND "度（千）" = 2 AND TWIN = 1 OR CAFé = 1'.replace("TWIN", "Twin")), policy
    )
    assert rules_of(where("TWIN = 1"), policy) == [("unknown-column", 1, 33)]
    assert rules_of(where('"CAFé" = 1'), policy) == [("unknown-column", 1, 33)]
    assert rules_of(where("CAFÉ = 1"), policy) == [("unknown-column", 1, 33)]


def test_listing_is_matched_by_ascii_case_and_quoted_exactly() -> None:
    policy = policy_of(listing="Adult")
    for name in ("adult", "ADULT", '"Adult"'):
        assert parse(f"SELECT COUNT(*) FROM {name}", policy).listing == "Adult"
    assert rules_of('SELECT COUNT(*) FROM "adult"', policy) == [("unknown-listing", 1, 22)]


def test_chinese_names_and_literals_work_unquoted_and_quoted() -> None:
    query = parse('SELECT 城镇 AS 镇, COUNT(*) AS 数 FROM 用电 WHERE "城镇" = \'福田\' GROUP BY "城镇"')
    assert [output.name for output in query.outputs] == ["镇", "数"]
    assert query.filter == Compare("城镇", "text", Comparison.EQUAL, "福田")


def test_text_inside_quotes_is_taken_as_it_is() -> None:
    for text in (
        "ＡＢＣ（１）",
        "-- no comment",
        "/* nor this */",
        "; DROP TABLE x",
        "“”",
        "100%",
        "\\",
        "{{ x }}",
        "$1",
    ):
        query = parse(where(f"城镇 = '{text}'"))
        assert query.filter == Compare("城镇", "text", Comparison.EQUAL, text)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_rendered_query_parses_to_itself(data: st.DataObject) -> None:
    policy = data.draw(policies())
    query = data.draw(queries(policy))
    assert parse_query(render_sql(query), policy) == query


EXAMPLES = [  # the policy of a deposit is made with its key: tests/e2e/test_demo.py asks that question
    path for path in sorted((ROOT / "examples").glob("*/*.sql")) if (path.parent / "policy.yaml").exists()
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_examples_are_taken(path: Path) -> None:
    policy = example(path.parent.name)
    query = parse_query(path.read_text(encoding="utf8"), policy)
    assert parse_query(render_sql(query), policy) == query


# --- what is refused --------------------------------------------------------------------------------------------

REFUSED = [
    ("SELECT * FROM 用电", "star", 8),
    ("SELECT age FROM 用电", "ungrouped-column", 8),
    ("SELECT 城镇 FROM 用电 GROUP BY 城镇", "no-aggregate", 8),
    ("SELECT COUNT(*)", "from", 8),
    ("SELECT FROM 用电", "syntax", 13),
    ("SELECT COUNT(*) FROM other", "unknown-listing", 22),
    ("SELECT COUNT(*) FROM public.用电", "qualified-name", 22),
    ("SELECT COUNT(*) FROM 用电 AS t", "table-alias", 28),
    ("SELECT COUNT(*) FROM 用电, 用电", "join", 26),
    ("SELECT COUNT(*) FROM 用电 JOIN 用电 USING (age)", "join", 25),
    ("SELECT COUNT(*) FROM (SELECT 1)", "subquery", 23),
    ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM 用电", "cte", 1),
    ("SELECT COUNT(*) FROM 用电 UNION SELECT 1", "set-operation", 25),
    ("SELECT DISTINCT COUNT(*) FROM 用电", "clause", 17),
    ("SELECT COUNT(*) FROM 用电 HAVING COUNT(*) > 5", "clause", 25),
    ("SELECT COUNT(*) FROM 用电 ORDER BY 1", "clause", 25),
    ("SELECT COUNT(*) FROM 用电 LIMIT 5", "clause", 25),
    ("SELECT COUNT(*) OVER () FROM 用电", "window", 17),
    ("SELECT COUNT(*) FILTER (WHERE age = 1) FROM 用电", "expression", 17),
    ("SELECT COUNT(age) FROM 用电", "argument", 8),
    ("SELECT COUNT(DISTINCT age) FROM 用电", "not-unit", 23),
    ("SELECT COUNT(DISTINCT 户号, age) FROM 用电", "argument", 8),
    ("SELECT SUM(DISTINCT age) FROM 用电", "argument", 21),
    ("SELECT SUM(ALL age) FROM 用电", "expression", 12),
    ("SELECT SUM(age, kwh) FROM 用电", "syntax", 20),
    ("SELECT SUM(age * 2) FROM 用电", "argument", 12),
    ("SELECT SUM(age) * 2 FROM 用电", "expression", 8),
    ("SELECT SUM(-age) FROM 用电", "argument", 13),
    ("SELECT SUM(城镇) FROM 用电", "not-measure", 12),
    ("SELECT SUM(t.age) FROM 用电", "qualified-name", 12),
    ("SELECT MEDIAN(age) FROM 用电", "function", 8),
    ('SELECT "sum"(age) FROM 用电', "function", 8),
    ("SELECT read_csv('x') FROM 用电", "function", 8),
    ("SELECT HISTOGRAM(age) FROM 用电", "argument", 8),
    ("SELECT HISTOGRAM(age, 2.5) FROM 用电", "argument", 8),
    ("SELECT HISTOGRAM(age, 0) FROM 用电", "bins", 23),
    ("SELECT HISTOGRAM(age, 121) FROM 用电", "bins", 8),
    ("SELECT HISTOGRAM(age, 99999999999) FROM 用电", "bins", 23),
    ("SELECT CASE WHEN 1 THEN 2 END FROM 用电", "expression", 8),
    ("SELECT 5 FROM 用电", "expression", 8),
    ("SELECT COUNT(*) AS 'n' FROM 用电", "name", 20),
    ("SELECT COUNT(*) AS n, SUM(age) AS n FROM 用电", "duplicate-name", 23),
    ("SELECT COUNT(*), COUNT(*) FROM 用电", "duplicate-name", 18),
    ("SELECT COUNT(*), FROM 用电", "syntax", 16),
    ("SELECT COUNT(*),, SUM(age) FROM 用电", "syntax", 17),
    ("SELECT COUNT(*) FROM 用电 GROUP BY age", "not-dimension", 34),
    ("SELECT COUNT(*) FROM 用电 GROUP BY 1", "argument", 34),
    ("SELECT COUNT(*) FROM 用电 GROUP BY 城镇, 城镇", "duplicate-group", 38),
    ("SELECT COUNT(*) FROM 用电 GROUP BY ROLLUP (城镇)", "clause", 34),
    ("SELECT COUNT(*) FROM 用电 GROUP BY DISTINCT 城镇", "syntax", 34),
    ("SELECT COUNT(*) FROM 用电 GROUP", "table-alias", 25),
    ("SELECT COUNT(*) FROM 用电; SELECT 1", "statements", 26),
    ("SELECT COUNT(*) FROM 用电 -- x", "comment", 25),
    ("SELECT /* x */ COUNT(*) FROM 用电", "comment", 8),
    ("INSERT INTO 用电 VALUES (1)", "statement", 1),
    ("DROP TABLE 用电", "statement", 1),
    ("(SELECT COUNT(*) FROM 用电)", "statement", 1),
    ("FROM 用电", "statement", 1),
    ("", "statement", 1),
    (";", "statement", 1),
    (where("nope = 1"), "unknown-column", 33),
    (where("secret = 'a'"), "not-filter", 33),
    (where("age"), "expression", 33),
    (where("1 = 1"), "expression", 33),
    (where("18 < age"), "expression", 33),
    (where("age = kwh"), "literal", 39),
    (where("age = 1.5"), "literal", 39),
    (where("age = '1'"), "literal", 39),
    (where("age = 9223372036854775808"), "literal", 39),
    (where("age = 1e3"), "literal", 39),
    (where("kwh = 1e999"), "literal", 39),
    (where("城镇 = 1"), "literal", 38),
    (where("城镇 > 'a'"), "text-order", 33),
    (where("城镇 BETWEEN 'a' AND 'b'"), "text-order", 33),
    (where("城镇 LIKE 'a%'"), "expression", 36),
    (where("age = NULL"), "literal", 33),
    (where("age IS TRUE"), "expression", 40),
    (where("age IS 1"), "expression", 33),
    (where("age IN ()"), "expression", 33),
    (where("age IN 5"), "expression", 33),
    (where("age IN (SELECT 1)"), "subquery", 41),
    (where("EXISTS (SELECT 1)"), "expression", 33),
    (where("(age, kwh) = (1, 2)"), "expression", 34),
    (where("(age) = 1"), "expression", 34),
    (where("SUM(age) = 1"), "expression", 33),
    (where("age = +1"), "character", 39),
    (where("age % 2 = 1"), "character", 37),
    (where("age == 1"), "operator", 37),
    (where("age <=> 1"), "operator", 37),
    (where("age = 1abc"), "literal", 39),
    (where("age = 0x1F"), "literal", 39),
    (where("age = 1_000"), "literal", 39),
    (where("age = .5"), "literal", 39),
    (where("age = 1 AND"), "syntax", 41),
    (where("城镇 = 'a"), "syntax", 38),
    (where('"城镇 = 1'), "syntax", 33),
    (where('"" = 1'), "syntax", 33),
    (where("`age` = 1"), "character", 33),
    (where("城镇 = N'a'"), "syntax", 39),
    (where("age = 1 ON CONFLICT"), "join", 41),
    (where("age ISNULL"), "expression", 37),
    (where("lıke = 1"), "unknown-column", 33),
    (where("age ın (1)"), "function", 37),
]


@pytest.mark.parametrize(
    ("sql", "rule", "position"), REFUSED, ids=[f"{rule}:{sql[:60]}" for sql, rule, _ in REFUSED]
)
def test_a_query_outside_the_grammar_is_refused_with_rule_and_position(
    sql: str, rule: str, position: int
) -> None:
    assert (rule, 1, position) in rules_of(sql)


def test_the_column_is_named_as_the_policy_spells_it() -> None:
    found = {
        each.rule: each.column
        for each in violations_of("SELECT SUM(城镇) FROM 用电 WHERE AGE = 'x' OR Nope = 1")
    }
    assert found == {"not-measure": "城镇", "literal": "age", "unknown-column": "Nope"}


def test_aggregates_the_policy_does_not_allow_are_refused() -> None:
    policy = policy_of(aggregates=["sum"])
    found = violations_of("SELECT COUNT(*), SUM(kwh), STDDEV(kwh), COUNT(DISTINCT 户号) FROM 用电", policy)
    assert [(each.rule, each.position) for each in found] == [
        ("aggregate-not-allowed", p) for p in (8, 28, 41)
    ]


def test_all_violations_are_reported_in_order_of_position() -> None:
    sql = (
        "SELECT nope, MEDIAN(age), SUM(城镇), kwh AS x, COUNT(*) AS x\n"
        "FROM elsewhere t\n"
        "WHERE secret = 'a' AND age > 'b' OR bogus IN (1)\r\n"
        "GROUP BY kwh, what"
    )
    assert rules_of(sql) == [
        ("unknown-column", 1, 8),
        ("function", 1, 14),
        ("not-measure", 1, 31),
        ("ungrouped-column", 1, 36),
        ("unknown-listing", 2, 6),
        ("table-alias", 2, 16),
        ("not-filter", 3, 7),
        ("literal", 3, 30),
        ("unknown-column", 3, 37),
        ("not-dimension", 4, 10),
        ("unknown-column", 4, 15),
    ]


def test_a_clause_at_the_end_does_not_hide_what_is_wrong_before_it() -> None:
    assert rules_of(
        "SELECT SUM(城镇) FROM 用电 WHERE nope = 1 HAVING COUNT(*) > 3 ORDER BY bogus LIMIT 5"
    ) == [
        ("not-measure", 1, 12),
        ("unknown-column", 1, 30),
        ("clause", 1, 39),
        ("clause", 1, 59),
        ("unknown-column", 1, 68),
        ("clause", 1, 74),
    ]


def test_names_are_checked_even_where_nothing_can_be_parsed() -> None:
    assert rules_of("SELECT nope, my_udf(age) FROM elsewhere WHERE CASE WHEN bogus THEN age END = 1") == [
        ("unknown-column", 1, 8),
        ("function", 1, 14),
        ("unknown-listing", 1, 31),
        ("expression", 1, 47),
        ("expression", 1, 52),
        ("unknown-column", 1, 57),
        ("expression", 1, 63),
        ("expression", 1, 72),
    ]


# --- characters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "position", "form"),
    [
        ("ＳELECT COUNT(*) FROM 用电", 1, "'S'"),
        ("SELECT COUNT（*) FROM 用电", 13, "'('"),
        ("SELECT\u3000COUNT(*) FROM 用电", 7, "' '"),
        ("SELECT\u00a0COUNT(*) FROM 用电", 7, "' '"),
        (where("age = １"), 39, "'1'"),
        (where("age ＝ 1"), 37, "'='"),
        (where("age ≥ 1"), 37, "'>='"),
        (where("age ≠ 1"), 37, "'<>'"),
        (where("城镇 = ‘a’"), 38, '"\'"'),
        (where("城镇 = ＇a＇"), 38, '"\'"'),
        (where("“城镇” = 'a'"), 33, "'\"'"),
        (where("age IN (1，2)"), 42, "','"),
        (where("age = −1"), 39, "'-'"),
        (where("age = 1；"), 40, "';'"),
        (where("ａge = 1"), 33, "'a'"),
        (where("age = ①"), 39, "'1'"),
        (where("𝐚ge = 1"), 33, "'a'"),
    ],
)
def test_full_width_and_look_alike_characters_are_refused_with_their_ascii_form(
    sql: str, position: int, form: str
) -> None:
    found = [each for each in violations_of(sql) if each.rule == "full-width"]
    assert (found[0].line, found[0].position) == (1, position)
    assert found[0].message.endswith(f"write {form}")


@pytest.mark.parametrize("literal", ["“虎门”", '"虎门"', "虎门"])
def test_a_text_in_the_wrong_quotes_is_shown_in_the_right_ones(literal: str) -> None:
    found = {each.rule: each.message for each in violations_of(where(f"城镇 = {literal}"))}
    assert found["literal"] == "expected a literal; a text stands in single quotes: '虎门'"
    assert literal[0] != "“" or 'around a text write "\'", around a name' in found["full-width"]


def test_each_full_width_character_is_reported() -> None:
    found = violations_of("ＳＥＬＥＣＴ　COUNT（＊） FROM 用电")
    assert [each.position for each in found] == [1, 2, 3, 4, 5, 6, 7, 13, 14, 15]


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u202e", "\ufeff", "\ud800", "\u2028"]
)
@pytest.mark.parametrize(
    "place", ["{}SELECT COUNT(*) FROM 用电", where("城镇 = 'a{}'"), 'SELECT COUNT(*) AS "a{}" FROM 用电']
)
def test_control_and_invisible_characters_are_refused_everywhere(character: str, place: str) -> None:
    found = violations_of(place.format(character))
    assert ("control-character", place.index("{}") + 1) in [(each.rule, each.position) for each in found]


# --- size and depth ---------------------------------------------------------------------------------------------


def test_text_over_64_kb_is_refused_before_anything_else() -> None:
    condition = " OR ".join(["age = 1"] * 9000)
    assert [rule for rule, _, _ in rules_of(where(condition))] == ["size"]
    assert [rule for rule, _, _ in rules_of("字" * 22_000)] == ["size"]
    exact = where("age = 1").ljust(64 * 1024 - 4)
    assert len(exact.encode()) == 64 * 1024
    assert parse(exact).filter is not None


def test_a_long_flat_condition_is_taken() -> None:
    query = parse(where(" OR ".join(["age = 1"] * 4000)))
    assert isinstance(query.filter, AnyOf)
    assert len(query.filter.terms) == 4000


def test_a_query_that_would_be_too_long_in_canonical_form_is_refused() -> None:
    condition = " OR ".join(["age=1"] * 7000)
    assert [rule for rule, _, _ in rules_of(where(condition))] == ["size"]


def test_parentheses_and_not_nest_thirty_two_deep_and_no_deeper() -> None:
    assert parse(where("(" * 32 + "age = 1" + ")" * 32)).filter == Compare(
        "age", "integer", Comparison.EQUAL, 1
    )
    assert rules_of(where("(" * 33 + "age = 1" + ")" * 33)) == [("depth", 1, 65)]
    assert rules_of(where("NOT " * 33 + "age = 1")) == [("depth", 1, 161)]
    assert rules_of(where("NOT (" * 17 + "age = 1" + ")" * 17)) == [("depth", 1, 113)]
    assert parse(where("NOT " * 28 + "age = 1"))
    assert "depth" in [
        rule for rule, _, _ in rules_of("SELECT " + "SUM(" * 40 + "age" + ")" * 40 + " FROM 用电")
    ]
    assert "depth" in [rule for rule, _, _ in rules_of(where("age = " + "- " * 60 + "1"))]


def test_connectives_nest_as_deep_as_a_text_may() -> None:
    condition = "age = 1"
    for number in range(32):
        condition = f"age = 2 {('AND', 'OR')[number % 2]} ({condition})"
    assert parse(where(condition)).filter is not None
    assert "depth" in [rule for rule, _, _ in rules_of(where(f"age = 3 AND ({condition})"))]


HOSTILE = [
    "STRUCT(" * 30 + "age" + ")" * 30,
    "STRUCT<" * 3000,
    "age " + "JOIN 用电 " * 4000,
    "age UNION SELECT " * 3000,
    "(" * 60_000,
    "NOT " * 16_000,
    "- " * 30_000,
    "a(b(1))," * 3000,
    "'" * 60_001,
    '"" ' * 20_000,
    "age." * 6000,
    "CASE WHEN " * 6000,
    "/*" * 30_000,
    "{{" * 30_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:12] for text in HOSTILE])
def test_hostile_text_is_refused_and_not_parsed_for_years(text: str) -> None:
    """sqlglot alone would not return from the first, a STRUCT nested 30 deep, nor from the chain of JOIN."""
    for sql in (f"SELECT {text} FROM 用电", where(text)):
        assert violations_of(sql)


_VOCABULARY = """
SELECT FROM WHERE GROUP BY AND OR NOT IN BETWEEN IS NULL AS DISTINCT ( ) , * = <> < <= - . ; age kwh 城镇 用电 1 2.5 'x'
COUNT(*) SUM(age) HISTOGRAM ORDER JOIN CASE ＝ -- /*
"""


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_VOCABULARY.split()), max_size=30))
def test_any_text_is_either_refused_or_means_what_its_canonical_form_says(words: list[str]) -> None:
    sql = "SELECT " + " ".join(words)
    try:
        query = parse(sql)
    except PlanRejected as err:
        assert err.violations
        assert all(each.line is None or each.position is not None for each in err.violations)
    else:
        assert parse(render_sql(query)) == query


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_arbitrary_text_is_refused_with_a_violation(text: str) -> None:
    assert violations_of(text)


# --- aggregates of several arguments ----------------------------------------------------------------------------


def test_aggregates_of_several_arguments_with_names_and_defaults() -> None:
    query = parse(
        "SELECT QUANTILE(kwh, 0.5), quantile(AGE, .25e0, 8) AS q, COVAR(kwh, age), COVAR_POP(age, grade) AS c,"
        " corr(grade, kwh), LINREG(kwh, age, grade), CHI2(城镇, grade) FROM 用电".replace(".25e0", "0.25")
    )
    assert query.outputs == (
        Output("quantile(kwh, 0.5)", OutputKind.QUANTILE, "kwh", 64, Decimal("0.5")),
        Output("q", OutputKind.QUANTILE, "age", 8, Decimal("0.25")),
        Output("covar(kwh, age)", OutputKind.COVAR_SAMP, "kwh", others=("age",), present=("kwh",)),
        Output("c", OutputKind.COVAR_POP, "age", others=("Grade",), present=("Grade",)),
        Output("corr(Grade, kwh)", OutputKind.CORR, "Grade", others=("kwh",), present=("Grade", "kwh")),
        Output(
            "linreg(kwh, age, Grade)",
            OutputKind.LINREG,
            "kwh",
            others=("age", "Grade"),
            present=("Grade", "kwh"),
        ),
        Output("chi2(城镇, Grade)", OutputKind.CHI2, "城镇", others=("Grade",)),
    )
    assert parse(render_sql(query)) == query


def test_a_quantile_has_no_more_bins_than_its_column_has_steps() -> None:
    assert parse("SELECT QUANTILE(grade, 0.5) FROM 用电").outputs[0].bins == 6


@pytest.mark.parametrize(
    ("call", "rule", "column", "position"),
    [
        ("QUANTILE(kwh)", "argument", None, 8),
        ("QUANTILE(kwh, 0)", "quantile", None, 22),
        ("QUANTILE(kwh, 1)", "quantile", None, 22),
        ("QUANTILE(kwh, 0.1234567)", "quantile", None, 22),
        ("QUANTILE(kwh, 0.5, 0)", "bins", None, 27),
        ("QUANTILE(kwh, 0.5, 2.5)", "argument", None, 8),
        ("QUANTILE(kwh, 0.5, 4, 4)", "argument", None, 8),
        ("QUANTILE(grade, 0.5, 7)", "bins", "Grade", 8),
        ("QUANTILE(kwh, age)", "argument", None, 8),
        ("QUANTILE(secret, 0.5)", "not-measure", "secret", 17),
        ("COVAR(kwh)", "argument", None, 8),
        ("COVAR(kwh, kwh)", "repeated-column", "kwh", 19),
        ("COVAR(kwh, age, grade)", "argument", None, 8),
        ("COVAR(kwh, 3)", "argument", None, 19),
        ("CORR(kwh, secret)", "not-measure", "secret", 18),
        ("CORR(kwh, nosuch)", "unknown-column", "nosuch", 18),
        ("CORR(DISTINCT kwh, age)", "argument", None, 8),
        ("LINREG(kwh)", "argument", None, 8),
        ("LINREG(kwh, age, kwh)", "repeated-column", "kwh", 25),
        ("LINREG(kwh, age, grade, age, kwh, grade)", "argument", None, 8),
        ("LINREG(kwh, 'age')", "argument", None, 20),
        ("CHI2(城镇, kwh)", "not-dimension", "kwh", 17),
        ("CHI2(城镇, 城镇)", "repeated-column", "城镇", 17),
        ("CHI2(城镇)", "argument", None, 8),
        ("CHI2(SUM(kwh), 城镇)", "argument", None, 13),
    ],
)
def test_what_they_do_not_take_is_refused_with_rule_column_and_position(
    call: str, rule: str, column: str | None, position: int
) -> None:
    found = violations_of(f"SELECT {call} FROM 用电")
    assert (rule, column, 1, position) in [(v.rule, v.column, v.line, v.position) for v in found]


def test_a_column_that_is_grouped_by_is_not_tested() -> None:
    (found,) = violations_of("SELECT CHI2(城镇, grade) FROM 用电 GROUP BY grade")
    assert (found.rule, found.column, found.line, found.position) == ("grouped-column", "Grade", 1, 17)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("QUANTILE(kwh, 0.5)", "quantile"),
        ("COVAR(kwh, age)", "covar"),
        ("CORR(kwh, age)", "corr"),
        ("LINREG(kwh, age)", "linreg"),
        ("CHI2(城镇, grade)", "chi2"),
    ],
)
def test_a_policy_that_does_not_name_them_does_not_allow_them(call: str, name: str) -> None:
    policy = policy_of(aggregates=["count", "sum", "var", "histogram"])
    (found,) = violations_of(f"SELECT {call} FROM 用电", policy)
    assert found.rule == "aggregate-not-allowed"
    assert f"does not allow {name}" in found.message
