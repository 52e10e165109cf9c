"""Hostile queries at the exchange's door; the grammar itself is tested in tests/privacy/test_sql.py."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from client.errors import QueryRejected
from tests.misbehaviour.world import LISTING, SQL, World, problem

COUNT = f'SELECT COUNT(*) AS n FROM "{LISTING}"'


def violations(world: World, sql: str) -> list[dict[str, Any]]:
    """Ask for a quote past the buyer's own check, and return why it was refused."""
    body = {"listing": LISTING, "sql": sql, "purpose": "research"}
    with world.http(world.buyer_signer) as http:
        response = http.post("/quotes", json=body, headers={"Idempotency-Key": secrets.token_hex(8)})
    assert problem(response) == "plan-rejected"
    return list(response.json()["violations"])


REFUSED = [
    (f"SELECT COUNT(*) FROM (SELECT * FROM {LISTING}) AS x", "subquery", 23),
    (f"{COUNT} WHERE kwh IN (SELECT kwh FROM {LISTING})", "subquery", 46),
    (f"SELECT my_udf(kwh) FROM {LISTING}", "function", 8),
    (f"SELECT read_csv('/etc/passwd') FROM {LISTING}", "function", 8),
    (f"SELECT SUM(secret) FROM {LISTING}", "unknown-column", 12),
    (f"SELECT COUNT(*) FROM {LISTING}; DROP TABLE x", "statements", 26),
    (f"{COUNT} UNION SELECT COUNT(*) FROM {LISTING}", "set-operation", 32),
    (f"SELECT * FROM {LISTING}", "star", 8),
    (f"SELECT kwh FROM {LISTING}", "ungrouped-column", 8),
    (f"SELECT COUNT(*) FROM {LISTING} WHERE kwh = 1", "not-filter", 31),
    ("DELETE FROM x", "statement", 1),
    ("", "statement", 1),
]


@pytest.mark.parametrize(
    ("sql", "rule", "position"), REFUSED, ids=[f"{r} {n}" for n, (_, r, _) in enumerate(REFUSED)]
)
def test_what_is_outside_the_grammar_is_refused_with_rule_and_position(
    shared_world: World, sql: str, rule: str, position: int
) -> None:
    found = violations(shared_world, sql)
    assert (found[0]["rule"], found[0]["position"]) == (rule, position)


def test_size_and_depth_are_refused_before_anything_is_parsed(shared_world: World) -> None:
    started = time.monotonic()
    assert [v["rule"] for v in violations(shared_world, f"{COUNT} -- " + "x" * 64 * 1024)] == ["size"]
    assert [v["rule"] for v in violations(shared_world, "字" * 22_000)] == ["size"]
    deep = violations(shared_world, f"{COUNT} WHERE " + "(" * 33 + "城镇 = 'a'" + ")" * 33)
    assert deep[0]["rule"] == "depth" and deep[0]["position"]
    assert violations(shared_world, f"{COUNT} WHERE " + "(" * 60_000)[0]["rule"] == "depth"
    assert violations(shared_world, "SELECT " + "STRUCT(" * 40 + ")" * 40)[0]["rule"]
    assert time.monotonic() - started < 5
    with shared_world.http(shared_world.buyer_signer) as http:
        body = {"listing": LISTING, "sql": "x" * (1 << 20), "purpose": "research"}
        assert problem(http.post("/quotes", json=body, headers={"Idempotency-Key": "x"})) == "body-too-large"


@pytest.mark.parametrize(
    ("sql", "position", "form"),
    [
        (f"ＳELECT COUNT(*) FROM {LISTING}", 1, "'S'"),
        (f"SELECT COUNT（*) FROM {LISTING}", 13, "'('"),
        (f"SELECT COUNT(*) FROM {LISTING} WHERE 城镇 ＝ 'a'", 34, "'='"),
        (f"SELECT COUNT(*) FROM {LISTING} WHERE 城镇 = ‘a’", 36, '"\'"'),
        (f"SELECT COUNT(*) FROM {LISTING} WHERE 城镇 = １", 36, "'1'"),
    ],
    ids=["letter", "bracket", "operator", "quote", "digit"],
)
def test_full_width_signs_are_refused_with_position_and_ascii_form(
    shared_world: World, sql: str, position: int, form: str
) -> None:
    (first, *_) = [v for v in violations(shared_world, sql) if v["rule"] == "full-width"]
    assert first["position"] == sql.index(sql[position - 1]) + 1
    assert first["message"].endswith(f"write {form}")


def test_the_buyers_own_library_refuses_the_same_before_it_asks(shared_world: World) -> None:
    with pytest.raises(QueryRejected) as caught:
        shared_world.buyer.quote(LISTING, f"SELECT my_udf(kwh) FROM {LISTING}")
    assert caught.value.violations


def test_chinese_tables_columns_and_literals_work(shared_world: World) -> None:
    quote = shared_world.buyer.quote(LISTING, SQL, rho_micro=111_111)
    assert quote.plan.cells == 6
    plain = f"SELECT 城镇, COUNT(*) AS 户数 FROM {LISTING} WHERE 城镇 = '南山' GROUP BY 城镇"
    (*_, count) = shared_world.buyer.quote(LISTING, plain).plan.to_json()["outputs"]
    assert count["name"] == "户数"
