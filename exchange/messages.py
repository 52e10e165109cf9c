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
from exchange.joining import JoinRelay
from exchange.progress import Progress
from exchange.store import Store
from exchange.sums import plan_of
from exchange.types import MessageRecord, RequestRecord
from exchange.waiting import Waiting
from ledger.signing import Signer, require_signature
from ledger.types import Address, Closed, Digest, Withheld
from privacy.errors import SenderUnknown
from privacy.messages import Frame, Kind, decode_frame, receipt_digest, require_frame
from privacy.payloads import split_rider
from privacy.sealed_sum_broker import require_bundle, require_masked_input, require_unmask
from privacy.session import Session
from privacy.terms import PlanKind

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
        self._joins = JoinRelay(store)

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
        if frame.kind is Kind.JOIN:
            return self._take_part(arrival, data)
        known = self._known(arrival)
        if known is not None:
            return self._same(arrival, known), False
        self._require_welcome(arrival)
        kept = self._store.add_message(request_id, arrival.session.id, self._receipted(arrival, data))
        self._waiting.touch(request_id)
        return self._same(arrival, kept), True

    def _take_part(self, arrival: _Arrival, data: bytes) -> tuple[MessageRecord, bool]:
        """Take a part of a round of a private join."""
        frame, session, request_id = arrival.frame, arrival.session, arrival.record.request_id
        place = self._joins.require_place(arrival.record, session, frame)
        known = self._joins.known(request_id, session, place)
        if known is not None:
            return self._joins.same(place, frame, known), False
        self._joins.require_welcome(arrival.progress)
        kept = self._joins.add(request_id, session, place, self._receipted(arrival, data))
        return self._joins.same(place, frame, kept), True

    def _receipted(self, arrival: _Arrival, data: bytes) -> MessageRecord:
        """Return a message with the receipt for it."""
        frame, sender = arrival.frame, arrival.sender
        digest = receipt_digest(arrival.record.request_id, sender, frame.message_hash)
        return MessageRecord(
            kind=int(frame.kind),
            sender=frame.sender,
            holder=sender,
            message_hash=Digest(frame.message_hash),
            frame=data,
            receipt=self._signer.sign(digest),
        )

    def give(
        self, viewer: Address, request_id: Digest, kind: int, place: tuple[int, int] = (0, 0)
    ) -> list[MessageRecord]:
        """Return the messages of one kind: bundles to the roster, unmask messages to this broker alone.

        To the buyer of an answer over an encrypted deposit, bundles and masked vectors: what it decrypts rides on them.

        Args:
            viewer: who asks.
            request_id: of which request.
            kind: of which kind.
            place: of a join, the round and the first part that is wanted; a reply has a few.

        Raises:
            RequestUnknown, NotYours, MessagePrivate
        """
        record = self._store.request(request_id)
        if kind == Kind.JOIN:
            progress = self._follower.progress(request_id, record.request)
            return self._joins.give(viewer, request_id, progress, place)
        is_deposit = plan_of(record.plan).kind is PlanKind.DEPOSIT
        if is_deposit and viewer == record.request.buyer and kind in (Kind.BUNDLE, Kind.MASKED_INPUT):
            return self._give_riders(record, kind)
        is_broker = viewer == self._chain.broker
        if kind not in (Kind.BUNDLE, Kind.UNMASK) or (kind == Kind.UNMASK and not is_broker):
            raise MessagePrivate(kind)
        progress = self._follower.progress(request_id, record.request)
        if viewer not in {event.holder for event in progress.approvals} and not is_broker:
            raise NotYours("exchange of messages", "the holders that approved the request")
        session = progress.session
        return [] if session is None else self._store.message_list(request_id, session.id, kind)

    def _give_riders(self, record: RequestRecord, kind: int) -> list[MessageRecord]:
        """Return what rode beside an answered sum over a deposit, of those that count on the chain.

        Raises:
            MessagePrivate: the request is not answered yet.
        """
        request_id = record.request_id
        progress = self._follower.progress(request_id, record.request)
        session = progress.session
        if progress.answered is None or session is None:
            raise MessagePrivate(kind)
        wanted = progress.sharers if kind == Kind.BUNDLE else progress.survivors
        found = self._store.message_list(request_id, session.id, kind)
        return [message for message in found if message.sender in wanted]

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
        if frame.kind in (Kind.BUNDLE, Kind.JOIN):
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
        size = plan_of(arrival.record.plan).bundle_rider_size
        payload, _ = split_rider(frame.payload, size, sender=frame.sender)
        require_bundle(arrival.session, frame.sender, payload)

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
        plan = plan_of(arrival.record.plan)
        payload, _ = split_rider(frame.payload, plan.input_rider_size, sender=frame.sender)
        require_masked_input(arrival.session, frame.sender, payload, cells=plan.cells)
