"""The masked answer Y: its chunks and root on the chain, and the buyer's way to the sums.

Source: docs/protocol.md §5.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from privacy.agreement import SECP256K1_ORDER, secp256k1_public
from privacy.curve import SignedCells, require_cells
from privacy.encoding import WORD_BYTES, keccak, tagged_hash
from privacy.errors import AnswerMalformed, StateCorrupt
from privacy.prg import (
    CELL_BYTES,
    CELLS_MAX,
    CURVE_ORDER,
    LANE_BYTES,
    UNIFORM_BYTES,
    MaskedVector,
    reduce_mod,
)
from privacy.sealed_sum_holder import holder_pad
from privacy.sealed_sum_secrets import Rand
from privacy.tree import root_of_path, tree_path, tree_root

CHUNK_CELLS = 256
_NODE_NAME = "answer-node"


@dataclass(frozen=True, slots=True)
class BuyerKey:
    """b_req and B_req: one secp256k1 key pair for one request.

    Attributes:
        secret: 32 bytes; it opens the answer and never leaves the buyer, but in a dispute.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != WORD_BYTES or not 0 < int.from_bytes(self.secret, "big") < SECP256K1_ORDER:
            raise StateCorrupt("request key: expected 32 bytes in [1, order of secp256k1)")

    @classmethod
    def generate(cls, rand: Rand) -> "BuyerKey":
        """Draw a key; `rand` returns that many bytes of the system's randomness."""
        secret = 1 + reduce_mod(rand(UNIFORM_BYTES), SECP256K1_ORDER - 1)
        return cls(secret.to_bytes(WORD_BYTES, "big"))

    @property
    def compressed(self) -> bytes:
        """B_req in 33 bytes."""
        return secp256k1_public(self.secret)

    @property
    def x(self) -> bytes:
        """The request's keyX."""
        return self.compressed[1:]

    @property
    def parity(self) -> int:
        """The request's keyParity, 2 or 3."""
        return self.compressed[0]


def compressed_key(x: bytes, parity: int) -> bytes:
    """Join a request's keyX and keyParity to 33 bytes."""
    return bytes([parity]) + x


def buyer_pad(session: bytes, index: int, secret: bytes, e_compressed: bytes) -> bytes:
    """Return k_iB as the buyer derives it, from b_req and E_i (33 bytes).

    Raises:
        WeakKey: E_i is no point.
    """
    return holder_pad(session, index, secret, e_compressed)


def cell_count(payload: bytes) -> int:
    """Return d of a masked answer.

    Raises:
        AnswerMalformed: not 8·d + 32 bytes with 1 ≤ d ≤ 2^17.
    """
    cells, rest = divmod(len(payload) - LANE_BYTES, CELL_BYTES)
    if rest or not 1 <= cells <= CELLS_MAX:
        raise AnswerMalformed(f"answer: expected 8·d + 32 bytes, got {len(payload)}")
    return cells


def chunk_count(cells: int) -> int:
    """Return how many chunks an answer of d cells has."""
    return -(-cells // CHUNK_CELLS)


def answer_chunk(payload: bytes, k: int) -> bytes:
    """Return chunk k: cells 256·k … 256·k + 255; the last one carries the Z_q lane as well.

    Raises:
        AnswerMalformed: no such chunk.
    """
    chunks = chunk_count(cell_count(payload))
    if not 0 <= k < chunks:
        raise AnswerMalformed(f"chunk: expected 0 to {chunks - 1}, got {k}")
    start = k * CHUNK_CELLS * CELL_BYTES
    return payload[start:] if k == chunks - 1 else payload[start : start + CHUNK_CELLS * CELL_BYTES]


def answer_root(session: bytes, payload: bytes) -> bytes:
    """Return H("answer"; session, d, tree root), which the broker posts.

    Raises:
        AnswerMalformed: bytes of no vector.
    """
    return tagged_hash(
        "answer", session, cell_count(payload), tree_root(_NODE_NAME, _leaves(session, payload))
    )


def chunk_path(session: bytes, payload: bytes, k: int) -> list[bytes]:
    """Return the siblings of chunk k, from the leaf up.

    Raises:
        AnswerMalformed: no such chunk.
    """
    answer_chunk(payload, k)
    return tree_path(_NODE_NAME, _leaves(session, payload), k)


def verify_chunk(
    root: bytes, session: bytes, cells: int, k: int, chunk: bytes, path: Sequence[bytes]
) -> None:
    """Require that a chunk belongs to an answer root.

    Raises:
        AnswerMalformed: another chunk, place, session, length or number of cells.
    """
    chunks = chunk_count(cells)
    if not 0 <= k < chunks:
        raise AnswerMalformed(f"chunk: expected 0 to {chunks - 1}, got {k}")
    last = CELL_BYTES * (cells - k * CHUNK_CELLS) + LANE_BYTES
    expected = last if k == chunks - 1 else CELL_BYTES * CHUNK_CELLS
    if len(chunk) != expected:
        raise AnswerMalformed(f"chunk {k}: expected {expected} bytes, got {len(chunk)}")
    top = root_of_path(_NODE_NAME, _leaf(session, k, chunk), k, chunks, path)
    if top is None or tagged_hash("answer", session, cells, top) != root:
        raise AnswerMalformed(f"chunk {k} does not belong to the answer root")


def remove_pads(payload: bytes, pads: Collection[bytes]) -> tuple[SignedCells, int]:
    """Subtract the pads of the survivors.

    Args:
        payload: Y.
        pads: k_iB of each survivor.

    Returns:
        X, signed, and R mod q.

    Raises:
        AnswerMalformed: bytes of no vector.
        CellOutOfRange: |X_j| ≥ 2^62: a wrong sum or a wrong pad.
    """
    cell_count(payload)
    vector = MaskedVector.of_payload(payload)
    for pad in pads:
        vector.subtract_pad(pad)
    cells = vector.cells.view(np.int64)
    require_cells(cells)
    return cells, vector.lane


def apply_pads(cells: SignedCells, blinding: int, pads: Collection[bytes]) -> bytes:
    """Return Y of sums and pads: with the pads, anyone can check an answer against the root on the chain.

    Raises:
        AnswerMalformed: no cells, more than 2^17, or a blinding that is not reduced mod q.
        CellOutOfRange: |X_j| ≥ 2^62.
    """
    if not 1 <= len(cells) <= CELLS_MAX or not 0 <= blinding < CURVE_ORDER:
        raise AnswerMalformed(f"answer: expected 1 to {CELLS_MAX} cells and a blinding below q")
    require_cells(cells)
    vector = MaskedVector.of_signed(cells, blinding)
    for pad in pads:
        vector.add_pad(pad)
    return vector.payload()


def _leaves(session: bytes, payload: bytes) -> list[bytes]:
    return [_leaf(session, k, answer_chunk(payload, k)) for k in range(chunk_count(cell_count(payload)))]


def _leaf(session: bytes, k: int, chunk: bytes) -> bytes:
    return tagged_hash("answer-leaf", session, k, keccak(chunk))
