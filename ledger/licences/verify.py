"""The verdict about an e-licence, from one bundle or from facts that are open already: the numbered steps of docs/licence.md §11.

The first contradiction ends with INVALID and its reason. What is absent, under quorum or stale is noted; with nothing against the licence
but something missing the verdict is UNKNOWN. Both ways run the same steps, so with the same facts and the same `now` they agree.
No input raises: bytes that are no bundle are INVALID, as Malformed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledger.encoding import Digest
from ledger.licences.bundle import Bundle
from ledger.licences.errors import (
    AudienceMismatch,
    BearerError,
    BearerForged,
    HiddenMandatoryField,
    IdentifierInvalid,
    LicenceError,
    Malformed,
    NonceMismatch,
    SignatureInvalid,
    StatusListDamaged,
)
from ledger.licences.events import leaf_of_claims
from ledger.licences.facts import CheckpointFact, Facts, RecognitionFact, Refused, StatusFact, open_bundle
from ledger.licences.issuers import KeySpan
from ledger.licences.leaf import FINAL, Code
from ledger.licences.policy import ANCHOR_KINDS, TrustPolicy
from ledger.licences.reasons import Missing, Reason, State
from ledger.licences.sdjwt import Presented, parse, verify_bearer

__all__ = ["Expected", "Missing", "Reason", "State", "Verdict", "verify", "verify_facts", "verify_logged"]

_BEARER_REASONS: Final[dict[type[BearerError], Reason]] = {
    BearerForged: Reason.BEARER_FORGED,
    NonceMismatch: Reason.NONCE_MISMATCH,
    AudienceMismatch: Reason.AUDIENCE_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """The challenge that the bearer must answer, and the name that the verifier gave itself."""

    nonce: str
    audience: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about a licence at a time.

    Attributes:
        state: VALID, INVALID or UNKNOWN.
        reason: the contradiction, exactly when INVALID.
        missing: all that is missing, not empty exactly when UNKNOWN.
        facts: by name of the fact (`checkpoint`, `issuer`, `status`, `anchor`, `recognition`, `bearer`), its time in Unix seconds.
        code: the 4-bit status that the token has for the licence, if one was read.
        presented: the credential as it was read, None where it is malformed. Its claims are true only if `authentic`.
        authentic: whether steps 2 to 5 held with nothing missing: the credential is its issuer's and in the log, so that what it says is
            what the issuer says, whatever its status. Always so when VALID.
        leaf_hash: of the licence's issue, as the credential says it; None where the steps did not get there.
    """

    state: State
    reason: Reason | None
    missing: tuple[Missing, ...]
    facts: dict[str, int]
    code: int | None
    presented: Presented | None
    authentic: bool = False
    leaf_hash: Digest | None = None

    @property
    def last_known(self) -> int | None:
        """When the licence's status was last known, in Unix seconds; None if it never was."""
        return self.facts.get("status")


def verify(
    bundle: Bundle | bytes, policy: TrustPolicy, *, now_s: int, expected: Expected | None = None
) -> Verdict:
    """Verify an e-licence from one bundle, without a network.

    Args:
        bundle: parsed, or its bytes.
        policy: whom the verifier trusts.
        now_s: Unix time by the verifier's clock.
        expected: the challenge, where the bearer is to be verified as well as the licence.

    Returns:
        The verdict. Nothing is raised, whatever the bytes.
    """
    try:  # 1. Shape
        parts = Bundle.parse(bundle) if isinstance(bundle, bytes) else bundle
        presented = parse(parts.credential, parts.opened)
    except HiddenMandatoryField:
        return _invalid(Reason.HIDDEN_MANDATORY_FIELD)
    except IdentifierInvalid:
        return _invalid(Reason.IDENTIFIER_INVALID)
    except LicenceError:
        return _invalid(Reason.MALFORMED)
    return verify_facts(open_bundle(parts, presented, policy), policy, now_s=now_s, expected=expected)


def verify_facts(
    facts: Facts, policy: TrustPolicy, *, now_s: int, expected: Expected | None = None
) -> Verdict:
    """Judge facts that are open already: steps 2 to 9, for a server that keeps its verified checkpoint, histories and tokens.

    Args:
        facts: opened with the keys of `policy`.
        policy: whom the verifier trusts.
        now_s: Unix time by the verifier's clock.
        expected: the challenge, where the bearer is to be verified as well.
    """
    return _Judgement(facts, policy, now_s).run(expected)


def verify_logged(facts: Facts, policy: TrustPolicy, *, now_s: int) -> Verdict:
    """Judge steps 2 to 5 and 8 alone: that the licence is its issuer's and in the log, whatever its status and its dates.

    Args:
        facts, policy, now_s: as `verify_facts`.
    """
    return _Judgement(facts, policy, now_s).run_logged()


