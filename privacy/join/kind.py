"""What a policy and a plan say of a private join: its key, its two sides, the public lengths of their lists.

One side has the measures: the value side. The other, the matcher, learns how many keys matched and no more, and that number
only with noise: dummy matches, a discrete Gaussian of their own share of ρ. The answer is that of the joined table, in which each
row of a key at one side stands beside each of its rows at the other; a key is the privacy unit, and has m_A·m_B rows at most.

Source: docs/protocol.md §6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from privacy.columns import ColumnType, Role
from privacy.decimals import RHO_SCALE
from privacy.encoding import keccak, tagged_hash
from privacy.errors import AnswerInvalid, PlanInvalid, PlanRejected
from privacy.fields import Fields
from privacy.join.errors import TermsInvalid
from privacy.join.identifiers import Rule
from privacy.join.shares import LIMB_BITS, from_limbs
from privacy.join.terms import JoinTerms
from privacy.lanes import CELL_MAX, TAIL_SIGMAS, largest_cell
from privacy.query import Output, OutputKind
from privacy.terms import PlanKind
from privacy.types import (
    DIGEST_BYTES,
    Digest,
    Violation,
    from_decimal,
    from_hex,
    read_text,
    require_members,
    to_hex,
)

if TYPE_CHECKING:
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.query import Query

SIDES: Final = 2
LIST_MAX: Final = 1 << 20
MULTIPLICITY_MAX: Final = 64
ROUND_BYTES_MAX: Final = 1 << 30
MATCH_PART: Final = 8
"""The number of matches takes an eighth of ρ: its noise costs dummies, not accuracy."""

KINDS: Final = frozenset(
    {
        OutputKind.GROUP,
        OutputKind.COUNT,
        OutputKind.SUM,
        OutputKind.AVG,
        OutputKind.VAR_SAMP,
        OutputKind.VAR_POP,
        OutputKind.STDDEV_SAMP,
        OutputKind.STDDEV_POP,
    }
)
AGGREGATES: Final = ("count", "sum", "avg", "var", "stddev")
ROUNDS: Final = (1, 2, 3)


def match_rho(rho_micro: int) -> int:
    """Return what of a request's ρ the number of matches takes, in micro-ρ; the lanes share the rest evenly."""
    return rho_micro // MATCH_PART


@dataclass(frozen=True, slots=True)
class JoinSide:
    """One table of a join, as the policy has it.

    Attributes:
        name: of the side, of its holder's asset, and of the table in SQL.
        multiplicity: m, the most rows of one key that count.
        rows_max: the most rows of the table.
        list_max: the most different keys of the table; the public length that its lists are padded to.
    """

    name: str
    multiplicity: int
    rows_max: int
    list_max: int

    def to_json(self) -> dict[str, str]:
        """Return the member of `sides` under the side's name."""
        return {
            "multiplicity": str(self.multiplicity),
            "rows_max": str(self.rows_max),
            "list_max": str(self.list_max),
        }


