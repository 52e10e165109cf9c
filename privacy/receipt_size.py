"""How long the receipt of a plan's answer could be: a plan is refused whose answer could not be proved afterwards.

A receipt has at most 2^25 bytes (docs/protocol.md §7). What a buyer asks for decides how long it gets: cells, columns times
groups, the names of groups, and over a deposit the messages of its trustees. All of them are known with the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy.encoding import canonical_json
from privacy.payloads import bundle_size
from privacy.prg import CELL_BYTES, LANE_BYTES
from privacy.query import OutputKind
from privacy.terms import PlanKind

if TYPE_CHECKING:
    from privacy.plan import Plan

RECEIPT_MAX: Final = 1 << 25
_HEAD: Final = 1 << 12  # request, signatures, root, blinding, names of members
_HOLDER: Final = 1 << 11  # an entry of the roster, and one of the survivors
_NUMBER: Final = 26  # a double of 17 digits or a decimal below 2^62, in quotes, and a comma
_CARRIED: Final = 64  # what is around the hex digits of a carried payload


def receipt_size_max(plan: Plan) -> int:
    """Return a number of bytes that no receipt of a plan's answer exceeds."""
    width = len(plan.columns)
    names = sum(len(canonical_json(name)) + 1 for name in plan.columns)
    table = names + 2 * plan.groups * (_NUMBER * width + 3) + _keys_size(plan)
    size = _HEAD + _HOLDER * plan.holders + len(plan.to_bytes()) + table + _NUMBER * plan.cells
    return size + carried_size(plan) if plan.kind is PlanKind.DEPOSIT else size


def carried_size(plan: Plan) -> int:
    """Return the bytes of what a deposit's receipt carries: a bundle and a masked vector of each holder, and the values."""
    bundle = bundle_size(plan.holders) + plan.bundle_rider_size
    masked = CELL_BYTES * plan.cells + LANE_BYTES + plan.input_rider_size
    return plan.holders * 2 * (bundle + masked + _CARRIED) + _NUMBER * plan.values


def _keys_size(plan: Plan) -> int:
    """Return the bytes of all group keys of a table: each stands in as many rows as the other dimensions have groups."""
    sizes = {}
    for dimension in plan.group_by:
        own = sum(len(canonical_json(str(dimension.value(k)))) + 1 for k in range(dimension.size))
        sizes[dimension.column] = plan.groups // dimension.size * own
    return sum(sizes[each.column or ""] for each in plan.outputs if each.kind is OutputKind.GROUP)
