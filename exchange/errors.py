"""The error tree of `exchange`: everything this package raises on purpose is an `ExchangeError`.

Messages state what was expected and what was found, never a key, a token, a cell or a record. `api.errors` is
the one table that turns them into problems.
"""

from __future__ import annotations

from privacy.types import Violation


class ExchangeError(Exception):
    """Anything the market refuses or cannot do."""


class SettingsInvalid(ExchangeError):
    """A setting outside its range."""


# --- who speaks ------------------------------------------------------------------------------------------


class Unauthenticated(ExchangeError):
    """Nobody, or nobody provable, speaks."""


class SessionInvalid(Unauthenticated):
    """A bearer token that is unknown or expired."""

    def __init__(self) -> None:
        super().__init__("the session is unknown or expired: sign in again")


class NonceInvalid(Unauthenticated):
    """A sign-in nonce that was never given out, is used, or is expired."""

    def __init__(self) -> None:
        super().__init__("the sign-in nonce is unknown, used or expired: ask for a new one")


class RequestReplayed(Unauthenticated):
    """A signed HTTP request whose nonce was seen before."""

    def __init__(self) -> None:
        super().__init__("this signed request was received before: sign it again with a fresh nonce")


class SignInCrowded(ExchangeError):
    """Too many unused sign-in nonces are outstanding."""

    def __init__(self) -> None:
        super().__init__("too many sign-ins are under way: try again in a minute")


# --- what the speaker may do -----------------------------------------------------------------------------


class Forbidden(ExchangeError):
    """The speaker is known, and may not do this."""


class NotAdmitted(Forbidden):
    """The account is not an active participant with the role that this needs."""

    def __init__(self, role: str) -> None:
        self.role = role
        super().__init__(f"expected an active participant with the role {role}")


class NotYours(Forbidden):
    """The thing belongs to somebody else. `owner` names who may."""

    def __init__(self, what: str, owner: str) -> None:
        self.what, self.owner = what, owner
        super().__init__(f"this {what} is for {owner} only")


class BuyerExcluded(Forbidden):
    """The listing's policy does not admit this buyer."""

    def __init__(self) -> None:
        super().__init__("the policy of this listing does not admit this buyer")


class LicenceRequired(Forbidden):
    """The account was not admitted with a business licence, and what it asks needs that. `types` are those that count."""

    def __init__(self, types: tuple[str, ...]) -> None:
        self.types = types
        super().__init__(f"expected an account that presented a valid licence of type {' or '.join(types)}")


class LicenceRefused(Forbidden):
    """The licence does not admit. `reason` is that of a verdict (docs/licence.md §11), or one of this exchange's own.

    Only by evidence: a licence about which nothing new is known is `LicenceUnconfirmed`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the licence does not admit: {reason}")


class MessagePrivate(Forbidden):
    """Messages of this kind are given to nobody who asks."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        super().__init__(f"messages of kind {kind} are not given out")


# --- what does not exist ---------------------------------------------------------------------------------


class Unknown(ExchangeError):
    """Nothing is stored under this name or id."""

    what = "entry"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no {self.what} {name}")


class ParticipantUnknown(Unknown):
    """No participant has this account."""

    what = "participant"


class AssetUnknown(Unknown):
    """No asset has this id."""

    what = "asset"


class ListingUnknown(Unknown):
    """No listing has this id or name."""

    what = "listing"


class RequestUnknown(Unknown):
    """No request has this id."""

    what = "request"


class AnswerNotReady(ExchangeError):
    """The request has no answer, or none yet."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"expected an answered request, found one that is {state}")


# --- what is malformed -----------------------------------------------------------------------------------


class Invalid(ExchangeError):
    """A value that breaks a rule. `field` is its name in the body."""

    def __init__(self, field: str, expected: str, actual: str) -> None:
        self.field, self.expected, self.actual = field, expected, actual
        super().__init__(f"{field}: expected {expected}, got {actual}")

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The problem as the one violation that it is."""
        return (Violation(rule="field", message=str(self), column=None),)


class AssetInvalid(Invalid):
    """An asset that is not the one registered on the chain."""


class ListingInvalid(Invalid):
    """A listing whose assets do not belong together, or are not entrusted to this broker."""


class RequestInvalid(Invalid):
    """A request that is not what was quoted and planned."""


class CursorInvalid(Invalid):
    """A page cursor that this exchange did not give out."""

    def __init__(self) -> None:
        super().__init__("cursor", "the value of `next` of a former page", "another value")


class IdempotencyKeyInvalid(Invalid):
    """An Idempotency-Key that is missing or malformed."""

    def __init__(self, actual: str) -> None:
        super().__init__("Idempotency-Key", "1 to 128 visible ASCII characters", actual)


