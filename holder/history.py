"""What the chain shows of this holder must be what this store remembers having sent: else it is a restored backup."""

from __future__ import annotations

import hmac

from holder.chain_side import RequestView
from holder.errors import CommitmentChanged, RestoredBackup
from holder.session_secrets import SessionSecrets
from holder.store import HolderStore
from holder.types import Stage, StoredRequest
from ledger.contracts import SessionKeys
from ledger.types import Address, Digest
from privacy.messages import Kind


class OwnHistory:
    """Compares the chain's record of this holder with the store's, once for each step that the chain shows.

    Args:
        store: the memory.
        secrets: of the sessions.
        me: the holder's account.
    """

    def __init__(self, store: HolderStore, secrets: SessionSecrets, me: Address) -> None:
        self._store, self._secrets, self._me = store, secrets, me
        self._compared: dict[Digest, tuple[bool, ...]] = {}

    def require(self, stored: StoredRequest, view: RequestView) -> None:
        """Compare what the chain shows of us with what we remember having sent.

        Raises:
            RestoredBackup: the chain knows more of us than this store.
            CommitmentChanged: the chain shows other hashes of ours than we sent.
        """
        request_id, me = stored.request_id, self._me
        approved, shared = view.approved.get(me), view.shared.get(me)
        contributed, posted = view.contributed.get(me), me in view.posted
        seen = (approved is not None, shared is not None, contributed is not None, posted)
        if self._compared.get(request_id) == seen:
            return
        if approved is not None and not self._is_ours(stored, approved.keys):
            raise RestoredBackup("the chain shows an approval of ours that this store does not know")
        if shared is not None:
            self._require_sent(request_id, Kind.BUNDLE, shared.bundle_hash)
        if contributed is not None:
            self._require_sent(request_id, Kind.MASKED_INPUT, contributed.input_hash)
            if contributed.commitment != self._store.secret(request_id, "commitment"):
                raise CommitmentChanged("the chain shows another commitment of ours than the one stored")
        if posted and self._store.message(request_id, Kind.UNMASK) is None:
            raise RestoredBackup("the chain shows an unmask message of ours that this store does not know")
        self._compared[request_id] = seen

    def forget(self, request_id: Digest) -> None:
        """Drop what was compared of one request."""
        self._compared.pop(request_id, None)

    def forget_all(self) -> None:
        """Compare everything again: the chain lost blocks."""
        self._compared.clear()

    def _is_ours(self, stored: StoredRequest, keys: SessionKeys) -> bool:
        if stored.stage in (Stage.SEEN, Stage.PENDING_HUMAN):
            return False
        return self._secrets.public_keys(stored.request_id) == keys

    def _require_sent(self, request_id: Digest, kind: Kind, shown: bytes) -> None:
        message = self._store.message(request_id, kind)
        if message is None:
            raise RestoredBackup(
                f"the chain shows a {kind.name.lower()} of ours that this store does not know"
            )
        if not hmac.compare_digest(message.message_hash, shown):
            raise CommitmentChanged(
                f"the chain shows another {kind.name.lower()} of ours than the one stored"
            )
