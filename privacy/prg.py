"""Key derivation, the two mask generators, and vectors in Z_2^64 with one lane in Z_q.

Every mask is added in place into one accumulator, so a session of n holders and d cells needs one vector of d
words, whatever n is.

Source: docs/protocol.md §0 and §5.
"""

import sys
from dataclasses import dataclass, field
from struct import iter_unpack

import numpy as np
import sha3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from privacy.encoding import TAG_PREFIX, keccak, word
from privacy.errors import PayloadMalformed, WordInvalid

Cells = NDArray[np.uint64]

# q, the order of BLS12-381 G1
CURVE_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
CELL_BYTES = 8
LANE_BYTES = 32
CELLS_MAX = 1 << 17  # d
UNIFORM_BYTES = 64  # reduced modulo a 255-bit number: bias below 2^-256
_ZERO_BLOCK = bytes(16)
# Masks pass through in pieces that fit a core's cache: no page faults, and no more memory than one vector.
_PIECE_BYTES = 1 << 17
_PIECE_CELLS = _PIECE_BYTES // CELL_BYTES
_ZEROS = bytes(_PIECE_BYTES)
# glibc returns freed memory to the system at once until a larger block than it was freed. Freeing one here, which is
# never touched, keeps vectors of 2^17 cells from being paged in anew each time: as much as five masks cost.
_KEPT_BYTES = 1 << 23
bytes(_KEPT_BYTES)
_CELLS_PER_BLOCK = 4  # of keccak, in the buyer's pad
_PAD_LANE_COUNTER = 1 << 64


def derive_key(ikm: bytes, session: bytes, name: str, i: int, j: int) -> bytes:
    """Derive a 32-byte key with HKDF-SHA256, bound to session, use and the two parties.

    Source: RFC 5869; docs/protocol.md §0.
    """
    info = TAG_PREFIX + name.encode("ascii") + b"\x00" + i.to_bytes(2, "big") + j.to_bytes(2, "big")
    return HKDF(algorithm=SHA256(), length=32, salt=session, info=info).derive(ikm)


@dataclass(slots=True)
class MaskedVector:
    """An accumulator: d cells in Z_2^64 and one lane in Z_q, to which masks are added in place.

    Attributes:
        cells: a writable vector that belongs to the accumulator.
        lane: reduced mod q.
    """

    cells: Cells = field(repr=False)
    lane: int = field(repr=False)

    @classmethod
    def zero(cls, cells: int) -> "MaskedVector":
        """Return the zero vector of that many cells."""
        return cls(np.zeros(cells, dtype=np.uint64), 0)

    @classmethod
    def of_payload(cls, payload: bytes, *, sender: int | None = None) -> "MaskedVector":
        """Parse cells and lane from the wire.

        Raises:
            PayloadMalformed: not 8·d + 32 bytes with 1 ≤ d ≤ 2^17, or a lane that is not below q.
        """
        cells, lane = _parse(payload, sender)
        return cls(cells.astype(np.uint64), lane)

    def payload(self) -> bytes:
        """Encode as d big-endian u64 and one word."""
        self._swap()  # in place and back: a second vector of this size costs several times as much
        encoded = b"".join((self.cells.data, self.lane.to_bytes(LANE_BYTES, "big")))
        self._swap()
        return encoded

    def add_payload(self, payload: bytes, *, sender: int | None = None) -> None:
        """Add a vector of the same number of cells as it came from the wire.

        Raises:
            PayloadMalformed: another length, or a lane that is not below q.
        """
        cells, lane = _parse(payload, sender)
        if len(cells) != len(self.cells):
            message = f"a vector must have {len(self.cells)} cells, not {len(cells)}"
            raise PayloadMalformed(message, sender=sender)
        np.add(self.cells, cells, out=self.cells)  # without a copy in native order: half the time
        self.lane = (self.lane + lane) % CURVE_ORDER

    def add_mask(self, key: bytes) -> None:
        """Add PRG(key)."""
        self.lane = (self.lane + self._mask_cells(np.add, key)) % CURVE_ORDER

    def subtract_mask(self, key: bytes) -> None:
        """Subtract PRG(key)."""
        self.lane = (self.lane - self._mask_cells(np.subtract, key)) % CURVE_ORDER

    def add_pad(self, key: bytes) -> None:
        """Add the buyer's pad of a holder."""
        self._pad_cells(np.add, key)
        self.lane = (self.lane + pad_lane(key)) % CURVE_ORDER

    def subtract_pad(self, key: bytes) -> None:
        """Subtract the buyer's pad of a holder."""
        self._pad_cells(np.subtract, key)
        self.lane = (self.lane - pad_lane(key)) % CURVE_ORDER

    def _swap(self) -> None:
        if sys.byteorder == "little":
            self.cells.byteswap(inplace=True)

    def _mask_cells(self, operation: np.ufunc, key: bytes) -> int:
        """Add or subtract the AES-256-CTR stream, piece by piece; return the lane's mask."""
        encryptor = Cipher(algorithms.AES(key), modes.CTR(_ZERO_BLOCK)).encryptor()
        lane = reduce_mod(encryptor.update(_ZEROS[:UNIFORM_BYTES]), CURVE_ORDER)
        buffer = bytearray(_PIECE_BYTES)
        stream = np.frombuffer(buffer, dtype="<u8")
        for start in range(0, len(self.cells), _PIECE_CELLS):
            length = min(_PIECE_CELLS, len(self.cells) - start)
            encryptor.update_into(_ZEROS[: CELL_BYTES * length], buffer)
            part = self.cells[start : start + length]
            operation(part, stream[:length], out=part)
        return lane

    def _pad_cells(self, operation: np.ufunc, key: bytes) -> None:
        for start in range(0, len(self.cells), _PIECE_CELLS):
            length = min(_PIECE_CELLS, len(self.cells) - start)
            part = self.cells[start : start + length]
            operation(part, pad_cells(key, start, length), out=part)


