"""What replay finds: differences with their place, kept up to a bound and counted beyond it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

KEPT_MAX: Final = 10_000


class Rule(StrEnum):
    """The rule that a difference breaks."""

    # --- the tree ---
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    CHECKPOINT_QUORUM = "checkpoint-quorum"
    CHECKPOINT_ROLLBACK = "checkpoint-rollback"
    CHECKPOINT_ROOT = "checkpoint-root"
    ENTRY_MISSING = "entry-missing"
    TILE_MISSING = "tile-missing"
    TILE_HASH = "tile-hash"
    LEAF_HASH = "leaf-hash"
    LEAF_MALFORMED = "leaf-malformed"
    # --- what the leaves say ---
    EVENT_REPEATED = "event-repeated"
    KEY_NOT_ACTIVE = "key-not-active"
    KEY_HISTORY = "key-history"
    WRONG_SIGNER = "wrong-signer"
    TYPE_NOT_ALLOWED = "type-not-allowed"
    SLOT_OUT_OF_RANGE = "slot-out-of-range"
    SLOT_REUSED = "slot-reused"
    LICENCE_UNKNOWN = "licence-unknown"
    LICENCE_MISMATCH = "licence-mismatch"
    WRONG_ISSUER = "wrong-issuer"
    TRANSITION = "illegal-transition"
    STATUS_DIGEST = "status-digest"
    # --- the chain ---
    ANCHOR_CHAIN = "anchor-chain"
    ANCHOR_ORDER = "anchor-order"
    ANCHOR_BLOCK = "anchor-block-missing"
    ANCHOR_TIME = "anchor-time"
    ANCHOR_HEAD = "anchor-head"
    ANCHOR_BEYOND_LOG = "anchor-beyond-log"
    ANCHOR_ROOT = "anchor-root"
    ANCHOR_STATUS_ROOT = "anchor-status-root"
    REGISTRY_KEY = "registry-key"
    REGISTRY_TYPE = "registry-type"
    # --- what is kept beside the log ---
    EVIDENCE_MISSING = "evidence-missing"
    EVIDENCE_DIGEST = "evidence-digest"
    EVIDENCE_LEAF = "evidence-leaf"
    EVENT_SIGNATURE = "event-signature"
    TOKEN_MISSING = "token-missing"  # noqa: S105 - the name of a rule
    TOKEN_DIGEST = "token-digest"  # noqa: S105 - the name of a rule
    TOKEN_BITS = "token-bits"  # noqa: S105 - the name of a rule
    BOOK_STATUS = "book-status"
    BOOK_SLOT = "book-slot"
    BOOK_ROW = "book-row"
    ISSUER_HISTORY = "issuer-history"
    ACCESS_BATCH = "access-batch"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two sources disagree, or where a rule of docs/licence.md is broken.

    Args:
        rule: what is broken.
        detail: expected and actual, without personal data.
        index: of the log entry, where there is one.
        block: of the chain, where there is one.
        status_list: number of the status list, where there is one.
    """

    rule: Rule
    detail: str
    index: int | None = None
    block: int | None = None
    status_list: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON; places that do not apply are null."""
        return {
            "rule": self.rule.value,
            "index": self.index,
            "block": self.block,
            "list": self.status_list,
            "detail": self.detail,
        }


@dataclass(slots=True)
class Findings:
    """Counts every difference and keeps the first `KEPT_MAX`, so that memory stays flat on a ruined log.

    Args:
        sink: gets each difference as it is found, the ones that are not kept too.
    """

    sink: Callable[[Difference], None] | None = None
    kept: list[Difference] = field(default_factory=list)
    by_rule: Counter[Rule] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Number of all differences so far."""
        return self.by_rule.total()

    def add(self, difference: Difference) -> None:
        """Count one difference, and keep it while there is room."""
        self.by_rule[difference.rule] += 1
        if len(self.kept) < KEPT_MAX:
            self.kept.append(difference)
        if self.sink is not None:
            self.sink(difference)

    def extend(self, differences: Iterable[Difference]) -> None:
        """Count several."""
        for difference in differences:
            self.add(difference)
