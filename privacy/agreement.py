"""Key agreement: X25519 between holders, secp256k1 between a holder and the buyer (docs/protocol.md §3).

X25519 is libsodium's: it takes keys as they are, and makes a public key in half of OpenSSL's time.
"""

import hmac

import nacl.exceptions
from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from privacy.errors import WeakKey, WordInvalid

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
COMPRESSED_BYTES = 33
X25519_BYTES = 32


def clamp(private: bytes) -> bytes:
    """Clamp 32 bytes as X25519 does, so that the stored key and the key in use are one integer.

    Source: RFC 7748 §5.
    """
    key = bytearray(private)
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def x25519_public(private: bytes) -> bytes:
    """Return the X25519 public key of a private key.

    Raises:
        WordInvalid: the private key is not 32 bytes.
    """
    _require_x25519_private(private)
    return crypto_scalarmult_base(private)


def x25519(private: bytes, public: bytes, *, sender: int | None = None) -> bytes:
    """Return the X25519 shared secret.

    Raises:
        WeakKey: the peer's key is not 32 bytes, or has low order, so the result would be all zero and known to
            everybody.
        WordInvalid: the private key is not 32 bytes.
    """
    _require_x25519_private(private)
    if len(public) != X25519_BYTES:
        raise WeakKey(f"an X25519 key must be {X25519_BYTES} bytes, not {len(public)}", sender=sender)
    try:
        return crypto_scalarmult(private, public)
    except nacl.exceptions.RuntimeError as err:
        raise WeakKey(
            "the X25519 public key has low order: the shared secret is zero", sender=sender
        ) from err


def x25519_shared(private: X25519PrivateKey, public: bytes, *, sender: int | None = None) -> bytes:
    """Return the X25519 shared secret of a key that a keystore opened; raises as `x25519`."""
    return x25519(private.private_bytes_raw(), public, sender=sender)


def require_x25519_public(public: bytes, *, sender: int | None = None) -> None:
    """Refuse a public key with which any exchange gives zero: every clamped scalar is a multiple of 8.

    Raises:
        WeakKey: the point has low order, or it is not 32 bytes.
    """
    x25519(bytes(X25519_BYTES), public, sender=sender)


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


def _require_x25519_private(private: bytes) -> None:
    """Refuse another length: libsodium's binding would take it, and read 32 bytes."""
    if len(private) != X25519_BYTES:
        raise WordInvalid(f"an X25519 private key must be {X25519_BYTES} bytes, not {len(private)}")


def _secp256k1_point(public: bytes, sender: int | None) -> PublicKey:
    if len(public) != COMPRESSED_BYTES or public[0] not in (2, 3):
        raise WeakKey("a secp256k1 key must be 33 bytes, compressed", sender=sender)
    try:
        return PublicKey(public)
    except ValueError as err:
        raise WeakKey("the key is no point of secp256k1", sender=sender) from err
