"""secp256k1 signatures in the one form that the protocol accepts.

Source: docs/protocol.md §0; SEC 1 §4.1; EIP-2 (low s).
"""

from __future__ import annotations

import secrets
from typing import Final

from coincurve import PrivateKey, PublicKey

from ledger.encoding import keccak
from ledger.errors import BadSignature, MalformedValue
from ledger.types import Address, to_hex

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SIGNATURE_LENGTH: Final = 65


class Signer:
    """One secp256k1 account key. It signs digests; the key itself cannot be printed.

    Args:
        private_key: 32 bytes, an integer in [1, order).

    Raises:
        MalformedValue: the bytes are no private key.
    """

    __slots__ = ("_key", "address", "public_key")

    def __init__(self, private_key: bytes) -> None:
        if len(private_key) != 32 or not 0 < int.from_bytes(private_key, "big") < ORDER:
            raise MalformedValue("private key", "32 bytes in [1, order)", f"{len(private_key)} bytes")
        self._key = PrivateKey(private_key)
        self.public_key: bytes = self._key.public_key.format(compressed=True)
        self.address: Address = address_of(self.public_key)

    @classmethod
    def generate(cls) -> Signer:
        """Make a fresh key from the system's randomness."""
        return cls((1 + secrets.randbelow(ORDER - 1)).to_bytes(32, "big"))

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest (RFC 6979, so the same digest gives the same bytes).

        Returns:
            r ‖ s ‖ v, 65 bytes, v 27 or 28, s in the lower half.
        """
        if len(digest) != 32:
            raise MalformedValue("digest", "32 bytes", f"{len(digest)} bytes")
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def raw_private_key(self) -> bytes:
        """Return the private key. For the keystore and nothing else."""
        return self._key.secret

    def __repr__(self) -> str:
        return f"Signer({to_hex(self.address)})"

    def __reduce__(self) -> str:
        raise TypeError("a Signer is never serialised; use the keystore")


def address_of(public_key: bytes) -> Address:
    """Return the account address of a compressed or uncompressed secp256k1 public key.

    Raises:
        MalformedValue: the bytes are no point of the curve.
    """
    try:
        point = PublicKey(public_key).format(compressed=False)
    except ValueError as err:
        raise MalformedValue("public key", "a point of secp256k1", f"{len(public_key)} bytes") from err
    return Address(keccak(point[1:])[12:])


def recover(digest: bytes, signature: bytes) -> Address:
    """Return the account that signed `digest`.

    Raises:
        BadSignature: not 65 bytes, v not 27 or 28, s in the upper half, r or s zero or out of range, or no
            public key recovers.
    """
    if len(signature) != SIGNATURE_LENGTH or len(digest) != 32:
        lengths = f"{len(signature)} and {len(digest)}"
        raise BadSignature(f"expected a 65-byte signature of a 32-byte digest, got {lengths} bytes")
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if v not in (27, 28):
        raise BadSignature(f"expected v 27 or 28, got {v}")
    if not 0 < r < ORDER or not 0 < s <= ORDER // 2:
        raise BadSignature("expected r in [1, order) and s in [1, order/2]")
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([v - 27]), digest, hasher=None)
    except ValueError as err:
        raise BadSignature("no public key recovers from this signature") from err
    return address_of(key.format(compressed=False))


def require_signature(signer: Address, digest: bytes, signature: bytes) -> None:
    """Require that `signer` signed `digest`.

    Raises:
        BadSignature: malformed, or made by another account.
    """
    actual = recover(digest, signature)
    if actual != signer:
        raise BadSignature(f"expected a signature by {to_hex(signer)}, got one by {to_hex(actual)}")
