"""Policies, queries and plans, and the JSON under them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from ledger.errors import MalformedValue
from privacy.columns import ColumnType
from privacy.encoding import canonical_json, parse_canonical_json
from privacy.errors import NotCanonical, PlanningError, PolicyInvalid, PrivacyError
from privacy.generators import parse_table
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from privacy.query import Query
from privacy.query_text import read_literal, render_sql
from privacy.sql import parse_query
from privacy.types import AssetRef
from tests.fuzz.contract import Decoder
from tests.fuzz.families.texts import bytes_of, of_json, of_text
from tests.privacy.plan_world import POLICY, ROOT, assets_of, plan_of, policy_of

YAML_S = 3.0
SQL_S = 3.0  # the parser takes about a second for 64 KB of commas
"""The parser of YAML is written in Python: 64 KB take most of a second. What is read so is its owner's own file."""

QUERIES = (
    "SELECT COUNT(*) AS n FROM 用电",
    'SELECT 城镇, COUNT(DISTINCT 户号), SUM(kwh) AS "s" FROM 用电 WHERE kwh BETWEEN 1 AND 2.5 GROUP BY 城镇',
    "SELECT AVG(kwh), VAR(kwh), STDDEV(age) FROM 用电 WHERE NOT (城镇 = '南山' OR Grade IN (1, 2)) AND age >= 18",
    "SELECT HISTOGRAM(kwh, 4) AS h, QUANTILE(age, 0.9, 4) AS q FROM 用电 WHERE 城镇 IS NOT NULL",
    "SELECT COVAR(kwh, age), CORR(kwh, age), LINREG(kwh, age) AS r, CHI2(城镇, Grade) AS t FROM 用电",
    "SELECT Grade, COUNT(*) FROM 用电 WHERE 城镇 <> 'O''Hara \"x\"' GROUP BY Grade",
)


@cache
def _policy() -> Policy:
    return policy_of()


@cache
def _plans() -> tuple[Plan, ...]:
    return tuple(plan_of(sql, _policy()) for sql in QUERIES)


def _yaml_seeds() -> Iterator[bytes]:
    yield yaml.safe_dump(POLICY, allow_unicode=True).encode()
    for path in sorted((ROOT / "examples").glob("*/policy.yaml")):
        yield path.read_bytes()


def _refused_yaml() -> Iterator[bytes]:
    yield b"version: 1\nrows_max: 0x10\n? [a, b]\n: &a {<<: c, d: !!int e}\n*a : 2001-01-01 00:00:00 +1\n"


def _json_seeds() -> Iterator[bytes]:
    yield _policy().to_bytes()
    for path in sorted((ROOT / "examples").glob("*/policy.yaml")):
        yield Policy.from_yaml(path.read_text(encoding="utf8")).to_bytes()


def _verified_plan(data: bytes) -> Plan:
    plan = Plan.from_bytes(data)
    verify_plan(plan, _policy())
    return plan


def _query(text: str) -> Query:
    return parse_query(text, _policy())


def _literals(value: Any) -> list[Any]:
    return [read_literal(kind, value) for kind in ColumnType]


def _generator_table() -> bytes:
    return (ROOT / "privacy" / "generators.txt").read_bytes()


FAMILIES = {
    "policies": (
        Decoder(
            "Policy.from_yaml",
            of_text(Policy.from_yaml),
            (PolicyInvalid,),
            _yaml_seeds,
            Policy.to_bytes,
            False,
            _refused_yaml,
            seconds_max=YAML_S,
        ),
        Decoder("Policy.from_json", Policy.from_json, (PolicyInvalid,), _json_seeds, Policy.to_bytes),
        Decoder(
            "Policy.from_mapping",
            of_json(Policy.from_mapping),
            (PolicyInvalid, MalformedValue),
            lambda: [json.dumps(POLICY, ensure_ascii=False).encode()],
            Policy.to_bytes,
            False,
        ),
    ),
    "queries": (
        Decoder(
            "parse_query",
            of_text(_query),
            (PlanningError,),
            lambda: [sql.encode() for sql in QUERIES],
            lambda query: bytes_of(render_sql(query)),
            False,
            seconds_max=SQL_S,
        ),
    ),
    "plans": (
        Decoder(
            "Plan.from_bytes",
            Plan.from_bytes,
            (PlanningError,),
            lambda: [p.to_bytes() for p in _plans()],
            Plan.to_bytes,
        ),
        Decoder(
            "verify_plan",
            _verified_plan,
            (PlanningError,),
            lambda: [plan.to_bytes() for plan in _plans()],
            Plan.to_bytes,
        ),
        Decoder(
            "AssetRef.from_json",
            of_json(AssetRef.from_json),
            (PlanningError, MalformedValue),
            lambda: [canonical_json(assets_of(_policy(), 1)[0].to_json())],
            lambda asset: canonical_json(asset.to_json()),
            False,
        ),
        Decoder(
            "read_literal",
            of_json(_literals),
            (PlanningError, MalformedValue),
            lambda: [b'"1"'],
        ),
        Decoder(
            "parse_canonical_json",
            parse_canonical_json,
            (NotCanonical,),
            lambda: [plan.to_bytes() for plan in _plans()] + [b'{"a":[1,2.5,"\\u0000\xc3\xa9"]}', b'"\\""'],
            canonical_json,
        ),
        Decoder("parse_table", of_text(parse_table), (PrivacyError,), lambda: [_generator_table()]),
    ),
}
