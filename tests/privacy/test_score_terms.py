"""What a policy allows of private weights, what SQL may ask, and what a dishonest buyer sends in place of a model."""

from collections.abc import Callable
from typing import Any

import pytest
from gmpy2 import next_prime

from privacy.errors import PlanInvalid, PlanRejected, PolicyInvalid
from privacy.plan import Plan
from privacy.planning import build_plan, verify_plan
from privacy.policy import Policy
from privacy.query import OutputKind
from privacy.query_text import render_sql
from privacy.score.model import FixedWeights
from privacy.score.terms import ScorePolicy
from privacy.sql import parse_query
from tests.privacy.paillier_world import owner
from tests.privacy.score_world import (
    BITS,
    POLICY,
    SCALE_BITS,
    SQL,
    build,
    encrypted,
    fixed,
    plan_of,
    policy_of,
)

WEIGHTS = fixed("-2.5", "0.125", "3", "-0.75")
ASKED = encrypted(WEIGHTS).to_json()
SIZE = owner().public.size


def rules_of(sql: str, *, asked: Any = ASKED, holders: int = 1, **changes: Any) -> list[str]:
    with pytest.raises(PlanRejected) as caught:
        build(sql, asked=asked, policy=policy_of(**changes), holders=holders)
    return [each.rule for each in caught.value.violations]


# --- the policy -------------------------------------------------------------------------------------------


def test_a_policy_with_a_score_has_one_form() -> None:
    policy = policy_of()
    assert Policy.from_json(policy.to_bytes()) == policy
    assert policy.to_json()["score"] == {
        "features": ["kwh", "age", "debt"],
        "weight_bits": "32",
        "weight_scale_bits": "16",
        "key_bits_min": "3072",
    }
    anything = policy_of(score={})
    assert anything.to_json()["score"]["features"] == "*"
    assert Policy.from_json(anything.to_bytes()) == anything
    assert isinstance(anything.terms, ScorePolicy)


