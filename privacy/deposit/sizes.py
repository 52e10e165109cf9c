"""Sizes and bounds of what a deposit, its sums and its riders are made of: what plan and receipt need, and no curve.

No library of curves is imported here, nor by `privacy.deposit.terms` and `.keys`: the second implementation of a receipt's
verification reads plans with them and checks every point by itself.

Source: docs/protocol.md, Encrypted deposit.
"""

from __future__ import annotations

from typing import Final

from privacy.encoding import WORD_BYTES

POINT_BYTES: Final = 96
CIPHERTEXT_BYTES: Final = 2 * POINT_BYTES
PROOF_BYTES: Final = 2 * WORD_BYTES
TAG_BYTES: Final = 16

KEY_CELLS: Final = 8
"""Cells of the sealed sum that hold one trustee's sealing key."""

BOUND_MAX: Final = 1 << 40
"""|m| up to which logarithms are searched for."""


def noise_size(count: int) -> int:
    """Return the bytes of one trustee's encrypted noise for that many result cells."""
    return count * CIPHERTEXT_BYTES + PROOF_BYTES


def partial_size(count: int) -> int:
    """Return the bytes of a partial decryption of that many result cells."""
    return count * POINT_BYTES + PROOF_BYTES


def sealed_size(count: int) -> int:
    """Return the bytes of a sealed rider for that many values."""
    return count * CIPHERTEXT_BYTES + partial_size(count) + TAG_BYTES
