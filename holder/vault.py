"""Secrets at rest: ChaCha20-Poly1305 under a key derived from the holder's account key.

A sealed value is bound to where it stands (request, name), so that nothing can be moved between rows. The database
alone, or a backup of it, therefore reveals no session secret, cell, blinding or share.

Source: RFC 8439 (AEAD), RFC 5869 (HKDF).
"""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holder.errors import VaultLocked
from ledger.signing import Signer

VERSION: Final = b"\x01"
NONCE_BYTES: Final = 12


def derive_key(signer: Signer, name: str) -> bytes:
    """Return the 32-byte key of one use, derived from the account key.

    Args:
        signer: the holder's account.
        name: the use, part of the derivation.
    """
    info = b"shuyao/v1/" + name.encode("ascii")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(signer.raw_private_key())


class Vault:
    """Seals and opens stored secrets. The key cannot be printed."""

    __slots__ = ("_aead",)

    def __init__(self, signer: Signer) -> None:
        self._aead = ChaCha20Poly1305(derive_key(signer, "holder-vault"))

    def seal(self, place: bytes, name: str, value: bytes) -> bytes:
        """Encrypt `value` for one place.

        Args:
            place: the request id, or another fixed-length key of the row.
            name: what it is.
            value: the secret.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._aead.encrypt(nonce, value, _bind(place, name))

    def open(self, place: bytes, name: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` wrote for this place.

        Raises:
            VaultLocked: another key, another place, or altered bytes.
        """
        if sealed[:1] != VERSION:
            raise VaultLocked(f"the stored {name} has an unknown version")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, body, _bind(place, name))
        except (InvalidTag, ValueError) as err:
            raise VaultLocked(f"the stored {name} does not open under this holder's key") from err


def _bind(place: bytes, name: str) -> bytes:
    label = name.encode("utf-8")
    return len(place).to_bytes(2, "big") + place + label
