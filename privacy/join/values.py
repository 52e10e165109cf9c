"""What the value side brings: for each key the numbers that it adds, each in its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from privacy.join.errors import ListTooLong, MultiplicityExceeded, ValueOutOfRange
from privacy.join.terms import VALUE_MAX, JoinTerms


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Different keys with their numbers, stored without the zeros.

    Attributes:
        keys: different from each other.
        starts: int64 of shape [keys + 1]: the numbers of key i are at starts[i] … starts[i + 1] − 1.
        places: int64: which of the join's values a number adds to.
        numbers: int64.
    """

    keys: tuple[bytes, ...]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[bytes, Iterable[tuple[int, int]]]], *, most: int) -> KeyValues:
        """Add up the rows of each key.

        Args:
            rows: (key, its (place, number) pairs).
            most: m of the value side, the rows it may have of one key.

        Raises:
            MultiplicityExceeded: a key with more rows.
            ValueOutOfRange: a sum of 2^63 or more in absolute value.
        """
        sums: dict[bytes, dict[int, int]] = {}
        counts: dict[bytes, int] = {}
        for key, pairs in rows:
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > most:
                raise MultiplicityExceeded(most=most)
            cells = sums.setdefault(key, {})
            for place, number in pairs:
                cells[place] = cells.get(place, 0) + number
        flat = [pair for cells in sums.values() for pair in cells.items()]
        if any(abs(number) > VALUE_MAX for _, number in flat):
            raise ValueOutOfRange("expected numbers below 2^63")
        starts = accumulate((len(cells) for cells in sums.values()), initial=0)
        return cls(
            tuple(sums),
            np.fromiter(starts, dtype=np.int64, count=len(sums) + 1),
            np.fromiter((place for place, _ in flat), dtype=np.int64, count=len(flat)),
            np.fromiter((number for _, number in flat), dtype=np.int64, count=len(flat)),
        )

    def require(self, terms: JoinTerms) -> None:
        """Refuse keys and numbers that the terms have no room for.

        Raises:
            ListTooLong: more keys than places for them.
            MultiplicityExceeded: a key that is there twice.
            ValueOutOfRange: a place or number out of range, or arrays of wrong lengths.
        """
        if len(self.keys) > terms.value_keys:
            raise ListTooLong("different keys", most=terms.value_keys, actual=len(self.keys))
        if len(set(self.keys)) != len(self.keys):
            raise MultiplicityExceeded(most=1)
        ordered = len(self.starts) == len(self.keys) + 1 and bool(np.all(np.diff(self.starts) >= 0))
        if not ordered or self.starts[0] or len(self.places) != len(self.numbers):
            raise ValueOutOfRange("expected numbers of each key one after another")
        if len(self.numbers) != self.starts[-1]:
            raise ValueOutOfRange(f"expected {self.starts[-1]} numbers, got {len(self.numbers)}")
        if len(self.numbers) and not (self.places.min() >= 0 and self.places.max() < terms.values):
            raise ValueOutOfRange(f"expected places below {terms.values}")
        if len(self.numbers) and max(int(self.numbers.max()), -int(self.numbers.min())) > terms.value_max:
            raise ValueOutOfRange(f"expected numbers of at most {terms.value_max} in absolute value")

    def dense(self, key: int, count: int) -> list[int]:
        """Return the numbers of one key, the zeros too."""
        row = [0] * count
        span = slice(int(self.starts[key]), int(self.starts[key + 1]))
        for place, number in zip(self.places[span].tolist(), self.numbers[span].tolist(), strict=True):
            row[place] += number
        return row
