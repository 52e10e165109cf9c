"""What a policy and a plan say of an encrypted deposit: the members `deposit` (docs/protocol.md, "Encrypted deposit")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from privacy.deposit.cube import Cube, make_lane
from privacy.deposit.errors import CubeInvalid, DepositError, FilterTooLong, FilterUndecided
from privacy.deposit.keys import TRUSTEES_MAX, DepositKey
from privacy.deposit.sizes import BOUND_MAX, KEY_CELLS, POINT_BYTES, noise_size, sealed_size
from privacy.deposit.stored import DepositHeader
from privacy.deposit.subcube import require_decided
from privacy.dimensions import Dimension
from privacy.errors import PlanInvalid, PlanRejected
from privacy.fields import Fields
from privacy.lanes import Lane, LaneKey, Setting, needed_lanes, value_bound
from privacy.query import Output, OutputKind
from privacy.sides import filter_columns
from privacy.terms import PlanKind, require_terms
from privacy.types import (
    ADDRESS_BYTES,
    DIGEST_BYTES,
    Address,
    Digest,
    Violation,
    from_hex,
    require_members,
    to_hex,
)

if TYPE_CHECKING:
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.query import Query

VALUES_MAX: Final = 1 << 11
"""Values of one answer: a masked vector and its rider of 288 bytes a value fit a frame."""

RIDERS_MAX: Final = 1 << 14
"""Values times trustees: a receipt has the riders of all of them."""

HISTOGRAM_BINS_MAX: Final = 1024
_AGGREGATES: Final = ("count", "sum", "avg", "var", "stddev", "histogram", "quantile")
_SUMS: Final = frozenset(("sum", "avg", "var", "stddev"))
_SQUARES: Final = frozenset(("var", "stddev"))
_BINS: Final = frozenset(("histogram", "quantile"))
_ACCOUNT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class DepositPolicy:
    """The member `deposit` of a policy.

    Attributes:
        key: the joint key.
        trustees: their accounts, ascending; the place of an account is its index in the key.
        dimensions: the columns of the cube, in order.
        measures: the columns whose sums are in it, and squares if the policy allows variances.
        histograms: the bins of those measures that have a histogram in it.
    """

    key: DepositKey
    trustees: tuple[Address, ...]
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    histograms: Mapping[str, int] = field(hash=False)

    @classmethod
    def read(cls, fields: Fields) -> DepositPolicy:
        """Read it; problems are recorded."""
        trustees, key = _read_key(fields)
        cube = fields.child("cube")
        policy = cls(
            key=key,
            trustees=trustees,
            dimensions=_read_names(cube, "dimensions"),
            measures=_read_names(cube, "measures"),
            histograms=_read_bins(cube),
        )
        cube.refuse_unknown()
        fields.refuse_unknown()
        return policy

    @property
    def kind(self) -> PlanKind:
        """See `PolicyTerms`."""
        return PlanKind.DEPOSIT

    def to_json(self) -> dict[str, Any]:
        """See `PolicyTerms`."""
        return {
            **key_json(self.key, self.trustees),
            "cube": {
                "dimensions": list(self.dimensions),
                "measures": list(self.measures),
                "histograms": {name: str(bins) for name, bins in sorted(self.histograms.items())},
            },
        }

    def check(self, policy: Policy) -> Sequence[tuple[str, str, Any]]:
        """See `PolicyTerms`."""
        found: list[tuple[str, str, Any]] = []
        allowed = sorted(each.value for each in policy.aggregates)
        if not set(allowed) <= set(_AGGREGATES):
            found.append(("aggregates", "some of " + ", ".join(_AGGREGATES), allowed))
        if policy.colluders != self.key.threshold - 1:
            told = f"{self.key.threshold - 1}, as {self.key.threshold} trustees decrypt"
            found.append(("colluders", told, policy.colluders))
        if not policy.unit.disjoint:
            found.append(("privacy_unit.disjoint", "true, as there is one deposit", False))
        named = {column.name: column for column in policy.columns}
        for name in self.dimensions:
            if name not in named or not named[name].is_dimension:
                found.append(("deposit.cube.dimensions", "dimensions of the policy", name))
        for name in self.measures:
            if name not in named or not named[name].is_measure:
                found.append(("deposit.cube.measures", "measures of the policy", name))
        for name in self.histograms:
            if name not in self.measures:
                found.append(("deposit.cube.histograms", "measures of the cube", name))
        if not found:
            try:
                self.cube(policy)
            except CubeInvalid as err:
                found.append(("deposit.cube", f"a cube that can be decrypted ({err})", policy.rows_max))
        return found

    def cube(self, policy: Policy) -> Cube:
        """Return the cube that follows from the policy.

        Raises:
            CubeInvalid: it is too large, or its sums are.
        """
        columns = {column.name: column for column in policy.columns}
        dimensions = []
        for name in self.dimensions:
            column = columns[name]
            dimensions.append(Dimension(column.name, column.type, column.domain or ()))
        keys = needed_lanes(self._outputs({each.value for each in policy.aggregates}), columns)
        lanes = tuple(make_lane(key, columns, policy.rows_max) for key in keys)
        return Cube(tuple(dimensions), lanes, policy.rows_max, policy.unit.rows_per_unit)

    def header(self, policy: Policy) -> DepositHeader:
        """Return the header of the deposits that are made under the policy."""
        return DepositHeader.of(policy.hash(), self.key, self.cube(policy))

    def plan_lanes(
        self, keys: Sequence[LaneKey], policy: Policy, setting: Setting, shares: Sequence[int]
    ) -> tuple[Lane, ...]:
        """Return a plan's lanes over the cube's, each with its share of ρ.

        Raises:
            PlanRejected: the cube has none, or no grid is fine enough.
        """
        cube = self.cube(policy)
        try:
            return tuple(
                cube.lanes[cube.lane_index(key)].plan_lane(setting, share)
                for key, share in zip(keys, shares, strict=True)
            )
        except CubeInvalid as err:
            raise _rejected("deposit-lane", str(err)) from err

    def check_query(self, query: Query, policy: Policy, holders: int) -> list[Violation]:
        """See `PolicyTerms`."""
        cube = self.cube(policy)
        found = []
        for name in query.group_by:
            if name not in self.dimensions:
                found.append(Violation("deposit-group", f"{name!r} is no dimension of the cube", name))
        columns = {column.name: column for column in policy.columns}
        there = {lane.key for lane in cube.lanes}
        for output in query.outputs:
            missing = [key for key in needed_lanes([output], columns) if key not in there]
            found += [_missing(output, key) for key in missing[:1]]
        strangers = sorted(filter_columns(query.filter) - set(self.dimensions)) if query.filter else []
        for name in strangers:
            message = f"a filter on {name!r}, which is no dimension of the cube"
            found.append(Violation("deposit-filter", message, name))
        if not strangers:
            try:
                require_decided(query.filter, policy, cube)
            except (FilterUndecided, FilterTooLong, CubeInvalid) as err:
                found.append(Violation("deposit-filter", str(err)))
        return found

    def plan_terms(self, plan: Plan, policy: Policy, asked: Any) -> DepositPlan:
        """See `PolicyTerms`."""
        if asked is not None:
            raise _rejected("kind", "a deposit takes nothing from the buyer but the query")
        roots = {asset.snapshot_root for asset in plan.assets}
        if len(roots) != 1:
            raise _rejected("deposit-root", "the trustees' assets must be of one deposit")
        strangers = [asset for asset in plan.assets if asset.holder not in self.trustees]
        if strangers:
            raise _rejected("deposit-trustee", f"{to_hex(strangers[0].holder)} is no trustee of the deposit")
        if plan.values > VALUES_MAX or plan.values * plan.holders > RIDERS_MAX:
            most = min(VALUES_MAX, RIDERS_MAX // plan.holders)
            raise _rejected("cells", f"an answer has at most {most} values here, this has {plan.values}")
        for lane in plan.lanes:
            bound = value_bound(lane, rows=plan.rows_max, contributors=plan.holders)
            if bound > BOUND_MAX:
                told = f"{lane.title} could reach {bound}, at most {BOUND_MAX} can be decrypted"
                raise _rejected("deposit-bound", f"{told}: spend more ρ or ask for fewer lanes")
        return DepositPlan(self.key, self.trustees, roots.pop())

    def _outputs(self, aggregates: set[str]) -> list[Output]:
        """Return outputs that need every lane of the cube."""
        outputs = [Output("n", OutputKind.COUNT)]
        for name in self.measures:
            if aggregates & _SUMS:
                square = bool(aggregates & _SQUARES)
                outputs.append(Output(name, OutputKind.VAR_SAMP if square else OutputKind.SUM, name))
            if name in self.histograms and aggregates & _BINS:
                outputs.append(Output(name, OutputKind.HISTOGRAM, name, bins=self.histograms[name]))
        return outputs


@dataclass(frozen=True, slots=True)
class DepositPlan:
    """The member `deposit` of a plan: the joint key, its trustees, and the deposit they all hold.

    Attributes:
        key, trustees: as in the policy.
        root: the deposit root, which every asset of the plan is registered with.
    """

    key: DepositKey
    trustees: tuple[Address, ...]
    root: Digest

    @property
    def kind(self) -> PlanKind:
        """See `PlanTerms`."""
        return PlanKind.DEPOSIT

    @property
    def asked(self) -> Any:
        """See `PlanTerms`: nothing."""
        return None

    def to_json(self) -> dict[str, Any]:
        """See `PlanTerms`."""
        return {**key_json(self.key, self.trustees), "root": to_hex(self.root)}

    @classmethod
    def from_json(cls, value: Any) -> DepositPlan:
        """Read what `to_json` wrote, and check the joint key.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed, or the key is none.
        """
        terms = cls.raw_from_json(value)
        terms.require_valid()
        return terms

    @classmethod
    def raw_from_json(cls, value: Any) -> DepositPlan:
        """Read what `to_json` wrote; the key's points are not checked, see `DepositKey`.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        members = require_members("deposit", value, ("threshold", "key", "trustees", "root"))
        listed = members["trustees"]
        if not isinstance(listed, dict) or not 1 <= len(listed) <= TRUSTEES_MAX:
            raise PlanInvalid(f"deposit.trustees must name 1 to {TRUSTEES_MAX} accounts")
        trustees = tuple(sorted(Address(from_hex("trustee", each, ADDRESS_BYTES)) for each in listed))
        try:
            key = DepositKey.raw_from_json(
                {
                    "threshold": members["threshold"],
                    "key": members["key"],
                    "verification": [listed[to_hex(each)] for each in trustees],
                }
            )
        except DepositError as err:
            raise PlanInvalid(f"deposit: {err}") from err
        return cls(key, trustees, Digest(from_hex("deposit.root", members["root"], DIGEST_BYTES)))

    def require_valid(self) -> None:
        """Require that the joint key is one.

        Raises:
            PlanInvalid: it is none.
        """
        try:
            self.key.require_valid()
        except DepositError as err:
            raise PlanInvalid(f"deposit: {err}") from err

    def cells(self, plan: Plan) -> int:
        """See `PlanTerms`: the key of each trustee has a region of its own."""
        return KEY_CELLS * plan.holders

    def bundle_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`: the encrypted noise."""
        return noise_size(plan.values)

    def input_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`: the sealed sums and partial decryptions."""
        return sealed_size(plan.values)

    def values(self, plan: Plan, cells: Sequence[int]) -> Sequence[int | None]:
        """See `PlanTerms`: the cells are keys, and the values are behind them (`privacy.deposit.opening`)."""
        return [None] * plan.values

    def trustee_of(self, holder: bytes) -> int:
        """Return a holder's index in the key.

        Raises:
            PlanInvalid: it is no trustee.
        """
        for index, trustee in enumerate(self.trustees):
            if trustee == holder:
                return index
        raise PlanInvalid("a holder that is no trustee of the deposit")


def deposit_terms(plan: Plan) -> DepositPlan:
    """Return the member `deposit` of a plan.

    Raises:
        PlanInvalid: it has none.
    """
    return require_terms(plan.terms, PlanKind.DEPOSIT, DepositPlan)


def value_bounds(plan: Plan) -> list[int]:
    """Return the bound on each value, noise included."""
    bounds: list[int] = []
    for lane in plan.lanes:
        bound = value_bound(lane, rows=plan.rows_max, contributors=plan.holders)
        bounds += [bound] * (lane.bins * plan.groups)
    return bounds


def deposit_policy(policy: Policy) -> DepositPolicy:
    """Return the member `deposit` of a policy.

    Raises:
        PlanInvalid: it has none.
    """
    return require_terms(policy.terms, PlanKind.DEPOSIT, DepositPolicy)


def key_json(key: DepositKey, trustees: Sequence[Address]) -> dict[str, Any]:
    """Return a joint key as it stands in policies and plans: each trustee's account beside its verification key."""
    pairs = zip(trustees, key.verification, strict=True)
    return {
        "threshold": str(key.threshold),
        "key": to_hex(key.key),
        "trustees": {to_hex(account): to_hex(point) for account, point in pairs},
    }


