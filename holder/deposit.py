"""This holder's part of a sum over an encrypted deposit: a trustee adds up ciphertexts, encrypts its noise, and decrypts its part.

Everything follows from the seed of the noise and from the deposit, so a restart sends the same bytes. What is decrypted is
always a sum with the noise of those that shared, whose hashes stand on the chain before anybody decrypts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from holder.data import DataRoom
from holder.errors import DataRefused, RestoredBackup, ShareRefused, TrusteeError, VaultLocked
from holder.session_secrets import SessionSecrets
from holder.store import HolderStore
from holder.types import StoredRequest
from ledger.errors import LedgerError
from ledger.signing import Signer
from ledger.types import Digest
from privacy.errors import PrivacyError
from privacy.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.chain_side import RequestView
    from holder.deposit_data import HeldDeposit
    from holder.deposit_workers import DepositWorkers
    from privacy.deposit import Ciphertexts, KeyShare
    from privacy.noise import NoiseSource
    from privacy.plan import Plan
    from privacy.session import Session

KEPT_MAX: Final = 16
"""Requests whose sums are kept in memory between sharing and contributing; those of others are made again."""


class DepositComputation:
    """A sum over a deposit: a fresh key for the vector, noise and partial decryption beside it. See `Computation`.

    Args:
        store: the memory.
        data: where the deposit is.
        secrets: of the sessions, the noise seeds among them.
        signer: the holder's account, which seals the share.
    """

    def __init__(self, store: HolderStore, data: DataRoom, secrets: SessionSecrets, signer: Signer) -> None:
        self._store, self._data, self._secrets, self._signer = store, data, secrets, signer
        self._sums: dict[Digest, tuple[Ciphertexts, KeyShare]] = {}

    def prepare(self, stored: StoredRequest, plan: Plan) -> None:
        """See `Computation`: adds up the deposit's cells."""
        self._prepared(stored, plan)

    def vector(
        self, stored: StoredRequest, view: RequestView, session: Session, plan: Plan
    ) -> NDArray[np.int64] | None:
        """See `Computation`: the key that seals this trustee's partial decryption."""
        from privacy.deposit.riders import key_cells

        source = self._secrets.noise_source(stored.request_id, session)
        return key_cells(sealing_key(source), source.index, plan.holders)

    def bundle_rider(self, stored: StoredRequest, session: Session, plan: Plan) -> bytes:
        """See `Computation`: the encrypted noise."""
        return noise_rider(plan, session, self._secrets.noise_source(stored.request_id, session))

    def input_rider(
        self, stored: StoredRequest, session: Session, plan: Plan, riders: Mapping[int, bytes]
    ) -> bytes:
        """See `Computation`: the sums and their partial decryption, with the noise of all that shared, sealed."""
        from privacy.deposit.opening import partial_of, sum_noise
        from privacy.deposit.riders import seal

        sums, share = self._prepared(stored, plan)
        source = self._secrets.noise_source(stored.request_id, session)
        own = noise_rider(plan, session, source)
        try:
            noise = sum_noise(plan, session, {**riders, source.index: own})
            partial = partial_of(plan, session, share, sums, noise)
        except PrivacyError as err:
            raise ShareRefused(str(err)) from err
        self._sums.pop(stored.request_id, None)
        return seal(sealing_key(source), session.id, source.index, sums.encode(), partial)

    def forget(self, request_id: Digest) -> None:
        """See `Computation`; what was added up is kept for the masked vector, and that of few requests only."""
        while len(self._sums) > KEPT_MAX:
            self._sums.pop(next(iter(self._sums)), None)

    def _prepared(self, stored: StoredRequest, plan: Plan) -> tuple[Ciphertexts, KeyShare]:
        found = self._sums.get(stored.request_id)
        if found is None:
            asset = self._store.asset(stored.asset_id or b"", stored.asset_version or 0)
            if asset is None:
                raise RestoredBackup("this store does not have the asset that it approved with")
            held, policy = self._data.deposit(asset), Policy.from_mapping(asset.policy)
            found = add_up(held, plan, policy, self._data.deposit_workers), self._share(held, plan)
            self._sums[stored.request_id] = found
        return found

    def _share(self, held: HeldDeposit, plan: Plan) -> KeyShare:
        """Return this trustee's share, which serves this deposit and no other."""
        from holder.trustee import TrusteeKeys
        from privacy.deposit.terms import deposit_terms

        terms, keys = deposit_terms(plan), TrusteeKeys(held.share, self._signer)
        try:
            keys.require_bound(terms.key, held.deposit.root)
            return keys.share(terms.key)
        except (TrusteeError, VaultLocked, PrivacyError, LedgerError) as err:
            raise DataRefused(f"the share of the joint key: {err}") from err


def add_up(
    held: HeldDeposit, plan: Plan, policy: Policy, workers: DepositWorkers | None = None
) -> Ciphertexts:
    """Return the encrypted sums of a plan, on the grids of its lanes, without noise.

    Args:
        held: the deposit.
        plan: verified.
        policy: the plan's.
        workers: who adds; by default as many processes as the deposit is worth.

    Raises:
        DataRefused: the deposit is not the plan's, or a file of it is not what its root says.
    """
    from holder.deposit_workers import DepositWorkers
    from privacy.deposit.subcube import plan_selection
    from privacy.deposit.terms import deposit_policy, deposit_terms

    try:
        terms, own = deposit_terms(plan), deposit_policy(policy)
        held.deposit.require_root(terms.root)
        held.deposit.require_of(own.header(policy))
        selection = plan_selection(plan, policy, own.cube(policy))
        sums = (workers or DepositWorkers()).sum_cells(held.deposit, selection)
        factors: list[int] = []
        for lane in plan.lanes:
            factors += [1 << lane.grid_bits] * (lane.bins * plan.groups)
        return sums.times(factors)
    except PrivacyError as err:
        raise DataRefused(f"{type(err).__name__}: {err}") from err


def noise_rider(plan: Plan, session: Session, source: NoiseSource) -> bytes:
    """Return this trustee's encrypted noise share, with its proof: the same bytes for the same seed."""
    from privacy.deposit import encrypt_noise
    from privacy.deposit.terms import deposit_terms
    from privacy.noise import draw_noise_share
    from privacy.prg import derive_key

    terms = deposit_terms(plan)
    noise = draw_noise_share(plan, session.params, source)
    seed = derive_key(source.seed, session.id, "deposit-noise", source.index, 0)
    trustee = terms.trustee_of(session.members[source.index].holder)
    return encrypt_noise(terms.key, noise, seed, trustee=trustee, session=session.id)


def sealing_key(source: NoiseSource) -> bytes:
    """Return the key of this trustee's partial decryption in one session, KDF(seed, session, "deposit-seal", i, 0)."""
    from privacy.prg import derive_key

    return derive_key(source.seed, source.session, "deposit-seal", source.index, 0)
