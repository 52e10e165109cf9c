"""The private key of each request, encrypted at rest under the buyer's account key."""

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
    """Seals request keys with ChaCha20-Poly1305 under HKDF-SHA256 of the buyer's account key.

    Whoever has the store but not the account key learns no answer. Each sealed key is bound to its request
    id, so that keys cannot be exchanged between rows.

    Args:
        signer: the buyer's account.
    """

    __slots__ = ("_aead",)

    def __init__(self, signer: Signer) -> None:
        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=bytes(signer.address), info=_INFO)
        self._aead = ChaCha20Poly1305(kdf.derive(signer.raw_private_key()))

    def seal(self, key: bytes, request_id: bytes) -> bytes:
        """Encrypt a request's private key.

        Returns:
            version(1) ‖ nonce(12) ‖ ciphertext and tag(48).
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, key, request_id)

    def open(self, sealed: bytes, request_id: bytes) -> bytes:
        """Decrypt a request's private key.

        Raises:
            StoreError: sealed by another account, for another request, or altered.
        """
        if sealed[:1] != _VERSION or len(sealed) != 1 + _NONCE_BYTES + KEY_BYTES + 16:
            raise StoreError(f"a stored request key has an unknown form ({len(sealed)} bytes)")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], request_id)
        except InvalidTag as err:
            raise StoreError("a stored request key does not open with this account's key") from err
