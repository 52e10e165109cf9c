"""The error tree of `privacy`: everything this package raises on purpose is a `PrivacyError`.

Messages state what was expected and what was found, never a secret, a cell or a record.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy.types import Violation


class PrivacyError(Exception):
    """Anything `privacy` refuses."""


# --- encodings


class EncodingError(PrivacyError):
    """Bytes or values that do not have the form the protocol fixes."""


class WordInvalid(EncodingError):
    """A value that is not one 32-byte word."""


class NotCanonical(EncodingError):
    """JSON that is not its own canonical form (RFC 8785)."""


class StateCorrupt(EncodingError):
    """Stored secrets or shares that cannot be read back: wrong version, length or content."""


# --- the sealed sum


class ProtocolError(PrivacyError):
    """A party, message or value that the sealed sum refuses; `sender` is the roster index at fault, if known.

    Attributes:
        sender: the index in the roster of the holder whose key, message or secret is at fault.
    """

    def __init__(self, message: str, *, sender: int | None = None) -> None:
        super().__init__(message if sender is None else f"sender {sender}: {message}")
        self.sender = sender


class ParametersInvalid(ProtocolError):
    """No sum is possible with these numbers of holders, colluders and dropouts."""


class RosterInvalid(ProtocolError):
    """A roster that is unsorted, repeats a holder or holds malformed keys."""


class WeakKey(ProtocolError):
    """A public key whose shared secret is degenerate or that is no point of its curve."""


class BadMessage(ProtocolError):
    """A frame or payload that is not what the protocol fixes."""


class FrameTruncated(BadMessage):
    """A frame that ends before its declared length."""


class FrameTrailing(BadMessage):
    """A frame followed by bytes that are not its own."""


class FrameMagicWrong(BadMessage):
    """Bytes that do not start with the protocol's magic."""


class FrameVersionUnknown(BadMessage):
    """A frame of another protocol version."""


class FrameKindUnknown(BadMessage):
    """A frame of a kind that does not exist, or that was not asked for."""


class FrameTooLong(BadMessage):
    """A frame whose declared payload is longer than any payload may be."""


class SessionMismatch(BadMessage):
    """A message of another session: late, replayed or misdirected."""


class SenderUnknown(BadMessage):
    """A sender index outside the roster, or not the one expected."""


class PayloadMalformed(BadMessage):
    """A payload of the wrong length, count or order."""


class BadShare(ProtocolError):
    """A sealed share that does not open, or a share that is no field element. `sender` dealt it."""


class UnmaskRefused(ProtocolError):
    """An unmask request that would release what must stay hidden, or is inconsistent with the chain."""


class BadUnmask(ProtocolError):
    """An unmask message with a missing, repeated, wrong or inconsistent share. `sender` sent it."""


class SeedMismatch(ProtocolError):
    """Shares that open no secret its owner fixed on the chain, and nothing that shows who is at fault.

    Attributes:
        owner: whose secret it is.
        suspects: who sent the shares; the owner, who dealt them, is one too. A further message may tell.
    """

    def __init__(self, message: str, *, owner: int, suspects: tuple[int, ...]) -> None:
        super().__init__(f"{message}: owner {owner}, shares of {list(suspects)}")
        self.owner = owner
        self.suspects = suspects


class BelowThreshold(ProtocolError):
    """Fewer usable messages than the threshold or the floor."""

    def __init__(self, message: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{message}: expected at least {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class CellOutOfRange(ProtocolError):
    """A cell outside the range in which sums cannot wrap."""


class PointEncodingInvalid(ProtocolError):
    """Bytes that are no point of G1 in the encoding of EIP-2537, or are not on the curve."""


class PointNotInSubgroup(ProtocolError):
    """A point on the curve but outside the subgroup of order q."""


class CommitmentMismatch(ProtocolError):
    """A sum that does not open the sum of the survivors' commitments."""


class AnswerMalformed(ProtocolError):
    """An answer, chunk or path that does not belong to the answer root."""


class GeneratorsInvalid(ProtocolError):
    """More generators than exist, or a committed digest table that is not the one in the code."""


# --- policy, plan, noise and budget ------------------------------------------------------------------------


class PlanningError(PrivacyError):
    """A policy, query, plan, noise parameter or budget that is refused."""


class PolicyInvalid(PlanningError):
    """A policy with problems. `problems` names each field with what was expected and what was found."""

    def __init__(self, problems: "tuple[str, ...] | list[str]") -> None:
        self.problems = tuple(problems)
        super().__init__("the policy is invalid: " + "; ".join(self.problems))


class PlanRejected(PlanningError):
    """A query that the policy or the grammar refuses. `violations` holds every reason, by position."""

    def __init__(self, violations: "tuple[Violation, ...] | list[Violation]") -> None:
        self.violations = tuple(violations)
        super().__init__("the query is refused: " + "; ".join(str(each) for each in self.violations))


class PlanInvalid(PlanningError):
    """A serialised plan that is malformed, or that differs from what its own query part gives."""


class NoiseInvalid(PlanningError):
    """A noise parameter that is zero, not a number or not finite: never taken as "no noise"."""


class AnswerInvalid(PlanningError):
    """Cells or numbers of survivors that cannot belong to the plan."""


class BudgetInvalid(PlanningError):
    """A privacy loss below zero, or a δ that is not between 0 and 1."""