@dataclass(frozen=True, slots=True)
class JoinPolicy:
    """The member `join` of a policy.

    Attributes:
        key: the column that both sides have, of the role `key`.
        normalise: the rule that brings identifiers to one form; see `privacy.join.identifiers`.
        sides: the two, ascending by name.
    """

    key: str
    normalise: Rule
    sides: tuple[JoinSide, ...]

    @property
    def kind(self) -> PlanKind:
        """See `PolicyTerms`."""
        return PlanKind.JOIN

    @property
    def rows_per_key(self) -> int:
        """m_A·m_B: the most joined rows of one key."""
        return math.prod(side.multiplicity for side in self.sides)

    def side(self, name: str) -> JoinSide | None:
        """Return the side of a name."""
        return next((side for side in self.sides if side.name == name), None)

    @classmethod
    def read(cls, fields: Fields) -> JoinPolicy:
        """Read the member; problems are recorded."""
        terms = cls(
            key=fields.text("key"),
            normalise=Rule(fields.choice("normalise", [rule.value for rule in Rule])),
            sides=_read_sides(fields.child("sides")),
        )
        fields.refuse_unknown()
        return terms

    def to_json(self) -> dict[str, Any]:
        """See `PolicyTerms`."""
        sides = {side.name: side.to_json() for side in self.sides}
        return {"key": self.key, "normalise": self.normalise.value, "sides": sides}

    def check(self, policy: Policy) -> Sequence[tuple[str, str, Any]]:
        """See `PolicyTerms`."""
        unit = policy.unit
        found = [*self._check_columns(policy), *self._check_row_key(policy)]
        wanted = (self.key, self.rows_per_key, False, True)
        if (unit.column, unit.rows_per_unit, unit.proved, unit.disjoint) != wanted:
            expected = (
                f"the key {self.key!r}, {self.rows_per_key} rows_per_unit (m_A·m_B), not proved, disjoint"
            )
            found.append(("privacy_unit", expected, unit.column))
        joined = min((side.list_max for side in self.sides), default=0) * self.rows_per_key
        if policy.rows_max < joined:
            found.append(("rows_max", f"the most rows of the joined table, {joined}", policy.rows_max))
        if policy.min_holders != SIDES:
            found.append(("min_holders", "2, as a join needs both sides", policy.min_holders))
        for aggregate in policy.aggregates:
            if aggregate.value not in AGGREGATES:
                found.append(("aggregates", "some of " + ", ".join(AGGREGATES), aggregate.value))
        return found

    def _check_columns(self, policy: Policy) -> list[tuple[str, str, Any]]:
        names = [side.name for side in self.sides]
        found: list[tuple[str, str, Any]] = []
        key = policy.column(self.key)
        if key is None or key.role is not Role.KEY or key.type is not ColumnType.TEXT or key.side is not None:
            found.append((f"columns.{self.key}", "a text of the role key and of no side", self.key))
        for column in policy.columns:
            if column.name != self.key and column.side not in names:
                found.append((f"columns.{column.name}.side", "one of " + ", ".join(names), column.side))
            if column.name != self.key and column.role is Role.KEY:
                found.append((f"columns.{column.name}.role", f"no second key beside {self.key!r}", "key"))
        return found

    def _check_row_key(self, policy: Policy) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = []
        sides = {column.name: column.side for column in policy.columns if column.side is not None}
        for name in policy.row_key:
            if name not in sides:
                found.append(("row_key", "columns of the sides", name))
        for side in self.sides:
            if side.name not in [sides.get(name) for name in policy.row_key]:
                found.append(("row_key", f"a column that tells a key's rows apart at {side.name!r}", None))
        return found

    def check_query(self, query: Query, policy: Policy, holders: int) -> list[Violation]:
        """See `PolicyTerms`; that measures, filters and products keep to their sides is read from the SQL."""
        found = [
            Violation("join-aggregate", f"a join gives no {output.kind.value}", output.column)
            for output in query.outputs
            if output.kind not in KINDS
        ]
        if holders != SIDES:
            found.append(Violation("join", f"a join is of {SIDES} assets, one of each side, not {holders}"))
        return found

    def plan_terms(self, plan: Plan, policy: Policy, asked: Any) -> JoinPlan:
        """See `PolicyTerms`."""
        if asked is not None:
            raise PlanRejected([Violation("kind", "a join takes nothing from the buyer but the query")])
        value = self._value_side(plan, policy)
        places = {side.name: self._plan_side(side, plan, policy) for side in self.sides}
        missing = [name for name, side in places.items() if side is None]
        if missing:
            message = "expected one asset of each side, called as the side is: none is called "
            raise PlanRejected([Violation("join", message + ", ".join(map(repr, missing)))])
        by_role = {name == value: side for name, side in places.items() if side is not None}
        matcher = by_role[False]
        rho = match_rho(plan.rho_micro)
        if rho == 0:
            raise PlanRejected([Violation("rho", f"{plan.rho_micro} micro-rho are too few for a join")])
        match = MatchSize.of(matcher.multiplicity, rho)
        terms = JoinPlan(self.key, self.normalise, matcher, by_role[True], match)
        violations = terms.check_size(plan)
        if violations:
            raise PlanRejected(violations)
        return terms

    def _value_side(self, plan: Plan, policy: Policy) -> str:
        """Return the side of the measures; without any, the one with more groups, whose slots cost less than lists."""
        for lane in plan.lanes:
            column = None if lane.column is None else policy.column(lane.column)
            if column is not None and column.side is not None:
                return column.side
        sizes = {side.name: 1 for side in self.sides}
        for dimension in plan.group_by:
            column = policy.column(dimension.column)
            if column is not None and column.side is not None:
                sizes[column.side] *= dimension.size
        return max(sizes, key=lambda name: sizes[name])

    @staticmethod
    def _plan_side(side: JoinSide, plan: Plan, policy: Policy) -> PlanSide | None:
        for asset in plan.assets:
            if tagged_hash("asset", asset.holder, keccak(side.name.encode())) == asset.asset:
                columns = [policy.column(dimension.column) for dimension in plan.group_by]
                group_by = tuple(each.name for each in columns if each is not None and each.side == side.name)
                return PlanSide(side.name, asset.asset, side.multiplicity, side.list_max, group_by)
        return None


