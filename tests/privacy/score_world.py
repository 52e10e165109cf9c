"""Policies, models and plans for tests of private weights."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

from privacy.layout import lane_cells
from privacy.plan import Plan
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.score.model import EncryptedModel, FixedWeights
from privacy.score.shape import ScoreShape
from privacy.sql import parse_query
from privacy.types import Address, AssetRef, Digest, ListingRef
from tests.privacy.paillier_world import short

SQL = "SELECT town, COUNT(*) AS n, SCORE(kwh, age, debt) AS s FROM power GROUP BY town"
FEATURES = ("kwh", "age", "debt")
BITS, SCALE_BITS = 32, 16

POLICY: dict[str, Any] = {
    "version": 1,
    "listing": "power",
    "title": "Electricity use",
    "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
    "rows_max": 100_000,
    "columns": {
        "town": {"type": "text", "domain": ["东城", "west"], "filter": True},
        "kwh": {"type": "number", "low": 0, "high": 1000, "scale_bits": 4},
        "age": {"type": "integer", "low": 0, "high": 120, "nullable": False},
        "debt": {"type": "number", "low": -5000, "high": 100, "scale_bits": -2},
    },
    "aggregates": ["count", "score"],
    "purposes": ["research"],
    "rho": {"per_request": "1", "total": "100"},
    "price": {"fee_minor": 7, "rate_minor_per_rho": 10},
    "min_holders": 1,
    "score": {"features": ["kwh", "age", "debt"], "weight_bits": BITS, "weight_scale_bits": SCALE_BITS},
}


def policy_of(**changes: Any) -> Policy:
    """The policy, with some of its fields replaced."""
    return Policy.from_mapping({**POLICY, **changes})


def fixed(*weights: str) -> FixedWeights:
    """Weights in the policy's precision: the intercept's first."""
    return FixedWeights.round([Decimal(each) for each in weights], bits=BITS, scale_bits=SCALE_BITS)


@cache
def encrypted(weights: FixedWeights) -> EncryptedModel:
    """A model under the tests' key."""
    return EncryptedModel.encrypt(weights, short())


def build(sql: str = SQL, *, asked: Any = None, policy: Policy | None = None, holders: int = 1) -> Plan:
    """The plan of a query."""
    given = policy or policy_of()
    assets = [
        AssetRef(Digest(bytes([n]) * 32), 1, Address(bytes([n]) * 20), given.hash(), Digest(bytes(32)))
        for n in range(1, holders + 1)
    ]
    listing = ListingRef(Digest(bytes([9]) * 32), given.listing)
    return build_plan(parse_query(sql, given), given, listing, assets, purpose="research", asked=asked)


def plan_of(weights: FixedWeights, sql: str = SQL, **given: Any) -> Plan:
    """The plan of a query with a model."""
    return build(sql, asked=encrypted(weights).to_json(), **given)


def values_of(plan: Plan, lanes: Sequence[Sequence[int]]) -> list[int]:
    """Put noisy values, a list for each lane, into the layout's order."""
    values = [0] * plan.values
    for number, column in enumerate(lanes):
        place = lane_cells(plan, number)
        values[place.start : place.stop] = column
    return values


def scores_of(plan: Plan, weights: Sequence[int], values: Sequence[int]) -> list[int]:
    """Σ W·factor of each group, in plain integers."""
    shape = ScoreShape.of(plan)
    return [
        sum(w * f for w, f in zip(weights, shape.factors(plan, values, group), strict=True))
        for group in range(plan.groups)
    ]


def with_model(plan: Plan, model: EncryptedModel) -> Plan:
    """The same plan with another model, whatever planning would say of it."""
    return replace(plan, terms=replace(plan.terms, model=model))  # type: ignore[type-var]
