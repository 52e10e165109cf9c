"""One side's part of what a private join has for both: its columns of the policy, its conditions of the filter."""

from __future__ import annotations

from dataclasses import replace

from privacy.errors import PlanInvalid
from privacy.policy import Policy, PrivacyUnit
from privacy.query import AllOf, AnyOf, Negation, Predicate
from privacy.terms import join_policy


def asset_policy(policy: Policy, asset: str) -> Policy:
    """Return what a policy says of the rows of one asset.

    Args:
        policy: of a listing.
        asset: the asset's name; under a policy with `join` that of its side.

    Returns:
        The policy itself; with `join` one with only the key and the side's columns, the side's ceiling on rows, and a key of
        at most its own multiplicity of rows.

    Raises:
        PlanInvalid: the policy has no side of this name.
    """
    terms = join_policy(policy.terms)
    if terms is None:
        return policy
    side = terms.side(asset)
    if side is None:
        raise PlanInvalid(f"expected the name of a side of the policy's join, not {asset!r}")
    columns = tuple(
        column for column in policy.columns if column.name == terms.key or column.side == side.name
    )
    names = {column.name for column in columns}
    return replace(
        policy,
        columns=columns,
        row_key=tuple(name for name in policy.row_key if name in names),
        rows_max=side.rows_max,
        unit=PrivacyUnit(terms.key, side.multiplicity, proved=False, disjoint=True),
    )


def side_filter(predicate: Predicate | None, policy: Policy, side: str) -> Predicate | None:
    """Return those of a filter's conditions that are about one side.

    Raises:
        PlanInvalid: a condition is about both, which no verified plan has.
    """
    if predicate is None:
        return None
    own = []
    for term in predicate.terms if isinstance(predicate, AllOf) else (predicate,):
        columns = [policy.column(name) for name in filter_columns(term)]
        sides = {column.side for column in columns if column is not None}
        if len(sides) != 1:
            raise PlanInvalid("expected each condition to be about one side of the join")
        if sides == {side}:
            own.append(term)
    if len(own) < 2:
        return own[0] if own else None
    return AllOf(tuple(own))


def filter_columns(predicate: Predicate) -> set[str]:
    """Return the columns that a filter reads."""
    if isinstance(predicate, AllOf | AnyOf):
        return set().union(*(filter_columns(term) for term in predicate.terms))
    if isinstance(predicate, Negation):
        return filter_columns(predicate.term)
    return {predicate.column}
