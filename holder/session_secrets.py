"""The session secrets of live requests, read from the store once and kept while the request lives.

Opening them derives public keys, and sealing a share for a peer agrees on the key that opens that peer's share later: kept,
both are done once a request instead of once a step. The store stays the memory; nothing here outlives the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holder.store import HolderStore
from ledger.contracts import SessionKeys
from ledger.types import Digest

if TYPE_CHECKING:
    from privacy.noise import NoiseSource
    from privacy.sealed_sum import HolderSecrets
    from privacy.session import Session

SECRET_NAME = "session"  # noqa: S105 (the name of the stored secret, not one)


class SessionSecrets:
    """Session secrets by request.

    Args:
        store: where `approve` put them.
    """

    def __init__(self, store: HolderStore) -> None:
        self._store = store
        self._kept: dict[Digest, HolderSecrets] = {}

    def of(self, request_id: Digest) -> HolderSecrets:
        """Return the secrets that were drawn for a request.

        Raises:
            StoreError: there are none, or the stored bytes are damaged.
            StateCorrupt: they are no secrets of this version.
        """
        from privacy.sealed_sum import HolderSecrets

        found = self._kept.get(request_id)
        if found is None:
            found = HolderSecrets.from_bytes(self._store.secret(request_id, SECRET_NAME))
            self._kept[request_id] = found
        return found

    def public_keys(self, request_id: Digest) -> SessionKeys:
        """Return the keys that go with the approval."""
        public = self.of(request_id).public_keys()
        return SessionKeys(
            public.mask_key, public.share_key, public.e_x, public.e_parity, public.noise_commitment
        )

    def noise_source(self, request_id: Digest, session: Session) -> NoiseSource:
        """Return what this holder's noise in a session is derived from.

        Raises:
            SenderUnknown: no member of the roster has this holder's keys.
        """
        from privacy.noise import NoiseSource

        mine = self.of(request_id)
        return NoiseSource(mine.noise_seed, session.id, mine.index_in(session))

    def forget(self, request_id: Digest) -> None:
        """Drop a request's secrets from memory; the store keeps its own."""
        self._kept.pop(request_id, None)
