"""From the masked answer Y to a receipt: pure functions of the chain's events, Y and the request's key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from client.errors import AnswerMismatch, AnswerNotReady
from client.facts import RequestFacts
from client.types import StoredRequest
from ledger.receipt import (
    Receipt,
    ReceiptAnswer,
    ReceiptTable,
    RosterMember,
    Survivor,
)
from ledger.types import Address, Answered, Deployment, to_hex
from privacy.errors import (
    AnswerInvalid,
    AnswerMalformed,
    CellOutOfRange,
    ParametersInvalid,
    RosterInvalid,
    WeakKey,
)

if TYPE_CHECKING:
    from client.deposits import DecryptedAnswer
    from privacy.answer import AnswerTable
    from privacy.plan import Plan
    from privacy.session import Session, SumParameters

_UNSIGNED = bytes(65)
Decrypt = Callable[["AnsweredRequest", tuple[int, ...]], "DecryptedAnswer"]


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request whose answer root is on the chain, with the session as the buyer derives it from there."""

    stored: StoredRequest
    plan: Plan
    session: Session
    facts: RequestFacts
    answer_root: bytes

    @property
    def survivors(self) -> tuple[int, ...]:
        """The roster indices of those who contributed, ascending."""
        contributed = self.facts.contributed()
        return tuple(i for i, member in enumerate(self.session.members) if member.holder in contributed)


@dataclass(frozen=True, slots=True)
class OpenedAnswer:
    """A receipt that is not signed yet, its table, and what was found wrong with trustees of a deposit."""

    receipt: Receipt = field(repr=False)
    table: AnswerTable = field(repr=False)
    faults: tuple[str, ...] = ()


def answered_request(stored: StoredRequest, facts: RequestFacts, deployment: Deployment) -> AnsweredRequest:
    """Derive roster, session and survivors of an answered request from the chain's events alone.

    Raises:
        AnswerNotReady: no answer root among the events.
        AnswerMismatch: a roster that the contract would never have sealed.
    """
    from privacy.plan import Plan
    from privacy.session import Member, Session

    answered = facts.one(Answered)
    if answered is None:
        raise AnswerNotReady(stored.request_id, facts.state)
    members = [
        Member(**{name: getattr(event, name) for name in Member.__slots__})
        for event in facts.approved().values()
    ]
    request = stored.request
    try:
        session = Session.build(
            chain_id=deployment.chain_id,
            ledger=deployment.ledger,
            request_id=stored.request_id,
            plan_hash=request.plan_hash,
            members=members,
            colluders=request.colluders,
            dropouts=request.dropouts,
            min_holders=request.min_holders,
        )
    except (ParametersInvalid, RosterInvalid) as err:
        raise AnswerMismatch(f"the chain's roster makes no session: {err}") from err
    return AnsweredRequest(stored, Plan.from_bytes(stored.plan_json), session, facts, answered.answer_root)


def require_masked_answer(answered: AnsweredRequest, payload: bytes) -> None:
    """Require that bytes are the Y whose root the broker fixed on the chain.

    Raises:
        AnswerMismatch: of another length, or with another root.
    """
    from privacy.sealed_sum_answer import answer_root, cell_count

    try:
        cells = cell_count(payload)
        root = answer_root(answered.session.id, payload)
    except AnswerMalformed as err:
        raise AnswerMismatch(str(err)) from err
    if cells != answered.plan.cells:
        raise AnswerMismatch(f"the plan has {answered.plan.cells} cells, the answer {cells}")
    if root != answered.answer_root:
        expected, actual = to_hex(answered.answer_root), to_hex(root)
        raise AnswerMismatch(f"answer root: the chain has {expected}, what came hashes to {actual}")


