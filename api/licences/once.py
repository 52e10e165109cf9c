"""What a licence service does once: POSTs under their sender's Idempotency-Key, and signed requests, through restarts too.

Who sends a POST is proved by the body: a signed request, a presentation, a history. A repetition is the same body, and gets the answer
that is kept for it without being proved again, for by then the body is too old to prove anything; whoever has it has seen the first one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import Response
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, delete, insert, select

from api.licences.signed import REQUEST_AGE_S, SignedRequest
from api.once import KEY_HEADER, Call, finished, response_of
from api.store import AnswerStore
from ledger.database import make_engine, write_transaction
from ledger.licences.events import leaf_of_claims
from ledger.licences.sdjwt import parse

T = TypeVar("T")
DATABASE: Final = "answers.db"
FORGET_S: Final = 3600.0  # between two times that answers of more than a day are forgotten
metadata = MetaData()
used_requests = Table(
    "api_licence_requests",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("request_id", LargeBinary, primary_key=True),
    Column("made_at", BigInteger, nullable=False, index=True),
)
DOCUMENTED: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": True,
            "description": "1 to 128 visible ASCII characters, fresh for each new request: the same key with the same body gets the "
            "same answer for a day, with another body `idempotency-conflict`.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[\x21-\x7e]+$"},
        }
    ]
}
"""What the OpenAPI document says of such a route beside the rest."""


def claimed_licence(presentation: str) -> str:
    """Return whose word a presentation says that it is: the leaf hash of its licence, which proves nothing.

    Raises:
        LicenceError: it is no presentation.
    """
    presented = parse(presentation)
    return leaf_of_claims(presented.jwt, presented.claims).hash.hex()


class Answers:
    """The answers of one service and the signed requests that were made of it, in a file beside its book. Safe to share between threads.

    Args:
        folder: of the book, which one process writes.
        now_s: clock, Unix seconds.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, folder: Path, *, now_s: Callable[[], float]) -> None:
        self._engine = make_engine(f"sqlite:///{folder / DATABASE}")
        self._store, self._now_s = AnswerStore(self._engine), now_s
        self._owner = secrets.token_hex(8)
        with write_transaction(self._engine) as connection:
            metadata.create_all(connection)

    def use_up(self, asked: SignedRequest) -> bool:
        """Note that a signed request is made, and say whether it is for the first time.

        Raises:
            DatabaseError: it is not noted.
        """
        row = {"issuer": asked.issuer, "request_id": asked.request_id}
        same = (used_requests.c.issuer == asked.issuer) & (used_requests.c.request_id == asked.request_id)
        with write_transaction(self._engine) as connection:
            if connection.execute(select(used_requests.c.made_at).where(same)).first() is not None:
                return False
            connection.execute(insert(used_requests).values(**row, made_at=asked.made_at))
            return True

    def once(
        self, call: Call, sender: str, *, prove: Callable[[], T], work: Callable[[T], tuple[int, Any]]
    ) -> Response:
        """Answer a POST once, and the same again at every repetition. One that fails may be tried again under the same key.

        Args:
            call: the POST.
            sender: as the body claims. It only chooses among answers; none is kept before `prove` bore it out.
            prove: verifies the body, changing nothing; raises if it is not the sender's.
            work: uses up what counts once, does it, and returns status and JSON body.

        Raises:
            IdempotencyKeyInvalid, IdempotencyConflict, IdempotencyInProgress
            DatabaseError: nothing was done.
        """
        scope = hashlib.sha256(sender.encode()).digest()
        this = call.once(scope, owner=self._owner, now_s=int(self._now_s()))
        known = self._store.known(this)
        if known is None:
            proved = prove()
            known = self._store.begin(this)
            if known is None:
                return finished(self._store, this, lambda: work(proved))
        return response_of(known)

    def forget(self) -> None:
        """Forget the answers of more than a day ago, and requests that have been too old to be taken for an hour."""
        now_s = int(self._now_s())
        self._store.forget_expired(now_s)
        too_old = used_requests.c.made_at < now_s - REQUEST_AGE_S - int(FORGET_S)
        with write_transaction(self._engine) as connection:
            connection.execute(delete(used_requests).where(too_old))

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
