"""The rounds of a private join, passed from one of its two holders to the other, in parts.

A part is taken after the roster is closed and until sharing is: after that no round can come any more. Its place, its length and
who sends it follow from the plan alone. Nobody but the two holders is given one.

Source: docs/protocol.md §4 and §6.
"""

from __future__ import annotations

from typing import Final

from exchange import join_store
from exchange.errors import MessageConflict, MessagePrivate, MessageTooEarly, MessageTooLate
from exchange.progress import Progress
from exchange.store import Store
from exchange.sums import plan_of
from exchange.types import MessageRecord, RequestRecord
from ledger.types import Address, Digest
from privacy.errors import FrameKindUnknown, PayloadMalformed
from privacy.messages import Frame, Kind
from privacy.plan import Plan
from privacy.session import Session
from privacy.terms import PlanKind

GIVEN_MAX: Final = 16
"""Parts in one reply: 16 MiB."""


class JoinRelay:
    """The parts of all joins.

    Args:
        store: where they stand.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def require_place(self, record: RequestRecord, session: Session, frame: Frame) -> tuple[int, int]:
        """Return the round and number of a part that its sender may send, of the length that it must have.

        Raises:
            FrameKindUnknown: the request joins nothing.
            PayloadMalformed: the part is not one of its sender's rounds, or not as the plan fixes it.
        """
        plan = plan_of(record.plan)
        if plan.kind is not PlanKind.JOIN:
            raise FrameKindUnknown("kind: the request joins nothing", sender=frame.sender)
        return require_part_of(plan, session, frame.sender, frame.payload)

    def known(self, request_id: Digest, session: Session, place: tuple[int, int]) -> MessageRecord | None:
        """Return the part that stands in a place, or None."""
        return self._store.read(lambda c: join_store.find_part(c, request_id, session.id, place))

    @staticmethod
    def require_welcome(progress: Progress) -> None:
        """Require that a part can still be of use.

        Raises:
            MessageTooEarly, MessageTooLate: the request is at another step.
        """
        if not progress.is_roster_closed:
            raise MessageTooEarly(Kind.JOIN, progress.stage.value)
        if progress.ended is not None or progress.is_sharing_closed:
            raise MessageTooLate(Kind.JOIN, "sharing is over: no round can come any more")

    def add(
        self, request_id: Digest, session: Session, place: tuple[int, int], message: MessageRecord
    ) -> MessageRecord:
        """Keep a part, and return what stands in its place."""
        return self._store.write(lambda c: join_store.add_part(c, request_id, session.id, place, message))

    @staticmethod
    def same(place: tuple[int, int], frame: Frame, kept: MessageRecord) -> MessageRecord:
        """Return what stands in a place.

        Raises:
            MessageConflict: it has other bytes.
        """
        if kept.message_hash != frame.message_hash:
            raise MessageConflict(kept.kind, kept.sender, place)
        return kept

    def give(
        self, viewer: Address, request_id: Digest, progress: Progress, place: tuple[int, int]
    ) -> list[MessageRecord]:
        """Return parts of a round, from one on, to the two holders that join.

        Raises:
            MessagePrivate: to anybody else.
        """
        session = progress.session
        if session is None or viewer not in {member.holder for member in session.members}:
            raise MessagePrivate(int(Kind.JOIN))
        return self._store.read(lambda c: join_store.parts_from(c, request_id, session.id, place, GIVEN_MAX))


def require_part_of(plan: Plan, session: Session, sender: int, payload: bytes) -> tuple[int, int]:
    """Return the round and number of a part, if its sender may send it and it has the length that the plan fixes.

    Raises:
        PayloadMalformed: not so.
    """
    from privacy.join.errors import JoinError
    from privacy.join.kind import JoinPlan
    from privacy.join.transport import read_place

    terms = plan.terms
    if not isinstance(terms, JoinPlan):
        raise PayloadMalformed("expected the plan of a join", sender=sender)
    try:
        return read_place(plan, terms, session, sender, payload)
    except JoinError as err:
        raise PayloadMalformed(f"part of a round: {err}", sender=sender) from err
