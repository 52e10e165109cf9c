"""The buyer's secrets, the private key of each request above all, encrypted at rest under its account key."""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from client.errors import StoreError
from ledger.signing import Signer

_INFO: Final = b"shuyao/v1/client-store"
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


class Vault:
    """Seals secrets with ChaCha20-Poly1305 under HKDF-SHA256 of the buyer's account key.

    Whoever has the store but not the account key learns no answer and no model. Each sealed key is bound to its request
    id, and each other secret to what it is for, so that they cannot be exchanged between rows.

    Args:
        signer: the buyer's account.
    """

    __slots__ = ("_aead",)

    def __init__(self, signer: Signer) -> None:
        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=bytes(signer.address), info=_INFO)
        self._aead = ChaCha20Poly1305(kdf.derive(signer.raw_private_key()))

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret and bind it to its context, which is a request's id for its private key.

        Returns:
            version(1) ‖ nonce(12) ‖ ciphertext ‖ tag(16).
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret, context)

    def open(self, sealed: bytes, request_id: bytes) -> bytes:
        """Decrypt a request's private key.

        Raises:
            StoreError: sealed by another account, for another request, or altered.
        """
        if sealed[:1] != _VERSION or len(sealed) != 1 + _NONCE_BYTES + KEY_BYTES + 16:
            raise StoreError(f"a stored request key has an unknown form ({len(sealed)} bytes)")
        return self.open_secret(sealed, request_id, "request key")

    def open_secret(self, sealed: bytes, context: bytes, what: str) -> bytes:
        """Decrypt a secret of any length.

        Args:
            sealed: what `seal` returned.
            context: what it was bound to.
            what: its name in messages.

        Raises:
            StoreError: sealed by another account, for something else, or altered.
        """
        if sealed[:1] != _VERSION:
            raise StoreError(f"a stored {what} has an unknown form ({len(sealed)} bytes)")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], context)
        except (InvalidTag, ValueError) as err:
            raise StoreError(f"a stored {what} does not open with this account's key") from err
