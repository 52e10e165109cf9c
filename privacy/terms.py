"""The kinds of plans: what a plan has besides the rest if more than a plain sum is asked (docs/protocol.md §6).

Every kind gives the same vector of d cells to the same sealed sum; a kind says how many there are, what rides beside the
protocol's messages, and which numbers the cells stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from privacy.errors import PlanInvalid
from privacy.fields import Fields
from privacy.query import Joined

if TYPE_CHECKING:
    from privacy.join.kind import JoinPolicy
    from privacy.lanes import Lane, LaneKey, Setting
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.query import Query
    from privacy.types import Violation


T = TypeVar("T")


class PlanKind(StrEnum):
    """How a plan's numbers are computed."""

    SUM = "sum"
    SCORE = "score"
    JOIN = "join"
    DEPOSIT = "deposit"


class PlanTerms(Protocol):
    """What a plan of one kind has besides the rest."""

    @property
    def kind(self) -> PlanKind:
        """The plan's kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the member of the plan that is called as the kind."""

    @property
    def asked(self) -> Any:
        """What the buyer added to its query."""

    def cells(self, plan: Plan) -> int:
        """Return d, the cells of the sealed sum."""

    def bundle_rider_size(self, plan: Plan) -> int:
        """Return how many bytes ride behind the sealed shares of a bundle."""

    def input_rider_size(self, plan: Plan) -> int:
        """Return how many bytes ride behind a masked vector."""

    def values(self, plan: Plan, cells: Sequence[int]) -> Sequence[int | None]:
        """Return the plan's values, in the order of its layout; None where the cells alone do not tell.

        Args:
            plan: the plan.
            cells: the d cells of the sum, each below 2^62 in absolute value.

        Raises:
            AnswerInvalid: the cells stand for no values.
        """


class PolicyTerms(Protocol):
    """What a policy says of the one kind of plans under it."""

    @property
    def kind(self) -> PlanKind:
        """The kind of every plan."""

    def to_json(self) -> dict[str, Any]:
        """Return the member of the policy that is called as the kind."""

    def check(self, policy: Policy) -> Sequence[tuple[str, str, Any]]:
        """Return the problems with the rest of the policy: field, what was expected, what was found."""

    def plan_terms(self, plan: Plan, policy: Policy, asked: Any) -> PlanTerms:
        """Make the terms of a plan that has its lanes already.

        Args:
            plan: without terms.
            policy: this one.
            asked: what the buyer adds to its query, as JSON; None if nothing.

        Raises:
            PlanRejected: with every violation.
        """

    def check_query(self, query: Query, policy: Policy, holders: int) -> list[Violation]:
        """Return why this kind cannot answer a query."""


def read_plan_terms(kind: PlanKind, value: Any) -> PlanTerms | None:
    """Read a plan's member of its kind; a plain sum has none. Points of curves are left to `require_points`.

    Raises:
        PlanInvalid: it is malformed.
    """
    if kind is PlanKind.SUM:
        if value is not None:
            raise PlanInvalid("a plain sum has no terms of another kind")
        return None
    if kind is PlanKind.JOIN:
        from privacy.join.kind import JoinPlan

        return JoinPlan.from_json(value)
    if kind is PlanKind.DEPOSIT:
        from privacy.deposit.terms import DepositPlan

        return DepositPlan.raw_from_json(value)
    from privacy.score.terms import ScorePlan

    return ScorePlan.from_json(value)


def require_points(terms: PlanTerms | None) -> None:
    """Require that the points of curves in a plan are what they must be: of all kinds, only a deposit's joint key has some.

    Raises:
        PlanInvalid: they are not.
    """
    if terms is not None and terms.kind is PlanKind.DEPOSIT:
        from privacy.deposit.terms import DepositPlan

        require_terms(terms, PlanKind.DEPOSIT, DepositPlan).require_valid()


def read_policy_terms(fields: Fields) -> PolicyTerms | None:
    """Read the member of a policy that sets its kind; None for plain sums."""
    kinds = [kind for kind in PlanKind if kind is not PlanKind.SUM]
    found = [kind for kind in kinds if fields.has(kind)]
    for kind in kinds:
        fields.take(kind)
    for kind in found[1:]:
        fields.problem(kind, "one kind of plans for each policy", "a second one")
    return _read_policy_kind(found[0], fields.child(found[0])) if found else None


def _read_policy_kind(kind: PlanKind, fields: Fields) -> PolicyTerms:
    if kind is PlanKind.JOIN:
        from privacy.join.kind import JoinPolicy

        return JoinPolicy.read(fields)
    if kind is PlanKind.DEPOSIT:
        from privacy.deposit.terms import DepositPolicy

        return DepositPolicy.read(fields)
    from privacy.score.terms import ScorePolicy

    return ScorePolicy.read(fields)


def require_terms(terms: PlanTerms | PolicyTerms | None, kind: PlanKind, wanted: type[T]) -> T:
    """Return the terms of a plan or policy that must be of one kind.

    Raises:
        PlanInvalid: they are of another.
    """
    if not isinstance(terms, wanted):
        found = PlanKind.SUM if terms is None else terms.kind
        raise PlanInvalid(f"expected the terms of kind {kind.value}, not {found.value}")
    return terms


def kind_lanes(
    policy: Policy, keys: Sequence[LaneKey], setting: Setting, shares: Sequence[int]
) -> tuple[Lane, ...]:
    """Return the lanes of a plan under a policy: over the cube's where there is a deposit, else as fine as the columns allow.

    Args:
        policy: the plan's.
        keys: of the lanes.
        setting: the plan's.
        shares: each lane's part of ρ, in micro-ρ.

    Raises:
        PlanRejected: the cube has no such lane.
    """
    from privacy.lanes import derive_lane

    if policy.terms is not None and policy.terms.kind is PlanKind.DEPOSIT:
        from privacy.deposit.terms import deposit_policy

        return deposit_policy(policy).plan_lanes(keys, policy, setting, shares)
    columns = {column.name: column for column in policy.columns}
    return tuple(derive_lane(key, columns, setting, share) for key, share in zip(keys, shares, strict=True))


def lanes_rho(terms: PolicyTerms | None, rho_micro: int) -> int:
    """Return what of a request's ρ its lanes share, in micro-ρ: all of it, but for what a join keeps for its matches."""
    if terms is None or terms.kind is not PlanKind.JOIN:
        return rho_micro
    from privacy.join.kind import match_rho

    return rho_micro - match_rho(rho_micro)


def join_policy(terms: PolicyTerms | None) -> JoinPolicy | None:
    """Return what a policy says of joins; None for the other kinds."""
    if terms is None or terms.kind is not PlanKind.JOIN:
        return None
    from privacy.join.kind import JoinPolicy

    return terms if isinstance(terms, JoinPolicy) else None


def joined_tables(terms: PlanTerms | None) -> Joined | None:
    """Return the tables that a plan joins; None for the other kinds."""
    if terms is None or terms.kind is not PlanKind.JOIN:
        return None
    from privacy.join.kind import JoinPlan

    return Joined(terms.sides, terms.key) if isinstance(terms, JoinPlan) else None


def is_semi_honest(kind: PlanKind) -> bool:
    """Say whether plans of a kind promise privacy between holders only while each follows the protocol."""
    return kind is PlanKind.JOIN
