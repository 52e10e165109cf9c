"""The joint key of a deposit's trustees: its public record, and what follows from its polynomial.

The record is read without a library of curves, so that either implementation of a receipt's verification can check it by
its own. Whoever takes a point of it here has all of it checked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from privacy.deposit.errors import DepositError, KeyInvalid
from privacy.deposit.sizes import POINT_BYTES
from privacy.encoding import WORD_BYTES, canonical_json, keccak, tagged_hash
from privacy.errors import PlanInvalid
from privacy.prg import CURVE_ORDER
from privacy.types import Digest, from_decimal, from_hex, require_members, to_hex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from py_arkworks_bls12381 import G1Point

TRUSTEES_MAX: Final = 64
MAGIC: Final = b"SYD\x01"
_INFINITY: Final = bytes(POINT_BYTES)


@dataclass(frozen=True, slots=True)
class DepositKey:
    """The public record of a joint key: sizes are right; that its points are those of a key is `require_valid`'s to say.

    Attributes:
        threshold: t, the trustees that decrypt together; fewer learn nothing.
        key: K in 96 bytes; not infinity.
        verification: Y_i = s_i·G of trustee i = 0 … n − 1, 96 bytes each; s_i = f(i + 1), K = f(0)·G, f of degree below t.
    """

    threshold: int
    key: bytes
    verification: tuple[bytes, ...]
    _checked: tuple[G1Point, ...] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        n = len(self.verification)
        if not 1 <= self.threshold <= n <= TRUSTEES_MAX:
            raise KeyInvalid(f"expected 1 ≤ t ≤ n ≤ {TRUSTEES_MAX}, got t = {self.threshold}, n = {n}")
        if any(len(point) != POINT_BYTES for point in (self.key, *self.verification)):
            raise KeyInvalid(f"the points of a joint key must have {POINT_BYTES} bytes each")
        if self.key == _INFINITY:
            raise KeyInvalid("a joint key must not be infinity")

    def __reduce__(self) -> tuple[type[DepositKey], tuple[int, bytes, tuple[bytes, ...]]]:
        """Send a key to another process as its bytes: the library's points cannot be pickled."""
        return DepositKey, (self.threshold, self.key, self.verification)

    @property
    def trustees(self) -> int:
        """n, the number of trustees."""
        return len(self.verification)

    @property
    def point(self) -> G1Point:
        """K.

        Raises:
            KeyInvalid: as `require_valid`.
        """
        return self._points()[0]

    def share_point(self, trustee: int) -> G1Point:
        """Return Y_i.

        Raises:
            KeyInvalid: there is no such trustee, or as `require_valid`.
        """
        if not 0 <= trustee < self.trustees:
            raise KeyInvalid(f"there is no trustee {trustee} of {self.trustees}")
        return self._points()[trustee + 1]

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
        """Read what `to_json` wrote, and check it whole.

        Raises:
            KeyInvalid: malformed, or no joint key.
        """
        key = cls.raw_from_json(value)
        key.require_valid()
        return key

    @classmethod
    def raw_from_json(cls, value: Any) -> DepositKey:
        """Read what `to_json` wrote; its points are not checked before one of them is taken, or `require_valid` is called.

        Raises:
            KeyInvalid: malformed.
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

    def require_valid(self) -> None:
        """Require that this is a joint key: points of the subgroup on one polynomial of degree below t, K not infinity.

        Raises:
            KeyInvalid: it is none.
        """
        self._points()

    def _points(self) -> tuple[G1Point, ...]:
        """Return K, Y_0, …, all checked; once for each record."""
        if self._checked is None:
            object.__setattr__(self, "_checked", self._check())
        return self._checked or ()

    def _check(self) -> tuple[G1Point, ...]:
        from privacy.deposit.points import decode_points  # imported here: the reference reads keys too

        try:
            points = decode_points(b"".join((self.key, *self.verification)), count=self.trustees + 1)
        except DepositError as err:
            raise KeyInvalid(f"a joint key: {err}") from err
        self._require_polynomial(points)
        return tuple(points)

    def _require_polynomial(self, points: Sequence[G1Point]) -> None:
        """Refuse points that are not f(0)·G, f(1)·G, …, f(n)·G with f of degree below t.

        A random word of the dual Reed–Solomon code is orthogonal to such points, and to others with probability 1/q.

        Source: I. Cascudo, B. David, SCRAPE (ACNS 2017) §2.1.
        """
        from privacy.deposit.points import derive_scalar, generator, multiply_sum, scalar

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
        if multiply_sum(points, word) != generator() * scalar(0):
            raise KeyInvalid("the verification keys lie on no polynomial of degree below t through the key")


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
