"""Policies and plans over an encrypted deposit: what they fix, what a cube cannot answer, and which cells a plan adds up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import privacy
from privacy.deposit.points import encode_points, generator
from privacy.deposit.sizes import BOUND_MAX, KEY_CELLS, noise_size, sealed_size
from privacy.deposit.subcube import plan_selection
from privacy.deposit.terms import DepositPlan, deposit_policy, value_bounds
from privacy.encoding import canonical_json
from privacy.errors import PlanInvalid, PlanRejected, PolicyInvalid
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from privacy.terms import PlanKind
from privacy.types import Address, Digest, to_hex
from tests.privacy.deposit.deposit_world import ORDER_THREE, TRUSTEES, ceremony, key
from tests.privacy.deposit.plan_world import (
    ROOT,
    key_member,
    make_plan,
    policy,
    policy_mapping,
    terms,
)


def changed(**member: Any) -> dict[str, Any]:
    """Return the policy with another member `deposit`."""
    given = policy_mapping()
    return {**given, "deposit": {**given["deposit"], **member}}


def problems(given: dict[str, Any]) -> str:
    with pytest.raises(PolicyInvalid) as refused:
        Policy.from_mapping(given)
    return str(refused.value)


def rules(sql: str, **more: Any) -> set[str]:
    with pytest.raises(PlanRejected) as refused:
        make_plan(sql, **more)
    return {violation.rule for violation in refused.value.violations}


# --- the policy


def test_a_policy_is_read_back_from_its_one_form() -> None:
    own = policy()
    assert Policy.from_json(own.to_bytes()) == own
    assert own.terms is not None and own.terms.kind is PlanKind.DEPOSIT


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (changed(threshold=2), "key"),
        (changed(key="0x00"), "key"),
        (changed(trustees={}), "key"),
        (changed(trustees={"0x12": "0x34"}), "trustees"),
        (changed(cube={"dimensions": ["kwh"], "measures": []}), "cube.dimensions"),
        (changed(cube={"dimensions": [], "measures": ["town"]}), "cube.measures"),
        (changed(cube={"dimensions": [], "measures": [], "histograms": {"kwh": 4}}), "cube.histograms"),
        (changed(cube={"dimensions": [], "measures": [], "other": 1}), "unknown field"),
        (changed(more=1), "unknown field"),
        (policy_mapping(colluders=1), "colluders"),
        (policy_mapping(colluders=None), "colluders"),
        (policy_mapping(aggregates=["count", "corr"]), "aggregates"),
        (policy_mapping(rows_max=1 << 40), "deposit.cube"),
        (
            policy_mapping(
                privacy_unit={"column": None, "rows_per_unit": 1, "proved": True, "disjoint": False}
            ),
            "disjoint",
        ),
        (policy_mapping(score={}), "one kind"),
    ],
)
def test_a_policy_that_no_deposit_can_keep_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    assert named in problems(given)


def test_verification_keys_belong_to_accounts_whatever_order_they_are_written_in() -> None:
    trustees = key_member()["trustees"]
    turned = dict(reversed(trustees.items()))
    assert Policy.from_mapping(changed(trustees=turned)) == policy()
    accounts = list(trustees)
    swapped = {**trustees, accounts[0]: trustees[accounts[1]], accounts[1]: trustees[accounts[0]]}
    assert "key" in problems(changed(trustees=swapped))


def test_the_cube_has_what_the_policys_aggregates_need() -> None:
    lanes = deposit_policy(policy()).cube(policy()).lanes
    assert [(lane.kind.value, lane.column, lane.bins) for lane in lanes] == [
        ("count", None, 1),
        ("count_of", "kwh", 1),
        ("sum", "kwh", 1),
        ("sum", "staff", 1),
        ("histogram", "staff", 4),
    ]


# --- the plan


def test_a_plan_is_verified_and_read_back() -> None:
    plan = make_plan()
    verify_plan(plan, policy())
    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert (plan.kind, plan.cells) == (PlanKind.DEPOSIT, KEY_CELLS * TRUSTEES)
    assert plan.bundle_rider_size == noise_size(plan.values)
    assert plan.input_rider_size == sealed_size(plan.values)
    assert [terms(plan).trustee_of(account) for account in ceremony().trustees] == list(range(TRUSTEES))


@pytest.mark.parametrize(
    "point",
    [bytes(96), ORDER_THREE, b"\xff" * 96, encode_points([generator()])],
    ids=["infinity", "subgroup", "curve", "polynomial"],
)
@pytest.mark.parametrize("is_joint", [True, False])
def test_whoever_reads_a_policy_or_plan_refuses_points_that_are_no_key(point: bytes, is_joint: bool) -> None:
    trustees = key_member()["trustees"]
    account = next(iter(trustees))
    bad = {"key": to_hex(point)} if is_joint else {"trustees": {**trustees, account: to_hex(point)}}
    assert "key" in problems(changed(**bad))
    value = make_plan().to_json()
    value["deposit"] |= bad
    readers = [
        lambda: Plan.from_json(value),
        lambda: Plan.from_bytes(canonical_json(value)),
        lambda: DepositPlan.from_json(value["deposit"]),
    ]
    for read in readers:
        with pytest.raises(PlanInvalid, match=r"joint key|polynomial"):
            read()


def test_only_a_verification_reads_plans_without_checking_points() -> None:
    """`raw_from_json` is for those who check by a library of their own."""
    root = Path(privacy.__file__).parent.parent
    names = ("api", "benchmarks", "cli", "client", "exchange", "holder", "ledger", "privacy")
    found = {
        str(path.relative_to(root))
        for name in names
        for path in (root / name).rglob("*.py")
        if "raw_from_json" in path.read_text("utf-8") or "read_plan_terms" in path.read_text("utf-8")
    }
    known = {"privacy/deposit/keys.py", "privacy/deposit/terms.py", "privacy/terms.py", "privacy/plan.py"}
    assert found == known | {"client/verify.py", "client/answering.py"}


def test_a_plan_of_another_root_or_key_differs() -> None:
    plan = make_plan()
    for other in (
        replace(terms(plan), root=Digest(bytes(32))),
        DepositPlan(key(), ceremony().trustees[::-1], ROOT),
    ):
        with pytest.raises(PlanInvalid, match="deposit"):
            verify_plan(replace(plan, terms=other), policy())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) AS n FROM power",
        "SELECT town, year, SUM(staff) AS s FROM power GROUP BY town, year",
        "SELECT year, HISTOGRAM(staff, 4) AS h FROM power WHERE town = 'east' GROUP BY year",
    ],
)
def test_a_cube_answers_what_is_in_it(sql: str) -> None:
    plan = make_plan(sql)
    assert max(value_bounds(plan)) <= BOUND_MAX


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT COUNT(*) AS n FROM power WHERE kwh > 3", "deposit-filter"),
        ("SELECT SUM(rent) AS s FROM power", "deposit-lane"),
        ("SELECT HISTOGRAM(staff, 2) AS h FROM power", "deposit-lane"),
        ("SELECT HISTOGRAM(kwh, 4) AS h FROM power", "deposit-lane"),
        ("SELECT COUNT(*) AS n FROM power WHERE town <> 'east'", "deposit-filter"),
        ("SELECT COUNT(*) AS n FROM power WHERE town = 'north'", "deposit-filter"),
        ("SELECT COUNT(*) AS n FROM power WHERE year > 1", "deposit-filter"),
        ("SELECT COUNT(*) AS n FROM power WHERE town IS NULL", "deposit-filter"),
        ("SELECT COUNT(*) AS n FROM power WHERE NOT (year = 1 AND town = 'east')", "deposit-filter"),
    ],
)
def test_what_a_cube_cannot_answer_is_refused_by_rule(sql: str, rule: str) -> None:
    assert rule in rules(sql)


def test_a_filter_that_would_weigh_too_much_of_a_large_cube_is_refused() -> None:
    given = policy_mapping(aggregates=["count"])
    side = {"type": "integer", "role": "dimension", "domain": list(range(200)), "filter": True}
    given["columns"] = {**given["columns"], "a": side, "b": side, "c": side}
    given["deposit"]["cube"] = {"dimensions": ["a", "b", "c"], "measures": [], "histograms": {}}
    own = Policy.from_mapping(given)
    flat = " OR ".join(f"{'abc'[k % 3]} = {k % 200}" for k in range(600))
    assert make_plan(f"SELECT COUNT(*) AS n FROM power WHERE {flat}", own).values == 1
    deep = " OR ".join(f"(a = {k} AND b = {k} AND c = {k})" for k in range(40))
    with pytest.raises(PlanRejected) as refused:
        make_plan(f"SELECT COUNT(*) AS n FROM power WHERE {deep}", own)
    (violation,) = refused.value.violations
    assert violation.rule == "deposit-filter" and "too many conditions" in violation.message


def test_trustees_must_hold_one_deposit_and_be_trustees() -> None:
    sql = "SELECT COUNT(*) AS n FROM power"
    other = Digest(b"\x08" * 32)
    assert rules(sql, roots=(ROOT,) * (TRUSTEES - 1) + (other,)) == {"deposit-root"}
    strangers = (*ceremony().trustees[:-1], Address(b"\xfe" * 20))
    assert rules(sql, trustees=strangers) == {"deposit-trustee"}


def test_answers_that_would_not_fit_a_frame_or_a_search_are_refused() -> None:
    given = policy_mapping()
    wide = {"type": "integer", "role": "dimension", "domain": list(range(2048)), "filter": True}
    given["columns"] = {**given["columns"], "wide": wide}
    given["deposit"]["cube"]["dimensions"] = ["wide"]
    own = Policy.from_mapping(given)
    assert rules("SELECT wide, COUNT(*) AS n FROM power GROUP BY wide", own=own) == {"cells"}
    large = Policy.from_mapping(policy_mapping(rows_max=10_000_000_000))
    assert rules("SELECT SUM(kwh) AS s FROM power", own=large, rho_micro=1) & {"deposit-bound", "rho"}


def test_a_trustee_written_twice_in_another_case_is_named() -> None:
    trustees = key_member()["trustees"]
    point, account = next(iter(trustees.values())), "ab" * 20
    twice = {**trustees, f"0x{account}": point, f"0x{account.upper()}": point}
    expected = f"each account once, in whatever case it is written, found str '0x{account.upper()}'"
    assert expected in problems(changed(trustees=twice))


# --- cells


ROWS = [
    (town, year, kwh) for town in ("east", "west", "north", None) for year in (1, 2, 3, 4) for kwh in (1, 2)
]


@pytest.mark.parametrize(
    ("condition", "takes"),
    [
        ("year = 2", lambda town, year: year == 2),
        ("town = 'east' OR year IN (1, 3)", lambda town, year: town == "east" or year in (1, 3)),
        ("year <> 1 AND town = 'west'", lambda town, year: year != 1 and town == "west"),
        ("NOT year = 2", lambda town, year: year != 2),
        (
            "town IN ('east', 'west') AND year BETWEEN 1 AND 2 AND NOT year = 2 AND year IN (1, 2, 3)",
            lambda town, year: town in ("east", "west") and year == 1,
        ),
        (
            "town = 'east' AND year IN (1, 2) AND NOT year = 2",
            lambda town, year: town == "east" and year == 1,
        ),
    ],
)
def test_the_cells_of_a_plan_are_those_of_the_rows_that_its_filter_takes(condition: str, takes: Any) -> None:
    own = policy()
    cube = deposit_policy(own).cube(own)
    sql = f"SELECT town, COUNT(*) AS n FROM power WHERE {condition} GROUP BY town"
    plan = make_plan(sql, own)
    counts = np.zeros(cube.cells, dtype=np.int64)
    towns, years = ("east", "west"), (1, 2, 3)
    for town, year, _ in ROWS:
        place = (towns.index(town) if town in towns else 2) * 4
        counts[place + (years.index(year) if year in years else 3)] += 1
    selection = plan_selection(plan, own, cube)
    found = np.zeros(plan.values, dtype=np.int64)
    np.add.at(found, selection.results, counts[selection.cells])
    expected = [
        sum(takes(town, year) for town, year, _ in ROWS if (town if town in towns else "other") == group)
        for group in ("east", "west", "other")
    ]
    assert found.tolist() == expected