@dataclass(frozen=True, slots=True)
class PlanSide:
    """One side as a plan has it.

    Attributes:
        name, multiplicity, list_max: as in `JoinSide`.
        asset: the plan's asset of that name.
        group_by: which of the plan's dimensions are this side's, in the plan's order.
    """

    name: str
    asset: Digest
    multiplicity: int
    list_max: int
    group_by: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan."""
        return {
            "side": self.name,
            "asset": to_hex(self.asset),
            "multiplicity": str(self.multiplicity),
            "list_max": str(self.list_max),
            "group_by": list(self.group_by),
        }

    @classmethod
    def from_json(cls, what: str, value: Any) -> PlanSide:
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        names = ("side", "asset", "multiplicity", "list_max", "group_by")
        members = require_members(what, value, names)
        side, group_by = read_text(f"{what}.side", members["side"]), members["group_by"]
        if not isinstance(group_by, list):
            raise PlanInvalid(f"{what}.group_by must be a list of columns")
        multiplicity = from_decimal(f"{what}.multiplicity", members["multiplicity"])
        list_max = from_decimal(f"{what}.list_max", members["list_max"])
        if not 1 <= multiplicity <= MULTIPLICITY_MAX or not 1 <= list_max <= LIST_MAX:
            raise PlanInvalid(f"{what}: expected a multiplicity and a list within their bounds")
        asset = Digest(from_hex(f"{what}.asset", members["asset"], DIGEST_BYTES))
        columns = tuple(read_text(f"{what}.group_by", name) for name in group_by)
        return cls(side, asset, multiplicity, list_max, columns)


@dataclass(frozen=True, slots=True)
class MatchSize:
    """How the matcher's count of matches is hidden, in each of its sub-lists.

    Attributes:
        rho_micro: its share of ρ.
        delta_squared: Δ² of all sub-lists' counts together; a key adds at most the matcher's m matches.
        offset: dummy matches are this many plus a discrete Gaussian with σ² = Δ²/(2ρ), at least 0 and at most twice as many.
    """

    rho_micro: int
    delta_squared: int
    offset: int

    @classmethod
    def of(cls, multiplicity: int, rho_micro: int) -> MatchSize:
        """Return the parameters for a matcher of this multiplicity: an offset of 16 standard deviations."""
        delta_squared = multiplicity**2
        variance = Fraction(delta_squared * RHO_SCALE, 2 * rho_micro)
        return cls(rho_micro, delta_squared, TAIL_SIGMAS * (math.isqrt(math.ceil(variance)) + 1))

    @property
    def sigma_squared(self) -> Fraction:
        """σ² = Δ²/(2ρ)."""
        return Fraction(self.delta_squared * RHO_SCALE, 2 * self.rho_micro)

    @property
    def dummies_max(self) -> int:
        """The most dummy matches of a sub-list: what its returned list is longer by, whatever is drawn."""
        return 2 * self.offset

    def to_json(self) -> dict[str, str]:
        """Return the JSON object that stands in a plan."""
        return {
            "rho": str(self.rho_micro),
            "delta_squared": str(self.delta_squared),
            "offset": str(self.offset),
        }

    @classmethod
    def from_json(cls, value: Any) -> MatchSize:
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown, malformed or not above zero.
        """
        members = require_members("join.match_size", value, ("rho", "delta_squared", "offset"))
        rho, delta, offset = (
            from_decimal(f"match_size.{name}", members[name]) for name in ("rho", "delta_squared", "offset")
        )
        if min(rho, delta, offset) < 1 or offset > LIST_MAX:
            raise PlanInvalid("match_size: expected numbers above zero, and an offset within its bound")
        return cls(rho, delta, offset)


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """The member `join` of a plan.

    Attributes:
        key: the key column.
        normalise: its rule.
        matcher: the side that asks which keys match.
        value: the side with the measures.
        match: the noise on the number of matches.
    """

    key: str
    normalise: Rule
    matcher: PlanSide
    value: PlanSide
    match: MatchSize

    @property
    def kind(self) -> PlanKind:
        """See `PlanTerms`."""
        return PlanKind.JOIN

    @property
    def asked(self) -> Any:
        """See `PlanTerms`."""
        return None

    @property
    def sides(self) -> tuple[str, str]:
        """The names of both sides, ascending."""
        first, second = sorted((self.matcher.name, self.value.name))
        return first, second

    def side(self, asset: bytes) -> PlanSide | None:
        """Return the side of an asset."""
        return next((side for side in (self.matcher, self.value) if side.asset == asset), None)

    def to_json(self) -> dict[str, Any]:
        """See `PlanTerms`."""
        return {
            "key": self.key,
            "normalise": self.normalise.value,
            "matcher": self.matcher.to_json(),
            "value": self.value.to_json(),
            "match_size": self.match.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> JoinPlan:
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        members = require_members("join", value, ("key", "normalise", "matcher", "value", "match_size"))
        if members["normalise"] not in list(Rule):
            raise PlanInvalid("join: expected a rule for the key, one of " + ", ".join(Rule))
        return cls(
            key=read_text("join.key", members["key"]),
            normalise=Rule(members["normalise"]),
            matcher=PlanSide.from_json("join.matcher", members["matcher"]),
            value=PlanSide.from_json("join.value", members["value"]),
            match=MatchSize.from_json(members["match_size"]),
        )

    def cells(self, plan: Plan) -> int:
        """See `PlanTerms`: two limbs of each value."""
        return 2 * plan.values

    def bundle_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`: the hashes of the rounds."""
        return DIGEST_BYTES * len(ROUNDS)

    def input_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`."""
        return 0

    def values(self, plan: Plan, cells: Sequence[int]) -> Sequence[int]:
        """See `PlanTerms`: (X_j + 2^48·X_{values + j}) mod 2^96, as a signed number."""
        limit = SIDES << LIMB_BITS
        if not all(0 <= int(cell) < limit for cell in cells):
            raise AnswerInvalid(f"expected sums of {SIDES} limbs of {LIMB_BITS} bits")
        found = from_limbs([int(cell) for cell in cells])
        if any(abs(value) >= CELL_MAX for value in found):
            raise AnswerInvalid("expected shares of values below 2^62 in absolute value")
        return found

    def sender(self, round_: int) -> PlanSide:
        """Return the side that sends a round: the matcher the first and the third, the value side the second."""
        return self.value if round_ == 2 else self.matcher

    def terms(self, plan: Plan, session: bytes) -> JoinTerms:
        """Return the public sizes of the rounds in a session.

        The bound on a key's numbers is so large that a sum's mask hides the noise of a share too.

        Raises:
            TermsInvalid: they are out of range; a verified plan's are not.
        """
        sizes = {dimension.column: dimension.size for dimension in plan.group_by}
        rows = self.matcher.list_max * self.matcher.multiplicity
        joined = min(rows, self.value.list_max * self.matcher.multiplicity)
        of_key = max(self.value.multiplicity * lane.row_max << lane.grid_bits for lane in plan.lanes)
        of_sum = max(largest_cell(lane, plan.setting) for lane in plan.lanes)
        return JoinTerms(
            session=session,
            groups=math.prod(sizes[name] for name in self.matcher.group_by),
            matcher_rows=rows,
            value_keys=self.value.list_max,
            copies=self.matcher.multiplicity,
            dummies=self.match.dummies_max,
            values=math.prod(sizes[name] for name in self.value.group_by) * len(plan.lanes),
            value_max=max(of_key, -(-of_sum // joined)),
        )

    def entries(self, plan: Plan) -> int:
        """Return the entries of all lists, a ciphertext counted as one: what the time that a join takes grows with."""
        terms = self.terms(plan, bytes(DIGEST_BYTES))
        sent = terms.groups * terms.matcher_rows + terms.returned
        return sent + terms.entries * (1 + terms.ciphertexts)

    def check_size(self, plan: Plan) -> list[Violation]:
        """Return why the lists of a plan are too long to be sent or kept in memory."""
        try:
            terms = self.terms(plan, bytes(DIGEST_BYTES))
        except TermsInvalid as err:
            return [Violation("join-size", f"{err}: fewer groups, or a policy with shorter lists")]
        largest = max(terms.round1_bytes, terms.round2_bytes, terms.round3_bytes)
        if largest > ROUND_BYTES_MAX:
            message = f"a round may have {ROUND_BYTES_MAX} bytes, this one has {largest}: fewer groups, or shorter lists"
            return [Violation("join-size", message)]
        return []


def measured(output: Output) -> tuple[str, ...]:
    """Return the columns that an output measures."""
    if output.kind is OutputKind.GROUP or output.column is None:
        return ()
    return (output.column, *output.others)


def _read_sides(fields: Fields) -> tuple[JoinSide, ...]:
    names = sorted(str(name) for name in fields.names())
    if len(names) != SIDES:
        fields.problem("", f"{SIDES} sides", names)
    sides = []
    for name in names:
        fields.check_text(name, name)
        body = fields.child(name)
        side = JoinSide(
            name,
            multiplicity=body.integer("multiplicity", 1, MULTIPLICITY_MAX),
            rows_max=body.integer("rows_max", 1, 1 << 40),
            list_max=body.integer("list_max", 1, LIST_MAX),
        )
        body.refuse_unknown()
        sides.append(side)
    return tuple(sides)
