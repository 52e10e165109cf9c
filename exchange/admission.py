"""Admission by business licence: who presented one, whether it still stands, and whose accounts it admits.

A participant presents a licence once, with the proof that its holder signed for this account at this exchange. From then on the exchange
remembers where the licence stands in its city's log, never what it says, and looks at newer facts at each new request and listing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection

from exchange import store as statements
from exchange.city import CityService
from exchange.errors import (
    CityAway,
    LicenceRefused,
    LicenceRequired,
    LicenceTaken,
    LicenceUnconfirmed,
    NonceInvalid,
    SettingsInvalid,
)
from exchange.participants import Participants
from exchange.settings import AdmissionTerms
from exchange.standing import NewestFacts, history_end, status_end
from exchange.store import Store
from exchange.types import AdmittedLicence
from ledger.licences.bundle import Bundle
from ledger.licences.errors import LicenceError
from ledger.licences.events import leaf_of_claims
from ledger.licences.facts import RecognitionFact, StatusFact, open_bundle
from ledger.licences.issuers import IssuerHistory
from ledger.licences.policy import TrustPolicy
from ledger.licences.reasons import Missing, Reason, State
from ledger.licences.sdjwt import Presented, parse
from ledger.licences.verify import Expected, verify
from ledger.log.errors import LogError
from ledger.types import Address, Roles, to_hex

RETRY_S: Final = (
    5  # a city that is away is asked again after this long: requests meanwhile do not wait for it
)
WAIT_S: Final = (
    5.0  # for another request's look at the city; then the last that is known counts, as when it is away
)
NO_BEARER: Final = "BearerMissing"
OTHER_CITY: Final = "CityNotRecognised"
OTHER_TYPE: Final = "TypeNotAccepted"
_log = structlog.get_logger("exchange.admission")


@dataclass(frozen=True, slots=True)
class AdmissionParts:
    """What admission works with.

    Attributes:
        terms: of this exchange.
        policy: under which licences are verified.
        origin: the exchange's public URL: with the account's address, the audience of a presentation.
        store, participants: of the market.
        city: asked for newer facts; None where participants bring theirs.
        now_s: the wall clock.
        wait_s: how long a request waits while another one asks the city.
    """

    terms: AdmissionTerms
    policy: TrustPolicy
    origin: str
    store: Store
    participants: Participants
    city: CityService | None
    now_s: Callable[[], float]
    wait_s: float = WAIT_S


class Admission:
    """Admits participants by their licences."""

    def __init__(self, parts: AdmissionParts) -> None:
        self._with = parts
        self._asking = threading.Lock()
        self._retry_at = 0
        self._newest = None if parts.city is None else NewestFacts(parts.city, parts.policy)

    def audience(self, account: Address) -> str:
        """Return the audience that a presentation for an account must name."""
        return f"{self._with.origin}/participants/{to_hex(account)}"

    def close(self) -> None:
        """Close the connections to the city."""
        if self._with.city is not None:
            self._with.city.close()

    # --- presenting ------------------------------------------------------------------------------------------

    def present(
        self, account: Address, shown: Bundle | str, *, use_nonce: Callable[[str], bool]
    ) -> AdmittedLicence:
        """Admit an active participant by its licence. Again renews what is known, or replaces the licence.

        Args:
            account: who presents it.
            shown: a presentation with KB-JWT, or a bundle whose credential is one.
            use_nonce: uses a nonce of this exchange up; says whether it was given out and still holds.

        Raises:
            NotAdmitted: the account is not an active participant.
            LicenceRefused: the licence, or the proof of its bearer, does not hold, or does not count here.
            NonceInvalid: the proof answers no nonce of this exchange.
            LicenceTaken: it admitted another operator's account before.
            LicenceUnconfirmed: a fact is missing or too old.
        """
        operator = self._with.participants.require(account, Roles(0)).operator
        now = int(self._with.now_s())
        bundle = self._bundle_of(shown) if isinstance(shown, str) else shown
        nonce = _nonce_of(bundle.credential)
        presented = self._verified(bundle, Expected(nonce, self.audience(account)), now)
        if presented.claims.type_code not in self._with.terms.types:
            raise LicenceRefused(OTHER_TYPE)
        licence = _licence_of(bundle, presented, self._with.policy, operator)
        if not use_nonce(nonce):
            raise NonceInvalid
        licence = self._renewed(licence, now)
        kept = self._with.store.write(lambda connection: _admit(connection, account, licence, now))
        self._require_standing(kept, now)
        _log.info("licence_presented", account=to_hex(account), type=kept.type_code, as_of=kept.as_of)
        return kept

    def _bundle_of(self, presentation: str) -> Bundle:
        """Have the city put the bundle of a presentation together. It is shown the signed part alone: no field, no bearer."""
        if self._with.city is None:
            raise LicenceUnconfirmed((Missing.CHECKPOINT.value,), None)
        try:
            signed_part = parse(presentation).jwt.text + "~"
        except LicenceError as err:
            raise LicenceRefused(Reason.MALFORMED) from err
        try:
            is_anchored = self._with.policy.anchor != "none"
            bundle = Bundle.parse(self._with.city.bundle(signed_part, is_anchored=is_anchored))
        except (CityAway, LogError, LicenceError) as err:
            raise LicenceUnconfirmed((Missing.CHECKPOINT.value,), None) from err
        return replace(bundle, credential=presentation)

    def _verified(self, bundle: Bundle, expected: Expected, now: int) -> Presented:
        """Require the verdict VALID.

        Raises:
            LicenceRefused: it is INVALID, or what is missing only the presenter can bring.
            LicenceUnconfirmed: it is UNKNOWN.
        """
        verdict = verify(bundle, self._with.policy, now_s=now, expected=expected)
        if verdict.reason is not None:
            raise LicenceRefused(verdict.reason)
        if Missing.CITY in verdict.missing:
            raise LicenceRefused(OTHER_CITY)
        if Missing.BEARER in verdict.missing:
            raise LicenceRefused(NO_BEARER)
        if verdict.state is not State.VALID or verdict.presented is None:
            raise LicenceUnconfirmed(tuple(each.value for each in verdict.missing), verdict.last_known)
        return verdict.presented

    # --- requiring -------------------------------------------------------------------------------------------

    def require(self, account: Address, roles: Roles) -> None:
        """Require that an account that acts in these roles is admitted by a licence that stands now.

        Raises:
            LicenceRequired: it presented none that counts.
            LicenceRefused: its licence is revoked, suspended or over.
            LicenceUnconfirmed: the last that is known of it is too old. Nothing speaks against it.
        """
        terms = self._with.terms
        if not roles & terms.role_bits:
            return
        operator = self._with.participants.require(account, Roles(0)).operator
        licence = self._with.store.licence_of(account)
        if licence is None or licence.operator != operator or licence.type_code not in terms.types:
            raise LicenceRequired(terms.types)
        now = int(self._with.now_s())
        newer = self._renewed(licence, now)
        if newer != licence:
            self._with.store.renew_licence(newer)
        self._require_standing(newer, now)

    def _renewed(self, licence: AdmittedLicence, now: int) -> AdmittedLicence:
        """Return a licence with the newest facts that can be had; as it is where there are none, or older ones."""
        if self._newest is None or licence.fault == Reason.REVOKED:
            return licence
        if not self._asking.acquire(timeout=self._with.wait_s):  # a city that drips must not stop the market
            return licence
        try:
            if now < self._retry_at:
                return licence
            found = self._newest.standing_of(licence, now)
        except LicenceUnconfirmed as err:
            if isinstance(err.__cause__, CityAway):
                self._retry_at = (
                    int(self._with.now_s()) + RETRY_S
                )  # from now on: it may have taken long to fail
            _log.warning("licence_not_confirmed", missing=err.missing, origin=licence.origin)
            return licence
        finally:
            self._asking.release()
        if found.as_of < licence.as_of:
            return licence
        return replace(licence, as_of=found.as_of, lapses_at=found.lapses_at, fault=found.fault)

    def _require_standing(self, licence: AdmittedLicence, now: int) -> None:
        if licence.fault == Reason.REVOKED:
            raise LicenceRefused(licence.fault)
        if licence.expires_at is not None and max(now, licence.as_of) >= licence.expires_at:
            raise LicenceRefused(Reason.EXPIRED)
        if now > licence.as_of + self._with.terms.max_age_s or now >= licence.lapses_at:
            raise LicenceUnconfirmed((Missing.STATUS.value,), licence.as_of)
        if licence.as_of > now + self._with.policy.skew_s:
            raise LicenceUnconfirmed((Missing.CLOCK.value,), licence.as_of)
        if licence.fault:
            raise LicenceRefused(licence.fault)


def read_policy(terms: AdmissionTerms) -> TrustPolicy:
    """Read the trust policy that the terms name.

    Raises:
        SettingsInvalid: there is no such file, or it is no policy.
    """
    try:
        return TrustPolicy.parse(terms.policy.read_bytes())
    except OSError as err:
        raise SettingsInvalid(f"admission.policy: expected a file, got {type(err).__name__}") from err
    except LicenceError as err:
        raise SettingsInvalid(f"admission.policy: {err}") from err


def _admit(connection: Connection, account: Address, licence: AdmittedLicence, now: int) -> AdmittedLicence:
    """Keep a licence as the one that admits an account, with the newer of what is known of it now and was before."""
    known = statements.find_licence(connection, licence.leaf_hash)
    if known is not None:
        if known.operator != licence.operator:
            raise LicenceTaken
        # two tokens may be of one second: then what speaks against it was known last, or is known again soon
        is_newer = (known.as_of, bool(known.fault)) > (licence.as_of, bool(licence.fault))
        if is_newer or known.fault == Reason.REVOKED:
            licence = known
    statements.put_admission(connection, account, licence, now)
    return licence


def _nonce_of(credential: str) -> str:
    """Return the nonce that a presentation says it answers; whether it does is verified with everything else."""
    try:
        bearer = parse(credential).key_binding
    except LicenceError:
        return ""
    nonce = None if bearer is None else bearer.payload.get("nonce")
    return nonce if isinstance(nonce, str) else ""


def _licence_of(
    bundle: Bundle, presented: Presented, policy: TrustPolicy, operator: Address
) -> AdmittedLicence:
    """Return what is remembered of a licence whose bundle was found VALID."""
    facts, claims = open_bundle(bundle, presented, policy), presented.claims
    status, history, place = facts.status, facts.issuer, facts.inclusion
    if not isinstance(status, StatusFact) or not isinstance(history, IssuerHistory) or place is None:
        raise LicenceUnconfirmed((Missing.STATUS.value,), None)
    ends = [status_end(status, policy), history_end(history, policy)]
    if isinstance(facts.recognition, RecognitionFact):
        ends.append(facts.recognition.recognition.expires_at)
    return AdmittedLicence(
        leaf_hash=leaf_of_claims(presented.jwt, claims).hash,
        operator=operator,
        origin=claims.origin,
        type_code=claims.type_code,
        issuer=claims.issuer,
        key_id=presented.jwt.key_id,
        log_index=place.index,
        list=claims.list,
        index=claims.index,
        expires_at=claims.expires_at,
        as_of=status.claims.issued_at,
        lapses_at=min(ends),
    )
