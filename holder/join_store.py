"""The parts of private joins on this holder's disk: its own before they leave, the other side's as they come.

What is here follows from secrets that `HolderStore.keep` put on disk before, with a higher epoch: the same secrets make the same
parts, so a part may be written again after a crash and is the same. The exchange has had each in the clear: none is sealed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Engine, and_, func, insert, select, update

from holder.errors import OnceOnly
from holder.tables import join_parts as parts
from ledger.database import read_transaction, write_transaction
from ledger.types import Digest

_GONE = func.length(parts.c.frame) == 0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one session."""

    request_id: Digest
    session: bytes
    number: int


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as it was signed; `receipt` is the broker's, of our own ones once it came."""

    number: int
    frame: bytes = field(repr=False)
    message_hash: Digest
    receipt: bytes | None = None


class JoinStore:
    """The table of parts.

    Args:
        engine: of the holder's store, whose `create_tables` makes this table too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, round_: Round, part: StoredPart) -> None:
        """Keep a part; the same one again changes nothing.

        Raises:
            OnceOnly: another one stands in its place.
        """
        with write_transaction(self._engine) as connection:
            where = and_(_of(round_), parts.c.part == part.number)
            found = connection.execute(select(parts.c.message_hash).where(where)).scalar()
            if found is None:
                values = {"frame": part.frame, "message_hash": part.message_hash, "receipt": part.receipt}
                connection.execute(insert(parts).values(**_key(round_), part=part.number, **values))
            elif found != part.message_hash:
                raise OnceOnly(f"part {part.number} of round {round_.number} is stored with other bytes")
            else:
                connection.execute(update(parts).where(and_(where, _GONE)).values(frame=part.frame))

    def count(self, round_: Round) -> int:
        """Return how many parts of a round are here, which are always its first ones."""
        with read_transaction(self._engine) as connection:
            return int(connection.execute(select(func.count()).where(_of(round_), ~_GONE)).scalar_one())

    def unsent(self, round_: Round) -> list[int]:
        """Return the numbers of our own parts that have no receipt yet, ascending."""
        wanted = select(parts.c.part).where(_of(round_), parts.c.receipt.is_(None)).order_by(parts.c.part)
        with read_transaction(self._engine) as connection:
            return [int(number) for number in connection.execute(wanted).scalars()]

    def put_receipt(self, round_: Round, number: int, receipt: bytes) -> None:
        """Keep the broker's receipt for a part; the first one stays."""
        where = and_(_of(round_), parts.c.part == number, parts.c.receipt.is_(None))
        with write_transaction(self._engine) as connection:
            connection.execute(update(parts).where(where).values(receipt=receipt))

    def part(self, round_: Round, number: int) -> StoredPart | None:
        """Return a part, or None."""
        wanted = select(parts).where(_of(round_), parts.c.part == number)
        with read_transaction(self._engine) as connection:
            row = connection.execute(wanted).first()
        if row is None or not row.frame:
            return None
        return StoredPart(row.part, row.frame, Digest(row.message_hash), row.receipt)

    def read(self, round_: Round) -> Iterator[StoredPart]:
        """Yield the parts of a round in order, one at a time."""
        number = 0
        while (part := self.part(round_, number)) is not None:
            yield part
            number += 1

    def holds(self, request_id: bytes) -> bool:
        """Say whether there are parts of a request."""
        with read_transaction(self._engine) as connection:
            where = and_(parts.c.request_id == request_id, ~_GONE)
            return connection.execute(select(parts.c.part).where(where).limit(1)).first() is not None

    def hashes(self, round_: Round) -> list[bytes]:
        """Return the message hashes of a round's parts, in order, forgotten ones too."""
        wanted = select(parts.c.message_hash).where(_of(round_)).order_by(parts.c.part)
        with read_transaction(self._engine) as connection:
            return [bytes(found) for found in connection.execute(wanted).scalars()]

    def drop(self, request_id: bytes, *, own_only: bool = False) -> None:
        """Forget the parts of a request, but not their hashes: in their places only the same ones are taken again.

        Args:
            request_id: the request.
            own_only: only those that have a receipt, which are our own; what the other side sent stays.
        """
        where = and_(parts.c.request_id == request_id, ~_GONE)
        if own_only:
            where = and_(where, parts.c.receipt.is_not(None))
        with write_transaction(self._engine) as connection:
            connection.execute(update(parts).where(where).values(frame=b""))


def _key(round_: Round) -> dict[str, bytes | int]:
    return {"request_id": round_.request_id, "session": round_.session, "round": round_.number}


def _of(round_: Round) -> ColumnElement[bool]:
    same = and_(parts.c.request_id == round_.request_id, parts.c.session == round_.session)
    return and_(same, parts.c.round == round_.number)
