"""Which cells of a deposit add up to which number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.deposit.errors import SelectionInvalid

RESULTS_MAX: Final = 1 << 17

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cells of a deposit add up to each result cell; a cell may be in several.

    Attributes:
        cells: ascending.
        results: the result cell of each.
        count: the number of result cells; one without cells is the sum of none, zero.
    """

    cells: Integers = field(repr=False)
    results: Integers = field(repr=False)
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= RESULTS_MAX:
            raise SelectionInvalid(f"expected 1 to {RESULTS_MAX} result cells, got {self.count}")
        if len(self.cells) != len(self.results) or bool(np.any(np.diff(self.cells) < 0)):
            raise SelectionInvalid("expected cells in ascending order, with one result each")
        if len(self.cells) and (
            self.cells[0] < 0 or self.results.min() < 0 or self.results.max() >= self.count
        ):
            raise SelectionInvalid("a cell or result below zero, or beyond the last result")

    @classmethod
    def of_ranges(cls, ranges: Sequence[Sequence[tuple[int, int]]]) -> Selection:
        """Select ranges of cells, first and one past the last, for each result cell.

        Raises:
            SelectionInvalid: ranges of one result cell that are empty, not ascending or overlap.
        """
        for number, own in enumerate(ranges):
            ends = [end for each in own for end in each]
            if any(first >= last for first, last in own) or ends != sorted(ends):
                raise SelectionInvalid(f"result cell {number}: ranges must be ascending and not overlap")
        return cls.of_cells(
            [np.concatenate([np.empty(0, np.int64), *starmap(np.arange, own)]) for own in ranges]
        )

    @classmethod
    def of_cells(cls, lists: Sequence[Integers]) -> Selection:
        """Select ascending cells for each result cell.

        Raises:
            SelectionInvalid: cells of one result cell that are not ascending, or repeated.
        """
        for number, own in enumerate(lists):
            if bool(np.any(np.diff(own) <= 0)):
                raise SelectionInvalid(f"result cell {number}: cells must be ascending and different")
        cells = np.concatenate([np.empty(0, np.int64), *lists])
        results = np.repeat(np.arange(len(lists), dtype=np.int64), [len(own) for own in lists])
        order = np.argsort(cells, kind="stable")
        return cls(cells[order], results[order], len(lists))
