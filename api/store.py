"""What the HTTP edge remembers: nonces, sessions, and answers to POSTs for their repetition.

Nothing here lives longer than a day, so the tables are made when they are missing, and a changed one gets a new name
instead of a migration. Tokens and keys are kept as hashes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from exchange.errors import IdempotencyConflict, IdempotencyInProgress, NonceInvalid, RequestReplayed
from ledger.database import read_transaction, write_transaction
from ledger.types import Address

IDEMPOTENCY_TTL_S: Final = 86_400
UNFINISHED: Final = 0  # status of a POST that is being answered

metadata = MetaData()
sign_in_nonces = Table(
    "api_sign_in_nonces",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
sessions = Table(
    "api_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("address", LargeBinary, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
http_nonces = Table(
    "api_http_nonces",
    metadata,
    Column("address", LargeBinary, primary_key=True),
    Column("nonce", LargeBinary, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
idempotency = Table(
    "api_idempotency",
    metadata,
    Column("scope", LargeBinary, primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("owner", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class HttpNonce:
    """The nonce of a signed request, and until when its repetition must be refused."""

    address: Address
    nonce: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class Once:
    """One POST: who sent it under which key, what it asks, and which process answers it."""

    scope: bytes
    key_hash: bytes
    body_hash: bytes
    owner: str
    now_s: int


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a POST was answered with."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it is kept."""

    address: Address
    key_hash: bytes
    expires_at: int


class AnswerStore:
    """Answers to POSTs for their repetition, behind one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with write_transaction(engine) as connection:
            metadata.create_all(connection, tables=[idempotency])

    def known(self, once: Once) -> StoredAnswer | None:
        """Return what a POST was answered with before, or None if it was not yet.

        Raises:
            IdempotencyConflict: the key was used for another request.
        """
        with read_transaction(self._engine) as connection:
            row = _find_once(connection, once)
        return (
            None if row is None or row["status"] == UNFINISHED else StoredAnswer(row["status"], row["body"])
        )

    def begin(self, once: Once) -> StoredAnswer | None:
        """Note that a POST is being answered, or return what it was answered with before.

        Raises:
            IdempotencyConflict: the key was used for another request.
            IdempotencyInProgress: the same request is being answered.
        """
        with write_transaction(self._engine) as connection:
            return _begin(connection, once)

    def finish(self, once: Once, answer: StoredAnswer) -> None:
        """Keep the answer for repetitions."""
        with write_transaction(self._engine) as connection:
            changed = update(idempotency).where(_is(once))
            connection.execute(changed.values(status=answer.status, body=answer.body))

    def give_up(self, once: Once) -> None:
        """Forget a POST that failed, so that it can be tried again under the same key."""
        with write_transaction(self._engine) as connection:
            connection.execute(delete(idempotency).where(_is(once), idempotency.c.status == UNFINISHED))

    def forget_expired(self, now_s: int) -> None:
        """Delete everything that no longer matters."""
        with write_transaction(self._engine) as connection:
            _forget_answers(connection, now_s)


class EdgeStore(AnswerStore):
    """The edge's tables behind one engine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        with write_transaction(engine) as connection:
            metadata.create_all(connection)

    def begin(self, once: Once, nonce: HttpNonce | None = None) -> StoredAnswer | None:
        """Do what `AnswerStore.begin` does, and use up the nonce of a signed request with it.

        Raises:
            RequestReplayed: the signed request's nonce was seen before.
            IdempotencyConflict: the key was used for another request.
            IdempotencyInProgress: the same request is being answered.
        """
        with write_transaction(self._engine) as connection:
            if nonce is not None:
                _use_http_nonce(connection, nonce)
            return _begin(connection, once)

    # --- sign-in

    def add_nonce(self, nonce: str, expires_at: int) -> None:
        """Keep a sign-in nonce that is given out."""
        with write_transaction(self._engine) as connection:
            connection.execute(insert(sign_in_nonces).values(nonce=nonce, expires_at=expires_at))

    def nonce_count(self) -> int:
        """Return how many sign-in nonces are outstanding."""
        with read_transaction(self._engine) as connection:
            return int(connection.execute(select(func.count()).select_from(sign_in_nonces)).scalar_one())

    def use_nonce(self, nonce: str, now_s: int) -> bool:
        """Use a nonce up that was given out; says whether it was, and still holds."""
        with write_transaction(self._engine) as connection:
            good = (sign_in_nonces.c.nonce == nonce) & (sign_in_nonces.c.expires_at > now_s)
            return connection.execute(delete(sign_in_nonces).where(good)).rowcount == 1

    def begin_session(
        self, nonce: str, token_hash: bytes, session: StoredSession, now_s: int
    ) -> StoredSession:
        """Turn a nonce into a session, once; the same token under the same key again is the same session.

        Raises:
            NonceInvalid: the nonce is unknown, used or expired.
            IdempotencyConflict: the address used the key for another session.
        """
        with write_transaction(self._engine) as connection:
            known = _find_session(connection, token_hash, now_s)
            if known is not None and known.key_hash == session.key_hash:
                return known
            same_key = (sessions.c.address == session.address) & (sessions.c.key_hash == session.key_hash)
            if connection.execute(select(sessions.c.address).where(same_key)).first() is not None:
                raise IdempotencyConflict
            good = (sign_in_nonces.c.nonce == nonce) & (sign_in_nonces.c.expires_at > now_s)
            if connection.execute(delete(sign_in_nonces).where(good)).rowcount != 1:
                raise NonceInvalid
            values = {name: getattr(session, name) for name in StoredSession.__dataclass_fields__}
            connection.execute(insert(sessions).values({"token_hash": token_hash, **values}))
            return session

    def session(self, token_hash: bytes, now_s: int) -> StoredSession | None:
        """Return the session of a token that has not expired, or None."""
        with read_transaction(self._engine) as connection:
            return _find_session(connection, token_hash, now_s)

    def end_session(self, token_hash: bytes) -> None:
        """Forget a session."""
        with write_transaction(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))

    def forget_expired(self, now_s: int) -> None:
        """Delete everything that no longer matters."""
        with write_transaction(self._engine) as connection:
            for table in (sign_in_nonces, sessions, http_nonces):
                connection.execute(delete(table).where(table.c.expires_at < now_s))
            _forget_answers(connection, now_s)


