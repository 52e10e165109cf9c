"""The policy of a listing: what may be asked of its data, and what each answer costs (docs/protocol.md §6).

Every holder of a listing signs the same policy; its hash is on the chain. `Policy.from_yaml` and
`from_mapping` are
strict: every problem is named at once with its field, what was expected and what was found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast

import yaml

from privacy.columns import Column, Role, read_columns
from privacy.decimals import RHO_SCALE, decimal_text
from privacy.encoding import canonical_json, keccak, parse_canonical_json, tagged_hash
from privacy.errors import NotCanonical, PolicyInvalid
from privacy.fields import Fields
from privacy.terms import PlanKind, PolicyTerms, read_policy_terms
from privacy.types import Address, Digest, to_hex

POLICY_VERSION = 1
PURPOSES_MAX = 64
BUYERS_MAX = 10_000
NULL_VALUES_MAX = 64
ROW_KEY_MAX = 16
ROWS_MAX = 1 << 40
HOLDERS_MAX = 1024
TITLE_CHARS_MAX = 512
YAML_BYTES_MAX = 1 << 20
MINOR_MAX = (1 << 63) - 1
DIGITS_MAX = 80
YAML_LEVELS_MAX = 32
_INTEGER_TAG = "tag:yaml.org,2002:int"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Aggregate(StrEnum):
    """A family of aggregates that a policy may allow."""

    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    VAR = "var"
    STDDEV = "stddev"
    HISTOGRAM = "histogram"
    QUANTILE = "quantile"
    COVAR = "covar"
    CORR = "corr"
    LINREG = "linreg"
    CHI2 = "chi2"
    LOGREG = "logreg"
    SCORE = "score"


class Approval(StrEnum):
    """Who approves a request at a holder."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class PrivacyUnit:
    """Whose presence the noise hides.

    Attributes:
        column: the column that names the unit; None if each row is a unit of its own.
        rows_per_unit: m, the most rows one unit contributes; the holder keeps no more.
        proved: whether registration proved that no unit has more than m rows.
        disjoint: whether a unit is at one holder at most.
    """

    column: str | None
    rows_per_unit: int
    proved: bool
    disjoint: bool


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a request: fee + Σ over assets of rate × ρ, never a function of the answer."""

    fee_minor: int
    rate_minor_per_rho: int

    def total_minor(self, rho_micro: int, assets: int) -> int:
        """Return the price of a request, rounded up to a whole minor unit."""
        return self.fee_minor - (-assets * self.rate_minor_per_rho * rho_micro) // RHO_SCALE


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, validated. Fields are those of the YAML file, §6 of docs/protocol.md."""

    listing: str
    title: str
    unit: PrivacyUnit
    row_key: tuple[str, ...]
    rows_max: int
    columns: tuple[Column, ...]
    null_values: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    purposes: tuple[str, ...]
    buyers: tuple[Address, ...] | None
    rho_per_request_micro: int
    rho_total_micro: int
    rho_per_buyer_micro: int | None
    delta: Decimal | None
    price: Price
    min_holders: int
    colluders: int | None
    dropouts: int | None
    approval: Approval
    terms: PolicyTerms | None = None

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> "Policy":
        """Read a policy from nested mappings, as YAML or JSON give them.

        Raises:
            PolicyInvalid: with every problem.
        """
        fields = Fields(value)
        policy = _read_policy(fields)
        fields.require_clean()
        return policy

    @classmethod
    def from_yaml(cls, text: str) -> "Policy":
        """Read a policy from YAML: repeated keys, aliases and tags are refused.

        Raises:
            PolicyInvalid: with every problem.
        """
        return cls.from_mapping(load_yaml(text))

    @classmethod
    def from_json(cls, data: bytes) -> "Policy":
        """Read canonical JSON bytes, and nothing else.

        Raises:
            PolicyInvalid: not JSON, not canonical, or with problems.
        """
        try:
            policy = cls.from_mapping(parse_canonical_json(data))
        except NotCanonical as err:
            raise PolicyInvalid([str(err)]) from err
        if policy.to_bytes() != data:
            raise PolicyInvalid(["policy: expected its canonical form, found another spelling of it"])
        return policy

    def to_json(self) -> dict[str, Any]:
        """Return the policy in its one form: integers and decimals are strings; of all members only rho's `per_buyer`
        and `delta` and the terms of a kind may be missing."""
        more = {} if self.terms is None else {self.terms.kind.value: self.terms.to_json()}
        return more | {
            "version": str(POLICY_VERSION),
            "listing": self.listing,
            "title": self.title,
            "privacy_unit": {
                "column": self.unit.column,
                "rows_per_unit": str(self.unit.rows_per_unit),
                "proved": self.unit.proved,
                "disjoint": self.unit.disjoint,
            },
            "row_key": list(self.row_key),
            "rows_max": str(self.rows_max),
            "columns": [column.to_json() for column in self.columns],
            "null_values": list(self.null_values),
            "aggregates": [aggregate.value for aggregate in self.aggregates],
            "purposes": list(self.purposes),
            "buyers": "*" if self.buyers is None else [to_hex(buyer) for buyer in self.buyers],
            "rho": self._rho_json(),
            "price": {
                "fee_minor": str(self.price.fee_minor),
                "rate_minor_per_rho": str(self.price.rate_minor_per_rho),
            },
            "min_holders": str(self.min_holders),
            "colluders": None if self.colluders is None else str(self.colluders),
            "dropouts": None if self.dropouts is None else str(self.dropouts),
            "approval": self.approval.value,
        }

    def _rho_json(self) -> dict[str, str]:
        """Return the budgets; what a policy of before these members existed does not say is not there."""
        rho = {
            "per_request": decimal_text(Decimal(self.rho_per_request_micro) / RHO_SCALE),
            "total": decimal_text(Decimal(self.rho_total_micro) / RHO_SCALE),
        }
        if self.rho_per_buyer_micro is not None:
            rho["per_buyer"] = decimal_text(Decimal(self.rho_per_buyer_micro) / RHO_SCALE)
        if self.delta is not None:
            rho["delta"] = decimal_text(self.delta)
        return rho

    def to_bytes(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical_json(self.to_json())

    def hash(self) -> Digest:
        """Return the policy hash, H("policy"; keccak(JCS(policy)))."""
        return Digest(tagged_hash("policy", keccak(self.to_bytes())))

    def column(self, name: str) -> Column | None:
        """Return the column of exactly this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def admits(self, buyer: bytes) -> bool:
        """Tell whether a buyer's address may ask."""
        return self.buyers is None or buyer in self.buyers


def _read_policy(fields: Fields) -> Policy:
    fields.integer("version", POLICY_VERSION, POLICY_VERSION)
    listing = fields.text("listing")
    rho, price = fields.child("rho"), fields.child("price")
    policy = Policy(
        listing=listing,
        title=fields.text("title", listing, chars_max=TITLE_CHARS_MAX),
        unit=_read_unit(fields.child("privacy_unit")),
        row_key=_read_texts(fields, "row_key", ROW_KEY_MAX),
        rows_max=fields.integer("rows_max", 1, ROWS_MAX),
        columns=read_columns(fields),
        null_values=_read_null_values(fields),
        aggregates=_read_aggregates(fields),
        purposes=_read_texts(fields, "purposes", PURPOSES_MAX),
        buyers=_read_buyers(fields),
        rho_per_request_micro=rho.rho_micro("per_request"),
        rho_total_micro=rho.rho_micro("total"),
        rho_per_buyer_micro=_read_per_buyer(rho),
        delta=_read_delta(rho),
        price=Price(
            price.integer("fee_minor", 0, MINOR_MAX), price.integer("rate_minor_per_rho", 0, MINOR_MAX)
        ),
        min_holders=fields.integer("min_holders", 1, HOLDERS_MAX, 1),
        colluders=_read_optional(fields, "colluders"),
        dropouts=_read_optional(fields, "dropouts"),
        approval=Approval(
            fields.choice("approval", [each.value for each in Approval], Approval.MANUAL.value)
        ),
        terms=read_policy_terms(fields),
    )
    for each in (fields, rho, price):
        each.refuse_unknown()
    _check_together(fields, policy)
    return policy


def _check_together(fields: Fields, policy: Policy) -> None:
    """Record problems between fields."""
    unit = policy.unit
    for name, expected, found in () if policy.terms is None else policy.terms.check(policy):
        fields.problem(name, expected, found)
    if policy.rho_total_micro < policy.rho_per_request_micro:
        fields.problem("rho.total", "at least rho.per_request", policy.rho_total_micro)
    most, largest = policy.rho_per_buyer_micro, policy.rho_total_micro
    if most is not None and not policy.rho_per_request_micro <= most <= largest:
        fields.problem("rho.per_buyer", "at least rho.per_request and at most rho.total", most)
    if unit.rows_per_unit > policy.rows_max:
        fields.problem("privacy_unit.rows_per_unit", "at most rows_max", unit.rows_per_unit)
    if unit.column is None and unit.rows_per_unit != 1:
        fields.problem("privacy_unit.rows_per_unit", "1, as each row is a unit", unit.rows_per_unit)
    if unit.column is not None and not unit.proved and not policy.row_key:
        fields.problem("row_key", "the columns that tell a unit's rows apart, as `proved` is false", None)
    if not policy.purposes:
        fields.problem("purposes", "at least one purpose", [])
    _check_aggregates(fields, policy)
    _check_sides(fields, policy)
    for column in policy.columns:
        for value in column.domain or ():
            if value in policy.null_values:
                fields.problem(f"columns.{column.name}.domain", "no value that is read as NULL", value)


def _check_sides(fields: Fields, policy: Policy) -> None:
    if policy.terms is not None and policy.terms.kind is PlanKind.JOIN:
        return
    for column in policy.columns:
        if column.side is not None or column.role is Role.KEY:
            fields.problem(
                f"columns.{column.name}", "neither side nor key, as there is no member `join`", column.name
            )


def _check_aggregates(fields: Fields, policy: Policy) -> None:
    if policy.unit.column is None and Aggregate.COUNT_DISTINCT in policy.aggregates:
        fields.problem("aggregates", "no count_distinct, as there is no unit column", "count_distinct")
    if Aggregate.SCORE in policy.aggregates and not fields.has(PlanKind.SCORE):
        fields.problem("aggregates", "no score, as there is no member `score`", "score")


def _read_per_buyer(rho: Fields) -> int | None:
    if not rho.has("per_buyer"):
        rho.take("per_buyer")
        return None
    return rho.rho_micro("per_buyer")


def _read_delta(rho: Fields) -> Decimal | None:
    if not rho.has("delta"):
        rho.take("delta")
        return None
    delta = rho.decimal("delta")
    if not 0 < delta < 1:
        rho.problem("delta", "a decimal above 0 and below 1", delta)
    return delta


def _read_unit(fields: Fields) -> PrivacyUnit:
    unit = PrivacyUnit(
        column=fields.text("column") if fields.has("column") else fields.take("column"),
        rows_per_unit=fields.integer("rows_per_unit", 1, ROWS_MAX),
        proved=fields.boolean("proved", default=False),
        disjoint=fields.boolean("disjoint", default=False),
    )
    fields.refuse_unknown()
    return unit


def _read_texts(fields: Fields, name: str, items_max: int) -> tuple[str, ...]:
    values = fields.items(name, (), items_max=items_max)
    texts = [fields.check_text(f"{name}[{index}]", value) for index, value in enumerate(values)]
    fields.unique(name, texts)
    return tuple(texts)


def _read_null_values(fields: Fields) -> tuple[str, ...]:
    values = fields.items("null_values", (), items_max=NULL_VALUES_MAX)
    for index, value in enumerate(values):
        if value != "":
            fields.check_text(f"null_values[{index}]", value)
    texts = [value if isinstance(value, str) else "" for value in values]
    fields.unique("null_values", texts)
    return tuple(texts)


def _read_aggregates(fields: Fields) -> tuple[Aggregate, ...]:
    known = [each.value for each in Aggregate]
    values = fields.items("aggregates", items_max=len(known))
    if not values:
        fields.problem("aggregates", "at least one of " + ", ".join(known), values)
    for index, value in enumerate(values):
        if value not in known:
            fields.problem(f"aggregates[{index}]", "one of " + ", ".join(known), value)
    fields.unique("aggregates", [str(value) for value in values])
    return tuple(Aggregate(value) for value in values if value in known)


def _read_buyers(fields: Fields) -> tuple[Address, ...] | None:
    value = fields.take("buyers")
    if value is None or value == "*":
        return None
    buyers = []
    for index, text in enumerate(fields.items("buyers", items_max=BUYERS_MAX)):
        match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            fields.problem(f"buyers[{index}]", "0x and 40 hex digits", text)
            continue
        buyers.append(Address(bytes.fromhex(text[2:])))
    fields.unique("buyers", buyers)
    return tuple(sorted(buyers))


def _read_optional(fields: Fields, name: str) -> int | None:
    if not fields.has(name):
        fields.take(name)
        return None
    return fields.integer(name, 0, HOLDERS_MAX)


class _StrictLoader(yaml.SafeLoader):
    """YAML without repeated keys, aliases, merge keys, tags, depth or endless numbers: what is read is what is written."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = cast(Any, self).peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _at_line(event, "no alias, found one")
        if event.tag is not None:
            raise _at_line(event, "YAML without tags, found one")
        if (
            self._level == YAML_LEVELS_MAX
        ):  # the scanner needs quadratic time for what nests deeper and deeper
            raise _at_line(event, f"at most {YAML_LEVELS_MAX} levels, found more")
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag == _INTEGER_TAG and len(node.value) > DIGITS_MAX:
            raise _at_line(event, f"an integer of at most {DIGITS_MAX} digits, found a longer one")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE_TAG:
                raise _at_line(key, "a plain key, found another")
            if key.value in seen:
                raise _at_line(key, f"each key once, found {key.value!r} again")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _at_line(place: Any, expected: str) -> PolicyInvalid:
    return PolicyInvalid([f"line {place.start_mark.line + 1}: expected {expected}"])


def load_yaml(text: str, *, what: str = "policy") -> Any:
    """Read YAML without repeated keys, aliases, merge keys or tags.

    Args:
        text: at most 1 MB.
        what: the name of the whole, for messages.

    Raises:
        PolicyInvalid: it is none.
    """
    if len(text.encode("utf-8", "replace")) > YAML_BYTES_MAX:
        raise PolicyInvalid([f"{what}: expected at most {YAML_BYTES_MAX} bytes of YAML, found more"])
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as err:
        detail = str(err).replace("\n", " ") or type(err).__name__
        raise PolicyInvalid([f"{what}: expected YAML, found {detail}"]) from err
