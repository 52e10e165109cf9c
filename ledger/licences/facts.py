"""The facts behind a verdict: parts of a bundle, opened with the keys that must have signed them.

A part that contradicts its keys is kept as `Refused`, so that the steps of `verify` name the first contradiction in their own order.
A server keeps opened parts and hands them to `verify_facts`; an offline verifier opens all of them from one bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ledger.encoding import Digest
from ledger.licences.attest import VerifiedAnchor, verify_evidence
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.errors import (
    AnchorEvidenceInvalid,
    AnchorEvidenceMissing,
    LicenceError,
    SignatureInvalid,
)
from ledger.licences.events import Recognition, parse_event
from ledger.licences.issuers import IssuerHistory, parse_history
from ledger.licences.keys import PublicKey
from ledger.licences.packing import NOTHING_OPENED, Opened
from ledger.licences.policy import City, TrustPolicy
from ledger.licences.reasons import Reason
from ledger.licences.sdjwt import Presented
from ledger.licences.status import TOKEN_MAX, StatusClaims, StatusToken, parse_status_token
from ledger.log.checkpoint import Checkpoint, count_cosignatures, verify_log_checkpoint
from ledger.log.errors import CosignatureReplayed, LogError, NoteUnverified, ProofInvalid, WrongOrigin
from ledger.log.notes import NOTE_SIZE_MAX, SignedNote
from ledger.log.tree import verify_inclusion

_KEPT_HISTORY_MAX: Final = 1 << 14  # characters; a longer history has some forty keys
_TOKEN_END: Final = 86  # characters of a signature


@dataclass(frozen=True, slots=True)
class Refused:
    """A part that contradicts what it claims to be."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class CheckpointFact:
    """A checkpoint that its log signed, and when known witnesses cosigned it: Unix seconds, newest first."""

    checkpoint: Checkpoint
    cosigned_at: tuple[int, ...]
    threshold: int

    @property
    def quorum_at(self) -> int | None:
        """The latest time since which a whole quorum vouches for it; None under quorum."""
        return self.cosigned_at[self.threshold - 1] if len(self.cosigned_at) >= self.threshold else None

    def includes(self, leaf_hash: bytes, place: Inclusion) -> bool:
        """Say whether a leaf stands where a proof puts it."""
        try:
            verify_inclusion(leaf_hash, place.index, self.checkpoint.size, place.path, self.checkpoint.root)
        except ProofInvalid:
            return False
        return True


@dataclass(frozen=True, slots=True)
class StatusFact:
    """A status token that the service signed, its leaf, and how to read one entry of it.

    `code` raises StatusListDamaged where the list does not unpack.
    """

    claims: StatusClaims
    leaf_hash: Digest
    inclusion: Inclusion
    code: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class RecognitionFact:
    """A recognition that the registrar of a trusted city signed and logged."""

    recognition: Recognition
    home: City
    checkpoint: CheckpointFact


Part: TypeAlias = Refused | None
_Token: TypeAlias = tuple[StatusToken, Digest] | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `verify_facts` judges. A part is None where it is absent or cannot be opened for want of its city.

    Attributes:
        presented: the credential, parsed; its signature is checked by the steps.
        origin: of the log that the bundle names.
        city: whose keys the other parts were opened with.
        recognition: why that city counts, if it is not in the policy itself.
    """

    presented: Presented
    origin: str
    city: City | None
    recognition: RecognitionFact | Part = None
    checkpoint: CheckpointFact | Part = None
    inclusion: Inclusion | None = None
    issuer: IssuerHistory | Part = None
    status: StatusFact | Part = None
    anchor: VerifiedAnchor | Part = None


def open_bundle(bundle: Bundle, presented: Presented, policy: TrustPolicy) -> Facts:
    """Open every part of a bundle with the keys that the policy has for its log, or that a recognition gives."""
    city, recognition = policy.city(bundle.origin), None
    if city is None and bundle.recognition is not None:
        recognition = open_recognition(bundle.recognition, policy)
        if isinstance(recognition, RecognitionFact) and recognition.recognition.city.origin == bundle.origin:
            city = recognition.recognition.city
    if city is None:
        return Facts(presented=presented, origin=bundle.origin, city=None, recognition=recognition)
    return Facts(
        presented=presented,
        origin=bundle.origin,
        city=city,
        recognition=recognition,
        checkpoint=None if bundle.checkpoint is None else open_checkpoint(bundle.checkpoint, city),
        inclusion=bundle.inclusion,
        issuer=None if bundle.issuer is None else open_issuer(bundle.issuer, city, bundle.opened),
        status=None if bundle.status is None else open_status(bundle.status, city),
        anchor=None if bundle.anchor is None else open_anchor(bundle.anchor, city),
    )


def open_checkpoint(text: str, city: City) -> CheckpointFact | Refused:
    """Verify a checkpoint's log signature and every cosignature of a known witness."""
    # what is too long is refused here, before it becomes a key that a cache keeps
    return Refused(Reason.MALFORMED) if len(text) > NOTE_SIZE_MAX else _open_checkpoint(text, city)


