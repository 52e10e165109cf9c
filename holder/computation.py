"""This holder's part of a plan: what its vector holds, by the plan's kind. The machine shares and masks it, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from holder.data import DataRoom
from holder.errors import RestoredBackup
from holder.session_secrets import SessionSecrets
from holder.store import HolderStore
from holder.types import StoredAsset, StoredRequest
from ledger.types import Digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.chain_side import RequestView
    from privacy.plan import Plan
    from privacy.session import Session


class Computation(Protocol):
    """Makes this holder's part of plans of one kind.

    All of it may be called again after a crash. What is drawn at random must be on disk before anything that depends on
    it leaves; the vector itself is put on disk by the machine, with the bundle, and never asked for again.
    """

    def prepare(self, stored: StoredRequest, plan: Plan) -> None:
        """Do what can be done while the others approve: read the data.

        Raises:
            Refusal: this holder cannot take part.
        """

    def vector(
        self, stored: StoredRequest, view: RequestView, session: Session, plan: Plan
    ) -> NDArray[np.int64] | None:
        """Return this holder's d cells, noise included; None while messages of others are awaited.

        Args:
            stored: the request.
            view: the chain's, with the roster closed.
            session: of that roster.
            plan: verified.

        Raises:
            Refusal: this holder cannot take part.
        """

    def bundle_rider(self, stored: StoredRequest, session: Session, plan: Plan) -> bytes:
        """Return what rides behind the sealed shares of the bundle; empty for most kinds."""

    def input_rider(
        self, stored: StoredRequest, session: Session, plan: Plan, riders: Mapping[int, bytes]
    ) -> bytes:
        """Return what rides behind the masked vector, once those who shared are known.

        Args:
            stored: the request.
            session: its session.
            plan: verified.
            riders: of the bundles of the others that shared, by index.

        Raises:
            Refusal: this holder cannot take part.
            ProtocolError: a rider is malformed; it names its sender.
        """

    def forget(self, request_id: Digest) -> None:
        """Drop what is kept in memory for a request."""


class SumComputation:
    """The plain sum: a cell for each value, this holder's sum and its noise share.

    Args:
        store: the memory.
        data: the rows.
        secrets: of the sessions, the noise seeds among them.
    """

    def __init__(self, store: HolderStore, data: DataRoom, secrets: SessionSecrets) -> None:
        self._store, self._data, self._secrets = store, data, secrets
        self._sums: dict[Digest, NDArray[np.int64]] = {}

    def prepare(self, stored: StoredRequest, plan: Plan) -> None:
        """See `Computation`."""
        self._read(stored, plan)

    def vector(
        self, stored: StoredRequest, view: RequestView, session: Session, plan: Plan
    ) -> NDArray[np.int64] | None:
        """See `Computation`."""
        return self.noisy_values(stored, session, plan)

    def noisy_values(self, stored: StoredRequest, session: Session, plan: Plan) -> NDArray[np.int64]:
        """Return this holder's sums, on the grids of their lanes, with its noise share."""
        from privacy.noise import draw_noise_share

        source = self._secrets.noise_source(stored.request_id, session)
        return self._read(stored, plan) + draw_noise_share(plan, session.params, source)

    def bundle_rider(self, stored: StoredRequest, session: Session, plan: Plan) -> bytes:
        """See `Computation`."""
        return b""

    def input_rider(
        self, stored: StoredRequest, session: Session, plan: Plan, riders: Mapping[int, bytes]
    ) -> bytes:
        """See `Computation`."""
        return b""

    def forget(self, request_id: Digest) -> None:
        """See `Computation`."""
        self._sums.pop(request_id, None)

    def _read(self, stored: StoredRequest, plan: Plan) -> NDArray[np.int64]:
        sums = self._sums.get(stored.request_id)
        if sums is None:
            asset = registered_asset(self._store, stored)
            sums = self._sums[stored.request_id] = self._data.cells(asset, plan)
        return sums


def registered_asset(store: HolderStore, stored: StoredRequest) -> StoredAsset:
    """Return the version of the asset that a request was approved with.

    Raises:
        RestoredBackup: the store does not have it.
    """
    asset = store.asset(stored.asset_id or b"", stored.asset_version or 0)
    if asset is None:
        raise RestoredBackup("this store does not have the asset that it approved with")
    return asset
