"""What holders exchange through the broker: each message checked against the chain, kept once, and receipted.

A receipt for a masked input binds the broker: the contract takes it as proof that the broker has the input. So
it is given only for a message of the right form, of the right sender, in time, and once that is on disk.

Source: docs/protocol.md §4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exchange.chainside import ChainSide
from exchange.errors import (
    MessageConflict,
    MessageNotCommitted,
    MessagePrivate,
    MessageTooEarly,
    MessageTooLate,
    NotYours,
)
from exchange.follower import Follower
from exchange.progress import Progress
from exchange.store import Store
from exchange.sums import cells_of
from exchange.types import MessageRecord, RequestRecord
from exchange.waiting import Waiting
from ledger.signing import Signer, require_signature
from ledger.types import Address, Closed, Digest, Withheld
from privacy.errors import SenderUnknown
from privacy.messages import Frame, Kind, decode_frame, receipt_digest, require_frame
from privacy.sealed_sum_broker import require_bundle, require_masked_input, require_unmask
from privacy.session import Session

_LATE: Final = "its deadline has passed on the chain"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame on its way through the checks."""

    frame: Frame
    sender: Address
    record: RequestRecord
    progress: Progress
    session: Session


class Messages:
    """The messages of all requests."""

    def __init__(
        self, *, chain: ChainSide, signer: Signer, store: Store, follower: Follower, waiting: Waiting
    ) -> None:
        self._chain, self._signer, self._store = chain, signer, store
        self._follower, self._waiting = follower, waiting

    def take(self, sender: Address, request_id: Digest, data: bytes) -> tuple[MessageRecord, bool]:
        """Take one frame and return it with its receipt, and whether it is new.

        Raises:
            RequestUnknown: no such request.
            NotYours: the sender is not in the roster.
            ProtocolError: the frame, its session, its sender or its payload is malformed or foreign.
            BadSignature: the frame is not signed by its sender.
            MessageTooEarly, MessageTooLate: the request is at another step.
            MessageNotCommitted: the sender put another hash on the chain.
            MessageConflict: the sender sent other bytes of this kind before; those stand.
        """
        frame = decode_frame(data)
        record = self._store.request(request_id)
        arrival = self._arrive(frame, sender, record)
        known = self._known(arrival)
        if known is not None:
            return self._same(arrival, known), False
        self._require_welcome(arrival)
        digest = receipt_digest(request_id, sender, frame.message_hash)
        message = MessageRecord(
            kind=int(frame.kind),
            sender=frame.sender,
            holder=sender,
            message_hash=Digest(frame.message_hash),
            frame=data,
            receipt=self._signer.sign(digest),
        )
        kept = self._store.add_message(request_id, arrival.session.id, message)
        self._waiting.touch(request_id)
        return self._same(arrival, kept), True

    def give(self, viewer: Address, request_id: Digest, kind: int) -> list[MessageRecord]:
        """Return the messages of one kind: bundles to the roster, unmask messages to this broker alone.

        Raises:
            RequestUnknown, NotYours, MessagePrivate
        """
        record = self._store.request(request_id)
        is_broker = viewer == self._chain.broker
        if kind not in (Kind.BUNDLE, Kind.UNMASK) or (kind == Kind.UNMASK and not is_broker):
            raise MessagePrivate(kind)
        progress = self._follower.progress(request_id, record.request)
        if viewer not in {event.holder for event in progress.approvals} and not is_broker:
            raise NotYours("exchange of messages", "the holders that approved the request")
        session = progress.session
        return [] if session is None else self._store.message_list(request_id, session.id, kind)

    # --- who sent it

    def _arrive(self, frame: Frame, sender: Address, record: RequestRecord) -> _Arrival:
        """Find a frame's session and place in the roster, if need be after one more look at the chain."""
        if sender not in record.holders:
            raise NotYours("exchange of messages", "the holders of the request")
        progress = self._follower.progress(record.request_id, record.request)
        if progress.session is None or not self._has_begun(frame, progress):
            self._follower.catch_up()
            progress = self._follower.progress(record.request_id, record.request)
        session = progress.session
        if session is None:
            raise MessageTooEarly(frame.kind, progress.stage.value)
        try:
            index = session.index_of(sender)
        except SenderUnknown as err:
            raise NotYours("exchange of messages", "the holders that approved the request") from err
        require_frame(frame, session, kind=frame.kind, sender=index)
        require_signature(sender, Digest(frame.message_hash), frame.signature)
        return _Arrival(frame, sender, record, progress, session)

    @staticmethod
    def _has_begun(frame: Frame, progress: Progress) -> bool:
        """Say whether the step of this message has begun, as far as the index knows."""
        if frame.kind is Kind.BUNDLE:
            return progress.is_roster_closed
        if frame.kind is Kind.MASKED_INPUT:
            return progress.is_sharing_closed
        return progress.sealed is not None

    def _known(self, arrival: _Arrival) -> MessageRecord | None:
        kind, sender = int(arrival.frame.kind), arrival.frame.sender
        return self._store.message(arrival.record.request_id, arrival.session.id, kind, sender)

    @staticmethod
    def _same(arrival: _Arrival, kept: MessageRecord) -> MessageRecord:
        if kept.message_hash != arrival.frame.message_hash:
            raise MessageConflict(kept.kind, kept.sender)
        return kept

    # --- whether it fits here and now

    def _require_welcome(self, arrival: _Arrival) -> None:
        frame, progress = arrival.frame, arrival.progress
        if isinstance(progress.ended, Closed | Withheld):
            raise MessageTooLate(frame.kind, f"the request is {progress.stage.value}")
        if not self._has_begun(frame, progress):
            raise MessageTooEarly(frame.kind, progress.stage.value)
        if frame.kind is Kind.BUNDLE:
            self._require_bundle(arrival)
        elif frame.kind is Kind.MASKED_INPUT:
            self._require_masked_input(arrival)
        else:
            sharers, survivors = progress.sharers, progress.survivors
            require_unmask(arrival.session, frame.sender, frame.payload, sharers=sharers, survivors=survivors)

    @staticmethod
    def _require_bundle(arrival: _Arrival) -> None:
        frame, progress = arrival.frame, arrival.progress
        shared = progress.shares.get(arrival.sender)
        if shared is not None and shared.bundle_hash != frame.message_hash:
            raise MessageNotCommitted(frame.kind, frame.sender)
        if shared is None and progress.is_sharing_closed:
            raise MessageTooLate(frame.kind, _LATE)
        require_bundle(arrival.session, frame.sender, frame.payload)

    @staticmethod
    def _require_masked_input(arrival: _Arrival) -> None:
        frame, progress = arrival.frame, arrival.progress
        contributed = progress.contributions.get(arrival.sender)
        if contributed is not None and contributed.input_hash != frame.message_hash:
            raise MessageNotCommitted(frame.kind, frame.sender)
        if contributed is None and progress.is_contributing_closed:
            raise MessageTooLate(frame.kind, _LATE)
        if arrival.sender not in progress.shares:
            raise MessageTooLate(frame.kind, "its sender did not share in time")
        if len(progress.shares) < arrival.session.params.floor:
            raise MessageTooLate(frame.kind, "too few holders shared: the request closes")
        cells = cells_of(arrival.record.plan)
        require_masked_input(arrival.session, frame.sender, frame.payload, cells=cells)
