"""What §9, §10 and §11 of docs/protocol.md add to a verifier of receipts, written from it alone, as `tests.client.stranger`.

Each returns the values that §6 decodes to the table, and how many noise shares are in them.
"""

from __future__ import annotations

import math
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from eth_hash.auto import keccak
from py_ecc.optimized_bls12_381 import optimized_curve as curve

from tests.client.stranger import chacha20_block, point, session_of, tagged, word

Values = tuple[list[int], int]
Q = curve.curve_order


def values_of(receipt: dict[str, Any], logs: list[dict[str, Any]]) -> Values:
    """The values of a receipt of any kind; an AssertionError says what is wrong."""
    cells, survivors = [int(cell) for cell in receipt["answer"]["cells"]], len(receipt["survivors"])
    kind, plan = receipt["plan"]["kind"], receipt["plan"]
    assert ("deposit" in receipt) == (kind == "deposit")
    if kind == "score":
        return score_values(plan, cells), survivors
    if kind == "join":
        return join_values(plan, cells), survivors
    if kind == "deposit":
        return Deposit(receipt).values(cells, logs)
    assert kind == "sum" and len(cells) == size(plan)
    return cells, survivors


def groups(plan: dict[str, Any]) -> int:
    """G of §6."""
    return math.prod(len(dimension["domain"]) + 1 for dimension in plan["group_by"])


def bins(lane: dict[str, Any]) -> int:
    """B of the lanes that these kinds have."""
    return max(1, len(lane["edges"]) - 1)


def size(plan: dict[str, Any]) -> int:
    """How many values a plan has."""
    return groups(plan) * sum(map(bins, plan["lanes"]))


