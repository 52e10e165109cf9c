"""How much a refusal says: bounded, and still of every rule that was broken."""

from privacy.types import VIOLATION_CHARS_MAX, VIOLATIONS_MAX, Violation, listed
from tests.privacy.test_sql import violations_of


def test_a_query_that_breaks_a_rule_at_thousands_of_places_gets_a_short_answer() -> None:
    sql = "SELECT count(*) FROM nowhere WHERE " + " OR ".join(["q=1"] * 8000) + " ORDER BY 1"
    violations = violations_of(sql)
    assert len(violations) == VIOLATIONS_MAX
    assert sum(len(str(each.to_json())) for each in violations) < 1 << 16
    listed_, last = violations[:-1], violations[-1]
    assert {each.rule for each in listed_} == {"unknown-listing", "unknown-column", "clause"}
    assert [(each.line, each.position) for each in listed_] == sorted(
        (each.line, each.position) for each in listed_
    )
    assert last.rule == "more" and last.message.startswith(f"{8000 + 2 - len(listed_)} more ")


def test_a_name_of_64_kb_is_cut_in_what_is_said_of_it() -> None:
    (violation,) = violations_of(f'SELECT sum({"a" * 60_000}) FROM "用电"')
    assert violation.rule == "unknown-column"
    assert len(violation.message) == len(violation.column or "") == VIOLATION_CHARS_MAX


def test_every_rule_is_listed_however_often_another_is_broken() -> None:
    many = [Violation("a", "1", line=1, position=k) for k in range(1, 5000)]
    rules = [Violation(f"rule {k}", "2", line=2, position=k) for k in range(1, 41)]
    found = listed([*many, *rules])
    assert {each.rule for each in found} == {"a", "more", *(each.rule for each in rules)}
    assert [each for each in found if each.rule == "a"] == many[: VIOLATIONS_MAX - 41]
    assert listed(many[:VIOLATIONS_MAX]) == many[:VIOLATIONS_MAX]


def test_violations_of_one_rule_without_a_place_are_told_apart_by_what_they_say() -> None:
    found = [Violation("group", "x is none", "x"), Violation("group", "y is none", "y")]
    assert listed([*found, *found]) == found
