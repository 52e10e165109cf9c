"""Answering each POST once: the same key and the same request get the same answer, also after a restart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from api.store import AnswerStore, Once, StoredAnswer
from exchange.errors import IdempotencyKeyInvalid

KEY_HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request as it came: its target is the path with its query, as on the request line."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def once(self, sender: bytes, *, owner: str, now_s: int) -> Once:
        """Return what makes this POST the same as another.

        Args:
            sender: whose keys are apart from everybody else's; empty for nobody's.
            owner: of the process that answers it.
            now_s: Unix seconds.

        Raises:
            IdempotencyKeyInvalid: the header is missing or malformed.
        """
        body_hash = _hash(self.method.encode(), self.target.encode(), self.body)
        return Once(sender, idempotency_key_hash(self), body_hash, owner, now_s)


async def call_of(request: Request) -> Call:
    """Read the request in full."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope["query_string"]
    target = path.decode("latin-1") + ("?" + query.decode("latin-1") if query else "")
    return Call(request.method, target, request.headers, await request.body())


TheCall = Annotated[Call, Depends(call_of)]


def idempotency_key_hash(call: Call) -> bytes:
    """Return the hash of a POST's Idempotency-Key.

    Raises:
        IdempotencyKeyInvalid: the header is missing or malformed.
    """
    key = call.headers.get(KEY_HEADER.lower())
    if key is None or not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalid("none" if key is None else f"{len(key)} characters")
    return hashlib.sha256(key.encode()).digest()


def finished(store: AnswerStore, this: Once, work: Callable[[], tuple[int, Any]]) -> Response:
    """Do what a POST that has begun asks, and keep the answer; one that fails is forgotten, so that it may be tried again.

    Args:
        store: where it has begun.
        this: the POST.
        work: does it, and returns status and JSON body.
    """
    try:
        status, body = work()
        answer = StoredAnswer(status, json.dumps(body, ensure_ascii=False).encode())
    except BaseException:
        store.give_up(this)
        raise
    store.finish(this, answer)
    return response_of(answer)


def response_of(answer: StoredAnswer) -> Response:
    """Return an answer as it is sent."""
    return Response(answer.body, answer.status, {"cache-control": "no-store"}, "application/json")


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
