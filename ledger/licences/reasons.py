"""The names that a verdict has: its state, its one reason, and what may be missing."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """INVALID needs a contradiction; what is absent, under quorum or stale gives UNKNOWN."""

    VALID = "VALID"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"


class Reason(StrEnum):
    """Why a verdict is INVALID. Source: docs/licence.md §11, in the order of its steps."""

    MALFORMED = "Malformed"
    HIDDEN_MANDATORY_FIELD = "HiddenMandatoryField"
    IDENTIFIER_INVALID = "IdentifierInvalid"
    WRONG_LOG = "WrongLog"
    RECOGNITION_FORGED = "RecognitionForged"
    CHECKPOINT_FORGED = "CheckpointForged"
    COSIGNATURE_FORGED = "CosignatureForged"
    ISSUER_FORGED = "IssuerForged"
    KEY_UNKNOWN = "KeyUnknown"
    TYPE_NOT_ALLOWED = "TypeNotAllowed"
    CREDENTIAL_FORGED = "CredentialForged"
    NOT_IN_LOG = "NotInLog"
    KEY_NOT_YET_ACTIVE = "KeyNotYetActive"
    KEY_RETIRED = "KeyRetired"
    KEY_COMPROMISED = "KeyCompromised"
    STATUS_FORGED = "StatusForged"
    STATUS_OF_OTHER_LIST = "StatusOfOtherList"
    NOT_ISSUED = "NotIssued"
    SUSPENDED = "Suspended"
    REVOKED = "Revoked"
    EXPIRED = "Expired"
    NOT_YET_VALID = "NotYetValid"
    WRONG_CHAIN = "WrongChain"
    ANCHOR_FORGED = "AnchorForged"
    ANCHOR_MISMATCH = "AnchorMismatch"
    BEARER_FORGED = "BearerForged"
    NONCE_MISMATCH = "NonceMismatch"
    AUDIENCE_MISMATCH = "AudienceMismatch"


class Missing(StrEnum):
    """What keeps a verdict from VALID without contradicting it."""

    CITY = "city"
    CHECKPOINT = "checkpoint"
    QUORUM = "quorum"
    ISSUER = "issuer"
    INCLUSION = "inclusion"
    STATUS = "status"
    CLOCK = "clock"
    ANCHOR = "anchor"
    BEARER = "bearer"
