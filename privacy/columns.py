"""The columns of a policy: their types, roles, domains and bounds, and how they are read strictly."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from privacy.decimals import decimal_text
from privacy.errors import PolicyInvalid
from privacy.fields import Fields, as_integer
from privacy.fixed_point import SCALE_BITS_MAX, SCALE_BITS_MIN, Grid, fits

OTHER = "other"
"""The group of rows whose dimension is undeclared or NULL; no declared text value may be called so."""

INTEGER_MAX = (1 << 63) - 1
COLUMNS_MAX = 256
DOMAIN_MAX = 10_000
DOMAIN_CHARS_MAX = 256


class ColumnType(StrEnum):
    """How a column is read and compared."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"


class Role(StrEnum):
    """What a column may be used for, filters apart."""

    DIMENSION = "dimension"
    MEASURE = "measure"
    BOTH = "both"
    NONE = "none"
    KEY = "key"  # of a private join, on both sides: it only tells which rows belong together


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column.

    Attributes:
        name: NFC text, matched exactly, or by ASCII case when unquoted and unique.
        type: how it is read.
        role: dimension (has a domain), measure (has bounds), both, or none.
        domain: the public values of a dimension, in order; None if it is none.
        low, high: the clipping interval of a measure; None if it is none.
        scale_bits: fractional bits of a measure's integers.
        nullable: False promises that no row is NULL or NaN; the holder's engine refuses a snapshot that
            breaks it.
        filter: whether WHERE may use it.
        side: of a private join, the table that has it; None for its key, and where there is no join.
    """

    name: str
    type: ColumnType
    role: Role
    domain: tuple[str | int, ...] | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    scale_bits: int = 0
    nullable: bool = True
    filter: bool = False
    side: str | None = None

    @property
    def is_dimension(self) -> bool:
        """Whether GROUP BY may use it."""
        return self.domain is not None

    @property
    def is_measure(self) -> bool:
        """Whether aggregates may use it."""
        return self.low is not None

    def grid(self) -> Grid:
        """Return the fixed-point grid of a measure."""
        if self.low is None or self.high is None:
            raise PolicyInvalid([f"columns.{self.name}: expected a measure, found {self.role.value}"])
        return Grid.of(self.low, self.high, self.scale_bits)

    def to_json(self) -> dict[str, Any]:
        """Return the canonical JSON object; `side` is there only where there is one."""
        domain = None if self.domain is None else [str(value) for value in self.domain]
        more = {} if self.side is None else {"side": self.side}
        return more | {
            "name": self.name,
            "type": self.type.value,
            "role": self.role.value,
            "domain": domain,
            "low": None if self.low is None else decimal_text(self.low),
            "high": None if self.high is None else decimal_text(self.high),
            "scale_bits": str(self.scale_bits),
            "nullable": self.nullable,
            "filter": self.filter,
        }


def read_columns(policy: Fields) -> tuple[Column, ...]:
    """Read the field `columns`: a mapping of names to columns, or a list of columns with `name`."""
    value = policy.take("columns")
    if isinstance(value, dict):
        entries = [(name, f"columns.{name}", body) for name, body in value.items()]
    elif isinstance(value, list):
        entries = [
            (body.get("name") if isinstance(body, dict) else None, f"columns[{index}]", body)
            for index, body in enumerate(value)
        ]
    else:
        policy.problem("columns", "a mapping of column names to columns", value)
        return ()
    if not 1 <= len(entries) <= COLUMNS_MAX:
        policy.problem("columns", f"1 to {COLUMNS_MAX} columns", len(entries))
        return ()
    columns = []
    for name, path, body in entries:
        fields = Fields(body, path, policy.problems)
        if isinstance(value, list):
            fields.take("name")
        columns.append(_read_column(fields.check_text("name", name), fields))
        fields.refuse_unknown()
    policy.unique("columns", [column.name for column in columns])
    return tuple(columns)


def _read_column(name: str, fields: Fields) -> Column:
    kind = ColumnType(fields.choice("type", [each.value for each in ColumnType]))
    has_domain, has_bounds = fields.has("domain"), fields.has("low") or fields.has("high")
    implied = {(True, True): Role.BOTH, (True, False): Role.DIMENSION, (False, True): Role.MEASURE}
    default = implied.get((has_domain, has_bounds), Role.NONE)
    role = Role(fields.choice("role", [each.value for each in Role], default.value))
    is_dimension, is_measure = role in (Role.DIMENSION, Role.BOTH), role in (Role.MEASURE, Role.BOTH)
    if is_measure and kind is ColumnType.TEXT:
        fields.problem("role", "dimension or none for a text", role.value)
    if is_dimension and kind is ColumnType.NUMBER:
        fields.problem("role", "measure or none for a number", role.value)
    filter_ = fields.boolean("filter", default=False)
    if role is Role.KEY and (kind is not ColumnType.TEXT or filter_):
        fields.problem("role", "another one: a key is a text, and no filter may use it", role.value)
    domain = _read_domain(fields, kind, is_dimension)
    low, high, scale_bits = _read_bounds(fields, kind, is_measure)
    return Column(
        name=name,
        type=kind,
        role=role,
        domain=domain,
        low=low,
        high=high,
        scale_bits=scale_bits,
        nullable=fields.boolean("nullable", default=True),
        filter=filter_,
        side=fields.text("side") if fields.has("side") else fields.take("side"),
    )


def _read_domain(fields: Fields, kind: ColumnType, is_dimension: bool) -> tuple[str | int, ...] | None:
    if not is_dimension:
        if fields.take("domain") is not None:
            fields.problem("domain", "no domain, as this is no dimension", "a domain")
        return None
    values = fields.items("domain", items_max=DOMAIN_MAX)
    if not values:
        fields.problem("domain", f"1 to {DOMAIN_MAX} values", values)
    domain: list[str | int] = []
    for index, value in enumerate(values):
        at = f"domain[{index}]"
        if kind is ColumnType.TEXT:
            text = fields.check_text(at, value, DOMAIN_CHARS_MAX)
            if text == OTHER:
                fields.problem(at, "any value but `other`, which is the group of all the rest", text)
            domain.append(text)
            continue
        number = as_integer(value)
        if number is None or abs(number) > INTEGER_MAX:
            fields.problem(at, "an integer of 64 bits", value)
        domain.append(0 if number is None else number)
    fields.unique("domain", domain)
    return tuple(domain)


def _read_bounds(
    fields: Fields, kind: ColumnType, is_measure: bool
) -> tuple[Decimal | None, Decimal | None, int]:
    if not is_measure:
        for name in ("low", "high"):
            if fields.take(name) is not None:
                fields.problem(name, "no bound, as this is no measure", "a bound")
        fields.integer("scale_bits", 0, 0, default=0)
        return None, None, 0
    low, high = fields.decimal("low"), fields.decimal("high")
    default = 0 if kind is ColumnType.INTEGER else None
    scale_bits = fields.integer("scale_bits", SCALE_BITS_MIN, SCALE_BITS_MAX, default)
    if not low < high:
        fields.problem("high", f"more than low, {low}", high)
    elif not fits(low, high, scale_bits):
        fields.problem("scale_bits", "|bound|·2^scale_bits of at most 2^50", scale_bits)
    elif Grid.of(low, high, scale_bits).half_width < 1:
        fields.problem("scale_bits", "an interval of at least one grid unit", scale_bits)
    return low, high, scale_bits
