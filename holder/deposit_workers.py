"""Where a trustee adds up ciphertexts: in this process, in others of this machine, or on a Ray cluster of its own.

The sums are the same wherever they are made. If the workers fail, this process makes them alone: no request is lost to that.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import structlog

from holder.settings import LOCAL_CLUSTER, DepositSettings

if TYPE_CHECKING:
    from privacy.deposit import Ciphertexts, Deposit, Mapper, Selection

LARGE_FRAGMENTS: Final = 8
"""Files that are summed sooner alone than by processes that must first be started: a file of 65,536 cells takes 0.2 s, a start 1 s."""

_TURN = threading.Lock()  # one sum has all workers, and a process has one connection to Ray

log = structlog.get_logger("shuyao.holder")


class DepositWorkers:
    """Adds up cells of deposits.

    Args:
        settings: where.
    """

    def __init__(self, settings: DepositSettings | None = None) -> None:
        self._settings = settings or DepositSettings()

    def sum_cells(self, deposit: Deposit, selection: Selection) -> Ciphertexts:
        """Return the encrypted sums of a selection.

        Raises:
            SelectionInvalid, DepositInvalid: as `privacy.deposit.sum_cells`.
        """
        from privacy.deposit import sum_cells
        from privacy.deposit.errors import WorkersFailed
        from privacy.deposit.total import fragments_of

        fragments = len(fragments_of(selection))
        if self._settings.ray is None and self.processes(fragments) == 1:
            return sum_cells(deposit, selection)
        try:
            with _TURN, self._mapper(fragments) as mapper:
                return sum_cells(deposit, selection, mapper=mapper)
        except WorkersFailed as err:
            log.warning("deposit summed without workers", fault=type(err).__name__, detail=str(err))
            return sum_cells(deposit, selection)

    def processes(self, fragments: int) -> int:
        """Return how many processes share the files of one sum.

        Args:
            fragments: files with selected cells.
        """
        asked = self._settings.workers
        if asked is None:
            asked = _cores() if fragments >= LARGE_FRAGMENTS else 1
        return max(1, min(asked, fragments))

    def _mapper(self, fragments: int) -> AbstractContextManager[Mapper]:
        from privacy.deposit import ProcessMapper, RayMapper

        ray = self._settings.ray
        if ray is None:
            return ProcessMapper(self.processes(fragments))
        if ray == LOCAL_CLUSTER:
            return RayMapper(workers=self._settings.workers)
        return RayMapper(address=ray)


def _cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
