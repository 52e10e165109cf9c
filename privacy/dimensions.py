"""Dimensions: columns with a public domain, by which rows are grouped or tabulated."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from privacy.columns import OTHER, ColumnType
from privacy.decimals import decimal_text


@dataclass(frozen=True, slots=True)
class Dimension:
    """A group column with its public domain; after the last value comes the group `other`."""

    column: str
    type: ColumnType
    domain: tuple[str | int, ...]

    @property
    def size(self) -> int:
        """The number of its groups, `other` included."""
        return len(self.domain) + 1

    def value(self, index: int) -> str | int:
        """Return the key of a group."""
        return OTHER if index == len(self.domain) else self.domain[index]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan."""
        domain = [str(value) for value in self.domain]
        return {"column": self.column, "type": self.type.value, "domain": domain}


@dataclass(frozen=True, slots=True)
class Factor:
    """The second factor of a product: a clipped measure on its own grid.

    Attributes:
        column, type: the measure.
        low, high: its clipping interval.
        scale_bits: s; its integers are in units of 2^-s; may be negative.
        center: the integer subtracted from each value.
        half_width: w, the largest |integer − centre|.
    """

    column: str
    type: ColumnType
    low: Decimal
    high: Decimal
    scale_bits: int
    center: int
    half_width: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a plan."""
        return {
            "column": self.column,
            "type": self.type.value,
            "low": decimal_text(self.low),
            "high": decimal_text(self.high),
            "scale_bits": str(self.scale_bits),
            "center": str(self.center),
            "half_width": str(self.half_width),
        }
