"""How a licence stands that was verified in full before: newer facts about it, fetched from its city and verified.

The credential is not kept, so its signature is not checked again: the leaf hash that was computed from it then must stand at its
index of the newest cosigned log, which says the same. The steps are those of docs/licence.md §11. Only what is signed by who must sign
it speaks against a licence; whatever is absent, stale, malformed or forged on its way leaves it unconfirmed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from exchange.city import CityService
from exchange.errors import CityAway, LicenceUnconfirmed
from exchange.types import AdmittedLicence
from ledger.licences.bundle import Inclusion, StatusPart
from ledger.licences.errors import LicenceError
from ledger.licences.facts import (
    CheckpointFact,
    Refused,
    StatusFact,
    open_checkpoint,
    open_issuer,
    open_status,
)
from ledger.licences.issuers import IssuerHistory
from ledger.licences.leaf import FINAL, Code
from ledger.licences.policy import City, TrustPolicy
from ledger.licences.reasons import Missing, Reason
from ledger.log.errors import LogError
from ledger.log.tiles import TILE_WIDTH, TileReader, inclusion_proof, tile_width
from ledger.log.tree import HASH_SIZE

SEARCH_TILES: Final = (
    256  # back from the newest entry: tokens are renewed before the log has grown by so much
)
_TRIES: Final = 2  # the newest token may not be cosigned yet; then the one before it is


@dataclass(frozen=True, slots=True)
class Standing:
    """How a licence stands. `fault` is a verdict's reason, empty if nothing speaks against it.

    `as_of` is when the status was known, `lapses_at` until when these facts may count; Unix seconds.
    """

    fault: str
    as_of: int
    lapses_at: int


@dataclass(slots=True)
class _Head:
    """A verified checkpoint, with what was found under it already."""

    fact: CheckpointFact
    statuses: dict[int, StatusFact]
    included: set[bytes]  # leaf hashes of licences

    @property
    def size(self) -> int:
        return self.fact.checkpoint.size


class NewestFacts:
    """Fetches and judges the newest facts about licences of one city. For one thread at a time.

    Args:
        service: of the city. It may serve another log than a licence's: then nothing newer is known.
        policy: whom the exchange trusts.
    """

    def __init__(self, service: CityService, policy: TrustPolicy) -> None:
        self._service, self._policy = service, policy
        self._head: _Head | None = None

    def standing_of(self, licence: AdmittedLicence, now_s: int) -> Standing:
        """Return how a licence stands now.

        Raises:
            LicenceUnconfirmed: a fact is absent or stale, or is not what it must be. Its cause is `CityAway` where there was no answer.
        """
        city = self._policy.city(licence.origin)
        if city is None:
            raise _lacking(licence, Missing.CITY)
        with _or_lacking(licence, Missing.CHECKPOINT):
            head = self._look(licence, city)
            reader = self._service.tiles()
        with _or_lacking(licence, Missing.INCLUSION):
            _require_included(licence, head, reader)
        with _or_lacking(licence, Missing.ISSUER):
            history = self._history(licence, city)
        with _or_lacking(licence, Missing.STATUS):
            status = self._status(licence, city, head, reader)
        return judge(licence, head.fact, history, status, policy=self._policy, now_s=now_s)

    def _look(self, licence: AdmittedLicence, city: City) -> _Head:
        fact = open_checkpoint(self._service.checkpoint(), city)
        if isinstance(fact, Refused):
            raise _lacking(licence, Missing.CHECKPOINT)
        if fact.quorum_at is None:
            raise _lacking(licence, Missing.QUORUM)
        if self._head is not None and self._head.fact.checkpoint == fact.checkpoint:
            self._head.fact = fact
        else:
            self._head = _Head(fact, {}, set())
        return self._head

    def _history(self, licence: AdmittedLicence, city: City) -> IssuerHistory:
        text = self._service.history(licence.issuer)
        history = None if text is None else open_issuer(text, city)
        if history is None or isinstance(history, Refused):
            raise _lacking(licence, Missing.ISSUER)
        if (history.issuer, history.origin) != (licence.issuer, licence.origin):
            raise _lacking(licence, Missing.ISSUER)
        return history

    def _status(self, licence: AdmittedLicence, city: City, head: _Head, reader: TileReader) -> StatusFact:
        """Return the newest token of the licence's list that is in the checkpoint and stands after the licence."""
        known = head.statuses.get(licence.list)
        if known is not None and known.inclusion.index > licence.log_index:
            return known
        at_s: int | None = None
        for _ in range(_TRIES):
            fact = self._token(licence, city, at_s)
            index = _find(reader, fact.leaf_hash, head.size, licence.log_index)
            if index is not None:
                fact = replace(fact, inclusion=_place(reader, index, head.size))
                if not head.fact.includes(fact.leaf_hash, fact.inclusion):
                    raise _lacking(licence, Missing.STATUS)
                head.statuses[licence.list] = fact
                return fact
            at_s = fact.claims.issued_at - 1
        raise _lacking(licence, Missing.STATUS)

    def _token(self, licence: AdmittedLicence, city: City, at_s: int | None) -> StatusFact:
        part = StatusPart(self._service.status_token(licence.list, at_s), Inclusion(0, ()))
        fact = open_status(part, city)
        if isinstance(fact, Refused):
            raise _lacking(licence, Missing.STATUS)
        if (fact.claims.origin, fact.claims.list) != (licence.origin, licence.list):
            raise _lacking(licence, Missing.STATUS)
        return fact


