"""Key agreement: X25519 between holders, secp256k1 between a holder and the buyer (docs/protocol.md §3)."""

import hmac

from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from privacy.errors import WeakKey

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
COMPRESSED_BYTES = 33


def clamp(private: bytes) -> bytes:
    """Clamp 32 bytes as X25519 does, so that the stored key and the key in use are one integer.

    Source: RFC 7748 §5.
    """
    key = bytearray(private)
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def x25519_public(private: bytes) -> bytes:
    """Return the X25519 public key of a private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519_shared(private: X25519PrivateKey, public: bytes, *, sender: int | None = None) -> bytes:
    """Return the X25519 shared secret.

    Raises:
        WeakKey: the peer's point has low order, so the result would be all zero and known to everybody.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as err:
        raise WeakKey(
            "the X25519 public key has low order: the shared secret is zero", sender=sender
        ) from err


def require_x25519_public(public: bytes, *, sender: int | None = None) -> None:
    """Refuse a public key with which any exchange gives zero: every clamped scalar is a multiple of 8.

    Raises:
        WeakKey: the point has low order.
    """
    x25519_shared(X25519PrivateKey.from_private_bytes(clamp(bytes(32))), public, sender=sender)


def is_x25519_pair(private: bytes, public: bytes) -> bool:
    """Tell whether a private key belongs to a public key, in constant time."""
    return hmac.compare_digest(x25519_public(private), public)


def secp256k1_public(secret: bytes) -> bytes:
    """Return the compressed public key of a secp256k1 secret."""
    return PrivateKey(secret).public_key.format(compressed=True)


def require_secp256k1_public(public: bytes, *, sender: int | None = None) -> None:
    """Refuse bytes that are no compressed point of secp256k1.

    Raises:
        WeakKey: another length or prefix, or no point of the curve.
    """
    _secp256k1_point(public, sender)


def secp256k1_shared(secret: bytes, public: bytes, *, sender: int | None = None) -> tuple[bytes, bytes]:
    """Return the affine coordinates of secret·public, 32 bytes each.

    Raises:
        WeakKey: the public key is no compressed point of secp256k1.
    """
    shared = _secp256k1_point(public, sender).multiply(secret).format(compressed=False)
    return shared[1:33], shared[33:]


def _secp256k1_point(public: bytes, sender: int | None) -> PublicKey:
    if len(public) != COMPRESSED_BYTES or public[0] not in (2, 3):
        raise WeakKey("a secp256k1 key must be 33 bytes, compressed", sender=sender)
    try:
        return PublicKey(public)
    except ValueError as err:
        raise WeakKey("the key is no point of secp256k1", sender=sender) from err
