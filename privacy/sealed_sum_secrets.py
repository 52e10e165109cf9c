"""What a holder keeps for one session: its own secrets, and its peers' shares (docs/protocol.md §4).

Both are written to disk before a byte leaves. Everything a holder ever sends is a function of them, so a
restart sends the same bytes and never draws again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privacy.agreement import SECP256K1_ORDER, clamp, secp256k1_public, x25519, x25519_public
from privacy.encoding import WORD_BYTES, keccak, tagged_hash
from privacy.errors import SenderUnknown, StateCorrupt
from privacy.prg import CURVE_ORDER, UNIFORM_BYTES, derive_key, reduce_mod
from privacy.session import PublicKeys, Session
from privacy.shamir import FIELD_PRIME

Rand = Callable[[int], bytes]

_SECRETS_MAGIC = b"SYS\x02"
_SHARES_MAGIC = b"SYR\x01"
_SHARE_ENTRY_BYTES = 2 + 2 * WORD_BYTES


@dataclass(frozen=True, slots=True)
class HolderSecrets:
    """The secrets a holder draws for one session, before it approves.

    Attributes:
        mask_private: X25519 key of the pair masks, clamped and, as an integer, below 2^255 − 19.
        share_private: X25519 key that seals shares.
        e_private: e_i, secp256k1, 32 bytes.
        self_seed: b_i, a field element.
        blinding: r_i mod q.
        dealing_seed: from which the coefficients of both sharings are derived.
        noise_seed: from which the noise of every cell is derived. Who learns it can take this holder's noise off.

    The agreements with peers are kept with the object: sealing a share for a peer and opening that peer's need the
    same one.
    """

    mask_private: bytes = field(repr=False)
    share_private: bytes = field(repr=False)
    e_private: bytes = field(repr=False)
    self_seed: int = field(repr=False)
    blinding: int = field(repr=False)
    dealing_seed: bytes = field(repr=False)
    noise_seed: bytes = field(repr=False)
    _public: PublicKeys = field(init=False, repr=False, compare=False)
    _sealing: dict[bytes, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        keys = (self.mask_private, self.share_private, self.e_private, self.dealing_seed, self.noise_seed)
        if any(len(key) != WORD_BYTES for key in keys):
            raise StateCorrupt(f"session secrets: every key must be {WORD_BYTES} bytes")
        if clamp(self.mask_private) != self.mask_private or self.mask_integer >= FIELD_PRIME:
            raise StateCorrupt("session secrets: the mask key must be clamped and below 2^255 − 19")
        if not 0 < int.from_bytes(self.e_private, "big") < SECP256K1_ORDER:
            raise StateCorrupt("session secrets: e must be a secp256k1 secret")
        if not 0 <= self.self_seed < FIELD_PRIME or not 0 <= self.blinding < CURVE_ORDER:
            raise StateCorrupt("session secrets: self seed and blinding must be reduced")
        e_public = secp256k1_public(self.e_private)
        public = PublicKeys(
            mask_key=x25519_public(self.mask_private),
            share_key=x25519_public(self.share_private),
            e_x=e_public[1:],
            e_parity=e_public[0],
            noise_commitment=noise_commitment(self.noise_seed),
        )
        object.__setattr__(self, "_public", public)

    @classmethod
    def generate(cls, rand: Rand) -> "HolderSecrets":
        """Draw a session's secrets.

        Args:
            rand: returns that many bytes of the system's randomness, such as `secrets.token_bytes`.
        """
        mask_private = clamp(rand(WORD_BYTES))
        while int.from_bytes(mask_private, "little") >= FIELD_PRIME:
            mask_private = clamp(rand(WORD_BYTES))
        e_secret = 1 + reduce_mod(rand(UNIFORM_BYTES), SECP256K1_ORDER - 1)
        return cls(
            mask_private=mask_private,
            share_private=clamp(rand(WORD_BYTES)),
            e_private=e_secret.to_bytes(WORD_BYTES, "big"),
            self_seed=reduce_mod(rand(UNIFORM_BYTES), FIELD_PRIME),
            blinding=reduce_mod(rand(UNIFORM_BYTES), CURVE_ORDER),
            dealing_seed=rand(WORD_BYTES),
            noise_seed=rand(WORD_BYTES),
        )

    @property
    def mask_integer(self) -> int:
        """The mask key as the integer that RFC 7748 decodes from its bytes; what is shared of it."""
        return int.from_bytes(self.mask_private, "little")

    def mask_shared(self, peer_key: bytes, *, sender: int) -> bytes:
        """Return X25519(mask key, a peer's), from which the mask with that peer is made.

        Raises:
            WeakKey: the peer's public key has low order.
        """
        return x25519(self.mask_private, peer_key, sender=sender)

    def share_shared(self, peer_key: bytes, *, sender: int) -> bytes:
        """Return X25519(share key, a peer's), under which shares travel both ways.

        Raises:
            WeakKey: the peer's public key has low order.
        """
        shared = self._sealing.get(peer_key)
        if shared is None:
            shared = self._sealing[peer_key] = x25519(self.share_private, peer_key, sender=sender)
        return shared

    def public_keys(self) -> PublicKeys:
        """Return the keys that go with the approval."""
        return self._public

    def require_member(self, session: Session, me: int) -> None:
        """Refuse to act with keys that are not the ones the chain shows for this index.

        Raises:
            SenderUnknown: the index is outside the roster, or its keys are not ours.
        """
        session.require_index(me)
        if session.members[me].keys != self._public:
            raise SenderUnknown("the roster's keys at this index are not this holder's", sender=me)

    def index_in(self, session: Session) -> int:
        """Return the index of these keys in a roster.

        Raises:
            SenderUnknown: no member has them.
        """
        for index, member in enumerate(session.members):
            if member.keys == self._public:
                return index
        raise SenderUnknown("no member of this session has this holder's keys")

    def seed_hash(self, session: Session, me: int) -> bytes:
        """Return seedHash_i, which goes on the chain with the bundle's hash."""
        return seed_hash(session.id, me, self.self_seed)

    def coefficients(self, session: Session, name: str, me: int) -> list[int]:
        """Return the t − 1 coefficients of one sharing, the same whenever they are asked for."""
        count = session.params.threshold - 1
        key = derive_key(self.dealing_seed, session.id, name, me, me)
        encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        stream = encryptor.update(bytes(UNIFORM_BYTES * count))
        return [
            reduce_mod(stream[k : k + UNIFORM_BYTES], FIELD_PRIME)
            for k in range(0, len(stream), UNIFORM_BYTES)
        ]

    def to_bytes(self) -> bytes:
        """Encode for the holder's own store: magic and version, seven words, a checksum."""
        reduced = self.self_seed.to_bytes(32, "big") + self.blinding.to_bytes(32, "big")
        keys = self.mask_private + self.share_private + self.e_private
        return _with_checksum(_SECRETS_MAGIC + keys + reduced + self.dealing_seed + self.noise_seed)

    @classmethod
    def from_bytes(cls, data: bytes) -> "HolderSecrets":
        """Decode what `to_bytes` wrote.

        Raises:
            StateCorrupt: another version or length, a changed byte, or a value out of range.
        """
        body = _without_checksum(data, _SECRETS_MAGIC, "session secrets")
        if len(body) != 7 * WORD_BYTES:
            raise StateCorrupt(f"session secrets: expected {7 * WORD_BYTES} bytes, got {len(body)}")
        words = [body[k : k + WORD_BYTES] for k in range(0, len(body), WORD_BYTES)]
        mask, share, e_private, seed, blinding, dealing, noise = words
        reduced = int.from_bytes(seed, "big"), int.from_bytes(blinding, "big")
        return cls(mask, share, e_private, *reduced, dealing, noise)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """What one holder holds of one owner: a share of b_j and one of j's mask key. Only one ever leaves."""

    self_seed: int = field(repr=False)
    mask_key: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceivedShares:
    """The shares a holder got from everybody that shared, its own dealing included.

    `privacy.sealed_sum.release` turns it into an `Unmask`, which holds one share of each and is stored in its
    place.

    Attributes:
        session: session id.
        rows: by owner, ascending.
    """

    session: bytes
    rows: tuple[tuple[int, ShareRow], ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.session) != WORD_BYTES:
            raise StateCorrupt(f"received shares: the session must be {WORD_BYTES} bytes")
        if any(second <= first for first, second in pairwise(self.sharers)):
            raise StateCorrupt("received shares: owners must be ascending")
        if any(
            not 0 <= value < FIELD_PRIME for _, row in self.rows for value in (row.self_seed, row.mask_key)
        ):
            raise StateCorrupt("received shares: a share must be below 2^255 − 19")

    @property
    def sharers(self) -> tuple[int, ...]:
        """Whose shares are held, ascending."""
        return tuple(owner for owner, _ in self.rows)

    def to_bytes(self) -> bytes:
        """Encode for the holder's own store: magic and version, session, count, rows, a checksum."""
        rows = [
            owner.to_bytes(2, "big") + row.self_seed.to_bytes(32, "big") + row.mask_key.to_bytes(32, "big")
            for owner, row in self.rows
        ]
        return _with_checksum(_SHARES_MAGIC + self.session + b"".join(rows))

    @classmethod
    def from_bytes(cls, data: bytes) -> "ReceivedShares":
        """Decode what `to_bytes` wrote.

        Raises:
            StateCorrupt: another version or length, a changed byte, or a value out of range.
        """
        body = _without_checksum(data, _SHARES_MAGIC, "received shares")
        if len(body) < WORD_BYTES or (len(body) - WORD_BYTES) % _SHARE_ENTRY_BYTES:
            raise StateCorrupt(f"received shares: {len(body)} bytes are no session and rows")
        entries = [body[k : k + _SHARE_ENTRY_BYTES] for k in range(WORD_BYTES, len(body), _SHARE_ENTRY_BYTES)]
        return cls(body[:WORD_BYTES], tuple(_share_row(entry) for entry in entries))


def seed_hash(session: bytes, index: int, self_seed: int) -> bytes:
    """Return H("seed"; session, i, b_i): what a reconstructed b_i must match."""
    return tagged_hash("seed", session, index, self_seed)


def noise_commitment(noise_seed: bytes) -> bytes:
    """Return H("noise-seed"; seed): what a seed that is opened in an audit must match."""
    return tagged_hash("noise-seed", noise_seed)


def _share_row(entry: bytes) -> tuple[int, ShareRow]:
    seed, mask = entry[2 : 2 + WORD_BYTES], entry[2 + WORD_BYTES :]
    row = ShareRow(int.from_bytes(seed, "big"), int.from_bytes(mask, "big"))
    return int.from_bytes(entry[:2], "big"), row


def _with_checksum(data: bytes) -> bytes:
    return data + keccak(data)


def _without_checksum(data: bytes, magic: bytes, what: str) -> bytes:
    if data[: len(magic)] != magic:
        raise StateCorrupt(f"{what}: expected version {magic[-1]} of its own format")
    if len(data) < len(magic) + WORD_BYTES or keccak(data[:-WORD_BYTES]) != data[-WORD_BYTES:]:
        raise StateCorrupt(f"{what}: the checksum does not match")
    return data[len(magic) : -WORD_BYTES]