@lru_cache(maxsize=64)  # bundles of one day have one checkpoint; what is kept was verified with these keys
def _open_checkpoint(text: str, city: City) -> CheckpointFact | Refused:
    try:
        note = SignedNote.parse(text)
        checkpoint = verify_log_checkpoint(note, origin=city.origin, log_key=city.log_key)
        cosigned = count_cosignatures(note, city.quorum.keys)
    except WrongOrigin:
        return Refused(Reason.WRONG_LOG)
    except CosignatureReplayed:
        return Refused(Reason.COSIGNATURE_FORGED)
    except NoteUnverified:
        return Refused(Reason.CHECKPOINT_FORGED)
    except LogError:
        return Refused(Reason.MALFORMED)
    times = sorted((cosignature.time_s for cosignature in cosigned), reverse=True)
    return CheckpointFact(checkpoint, tuple(times), city.quorum.threshold)


def open_issuer(text: str, city: City, opened: Opened = NOTHING_OPENED) -> IssuerHistory | Refused:
    """Verify that the registrar signed an issuer history."""
    if len(text) > _KEPT_HISTORY_MAX:
        return _open_issuer(text, city.registrar, opened)
    kept = _kept_history(text, city.registrar)
    if not kept:
        kept.append(_open_issuer(text, city.registrar, opened))
    return kept[0]


@lru_cache(
    maxsize=256
)  # licences of one issuer have one history for days; kept with the key that it was verified with
def _kept_history(text: str, registrar: PublicKey) -> list[IssuerHistory | Refused]:
    """Return the place of what an issuer history was opened as: empty at first, since what a bundle has parsed is no part of the key."""
    return []


def _open_issuer(text: str, registrar: PublicKey, opened: Opened) -> IssuerHistory | Refused:
    try:
        signed = parse_history(text, opened)
        signed.jws.verify(registrar)
    except SignatureInvalid:
        return Refused(Reason.ISSUER_FORGED)
    except LicenceError:
        return Refused(Reason.MALFORMED)
    return signed.history


def open_status(part: StatusPart, city: City) -> StatusFact | Refused:
    """Verify that the service signed a status token."""
    if len(part.token) > TOKEN_MAX:
        return Refused(Reason.MALFORMED)
    kept = kept_tokens(part.token[-_TOKEN_END:], city.service)
    entry = kept[0] if kept else None
    if entry is None or entry[0] != part.token:
        entry = part.token, _open_token(part.token, city.service)
        kept[:] = [entry]
    found = entry[1]
    if isinstance(found, Refused):
        return found
    token, leaf_hash = found
    return StatusFact(token.claims, leaf_hash, part.inclusion, token.code)


@lru_cache(maxsize=16)  # up to 1 MiB each; bundles of one day share them
def kept_tokens(end: str, service: PublicKey) -> list[tuple[str, _Token]]:
    """Return the place of a status token that ends like this and was opened with this key: empty at first, then the token and what it is.

    The key is the token's signature alone: hashing all of a text takes ten times as long as comparing it with the one that is kept.
    """
    return []


def _open_token(text: str, service: PublicKey) -> _Token:
    try:
        token = parse_status_token(text)
        token.verify(service)
    except SignatureInvalid:
        return Refused(Reason.STATUS_FORGED)
    except LicenceError:
        return Refused(Reason.MALFORMED)
    return token, token.leaf().hash


def open_recognition(part: RecognitionPart, policy: TrustPolicy) -> RecognitionFact | Part:
    """Verify a recognition with the keys of the city that made it; None where that city is not in the policy."""
    try:
        signed = parse_event(part.event)
    except LicenceError:
        return Refused(Reason.MALFORMED)
    event = signed.event
    if not isinstance(event, Recognition):
        return Refused(Reason.RECOGNITION_FORGED)
    home = policy.city(event.origin)
    if home is None:
        return None
    try:
        signed.jws.verify(home.registrar)
    except SignatureInvalid:
        return Refused(Reason.RECOGNITION_FORGED)
    checkpoint = open_checkpoint(part.checkpoint, home)
    if isinstance(checkpoint, Refused):
        return checkpoint
    if not checkpoint.includes(signed.leaf().hash, part.inclusion):
        return Refused(Reason.RECOGNITION_FORGED)
    return RecognitionFact(event, home, checkpoint)


def open_anchor(evidence: Mapping[str, Any], city: City) -> VerifiedAnchor | Part:
    """Verify anchor evidence; None where the policy pins no chain for the city, or too few signed."""
    if city.anchor is None:
        return None
    try:
        return verify_evidence(evidence, city, city.anchor)
    except AnchorEvidenceInvalid as err:
        return Refused(Reason(err.reason))
    except AnchorEvidenceMissing:
        return None
