"""Parameters, roster and session of one sealed sum, as every party derives them from the chain.

Source: docs/protocol.md §3.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from privacy.agreement import require_secp256k1_public, require_x25519_public
from privacy.encoding import ADDRESS_BYTES, WORD_BYTES, tagged_hash
from privacy.errors import BelowThreshold, ParametersInvalid, RosterInvalid, SenderUnknown, WeakKey

HOLDERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class SumParameters:
    """What n approvals allow. Built by `of`, so an impossible set does not exist.

    Attributes:
        holders: n, the length of the roster.
        threshold: t, the shares that open a secret; t > (n + c)/2, so no two sets of survivors both reach it.
        dropouts_max: d, the most holders that may be missing.
        divisor: m = n − c − d; each holder's noise share has parameter σ²/m.
        floor: f, the fewest contributions with which the request is sealed.
    """

    holders: int
    threshold: int
    dropouts_max: int
    divisor: int
    floor: int

    @classmethod
    def of(cls, *, n: int, colluders: int, dropouts: int, min_holders: int) -> "SumParameters":
        """Derive the parameters of a roster of n.

        Raises:
            ParametersInvalid: unless 1 ≤ t ≤ n ≤ 1024, m ≥ 1 and n ≥ min_holders.
        """
        if not 1 <= n <= HOLDERS_MAX:
            raise ParametersInvalid(f"holders: expected 1 to {HOLDERS_MAX}, got {n}")
        if min(colluders, dropouts, min_holders) < 0:
            raise ParametersInvalid("colluders, dropouts and fewest holders must not be negative")
        threshold = (n + colluders) // 2 + 1
        if threshold > n:
            raise ParametersInvalid(f"threshold {threshold} with {colluders} colluders exceeds {n} holders")
        dropouts_max = min(dropouts, n - threshold)
        divisor = n - colluders - dropouts_max
        if divisor < 1:
            raise ParametersInvalid(f"noise divisor: expected at least 1, got {divisor}")
        if n < min_holders:
            raise ParametersInvalid(f"holders: the policy asks for at least {min_holders}, got {n}")
        return cls(n, threshold, dropouts_max, divisor, max(threshold, n - dropouts_max, min_holders))


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """A holder's session keys, as its approval carries them.

    Attributes:
        mask_key, share_key: X25519 public keys.
        e_x, e_parity: E_i on secp256k1, compressed: 32-byte x, and 2 or 3.
        noise_commitment: H("noise-seed"; seed); it fixes the holder's noise for every session it may come to.
    """

    mask_key: bytes
    share_key: bytes
    e_x: bytes
    e_parity: int
    noise_commitment: bytes

    def __post_init__(self) -> None:
        for name in ("mask_key", "share_key", "e_x", "noise_commitment"):
            actual = len(getattr(self, name))
            if actual != WORD_BYTES:
                raise RosterInvalid(f"{name}: expected {WORD_BYTES} bytes, got {actual}")
        if self.e_parity not in (2, 3):
            raise RosterInvalid(f"e_parity: expected 2 or 3, got {self.e_parity}")


@dataclass(frozen=True, slots=True)
class Member:
    """One approval on the chain.

    Attributes:
        holder: the account's address, 20 bytes.
        asset: asset id.
        asset_version: the version that was approved.
        line: budget line id that is charged.
        mask_key, share_key, e_x, e_parity, noise_commitment: as in `PublicKeys`.
    """

    holder: bytes
    asset: bytes
    asset_version: int
    line: bytes
    mask_key: bytes
    share_key: bytes
    e_x: bytes
    e_parity: int
    noise_commitment: bytes

    def __post_init__(self) -> None:
        if len(self.holder) != ADDRESS_BYTES:
            raise RosterInvalid(f"holder: expected {ADDRESS_BYTES} bytes, got {len(self.holder)}")
        for name, value in (("asset", self.asset), ("line", self.line)):
            if len(value) != WORD_BYTES:
                raise RosterInvalid(f"{name}: expected {WORD_BYTES} bytes, got {len(value)}")
        _ = self.keys  # validates itself

    @property
    def keys(self) -> PublicKeys:
        """The session keys alone."""
        return PublicKeys(self.mask_key, self.share_key, self.e_x, self.e_parity, self.noise_commitment)

    @property
    def keys_hash(self) -> bytes:
        """keysHash_i, which binds the asset's version to the keys and to the seed of the noise."""
        words = self.mask_key, self.share_key, self.e_x, self.e_parity, self.noise_commitment
        return tagged_hash("keys", self.asset, self.asset_version, *words)

    @property
    def e_compressed(self) -> bytes:
        """E_i as 33 bytes."""
        return bytes([self.e_parity]) + self.e_x


