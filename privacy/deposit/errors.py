"""The error tree of encrypted deposits. No message holds a share, a seed, a plaintext or a point's discrete logarithm."""

from __future__ import annotations

from privacy.errors import PrivacyError


class DepositError(PrivacyError):
    """Anything that this package raises."""


# --- points and ciphertexts ------------------------------------------------------------------------------


class PointRefused(DepositError):
    """Bytes that are no point of G1 in 96 bytes. `position` counts from 0 in what was read."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        super().__init__(f"point {position}: {reason}")


class PointOutsideSubgroup(PointRefused):
    """A point on the curve, but outside the subgroup of order q."""


class ScalarRefused(DepositError):
    """A word that is not below q."""


class ValueOutOfRange(DepositError):
    """A value that is too large to be encrypted, or a bound that no discrete logarithm is searched for."""


class LengthMismatch(DepositError):
    """Vectors, ciphertexts or bytes of another number than expected."""

    def __init__(self, what: str, *, expected: int, actual: int) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"{what}: expected {expected}, got {actual}")


# --- keys ------------------------------------------------------------------------------------------------


class KeyInvalid(DepositError):
    """A joint key whose record is malformed, or whose verification keys lie on no polynomial of its degree."""


class ShareMismatch(DepositError):
    """A share of a key that is not the one its verification key says, or of another key."""


class EncodingRefused(DepositError):
    """Bytes that are not the one encoding of a message, share or manifest."""


# --- making a key ----------------------------------------------------------------------------------------


class CeremonyError(DepositError):
    """A message or outcome of the making of a key that is refused; `trustee` is at fault, if one is known.

    Attributes:
        trustee: the index of the trustee at fault.
    """

    def __init__(self, message: str, *, trustee: int | None = None) -> None:
        self.trustee = trustee
        super().__init__(message if trustee is None else f"trustee {trustee}: {message}")


class CeremonyInvalid(CeremonyError):
    """Numbers, a label or a list of trustees that make no ceremony."""


class MessageRefused(CeremonyError):
    """A message of another ceremony, kind, version, sender or length."""


class ProofRefused(CeremonyError):
    """A proof of possession, or of a complaint's shared point, that does not hold."""


class AnnouncementMissing(CeremonyError):
    """A trustee that announced no key: no deal can be made for it."""


class DealMissing(CeremonyError):
    """A trustee that dealt nothing, so that it does not count as a dealer."""


class DealRefused(CeremonyError):
    """A deal that everybody can see is bad, or that a valid complaint opened. `trustee` dealt it."""


class ComplaintFalse(CeremonyError):
    """A complaint that opens a good share, or that opens nothing. `trustee` sent it."""


class ComplaintMissing(CeremonyError):
    """A dealer's last share was bad and its owner did not complain: the share of the key cannot be made.

    `trustee` is the dealer.
    """


class Equivocation(CeremonyError):
    """A trustee that saw other announcements or deals than this one did: someone told two stories."""


class DealersTooFew(CeremonyError):
    """Fewer good dealers than the threshold, so that none of them might be honest."""

    def __init__(self, *, expected: int, actual: int) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"expected at least {expected} good dealers, got {actual}")


# --- cubes and stored deposits -----------------------------------------------------------------------------


class CubeInvalid(DepositError):
    """A cube that cannot be: no lanes, too many cells, values too large, or malformed JSON."""


class FilterUndecided(DepositError):
    """A filter that may take some rows of one group of a cube and leave others, so that no cells add up to it."""


class FilterTooLong(DepositError):
    """A filter with more conditions than are weighed against a cube of this size."""


class RowsRefused(DepositError):
    """Rows that the cube does not take: more than its ceiling, columns of other lengths, or a NULL where none may be."""


class DepositInvalid(DepositError):
    """A stored deposit that is incomplete or whose bytes are not the ones of its root."""


class DepositInUse(DepositError):
    """A folder that holds another deposit, or part of one made from other values or another seed."""


class SelectionInvalid(DepositError):
    """Cells of a sum that are not in the deposit, not ascending, or repeated."""


class WorkersFailed(DepositError):
    """Processes or a cluster that did not do their work: whoever has the deposit can do it without them."""


class ProcessLost(WorkersFailed):
    """A process of this machine ended before its work was done."""


class RayMissing(WorkersFailed):
    """Summing on Ray was asked for and the package `ray` is not installed."""


class RayFailed(WorkersFailed):
    """Ray could not be reached, or not run a task; its own account is the cause."""


# --- decryption ------------------------------------------------------------------------------------------


class NoiseRefused(DepositError):
    """Encrypted noise that is malformed or that its sender did not make; `trustee` sent it."""

    def __init__(self, message: str, *, trustee: int) -> None:
        self.trustee = trustee
        super().__init__(f"trustee {trustee}: {message}")


class PartialInvalid(DepositError):
    """A partial decryption that is malformed or whose proof does not hold; `trustee` sent it."""

    def __init__(self, message: str, *, trustee: int) -> None:
        self.trustee = trustee
        super().__init__(f"trustee {trustee}: {message}")


class RiderRefused(DepositError):
    """What a trustee sent beside its masked vector does not open, or is not of the plan's length."""


class PartialsTooFew(DepositError):
    """Fewer good partial decryptions than the threshold.

    Attributes:
        faults: what was wrong with the others, each naming its trustee.
    """

    def __init__(self, *, expected: int, actual: int, faults: tuple[PartialInvalid, ...]) -> None:
        self.expected, self.actual, self.faults = expected, actual, faults
        named = "".join(f"; {fault}" for fault in faults)
        super().__init__(f"expected {expected} good partial decryptions, got {actual}{named}")


class SumsDisputed(DepositError):
    """No t trustees proved partial decryptions of the same sums, or what they prove is not what is claimed."""


class LogarithmNotFound(DepositError):
    """A decrypted point that stands for no value within the bound. `position` is its result cell."""

    def __init__(self, position: int, bound: int) -> None:
        self.position, self.bound = position, bound
        super().__init__(f"result cell {position}: no value within ±{bound}")


class TableInvalid(DepositError):
    """A stored table of logarithms that is not the one this package makes."""
