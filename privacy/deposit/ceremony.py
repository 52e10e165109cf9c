"""The messages by which trustees make a joint key: announcements, deals, complaints.

Bytes: docs/protocol.md, Encrypted deposit. `privacy.deposit.dkg` says what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from py_arkworks_bls12381 import G1Point

from privacy.deposit.errors import CeremonyInvalid, DepositError, MessageRefused
from privacy.deposit.keys import MAGIC, TRUSTEES_MAX
from privacy.deposit.points import decode_points, encode_points
from privacy.deposit.proofs import Proof
from privacy.deposit.sizes import POINT_BYTES, PROOF_BYTES
from privacy.encoding import ADDRESS_BYTES, WORD_BYTES, keccak, tagged_hash
from privacy.types import Address, Digest

ANNOUNCEMENT: Final = 1
DEAL: Final = 2
COMPLAINTS: Final = 3
SEALED_BYTES: Final = WORD_BYTES + 16
_HEAD_BYTES = len(MAGIC) + 1 + WORD_BYTES + 2


@dataclass(frozen=True, slots=True)
class Ceremony:
    """Who makes a key together.

    Attributes:
        label: 32 bytes that no other ceremony has, as agreed by all: a hash of what the key is for and of a nonce.
        trustees: accounts, ascending; their place is the index.
        threshold: t; fewer than t may collude.
    """

    label: bytes
    trustees: tuple[Address, ...]
    threshold: int

    def __post_init__(self) -> None:
        n = len(self.trustees)
        if len(self.label) != WORD_BYTES:
            raise CeremonyInvalid(f"a label must be {WORD_BYTES} bytes, not {len(self.label)}")
        if not 1 <= self.threshold <= n <= TRUSTEES_MAX:
            raise CeremonyInvalid(f"expected 1 ≤ t ≤ n ≤ {TRUSTEES_MAX}, got t = {self.threshold}, n = {n}")
        if {len(trustee) for trustee in self.trustees} != {ADDRESS_BYTES}:
            raise CeremonyInvalid(f"a trustee's account must be {ADDRESS_BYTES} bytes")
        if list(self.trustees) != sorted(set(self.trustees)):
            raise CeremonyInvalid("trustees must be ascending by account and different")

    @property
    def size(self) -> int:
        """n."""
        return len(self.trustees)

    @property
    def context(self) -> bytes:
        """H("deposit-ceremony"; label, t, n, keccak(accounts))."""
        return tagged_hash(
            "deposit-ceremony", self.label, self.threshold, self.size, keccak(b"".join(self.trustees))
        )

    def require_trustee(self, index: int) -> None:
        """Refuse an index that nobody has.

        Raises:
            CeremonyInvalid: there is no such trustee.
        """
        if not 0 <= index < self.size:
            raise CeremonyInvalid(f"there is no trustee {index} of {self.size}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """A trustee's key for the shares that are dealt to it.

    Attributes:
        public: E_i = e_i·G.
        proof: that the trustee knows e_i.
    """

    sender: int
    public: G1Point = field(repr=False)
    proof: Proof

    def encode(self, ceremony: Ceremony) -> bytes:
        """Encode with the message's head."""
        return _head(ceremony, ANNOUNCEMENT, self.sender) + encode_points([self.public]) + self.proof.encode()

    @classmethod
    def decode(cls, ceremony: Ceremony, data: bytes, sender: int) -> Announcement:
        """Read a message that came from `sender`.

        Raises:
            MessageRefused: naming the sender.
        """
        reader = _Reader(ceremony, data, ANNOUNCEMENT, sender)
        (public,) = reader.points(1)
        message = cls(sender, public, reader.proof())
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Deal:
    """What a dealer tells everybody.

    Attributes:
        announced: H("deposit-announcements"; …) of the announcements that the dealer saw.
        ephemeral: F_i = f_i·G, the other half of the keys that seal the shares.
        commitments: C_i0 … C_i(t−1), to the coefficients of the dealer's polynomial.
        proof: that the dealer knows the constant term; else it could cancel others' by a rogue key.
        sealed: the share of each trustee, its own too, 48 bytes each.
    """

    sender: int
    announced: bytes
    ephemeral: G1Point = field(repr=False)
    commitments: tuple[G1Point, ...] = field(repr=False)
    proof: Proof
    sealed: tuple[bytes, ...] = field(repr=False)

    def encode(self, ceremony: Ceremony) -> bytes:
        """Encode with the message's head."""
        points = encode_points([self.ephemeral, *self.commitments])
        head = _head(ceremony, DEAL, self.sender)
        return b"".join((head, self.announced, points, self.proof.encode(), *self.sealed))

    @classmethod
    def decode(cls, ceremony: Ceremony, data: bytes, sender: int) -> Deal:
        """Read a message that came from `sender`.

        Raises:
            MessageRefused: naming the sender.
        """
        reader = _Reader(ceremony, data, DEAL, sender)
        announced = reader.take(WORD_BYTES)
        ephemeral, *commitments = reader.points(1 + ceremony.threshold)
        proof = reader.proof()
        sealed = tuple(reader.take(SEALED_BYTES) for _ in range(ceremony.size))
        reader.end()
        return cls(sender, announced, ephemeral, tuple(commitments), proof, sealed)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One share that its receiver says is bad, opened to all.

    Attributes:
        dealer: who dealt it.
        shared: D = e_j·F_i, from which everybody derives the key of the sealed share.
        proof: that D and E_j have the same logarithm to F_i and G.
    """

    dealer: int
    shared: G1Point = field(repr=False)
    proof: Proof


@dataclass(frozen=True, slots=True)
class Complaints:
    """What a trustee says of all deals; without complaints it says that there are none.

    Attributes:
        dealt: H("deposit-deals"; …) of the deals that the trustee saw.
        complaints: ascending by dealer.
    """

    sender: int
    dealt: bytes
    complaints: tuple[Complaint, ...]

    def encode(self, ceremony: Ceremony) -> bytes:
        """Encode with the message's head."""
        parts = [
            _head(ceremony, COMPLAINTS, self.sender),
            self.dealt,
            len(self.complaints).to_bytes(2, "big"),
        ]
        for each in self.complaints:
            parts += [each.dealer.to_bytes(2, "big"), encode_points([each.shared]), each.proof.encode()]
        return b"".join(parts)

    @classmethod
    def decode(cls, ceremony: Ceremony, data: bytes, sender: int) -> Complaints:
        """Read a message that came from `sender`.

        Raises:
            MessageRefused: naming the sender.
        """
        reader = _Reader(ceremony, data, COMPLAINTS, sender)
        dealt = reader.take(WORD_BYTES)
        count = int.from_bytes(reader.take(2), "big")
        if count > ceremony.size:
            raise MessageRefused(f"expected at most {ceremony.size} complaints, got {count}", trustee=sender)
        complaints = []
        for _ in range(count):
            dealer = int.from_bytes(reader.take(2), "big")
            (shared,) = reader.points(1)
            complaints.append(Complaint(dealer, shared, reader.proof()))
        reader.end()
        dealers = [each.dealer for each in complaints]
        if dealers != sorted(set(dealers)) or any(dealer >= ceremony.size for dealer in dealers):
            raise MessageRefused("complaints must be ascending by dealer, one each", trustee=sender)
        return cls(sender, dealt, tuple(complaints))