@dataclass(frozen=True, slots=True)
class Session:
    """One roster of one request. Every message, mask and leaf is bound to `id`.

    Attributes:
        id: the session id.
        request_id, plan_hash: 32 bytes each.
        members: the approvals, ascending by the holder's address; the position is the index i.
        params: thresholds and floors.
    """

    id: bytes
    request_id: bytes
    plan_hash: bytes
    members: tuple[Member, ...]
    params: SumParameters

    @classmethod
    def build(
        cls,
        *,
        chain_id: int,
        ledger: bytes,
        request_id: bytes,
        plan_hash: bytes,
        members: Iterable[Member],
        colluders: int,
        dropouts: int,
        min_holders: int,
    ) -> "Session":
        """Derive the session from what the chain shows; the order of `members` does not matter.

        Raises:
            ParametersInvalid: no sum is possible with this many approvals.
            RosterInvalid: a holder twice, or a key that is no usable point; `sender` is its index.
        """
        roster = tuple(sorted(members, key=lambda member: member.holder))
        params = SumParameters.of(
            n=len(roster), colluders=colluders, dropouts=dropouts, min_holders=min_holders
        )
        _require_roster(roster)
        session_id = tagged_hash(
            "session", chain_id, ledger, request_id, plan_hash, len(roster), roster_hash(roster)
        )
        return cls(session_id, request_id, plan_hash, roster, params)

    @property
    def n(self) -> int:
        """The number of holders in the roster."""
        return len(self.members)

    def index_of(self, holder: bytes) -> int:
        """Return a holder's index.

        Raises:
            SenderUnknown: the holder is not in the roster.
        """
        for index, member in enumerate(self.members):
            if member.holder == holder:
                return index
        raise SenderUnknown("the holder is not in the roster of this session")

    def require_index(self, index: int) -> None:
        """Refuse an index outside the roster.

        Raises:
            SenderUnknown: the index is not in [0, n).
        """
        if not 0 <= index < self.n:
            raise SenderUnknown(f"index: expected 0 to {self.n - 1}, got {index}")

    def require_sharers(self, sharers: Collection[int]) -> tuple[int, ...]:
        """Return who shared, ascending; they must be able to reach the floor.

        Raises:
            SenderUnknown: an index outside the roster.
            BelowThreshold: fewer than the floor.
        """
        return self._require_subset(sharers, "holders that shared")

    def require_survivors(self, survivors: Collection[int], sharers: Collection[int]) -> tuple[int, ...]:
        """Return the survivors, ascending: they shared, and they reach the floor.

        Raises:
            SenderUnknown: a survivor that did not share, or an index outside the roster.
            BelowThreshold: fewer than the floor.
        """
        strangers = sorted(set(survivors) - set(sharers))
        if strangers:
            raise SenderUnknown("a survivor did not share", sender=strangers[0])
        return self._require_subset(survivors, "survivors")

    def _require_subset(self, indices: Collection[int], what: str) -> tuple[int, ...]:
        ordered = tuple(sorted(set(indices)))
        for index in ordered:
            self.require_index(index)
        if len(ordered) < self.params.floor:
            raise BelowThreshold(what, expected=self.params.floor, actual=len(ordered))
        return ordered


def roster_hash(members: Iterable[Member]) -> bytes:
    """Return R_n, the chained hash over the roster in its order."""
    digest = bytes(WORD_BYTES)
    for member in members:
        digest = tagged_hash("roster", digest, member.holder, member.line, member.keys_hash)
    return digest


def _require_roster(roster: tuple[Member, ...]) -> None:
    holders = [member.holder for member in roster]
    if len(set(holders)) != len(holders):
        raise RosterInvalid("a holder appears twice in the roster")
    for index, member in enumerate(roster):
        try:
            require_x25519_public(member.mask_key)
            require_x25519_public(member.share_key)
            require_secp256k1_public(member.e_compressed)
        except WeakKey as err:
            raise RosterInvalid(f"a session key is unusable: {err}", sender=index) from err
