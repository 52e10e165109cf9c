from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from privacy.columns import ColumnType, Role
from privacy.encoding import canonical_json, keccak, tagged_hash
from privacy.errors import PolicyInvalid
from privacy.policy import Approval, Policy
from tests.privacy.plan_world import POLICY, ROOT, example, policies, policy_of, unit_of

YAML = """
version: 1
listing: t
privacy_unit: {column: null, rows_per_unit: 1}
rows_max: 10
columns:
  town: {type: text, domain: [a, b]}
aggregates: [count]
purposes: [research]
rho: {per_request: 0.05, total: "1.000001"}
price: {fee_minor: 1, rate_minor_per_rho: 3}
"""


def problems_of(**changes: Any) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        policy_of(**changes)
    return "\n".join(caught.value.problems)


def column_problems(**column: Any) -> str:
    return problems_of(columns={"x": column})


def test_yaml_is_read_with_conservative_defaults() -> None:
    policy = Policy.from_yaml(YAML)
    assert policy.rho_per_request_micro == 50_000
    assert policy.rho_total_micro == 1_000_001
    assert not policy.unit.proved
    assert not policy.unit.disjoint
    assert policy.approval is Approval.MANUAL
    assert policy.buyers is None
    town = policy.columns[0]
    assert (town.role, town.type, town.nullable, town.filter) == (
        Role.DIMENSION,
        ColumnType.TEXT,
        True,
        False,
    )


def test_hash_is_the_tagged_hash_of_the_canonical_json() -> None:
    policy = policy_of()
    assert policy.hash() == tagged_hash("policy", keccak(canonical_json(policy.to_json())))


def test_hash_does_not_depend_on_spelling_but_on_every_value() -> None:
    spelled = policy_of(rows_max="10000", rho={"per_request": 1.0, "total": "1e2"})
    assert spelled.hash() == policy_of().hash()
    assert policy_of(rows_max=10_001).hash() != policy_of().hash()
    assert policy_of(null_values=[]).hash() != policy_of().hash()


@settings(max_examples=60, deadline=None)
@given(policies())
def test_canonical_json_gives_the_same_policy_again(policy: Policy) -> None:
    assert Policy.from_json(policy.to_bytes()) == policy


def test_json_that_is_not_canonical_is_refused() -> None:
    data = policy_of().to_bytes()
    for other in (data + b" ", data.replace(b'"10000"', b"10000"), data[:-1], b"[]", b"\xff"):
        with pytest.raises(PolicyInvalid):
            Policy.from_json(other)


def test_every_problem_is_named_at_once() -> None:
    found = problems_of(rows_max=0, purposes=[], colour="red", min_holders="x")
    assert "rows_max: expected an integer in [1, 1099511627776], found int 0" in found
    assert "purposes: expected at least one purpose" in found
    assert "colour: unknown field" in found
    assert "min_holders: expected an integer" in found


@pytest.mark.parametrize(
    "field", ["version", "listing", "privacy_unit", "rows_max", "columns", "aggregates", "rho", "price"]
)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(PolicyInvalid, match=field):
        Policy.from_mapping({name: value for name, value in POLICY.items() if name != field})


def test_what_is_no_mapping_is_refused() -> None:
    for value in ("text", [1], None, 5):
        with pytest.raises(PolicyInvalid, match="expected a mapping"):
            Policy.from_mapping(value)  # type: ignore[arg-type]


def test_column_rules() -> None:
    assert "x.domain[1]" in column_problems(type="text", domain=["a", "other"])
    assert "each value once" in column_problems(type="text", domain=["a", "a"])
    assert "expected a text of 1 to 256 characters, found bool True" in column_problems(
        type="text", domain=[True]
    )
    assert "an integer of 64 bits" in column_problems(type="integer", domain=[2**63])
    assert "measure or none for a number" in column_problems(type="number", domain=[1])
    assert "dimension or none for a text" in column_problems(type="text", role="measure", low=0, high=1)
    assert "more than low" in column_problems(type="integer", low=2, high=2)
    assert "scale_bits: expected an integer" in column_problems(type="number", low=0, high=1)
    assert "of at most 2^50" in column_problems(type="number", low=0, high=2**30, scale_bits=30)
    assert "at least one grid unit" in column_problems(type="number", low="0.1", high="0.2", scale_bits=0)
    assert "found nothing" in column_problems(type="integer", role="measure", high=2)
    assert "one of text, integer, number" in column_problems(type="date")
    assert "unknown field" in column_problems(type="text", unit="kg")
    assert "no domain" in column_problems(type="text", role="none", domain=["a"])
    assert "no value that is read as NULL" in column_problems(type="text", domain=["?"])


@pytest.mark.parametrize("bound", ["nan", "inf", "1e999", "", "0x10", "1_0", "１", True, None, "1" * 41])
def test_a_bound_that_is_no_finite_decimal_is_refused(bound: Any) -> None:
    assert "x.low" in column_problems(type="integer", role="measure", low=bound, high=10**9)


