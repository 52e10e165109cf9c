"""The shape of a score: which lanes go in, on which common grid, how wide a slot is, and what the d cells are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from privacy.errors import AnswerInvalid, PlanInvalid
from privacy.fixed_point import power_of_two
from privacy.lanes import LaneKind, find_lane, largest_cell, score_keys
from privacy.layout import cell_index
from privacy.paillier.keys import PublicKey
from privacy.paillier.packing import SlotLayout, SumBound
from privacy.query import Output, OutputKind

if TYPE_CHECKING:
    from privacy.plan import Plan

LIMB_BITS: Final = 32
LIMB_BYTES: Final = LIMB_BITS // 8
SHOWN_KINDS: Final = (LaneKind.COUNT, LaneKind.COUNT_OF)


def score_output(plan: Plan) -> Output:
    """Return the plan's one SCORE.

    Raises:
        PlanInvalid: there is none, or more than one.
    """
    found = [output for output in plan.outputs if output.kind is OutputKind.SCORE]
    if len(found) != 1:
        raise PlanInvalid(f"a plan of this kind has one SCORE, not {len(found)}")
    return found[0]


def limbs_of(key: PublicKey) -> int:
    """Return how many cells hold a ciphertext, which has twice as many bytes as n."""
    return -(-2 * key.size // LIMB_BYTES)


def to_limbs(ciphertext: int, limbs: int) -> list[int]:
    """Return a ciphertext as 32-bit limbs, the lowest first."""
    data = ciphertext.to_bytes(LIMB_BYTES * limbs, "little")
    return [int.from_bytes(data[i : i + LIMB_BYTES], "little") for i in range(0, len(data), LIMB_BYTES)]


def from_limbs(cells: Sequence[int]) -> int:
    """Return the number of some 32-bit limbs.

    Raises:
        AnswerInvalid: a cell is not in [0, 2^32).
    """
    if any(not 0 <= int(cell) < 1 << LIMB_BITS for cell in cells):
        raise AnswerInvalid(f"expected a ciphertext in limbs of {LIMB_BITS} bits without a sign")
    return int.from_bytes(b"".join([int(cell).to_bytes(LIMB_BYTES, "little") for cell in cells]), "little")


@dataclass(frozen=True, slots=True)
class ScoreShape:
    """How the noisy cells of one group become the factors of the weights.

    The factor of the intercept is the count, that of feature k its sum with the lane's centre put back,
    S_k + c_k·N: all in units of 2^-unit_bits, so all are integers.

    Attributes:
        count: the number of the count's lane.
        sums: the number of each feature's lane, in the order of SCORE.
        unit_bits: B.
        count_shift: the count's factor is its cell · 2^count_shift.
        sum_shifts: the sum's part of a feature's factor is its cell · 2^shift.
        center_factors: the centre's part of a feature's factor is this times the count's cell.
    """

    count: int
    sums: tuple[int, ...]
    unit_bits: int
    count_shift: int
    sum_shifts: tuple[int, ...]
    center_factors: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan) -> ScoreShape:
        """Return the shape of a plan that has its lanes.

        Raises:
            PlanInvalid: it lacks a lane, or has not one SCORE.
        """
        numbers = [find_lane(plan.lanes, key) for key in score_keys(score_output(plan))]
        count, sums = plan.lanes[numbers[0]], [plan.lanes[number] for number in numbers[1:]]
        grid = count.grid_bits
        unit_bits = max(grid, *(lane.scale_bits + max(lane.grid_bits, grid) for lane in sums))
        return cls(
            count=numbers[0],
            sums=tuple(numbers[1:]),
            unit_bits=unit_bits,
            count_shift=unit_bits - grid,
            sum_shifts=tuple(unit_bits - lane.scale_bits - lane.grid_bits for lane in sums),
            center_factors=tuple(lane.center << unit_bits - lane.scale_bits - grid for lane in sums),
        )

    @property
    def unit(self) -> Fraction:
        """The value of one unit of the factors."""
        return power_of_two(-self.unit_bits)

    def factors(self, plan: Plan, values: Sequence[int], group: int) -> list[int]:
        """Return the factors of the intercept and of each feature, from the noisy values of one group."""
        count = int(values[cell_index(plan, self.count, group)])
        factors = [count << self.count_shift]
        for number, shift, center in zip(self.sums, self.sum_shifts, self.center_factors, strict=True):
            total = int(values[cell_index(plan, number, group)])
            factors.append((total << shift) + center * count)
        return factors

    def coefficients(self, weights: Sequence[int]) -> list[int]:
        """Return how much one unit of the count's cell and of each sum's changes Σ W·factor."""
        centers = sum(w * center for w, center in zip(weights[1:], self.center_factors, strict=True))
        sums = [w << shift for w, shift in zip(weights[1:], self.sum_shifts, strict=True)]
        return [(weights[0] << self.count_shift) + centers, *sums]

    def bounds(self, plan: Plan) -> list[int]:
        """Return the largest absolute factor of the intercept and of each feature, noise tails included."""
        count = largest_cell(plan.lanes[self.count], plan.setting)
        bounds = [count << self.count_shift]
        for number, shift, center in zip(self.sums, self.sum_shifts, self.center_factors, strict=True):
            total = largest_cell(plan.lanes[number], plan.setting)
            bounds.append((total << shift) + abs(center) * count)
        return bounds

    def layout(self, plan: Plan, key: PublicKey, weight_bits: int) -> SlotLayout:
        """Return the narrowest slots that no weights within the bound overflow.

        Raises:
            SlotOverflow: even one slot does not fit the key.
        """
        return SlotLayout.for_bound(key, SumBound(1, 1 << weight_bits, sum(self.bounds(plan))))


def shown_lanes(plan: Plan) -> tuple[int, ...]:
    """Return the numbers of the lanes whose noisy values are cells of the answer: the counts."""
    return tuple(number for number, lane in enumerate(plan.lanes) if lane.kind in SHOWN_KINDS)


def cell_count(plan: Plan, key: PublicKey, layout: SlotLayout) -> int:
    """Return d: the values of the shown lanes, and the limbs of every ciphertext."""
    return len(shown_lanes(plan)) * plan.groups + layout.plaintexts(plan.groups) * limbs_of(key)