def test_a_policy_without_a_score_is_as_it_was() -> None:
    given = {**POLICY, "aggregates": ["count"]}
    del given["score"]
    assert "score" not in Policy.from_mapping(given).to_json()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"min_holders": 2}, "min_holders"),
        ({"colluders": 1}, "colluders"),
        ({"dropouts": 1}, "dropouts"),
        ({"aggregates": ["count"]}, "aggregates"),
        ({"aggregates": ["score", "sum"]}, "aggregates"),
        ({"score": {"features": ["town"]}}, "score.features"),
        ({"score": {"features": []}}, "score.features"),
        ({"score": {"features": ["age", "age"]}}, "score.features"),
        ({"score": {"weight_bits": 97}}, "score.weight_bits"),
        ({"score": {"weight_scale_bits": -1}}, "score.weight_scale_bits"),
        ({"score": {"key_bits_min": 2048}}, "score.key_bits_min"),
        ({"score": {"range_proof": True}}, "score.range_proof"),
        ({"score": "yes"}, "score"),
        ({"score": None}, "aggregates"),
    ],
)
def test_a_policy_names_what_is_wrong_with_its_score(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_of(**changes)
    assert any(problem.startswith(field) for problem in caught.value.problems), caught.value.problems


# --- the question -----------------------------------------------------------------------------------------


def test_a_score_parses_and_renders_to_the_same_query() -> None:
    policy = policy_of()
    query = parse_query(SQL, policy)
    score = query.outputs[2]
    assert score.kind is OutputKind.SCORE
    assert (score.column, score.others, score.present) == ("kwh", ("age", "debt"), ("debt", "kwh"))
    assert parse_query(render_sql(query), policy) == query
    unnamed = parse_query("SELECT SCORE(age) FROM power", policy)
    assert unnamed.outputs[0].name == "score(age)"


@pytest.mark.parametrize(
    ("items", "rule"),
    [
        ("SCORE()", "argument"),
        ("SCORE(*)", "argument"),
        ("SCORE(town)", "not-measure"),
        ("SCORE(kwh, kwh)", "repeated-column"),
        ("SCORE(kwh + age)", "character"),
        ("SCORE(kwh, 3)", "argument"),
        ("SCORE(DISTINCT kwh)", "argument"),
        ("SCORE(kwh), SCORE(age)", "score-repeated"),
        ("COUNT(*)", "score-missing"),
        ("SCORE(kwh), SUM(age)", "aggregate-not-allowed"),
    ],
)
def test_what_is_no_score_is_refused_by_name(items: str, rule: str) -> None:
    assert rule in rules_of(f"SELECT {items} FROM power")


def test_a_score_needs_a_policy_with_one() -> None:
    given = {**POLICY, "aggregates": ["count", "sum"]}
    del given["score"]
    with pytest.raises(PlanRejected) as caught:
        parse_query("SELECT SCORE(kwh) FROM power", Policy.from_mapping(given))
    assert [each.rule for each in caught.value.violations] == ["aggregate-not-allowed"]
    with pytest.raises(PlanRejected) as caught:
        build("SELECT COUNT(*) FROM power", asked=ASKED, policy=Policy.from_mapping(given))
    assert [each.rule for each in caught.value.violations] == ["kind"]


def test_a_score_is_of_one_holder() -> None:
    assert "score-holders" in rules_of(SQL, holders=2)


def test_features_outside_the_policys_are_refused() -> None:
    assert rules_of(SQL, score={"features": ["kwh", "age"]}) == ["score-feature"]


def test_a_score_takes_at_most_thirty_two_features() -> None:
    names = [f"x{number}" for number in range(33)]
    columns = {name: {"type": "integer", "low": 0, "high": 9} for name in names}
    sql = f"SELECT SCORE({', '.join(names)}) FROM power"
    assert rules_of(sql, columns=columns, score={}) == ["argument"]


def test_a_lane_that_could_overflow_is_refused_in_planning() -> None:
    columns = {"x": {"type": "number", "low": 0, "high": 1 << 40, "scale_bits": 10}}
    sql = "SELECT SCORE(x) FROM power"
    model = encrypted(fixed("1", "1")).to_json()
    assert rules_of(sql, asked=model, columns=columns, score={}, rows_max=1 << 20) == ["overflow"]


def test_weights_beyond_the_bound_never_leave_an_honest_buyer() -> None:
    assert FixedWeights((1 << BITS, -(1 << BITS)), BITS, SCALE_BITS).weights[0] == 1 << BITS
    with pytest.raises(PlanInvalid, match="at most 65536"):
        fixed("0", "65536.1")


# --- the model of a dishonest buyer -----------------------------------------------------------------------


def hexed(number: int, size: int) -> str:
    return "0x" + number.to_bytes(size, "big").hex()


def with_ciphertext(text: str) -> dict[str, Any]:
    return {**ASKED, "ciphertexts": [*ASKED["ciphertexts"][:3], text]}


def with_n(n: int) -> dict[str, Any]:
    size = -(-n.bit_length() // 8)
    return {**ASKED, "n": hexed(n, size), "ciphertexts": [hexed(2, 2 * size)] * 4}


N = owner().public.n
BAD_MODELS: dict[str, Callable[[], dict[str, Any]]] = {
    "ciphertext 0": lambda: with_ciphertext(hexed(0, 2 * SIZE)),
    "ciphertext n² and more": lambda: with_ciphertext(hexed(N * N, 2 * SIZE)),
    "no unit: n": lambda: with_ciphertext(hexed(N, 2 * SIZE)),
    "no unit: a multiple of a factor": lambda: with_ciphertext(hexed(owner().p * 5, 2 * SIZE)),
    "a byte too short": lambda: with_ciphertext(hexed(2, 2 * SIZE - 1)),
    "a byte too long": lambda: with_ciphertext(hexed(2, 2 * SIZE + 1)),
    "upper-case hex": lambda: with_ciphertext(ASKED["ciphertexts"][3].upper().replace("0X", "0x")),
    "a number in place of hex": lambda: with_ciphertext(2),  # type: ignore[arg-type]
    "n even": lambda: with_n(N - 1),
    "n too small": lambda: with_n(N >> 8 | 1),
    "n too large": lambda: with_n((N << 3080) | 1),
    "n with a small factor": lambda: with_n((N >> 16) * 65521),
    "n prime": lambda: with_n(int(next_prime(N))),
    "n a square": lambda: with_n(int(next_prime(owner().p)) ** 2),
    "n with a leading zero": lambda: {**ASKED, "n": "0x00" + ASKED["n"][2:]},
    "ciphertexts no list": lambda: {**ASKED, "ciphertexts": "0x02"},
    "more ciphertexts than any score has": lambda: {**ASKED, "ciphertexts": ASKED["ciphertexts"] * 9},
    "a member too many": lambda: {**ASKED, "proof": "0x"},
    "a member missing": lambda: {name: ASKED[name] for name in ("n", "weight_bits", "ciphertexts")},
    "weight bits with a leading zero": lambda: {**ASKED, "weight_bits": "032"},
    "no object": lambda: ["model"],  # type: ignore[return-value]
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_model_that_is_none_is_refused_in_planning(name: str) -> None:
    assert rules_of(SQL, asked=BAD_MODELS[name]()) == ["model"]


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_plan_with_a_model_that_is_none_is_no_plan(name: str) -> None:
    value = plan_of(WEIGHTS).to_json()
    value["score"] = {**value["score"], "model": BAD_MODELS[name]()}
    with pytest.raises(PlanInvalid):
        Plan.from_json(value)


@pytest.mark.parametrize(
    ("asked", "changes", "rule"),
    [
        (None, {}, "model-missing"),
        ({**ASKED, "weight_bits": "31"}, {}, "model-weights"),
        ({**ASKED, "weight_scale_bits": "17"}, {}, "model-weights"),
        ({**ASKED, "ciphertexts": ASKED["ciphertexts"][:3]}, {}, "model-features"),
        (ASKED, {"score": {"key_bits_min": 4096}}, "model-key"),
    ],
)
def test_a_model_that_the_policy_does_not_take_is_refused(
    asked: Any, changes: dict[str, Any], rule: str
) -> None:
    assert rules_of(SQL, asked=asked, **changes) == [rule]


@pytest.mark.parametrize(
    "score",
    [
        {"slot_bytes": "0"},
        {"slots": "1000"},
        {"slots": "0"},
        {"slot_bytes": "-1"},
        {"layout": "1"},
    ],
)
def test_a_plan_with_slots_that_are_none_is_no_plan(score: dict[str, str]) -> None:
    value = plan_of(WEIGHTS).to_json()
    value["score"] = {**value["score"], **score}
    with pytest.raises(PlanInvalid):
        Plan.from_json(value)


def test_a_plan_with_other_slots_than_follow_is_refused_by_a_holder() -> None:
    value = plan_of(WEIGHTS).to_json()
    value["score"] = {**value["score"], "slots": str(int(value["score"]["slots"]) - 1)}
    with pytest.raises(PlanInvalid, match="differs from what its query part gives in: score"):
        verify_plan(Plan.from_json(value), policy_of())


@pytest.mark.parametrize("kind", ["sum", "score"])
def test_a_plan_of_a_kind_has_the_member_of_that_kind(kind: str) -> None:
    value = plan_of(WEIGHTS).to_json()
    if kind == "sum":
        value["kind"] = "sum"
    else:
        del value["score"]
    with pytest.raises(PlanInvalid, match="score"):
        Plan.from_json(value)


def test_a_holder_of_a_score_listing_refuses_a_plain_sum() -> None:
    plan, policy = plan_of(WEIGHTS), policy_of()
    with pytest.raises(PlanRejected) as caught:
        build_plan(
            plan.query, policy, plan.listing, plan.assets, purpose=plan.purpose, rho_micro=plan.rho_micro
        )
    assert [each.rule for each in caught.value.violations] == ["model-missing"]
