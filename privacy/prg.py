"""Key derivation, the two mask generators, and vectors in Z_2^64 with one lane in Z_q.

Every mask is expanded into one buffer and added in place into one accumulator, so a session of n holders and d
cells needs two vectors of d words, whatever n is.

Source: docs/protocol.md §0 and §5.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privacy.encoding import TAG_PREFIX
from privacy.errors import PayloadMalformed, WordInvalid

Cells = NDArray[np.uint64]

# q, the order of BLS12-381 G1
CURVE_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
CELL_BYTES = 8
LANE_BYTES = 32
CELLS_MAX = 1 << 17  # d
UNIFORM_BYTES = 64  # reduced modulo a 255-bit number: bias below 2^-256
_WIRE = np.dtype("<u8")
_ZERO_BLOCK = bytes(16)
_ZERO_NONCE = bytes(12)
_ZEROS = memoryview(
    bytes(UNIFORM_BYTES + CELLS_MAX * CELL_BYTES)
)  # never written, so all of it is one page of the system's
# glibc returns freed memory to the system at once until a larger block than it was freed. Freeing one here, which is
# never touched, keeps vectors of 2^17 cells from being paged in anew each time: as much as five masks cost.
_KEPT_BYTES = 1 << 23
bytes(_KEPT_BYTES)


def derive_key(ikm: bytes, session: bytes, name: str, i: int, j: int) -> bytes:
    """Derive a 32-byte key with HKDF-SHA256, bound to session, use and the two parties.

    Source: RFC 5869 (32 bytes are one block of its expansion); docs/protocol.md §0.
    """
    info = TAG_PREFIX + name.encode("ascii") + b"\x00" + i.to_bytes(2, "big") + j.to_bytes(2, "big")
    return hmac.digest(hmac.digest(session, ikm, "sha256"), info + b"\x01", "sha256")


@dataclass(slots=True)
class MaskedVector:
    """An accumulator: d cells in Z_2^64 and one lane in Z_q, to which masks are added in place.

    Attributes:
        cells: a vector that belongs to the accumulator or, if it is read-only, to somebody else: then what is first
            added makes one of its own, which costs no pass over it more.
        lane: reduced mod q.
    """

    cells: Cells = field(repr=False)
    lane: int = field(repr=False)
    _stream: NDArray[np.uint8] | None = field(init=False, default=None, repr=False, compare=False)

    @classmethod
    def zero(cls, cells: int) -> "MaskedVector":
        """Return the zero vector of that many cells."""
        return cls(np.zeros(cells, dtype=np.uint64), 0)

    @classmethod
    def of_signed(cls, cells: NDArray[np.integer[Any]], lane: int) -> "MaskedVector":
        """Start from signed cells, which stay as they are, and a lane that is reduced mod q."""
        view = np.ascontiguousarray(cells, dtype=np.int64).view(np.uint64)
        view.flags.writeable = False
        return cls(view, lane)

    @classmethod
    def of_payload(cls, payload: bytes, *, sender: int | None = None) -> "MaskedVector":
        """Parse cells and lane from the wire.

        Raises:
            PayloadMalformed: not 8·d + 32 bytes with 1 ≤ d ≤ 2^17, or a lane that is not below q.
        """
        cells, lane = _parse(payload, sender)
        return cls(cells, lane)

    def payload(self) -> bytes:
        """Encode as d little-endian u64 and one word."""
        wire = self.cells.astype(_WIRE, copy=False)
        return b"".join((wire.data, self.lane.to_bytes(LANE_BYTES, "big")))

    def add_payload(self, payload: bytes, *, sender: int | None = None) -> None:
        """Add a vector of the same number of cells as it came from the wire.

        Raises:
            PayloadMalformed: another length, or a lane that is not below q.
        """
        cells, lane = _parse(payload, sender)
        if len(cells) != len(self.cells):
            message = f"a vector must have {len(self.cells)} cells, not {len(cells)}"
            raise PayloadMalformed(message, sender=sender)
        self._combine(np.add, cells)
        self.lane = (self.lane + lane) % CURVE_ORDER

    def add_mask(self, key: bytes) -> None:
        """Add PRG(key)."""
        self.lane = (self.lane + self._apply(np.add, _write_mask, key)) % CURVE_ORDER

    def subtract_mask(self, key: bytes) -> None:
        """Subtract PRG(key)."""
        self.lane = (self.lane - self._apply(np.subtract, _write_mask, key)) % CURVE_ORDER

    def add_pad(self, key: bytes) -> None:
        """Add the buyer's pad of a holder."""
        self.lane = (self.lane + self._apply(np.add, _write_pad, key)) % CURVE_ORDER

    def subtract_pad(self, key: bytes) -> None:
        """Subtract the buyer's pad of a holder."""
        self.lane = (self.lane - self._apply(np.subtract, _write_pad, key)) % CURVE_ORDER

    def _apply(self, operation: np.ufunc, write: Callable[[bytes, memoryview], None], key: bytes) -> int:
        """Add or subtract the cells of a key stream; return what it holds for the Z_q lane."""
        if self._stream is None:  # kept: a new one for each mask costs a third of it
            self._stream = np.empty(UNIFORM_BYTES + CELL_BYTES * len(self.cells), dtype=np.uint8)
        buffer = self._stream
        write(key, buffer.data)
        self._combine(operation, buffer[UNIFORM_BYTES:].view(_WIRE))
        return int.from_bytes(buffer[:UNIFORM_BYTES].tobytes(), "little") % CURVE_ORDER

    def _combine(self, operation: np.ufunc, cells: Cells) -> None:
        """Add or subtract cells, in place once the accumulator has its own."""
        self.cells = operation(self.cells, cells, out=self.cells if self.cells.flags.writeable else None)


