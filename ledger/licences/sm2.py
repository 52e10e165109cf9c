"""SM2 signatures with SM3 over sm2p256v1, the second profile (docs/adr/0007): r ‖ s over keys x ‖ y.

Signing and verifying are GmSSL's, through `gmssl_pyx`; it computes ZA from the default user id. Only what it
does not offer is here: the public key of a given secret.

Source: GB/T 32918.2-2016 (signature), GB/T 32918.5-2017 (curve, default user id); GB/T 32905-2016 (SM3).
"""

from __future__ import annotations

from typing import Final

import gmssl_pyx
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ledger.licences.errors import KeyUnsupported, SignatureInvalid

USER_ID: Final = b"1234567812345678"
ORDER: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123  # n
_P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_A: Final = _P - 3
_B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
_G: Final = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
_Point = tuple[int, int]


def public_of(secret: bytes) -> bytes:
    """Return the public key x ‖ y of a secret.

    A ladder of one addition and one doubling a bit; it runs when a key is made or loaded, never when it signs.

    Args:
        secret: d, 32 bytes big-endian, in [1, n - 2].

    Raises:
        KeyUnsupported: d is outside.
    """
    d = int.from_bytes(secret, "big")
    if len(secret) != 32 or not 1 <= d <= ORDER - 2:
        raise KeyUnsupported("expected an SM2 secret in [1, n - 2]")
    low, high = _G, _add(_G, _G)
    for bit in bin(d)[3:]:
        between = _add(low, high)
        low, high = (between, _add(high, high)) if bit == "1" else (_add(low, low), between)
    return low[0].to_bytes(32, "big") + low[1].to_bytes(32, "big")


def require_point(raw: bytes) -> None:
    """Refuse a public key that is no point of the curve; its cofactor is 1.

    Raises:
        KeyUnsupported: not 64 bytes, a coordinate not below p, or off the curve.
    """
    x, y = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    if len(raw) != 64 or x >= _P or y >= _P or (y * y - x * x * x - _A * x - _B) % _P:
        raise KeyUnsupported("expected a point of sm2p256v1")


def sign(secret: bytes, public: bytes, message: bytes) -> bytes:
    """Sign a message under the default user id.

    Returns:
        r ‖ s, 64 bytes.
    """
    try:
        r, s = decode_dss_signature(gmssl_pyx.sm2_sign(secret, public, message, USER_ID))
    except gmssl_pyx.GmsslInnerError as err:
        raise KeyUnsupported("the SM2 library refuses this key") from err
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature under the default user id.

    Raises:
        SignatureInvalid: not 64 bytes, r or s out of range, or it does not verify.
    """
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    # the library reports a refusal on the standard error stream: what is plainly none does not reach it
    if len(signature) != 64 or not 1 <= r < ORDER or not 1 <= s < ORDER or not (r + s) % ORDER:
        raise SignatureInvalid("SM2 signature")
    try:
        valid = gmssl_pyx.sm2_verify(public, message, encode_dss_signature(r, s), USER_ID)
    except gmssl_pyx.GmsslInnerError as err:
        raise SignatureInvalid("SM2 signature") from err
    if not valid:
        raise SignatureInvalid("SM2 signature")


def _add(left: _Point, right: _Point) -> _Point:
    (x1, y1), (x2, y2) = left, right
    # equal x are equal points here: the ladder from 1 <= d <= n - 2 never meets a point and its opposite
    rise, run = (3 * x1 * x1 + _A, 2 * y1) if x1 == x2 else (y2 - y1, x2 - x1)
    slope = rise * pow(run, -1, _P)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P