def _read_key(fields: Fields) -> tuple[tuple[Address, ...], DepositKey]:
    threshold = fields.integer("threshold", 1, TRUSTEES_MAX)
    point, listed = fields.take("key"), fields.child("trustees")
    accounts: dict[Address, Any] = {}
    for name in listed.names():
        value = listed.take(name)
        if not isinstance(name, str) or _ACCOUNT.fullmatch(name) is None:
            listed.problem("", "accounts, each 0x and 40 hex digits", name)
            continue
        account = Address(bytes.fromhex(name[2:]))
        if account in accounts:
            listed.problem("", "each account once, in whatever case it is written", name)
        accounts[account] = value
    trustees = tuple(sorted(accounts))
    record = {
        "threshold": str(threshold),
        "key": point,
        "verification": [accounts[account] for account in trustees],
    }
    try:
        return trustees, DepositKey.from_json(record)
    except DepositError as err:
        fields.problem("key", f"a joint key ({err})", point)
        return trustees, _no_key()


def _no_key() -> DepositKey:
    """Return a key that stands in for one that could not be read; what has it is refused."""
    point = b"\xff" * POINT_BYTES  # no point: whoever used it would be refused
    return DepositKey(1, point, (point,))


def _read_names(fields: Fields, name: str) -> tuple[str, ...]:
    items = fields.items(name, (), items_max=256)
    names = tuple(fields.check_text(f"{name}[{place}]", each) for place, each in enumerate(items))
    fields.unique(name, names)
    return names


def _read_bins(fields: Fields) -> dict[str, int]:
    if not fields.has("histograms"):
        fields.take("histograms")
        return {}
    given = fields.child("histograms")
    return {str(name): given.integer(name, 2, HISTOGRAM_BINS_MAX) for name in given.names()}


def _missing(output: Output, key: LaneKey) -> Violation:
    line, position = (output.at.line, output.at.position) if output.at else (None, None)
    bins = f" with {key.bins} bins" if key.bins > 1 else ""
    message = f"the cube has no {key.kind.value} of {key.column!r}{bins}"
    return Violation("deposit-lane", message, output.column, line, position)


def _rejected(rule: str, message: str) -> PlanRejected:
    return PlanRejected([Violation(rule, message)])
