"""The error tree of e-licences. No message holds a value of a licence, a salt, a signature or a secret."""

from __future__ import annotations

from ledger.errors import LedgerError


class LicenceError(LedgerError):
    """Anything that this package raises."""


# --- credentials -----------------------------------------------------------------------------------------


class Malformed(LicenceError):
    """Something is outside its type: length, range, encoding, key set or form. `field` names it."""

    def __init__(self, field: str, expected: str, actual: str) -> None:
        self.field, self.expected, self.actual = field, expected, actual
        super().__init__(f"{field}: expected {expected}, got {actual}")


class IdentifierInvalid(LicenceError):
    """A name of docs/licence.md §1 is not well-formed. `position` counts characters from 0."""

    def __init__(self, position: int, reason: str) -> None:
        self.position, self.reason = position, reason
        super().__init__(f"identifier: {reason} at character {position}")


class HiddenMandatoryField(LicenceError):
    """A member that the issuer must show is missing from the signed payload, or a disclosure names it."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name!r} must be a plain member of the signed payload, and nothing else may name it"
        )


class KeyUnsupported(LicenceError):
    """A key or an algorithm is none of EdDSA over Ed25519, ES256 over P-256, SM2 over sm2p256v1."""


class SignatureInvalid(LicenceError):
    """A signature does not verify under the key that it must verify under. `what` names the signed object."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"the signature of the {what} does not verify under the expected key")


# --- bearer: the KB-JWT of a presentation ----------------------------------------------------------------


class BearerError(LicenceError):
    """A presentation does not prove who bears it."""


class BearerMissing(BearerError):
    """The presentation has no KB-JWT: it proves the licence, not its bearer."""


class BearerForged(BearerError):
    """The KB-JWT is not by the key in `cnf`, or is bound to another presentation."""


class NonceMismatch(BearerError):
    """The KB-JWT answers another challenge: a replay."""


class AudienceMismatch(BearerError):
    """The KB-JWT was made for another verifier."""


class BearerStale(BearerError):
    """The KB-JWT is too old, or from the future. `age_s` is now minus `iat`."""

    def __init__(self, age_s: int, age_max_s: int) -> None:
        self.age_s, self.age_max_s = age_s, age_max_s
        super().__init__(f"the KB-JWT: expected an age within {age_max_s} s, got {age_s} s")


# --- key files -------------------------------------------------------------------------------------------


class KeyFileError(LicenceError):
    """A key file cannot be used."""


class KeyFileMissing(KeyFileError):
    """There is no key file at this path."""


class KeyFileExists(KeyFileError):
    """There is a key file at this path already; it is never overwritten."""


class KeyFileMalformed(KeyFileError):
    """The file is no key file of this version."""


class KeyFilePassphraseWrong(KeyFileError):
    """The passphrase does not open this key file, or the file was altered."""


# --- QR codes --------------------------------------------------------------------------------------------


class QrError(LicenceError):
    """A QR code cannot be written or read."""


class QrTooLong(QrError):
    """The presentation does not fit into one QR code of the chosen error correction."""

    def __init__(self, size: int, size_max: int) -> None:
        self.size, self.size_max = size, size_max
        super().__init__(f"QR code: expected at most {size_max} bytes, got {size}; disclose fewer fields")


class QrUnreadable(QrError):
    """The file is no image, or shows no or more than one QR code."""


# --- the book --------------------------------------------------------------------------------------------


class BookError(LicenceError):
    """The book of licences does not take or find what was asked."""


class BookBusy(BookError):
    """Another process writes here."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}: another process writes here")


class BookClosed(BookError):
    """The book was closed. Nothing of the call was kept."""

    def __init__(self) -> None:
        super().__init__("the book is closed")


class BookExists(BookError):
    """There is a book in this folder already; it is never overwritten."""


class BookFull(BookError):
    """The disk is full. Nothing of the call was kept; repeat it once there is room."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"no space on the disk: {what}")


class BookDamaged(BookError):
    """A file of the book is not as it was written; what follows from the log can be made again from it."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        self.what, self.expected, self.actual = what, expected, actual
        super().__init__(f"{what}: expected {expected}, got {actual}")


class BookMismatch(BookError):
    """The folder holds the book of another log, registrar, service or secret."""


class RecordMalformed(BookError):
    """Bytes are no access record."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"access record: expected {expected}, got {actual}")


class EventRefused(BookError):
    """A signed event may not follow what the log has. `rule` names the failed check; nothing of the call was kept."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(f"event refused ({rule}): {message}")


class SlotUnknown(BookError):
    """No such status list or index."""

    def __init__(self, number: int, index: int) -> None:
        self.number, self.index = number, index
        super().__init__(f"no slot {index} of status list {number}")


class LicenceUnknown(BookError):
    """The log has no such licence."""


class PrivateRecordErased(BookError):
    """The credential and its salts were destroyed; the leaf stays."""


class BackfillRefused(BookError):
    """A backfill does not start: its file, its mapping, its job or the disk does not allow it."""


class BackfillFailed(BookError):
    """A worker of a backfill failed; everything logged so far stays, and the same call goes on from there."""


class AnchorRefused(BookError):
    """The chain has another history than this log: an anchor would revert, or evidence contradicts it."""


class FactsMissing(BookError):
    """What a bundle needs is not there yet: a cosigned checkpoint, a status token or an issuer history. `what` names it."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"not published yet: {what}")


# --- events, status lists, policies, anchor evidence ------------------------------------------------------


class TransitionRefused(LicenceError):
    """An event does not fit the status that the licence has."""

    def __init__(self, old: int, kind: str, code: int) -> None:
        self.old, self.kind, self.code = old, kind, code
        super().__init__(f"{kind}: a licence with status {old:#x} cannot get status {code:#x} by it")


class StatusListDamaged(LicenceError):
    """The compressed status list of a token does not unpack to its length."""


class QuorumSplits(LicenceError):
    """So few cosignatures are asked for that one lying witness could show two histories."""

    def __init__(self, threshold: int, witnesses: int) -> None:
        self.threshold, self.witnesses = threshold, witnesses
        super().__init__(
            f"{threshold} of {witnesses} witnesses: expected at least {(witnesses + 3) // 2}, so that two quorums share an honest one"
        )


class AnchorEvidenceInvalid(LicenceError):
    """Evidence of an anchor contradicts what it claims. `reason` is the verdict's name for it."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {message}")


class AnchorEvidenceMissing(LicenceError):
    """Evidence of an anchor has too few signatures, or is of a kind that cannot be checked here."""