@pytest.mark.parametrize("name", ["", "a\nb", " a", "a\u200b", "e\u0301", "x" * 129, 5])
def test_a_name_that_could_deceive_is_refused(name: Any) -> None:
    assert "expected a text" in problems_of(columns={name: {"type": "text"}})


def test_unit_rules() -> None:
    assert "1, as each row is a unit" in problems_of(privacy_unit=unit_of(column=None))
    assert "tell a unit's rows apart" in problems_of(row_key=[])
    assert "at most rows_max" in problems_of(rows_max=2)
    assert "no count_distinct" in problems_of(privacy_unit={"column": None, "rows_per_unit": 1})


def test_rho_must_be_exact_in_micro_rho_and_per_request_within_the_total() -> None:
    for value in ("0", "-1", "0.0000001", "nan", 10**20):
        assert "rho.per_request" in problems_of(rho={"per_request": value, "total": "1"})
    assert "at least rho.per_request" in problems_of(rho={"per_request": "2", "total": "1"})


def test_buyers_are_addresses_in_any_case_and_admit_only_themselves() -> None:
    buyer = "0x" + "aB" * 20
    policy = policy_of(buyers=[buyer])
    assert policy.admits(bytes.fromhex(buyer[2:]))
    assert not policy.admits(bytes(20))
    assert policy_of(buyers="*").admits(bytes(20))
    assert "buyers[0]: expected 0x and 40 hex digits" in problems_of(buyers=["0x12"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (YAML + "rows_max: 11\n", "each key once"),
        (YAML + "title: &a x\nlisting_2: *a\n", "no alias"),
        (YAML + "title: !!python/object:os.system x\n", "expected YAML"),
        ("a: [", "expected YAML"),
        ("# " + "x" * (1 << 20), "bytes of YAML"),
        (YAML.replace("[a, b]", "[yes, no]"), "found bool"),
    ],
)
def test_yaml_that_says_something_else_than_it_shows_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PolicyInvalid, match=reason.replace("[", r"\[")):
        Policy.from_yaml(text)


def test_price_is_linear_in_rho_and_assets_and_rounded_up() -> None:
    price = policy_of().price
    assert price.total_minor(1_000_000, 3) == 7 + 30
    assert price.total_minor(1, 1) == 8
    assert price.total_minor(500_000, 1) == 12


@pytest.mark.parametrize("name", ["adult", "electricity"])
def test_the_examples_are_valid_and_last_for_a_hundred_requests(name: str) -> None:
    policy = example(name)
    assert policy.listing == name
    assert policy.rho_per_request_micro >= 50_000
    assert policy.rho_total_micro >= 100 * policy.rho_per_request_micro
    assert policy.unit.disjoint
    assert (ROOT / "examples" / name).is_dir()


def test_electricity_has_dongguans_towns_and_six_hundred_and_sixty_groups() -> None:
    policy = example("electricity")
    town, industry = policy.column("town"), policy.column("industry")
    assert town is not None and town.domain is not None
    assert industry is not None and industry.domain is not None
    assert len(town.domain) == 32
    assert (len(town.domain) + 1) * (len(industry.domain) + 1) == 660


def test_a_measure_has_an_exact_grid() -> None:
    column = policy_of().column("kwh")
    assert column is not None
    assert column.low == Decimal("-2.75")
    grid = column.grid()
    assert (grid.low, grid.high, grid.center, grid.half_width) == (-11, 4002, 1995, 2007)


# --- one buyer's part, and δ ------------------------------------------------------------------------------------


def test_a_policy_without_them_is_the_bytes_that_it_was() -> None:
    """The hash is on the chain: a policy of before these members existed keeps it."""
    assert set(policy_of().to_json()["rho"]) == {"per_request", "total"}
    policy = policy_of(aggregates=["count", "sum"])
    assert policy.hash().hex() == "c978112d4ceafc6207c696e500cdf52b848732eb03ef3a0e36cdd39e4a19c7fc"


def test_one_buyers_part_and_delta_are_read_and_written() -> None:
    rho = {"per_request": "1", "per_buyer": "2.5", "total": "100", "delta": "0.0000001"}
    policy = policy_of(rho=rho)
    assert (policy.rho_per_buyer_micro, policy.delta) == (2_500_000, Decimal("0.0000001"))
    assert policy.to_json()["rho"] == rho
    assert Policy.from_json(policy.to_bytes()) == policy
    assert policy.hash() != policy_of().hash()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"per_buyer": "0.5"}, "rho.per_buyer"),
        ({"per_buyer": "101"}, "rho.per_buyer"),
        ({"per_buyer": "0"}, "rho.per_buyer"),
        ({"delta": "0"}, "rho.delta"),
        ({"delta": "1"}, "rho.delta"),
        ({"delta": "x"}, "rho.delta"),
    ],
)
def test_impossible_parts_and_deltas_are_named(change: dict[str, str], field: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_of(rho={"per_request": "1", "total": "100", **change})
    assert any(problem.startswith(field) for problem in caught.value.problems)