def message_set_hash(name: str, ceremony: Ceremony, messages: Iterable[tuple[int, bytes]]) -> Digest:
    """Return H(name; context, count, keccak(each: u16 sender ‖ keccak(message))), ascending by sender."""
    listed = sorted(messages)
    body = b"".join(sender.to_bytes(2, "big") + keccak(data) for sender, data in listed)
    return Digest(tagged_hash(name, ceremony.context, len(listed), keccak(body)))


def _head(ceremony: Ceremony, kind: int, sender: int) -> bytes:
    return MAGIC + bytes([kind]) + ceremony.context + sender.to_bytes(2, "big")


class _Reader:
    """Takes a message apart; every refusal names the sender."""

    def __init__(self, ceremony: Ceremony, data: bytes, kind: int, sender: int) -> None:
        ceremony.require_trustee(sender)
        self._data, self._at, self._sender = data, _HEAD_BYTES, sender
        if data[:_HEAD_BYTES] != _head(ceremony, kind, sender):
            raise MessageRefused("a message of another ceremony, kind, version or sender", trustee=sender)

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise MessageRefused("the message ends too early", trustee=self._sender)
        self._at += size
        return part

    def points(self, count: int) -> list[G1Point]:
        try:
            points = decode_points(self.take(count * POINT_BYTES), count=count)
        except DepositError as err:
            raise MessageRefused(str(err), trustee=self._sender) from err
        return points

    def proof(self) -> Proof:
        try:
            return Proof.decode(self.take(PROOF_BYTES))
        except DepositError as err:
            raise MessageRefused(str(err), trustee=self._sender) from err

    def end(self) -> None:
        if self._at != len(self._data):
            raise MessageRefused("bytes follow the message", trustee=self._sender)
