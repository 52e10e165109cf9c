"""The error tree of `client`: everything this package raises on purpose is a `ClientError`.

Messages state what was expected and what was found, never a key, a pad or a cell.
"""

from privacy.types import Violation


class ClientError(Exception):
    """Anything the buyer's side refuses or cannot do."""


# --- talking to the exchange ---------------------------------------------------------------------------


class ExchangeUnreachable(ClientError):
    """The exchange did not answer: no connection, a time-out, or a broken connection."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"the exchange did not answer {target}: {reason}")
        self.target = target


class ExchangeReplyInvalid(ClientError):
    """The exchange answered with something that is not what the interface says."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"the exchange's reply to {target} is not usable: {problem}")
        self.target = target


class ExchangeProblem(ClientError):
    """The exchange refused, with a problem of RFC 9457.

    Attributes:
        status: the HTTP status.
        type: the problem's type, a URI reference or `about:blank`.
        detail: what the exchange says about this occurrence.
        violations: every rule that was broken, with its column and position.
    """

    def __init__(
        self,
        *,
        status: int,
        type_: str,
        title: str,
        detail: str,
        violations: tuple[Violation, ...] = (),
    ) -> None:
        lines = [f"{title} ({status})" + (f": {detail}" if detail else "")]
        lines += [f"  {violation}" for violation in violations]
        super().__init__("\n".join(lines))
        self.status = status
        self.type = type_
        self.title = title
        self.detail = detail
        self.violations = violations


class SignInRefused(ExchangeProblem):
    """401 or 403: the exchange does not accept the signature, or the buyer may not do this."""


class NotFound(ExchangeProblem):
    """404: the exchange knows no such listing or request."""


class Conflict(ExchangeProblem):
    """409: the request contradicts what the exchange already has."""


class QueryRejected(ExchangeProblem):
    """422: the query or the body breaks rules; `violations` has every one of them."""


class TooManyRequests(ExchangeProblem):
    """429: the exchange asks to wait."""


class ExchangeFailed(ExchangeProblem):
    """5xx: the exchange could not do its part; the call may be repeated."""


# --- what the buyer checks before it signs -------------------------------------------------------------


class QuoteMismatch(ClientError):
    """A quote that says something else than the buyer derived itself. Nothing was signed."""

    def __init__(self, field: str, *, expected: object, actual: object) -> None:
        super().__init__(
            f"the quote's {field} is not what the buyer derives: expected {expected}, got {actual}"
        )
        self.field = field
        self.expected = expected
        self.actual = actual


class QuoteExpired(ClientError):
    """A quote whose time, or whose first deadline on the chain, has passed."""


class ListingMismatch(ClientError):
    """A listing whose policy, assets or broker are not those on the chain."""


class DeploymentMismatch(ClientError):
    """Exchange, chain and settings do not name the same contracts, or the code there is not ours."""


# --- a request's life ----------------------------------------------------------------------------------


class RequestUnknown(ClientError):
    """A request id that this buyer's store does not have: without its key no answer can be opened."""

    def __init__(self, request_id: bytes) -> None:
        super().__init__(f"this buyer has no request 0x{request_id.hex()}")
        self.request_id = request_id


class RequestClosed(ClientError):
    """A request that ended without an answer; the price was refunded and nothing was charged."""

    def __init__(self, request_id: bytes, reason: str) -> None:
        super().__init__(f"request 0x{request_id.hex()} was closed: {reason}")
        self.request_id = request_id
        self.reason = reason


class RequestExpired(ClientError):
    """A signed request that was never opened before its first deadline: it can be signed anew."""

    def __init__(self, request_id: bytes) -> None:
        super().__init__(
            f"request 0x{request_id.hex()} was not opened before its deadline: submit the quote again"
        )
        self.request_id = request_id


class RequestRefused(ClientError):
    """A request that the contract did not open, says the exchange. Nothing was locked or charged.

    The signature stays good until its first deadline, so no second request is signed before that block.
    """

    def __init__(self, request_id: bytes, approve_by: int) -> None:
        super().__init__(
            f"request 0x{request_id.hex()} was not opened; it can be made anew after block {approve_by}"
        )
        self.request_id = request_id
        self.approve_by = approve_by


class AnswerNotReady(ClientError):
    """No final answer root on the chain yet; `wait` first."""

    def __init__(self, request_id: bytes, state: str) -> None:
        super().__init__(f"request 0x{request_id.hex()} has no answer yet: it is {state}")
        self.request_id = request_id
        self.state = state


class WaitTimedOut(ClientError):
    """`wait` gave up; the request goes on, and `wait` may be called again."""

    def __init__(self, request_id: bytes, state: str, timeout_s: float) -> None:
        super().__init__(f"request 0x{request_id.hex()} is still {state} after {timeout_s:g} s")
        self.request_id = request_id
        self.state = state


class AnswerWithheld(ClientError):
    """The exchange gave out no answer that matches the chain, and posted no chunk that was demanded."""


class ClaimTooEarly(ClientError):
    """The contract does not find the broker in default, or not yet: nothing was refunded."""


class AnswerMismatch(ClientError):
    """An answer that does not hash to the answer root on the chain, or does not open the commitments."""


class ReceiptNotValid(ClientError):
    """A receipt that the buyer's own verification refuses; `step` is the first that failed."""

    def __init__(self, step: int, name: str, detail: str) -> None:
        super().__init__(f"step {step} ({name}) failed: {detail}")
        self.step = step
        self.name = name
        self.detail = detail


class FactAbsent(ClientError):
    """A fact that a step of the verification needs is not to be had: the verdict is UNKNOWN at best."""


class ReceiptContradicted(ClientError):
    """A step of the verification found a contradiction: the receipt is INVALID."""


class StoreError(ClientError):
    """The buyer's store cannot be read back: wrong key, version or content."""


class ModelInvalid(ClientError):
    """A model file that is none. `problems` names each field and what was expected; never a weight."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the model is invalid: " + "; ".join(problems))
        self.problems = tuple(problems)


class ModelUnknown(StoreError):
    """A score that this store cannot open: it was asked from another store, which has its key and weights."""


class FitImpossible(ClientError):
    """A fit of several steps that cannot be made as it was asked for."""


class SettingsInvalid(ClientError):
    """Settings that name no home, exchange or chain that could be used."""