def _begin(connection: Connection, once: Once) -> StoredAnswer | None:
    row = _find_once(connection, once)
    if row is None:
        values = {"scope": once.scope, "key_hash": once.key_hash, "body_hash": once.body_hash}
        fresh = {"owner": once.owner, "status": UNFINISHED, "body": b"", "created_at": once.now_s}
        connection.execute(insert(idempotency).values({**values, **fresh}))
        return None
    if row["status"] != UNFINISHED:
        return StoredAnswer(row["status"], row["body"])
    if row["owner"] == once.owner:
        raise IdempotencyInProgress
    connection.execute(update(idempotency).where(_is(once)).values(owner=once.owner))
    return None  # the process that began it died


def _find_once(connection: Connection, once: Once) -> RowMapping | None:
    """Return the row of a POST's sender and key.

    Raises:
        IdempotencyConflict: it is of another request.
    """
    row = connection.execute(select(idempotency).where(_is(once))).mappings().one_or_none()
    if row is not None and row["body_hash"] != once.body_hash:
        raise IdempotencyConflict
    return row


def _forget_answers(connection: Connection, now_s: int) -> None:
    old = idempotency.c.created_at < now_s - IDEMPOTENCY_TTL_S
    connection.execute(delete(idempotency).where(old))


def _is(once: Once) -> ColumnElement[bool]:
    return (idempotency.c.scope == once.scope) & (idempotency.c.key_hash == once.key_hash)


def _use_http_nonce(connection: Connection, nonce: HttpNonce) -> None:
    same = (http_nonces.c.address == nonce.address) & (http_nonces.c.nonce == nonce.nonce)
    if connection.execute(select(http_nonces.c.nonce).where(same)).first() is not None:
        raise RequestReplayed
    values = {"address": nonce.address, "nonce": nonce.nonce, "expires_at": nonce.expires_at}
    connection.execute(insert(http_nonces).values(values))


def _find_session(connection: Connection, token_hash: bytes, now_s: int) -> StoredSession | None:
    good = (sessions.c.token_hash == token_hash) & (sessions.c.expires_at > now_s)
    row = connection.execute(select(sessions).where(good)).mappings().one_or_none()
    if row is None:
        return None
    return StoredSession(Address(row["address"]), row["key_hash"], row["expires_at"])
