"""Many signed sums in one plaintext, in slots of whole bytes with a sign; no sum ever carries into its neighbour.

Slot i of a plaintext P holds the coefficient of 2^(8·b·i): P = Σ v_i·2^(8·b·i) over the integers, |v_i| < 2^(8·b − 1).
Such an expansion is unique, so sums of packed plaintexts are packed sums as long as each sum stays in its range. The
range is proved from bounds before any work: that is what `SumBound` and `require_bound` are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from privacy.paillier.encrypt import VECTOR_MAX
from privacy.paillier.errors import LengthMismatch, PackingInvalid, SlotOverflow
from privacy.paillier.keys import KEY_BITS_MAX, PublicKey

SLOT_BYTES_MAX: Final = KEY_BITS_MAX // 8
RESERVED_BITS: Final = 2  # 2^(bits − 2) is below a third of n: the sign, and the middle third of an overflow


@dataclass(frozen=True, slots=True)
class SumBound:
    """How large a sum Σ w·x + noise can become.

    Attributes:
        terms: the most products that are added, rows times weights.
        weight_max: max |w| in fixed point, at least 1.
        value_max: max |x| in fixed point.
        noise_max: max |noise|, its tail cut where the probability of more is negligible; or a mask.
    """

    terms: int
    weight_max: int
    value_max: int
    noise_max: int = 0

    def __post_init__(self) -> None:
        # a weight of at least 1 makes the bound one for the values and the noise too, which are packed themselves
        if min(self.terms, self.weight_max) < 1 or min(self.value_max, self.noise_max) < 0:
            raise PackingInvalid(
                "expected at least one term, a weight bound of at least 1, no negative bound"
            )

    @property
    def largest(self) -> int:
        """terms · max|w| · max|x| + max|noise|."""
        return self.terms * self.weight_max * self.value_max + self.noise_max


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """The width of a slot and the number of slots in a plaintext.

    Attributes:
        slot_bytes: b, 1 … 768.
        slots: k ≥ 1; a key holds them when 8·b·k is at most its bits less 2.
    """

    slot_bytes: int
    slots: int

    def __post_init__(self) -> None:
        if not 1 <= self.slot_bytes <= SLOT_BYTES_MAX or self.slots < 1:
            raise PackingInvalid(f"expected slots of 1 to {SLOT_BYTES_MAX} bytes, and at least one of them")
        if self.slot_bytes * self.slots > SLOT_BYTES_MAX:
            raise PackingInvalid(
                f"expected at most {SLOT_BYTES_MAX} bytes, got {self.slot_bytes}·{self.slots}"
            )

    @classmethod
    def for_bound(cls, key: PublicKey, bound: SumBound) -> SlotLayout:
        """Return the layout with the narrowest slots that a bound fits, as many as the key holds.

        Raises:
            SlotOverflow: the sum does not even fit the whole plaintext.
        """
        slot_bytes = (bound.largest.bit_length() + 1 + 7) // 8
        slots = (key.n.bit_length() - RESERVED_BITS) // (8 * slot_bytes)
        if not slots:
            raise SlotOverflow(
                f"expected a sum of at most {key.n.bit_length() - RESERVED_BITS - 1} bits, "
                f"got a bound of {bound.largest.bit_length()}"
            )
        return cls(slot_bytes, slots)

    @property
    def value_max(self) -> int:
        """The largest absolute value of a slot: 2^(8·b − 1) − 1."""
        return (1 << 8 * self.slot_bytes - 1) - 1

    def require_key(self, key: PublicKey) -> None:
        """Refuse a key that cannot hold the slots.

        Raises:
            PackingInvalid: 8·b·k is above the key's bits less 2.
        """
        most = key.n.bit_length() - RESERVED_BITS
        if 8 * self.slot_bytes * self.slots > most:
            raise PackingInvalid(
                f"expected at most {most} bits of slots, got {8 * self.slot_bytes * self.slots}"
            )

    def require_bound(self, bound: SumBound) -> None:
        """Refuse work whose sums could leave their slots.

        Raises:
            SlotOverflow: the bound is 2^(8·b − 1) or more.
        """
        if bound.largest > self.value_max:
            raise SlotOverflow(
                f"expected sums below 2^{8 * self.slot_bytes - 1}, "
                f"got a bound of {bound.largest.bit_length()} bits"
            )

    def plaintexts(self, count: int) -> int:
        """Return how many plaintexts hold `count` values."""
        return -(-count // self.slots)


def pack(values: Sequence[int], layout: SlotLayout) -> list[int]:
    """Pack signed values, the first into slot 0 of the first plaintext.

    Returns:
        plaintexts for `encrypt`; the slots after the last value hold 0.

    Raises:
        LengthMismatch: no value, or more than 2^17.
        SlotOverflow: a value does not fit; nothing is packed then.
    """
    _require_count(len(values))
    half, offset = layout.value_max + 1, _offset(layout)
    if max(values) >= half or min(values) <= -half:
        raise SlotOverflow(f"expected values below 2^{8 * layout.slot_bytes - 1}, got a larger one")
    width = layout.slot_bytes
    packed = []
    for start in range(0, len(values), layout.slots):
        part = values[start : start + layout.slots]
        # raised by half a slot each, the values are bytes side by side
        raised = b"".join([(int(value) + half).to_bytes(width, "little") for value in part])
        packed.append(int.from_bytes(raised, "little") - (offset & (1 << 8 * len(raised)) - 1))
    return packed


def unpack(plaintexts: Sequence[int], layout: SlotLayout, *, count: int) -> list[int]:
    """Read `count` signed values back.

    Raises:
        LengthMismatch: the number of plaintexts is not the one that holds `count` values.
        SlotOverflow: a plaintext is not one of slots in range, or a slot after the last value is not 0.
    """
    _require_count(count)
    if len(plaintexts) != layout.plaintexts(count):
        raise LengthMismatch(f"expected {layout.plaintexts(count)} plaintexts, got {len(plaintexts)}")
    width, half, offset = layout.slot_bytes, layout.value_max + 1, _offset(layout)
    total = width * layout.slots
    values: list[int] = []
    for plaintext in plaintexts:
        raised = plaintext + offset
        if raised < 0 or raised.bit_length() > 8 * total:
            raise SlotOverflow("expected a plaintext of slots in range, got a larger one")
        data = raised.to_bytes(total, "little")
        values += [int.from_bytes(data[i : i + width], "little") - half for i in range(0, total, width)]
    if -half in values or any(values[count:]):
        raise SlotOverflow("expected slots in range and zeros after the last value")
    return values[:count]


def _offset(layout: SlotLayout) -> int:
    """Return half a slot in every slot."""
    return int.from_bytes((bytes(layout.slot_bytes - 1) + b"\x80") * layout.slots, "little")


def _require_count(count: int) -> None:
    if not 1 <= count <= VECTOR_MAX:
        raise LengthMismatch(f"expected 1 to {VECTOR_MAX} values, got {count}")
