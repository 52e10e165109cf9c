"""The rounds of a private join through the exchange: signed and on disk before they leave, checked as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from holder.chain_side import RequestView
from holder.errors import ExchangeMalformed, ExchangeProblem, JoinMismatch, ReceiptRejected, RestoredBackup
from holder.exchange_client import Exchange
from holder.join_store import JoinStore, Round, StoredPart
from ledger.errors import BadSignature
from ledger.signing import Signer, require_signature
from ledger.types import Address, Digest
from privacy.errors import ProtocolError
from privacy.join.errors import JoinError
from privacy.join.kind import JoinPlan
from privacy.join.transport import read_place, round_parts, round_sender
from privacy.messages import (
    Frame,
    Kind,
    decode_frame,
    decode_frames,
    message_hash,
    receipt_digest,
    require_frame,
)
from privacy.plan import Plan
from privacy.session import Session

_CONFLICT: Final = "message-conflict"


class JoinMail:
    """Sends and fetches the rounds of one join.

    Args:
        store: where every part stands.
        exchange: what passes them on.
        signer: the holder's account.
        view: the request as the chain has it.
        session: of both sides.
        plan: verified.
    """

    def __init__(
        self,
        store: JoinStore,
        exchange: Exchange,
        signer: Signer,
        *,
        view: RequestView,
        session: Session,
        plan: Plan,
    ) -> None:
        self._store, self._exchange, self._signer = store, exchange, signer
        self._view, self._session, self._plan = view, session, plan
        if not isinstance(plan.terms, JoinPlan):
            raise JoinMismatch("the plan is of no join")
        self._terms = plan.terms

    # --- our own

    def write(self, number: int, parts: Iterable[bytes]) -> None:
        """Sign the parts of a round and put them on disk; what stands there already is left.

        Args:
            number: of the round, which is ours.
            parts: its payloads in order, the same ones in every run.

        Raises:
            OnceOnly: other bytes stand there.
        """
        me = self._session.index_of(self._signer.address)
        for place, payload in enumerate(parts):
            digest = message_hash(Kind.JOIN, self._session.id, me, payload)
            frame = Frame(Kind.JOIN, self._session.id, me, payload, self._signer.sign(digest)).encode()
            self._store.put(self._round(number), StoredPart(place, frame, Digest(digest)))

    def is_written(self, number: int) -> bool:
        """Say whether all parts of a round are on disk, ours or fetched."""
        return self._store.count(self._round(number)) == self._count(number)

    def deliver(self, number: int) -> None:
        """Hand the parts of a round to the exchange until each has its receipt.

        Raises:
            ReceiptRejected: a receipt is not the broker's signature over its part.
            RestoredBackup: the exchange has other bytes of ours.
            ExchangeError: not now; the next call goes on where this one stopped.
        """
        round_ = self._round(number)
        for place in self._store.unsent(round_):
            part = self._store.part(round_, place)
            if part is not None:
                self._store.put_receipt(round_, place, self._post(part))

    def _post(self, part: StoredPart) -> bytes:
        request_id = self._view.opened.request_id
        try:
            given = self._exchange.post_message(request_id, part.frame)
        except ExchangeProblem as err:
            if err.kind.endswith(_CONFLICT):
                raise RestoredBackup("the exchange has another part of ours") from err
            raise
        digest = receipt_digest(request_id, self._signer.address, part.message_hash)
        try:
            require_signature(self._view.opened.request.broker, Digest(digest), given.receipt)
        except BadSignature as err:
            raise ReceiptRejected(f"receipt of a part: {err}") from err
        return given.receipt

    # --- the other side's

    def fetch(self, number: int) -> bool:
        """Fetch what has come of a round of the other side; True once all of it is on disk.

        Raises:
            JoinMismatch: the other side signed a part that is not of this join.
            ExchangeMalformed: the exchange gave something that the other side did not sign.
            ExchangeError: not now; the next call goes on where this one stopped.
        """
        round_, count = self._round(number), self._count(number)
        have = self._store.count(round_)
        while have < count:
            given = self._exchange.join_parts(self._view.opened.request_id, number, have)
            taken = have
            for frame in self._frames(given):
                self._take(frame, round_, have)
                have += 1
            if have == taken:
                return False
        return True

    def read(self, number: int) -> Iterator[bytes]:
        """Yield the payloads of a round in order, each read from disk when it is its turn."""
        for part in self._store.read(self._round(number)):
            yield decode_frame(part.frame).payload

    @staticmethod
    def _frames(given: bytes) -> list[Frame]:
        try:
            return decode_frames(given)
        except ProtocolError as err:
            raise ExchangeMalformed(f"the exchange gave no frames: {err}") from err

    def _take(self, frame: Frame, round_: Round, number: int) -> None:
        """Check a part and put it on disk."""
        sender = round_sender(self._plan, self._terms, self._session, round_.number)
        holder = Address(self._session.members[sender].holder)
        try:
            payload = require_frame(frame, self._session, kind=Kind.JOIN, sender=sender)
            require_signature(holder, Digest(frame.message_hash), frame.signature)
        except (ProtocolError, BadSignature) as err:
            raise ExchangeMalformed(f"a part that the other side did not sign: {err}") from err
        try:
            place = read_place(self._plan, self._terms, self._session, sender, payload)
        except JoinError as err:
            raise JoinMismatch(f"a part of the other side: {err}") from err
        if place != (round_.number, number):
            raise ExchangeMalformed(f"expected part {number} of round {round_.number}, got another")
        self._store.put(round_, StoredPart(number, frame.encode(), Digest(frame.message_hash)))

    # --- both

    def _round(self, number: int) -> Round:
        return Round(self._view.opened.request_id, self._session.id, number)

    def _count(self, number: int) -> int:
        return round_parts(self._plan, self._terms, self._session, number)
