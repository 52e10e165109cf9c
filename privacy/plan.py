"""The plan: everything that a request computes, in one canonical JSON whose hash is quoted, approved and charged.

`privacy.planning` makes plans and verifies them; see docs/protocol.md §6 for every field.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from privacy.columns import ColumnType
from privacy.dimensions import Dimension, Factor
from privacy.encoding import canonical_json, keccak, parse_canonical_json, tagged_hash
from privacy.errors import NotCanonical, PlanInvalid
from privacy.fixed_point import power_of_two
from privacy.lanes import Lane, LaneKey, LaneKind, Setting, find_lane
from privacy.logistic import Logistic, step_names
from privacy.query import Output, OutputKind, Predicate, Query
from privacy.query_text import (
    output_from_json,
    output_to_json,
    predicate_from_json,
    predicate_to_json,
    read_decimals,
    read_literal,
    read_type,
)
from privacy.terms import PlanKind, PlanTerms, joined_tables, read_plan_terms, require_points
from privacy.types import (
    DIGEST_BYTES,
    AssetRef,
    Digest,
    ListingRef,
    from_decimal,
    from_hex,
    read_text,
    require_members,
    to_hex,
)

PLAN_VERSION = "1"
CELLS_MAX = 1 << 17

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanUnit:
    """The privacy unit as the plan fixes it.

    Attributes:
        column: the column that names it; None if each row is a unit.
        rows_per_unit: m, the most rows of one unit that count.
        row_key: the columns that, with the unit's, rank a unit's rows when there are more than m.
        proved: registration proved that there are not.
        disjoint: whether a unit is at one holder at most.
        holders: h, the holders one unit can be at.
    """

    column: str | None
    rows_per_unit: int
    row_key: tuple[str, ...]
    proved: bool
    disjoint: bool
    holders: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan."""
        return {
            "column": self.column,
            "rows": str(self.rows_per_unit),
            "row_key": list(self.row_key),
            "proved": self.proved,
            "disjoint": self.disjoint,
            "holders": str(self.holders),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: the query part, what the policy fixes, and what follows from both. See docs/protocol.md §6."""

    listing: ListingRef
    purpose: str
    assets: tuple[AssetRef, ...]
    unit: PlanUnit
    rows_max: int
    group_by: tuple[Dimension, ...]
    filter: Predicate | None
    outputs: tuple[Output, ...]
    lanes: tuple[Lane, ...]
    rho_micro: int
    holders: int
    min_holders: int
    colluders: int
    dropouts: int
    terms: PlanTerms | None = None

    @property
    def groups(self) -> int:
        """G, the number of groups: the product of the dimensions' sizes."""
        return math.prod(dimension.size for dimension in self.group_by)

    @property
    def kind(self) -> PlanKind:
        """How the numbers are computed."""
        return PlanKind.SUM if self.terms is None else self.terms.kind

    @property
    def values(self) -> int:
        """The number of values that the answer is made of: the layout's length."""
        return self.groups * sum(lane.bins for lane in self.lanes)

    @property
    def cells(self) -> int:
        """d, the number of cells of the sealed sum: one for each value of a plain sum."""
        return self.values if self.terms is None else self.terms.cells(self)

    @property
    def bundle_rider_size(self) -> int:
        """Bytes that ride behind the sealed shares of a holder's bundle."""
        return 0 if self.terms is None else self.terms.bundle_rider_size(self)

    @property
    def input_rider_size(self) -> int:
        """Bytes that ride behind a holder's masked vector."""
        return 0 if self.terms is None else self.terms.input_rider_size(self)

    @property
    def divisor(self) -> int:
        """m = n − c − d_max as planned: the noise shares that are counted on."""
        return self.holders - self.colluders - self.dropouts

    @property
    def query(self) -> Query:
        """What the buyer asked: the part from which all the rest is made again."""
        group_by = tuple(dimension.column for dimension in self.group_by)
        return Query(self.listing.name, self.outputs, group_by, self.filter, joined_tables(self.terms))

    @property
    def setting(self) -> Setting:
        """What sensitivities and scales depend on."""
        return Setting(
            rows_per_unit=self.unit.rows_per_unit,
            unit_holders=self.unit.holders,
            holders=self.holders,
            divisor=self.divisor,
            rows_max=self.rows_max,
            groups=self.groups,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the answer's columns; a histogram gives one for each bin, a regression one for each
        coefficient and standard error, a step of one one for each cell, a test one each for statistic, degrees of
        freedom and p-value."""
        names: list[str] = []
        for output in self.outputs:
            if output.kind is OutputKind.HISTOGRAM:
                key = LaneKey(LaneKind.HISTOGRAM, output.column, output.bins or 1)
                names += bin_names(output.name, self.lanes[find_lane(self.lanes, key)])
            elif output.kind is OutputKind.LINREG:
                terms = ("intercept", *output.others)
                names += [f"{output.name}[{term}]" for term in terms]
                names += [f"{output.name}[se {term}]" for term in terms]
            elif output.kind is OutputKind.LOGREG_STEP:
                names += step_names(output.name, output.others)
            elif output.kind is OutputKind.CHI2:
                names += [f"{output.name}[{part}]" for part in ("statistic", "df", "p")]
            else:
                names.append(output.name)
        return tuple(names)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object: integers as decimal strings, bytes as hex; of all members only the terms of a
        kind may be missing."""
        more = {} if self.terms is None else {self.kind.value: self.terms.to_json()}
        return more | {
            "version": PLAN_VERSION,
            "kind": self.kind.value,
            "listing": to_hex(self.listing.id),
            "listing_name": self.listing.name,
            "purpose": self.purpose,
            "assets": [asset.to_json() for asset in self.assets],
            "unit": self.unit.to_json(),
            "rows_max": str(self.rows_max),
            "group_by": [dimension.to_json() for dimension in self.group_by],
            "filter": None if self.filter is None else predicate_to_json(self.filter),
            "outputs": [output_to_json(output) for output in self.outputs],
            "lanes": [lane.to_json() for lane in self.lanes],
            "rho": str(self.rho_micro),
            "holders": str(self.holders),
            "min_holders": str(self.min_holders),
            "colluders": str(self.colluders),
            "dropouts": str(self.dropouts),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """Read what `to_json` wrote, and no other spelling of it. It is well-formed then, not yet verified.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        plan = cls.raw_from_json(value)
        require_points(plan.terms)
        return plan

    @classmethod
    def raw_from_json(cls, value: Any) -> "Plan":
        """Read what `to_json` wrote, but for the points of a joint key: whoever reads them so checks them by a library of
        its own (`privacy.deposit_reference`), or by `privacy.terms.require_points`.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        plan = _read_plan(value)
        if plan.to_json() != value:
            raise PlanInvalid("the plan is not in its one form")
        return plan

    def to_bytes(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Plan":
        """Read canonical JSON bytes, and nothing else.

        Raises:
            PlanInvalid: not JSON, not canonical, or malformed.
        """
        try:
            value = parse_canonical_json(data)
        except NotCanonical as err:
            raise PlanInvalid(str(err)) from err
        return cls.from_json(value)

    def hash(self) -> Digest:
        """Return the plan hash, H("plan"; keccak(JCS(plan)))."""
        return Digest(tagged_hash("plan", keccak(self.to_bytes())))


def bin_names(name: str, lane: Lane) -> list[str]:
    """Return a histogram's column names: `name[low,high)` for each bin, `name[low,high]` for the last."""
    ends = [_decimal(edge * power_of_two(-lane.scale_bits)) for edge in lane.edges]
    closing = [")"] * (lane.bins - 1) + ["]"]
    return [f"{name}[{ends[k]},{ends[k + 1]}{closing[k]}" for k in range(lane.bins)]


def _decimal(value: Fraction) -> str:
    """Return a dyadic fraction as an exact decimal."""
    digits = value.denominator.bit_length() - 1
    scaled = value.numerator * 5**digits  # value·10^digits
    sign, text = "-" if scaled < 0 else "", str(abs(scaled)).rjust(digits + 1, "0")
    whole, fraction = (text[:-digits], text[-digits:].rstrip("0")) if digits else (text, "")
    return sign + whole + ("." + fraction if fraction else "")


# --- reading -----------------------------------------------------------------------------------------------

_MEMBERS = (
    "version",
    "kind",
    "listing",
    "listing_name",
    "purpose",
    "assets",
    "unit",
    "rows_max",
    "group_by",
    "filter",
    "outputs",
    "lanes",
    "rho",
    "holders",
    "min_holders",
    "colluders",
    "dropouts",
)


def _read_plan(value: Any) -> Plan:
    kind = _read_kind(value)
    more = () if kind is PlanKind.SUM else (kind.value,)
    members = require_members("plan", value, (*_MEMBERS, *more))
    if members["version"] != PLAN_VERSION:
        raise PlanInvalid(f"a plan must have version {PLAN_VERSION}")
    filter_ = members["filter"]
    return Plan(
        listing=ListingRef(
            Digest(from_hex("listing", members["listing"], DIGEST_BYTES)),
            read_text("listing_name", members["listing_name"]),
        ),
        purpose=read_text("purpose", members["purpose"]),
        assets=_list("assets", members["assets"], AssetRef.from_json),
        unit=_read_unit(members["unit"]),
        rows_max=from_decimal("rows_max", members["rows_max"]),
        group_by=_list("group_by", members["group_by"], _read_dimension),
        filter=None if filter_ is None else predicate_from_json(filter_),
        outputs=_list("outputs", members["outputs"], output_from_json),
        lanes=_list("lanes", members["lanes"], _read_lane),
        rho_micro=from_decimal("rho", members["rho"]),
        holders=from_decimal("holders", members["holders"]),
        min_holders=from_decimal("min_holders", members["min_holders"]),
        colluders=from_decimal("colluders", members["colluders"]),
        dropouts=from_decimal("dropouts", members["dropouts"]),
        terms=read_plan_terms(kind, members.get(kind.value)),
    )


def _read_kind(value: Any) -> PlanKind:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in [each.value for each in PlanKind]:
        raise PlanInvalid("a plan's kind must be one of " + ", ".join(PlanKind))
    return PlanKind(kind)


def _read_unit(value: Any) -> PlanUnit:
    members = require_members("unit", value, ("column", "rows", "row_key", "proved", "disjoint", "holders"))
    column = members["column"]
    return PlanUnit(
        column=None if column is None else read_text("unit.column", column),
        rows_per_unit=from_decimal("unit.rows", members["rows"]),
        row_key=_list("unit.row_key", members["row_key"], lambda name: read_text("unit.row_key", name)),
        proved=_boolean("unit.proved", members["proved"]),
        disjoint=_boolean("unit.disjoint", members["disjoint"]),
        holders=from_decimal("unit.holders", members["holders"]),
    )


def _read_dimension(value: Any) -> Dimension:
    members = require_members("group_by", value, ("column", "type", "domain"))
    kind = read_type(members["type"])
    if kind is ColumnType.NUMBER:
        raise PlanInvalid("a dimension must be a text or an integer")
    domain = _list("domain", members["domain"], lambda each: read_literal(kind, each))
    keys = tuple(each for each in domain if isinstance(each, str | int))
    return Dimension(read_text("group_by.column", members["column"]), kind, keys)


def _read_lane(value: Any) -> Lane:
    names = ("kind", "column", "type", "low", "high", "scale_bits", "center", "half_width", "edges")
    more = [
        name for name in ("by", "present", "table", "logistic") if isinstance(value, dict) and name in value
    ]
    members = require_members("lane", value, (*names, "delta_squared", "grid_bits", "rho", *more))
    if members["kind"] not in [each.value for each in LaneKind]:
        raise PlanInvalid("a lane's kind must be one of " + ", ".join(LaneKind))
    column, low, high = members["column"], members["low"], members["high"]
    return Lane(
        kind=LaneKind(members["kind"]),
        column=None if column is None else read_text("lane.column", column),
        type=None if members["type"] is None else read_type(members["type"]),
        low=_bound(low),
        high=_bound(high),
        scale_bits=from_decimal("lane.scale_bits", members["scale_bits"]),
        center=from_decimal("lane.center", members["center"]),
        half_width=from_decimal("lane.half_width", members["half_width"]),
        edges=_list("lane.edges", members["edges"], lambda edge: from_decimal("lane.edges", edge)),
        delta_squared=from_decimal("lane.delta_squared", members["delta_squared"]),
        grid_bits=from_decimal("lane.grid_bits", members["grid_bits"]),
        rho_micro=from_decimal("lane.rho", members["rho"]),
        by=_read_factor(members["by"]) if "by" in members else None,
        present=_list("present", members.get("present", []), lambda name: read_text("lane.present", name)),
        table=_list("table", members.get("table", []), _read_dimension),
        logistic=_read_logistic(members["logistic"]) if "logistic" in members else None,
    )


def _read_logistic(value: Any) -> Logistic:
    members = require_members("lane.logistic", value, ("target", "features", "coefficients"))
    return Logistic(
        target=None if members["target"] is None else _read_dimension(members["target"]),
        features=_list("lane.logistic.features", members["features"], _read_factor),
        coefficients=read_decimals("lane.logistic.coefficients", members["coefficients"]),
    )


def _read_factor(value: Any) -> Factor:
    names = ("column", "type", "low", "high", "scale_bits", "center", "half_width")
    members = require_members("lane.by", value, names)
    low, high = _bound(members["low"]), _bound(members["high"])
    if low is None or high is None:
        raise PlanInvalid("a factor must have two bounds")
    return Factor(
        column=read_text("lane.by.column", members["column"]),
        type=read_type(members["type"]),
        low=low,
        high=high,
        scale_bits=from_decimal("lane.by.scale_bits", members["scale_bits"]),
        center=from_decimal("lane.by.center", members["center"]),
        half_width=from_decimal("lane.by.half_width", members["half_width"]),
    )


def _bound(value: Any) -> Decimal | None:
    if value is None:
        return None
    bound = read_literal(ColumnType.NUMBER, value)
    return bound if isinstance(bound, Decimal) else None


def _list(what: str, value: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise PlanInvalid(f"{what} must be a JSON array")
    return tuple(read(each) for each in value)


def _boolean(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise PlanInvalid(f"{what} must be true or false")
    return value
