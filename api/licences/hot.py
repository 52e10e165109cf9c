"""The hot route, `POST /licences/verify`: a verdict, and the durable record of the use before the answer leaves.

No model, no router, no thread: parsing and signatures are most of its time. Records of requests that come together share one sync.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from api.body import read_body
from api.errors import LineMalformed
from api.licences.turns import Turns
from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.licences.access import SALT_SIZE, AccessWriter, Use, make_record
from ledger.licences.errors import HiddenMandatoryField, IdentifierInvalid, LicenceError
from ledger.licences.group import Ticket
from ledger.licences.online import OnlineFacts
from ledger.licences.policy import TrustPolicy
from ledger.licences.reasons import Reason, State
from ledger.licences.sdjwt import Presented, parse
from ledger.licences.verify import Expected, Verdict, verify_facts

PATH: Final = "/licences/verify"
BODY_MAX: Final = 1 << 18
NO_AUDIENCE: Final = ""
JUDGED_EACH_PASS: Final = 4  # about a millisecond, before answers that are ready leave
_USES: Final = {State.VALID: Use.VALID, State.INVALID: Use.INVALID, State.UNKNOWN: Use.UNKNOWN}
_NO_USE: Final = frozenset(
    {
        Reason.WRONG_LOG,
        Reason.ISSUER_FORGED,
        Reason.KEY_UNKNOWN,
        Reason.TYPE_NOT_ALLOWED,
        Reason.CREDENTIAL_FORGED,
        Reason.NOT_IN_LOG,
    }
)  # what was shown is not the licence of that slot, so it is no use of it
_HEADERS: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class GroupWaiter:
    """Waits for group commits in an event loop: one wake-up for all requests of a group."""

    def __init__(self) -> None:
        self._waiting: dict[Future[Sequence[None]], list[asyncio.Future[None]]] = {}

    async def wait(self, ticket: Ticket[None]) -> None:
        """Wait until the ticket's group is durable.

        Raises:
            LedgerError: it is not, as the commit raised it.
        """
        group = ticket.group
        if not group.done():
            loop = asyncio.get_running_loop()
            own: asyncio.Future[None] = loop.create_future()
            waiting = self._waiting.get(group)
            if waiting is None:
                self._waiting[group] = [own]
                group.add_done_callback(lambda done: loop.call_soon_threadsafe(self._wake, done))
            else:
                waiting.append(own)
            await own
        group.result()

    def _wake(self, group: Future[Sequence[None]]) -> None:
        for waiter in self._waiting.pop(group):
            if not waiter.done():
                waiter.set_result(None)


class HotVerify:
    """The route.

    Args:
        online: the facts.
        policy: under which the verdicts are given.
        access: takes the records of uses.
        note: told each verdict.
        now_s: clock, Unix seconds.
    """

    path = PATH

    def __init__(
        self,
        online: OnlineFacts,
        policy: TrustPolicy,
        access: AccessWriter,
        *,
        note: Callable[[str], None],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._online, self._policy, self._access = online, policy, access
        self._note, self._now_s = note, now_s
        self._groups, self._turns = GroupWaiter(), Turns(JUDGED_EACH_PASS, access.flush)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST.

        Raises:
            BodyTooLarge, LineMalformed: the body is none.
            BookError: the use cannot be recorded, so no verdict is given.
        """
        body = await read_body(receive, BODY_MAX)
        await self._turns.take()
        text, expected = _read(body)
        verdict, ticket = self._judge(text, expected)
        if ticket is not None:
            await self._groups.wait(ticket)
        self._note(verdict.state)
        answer = _ENCODE(_answer(verdict)).encode()
        headers = [*_HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _judge(self, text: str, expected: Expected | None) -> tuple[Verdict, Ticket[None] | None]:
        presented = _parse(text)
        if isinstance(presented, Verdict):
            return presented, None
        now_s, facts = int(self._now_s()), self._online.facts(presented)
        verdict = verify_facts(facts, self._policy, now_s=now_s, expected=expected)
        if facts.inclusion is None or verdict.leaf_hash is None or verdict.reason in _NO_USE:
            return verdict, None
        salt = secrets.token_bytes(SALT_SIZE)
        audience = NO_AUDIENCE if expected is None else expected.audience
        record = make_record(
            verdict.leaf_hash, audience=audience, use=_USES[verdict.state], now_s=now_s, salt=salt
        )
        return verdict, self._access.enqueue(facts.inclusion.index, record, salt)


def _parse(text: str) -> Presented | Verdict:
    """Step 1 of docs/licence.md §11: the shape."""
    try:
        return parse(text)
    except HiddenMandatoryField:
        reason = Reason.HIDDEN_MANDATORY_FIELD
    except IdentifierInvalid:
        reason = Reason.IDENTIFIER_INVALID
    except LicenceError:
        reason = Reason.MALFORMED
    return Verdict(State.INVALID, reason, (), {}, None, None)


def _read(body: bytes) -> tuple[str, Expected | None]:
    try:
        value = parse_json(body, size_max=BODY_MAX)
    except MalformedValue as err:
        raise LineMalformed("a JSON object with a presentation") from err
    if not isinstance(value, dict):
        raise LineMalformed("a JSON object with a presentation")
    text, nonce, audience = value.get("presentation"), value.get("nonce"), value.get("audience")
    if not isinstance(text, str) or value.keys() - {"presentation", "nonce", "audience"}:
        raise LineMalformed("the members presentation, nonce and audience")
    if nonce is None and audience is None:
        return text, None
    if not isinstance(nonce, str) or not isinstance(audience, str):
        raise LineMalformed("nonce and audience together, both texts")
    try:
        audience.encode()
    except UnicodeEncodeError as err:  # a lone surrogate: the record of the use could not name the verifier
        raise LineMalformed("an audience with a form in UTF-8") from err
    return text, Expected(nonce, audience)


def _answer(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.state,
        "reason": verdict.reason,
        "code": verdict.code,
        "facts": verdict.facts,
        "missing": verdict.missing,
        "authentic": verdict.authentic,
    }


def openapi_path() -> dict[str, Any]:
    """Return the route's part of the OpenAPI 3.1 document."""
    text = {"type": "string"}
    body = {
        "type": "object",
        "properties": {"presentation": text, "nonce": text, "audience": text},
        "required": ["presentation"],
        "additionalProperties": False,
    }
    answer = {
        "type": "object",
        "properties": {
            "verdict": {"enum": [state.value for state in State]},
            "reason": {"type": ["string", "null"]},
            "code": {"type": ["integer", "null"]},
            "facts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "missing": {"type": "array", "items": text},
            "authentic": {
                "type": "boolean",
                "description": "What the credential says is its issuer's word, and logged.",
            },
        },
        "required": ["verdict", "reason", "code", "facts", "missing", "authentic"],
    }
    return {
        "post": {
            "tags": ["verifiers"],
            "summary": "Verify a presentation",
            "description": "The steps of docs/licence.md §11 over the log's own files. The use is recorded before the answer.",
            "operationId": "verify_licence",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "The verdict", "content": {"application/json": {"schema": answer}}},
                "4XX": {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {}}},
            },
        }
    }