def open_answer(
    answered: AnsweredRequest,
    payload: bytes,
    *,
    key: bytes,
    deployment: Deployment,
    decrypt: Decrypt | None = None,
) -> OpenedAnswer:
    """Remove the pads and decode the table.

    Args:
        answered: the request.
        payload: Y, already required to have the chain's root.
        key: b_req, 32 bytes.
        deployment: the contracts.
        decrypt: decrypts what the cells open, for a plan over an encrypted deposit.

    Raises:
        AnswerMismatch: what is under the pads is no sum, or none to this plan: Y is wrong, whatever its root.
    """
    from privacy.sealed_sum_answer import buyer_pad, remove_pads

    session, survivors = answered.session, answered.survivors
    try:
        pads = {i: buyer_pad(session.id, i, key, session.members[i].e_compressed) for i in survivors}
        cells, blinding = remove_pads(payload, pads.values())
    except (AnswerMalformed, CellOutOfRange, WeakKey) as err:
        raise AnswerMismatch(f"the answer does not open: {err}") from err
    values = tuple(cells.tolist())
    decrypted = None if decrypt is None else decrypt(answered, values)
    try:
        table = decode_table(answered.plan, session.params, len(survivors), values, decrypted)
    except AnswerInvalid as err:
        raise AnswerMismatch(f"the answer is none to its plan: {err}") from err
    shown = table.to_json()
    receipt = Receipt(
        chain_id=deployment.chain_id,
        ledger=deployment.ledger,
        request=answered.stored.request,
        request_signature=answered.stored.signature,
        plan=answered.plan.to_json(),
        roster=tuple(_roster_member(answered, index) for index in range(session.n)),
        survivors=tuple(_survivor(answered, index, pad) for index, pad in pads.items()),
        answer=ReceiptAnswer(answered.answer_root, values, blinding),
        table=ReceiptTable(
            tuple(shown["columns"]), tuple(map(tuple, shown["rows"])), tuple(map(tuple, shown["error95"]))
        ),
        signature=_UNSIGNED,
        deposit=None if decrypted is None else decrypted.evidence,
    )
    return OpenedAnswer(receipt, table, () if decrypted is None else decrypted.faults)


def decode_table(
    plan: Plan,
    params: SumParameters,
    survivors: int,
    cells: Sequence[int],
    decrypted: DecryptedAnswer | None,
) -> AnswerTable:
    """Decode the table of a sum's cells, or of what was decrypted with them.

    Raises:
        AnswerInvalid: numbers that cannot belong to this plan and roster.
    """
    from privacy.answer import decode_answer, decode_values

    if decrypted is None:
        return decode_answer(plan, params, survivors, cells)
    return decode_values(plan, params, decrypted.contributors, decrypted.evidence.values)


def decode_receipt(receipt: Receipt, decrypted: DecryptedAnswer | None = None) -> AnswerTable:
    """Decode the table of a receipt that was verified, with numbers as numbers.

    Args:
        receipt: the receipt.
        decrypted: what its verification found of a deposit's trustees; None for other kinds of plans.
    """
    from privacy.plan import Plan

    plan, params = Plan.raw_from_json(receipt.plan), receipt_parameters(receipt)  # its points are verified
    return decode_table(plan, params, len(receipt.survivors), receipt.answer.cells, decrypted)


def receipt_parameters(receipt: Receipt) -> SumParameters:
    """Return the parameters of the sum that a receipt is of."""
    from privacy.session import SumParameters

    request = receipt.request
    return SumParameters.of(
        n=len(receipt.roster),
        colluders=request.colluders,
        dropouts=request.dropouts,
        min_holders=request.min_holders,
    )


def _roster_member(answered: AnsweredRequest, index: int) -> RosterMember:
    member = answered.session.members[index]
    return RosterMember(**{name: getattr(member, name) for name in RosterMember.__slots__})


def _survivor(answered: AnsweredRequest, index: int, pad: bytes) -> Survivor:
    event = answered.facts.contributed()[Address(answered.session.members[index].holder)]
    return Survivor(index, event.commitment, event.input_hash, pad)
