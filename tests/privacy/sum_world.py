"""A sealed sum with all parties in one process, for tests: deterministic secrets, and dropouts at every step."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from privacy.curve import SignedCells
from privacy.generators import GeneratorCache
from privacy.sealed_sum import (
    Aggregate,
    BuyerKey,
    HolderSecrets,
    Rand,
    aggregate,
    buyer_pad,
    commit,
    make_bundle,
    mask_input,
    open_bundles,
    release,
    remove_pads,
    verify_opening,
)
from privacy.sealed_sum_secrets import ReceivedShares
from privacy.session import Member, Session

GENERATORS = GeneratorCache(None)


def rand_of(seed: str) -> Rand:
    """Return a deterministic source of bytes: SHA-256 in counter mode."""
    drawn = 0

    def rand(count: int) -> bytes:
        nonlocal drawn
        stream = b""
        while len(stream) < count:
            stream += hashlib.sha256(f"{seed}/{drawn}".encode()).digest()
            drawn += 1
        return stream[:count]

    return rand


def digest_of(text: str) -> bytes:
    """Return 32 deterministic bytes."""
    return hashlib.sha256(text.encode()).digest()


def member_of(secrets: HolderSecrets, name: str) -> Member:
    """Return the approval of a holder with these secrets."""
    keys = secrets.public_keys()
    return Member(
        holder=digest_of(name)[:20],
        asset=digest_of("asset" + name),
        asset_version=1,
        line=digest_of("line" + name),
        mask_key=keys.mask_key,
        share_key=keys.share_key,
        e_x=keys.e_x,
        e_parity=keys.e_parity,
        noise_commitment=keys.noise_commitment,
    )


def session_of(
    members: Collection[Member],
    *,
    colluders: int = 0,
    dropouts: int = 0,
    min_holders: int = 1,
    request: str = "request",
) -> Session:
    """Return a session over these members."""
    return Session.build(
        chain_id=31337,
        ledger=digest_of("ledger")[:20],
        request_id=digest_of(request),
        plan_hash=digest_of("plan"),
        members=members,
        colluders=colluders,
        dropouts=dropouts,
        min_holders=min_holders,
    )


@dataclass
class World:
    """n holders, a buyer and a broker."""

    n: int
    cells: int = 3
    colluders: int = 0
    dropouts: int = 0
    seed: str = "world"
    request: str = "request"
    buyer: BuyerKey = field(init=False)
    session: Session = field(init=False)
    secrets: list[HolderSecrets] = field(init=False)

    def __post_init__(self) -> None:
        rand = rand_of(self.seed)
        self.buyer = BuyerKey.generate(rand)
        drawn = [HolderSecrets.generate(rand) for _ in range(self.n)]
        members = [member_of(secrets, f"{self.seed}{k}") for k, secrets in enumerate(drawn)]
        self.session = session_of(
            members, colluders=self.colluders, dropouts=self.dropouts, request=self.request
        )
        order = [self.session.index_of(member.holder) for member in members]
        self.secrets = [secrets for _, secrets in sorted(zip(order, drawn, strict=True), key=lambda p: p[0])]

    @property
    def everybody(self) -> range:
        """All indices."""
        return range(self.n)

    def input_of(self, holder: int) -> SignedCells:
        """Return a holder's cells: signed, up to 2^50."""
        stream = rand_of(f"{self.seed}/cells/{holder}")(8 * self.cells)
        return np.frombuffer(stream, dtype=">i8").astype(np.int64) >> 13

    @cached_property
    def bundles(self) -> dict[int, bytes]:
        """What everybody deals."""
        return {i: make_bundle(self.secrets[i], self.session, i) for i in self.everybody}

    @property
    def seed_hashes(self) -> dict[int, bytes]:
        """What everybody fixed on the chain."""
        return {i: self.secrets[i].seed_hash(self.session, i) for i in self.everybody}

    def received(self, holder: int, sharers: Collection[int]) -> ReceivedShares:
        """Open what a holder got from those that shared."""
        bundles = {j: self.bundles[j] for j in sharers}
        return open_bundles(self.secrets[holder], self.session, holder, bundles)

    def masked(self, holder: int, sharers: Collection[int]) -> bytes:
        """Return a holder's masked input."""
        return mask_input(
            self.secrets[holder],
            self.session,
            holder,
            sharers=sharers,
            buyer_key=self.buyer.compressed,
            cells=self.input_of(holder),
        )

    def unmask(self, holder: int, sharers: Collection[int], survivors: Collection[int]) -> bytes:
        """Return a holder's unmask message."""
        received = self.received(holder, sharers)
        return release(received, self.session, holder, sharers=sharers, survivors=survivors).payload()

    def commitments(self, survivors: Collection[int]) -> dict[int, bytes]:
        """Return what the survivors committed to."""
        generators = GENERATORS.take(self.cells)
        return {i: commit(generators, self.input_of(i), self.secrets[i].blinding) for i in survivors}

    def aggregate(
        self,
        sharers: Collection[int],
        survivors: Collection[int],
        unmaskers: Collection[int],
        *,
        masked: dict[int, bytes] | None = None,
        unmasks: dict[int, bytes] | None = None,
    ) -> Aggregate:
        """Run the broker's step on what the holders send; `masked` and `unmasks` replace single messages."""
        inputs = {i: self.masked(i, sharers) for i in survivors}
        messages = {i: self.unmask(i, sharers, survivors) for i in unmaskers}
        return aggregate(
            self.session,
            cells=self.cells,
            sharers=sharers,
            masked={**inputs, **(masked or {})},
            unmasks={**messages, **(unmasks or {})},
            seed_hashes=self.seed_hashes,
        )

    def opened(self, payload: bytes, survivors: Collection[int]) -> list[int]:
        """Do the buyer's part: remove the pads, verify, return the sums."""
        pads = [
            buyer_pad(self.session.id, i, self.buyer.secret, self.session.members[i].e_compressed)
            for i in survivors
        ]
        sums, blinding = remove_pads(payload, pads)
        verify_opening(GENERATORS.take(self.cells), self.commitments(survivors), sums, blinding)
        result: list[int] = sums.tolist()
        return result

    def expected(self, survivors: Collection[int]) -> list[int]:
        """Return the plain sums."""
        result: list[int] = np.sum([self.input_of(i) for i in survivors], axis=0).tolist()
        return result
