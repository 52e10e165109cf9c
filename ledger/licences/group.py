"""Many callers, one durable write: a thread takes all that is waiting and commits it together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ledger.errors import LedgerError
from ledger.licences.errors import BookClosed

BATCH_MAX: Final = 4096

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[R]):
    """One caller's place in a commit. `group` is shared by all of the same commit, so an event loop waits for it once for many callers."""

    group: Future[Sequence[R]]
    position: int

    def result(self, timeout_s: float | None = None) -> R:
        """Wait until the commit is durable and return this caller's answer.

        Raises:
            LedgerError: as the commit raised it; nothing of the group counts as done.
            TimeoutError: not durable in time; it may become so.
        """
        return self.group.result(timeout_s)[self.position]


class GroupCommit(Generic[T, R]):
    """Runs `commit` on whole groups in a thread of its own; safe to share between threads.

    Args:
        commit: makes all items durable and answers each, in order. Only one call at a time.
        delay_s: how long a group stays open for others, unless `flush` ends it. 0 still groups what arrives during a commit.
        batch_max: most items of a group.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Sequence[R]],
        *,
        delay_s: float = 0.0,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._commit, self._delay_s, self._batch_max = commit, delay_s, batch_max
        self._changed = threading.Condition()
        self._items: list[T] = []
        self._group: Future[Sequence[R]] = Future()
        self._closed = self._is_due = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def enqueue(self, item: T) -> Ticket[R]:
        """Add an item to the open group and return at once.

        Raises:
            BookClosed: the group commit was closed, or its thread has failed.
        """
        with self._changed:
            while len(self._items) >= self._batch_max and not self._closed:
                self._changed.wait()
            if self._closed:
                raise BookClosed
            self._items.append(item)
            if len(self._items) == 1:
                self._changed.notify_all()
            return Ticket(self._group, len(self._items) - 1)

    def flush(self) -> None:
        """Commit what is waiting without delay: nobody else is about to come."""
        with self._changed:
            if self._items and not self._is_due:
                self._is_due = True
                self._changed.notify_all()

    def close(self) -> None:
        """Commit what is waiting and stop. Later calls change nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait()
                if not self._items:
                    return
                self._changed.wait_for(lambda: self._is_due or self._closed, self._delay_s)
                items, group = self._items, self._group
                self._is_due = False
                self._items, self._group = [], Future()
                self._changed.notify_all()
            self._answer(items, group)

    def _answer(self, items: Sequence[T], group: Future[Sequence[R]]) -> None:
        try:
            answers = self._commit(items)
        except LedgerError as err:
            group.set_exception(err)
        except BaseException as err:
            group.set_exception(err)
            with self._changed:  # a programming error: nobody may wait for a thread that is gone
                self._closed = True
                self._group.set_exception(BookClosed())
                self._changed.notify_all()
            raise
        else:
            group.set_result(answers)
