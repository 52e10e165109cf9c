"""Signature keys: Ed25519 (EdDSA), P-256 (ES256) and, in the second profile, SM2 (docs/licence.md §2).

Source: RFC 7517 and RFC 8037 (JWK), RFC 7638 (thumbprint), RFC 7518 §3.4 (ES256), RFC 8032 (Ed25519).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, cast, get_args

import nacl.bindings as sodium
import nacl.exceptions
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ledger.encoding import Digest
from ledger.licences import sm2
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import KeyUnsupported, Malformed, SignatureInvalid

Algorithm = Literal["EdDSA", "ES256", "SM2"]
ALGORITHMS: Final = get_args(Algorithm)
SIGNATURE_SIZE: Final = 64
SECRET_SIZE: Final = 32
_CURVES: Final = {"EdDSA": "Ed25519", "ES256": "P-256", "SM2": "SM2"}
_ALGORITHM_OF: Final = {curve: algorithm for algorithm, curve in _CURVES.items()}
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_LONG_MESSAGE: Final = 96 << 10  # bytes; measured: from here on the faster SHA-512 wins
_NEUTRAL_POINT: Final = (1).to_bytes(32, "little")
_ECDSA: Final = ec.ECDSA(SHA256())
_ECDSA_DETERMINISTIC: Final = ec.ECDSA(SHA256(), deterministic_signing=True)  # RFC 6979


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies.

    `raw` is the 32-byte point of an Ed25519 key, or x ‖ y (64 bytes) of the other two. A key that is no point
    of its curve cannot be built, nor an Ed25519 key of small order, under which anything may verify.
    """

    alg: Algorithm
    raw: bytes

    def __post_init__(self) -> None:
        if self.alg not in ALGORITHMS:
            raise KeyUnsupported(f"expected one of {ALGORITHMS}")
        _require_point(self.alg, self.raw)

    def jwk(self) -> dict[str, str]:
        """Return the key as a JWK: exactly the members that its thumbprint covers."""
        if self.alg == "EdDSA":
            return {"crv": "Ed25519", "kty": "OKP", "x": b64u(self.raw)}
        x, y = b64u(self.raw[:32]), b64u(self.raw[32:])
        return {"crv": _CURVES[self.alg], "kty": "EC", "x": x, "y": y}

    @property
    def key_id(self) -> Digest:
        """The SHA-256 thumbprint of the JWK, 32 bytes (RFC 7638)."""
        return _key_id(self)

    @property
    def kid(self) -> str:
        """The key id in base64url, as headers have it."""
        return _kid(self)

    @classmethod
    def from_jwk(cls, value: object) -> PublicKey:
        """Read a JWK with exactly the members that `jwk` writes.

        Raises:
            Malformed: no object, or another set of members, or no base64url of 32 bytes.
            KeyUnsupported: another curve or key type, or no point of the curve.
        """
        if not isinstance(value, Mapping):
            raise Malformed("jwk", "an object", type(value).__name__)
        curve = value.get("crv")
        algorithm = _ALGORITHM_OF.get(curve) if isinstance(curve, str) else None
        if algorithm is None:
            raise KeyUnsupported(f"expected a JWK of a curve out of {sorted(_ALGORITHM_OF)}")
        names, kty = (("x",), "OKP") if algorithm == "EdDSA" else (("x", "y"), "EC")
        if value.keys() != {"crv", "kty", *names}:
            raise Malformed("jwk", f"the members crv, kty, {', '.join(names)}", "another set")
        if value["kty"] != kty:
            raise KeyUnsupported(f"expected the key type {kty} for this curve")
        raw = b"".join(parse_b64u(value[name], f"jwk.{name}", 32) for name in names)
        return cls(cast(Algorithm, algorithm), raw)

    def verify(self, message: bytes | memoryview, signature: bytes) -> None:
        """Check a signature.

        Args:
            signature: 64 bytes: R ‖ S of Ed25519, or r ‖ s.

        Raises:
            SignatureInvalid: another length or range, or it does not verify.
        """
        if len(signature) != SIGNATURE_SIZE:
            raise SignatureInvalid(f"message ({self.alg}, 64 bytes expected)")
        if self.alg == "EdDSA":
            _verify_ed25519(self.raw, message, signature)
        elif self.alg == "ES256":
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            try:
                _p256_public(self.raw).verify(encode_dss_signature(r, s), message, _ECDSA)
            except InvalidSignature as err:
                raise SignatureInvalid("message (ES256)") from err
        else:
            sm2.verify(self.raw, bytes(message), signature)


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A key that signs. Printing it shows its public half only."""

    alg: Algorithm
    secret: bytes = field(repr=False)
    public: PublicKey = field(init=False)
    _prepared: Any = field(init=False, repr=False)  # what the library signs with

    def __post_init__(self) -> None:
        if self.alg not in ALGORITHMS:
            raise KeyUnsupported(f"expected one of {ALGORITHMS}")
        if not isinstance(self.secret, bytes) or len(self.secret) != SECRET_SIZE:
            raise Malformed("secret", f"{SECRET_SIZE} bytes", "another length")
        raw, prepared = _prepare(self.alg, self.secret)
        object.__setattr__(self, "public", PublicKey(self.alg, raw))
        object.__setattr__(self, "_prepared", prepared)

    def __repr__(self) -> str:
        return f"SigningKey({self.alg}, {self.public.kid})"

    @classmethod
    def generate(cls, alg: Algorithm, rand: bytes) -> SigningKey:
        """Make a key.

        Args:
            rand: 32 bytes from the system's randomness; the same bytes give the same key.

        Raises:
            KeyUnsupported: no such algorithm.
            Malformed: another length.

        Source:
            FIPS 186-5 A.2.1: a candidate with 128 extra bits, reduced.
        """
        if not isinstance(rand, bytes) or len(rand) != SECRET_SIZE:
            raise Malformed("rand", f"{SECRET_SIZE} bytes", "another length")
        if alg == "EdDSA":
            return cls(alg, rand)
        order = sm2.ORDER - 1 if alg == "SM2" else _P256_ORDER  # SM2 has no inverse of 1 + d at d = n - 1
        wide = hashlib.shake_256(b"shuyao/v1/key\0" + alg.encode("ascii") + b"\0" + rand).digest(48)
        return cls(alg, (int.from_bytes(wide, "big") % (order - 1) + 1).to_bytes(SECRET_SIZE, "big"))

    def sign(self, message: bytes) -> bytes:
        """Sign a message. EdDSA and ES256 (RFC 6979) give the same bytes for the same message.

        Returns:
            64 bytes.
        """
        if self.alg == "EdDSA":
            signed: bytes = sodium.crypto_sign(message, self._prepared)
            return signed[:SIGNATURE_SIZE]
        if self.alg == "ES256":
            r, s = decode_dss_signature(self._prepared.sign(message, _ECDSA_DETERMINISTIC))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return sm2.sign(self.secret, self.public.raw, message)


def _prepare(alg: Algorithm, secret: bytes) -> tuple[bytes, Any]:
    if alg == "EdDSA":
        return sodium.crypto_sign_seed_keypair(secret)
    if alg == "SM2":
        return sm2.public_of(secret), None
    try:
        private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    except ValueError as err:
        raise KeyUnsupported("expected a P-256 secret in [1, n - 1]") from err
    numbers = private.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"), private


def _verify_ed25519(raw: bytes, message: bytes | memoryview, signature: bytes) -> None:
    """Check an Ed25519 signature by a key of prime order.

    The curve is faster in libsodium, SHA-512 in OpenSSL: a status token of 190 KB takes half of the time. Both want S below the order;
    libsodium also refuses an R of small order, which under a key of prime order can only be the neutral element.
    """
    try:
        if len(message) < _LONG_MESSAGE:
            sodium.crypto_sign_open(signature + message, raw)
        elif signature[:32] == _NEUTRAL_POINT:
            raise SignatureInvalid("message (EdDSA)")
        else:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (nacl.exceptions.BadSignatureError, InvalidSignature) as err:
        raise SignatureInvalid("message (EdDSA)") from err


@lru_cache(maxsize=4096)
def _require_point(alg: Algorithm, raw: bytes) -> None:
    if not isinstance(raw, bytes) or len(raw) != (32 if alg == "EdDSA" else 64):
        raise KeyUnsupported(f"expected {'32' if alg == 'EdDSA' else '64'} bytes of a public key")
    if alg == "EdDSA":
        if not sodium.crypto_core_ed25519_is_valid_point(raw):
            raise KeyUnsupported("expected a canonical Ed25519 point of prime order")
    elif alg == "ES256":
        _p256_public(raw)
    else:
        sm2.require_point(raw)


@lru_cache(maxsize=4096)
def _p256_public(raw: bytes) -> ec.EllipticCurvePublicKey:
    x, y = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as err:
        raise KeyUnsupported("expected a point of P-256") from err


@lru_cache(maxsize=4096)
def _key_id(key: PublicKey) -> Digest:
    # the form of RFC 8785: names in order, and all values are base64url or letters
    members = ",".join(f'"{name}":"{value}"' for name, value in sorted(key.jwk().items()))
    return Digest(hashlib.sha256(f"{{{members}}}".encode("ascii")).digest())


@lru_cache(maxsize=4096)
def _kid(key: PublicKey) -> str:
    return b64u(_key_id(key))