def judge(
    licence: AdmittedLicence,
    checkpoint: CheckpointFact,
    history: IssuerHistory,
    status: StatusFact,
    *,
    policy: TrustPolicy,
    now_s: int,
) -> Standing:
    """Judge verified facts about a licence whose leaf is in the checkpoint: steps 4 to 7 of docs/licence.md §11.

    Raises:
        LicenceUnconfirmed: nothing speaks against it, but a fact is stale or the clock is behind.
    """
    key_fault, is_covered = _key_fault(licence, history), licence.log_index < history.size
    history_ends, status_ends = history_end(history, policy), status_end(status, policy)
    fault = key_fault if is_covered else ""
    fault = fault or _status_fault(licence, status, is_stale=now_s >= status_ends)
    seen = max(checkpoint.quorum_at or 0, history.issued_at, status.claims.issued_at)
    if not fault and licence.expires_at is not None and max(now_s, seen) >= licence.expires_at:
        fault = Reason.EXPIRED
    if not fault:
        lacking = {
            Missing.ISSUER: not is_covered or now_s >= history_ends,
            Missing.STATUS: now_s >= status_ends,
            Missing.CLOCK: seen > now_s + policy.skew_s,
        }
        missing = [name for name, is_lacking in lacking.items() if is_lacking]
        if missing:
            raise _lacking(licence, *missing)
    return Standing(fault, status.claims.issued_at, min(history_ends, status_ends))


def history_end(history: IssuerHistory, policy: TrustPolicy) -> int:
    """Return the Unix time from which an issuer history is stale."""
    return min(history.expires_at, history.issued_at + policy.issuer_age_s + 1)


def status_end(status: StatusFact, policy: TrustPolicy) -> int:
    """Return the Unix time from which a status token is stale."""
    claims = status.claims
    return min(claims.expires_at, claims.issued_at + min(claims.ttl_s, policy.status_age_s) + 1)


def _key_fault(licence: AdmittedLicence, history: IssuerHistory) -> str:
    span = history.key(licence.key_id)
    if span is None:
        return Reason.KEY_UNKNOWN
    if licence.type_code not in span.types:
        return Reason.TYPE_NOT_ALLOWED
    return span.why_inactive(licence.log_index) or ""


def _status_fault(licence: AdmittedLicence, status: StatusFact, *, is_stale: bool) -> str:
    """Return what a token says against a licence. A suspension may have ended since; what is final stays."""
    with _or_lacking(licence, Missing.STATUS):
        code = status.code(licence.index)
    if code == Code.SUSPENDED:
        return "" if is_stale else Reason.SUSPENDED
    if code == Code.NOT_ISSUED:
        return Reason.NOT_ISSUED
    if code in FINAL:
        return Reason.REVOKED
    if code != Code.VALID:
        raise _lacking(licence, Missing.STATUS)
    return ""


def _require_included(licence: AdmittedLicence, head: _Head, reader: TileReader) -> None:
    if licence.leaf_hash in head.included:
        return
    if licence.log_index >= head.size:
        raise _lacking(licence, Missing.INCLUSION)
    if not head.fact.includes(licence.leaf_hash, _place(reader, licence.log_index, head.size)):
        raise _lacking(licence, Missing.INCLUSION)
    head.included.add(licence.leaf_hash)


def _place(reader: TileReader, index: int, size: int) -> Inclusion:
    return Inclusion(index, tuple(inclusion_proof(reader, index, size)))


def _find(reader: TileReader, leaf_hash: bytes, size: int, after: int) -> int | None:
    """Return the last index above `after` at which a leaf hash stands, searched from the end. The tiles are not checked here."""
    last = (size - 1) // TILE_WIDTH
    for n in range(last, max(after // TILE_WIDTH, last - SEARCH_TILES + 1) - 1, -1):
        width = tile_width(0, n, size)
        hashes = reader.hashes(0, n, width)
        for offset in range(width - 1, -1, -1):
            if hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE] == leaf_hash:
                index = n * TILE_WIDTH + offset
                return index if index > after else None
    return None


def _lacking(licence: AdmittedLicence, *missing: Missing) -> LicenceUnconfirmed:
    return LicenceUnconfirmed(tuple(each.value for each in missing), licence.as_of)


@contextmanager
def _or_lacking(licence: AdmittedLicence, what: Missing) -> Iterator[None]:
    """Take a service that is away, or that answers something malformed, for a fact that is missing."""
    try:
        yield
    except (CityAway, LogError, LicenceError) as err:
        raise _lacking(licence, what) from err
