"""Shares modulo 2^96, and the two limbs in which each goes through the sealed sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from privacy.join.errors import ValueOutOfRange
from privacy.join.terms import SHARE_BITS, SHARE_MODULUS

LIMB_BITS: Final = SHARE_BITS // 2
LIMBS: Final = 2
_LIMB = 1 << LIMB_BITS


def add_to_shares(shares: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Add signed numbers, as noise is, to shares.

    Raises:
        ValueOutOfRange: another number of them.
    """
    if len(shares) != len(numbers):
        raise ValueOutOfRange(f"expected {len(shares)} numbers, got {len(numbers)}")
    return [(share + number) % SHARE_MODULUS for share, number in zip(shares, numbers, strict=True)]


def to_limbs(shares: Sequence[int]) -> list[int]:
    """Split shares into cells: limb l of value j is cell l·values + j.

    Returns:
        2·values integers in 0 … 2^48 − 1.

    Raises:
        ValueOutOfRange: a share that is not in 0 … 2^96 − 1.
    """
    if any(not 0 <= share < SHARE_MODULUS for share in shares):
        raise ValueOutOfRange(f"expected shares in 0 … 2^{SHARE_BITS} − 1")
    return [share % _LIMB for share in shares] + [share >> LIMB_BITS for share in shares]


def from_limbs(cells: Sequence[int]) -> list[int]:
    """Return the signed values of sums of limbs: X_0 + 2^48·X_1 modulo 2^96, read with its sign.

    Raises:
        ValueOutOfRange: an odd number of cells.
    """
    values, rest = divmod(len(cells), LIMBS)
    if rest:
        raise ValueOutOfRange(f"expected {LIMBS} cells for each value, got {len(cells)}")
    sums = [(cells[j] + (cells[values + j] << LIMB_BITS)) % SHARE_MODULUS for j in range(values)]
    return [each - SHARE_MODULUS if each >= SHARE_MODULUS // 2 else each for each in sums]