class IdempotencyConflict(ExchangeError):
    """The key was used before by this sender, for another request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used before for another request: use a fresh one")


class IdempotencyInProgress(ExchangeError):
    """The first request with this key is still being answered."""

    def __init__(self) -> None:
        super().__init__("the request with this Idempotency-Key is still being answered: try again")


# --- what contradicts the present state ------------------------------------------------------------------


class Conflict(ExchangeError):
    """The request contradicts what the market, or the chain, has already."""


class ListingStale(Conflict):
    """An asset of the listing has changed on the chain since it was listed."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        super().__init__(
            f"asset {asset} has another policy on the chain than the listing: it must be listed again"
        )


class QuoteMissing(Conflict):
    """No quote that still holds covers this request."""

    def __init__(self) -> None:
        super().__init__("expected a quote for this plan and buyer that has not expired: ask for a new one")


class NonceReused(Conflict):
    """The buyer used this request nonce before."""

    def __init__(self) -> None:
        super().__init__("the nonce of this request was used before by this buyer")


class PlanRequested(Conflict):
    """The same buyer has requested the identical plan; it is never computed twice."""

    def __init__(self, request_id: str, state: str) -> None:
        self.request_id, self.state = request_id, state
        super().__init__(f"request {request_id} of the same buyer has the identical plan and is {state}")


class BalanceTooLow(Conflict):
    """The buyer's credits, less what its waiting requests will lock, do not cover the price."""

    def __init__(self, *, price: int, available: int) -> None:
        self.price, self.available = price, available
        super().__init__(f"expected {price} credits, found {available} that are free")


class LicenceTaken(Conflict):
    """The licence admitted the accounts of another operator before; it admits those of one only."""

    def __init__(self) -> None:
        super().__init__("this licence has admitted another operator: a licence admits the accounts of one")


class LicenceNotAsked(Conflict):
    """A licence for an exchange that asks for none."""

    def __init__(self) -> None:
        super().__init__("this exchange admits without a licence: there is nothing to present")


class NotAnswerable(Conflict):
    """An acceptance for a request that is not answered, or is over."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"expected an answered request, found one that is {state}")


class MessageConflict(Conflict):
    """The sender already sent other bytes of this kind, of a join of this round and part. The first ones stand."""

    def __init__(self, kind: int, sender: int, place: tuple[int, int] | None = None) -> None:
        self.kind, self.sender, self.place = kind, sender, place
        which = f"kind {kind}" if place is None else f"kind {kind}, round {place[0]}, part {place[1]}"
        super().__init__(f"sender {sender} already sent another message of {which}: the first one stands")


class MessageTooEarly(Conflict):
    """The request has not come to the step that this kind of message belongs to."""

    def __init__(self, kind: int, state: str) -> None:
        self.kind, self.state = kind, state
        super().__init__(f"a message of kind {kind} is too early: the request is {state}")


class MessageTooLate(Conflict):
    """The step that this kind of message belongs to is over."""

    def __init__(self, kind: int, reason: str) -> None:
        self.kind, self.reason = kind, reason
        super().__init__(f"a message of kind {kind} is too late: {reason}")


class MessageNotCommitted(Conflict):
    """The message is not the one whose hash its sender put on the chain."""

    def __init__(self, kind: int, sender: int) -> None:
        self.kind, self.sender = kind, sender
        super().__init__(f"sender {sender} committed on the chain to another message of kind {kind}")


# --- what the exchange cannot do now ---------------------------------------------------------------------


class Unavailable(ExchangeError):
    """The exchange cannot do this now; the same call may be repeated later."""


class BondTooLow(Unavailable):
    """The broker's free bond does not cover the price."""

    def __init__(self, *, price: int, available: int) -> None:
        self.price, self.available = price, available
        super().__init__(f"the broker's free bond of {available} does not cover the price of {price}")


class MarketFull(Unavailable):
    """As many requests are in flight as the settings allow."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} requests are in flight, the most that this exchange takes")


class CityAway(Unavailable):
    """A city's licence service cannot be reached, or does not answer as it should."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the city's licence service gives no answer that can be used: {problem}")


class LicenceUnconfirmed(Unavailable):
    """Nothing speaks against the licence, but what is known of it is too old or incomplete. It is never taken for revoked.

    Attributes:
        missing: the facts that are absent or stale, by the names that a verdict has for them.
        last_known: when the status was last known, in Unix seconds; None if it never was.
    """

    def __init__(self, missing: tuple[str, ...], last_known: int | None) -> None:
        self.missing, self.last_known = missing, last_known
        known = "never" if last_known is None else f"at {last_known}"
        super().__init__(
            f"the licence cannot be confirmed now: missing {', '.join(missing)}; last known {known}; try again later"
        )


class SchemaUnknown(ExchangeError):
    """The database belongs to a newer version of this package."""

    def __init__(self, *, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"expected a database of version {expected} at most, found {actual}")


class MarketStopping(BaseException):
    """The process is stopping. A `BaseException`, so no workflow is recorded as failed by it."""
