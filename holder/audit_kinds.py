"""What the audit of each kind of plans has of its own: what is brought to it, and how its vector is made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holder import audit_deposit, audit_join
from holder.audit_messages import BUNDLES_NAME, Entry, decode_entries
from holder.errors import (
    AuditContradicted,
    AuditFactMissing,
    EngineFailed,
    RowsExceedCeiling,
    SchemaMismatch,
)
from holder.store import HolderStore
from holder.types import StoredRequest
from privacy.errors import CellOutOfRange
from privacy.messages import Kind, decode_frame
from privacy.plan import Plan
from privacy.session import Session
from privacy.terms import PlanKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.audit_subject import Subject

Step = tuple[str, Callable[["Subject"], str]]


def _nothing(store: HolderStore, stored: StoredRequest, session: Session, plan: Plan) -> Iterator[Entry]:
    yield from ()


@dataclass(frozen=True, slots=True)
class KindAudit:
    """The hooks of one kind; `holder.audit` and `holder.audit_bundle` do the rest for all of them.

    Attributes:
        vector: returns the cells for some noise of the plan's values, once the steps have been taken.
        meaning: what the commitment must be to.
        steps: between rows and contribution.
        bring: at the holder, what is needed besides the messages whose hashes are on the chain.
    """

    vector: Callable[[Subject, NDArray[np.int64]], NDArray[np.int64]]
    meaning: str
    steps: tuple[Step, ...] = ()
    bring: Callable[[HolderStore, StoredRequest, Session, Plan], Iterator[Entry]] = _nothing


def bring(store: HolderStore, stored: StoredRequest, session: Session, index: int) -> Iterator[Entry]:
    """Yield what an audit needs besides seed and rows, at the holder whose place in the roster is `index`.

    A plain vector needs nothing. Where something rides behind the messages: the own ones, the bundles of the others, and
    what the kind adds.
    """
    plan = Plan.from_json(stored.plan)
    if not plan.bundle_rider_size:
        return
    for kind in (Kind.BUNDLE, Kind.MASKED_INPUT):
        message = store.message(stored.request_id, kind)
        if message is not None:
            yield Entry(kind, index, decode_frame(message.frame).payload)
    if store.has_secret(stored.request_id, BUNDLES_NAME):
        yield from decode_entries(store.secret(stored.request_id, BUNDLES_NAME))
    yield from KINDS[plan.kind].bring(store, stored, session, plan)


def _sums(subject: Subject, noise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of the rows with some noise."""
    from holder.sums import compute_cells

    rows = subject.rows()
    try:
        sums = compute_cells(rows.engine, subject.plan, subject.policy, trim=rows.trim)
    except EngineFailed as err:
        raise AuditFactMissing(f"the rows cannot be summed in this room: {err}") from err
    except (SchemaMismatch, RowsExceedCeiling, CellOutOfRange) as err:
        raise AuditContradicted(f"no honest contribution exists: {err}") from err
    subject.require_same_rows()
    return sums + noise


def _scores(subject: Subject, noise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the noisy sums combined under the buyer's model."""
    from privacy.score.combine import blinding_seed, score_cells

    return score_cells(subject.plan, _sums(subject, noise), blinding_seed(subject.source))


_OF_ROWS: Final = "the sums of these rows with the noise of this seed"

KINDS: Final[Mapping[PlanKind, KindAudit]] = {
    PlanKind.SUM: KindAudit(_sums, _OF_ROWS),
    PlanKind.SCORE: KindAudit(_scores, _OF_ROWS),
    PlanKind.JOIN: KindAudit(
        audit_join.vector,
        "this side's share of the sums with the noise of this seed",
        (("rounds", audit_join.check_rounds),),
        audit_join.bring,
    ),
    PlanKind.DEPOSIT: KindAudit(
        audit_deposit.vector,
        "the sealing key of this seed, in this trustee's own region",
        (("noise", audit_deposit.check_noise), ("decryption", audit_deposit.check_decryption)),
    ),
}