def score_values(plan: dict[str, Any], cells: list[int]) -> list[int]:
    """§9: the cells of the count lanes, 0 for those that are only in the ciphertexts; these are ciphertexts."""
    model, each = plan["score"]["model"], groups(plan)
    n = int(model["n"], 16)
    limbs = -(-2 * (len(model["n"]) // 2 - 1) // 4)
    values: list[int] = []
    for lane in plan["lanes"]:
        if lane["kind"] in ("count", "count_of"):
            values, cells = values + cells[:each], cells[each:]
        else:
            values += [0] * each
    assert len(cells) == limbs * -(-each // int(plan["score"]["slots"]))
    assert all(0 <= cell < 1 << 32 for cell in cells)
    for first in range(0, len(cells), limbs):
        ciphertext = sum(cell << 32 * k for k, cell in enumerate(cells[first : first + limbs]))
        assert 0 < ciphertext < n * n and math.gcd(ciphertext, n) == 1
    return values


def join_values(plan: dict[str, Any], cells: list[int]) -> list[int]:
    """§10.4: two limbs of 48 bits, of two holders."""
    half = size(plan)
    assert len(cells) == 2 * half
    assert all(0 <= cell < 2 << 48 for cell in cells)
    found = [(cells[j] + (cells[half + j] << 48)) % (1 << 96) for j in range(half)]
    signed = [value - (1 << 96) if value >> 95 else value for value in found]
    assert all(abs(value) < 1 << 62 for value in signed)
    return signed


class Deposit:
    """§11 for one receipt."""

    def __init__(self, receipt: dict[str, Any]) -> None:
        self.receipt, self.plan, self.terms = receipt, receipt["plan"], receipt["plan"]["deposit"]
        self.session = session_of(receipt)
        self.accounts = sorted(self.terms["trustees"])
        self.count, self.t = size(self.plan), int(self.terms["threshold"])
        self.public = [self.point(raw(self.terms["trustees"][account])) for account in self.accounts]
        points = raw(self.terms["key"]) + b"".join(raw(self.terms["trustees"][a]) for a in self.accounts)
        self.key_id = tagged("deposit-key", self.t, len(self.accounts), keccak(points))

    def values(self, cells: list[int], logs: list[dict[str, Any]]) -> Values:
        """The bundles of step 6, then what step 10 decrypts."""
        evidence = self.receipt["deposit"]
        bundles, inputs = self.payloads("bundles"), self.payloads("inputs")
        shared = {
            "0x" + log["topics"][2][-40:]: raw(log["data"])[:32]
            for log in logs
            if log["topics"][0] == "0xa31c906eda57cbdaedf00219009d75217bae7642f221fcc822f95589a11d0695"
        }
        hashes = {self.holder(i): self.message_hash(1, i, payload) for i, payload in bundles.items()}
        assert hashes == shared
        survivors = {int(each["index"]): word(each["input_hash"]) for each in self.receipt["survivors"]}
        assert {i: self.message_hash(2, i, payload) for i, payload in inputs.items()} == survivors
        noise = self.noise({i: payload[-192 * self.count - 64 :] for i, payload in bundles.items()})
        opened = {i: self.unseal(cells, i, payload) for i, payload in inputs.items()}
        claims = {sums for sums, _ in filter(None, opened.values())}
        for sums in claims:
            plain = self.points(sums)
            if plain is None:
                continue
            noisy = self.added([plain, *noise.values()])
            of_sum = {i: each[1] for i, each in opened.items() if each is not None and each[0] == sums}
            good = {i: p for i, part in of_sum.items() if (p := self.partial(i, part, noisy)) is not None}
            if len(good) >= self.t:
                values = [int(value) for value in evidence["values"]]
                self.require_values(noisy, dict(list(good.items())[: self.t]), values)
                return values, len(noise)
        raise AssertionError("no t good partial decryptions of one sum")

    def holder(self, index: int) -> str:
        """The account at a place of the roster."""
        found: str = self.receipt["roster"][index]["holder"]
        return found

    def trustee(self, index: int) -> int:
        """Its index in the key."""
        return self.accounts.index(self.holder(index))

    def payloads(self, name: str) -> dict[int, bytes]:
        """The payloads, which stand strictly ascending."""
        entries = [(int(each["index"]), raw(each["payload"])) for each in self.receipt["deposit"][name]]
        assert [index for index, _ in entries] == sorted({index for index, _ in entries})
        return dict(entries)

    def message_hash(self, kind: int, index: int, payload: bytes) -> bytes:
        """§4."""
        return tagged("message", kind, self.session, index, keccak(payload))

    def noise(self, riders: dict[int, bytes]) -> dict[int, list[Any]]:
        """Ciphertexts of those that proved them."""
        good: dict[int, list[Any]] = {}
        for index, rider in riders.items():
            body, proof = rider[:-64], rider[-64:]
            points = self.points(body)
            if points is None:
                continue
            statement = tagged(
                "deposit-noise", self.session, self.key_id, self.trustee(index), self.count, keccak(body)
            )
            if self.proved(statement, proof, [(curve.G1, self.fold(statement, points[::2]))]):
                good[index] = points
        assert len(riders) - len(good) <= int(self.plan["colluders"])
        return good

    def unseal(self, cells: list[int], index: int, payload: bytes) -> tuple[bytes, bytes] | None:
        """The sums and the partial decryption, under the key in the sender's region."""
        own = cells[8 * index : 8 * index + 8]
        if not all(0 <= cell < 1 << 32 for cell in own):
            return None
        key = b"".join(cell.to_bytes(4, "big") for cell in own)
        rider = payload[-288 * self.count - 80 :]
        try:
            plain = ChaCha20Poly1305(key).decrypt(bytes(12), rider, self.session + index.to_bytes(2, "big"))
        except InvalidTag:
            return None
        return plain[: 192 * self.count], plain[192 * self.count :]

    def partial(self, index: int, data: bytes, noisy: list[Any]) -> list[Any] | None:
        """P_k, if they are proved."""
        body, proof = data[:-64], data[-64:]
        points, trustee, bases = self.points(body), self.trustee(index), noisy[::2]
        if points is None:
            return None
        context = tagged("deposit-sums", self.session, keccak(b"".join(map(encoded, noisy))))
        hashes = keccak(b"".join(map(encoded, bases))), keccak(body)
        statement = tagged("deposit-partial", context, self.key_id, trustee, self.count, *hashes)
        pairs = [
            (curve.G1, self.public[trustee]),
            (self.fold(statement, bases), self.fold(statement, points)),
        ]
        return points if self.proved(statement, proof, pairs) else None

    def require_values(self, noisy: list[Any], good: dict[int, list[Any]], values: list[int]) -> None:
        """m_k·G = B_k − Σ λ_i·P_ik, and m_k within its bound."""
        assert len(values) == self.count
        xs = {index: self.trustee(index) + 1 for index in good}
        for k, value in enumerate(values):
            total = noisy[2 * k + 1]
            for index, points in good.items():
                weight = 1
                for other in xs.values():
                    if other != xs[index]:
                        weight = weight * other * pow(other - xs[index], -1, Q) % Q
                total = curve.add(total, curve.neg(curve.multiply(points[k], weight)))
            assert curve.eq(total, signed_multiple(value))
            assert abs(value) <= self.bound(self.lane_of(k))

    def lane_of(self, k: int) -> dict[str, Any]:
        """The lane that a value belongs to."""
        each, place = groups(self.plan), k
        for lane in self.plan["lanes"]:
            if place < bins(lane) * each:
                found: dict[str, Any] = lane
                return found
            place -= bins(lane) * each
        raise AssertionError("beyond the last lane")

    def bound(self, lane: dict[str, Any]) -> int:
        """rows_max·(what a row adds)·2^g + 16·(⌊√⌈n·σ²⌉⌋ + 1)."""
        width, g = int(lane["half_width"]), int(lane["grid_bits"])
        row = {"sum": width, "square": width**2}.get(lane["kind"], 1)
        n, delta, rho = int(self.plan["holders"]), int(lane["delta_squared"]), int(lane["rho"])
        variance = -(-n * 4**g * delta * 10**6 // (2 * rho))
        return int(self.plan["rows_max"]) * row * 2**g + 16 * (math.isqrt(variance) + 1)

    def proved(self, statement: bytes, proof: bytes, pairs: list[tuple[Any, Any]]) -> bool:
        """§11.2: u·P_i = z·P_i − e·X_i."""
        e, z = int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big")
        if len(proof) != 64 or e >= Q or z >= Q:
            return False
        shown = [curve.add(curve.multiply(p, z), curve.neg(curve.multiply(x, e))) for p, x in pairs]
        digest = tagged("deposit-challenge", statement, keccak(b"".join(map(encoded, shown))))
        return int.from_bytes(digest, "big") % Q == e

    def fold(self, statement: bytes, points: list[Any]) -> Any:
        """Σ ρ_k·P_k."""
        key = tagged("deposit-coefficients", statement)
        stream = b"".join(chacha20_block(key, k, bytes(12)) for k in range(-(-len(points) // 4)))
        total = curve.Z1
        for k, each in enumerate(points):
            factor = int.from_bytes(stream[16 * k : 16 * k + 16], "little")
            total = curve.add(total, curve.multiply(each, factor))
        return total

    @staticmethod
    def added(lists: list[list[Any]]) -> list[Any]:
        """The sums of ciphertexts, point by point."""
        total = lists[0]
        for each in lists[1:]:
            total = [curve.add(a, b) for a, b in zip(total, each, strict=True)]
        return total

    @staticmethod
    def point(data: bytes) -> Any:
        """A point of 96 bytes."""
        return point(bytes(16) + data[:48] + bytes(16) + data[48:])

    def points(self, data: bytes) -> list[Any] | None:
        """Points one after another; None if one of them is none."""
        try:
            return [self.point(data[k : k + 96]) for k in range(0, len(data), 96)]
        except AssertionError:
            return None


def raw(text: str) -> bytes:
    """The bytes of hex."""
    return bytes.fromhex(text[2:])


def encoded(found: Any) -> bytes:
    """The 96 bytes of a point."""
    if curve.is_inf(found):
        return bytes(96)
    x, y = curve.normalize(found)
    return int(x).to_bytes(48, "big") + int(y).to_bytes(48, "big")


def signed_multiple(value: int) -> Any:
    """m·G."""
    found = curve.multiply(curve.G1, abs(value))
    return curve.neg(found) if value < 0 else found
