"""Sign-in: a nonce, a signed EIP-4361 message, and a short-lived bearer token for people in a browser."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from api.store import EdgeStore, StoredSession
from exchange.errors import SessionInvalid, SignInCrowded
from exchange.settings import Settings
from ledger.siwe import parse_message, require_sign_in
from ledger.types import Address

NONCES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class SignInSession:
    """A sign-in that was accepted. The token is given out and kept as a hash only."""

    token: str
    address: Address
    expires_at: int


class SignIn:
    """Gives out nonces and sessions.

    A token is derived from the sign-in under a key of this process, so that a repeated POST is given the same token
    and no token has to be kept.
    """

    def __init__(self, settings: Settings, store: EdgeStore) -> None:
        self._settings, self._store = settings, store
        self._key = secrets.token_bytes(32)

    def give_nonce(self, now_s: int) -> tuple[str, int]:
        """Return a fresh nonce and when it expires, in Unix seconds.

        Raises:
            SignInCrowded: too many are outstanding.
        """
        if self._store.nonce_count() >= NONCES_MAX:
            raise SignInCrowded
        nonce, expires_at = secrets.token_hex(16), now_s + self._settings.sign_in_ttl_s
        self._store.add_nonce(nonce, expires_at)
        return nonce, expires_at

    def sign_in(self, message: str, signature: bytes, *, key_hash: bytes, now_s: int) -> SignInSession:
        """Turn a signed message into a session; the same POST again gives the same one.

        Raises:
            SignInRejected: the message does not fit this server, or its account did not sign it.
            NonceInvalid: its nonce is unknown, used or expired.
            IdempotencyConflict: the account used the key for another session.
        """
        signed = require_sign_in(
            message,
            signature,
            domain=self._settings.domain,
            uri=self._settings.origin,
            chain_id=self._settings.deployment.chain_id,
            nonce=parse_message(message).nonce,  # that it was given out, once, is checked with the next write
            now=datetime.fromtimestamp(now_s, UTC),
        )
        token = self._derive(message, signature)
        session = StoredSession(signed.address, key_hash, now_s + self._settings.session_ttl_s)
        kept = self._store.begin_session(signed.nonce, _hash(token), session, now_s)
        return SignInSession(token, kept.address, kept.expires_at)

    def address_of(self, token: str, now_s: int) -> Address:
        """Return who is signed in with a token.

        Raises:
            SessionInvalid: the token is unknown or expired.
        """
        session = self._store.session(_hash(token), now_s)
        if session is None:
            raise SessionInvalid
        return session.address

    def sign_out(self, token: str) -> None:
        """End the session of a token."""
        self._store.end_session(_hash(token))

    def _derive(self, message: str, signature: bytes) -> str:
        digest = hmac.digest(self._key, hashlib.sha256(message.encode()).digest() + signature, "sha256")
        return urlsafe_b64encode(digest).decode().rstrip("=")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
