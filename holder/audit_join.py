"""The audit of one side of a private join: its rounds made again from rows and seed, and then its share of the sums.

Both sides fixed the hashes of all three rounds on the chain, behind their bundles. So what an audit is brought of the other side is
what that side sent, and the own rounds must be those that the other side had. The value side's part is made again without its
Paillier key: the roots of the third round's ciphertexts open these, and no others.

Source: docs/protocol.md §5.2 and §10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from holder.audit_messages import OPENING, Entry
from holder.errors import (
    AuditContradicted,
    AuditFactMissing,
    EngineFailed,
    KeysExceedList,
    RowsExceedCeiling,
    SchemaMismatch,
)
from holder.join import STATE_NAME, join_cells, join_seed, join_terms
from holder.join_store import JoinStore, Round
from holder.store import HolderStore
from holder.types import StoredRequest
from ledger.types import Digest
from privacy.errors import PayloadMalformed
from privacy.messages import Kind, decode_frame, message_hash
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.session import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.audit_subject import Subject
    from holder.join_data import SideRows
    from privacy.join.terms import JoinTerms

_WORD: Final = 32


# --- at the holder ---------------------------------------------------------------------------------------------------


def bring(store: HolderStore, stored: StoredRequest, session: Session, plan: Plan) -> Iterator[Entry]:
    """Yield the rounds of the other side, and of the value side what opens the third."""
    from privacy.join import ValueState
    from privacy.join.replay import opening_of
    from privacy.join.transport import round_sender

    parts, terms = JoinStore(store.engine), join_terms(plan)
    is_value = bytes(stored.asset_id or b"") == terms.value.asset

    def payloads(number: int) -> Iterator[bytes]:
        for part in parts.read(Round(stored.request_id, Digest(session.id), number)):
            yield decode_frame(part.frame).payload

    for number in _received(is_value=is_value):
        sender = round_sender(plan, terms, session, number)
        for payload in payloads(number):
            yield Entry(Kind.JOIN, sender, payload)
    if is_value and next(payloads(3), None) is not None:
        state = ValueState.from_bytes(store.secret(stored.request_id, STATE_NAME))
        yield Entry(OPENING, 0, opening_of(state, payloads(3)))


def _received(*, is_value: bool) -> tuple[int, ...]:
    return (1, 3) if is_value else (2,)


# --- in the room -----------------------------------------------------------------------------------------------------


def check_rounds(subject: Subject) -> str:
    """The rounds that both sides fixed are those of these rows, this seed, and what the other side sent."""
    from privacy.join.errors import InputRefused, JoinError, StateCorrupt

    terms = join_terms(subject.plan)
    if {member.asset for member in subject.session.members} != {terms.matcher.asset, terms.value.asset}:
        raise AuditContradicted("it went on with a roster that is not that of the join's two sides")
    is_value = bytes(subject.bundle.asset.asset_id) == terms.value.asset
    fixed = _fixed(subject)
    for number in _received(is_value=is_value):
        _require(subject, fixed, number, _brought(subject, number))
    rows = _rows(subject)
    try:
        sizes = terms.terms(subject.plan, subject.session.id)
        subject.share = (
            _as_value_side(subject, rows, sizes, fixed)
            if is_value
            else _as_matcher(subject, rows, sizes, fixed)
        )
    except InputRefused as err:
        raise AuditContradicted(f"no honest contribution exists: {type(err).__name__}: {err}") from err
    except StateCorrupt as err:
        raise AuditContradicted(f"what opens the third round cannot be used: {err}") from err
    except JoinError as err:
        raise AuditContradicted(f"a round that had to be refused: {type(err).__name__}: {err}") from err
    return f"as the {'value side' if is_value else 'matcher'}, {subject.plan.values} sums"


def vector(subject: Subject, noise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the limbs of this side's share with some noise."""
    return join_cells(subject.plan, subject.share, noise)


