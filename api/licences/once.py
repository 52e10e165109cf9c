"""POSTs of a licence service that change something: each is answered once for its sender and its Idempotency-Key.

Who sends is proved by the body: a signed request, a presentation, a history. A repetition is the same body, and gets the answer that is
kept for it without being proved again, for by then the body is too old to prove anything; whoever has it has seen the first one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import Response

from api.once import KEY_HEADER, Call, finished, response_of
from api.store import AnswerStore
from ledger.database import make_engine
from ledger.licences.events import leaf_of_claims
from ledger.licences.sdjwt import parse

T = TypeVar("T")
DATABASE: Final = "answers.db"
FORGET_S: Final = 3600.0  # between two times that answers of more than a day are forgotten
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
    """The answers of one service, in a file beside its book. Safe to share between threads.

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
        """Forget the answers of more than a day ago."""
        self._store.forget_expired(int(self._now_s()))

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
