"""Answers over an encrypted deposit checked with a second library: py_ecc alone, written from docs/protocol.md §11 again.

Slow and plain: every point is checked for the subgroup by itself, some milliseconds each. It shares with `privacy.deposit` the
hashes and the plan, and no arithmetic of points: nothing that it imports loads another library of curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from py_ecc.optimized_bls12_381.optimized_curve import G1, add, curve_order, multiply, neg

from privacy.curve_reference import decode_point, encode_point, multiply_sum
from privacy.deposit.errors import KeyInvalid, SumsDisputed
from privacy.deposit.terms import deposit_terms, value_bounds
from privacy.encoding import keccak, tagged_hash
from privacy.errors import PointEncodingInvalid, PointNotInSubgroup

if TYPE_CHECKING:
    from privacy.deposit.keys import DepositKey
    from privacy.plan import Plan
    from privacy.session import Session

Point = Any  # py_ecc's projective coordinates (x, y, z)
Riders = Mapping[int, bytes]
POINT: Final = 96
CIPHERTEXT: Final = 2 * POINT
PROOF: Final = 64
KEY_CELLS: Final = 8
_PAD: Final = bytes(16)  # EIP-2537 has 64 bytes a coordinate


class _Bad(Exception):
    """What a trustee sent is refused."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: how many noise shares count, and the roster indices of those that were wrong."""

    contributors: int
    wrong: tuple[int, ...]


def require_key(key: DepositKey) -> None:
    """Require that a record is a joint key: K not infinity, all points in the subgroup and on a polynomial of degree below t.

    Raises:
        KeyInvalid: it is none.
    """
    _verification_points(key)


def check(
    plan: Plan,
    session: Session,
    cells: Sequence[int],
    bundles: Riders,
    inputs: Riders,
    values: Sequence[int],
) -> Checked:
    """Require that what trustees sent decrypts to these values.

    Args:
        plan: of a receipt, its hash checked.
        session: the session.
        cells: of the sum.
        bundles: riders of the bundles of all that shared.
        inputs: riders of the masked vectors of all survivors.
        values: in the order of the plan's layout.

    Raises:
        SumsDisputed: it does not.
        KeyInvalid: the verification keys do not belong to the joint key.
    """
    case = _Case(plan, session)
    noise, wrong = case.noise(bundles)
    claims: dict[bytes, dict[int, bytes]] = {}
    for index, rider in sorted(inputs.items()):
        try:
            sums, partial = case.unseal(cells, index, rider)
        except _Bad:
            wrong.append(index)
            continue
        claims.setdefault(sums, {})[index] = partial
    for sums, partials in claims.items():
        good = case.good(sums, noise, partials)
        if len(good) >= case.threshold:
            case.require_values(sums, noise, dict(sorted(good.items())[: case.threshold]), values)
            wrong += [index for each in claims.values() for index in each if index not in good]
            return Checked(len(noise), tuple(sorted(set(wrong))))
    raise SumsDisputed(f"fewer than {case.threshold} good partial decryptions of one sum")


