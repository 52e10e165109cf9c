"""Every refusal of the log. No message holds an entry, evidence or a key's secret."""

from __future__ import annotations

from ledger.errors import LedgerError


class LogError(LedgerError):
    """Anything that the log raises."""


# --- entries and tiles -----------------------------------------------------------------------------------


class EntryTooLong(LogError):
    """An entry or its evidence is longer than its length prefix, or the bound on it, allows."""

    def __init__(self, what: str, size_max: int, size: int) -> None:
        self.size_max, self.size = size_max, size
        super().__init__(f"{what}: expected at most {size_max} bytes, got {size}")


class EntryMissing(LogError):
    """An entry, tile or bundle is not there: outside the tree, pruned, or not served."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is not in the log")


class TileMalformed(LogError):
    """A tile, a bundle or its path is not in its one accepted form, or does not hash to its parent."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        self.path = path
        super().__init__(f"{path}: expected {expected}, got {actual}")


# --- proofs ----------------------------------------------------------------------------------------------


class ProofInvalid(LogError):
    """An inclusion proof does not lead from the leaf to the root."""


class ConsistencyInvalid(LogError):
    """A consistency proof does not show that the smaller tree is a prefix of the larger."""


# --- notes and checkpoints -------------------------------------------------------------------------------


class NoteMalformed(LogError):
    """A signed note, a signature line or a key is not in its one accepted form."""


class NoteUnverified(LogError):
    """No known key signed the note, or a known key's signature does not verify."""


class CheckpointMalformed(LogError):
    """A note's text is no checkpoint."""


class WrongOrigin(LogError):
    """A checkpoint is another log's."""

    def __init__(self, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"checkpoint of the log {actual!r}, expected {expected!r}")


class CosignatureMissing(LogError):
    """Fewer witnesses than the quorum have cosigned the checkpoint."""

    def __init__(self, have: int, need: int) -> None:
        self.have, self.need = have, need
        super().__init__(f"{have} cosignatures of known witnesses, {need} needed")


class CosignatureReplayed(LogError):
    """A known witness's cosignature does not cover this checkpoint: made for another body, or forged."""

    def __init__(self, witness: str) -> None:
        self.witness = witness
        super().__init__(f"the cosignature of {witness!r} does not cover this checkpoint")


# --- the writer ------------------------------------------------------------------------------------------


class EventConflict(LogError):
    """An event id is logged already, or earlier in the same batch, with other bytes. Nothing was written."""

    def __init__(self, position: int, index: int | None) -> None:
        self.position, self.index = position, index
        where = "earlier in the same batch" if index is None else f"at index {index}"
        super().__init__(f"item {position}: its event id is taken {where} by another entry")


class NotAligned(LogError):
    """Whole bundles can only follow whole bundles."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the log has {size} entries, expected a multiple of 256")


class LogBusy(LogError):
    """Another process writes this log."""


class LogClosed(LogError):
    """This `Log` does not hold the lock: it was closed, or it is the copy of one in a forked process."""


class LogExists(LogError):
    """There is a log in this folder already."""


class LogDamaged(LogError):
    """The files of the log contradict each other or are torn; it is not written to any more."""


class StorageFailed(LogError):
    """The operating system refused to read or write. A batch is not acknowledged; repeat it, nothing is written twice."""


class DiskFull(StorageFailed):
    """The disk is full. The batch is not acknowledged; repeat it once there is room, nothing is written twice."""


# --- witnesses -------------------------------------------------------------------------------------------


class WitnessRefused(LogError):
    """A witness does not cosign.

    `rule` names the failed check, `status` is the HTTP status, `size` the witness's own size where it tells it.
    """

    def __init__(self, rule: str, status: int, message: str, *, size: int | None = None) -> None:
        self.rule, self.status, self.size = rule, status, size
        super().__init__(f"witness refused ({rule}, {status}): {message}")


class WitnessUnreachable(LogError):
    """A witness gave no answer: refused, timed out, or not HTTP. Try again later."""