def _as_matcher(subject: Subject, rows: SideRows, sizes: JoinTerms, fixed: tuple[bytes, ...]) -> list[int]:
    from privacy.join import MatcherState, matcher_round1, matcher_round3

    state = MatcherState(sizes, join_seed(subject.source))
    _require(subject, fixed, 1, matcher_round1(state, rows.sublists or ()))
    matched = matcher_round3(state, _brought(subject, 2))
    _require(subject, fixed, 3, matched.parts)
    return list(matched.share)


def _as_value_side(subject: Subject, rows: SideRows, sizes: JoinTerms, fixed: tuple[bytes, ...]) -> list[int]:
    from privacy.join import value_round2
    from privacy.join.dummies import draw_dummies
    from privacy.join.replay import ValueReplay, value_reopen

    opening = next(subject.brought(OPENING, 0), None)
    if opening is None or rows.values is None:
        raise AuditFactMissing("what opens the third round was not brought")
    replay = ValueReplay.of(sizes, join_seed(subject.source), opening)
    dummies = draw_dummies(subject.plan, join_terms(subject.plan), subject.source)
    _require(subject, fixed, 2, value_round2(replay, rows.values, dummies, _brought(subject, 1)))
    return value_reopen(replay, _brought(subject, 3))


def _rows(subject: Subject) -> SideRows:
    """Read the rows as this side of the join."""
    from holder.join_data import read_side

    side, table = join_terms(subject.plan).side(subject.bundle.asset.asset_id), subject.rows()
    if side is None:
        raise AuditContradicted("the plan has the asset on no side of the join")
    try:
        rows = read_side(table.engine, subject.plan, subject.policy, side, trim=table.trim)
    except EngineFailed as err:
        raise AuditFactMissing(f"the rows cannot be read in this room: {err}") from err
    except (SchemaMismatch, RowsExceedCeiling, KeysExceedList) as err:
        raise AuditContradicted(f"no honest contribution exists: {err}") from err
    subject.require_same_rows()
    return rows


def _fixed(subject: Subject) -> tuple[bytes, ...]:
    """Return the hashes of the three rounds, on which both sides agree."""
    index = subject.bundle.index
    riders = [_rider(subject, each) for each in (index, 1 - index)]
    if riders[0] != riders[1]:
        if subject.has_contributed:
            raise AuditContradicted("it went on although the other side had fixed other rounds")
        raise AuditFactMissing("the two sides fixed different rounds, and this one did not go on")
    return tuple(riders[0][k : k + _WORD] for k in range(0, len(riders[0]), _WORD))


def _rider(subject: Subject, index: int) -> bytes:
    try:
        return split_rider(subject.fixed(Kind.BUNDLE, index), subject.plan.bundle_rider_size, sender=index)[1]
    except PayloadMalformed as err:
        raise AuditContradicted(str(err)) from err


def _brought(subject: Subject, number: int) -> Iterator[bytes]:
    """Yield the parts of a round of the other side that were brought."""
    for payload in subject.brought(Kind.JOIN, 1 - subject.bundle.index):
        if payload[:1] == bytes((number,)):
            yield payload


def _require(subject: Subject, fixed: tuple[bytes, ...], number: int, parts: Iterable[bytes]) -> None:
    """Require that the parts of a round are those whose hash both sides fixed."""
    from privacy.join.transport import round_hash, round_sender

    session = subject.session
    sender = round_sender(subject.plan, join_terms(subject.plan), session, number)
    hashes = [message_hash(Kind.JOIN, session.id, sender, part) for part in parts]
    if not hashes:
        raise AuditFactMissing(f"round {number} was not brought")
    if round_hash(session.id, number, hashes) == fixed[number - 1]:
        return
    if sender == subject.bundle.index:
        raise AuditContradicted(f"round {number} is not that of these rows and this seed")
    raise AuditContradicted(f"round {number} is not the one that both sides fixed")