def _invalid(reason: Reason) -> Verdict:
    return Verdict(State.INVALID, reason, (), {}, None, None)


class _Contradiction(Exception):
    """Ends the steps; it never leaves this module."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class _Judgement:
    """One run of the steps. `missing`, `times` and `seen` grow as they go."""

    facts: Facts
    policy: TrustPolicy
    now_s: int
    missing: dict[Missing, None] = field(default_factory=dict)  # in the order of the steps, each once
    times: dict[str, int] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    code: int | None = None
    authentic: bool = False
    leaf_hash: Digest | None = None

    def run(self, expected: Expected | None) -> Verdict:
        reason = None
        try:
            checkpoint = self._logged()
            self._status(checkpoint)
            self._time()
            self._anchor(checkpoint)
            self._bearer(expected)
        except _Contradiction as err:
            reason = err.reason
        return self._verdict(reason)

    def run_logged(self) -> Verdict:
        reason = None
        try:
            self._anchor(self._logged())
        except _Contradiction as err:
            reason = err.reason
        return self._verdict(reason)

    def _logged(self) -> CheckpointFact | None:
        self._city()
        checkpoint = self._checkpoint()
        self._inclusion(checkpoint, self._issuer())
        self.authentic = not self.missing
        return checkpoint

    def _verdict(self, reason: Reason | None) -> Verdict:
        if reason is not None:
            state = State.INVALID
            self.missing.clear()
        else:
            state = State.UNKNOWN if self.missing else State.VALID
        presented = self.facts.presented
        return Verdict(
            state,
            reason,
            tuple(self.missing),
            self.times,
            self.code,
            presented,
            self.authentic,
            self.leaf_hash,
        )

    def _lack(self, what: Missing) -> None:
        self.missing[what] = None

    # 2. City: in the policy, or recognised by one that is, for this type.
    def _city(self) -> None:
        facts, claims = self.facts, self.facts.presented.claims
        if isinstance(facts.recognition, Refused):
            raise _Contradiction(facts.recognition.reason)
        if claims.origin != facts.origin:
            raise _Contradiction(Reason.WRONG_LOG)
        city = facts.city
        if isinstance(facts.recognition, RecognitionFact):
            self._recognised(facts.recognition, claims.type_code)
        if city is None or not city.recognises(claims.type_code):
            self._lack(Missing.CITY)
        elif (
            isinstance(facts.checkpoint, CheckpointFact) and facts.checkpoint.checkpoint.origin != city.origin
        ):
            raise _Contradiction(Reason.WRONG_LOG)

    def _recognised(self, fact: RecognitionFact, type_code: str) -> None:
        event, home_at = fact.recognition, fact.checkpoint.quorum_at
        self.seen.append(event.issued_at)
        self.times["recognition"] = event.issued_at
        if home_at is not None:
            self.seen.append(home_at)
        if home_at is None or self.now_s >= event.expires_at or not fact.home.recognises(type_code):
            self._lack(Missing.CITY)
        found = self.facts.checkpoint
        if isinstance(found, CheckpointFact):
            # the recognition names a head of that log: another root at the same size is another history
            same_size = found.checkpoint.size == event.size
            if same_size and found.checkpoint.root != event.root:
                raise _Contradiction(Reason.WRONG_LOG)

    # 3. Checkpoint: signed by the log, cosigned by a quorum.
    def _checkpoint(self) -> CheckpointFact | None:
        found = self.facts.checkpoint
        if isinstance(found, Refused):
            raise _Contradiction(found.reason)
        if found is None:
            self._lack(Missing.CHECKPOINT)
            return None
        if found.quorum_at is None:
            self._lack(Missing.QUORUM)
        else:
            self.seen.append(found.quorum_at)  # not the newest cosignature: one witness alone moves no clock
            self.times["checkpoint"] = found.quorum_at
        return found

    # 4. Issuer: its history, the key in it, the credential's signature.
    def _issuer(self) -> KeySpan | None:
        found, presented = self.facts.issuer, self.facts.presented
        if isinstance(found, Refused):
            raise _Contradiction(found.reason)
        if found is None:
            self._lack(Missing.ISSUER)
            return None
        if (found.issuer, found.origin) != (presented.claims.issuer, self.facts.origin):
            raise _Contradiction(Reason.ISSUER_FORGED)
        self.seen.append(found.issued_at)
        self.times["issuer"] = found.issued_at
        place = self.facts.inclusion
        covered = place is not None and place.index < found.size
        age_s = self.now_s - found.issued_at
        if not covered or self.now_s >= found.expires_at or age_s > self.policy.issuer_age_s:
            self._lack(Missing.ISSUER)
        span = found.key(presented.jwt.key_id)
        if span is None:
            # a key that the history does not know yet may be added before a leaf that the history does not reach
            if covered:
                raise _Contradiction(Reason.KEY_UNKNOWN)
            return None
        if presented.claims.type_code not in span.types:
            raise _Contradiction(Reason.TYPE_NOT_ALLOWED)
        try:
            presented.jwt.verify(span.public)
        except SignatureInvalid as err:
            raise _Contradiction(Reason.CREDENTIAL_FORGED) from err
        self.seen.append(presented.claims.issued_at)
        return span

    # 5. Inclusion: the leaf that the credential has, in the checkpoint, while its key was active.
    def _inclusion(self, checkpoint: CheckpointFact | None, span: KeySpan | None) -> None:
        place, presented = self.facts.inclusion, self.facts.presented
        if place is None or checkpoint is None:
            self._lack(Missing.INCLUSION)
            return
        try:
            self.leaf_hash = leaf_of_claims(presented.jwt, presented.claims).hash
        except Malformed as err:
            raise _Contradiction(Reason.MALFORMED) from err
        if not checkpoint.includes(self.leaf_hash, place):
            raise _Contradiction(Reason.NOT_IN_LOG)
        inactive = None if span is None else span.why_inactive(place.index)
        if inactive is not None:
            raise _Contradiction(Reason(inactive))

    # 6. Status: the token of this list, logged after the licence, fresh; then the code.
    def _status(self, checkpoint: CheckpointFact | None) -> None:
        found, claims = self.facts.status, self.facts.presented.claims
        if isinstance(found, Refused):
            raise _Contradiction(found.reason)
        if found is None:
            self._lack(Missing.STATUS)
            return
        if (found.claims.origin, found.claims.list) != (claims.origin, claims.list):
            raise _Contradiction(Reason.STATUS_OF_OTHER_LIST)
        if checkpoint is not None and not checkpoint.includes(found.leaf_hash, found.inclusion):
            raise _Contradiction(Reason.STATUS_FORGED)
        self.seen.append(found.claims.issued_at)
        place = self.facts.inclusion
        if checkpoint is None or place is None or found.inclusion.index < place.index:
            # a token from before the licence was logged says nothing about it
            self._lack(Missing.STATUS)
            return
        self._code(found, claims.index)

    def _code(self, found: StatusFact, index: int) -> None:
        claims = found.claims
        try:
            self.code = found.code(index)
        except StatusListDamaged as err:
            raise _Contradiction(Reason.STATUS_FORGED) from err
        self.times["status"] = claims.issued_at
        age_s = self.now_s - claims.issued_at
        stale = self.now_s >= claims.expires_at or age_s > min(claims.ttl_s, self.policy.status_age_s)
        if stale:
            self._lack(Missing.STATUS)
        if self.code == Code.NOT_ISSUED:
            raise _Contradiction(Reason.NOT_ISSUED)
        if self.code == Code.SUSPENDED:
            if not stale:  # a suspension may have ended since; what is final stays
                raise _Contradiction(Reason.SUSPENDED)
        elif self.code in FINAL:
            raise _Contradiction(Reason.REVOKED)
        elif self.code != Code.VALID:
            raise _Contradiction(Reason.STATUS_FORGED)

    # 7. Time: facts that are newer than now show that the clock is behind. Blocks do not count: a chain's clock is its own.
    def _time(self) -> None:
        claims = self.facts.presented.claims
        seen = max(self.seen, default=self.now_s)
        if seen > self.now_s + self.policy.skew_s:
            self._lack(Missing.CLOCK)
        time_s = max(self.now_s, seen)
        if claims.expires_at is not None and time_s >= claims.expires_at:
            raise _Contradiction(Reason.EXPIRED)
        if time_s < claims.not_before:
            raise _Contradiction(Reason.NOT_YET_VALID)

    # 8. Anchor, where given or insisted on.
    def _anchor(self, checkpoint: CheckpointFact | None) -> None:
        found = self.facts.anchor
        if isinstance(found, Refused):
            raise _Contradiction(found.reason)
        if found is not None:
            head = None if checkpoint is None else checkpoint.checkpoint
            if head is not None and (head.size, head.root) != (found.size, found.root):
                raise _Contradiction(Reason.ANCHOR_MISMATCH)
            self.times["anchor"] = found.time_s
        have = "none" if found is None else found.kind
        if ANCHOR_KINDS.index(have) < ANCHOR_KINDS.index(self.policy.anchor):
            self._lack(Missing.ANCHOR)

    # 9. Bearer, where a nonce is expected.
    def _bearer(self, expected: Expected | None) -> None:
        if expected is None:
            return
        try:
            self.times["bearer"] = verify_bearer(
                self.facts.presented,
                nonce=expected.nonce,
                audience=expected.audience,
                now_s=self.now_s,
                age_max_s=self.policy.kb_age_s,
            )
        except BearerError as err:
            reason = _BEARER_REASONS.get(type(err))
            if reason is not None:
                raise _Contradiction(reason) from err
            self._lack(Missing.BEARER)