class _Case:
    """One answer's key, trustees and session."""

    def __init__(self, plan: Plan, session: Session) -> None:
        terms = deposit_terms(plan)
        record = terms.key
        self._plan, self._session, self._terms = plan, session, terms
        self.threshold, self.count = record.threshold, plan.values
        points = b"".join((record.key, *record.verification))
        self.key_id = tagged_hash("deposit-key", self.threshold, record.trustees, keccak(points))
        self._public = _verification_points(record)

    def noise(self, riders: Riders) -> tuple[dict[int, list[Point]], list[int]]:
        """Return the ciphertexts that count, by roster index, and whose do not."""
        good: dict[int, list[Point]] = {}
        wrong = []
        for index, rider in sorted(riders.items()):
            try:
                good[index] = self._read_noise(index, rider)
            except _Bad:
                wrong.append(index)
        if len(wrong) > self._plan.colluders:
            raise SumsDisputed(f"noise of more than {self._plan.colluders} trustees is refused")
        return good, wrong

    def unseal(self, cells: Sequence[int], index: int, rider: bytes) -> tuple[bytes, bytes]:
        """Open a rider with the key in its sender's region of the sum."""
        own = cells[KEY_CELLS * index : KEY_CELLS * (index + 1)]
        if any(not 0 <= cell < 1 << 32 for cell in own):
            raise _Bad
        key = b"".join(int(cell).to_bytes(4, "big") for cell in own)
        bound = self._session.id + index.to_bytes(2, "big")
        try:
            opened = ChaCha20Poly1305(key).decrypt(bytes(12), rider, bound)
        except (InvalidTag, ValueError) as err:
            raise _Bad from err
        return opened[: self.count * CIPHERTEXT], opened[self.count * CIPHERTEXT :]

    def good(self, sums: bytes, noise: Mapping[int, list[Point]], partials: Riders) -> dict[int, list[Point]]:
        """Return the partial decryptions of one sum whose proofs hold."""
        try:
            noisy = self._noisy(sums, noise)
        except _Bad:
            return {}
        good = {}
        for index, partial in partials.items():
            try:
                good[index] = self._read_partial(index, partial, noisy)
            except _Bad:
                continue
        return good

    def require_values(
        self,
        sums: bytes,
        noise: Mapping[int, list[Point]],
        partials: Mapping[int, list[Point]],
        values: Sequence[int],
    ) -> None:
        """Require that exactly t partial decryptions give these values."""
        noisy, weights = self._noisy(sums, noise), _weights([self._trustee(i) for i in partials], 0)
        bounds = value_bounds(self._plan)
        if len(values) != self.count:
            raise SumsDisputed(f"expected {self.count} decrypted values, found {len(values)}")
        for place, value in enumerate(values):
            hidden = multiply_sum([points[place] for points in partials.values()], weights)
            point = add(noisy[2 * place + 1], neg(hidden))
            if abs(value) > bounds[place] or not _same(multiply_sum([G1], [value]), point):
                raise SumsDisputed(f"value {place} is not what the partial decryptions give")

    def _trustee(self, index: int) -> int:
        return self._terms.trustee_of(self._session.members[index].holder)

    def _noisy(self, sums: bytes, noise: Mapping[int, list[Point]]) -> list[Point]:
        total = _decode_all(sums, 2 * self.count)
        for own in noise.values():
            total = [add(a, b) for a, b in zip(total, own, strict=True)]
        return total

    def _read_noise(self, index: int, rider: bytes) -> list[Point]:
        body, proof = rider[:-PROOF], rider[-PROOF:]
        points = _decode_all(body, 2 * self.count)
        words = (self._session.id, self.key_id, self._trustee(index), self.count, keccak(body))
        statement = tagged_hash("deposit-noise", *words)
        folded = multiply_sum(points[::2], _coefficients(statement, self.count))
        _require_proof(statement, proof, [(G1, folded)])
        return points

    def _read_partial(self, index: int, partial: bytes, noisy: Sequence[Point]) -> list[Point]:
        body, proof = partial[:-PROOF], partial[-PROOF:]
        points = _decode_all(body, self.count)
        sums = b"".join(map(_encode, noisy))
        context = tagged_hash("deposit-sums", self._session.id, keccak(sums))
        bases, trustee = list(noisy[::2]), self._trustee(index)
        first = keccak(b"".join(map(_encode, bases)))
        words = (context, self.key_id, trustee, self.count, first, keccak(body))
        statement = tagged_hash("deposit-partial", *words)
        factors = _coefficients(statement, self.count)
        base, product = multiply_sum(bases, factors), multiply_sum(points, factors)
        _require_proof(statement, proof, [(G1, self._public[trustee]), (base, product)])
        return points


@lru_cache(maxsize=4)
def _verification_points(key: DepositKey) -> tuple[Point, ...]:
    """Return Y_0, … of a joint key, which is checked once: a verification asks with the plan, and when it decrypts."""
    try:
        public = tuple(_decode(point) for point in key.verification)
        joint = _decode(key.key)
    except _Bad as err:
        raise KeyInvalid("a joint key with a point that is none") from err
    if key.key == bytes(POINT):
        raise KeyInvalid("a joint key at infinity")
    first = list(range(key.threshold))
    known = [public[i] for i in first]
    for x, expected in [(0, joint), *((i + 1, point) for i, point in enumerate(public))]:
        if not _same(multiply_sum(known, _weights(first, x)), expected):
            raise KeyInvalid("the verification keys lie on no polynomial through the key")
    return public


def _require_proof(statement: bytes, proof: bytes, pairs: Sequence[tuple[Point, Point]]) -> None:
    """Check that one logarithm leads from each base to its product."""
    challenge, response = int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big")
    if len(proof) != PROOF or max(challenge, response) >= curve_order:
        raise _Bad
    shown = b"".join(
        _encode(add(multiply(base, response), neg(multiply(product, challenge)))) for base, product in pairs
    )
    digest = tagged_hash("deposit-challenge", statement, keccak(shown))
    if int.from_bytes(digest, "big") % curve_order != challenge:
        raise _Bad


def _coefficients(statement: bytes, count: int) -> list[int]:
    key = tagged_hash("deposit-coefficients", statement)
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(16 * count))
    return [int.from_bytes(stream[16 * k : 16 * (k + 1)], "little") for k in range(count)]


def _weights(trustees: Sequence[int], x: int) -> list[int]:
    """Return Lagrange's weights of the points i + 1 at x."""
    weights = []
    for i in trustees:
        weight = 1
        for j in trustees:
            if j != i:
                weight = weight * (x - j - 1) * pow(i - j, -1, curve_order) % curve_order
        weights.append(weight)
    return weights


def _decode_all(data: bytes, count: int) -> list[Point]:
    if len(data) != POINT * count:
        raise _Bad
    return [_decode(data[POINT * k : POINT * (k + 1)]) for k in range(count)]


def _decode(data: bytes) -> Point:
    try:
        return decode_point(_PAD + data[:48] + _PAD + data[48:])
    except (PointEncodingInvalid, PointNotInSubgroup) as err:
        raise _Bad from err


def _encode(point: Point) -> bytes:
    data = encode_point(point)
    return data[16:64] + data[80:]


def _same(left: Point, right: Point) -> bool:
    return _encode(left) == _encode(right)
