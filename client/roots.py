"""The answer root from a receipt's cells and pads, written from docs/protocol.md §5 for the verifier alone.

It shares neither code with the broker's side nor an import with the fast curve library, so that the second
implementation stays one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from privacy.encoding import keccak, tagged_hash
from privacy.prg import CELL_BYTES, LANE_BYTES, MaskedVector

CHUNK_CELLS: Final = 256


def answer_root_of(session: bytes, cells: Sequence[int], blinding: int, pads: Iterable[bytes]) -> bytes:
    """Return H("answer"; session, d, tree root) of Y = X + Σ pads.

    Args:
        session: session id.
        cells: X, signed, |X_j| < 2^62, at least one.
        blinding: R, below q.
        pads: k_iB of each survivor.
    """
    vector = MaskedVector(np.array(cells, dtype=np.int64).view(np.uint64), blinding)
    for pad in pads:
        vector.add_pad(pad)
    payload = vector.payload()
    step, last = CHUNK_CELLS * CELL_BYTES, len(payload) - LANE_BYTES
    starts = list(range(0, last, step))
    chunks = [payload[start : start + step] for start in starts[:-1]] + [payload[starts[-1] :]]
    leaves = [tagged_hash("answer-leaf", session, k, keccak(chunk)) for k, chunk in enumerate(chunks)]
    return tagged_hash("answer", session, len(cells), _tree(leaves))


def _tree(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a tree of the shape of RFC 6962."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return tagged_hash("answer-node", _tree(leaves[:split]), _tree(leaves[split:]))
