"""How many of what: the figures that replay re-derives and the operator's statistics must meet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ledger.licences.leaf import Code, Kind
from ledger.replay.keys import KeyBook
from ledger.replay.leaves import DAYS, KINDS
from ledger.replay.scan import ChunkScan
from ledger.replay.slots import SlotPages

NO_DAY: Final = "other"


@dataclass(slots=True)
class Counts:
    """Figures of a whole log.

    `by_kind` and `by_day` count leaves; the others count licences by the status that they have now. A key of a table
    is the code's name; licences that a rule kept out are in none.
    """

    by_kind: Counter[str] = field(default_factory=Counter)
    by_day: dict[str, Counter[str]] = field(default_factory=dict)
    by_code: Counter[str] = field(default_factory=Counter)
    by_type: dict[str, Counter[str]] = field(default_factory=dict)
    by_issuer: dict[str, Counter[str]] = field(default_factory=dict)

    def add_days(self, scan: ChunkScan) -> None:
        """Count the leaves of one chunk by kind and day."""
        for cell, count in zip(*(column.tolist() for column in scan.days), strict=True):
            day, kind = cell >> 4, cell & 0xF
            name = Kind(kind).name.lower() if 0 < kind < KINDS else "unknown"
            self.by_kind[name] += count
            label = NO_DAY if day == DAYS else str(np.datetime64(day, "D"))
            self.by_day.setdefault(label, Counter())[name] += count

    def add_slots(self, pages: SlotPages, keys: KeyBook) -> None:
        """Count all licences by type, issuer and status."""
        for _, page in pages.pages():
            codes = page.all_codes()
            issued = np.flatnonzero(codes != Code.NOT_ISSUED)
            cells = page.issuer[issued].astype(np.uint64) << np.uint64(32) | page.type[issued].astype(
                np.uint64
            ) << np.uint64(4)
            found, numbers = np.unique(cells | codes[issued], return_counts=True)
            for cell, count in zip(found.tolist(), numbers.tolist(), strict=True):
                code = Code(cell & 0xF).name.lower()
                self.by_code[code] += count
                self.by_type.setdefault(keys.types[cell >> 4 & 0xFFFFFFF], Counter())[code] += count
                self.by_issuer.setdefault(keys.issuers[cell >> 32], Counter())[code] += count

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON, keys ascending."""
        return {
            "kinds": dict(sorted(self.by_kind.items())),
            "days": {day: dict(sorted(row.items())) for day, row in sorted(self.by_day.items())},
            "codes": dict(sorted(self.by_code.items())),
            "types": {name: dict(sorted(row.items())) for name, row in sorted(self.by_type.items())},
            "issuers": {name: dict(sorted(row.items())) for name, row in sorted(self.by_issuer.items())},
        }
