"""The joint key of a deposit's trustees: its public record, and one trustee's share of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from py_arkworks_bls12381 import G1Point

from privacy.deposit.errors import DepositError, EncodingRefused, KeyInvalid, ShareMismatch
from privacy.deposit.points import (
    POINT_BYTES,
    decode_points,
    decode_scalar,
    derive_scalar,
    encode_scalar,
    generator,
    multiply_sum,
    scalar,
)
from privacy.encoding import WORD_BYTES, canonical_json, keccak, tagged_hash
from privacy.errors import PlanInvalid
from privacy.prg import CURVE_ORDER
from privacy.types import Digest, from_decimal, from_hex, require_members, to_hex

TRUSTEES_MAX: Final = 64
MAGIC: Final = b"SYD\x01"
SHARE_KIND: Final = 16
_SHARE_HEAD = MAGIC + bytes([SHARE_KIND])
_SHARE_BYTES = len(_SHARE_HEAD) + WORD_BYTES + 2 + WORD_BYTES


@dataclass(frozen=True, slots=True)
class DepositKey:
    """The public record of a joint key.

    Attributes:
        threshold: t, the trustees that decrypt together; fewer learn nothing.
        key: K in 96 bytes; not infinity.
        verification: Y_i = s_i·G of trustee i = 0 … n − 1, 96 bytes each; s_i = f(i + 1), K = f(0)·G, f of degree below t.
    """

    threshold: int
    key: bytes
    verification: tuple[bytes, ...]
    _points: tuple[G1Point, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.verification)
        if not 1 <= self.threshold <= n <= TRUSTEES_MAX:
            raise KeyInvalid(f"expected 1 ≤ t ≤ n ≤ {TRUSTEES_MAX}, got t = {self.threshold}, n = {n}")
        try:
            points = decode_points(b"".join((self.key, *self.verification)), count=n + 1)
        except DepositError as err:
            raise KeyInvalid(f"a joint key: {err}") from err
        if len(self.key) != POINT_BYTES or points[0] == G1Point.identity():
            raise KeyInvalid("a joint key must be one point, and not infinity")
        object.__setattr__(self, "_points", tuple(points))
        self._require_polynomial()

    def __reduce__(self) -> tuple[type[DepositKey], tuple[int, bytes, tuple[bytes, ...]]]:
        """Send a key to another process as its bytes: the library's points cannot be pickled."""
        return DepositKey, (self.threshold, self.key, self.verification)

    @property
    def trustees(self) -> int:
        """n, the number of trustees."""
        return len(self.verification)

    @property
    def point(self) -> G1Point:
        """K."""
        return self._points[0]

    def share_point(self, trustee: int) -> G1Point:
        """Return Y_i.

        Raises:
            KeyInvalid: there is no such trustee.
        """
        if not 0 <= trustee < self.trustees:
            raise KeyInvalid(f"there is no trustee {trustee} of {self.trustees}")
        return self._points[trustee + 1]

    @property
    def id(self) -> Digest:
        """H("deposit-key"; t, n, keccak(K ‖ Y_0 ‖ … ‖ Y_{n−1}))."""
        points = keccak(b"".join((self.key, *self.verification)))
        return Digest(tagged_hash("deposit-key", self.threshold, self.trustees, points))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that stands in a policy."""
        return {
            "threshold": str(self.threshold),
            "key": to_hex(self.key),
            "verification": [to_hex(point) for point in self.verification],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, value: Any) -> DepositKey:
        """Read what `to_json` wrote.

        Raises:
            KeyInvalid: malformed, or no joint key.
        """
        try:
            members: Mapping[str, Any] = require_members("key", value, ("threshold", "key", "verification"))
            listed = members["verification"]
            if not isinstance(listed, list) or len(listed) > TRUSTEES_MAX:
                raise KeyInvalid(f"verification must be a list of at most {TRUSTEES_MAX} points")
            return cls(
                threshold=from_decimal("threshold", members["threshold"]),
                key=from_hex("key", members["key"], POINT_BYTES),
                verification=tuple(from_hex("verification", each, POINT_BYTES) for each in listed),
            )
        except PlanInvalid as err:
            raise KeyInvalid(str(err)) from err

    def _require_polynomial(self) -> None:
        """Refuse points that are not f(0)·G, f(1)·G, …, f(n)·G with f of degree below t.

        A random word of the dual Reed–Solomon code is orthogonal to such points, and to others with probability 1/q.

        Source: I. Cascudo, B. David, SCRAPE (ACNS 2017) §2.1.
        """
        n = self.trustees
        coefficients = [
            derive_scalar(self.id, bytes(WORD_BYTES), "deposit-dual", k)
            for k in range(n - self.threshold + 1)
        ]
        word = []
        for x in range(n + 1):
            denominator = 1
            for other in range(n + 1):
                if other != x:
                    denominator = denominator * (x - other) % CURVE_ORDER
            word.append(evaluate(coefficients, x) * pow(denominator, -1, CURVE_ORDER) % CURVE_ORDER)
        if multiply_sum(self._points, word) != G1Point.identity():
            raise KeyInvalid("the verification keys lie on no polynomial of degree below t through the key")


@dataclass(frozen=True, slots=True)
class KeyShare:
    """One trustee's share of a joint key: secret.

    Attributes:
        trustee: the index i.
        secret: s_i, below q.
        key_id: of the key's record.
    """

    trustee: int
    secret: int = field(repr=False)
    key_id: Digest

    @classmethod
    def of(cls, key: DepositKey, trustee: int, secret: int) -> KeyShare:
        """Return a checked share.

        Raises:
            ShareMismatch: s_i·G is not Y_i.
            KeyInvalid: there is no such trustee.
        """
        share = cls(trustee, secret, key.id)
        share.require_of(key)
        return share

    def require_of(self, key: DepositKey) -> None:
        """Require that this is a share of that key.

        Raises:
            ShareMismatch: of another key, or s_i·G is not Y_i.
            KeyInvalid: there is no such trustee.
        """
        if self.key_id != key.id or generator() * scalar(self.secret) != key.share_point(self.trustee):
            raise ShareMismatch(f"trustee {self.trustee}: the share is not of this key")

    def encode(self) -> bytes:
        """Encode for a keystore, which seals it: these bytes are not encrypted."""
        return _SHARE_HEAD + self.key_id + self.trustee.to_bytes(2, "big") + encode_scalar(self.secret)

    @classmethod
    def decode(cls, data: bytes) -> KeyShare:
        """Read what `encode` wrote.

        Raises:
            EncodingRefused: other bytes.
        """
        if len(data) != _SHARE_BYTES or not data.startswith(_SHARE_HEAD):
            raise EncodingRefused(f"expected the {_SHARE_BYTES} bytes of a share of a deposit's key")
        body = data[len(_SHARE_HEAD) :]
        trustee = int.from_bytes(body[WORD_BYTES : WORD_BYTES + 2], "big")
        try:
            secret = decode_scalar(body[WORD_BYTES + 2 :])
        except DepositError as err:
            raise EncodingRefused(f"a share: {err}") from err
        return cls(trustee, secret, Digest(body[:WORD_BYTES]))


def evaluate(coefficients: list[int], x: int) -> int:
    """Return Σ c_k·x^k mod q."""
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * x + coefficient) % CURVE_ORDER
    return total


def weights_at_zero(trustees: list[int]) -> list[int]:
    """Return λ with f(0) = Σ λ_i·f(i + 1) mod q for every f of degree below the number of trustees."""
    weights = []
    for i in trustees:
        numerator = denominator = 1
        for j in trustees:
            if j != i:
                numerator = numerator * (j + 1) % CURVE_ORDER
                denominator = denominator * (j - i) % CURVE_ORDER
        weights.append(numerator * pow(denominator, -1, CURVE_ORDER) % CURVE_ORDER)
    return weights
