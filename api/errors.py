"""The one table from exception class to RFC 9457 problem, and the errors of the HTTP edge itself.

A problem says what was expected and found. It never carries a secret, a record or personal data: the messages of
the three trees below do not, and of any other exception nothing is shown.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from exchange import errors as market
from ledger import errors as ledger
from ledger.licences import errors as licences
from ledger.log import errors as log
from privacy import errors as privacy
from privacy.types import Violation

PROBLEM_JSON: Final = "application/problem+json"
PROBLEM_PREFIX: Final = "urn:shuyao:problem:"
RETRY_AFTER_S: Final = 2


class ApiError(Exception):
    """Anything that the HTTP edge refuses by itself."""


class BodyTooLarge(ApiError):
    """A body over the limit of its route."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"expected a body of at most {limit} bytes")


class BodyTooSlow(ApiError):
    """A body that does not arrive in time, or whose sender has gone."""

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        super().__init__(f"expected more of the body within {within_s:g} s")


class MediaTypeUnsupported(ApiError):
    """A body of another type than the route takes."""

    def __init__(self, expected: str) -> None:
        self.expected = expected
        super().__init__(f"expected a body of type {expected}")


class CredentialsMissing(ApiError):
    """A request with neither a signature nor a token."""

    def __init__(self) -> None:
        super().__init__("expected the Shuyao-* signature headers or a bearer token")


class BodyInvalid(ApiError):
    """A body that does not fit the route's schema; every offence is a violation."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        self.violations = violations
        super().__init__(f"the request breaks {len(violations)} rules")


class LicenceRequestRejected(ApiError):
    """A signed request to a licence service does not verify, or may not ask this. `rule` names the failed check."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(f"request rejected ({rule}): {message}")


class NonceUnknown(ApiError):
    """A presentation answers no challenge of this service that is still open."""

    def __init__(self) -> None:
        super().__init__("expected a presentation over a nonce of this service that was not used yet")


class LineMalformed(ApiError):
    """A line of a stream is not what the route takes."""

    def __init__(self, expected: str) -> None:
        self.expected = expected
        super().__init__(f"expected {expected}")


class NotPublished(ApiError):
    """What is asked for is not published here, or not yet."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is not published here")


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem."""

    kind: str
    title: str
    status: int
    detail: str
    violations: tuple[Violation, ...] = ()

    def to_json(self, instance: str) -> bytes:
        """Return the document for a request to `instance`."""
        document = {
            "type": PROBLEM_PREFIX + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "violations": [each.to_json() for each in self.violations],
        }
        return json.dumps(document, ensure_ascii=False).encode()


# The most specific class of an exception that stands here gives the status. The type is the exception's own name.
STATUS: Final[dict[type[Exception], int]] = {
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    MediaTypeUnsupported: 415,
    CredentialsMissing: 401,
    BodyInvalid: 422,
    LicenceRequestRejected: 401,
    NonceUnknown: 409,
    LineMalformed: 422,
    NotPublished: 404,
    market.Unauthenticated: 401,
    market.SignInCrowded: 429,
    market.Forbidden: 403,
    market.Unknown: 404,
    market.AnswerNotReady: 409,
    market.Invalid: 422,
    market.CursorInvalid: 400,
    market.IdempotencyKeyInvalid: 400,
    market.IdempotencyConflict: 422,
    market.IdempotencyInProgress: 409,
    market.Conflict: 409,
    market.Unavailable: 503,
    ledger.HttpSignatureRejected: 401,
    ledger.SignInRejected: 401,
    ledger.BadSignature: 422,
    ledger.MalformedValue: 422,
    ledger.ChainError: 503,
    ledger.DatabaseError: 503,
    licences.LicenceError: 422,
    licences.BookError: 503,
    licences.EventRefused: 409,
    licences.LicenceUnknown: 404,
    licences.SlotUnknown: 404,
    licences.PrivateRecordErased: 410,
    licences.BearerError: 401,
    log.LogError: 503,
    log.EventConflict: 409,
    log.EntryMissing: 404,
    privacy.PlanRejected: 422,
    privacy.PolicyInvalid: 422,
    privacy.PlanInvalid: 422,
    privacy.ProtocolError: 422,
}
_QUIET: Final = (ledger.ChainError, ledger.DatabaseError)  # their messages are for the operator's log
INTERNAL: Final = Problem(
    "internal-error", "Internal error", 500, "the service failed; the operator's log has it"
)


def problem_of(error: Exception) -> Problem:
    """Return the problem that an exception is shown as."""
    known = next((each for each in type(error).__mro__ if each in STATUS), None)
    if known is None:
        return INTERNAL
    words = _words(type(error).__name__)
    detail = "try again later" if isinstance(error, _QUIET) else str(error)
    return Problem("-".join(words), " ".join(words).capitalize(), STATUS[known], detail, _violations(error))


def headers_of(problem: Problem) -> dict[str, str]:
    """Return the headers that go with a problem."""
    headers = {"content-type": PROBLEM_JSON, "cache-control": "no-store"}
    if problem.status in (429, 503):
        headers["retry-after"] = str(RETRY_AFTER_S)
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def http_problem(status: int, detail: str) -> Problem:
    """Return the problem for a plain HTTP status, such as an unknown path."""
    titles = {404: "Not found", 405: "Method not allowed", 400: "Bad request"}
    title = titles.get(status, f"Status {status}")
    return Problem(title.lower().replace(" ", "-"), title, status, detail)


def _violations(error: Exception) -> tuple[Violation, ...]:
    if isinstance(error, privacy.PolicyInvalid):
        return tuple(Violation("policy", problem) for problem in error.problems)
    found: Any = getattr(error, "violations", ())
    return tuple(found)


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", name)]
