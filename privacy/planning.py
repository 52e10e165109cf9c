"""Making and verifying plans.

A plan is a function of (query, policy, listing, assets, purpose, ρ) alone. `verify_plan` makes it again from its own
query part and refuses any difference, so that a holder trusts nobody's arithmetic (docs/protocol.md §6).

This module needs the SQL parser, which is slow to import; `privacy.plan` reads and hashes plans without it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from privacy.accounting import split_rho
from privacy.dimensions import Dimension
from privacy.errors import ParametersInvalid, PlanInvalid, PlanRejected
from privacy.lanes import CELL_MAX, Lane, largest_cell, needed_lanes
from privacy.plan import CELLS_MAX, Plan, PlanUnit
from privacy.policy import Policy
from privacy.query import OutputKind, Query
from privacy.query_text import render_sql
from privacy.receipt_size import RECEIPT_MAX, receipt_size_max
from privacy.session import SumParameters
from privacy.sql import parse_query
from privacy.terms import kind_lanes, lanes_rho
from privacy.types import AssetRef, ListingRef, Violation, listed


def build_plan(
    query: Query,
    policy: Policy,
    listing: ListingRef,
    assets: Sequence[AssetRef],
    *,
    purpose: str,
    rho_micro: int | None = None,
    asked: Any = None,
) -> Plan:
    """Make the plan of a query.

    Args:
        query: what `parse_query` returned for this policy.
        policy: the policy of every asset.
        listing: the listing; its name is the policy's.
        assets: one for each holder, in any order.
        purpose: one of the policy's.
        rho_micro: what the buyer spends, at most the policy's ρ per request, which is the default.
        asked: what the buyer adds to the query, if the policy's kind needs anything; see `privacy.terms`.

    Raises:
        PlanRejected: with every violation.
    """
    if parse_query(render_sql(query), policy) != query:
        raise PlanRejected([Violation("query", "the query is not in the form that parsing gives it")])
    rho = policy.rho_per_request_micro if rho_micro is None else rho_micro
    violations = _check_request(policy, listing, assets, purpose, rho)
    violations += _check_units(query, policy, len(assets))
    violations += _check_kind(query, policy, len(assets), asked)
    parameters = _parameters(policy, len(assets), violations)
    if violations or parameters is None:
        raise PlanRejected(listed(violations))
    plan = _assemble(query, policy, listing, assets, parameters, purpose, rho)
    if policy.terms is not None:
        plan = replace(plan, terms=policy.terms.plan_terms(plan, policy, asked))
    violations = _check_size(plan)
    if violations:
        raise PlanRejected(listed(violations))
    return plan


def verify_plan(plan: Plan, policy: Policy) -> None:
    """Refuse a plan that is not exactly what its own query part, listing, assets, purpose and ρ give.

    Raises:
        PlanRejected: the policy does not allow the query, with every violation.
        PlanInvalid: a derived part differs.
    """
    made = build_plan(
        plan.query,
        policy,
        plan.listing,
        plan.assets,
        purpose=plan.purpose,
        rho_micro=plan.rho_micro,
        asked=None if plan.terms is None else plan.terms.asked,
    )
    found, expected = plan.to_json(), made.to_json()
    names = found.keys() | expected.keys()
    different = sorted(name for name in names if expected.get(name) != found.get(name))
    if different:
        raise PlanInvalid("the plan differs from what its query part gives in: " + ", ".join(different))


def plan_parameters(plan: Plan) -> SumParameters:
    """Return the parameters of the sum if every planned holder approves.

    Raises:
        ParametersInvalid: no sum is possible with them.
    """
    return SumParameters.of(
        n=plan.holders, colluders=plan.colluders, dropouts=plan.dropouts, min_holders=plan.min_holders
    )


def _check_request(
    policy: Policy, listing: ListingRef, assets: Sequence[AssetRef], purpose: str, rho_micro: int
) -> list[Violation]:
    found: list[Violation] = []
    if listing.name != policy.listing:
        found.append(Violation("listing", f"the policy is of {policy.listing!r}, not of {listing.name!r}"))
    if purpose not in policy.purposes:
        allowed = ", ".join(policy.purposes)
        found.append(Violation("purpose", f"{purpose!r} is none of the purposes {allowed}"))
    if not 1 <= rho_micro <= policy.rho_per_request_micro:
        limit = policy.rho_per_request_micro
        found.append(Violation("rho", f"a request takes 1 to {limit} micro-rho, not {rho_micro}"))
    if any(asset.policy_hash != policy.hash() for asset in assets):
        found.append(Violation("policy", "every asset must be under exactly this policy"))
    if len({asset.holder for asset in assets}) < len(assets):
        found.append(Violation("assets", "a plan takes one asset of each holder"))
    return found


def _check_kind(query: Query, policy: Policy, holders: int, asked: Any) -> list[Violation]:
    if policy.terms is not None:
        return policy.terms.check_query(query, policy, holders)
    if asked is not None:
        return [Violation("kind", "a plain sum takes nothing from the buyer but the query")]
    return []


def _check_units(query: Query, policy: Policy, holders: int) -> list[Violation]:
    if holders == 1 or policy.unit.disjoint:
        return []
    reason = (
        "a unit may be at several holders and would count once for each: COUNT(DISTINCT) over several holders "
        "needs disjoint units, or a private join"
    )
    found = []
    for output in query.outputs:
        if output.kind is OutputKind.COUNT_DISTINCT:
            line, position = (output.at.line, output.at.position) if output.at else (None, None)
            found.append(Violation("distinct-holders", reason, output.column, line, position))
    return found


def _parameters(policy: Policy, holders: int, violations: list[Violation]) -> SumParameters | None:
    """Return n, t, d and m as planned: c defaults to ⌊(n − 1)/3⌋, d_max to n − t."""
    colluders = max(0, (holders - 1) // 3) if policy.colluders is None else policy.colluders
    dropouts = holders if policy.dropouts is None else policy.dropouts
    try:
        return SumParameters.of(
            n=holders, colluders=colluders, dropouts=dropouts, min_holders=policy.min_holders
        )
    except ParametersInvalid as err:
        violations.append(Violation("holders", str(err)))
        return None


def _assemble(
    query: Query,
    policy: Policy,
    listing: ListingRef,
    assets: Sequence[AssetRef],
    parameters: SumParameters,
    purpose: str,
    rho_micro: int,
) -> Plan:
    unit = policy.unit
    plan = Plan(
        listing=listing,
        purpose=purpose,
        assets=tuple(sorted(assets, key=lambda asset: asset.holder)),
        unit=PlanUnit(
            column=unit.column,
            rows_per_unit=unit.rows_per_unit,
            row_key=policy.row_key,
            proved=unit.proved,
            disjoint=unit.disjoint,
            holders=1 if unit.disjoint else len(assets),
        ),
        rows_max=policy.rows_max,
        group_by=tuple(_dimension(policy, name) for name in query.group_by),
        filter=query.filter,
        outputs=query.outputs,
        lanes=(),
        rho_micro=rho_micro,
        holders=parameters.holders,
        min_holders=policy.min_holders,
        colluders=parameters.holders - parameters.dropouts_max - parameters.divisor,
        dropouts=parameters.dropouts_max,
    )
    return replace(plan, lanes=_lanes(plan, policy))


def _lanes(plan: Plan, policy: Policy) -> tuple[Lane, ...]:
    """Return the lanes of a plan; ρ, or what a kind leaves of it, is split evenly, each share rounded down to whole micro-ρ."""
    columns = {column.name: column for column in policy.columns}
    keys = needed_lanes(plan.outputs, columns)
    shares = split_rho(lanes_rho(policy.terms, plan.rho_micro), len(keys))
    if 0 in shares:
        message = f"{plan.rho_micro} micro-rho are too few for {len(keys)} lanes"
        raise PlanRejected([Violation("rho", message)])
    return kind_lanes(policy, keys, plan.setting, shares)


def _dimension(policy: Policy, name: str) -> Dimension:
    column = policy.column(name)
    if column is None or column.domain is None:
        raise PlanRejected([Violation("not-dimension", f"{name!r} has no declared domain", name)])
    return Dimension(column.name, column.type, column.domain)


def _check_size(plan: Plan) -> list[Violation]:
    """Refuse too many cells, a receipt that could be too long, and any lane whose sum over all holders, with noise, could reach 2^62."""
    found: list[Violation] = []
    if max(plan.cells, plan.values) > CELLS_MAX:
        found.append(Violation("cells", f"an answer has at most {CELLS_MAX} cells, this has {plan.cells}"))
    elif (size := receipt_size_max(plan)) > RECEIPT_MAX:
        message = f"its receipt could have {size} bytes, at most {RECEIPT_MAX} are read: ask for fewer groups or columns"
        found.append(Violation("receipt", message))
    for lane in plan.lanes:
        largest = largest_cell(lane, plan.setting)
        if largest >= CELL_MAX:
            message = f"{lane.title} could reach 2^{largest.bit_length() - 1}, a cell must stay below 2^62"
            found.append(Violation("overflow", message, lane.column))
    for name in sorted(name for name, times in Counter(plan.columns).items() if times > 1):
        found.append(Violation("duplicate-name", f"two columns of the answer are called {name!r}"))
    return found
