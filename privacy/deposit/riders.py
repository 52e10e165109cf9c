"""What rides beside the sealed sum of a plan over a deposit, and the keys that the sum itself carries.

The d cells of the sum are the sealing keys: 256 bits of each trustee, in a region of its own, 32 bits a cell. So nobody opens a
partial decryption before the chain has sealed the request, and then only its buyer.

    behind a bundle:         the encrypted noise and its proof (`privacy.deposit.noise`)
    behind a masked vector:  ChaCha20-Poly1305 under the trustee's key: the sums of the deposit's cells ‖ the partial decryption
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from privacy.deposit.errors import RiderRefused
from privacy.deposit.sizes import CIPHERTEXT_BYTES, KEY_CELLS, sealed_size
from privacy.encoding import WORD_BYTES

_CELL_BITS: Final = 32
_NONCE: Final = bytes(12)  # each key seals one message


def key_cells(key: bytes, index: int, holders: int) -> NDArray[np.int64]:
    """Return the vector of one trustee: its key in its region, zero elsewhere.

    Args:
        key: 32 bytes, of this session alone.
        index: the trustee's place in the roster.
        holders: n, as planned.
    """
    cells = np.zeros(KEY_CELLS * holders, dtype=np.int64)
    cells[KEY_CELLS * index : KEY_CELLS * (index + 1)] = np.frombuffer(key, dtype=">u4")
    return cells


def key_of_cells(cells: Sequence[int], index: int) -> bytes:
    """Return the key that stands in a trustee's region.

    Raises:
        RiderRefused: no key can stand there.
    """
    own = [int(cell) for cell in cells[KEY_CELLS * index : KEY_CELLS * (index + 1)]]
    if len(own) != KEY_CELLS or any(not 0 <= cell < 1 << _CELL_BITS for cell in own):
        raise RiderRefused("its region of the sum holds no key")
    return b"".join(cell.to_bytes(_CELL_BITS // 8, "big") for cell in own)


def seal(key: bytes, session: bytes, index: int, sums: bytes, partial: bytes) -> bytes:
    """Seal the sums that a trustee computed, and its partial decryption.

    Args:
        key: 32 bytes; it seals nothing else.
        session: session id.
        index: the trustee's place in the roster.
        sums: of the deposit's cells, 192 bytes a value, without noise.
        partial: as `decrypt_partially` returned it.
    """
    return ChaCha20Poly1305(key).encrypt(_NONCE, sums + partial, _bound(session, index))


def unseal(key: bytes, session: bytes, index: int, rider: bytes, *, count: int) -> tuple[bytes, bytes]:
    """Return what `seal` sealed: sums, and partial decryption.

    Raises:
        RiderRefused: it does not open, or is of another length.
    """
    if len(rider) != sealed_size(count) or len(key) != WORD_BYTES:
        raise RiderRefused(f"expected {sealed_size(count)} sealed bytes, got {len(rider)}")
    try:
        opened = ChaCha20Poly1305(key).decrypt(_NONCE, rider, _bound(session, index))
    except InvalidTag as err:
        raise RiderRefused("its partial decryption does not open under the key it contributed") from err
    end = count * CIPHERTEXT_BYTES
    return opened[:end], opened[end:]


def _bound(session: bytes, index: int) -> bytes:
    return session + index.to_bytes(2, "big")