def _write_mask(key: bytes, into: memoryview) -> None:
    """Fill a buffer with PRG(key) between holders: AES-256-CTR, first counter block 2.

    It is the stream inside GCM with a nonce of zeros. OpenSSL 4.0 has wide AES instructions for GCM and not for CTR:
    a vector takes 80 µs instead of 105, although GCM's tag, which nobody reads, is computed too.

    Source: NIST SP 800-38A §6.5; NIST SP 800-38D §7.1 (inc32 of J0 is the first counter block).
    """
    encryptor = Cipher(algorithms.AES(key), modes.GCM(_ZERO_NONCE)).encryptor()
    encryptor.update_into(_ZEROS[: len(into)], into)


def _write_pad(key: bytes, into: memoryview) -> None:
    """Fill a buffer with the buyer's pad: ChaCha20, which a contract can recompute (contracts/src/ChaCha20.sol).

    Nonce and counter start at zero: the key is of one request and one holder, and is used once.

    Source: RFC 8439 §2.4; docs/adr/0006-buyer-pad-chacha20.md.
    """
    encryptor = Cipher(algorithms.ChaCha20(key, _ZERO_BLOCK), None).encryptor()
    encryptor.update_into(_ZEROS[: len(into)], into)


def _parse(payload: bytes, sender: int | None) -> tuple[Cells, int]:
    """Return a read-only view of the cells, and the lane."""
    body, rest = divmod(len(payload) - LANE_BYTES, CELL_BYTES)
    if rest or not 1 <= body <= CELLS_MAX:
        message = f"a vector must be 8·d + 32 bytes with d in [1, {CELLS_MAX}], not {len(payload)}"
        raise PayloadMalformed(message, sender=sender)
    lane = int.from_bytes(payload[-LANE_BYTES:], "big")
    if lane >= CURVE_ORDER:
        raise PayloadMalformed("the last word must be below the curve order", sender=sender)
    cells = np.frombuffer(payload, dtype=_WIRE, count=body)
    cells.flags.writeable = False  # also where the payload is no bytes object
    return cells, lane


def reduce_mod(stream: bytes, modulus: int) -> int:
    """Reduce 64 uniform bytes to an integer uniform modulo a 255-bit number, with bias below 2^-256."""
    if len(stream) != UNIFORM_BYTES:
        raise WordInvalid(f"a uniform integer needs {UNIFORM_BYTES} bytes, not {len(stream)}")
    return int.from_bytes(stream, "big") % modulus
