"""This holder's messages through the exchange: signed once, sent as stored, receipted; and its peers' bundles."""

from __future__ import annotations

from typing import Final

from holder.chain_side import RequestView
from holder.checks import require_bundle
from holder.errors import BundleMismatch, ExchangeProblem, ReceiptRejected, RestoredBackup
from holder.exchange_client import Exchange
from holder.store import HolderStore
from holder.types import OutMessage
from ledger.errors import BadSignature
from ledger.signing import Signer, require_signature
from ledger.types import Digest
from privacy.errors import ProtocolError
from privacy.messages import Frame, Kind, decode_frames, message_hash, receipt_digest
from privacy.session import Session

_CONFLICT: Final = "message-conflict"


class Mail:
    """Signs, delivers and fetches messages.

    Args:
        store: where every message stands before it leaves.
        exchange: what passes them on.
        signer: the holder's account.
    """

    def __init__(self, store: HolderStore, exchange: Exchange, signer: Signer) -> None:
        self._store, self._exchange, self._signer = store, exchange, signer

    def sign(self, kind: Kind, session: Session, me: int, payload: bytes) -> OutMessage:
        """Return a signed message, not yet stored."""
        digest = message_hash(kind, session.id, me, payload)
        frame = Frame(kind, session.id, me, payload, self._signer.sign(digest))
        return OutMessage(kind, frame.encode(), Digest(digest))

    def stored(self, request_id: Digest, kind: Kind) -> OutMessage:
        """Return a message as it was stored.

        Raises:
            RestoredBackup: the store lacks a message that the request's stage says was made.
        """
        message = self._store.message(request_id, kind)
        if message is None:
            raise RestoredBackup(
                f"this store lacks the {kind.name.lower()} of a request that it took part in"
            )
        return message

    def deliver(self, view: RequestView, kind: Kind) -> OutMessage:
        """Hand a stored message to the exchange until its receipt is stored, and return it with the receipt.

        Raises:
            ReceiptRejected: the receipt is not the broker's signature over this message.
            RestoredBackup: the exchange has other bytes of ours, before anything was unmasked.
            ExchangeError: not now.
        """
        request_id = view.opened.request_id
        message = self.stored(request_id, kind)
        if message.receipt is not None:
            return message
        try:
            given = self._exchange.post_message(request_id, message.frame)
        except ExchangeProblem as err:
            # Its word alone must not keep an unmask message back: unsigned, that goes on the chain, and is the same there.
            if err.kind.endswith(_CONFLICT) and kind is not Kind.UNMASK:
                raise RestoredBackup(f"the exchange has another {kind.name.lower()} of ours") from err
            raise
        digest = receipt_digest(request_id, self._signer.address, message.message_hash)
        try:
            require_signature(view.opened.request.broker, Digest(digest), given.receipt)
        except BadSignature as err:
            raise ReceiptRejected(f"receipt of a {kind.name.lower()}: {err}") from err
        self._store.put_receipt(request_id, kind, given.receipt)
        return self.stored(request_id, kind)

    def bundles(self, view: RequestView, session: Session, wanted: set[int]) -> dict[int, bytes] | None:
        """Fetch peers' bundles; each must have the hash on the chain and its sender's signature.

        Returns:
            The payloads by sender, or None while one is missing.

        Raises:
            BundleMismatch: a bundle is not the one that its sender put on the chain.
        """
        if not wanted:
            return {}
        found: dict[int, bytes] = {}
        try:
            for frame in decode_frames(self._exchange.bundles(view.opened.request_id)):
                if frame.sender in wanted and frame.session == session.id and frame.kind == Kind.BUNDLE:
                    require_bundle(frame, session, view)
                    found[frame.sender] = frame.payload
        except ProtocolError as err:
            raise BundleMismatch(f"the exchange gave no frames: {err}") from err
        return found if set(found) == wanted else None
