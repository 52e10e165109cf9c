"""A key of five trustees, three of whom decrypt, made once for all tests; and small helpers."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from privacy.deposit import (
    Ceremony,
    Ciphertexts,
    DepositKey,
    KeyShare,
    LogTable,
    Outcome,
    TrusteeSecret,
    announce,
    combine,
    complain,
    deal,
    decrypt_partially,
    encrypt,
    finish,
)
from privacy.deposit.points import encode_points
from privacy.types import Address

TRUSTEES, THRESHOLD = 5, 3
SESSION = hashlib.sha256(b"session").digest()
SEED = hashlib.sha256(b"seed").digest()
CONTEXT = hashlib.sha256(b"context").digest()
ORDER_THREE = bytes(95) + b"\x02"  # (0, 2): on the curve, of order 3


def ceremony(threshold: int = THRESHOLD, trustees: int = TRUSTEES, label: bytes = bytes(32)) -> Ceremony:
    """Return a ceremony."""
    return Ceremony(label, tuple(Address(bytes([i + 1]) * 20) for i in range(trustees)), threshold)


@dataclass
class Rounds:
    """The messages of a ceremony, which a test may change between the rounds."""

    ceremony: Ceremony
    announcements: dict[int, bytes]
    deals: dict[int, bytes]
    complaints: dict[int, bytes]

    @classmethod
    def begin(cls, own: Ceremony) -> "Rounds":
        """Announce and deal."""
        started = cls(own, {}, {}, {})
        started.announcements = {i: announce(started.secret(i)) for i in range(own.size)}
        started.deals = {i: deal(started.secret(i), started.announcements) for i in range(own.size)}
        return started

    def secret(self, index: int) -> TrusteeSecret:
        """Return a trustee's secret."""
        return TrusteeSecret(self.ceremony, index, hashlib.sha256(b"trustee" + bytes([index])).digest())

    def complain(self) -> None:
        """Let everybody look at the deals."""
        self.complaints = {
            i: complain(self.secret(i), self.announcements, self.deals) for i in range(self.ceremony.size)
        }

    def finish(self, index: int | None = None) -> Outcome:
        """Judge, as a trustee or as a stranger."""
        secret = None if index is None else self.secret(index)
        return finish(self.ceremony, self.announcements, self.deals, self.complaints, secret=secret)


@cache
def outcomes() -> tuple[Outcome, ...]:
    """Return what every trustee has after an honest ceremony."""
    rounds = Rounds.begin(ceremony())
    rounds.complain()
    return tuple(rounds.finish(i) for i in range(TRUSTEES))


def key() -> DepositKey:
    """Return the joint key."""
    return outcomes()[0].key


def share(trustee: int) -> KeyShare:
    """Return a trustee's share."""
    found = outcomes()[trustee].share
    assert found is not None
    return found


@cache
def logarithms() -> LogTable:
    """Return a small table."""
    return LogTable.make(10)


def partials(
    sums: Ciphertexts, trustees: Sequence[int] = (0, 1, 2), session: bytes = SESSION
) -> dict[int, bytes]:
    """Return the partial decryptions of these trustees."""
    return {i: decrypt_partially(key(), share(i), sums, session) for i in trustees}


def decrypted(sums: Ciphertexts, bound: int = 1 << 20) -> list[int]:
    """Return the values of ciphertexts."""
    points = combine(key(), sums, partials(sums), SESSION).points
    return logarithms().find(points, [bound] * len(points))


@cache
def _one(value: int) -> tuple[bytes, bytes]:
    made = encrypt(key().key, np.array([value], dtype=np.int64), SEED, CONTEXT)
    return encode_points(made.a), encode_points(made.b)


def cheaply(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    """Encrypt blocks for a test of storage: valid ciphertexts, but the same one for every cell of one value."""
    for job in jobs:
        pairs = [_one(value) for value in np.frombuffer(job.values, dtype="<i8").tolist()]
        yield b"".join(a for a, _ in pairs), b"".join(b for _, b in pairs)


def values_of(name: str, count: int, bits: int) -> NDArray[np.int64]:
    """Return signed integers of at most so many bits, the same in every run."""
    stream = hashlib.shake_256(name.encode()).digest(8 * count)
    return np.frombuffer(stream, dtype="<i8") >> 63 - bits


def outside() -> G1Point:
    """Return a point of order 3."""
    return G1Point.from_xy_bytes_unchecked_be(ORDER_THREE)