def _parse(payload: bytes, sender: int | None) -> tuple[Cells, int]:
    """Return a big-endian view of the cells, and the lane."""
    body, rest = divmod(len(payload) - LANE_BYTES, CELL_BYTES)
    if rest or not 1 <= body <= CELLS_MAX:
        message = f"a vector must be 8·d + 32 bytes with d in [1, {CELLS_MAX}], not {len(payload)}"
        raise PayloadMalformed(message, sender=sender)
    lane = int.from_bytes(payload[-LANE_BYTES:], "big")
    if lane >= CURVE_ORDER:
        raise PayloadMalformed("the last word must be below the curve order", sender=sender)
    return np.frombuffer(payload, dtype=">u8", count=body), lane


def expand(key: bytes, cells: int) -> MaskedVector:
    """Return PRG(key) as a vector of its own.

    Source: NIST SP 800-38A, CTR mode with a 128-bit counter from zero.
    """
    vector = MaskedVector.zero(cells)
    vector.add_mask(key)
    return vector


def pad_cells(key: bytes, start: int, cells: int) -> Cells:
    """Return part of the buyer's pad: keccak in counter mode, so that a contract can recompute it.

    Args:
        key: k_iB.
        start: the first cell, a multiple of 4.
        cells: how many.
    """
    first, blocks = start // _CELLS_PER_BLOCK, -(-cells // _CELLS_PER_BLOCK)
    messages = np.zeros((blocks, 64), dtype=np.uint8)
    messages[:, :32] = np.frombuffer(key, dtype=np.uint8)
    messages[:, 56:] = np.arange(first, first + blocks, dtype=">u8").view(np.uint8).reshape(blocks, 8)
    keccak_256 = sha3.keccak_256  # one call for four cells: looked up once
    stream = b"".join([keccak_256(message).digest() for (message,) in iter_unpack("64s", messages.tobytes())])
    return np.frombuffer(stream, dtype=">u8", count=cells)


def pad_lane(key: bytes) -> int:
    """Return what the buyer's pad adds to the Z_q lane."""
    return reduce_mod(b"".join(keccak(key + word(_PAD_LANE_COUNTER + k)) for k in (0, 1)), CURVE_ORDER)


def reduce_mod(stream: bytes, modulus: int) -> int:
    """Reduce 64 uniform bytes to an integer uniform modulo a 255-bit number, with bias below 2^-256."""
    if len(stream) != UNIFORM_BYTES:
        raise WordInvalid(f"a uniform integer needs {UNIFORM_BYTES} bytes, not {len(stream)}")
    return int.from_bytes(stream, "big") % modulus
