"""Why a replay cannot be done at all. What it finds wrong in a log is no error but a `Difference`."""

from __future__ import annotations

from ledger.errors import LedgerError


class ReplayError(LedgerError):
    """Anything that replay raises."""


class LogUnreadable(ReplayError):
    """There is no log to replay in this folder: no checkpoint, or one that cannot be parsed."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        super().__init__(f"cannot read {what}: {reason}")


class ExportMalformed(ReplayError):
    """An export of the chain's anchors is not in its one accepted form."""

    def __init__(self, field: str, expected: str, actual: str) -> None:
        self.field = field
        super().__init__(f"export: {field}: expected {expected}, got {actual}")


class WorkFolderFull(ReplayError):
    """The folder for sorted runs and slots has no room for a log of this size."""


class WorkerLost(ReplayError):
    """A worker process ended before its part of the log was read."""


class BookUnreadable(ReplayError):
    """The operator's book cannot be read, so there is nothing to reconcile with."""
