"""One round of publishing, each part covering the one before: access batches, status lists, histories, cosignatures, anchor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.errors import LedgerError
from ledger.licences.anchoring import Anchorer
from ledger.licences.batches import AccessBatches
from ledger.licences.keys import SigningKey
from ledger.licences.publish import Publisher
from ledger.licences.store import AnchorRow
from ledger.log.checkpoint import Quorum
from ledger.log.witness_client import WitnessClient

STATUS_EVERY_S: Final = 600
BATCH_EVERY_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did: log indexes of tokens and batches, issuers with a new history, and by part what could not be done."""

    batches: tuple[int, ...]
    statuses: tuple[int, ...]
    histories: tuple[str, ...]
    cosigned: bool
    anchor: AnchorRow | None
    problems: tuple[tuple[str, LedgerError], ...]


class Rounds:
    """Publishes a book, round by round. One thread at a time; call it at least once a minute.

    Args:
        publisher: of the book.
        witnesses: the client that asks them.
        quorum: which count, and how many are needed.
        batches: of access records, if there are any.
        registrar: the registrar's key where it is at hand; else histories are handed in (`Publisher.accept_history`).
        anchorer: if the log is anchored.
        status_every_s, batch_every_s: how often lists that changed, and access records, are published.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        witnesses: WitnessClient,
        quorum: Quorum,
        batches: AccessBatches | None = None,
        registrar: SigningKey | None = None,
        anchorer: Anchorer | None = None,
        status_every_s: int = STATUS_EVERY_S,
        batch_every_s: int = BATCH_EVERY_S,
    ) -> None:
        self._publisher, self._witnesses, self._quorum = publisher, witnesses, quorum
        self._batches, self._registrar, self._anchorer = batches, registrar, anchorer
        self._status_every_s, self._batch_every_s = status_every_s, batch_every_s
        self._statuses_at: int | None = None
        self._batches_at: int | None = None

    def run(self, now_s: int, *, wanted: bool = False) -> Round:
        """Publish what is due; a part that fails is told of, and the others are done all the same.

        Args:
            now_s: Unix seconds.
            wanted: publish and anchor everything that changed now, whether due or not.
        """
        problems: list[tuple[str, LedgerError]] = []
        batches = self._seal(now_s, wanted, problems)
        statuses = self._statuses(now_s, wanted, problems)
        histories = self._histories(now_s, problems)
        cosigned = self._cosign(problems)
        anchor = self._anchor(now_s, wanted, problems)
        return Round(batches, statuses, histories, cosigned, anchor, tuple(problems))

    def _seal(self, now_s: int, wanted: bool, problems: list[tuple[str, LedgerError]]) -> tuple[int, ...]:
        if self._batches is None or not (wanted or _is_due(self._batches_at, self._batch_every_s, now_s)):
            return ()
        try:
            sealed = tuple(self._batches.seal(now_s))
        except LedgerError as err:
            problems.append(("batches", err))
            return ()
        self._batches_at = now_s
        return sealed

    def _statuses(self, now_s: int, wanted: bool, problems: list[tuple[str, LedgerError]]) -> tuple[int, ...]:
        if not (wanted or _is_due(self._statuses_at, self._status_every_s, now_s)):
            return ()
        try:
            published = tuple(self._publisher.publish_statuses(now_s))
        except LedgerError as err:
            problems.append(("statuses", err))
            return ()
        self._statuses_at = now_s
        return published

    def _histories(self, now_s: int, problems: list[tuple[str, LedgerError]]) -> tuple[str, ...]:
        if self._registrar is None:
            return ()
        try:
            return tuple(self._publisher.publish_histories(self._registrar, now_s))
        except LedgerError as err:
            problems.append(("histories", err))
            return ()

    def _cosign(self, problems: list[tuple[str, LedgerError]]) -> bool:
        try:
            if not self._publisher.is_cosigned():
                self._publisher.cosign(self._witnesses, self._quorum)
        except LedgerError as err:
            problems.append(("cosignatures", err))
            return False
        return True

    def _anchor(self, now_s: int, wanted: bool, problems: list[tuple[str, LedgerError]]) -> AnchorRow | None:
        if self._anchorer is None:
            return None
        try:
            return self._anchorer.tick(now_s, wanted=wanted)
        except LedgerError as err:
            problems.append(("anchor", err))
            return None


def _is_due(last_at: int | None, every_s: int, now_s: int) -> bool:
    return last_at is None or now_s - last_at >= every_s
