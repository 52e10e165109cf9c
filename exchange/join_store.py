"""Statements on the parts of private joins, for use inside `Store.read` and `Store.write`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from exchange.tables import join_parts
from exchange.types import MessageRecord
from ledger.types import Address, Digest
from privacy.messages import Kind


def find_part(
    connection: Connection, request_id: Digest, session: bytes, place: tuple[int, int]
) -> MessageRecord | None:
    """Return the part of a round, or None.

    Args:
        connection: inside a transaction.
        request_id, session: whose.
        place: round and part.
    """
    found = connection.execute(select(join_parts).where(_of(request_id, session, place)))
    row = found.mappings().one_or_none()
    return None if row is None else _part({**row})


def add_part(
    connection: Connection, request_id: Digest, session: bytes, place: tuple[int, int], record: MessageRecord
) -> MessageRecord:
    """Keep a part unless there is one in its place, and return the one that stands."""
    found = find_part(connection, request_id, session, place)
    if found is not None:
        return found
    values = {
        name: getattr(record, name) for name in ("sender", "holder", "message_hash", "frame", "receipt")
    }
    key = {"request_id": request_id, "session": session, "round": place[0], "part": place[1]}
    connection.execute(insert(join_parts).values({**key, **values}))
    return record


def parts_from(
    connection: Connection, request_id: Digest, session: bytes, place: tuple[int, int], limit: int
) -> list[MessageRecord]:
    """Return parts of a round, ascending: at most `limit`, from one on."""
    columns = join_parts.c
    same = and_(columns.request_id == request_id, columns.session == session, columns.round == place[0])
    wanted = select(join_parts).where(same, columns.part >= place[1]).order_by(columns.part).limit(limit)
    return [_part({**row}) for row in connection.execute(wanted).mappings()]


def drop_parts(connection: Connection, request_id: Digest) -> None:
    """Forget the parts of a request: nobody needs them once it has ended."""
    connection.execute(delete(join_parts).where(join_parts.c.request_id == request_id))


def _of(request_id: Digest, session: bytes, place: tuple[int, int]) -> ColumnElement[bool]:
    columns = join_parts.c
    whose = and_(columns.request_id == request_id, columns.session == session)
    return and_(whose, columns.round == place[0], columns.part == place[1])


def _part(row: Mapping[str, Any]) -> MessageRecord:
    return MessageRecord(
        kind=int(Kind.JOIN),
        sender=row["sender"],
        holder=Address(row["holder"]),
        message_hash=Digest(row["message_hash"]),
        frame=row["frame"],
        receipt=row["receipt"],
    )
