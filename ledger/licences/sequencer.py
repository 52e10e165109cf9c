"""Many callers, few checkpoints: signed events that arrive together are logged together, each answered for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ledger.errors import LedgerError
from ledger.licences.book import LicenceBook, Receipt
from ledger.licences.group import GroupCommit, Ticket

BATCH_MAX: Final = 4096


class Sequencer:
    """Hands signed events to a book in groups. Safe to share between threads.

    Args:
        book: open for writing.
        clock: Unix seconds.
        delay_s: how long a group stays open for others after its first event.
    """

    def __init__(self, book: LicenceBook, *, clock: Callable[[], int], delay_s: float = 0.0) -> None:
        self._book, self._clock = book, clock
        self._group: GroupCommit[str, Receipt | LedgerError] = GroupCommit(
            self._commit, delay_s=delay_s, batch_max=BATCH_MAX
        )

    def enqueue(self, text: str) -> Ticket[Receipt | LedgerError]:
        """Add a signed event to the open group and return at once; its ticket has the receipt, or why it was refused.

        Raises:
            BookClosed.
        """
        return self._group.enqueue(text)

    def submit(self, text: str, timeout_s: float | None = None) -> Receipt:
        """Log a signed event and wait for its receipt; as `LicenceBook.submit`.

        Raises:
            LedgerError: as `LicenceBook.submit`.
            TimeoutError: not logged in time; it may be later, and the same event again gets the same receipt.
        """
        answer = self._group.enqueue(text).result(timeout_s)
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    def close(self) -> None:
        """Log what is waiting and stop. Later calls change nothing."""
        self._group.close()

    def _commit(self, texts: Sequence[str]) -> Sequence[Receipt | LedgerError]:
        return self._book.submit_all(texts, now_s=self._clock())
