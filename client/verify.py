"""The verification of a receipt: a numbered procedure that anybody can run, and repeat by hand.

The steps are those of docs/protocol.md §7, in its order and with its numbers. A step either holds, or contradicts the
receipt, or lacks a fact. One contradiction makes the receipt INVALID and ends the procedure; a missing fact
makes it UNKNOWN, never valid and never invalid; only when every step holds is it VALID.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from client.chain_checks import ChainSource, check_against_chain
from client.curves import Backend, Curves, Progress, make_curves
from client.errors import FactAbsent, ReceiptContradicted
from client.facts import ChainReader
from client.types import Status, Step, Verdict
from ledger.contracts import listing_id
from ledger.eip712 import require_request_signature
from ledger.errors import LedgerError, ReceiptInvalid
from ledger.receipt import Receipt, parse_receipt, require_receipt_signature
from ledger.types import Deployment, Digest
from privacy.errors import PrivacyError

if TYPE_CHECKING:
    from client.deposits import DecryptedAnswer
    from privacy.plan import Plan
    from privacy.session import Session

CELL_BOUND: Final = 1 << 62
NOT_CANONICAL: Final = "JSON"  # the field that `parse_receipt` names when the bytes are not canonical JSON
OnStep = Callable[[Step], None]


@dataclass(slots=True)
class Subject:
    """A receipt on its way through the procedure; each step adds what it has derived."""

    data: bytes
    source: ChainSource
    curves: Curves
    malformed: ReceiptInvalid | None = None
    receipt: Receipt = field(init=False)
    request_id: Digest = field(init=False)
    plan: Plan = field(init=False)
    session: Session = field(init=False)
    commitment_sum: bytes = field(init=False)
    decrypted: DecryptedAnswer | None = field(init=False, default=None)


def verify_receipt(
    receipt_bytes: bytes,
    chain: ChainReader | None,
    *,
    backend: Backend | str = Backend.ARKWORKS,
    deployment: Deployment | None = None,
    confirmations: int = 0,
    cache: Path | None = None,
    on_step: OnStep | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Verify a receipt.

    Args:
        receipt_bytes: the receipt as it is on disk.
        chain: a node that the verifier trusts; without one the best verdict is UNKNOWN.
        backend: which library recomputes the commitments; `reference` is py_ecc alone.
        deployment: the contracts that the verifier knows to be the market's; without it any ledger whose code
            is ours is accepted, and its address is for the verifier to judge.
        confirmations: blocks that must follow the answer before it is final.
        cache: a directory for the generators of the fast library.
        on_step: told each step as it ends.
        progress: told how many of how many generators the reference has recomputed.

    Returns:
        The verdict with every step that was run. Nothing in the receipt or on the chain makes it raise.

    Raises:
        ValueError: there is no such backend.
    """
    curves = make_curves(Backend(backend), cache=cache, progress=progress)
    source = ChainSource(chain, deployment, confirmations)
    return run_procedure(Subject(receipt_bytes, source, curves), on_step)


def run_procedure(subject: Subject, on_step: OnStep | None = None) -> Verdict:
    """Run the steps in order, up to the first contradiction."""
    steps: list[Step] = []
    for number, name, check in PROCEDURE:
        step = _run(number, name, check, subject)
        steps.append(step)
        if on_step is not None:
            on_step(step)
        if step.ok is False:
            return Verdict(Status.INVALID, tuple(steps))
    status = Status.VALID if all(step.ok for step in steps) else Status.UNKNOWN
    return Verdict(status, tuple(steps))


def _run(number: int, name: str, check: Callable[[Subject], str], subject: Subject) -> Step:
    try:
        return Step(number, name, ok=True, detail=check(subject))
    except FactAbsent as err:
        return Step(number, name, ok=None, detail=str(err))
    except (ReceiptContradicted, LedgerError, PrivacyError) as err:
        return Step(number, name, ok=False, detail=str(err))


# Step 1 --------------------------------------------------------------------------------------------------


def check_canonical_form(subject: Subject) -> str:
    """The bytes are UTF-8 JSON and their own RFC 8785 form."""
    try:
        subject.receipt = parse_receipt(subject.data)
    except ReceiptInvalid as err:
        if err.field == NOT_CANONICAL:
            raise
        subject.malformed = err  # canonical, but no receipt: that is step 2's to say
    return f"{len(subject.data)} bytes of RFC 8785 JSON"


# Step 2 --------------------------------------------------------------------------------------------------


def check_fields(subject: Subject) -> str:
    """Version 1; exactly the known members; each value in its one encoding and in its range."""
    if subject.malformed is not None:
        raise subject.malformed
    return "version 1, all members in their one form"


# Step 3 --------------------------------------------------------------------------------------------------


def check_request(subject: Subject) -> str:
    """The request's EIP-712 digest is signed by its buyer. That digest is the request id."""
    receipt = subject.receipt
    subject.request_id = require_request_signature(
        receipt.request, receipt.request_signature, receipt.chain_id, receipt.ledger
    )
    return f"request 0x{subject.request_id.hex()} signed by 0x{receipt.request.buyer.hex()}"


# Step 4 --------------------------------------------------------------------------------------------------


def check_plan(subject: Subject) -> str:
    """The plan hashes to the request's plan hash, and says the same as the request."""
    from privacy.plan import Plan

    request = subject.receipt.request
    plan = Plan.raw_from_json(subject.receipt.plan)
    subject.curves.require_points(plan)  # by the library that was chosen, and no other
    _require_same("plan hash", request.plan_hash, plan.hash())
    _require_same("listing", request.listing, plan.listing.id)
    _require_same("listing's name", request.listing, listing_id(request.broker, plan.listing.name))
    _require_same("assets", request.holders, len(plan.assets))
    for name in ("rho_micro", "holders", "min_holders", "colluders", "dropouts"):
        _require_same(name, getattr(request, name), getattr(plan, name))
    subject.plan = plan
    return f"plan 0x{request.plan_hash.hex()}, {plan.cells} cells, ρ {plan.rho_micro} micro"


# Step 5 --------------------------------------------------------------------------------------------------


def check_session(subject: Subject) -> str:
    """The roster is ascending, made of the plan's assets, with usable keys; the survivors reach the floor."""
    from privacy.session import Member, Session

    receipt, request = subject.receipt, subject.receipt.request
    holders = [member.holder for member in receipt.roster]
    if holders != sorted(set(holders)):
        raise ReceiptContradicted("the roster is not strictly ascending by holder")
    planned = {bytes(asset.holder): (asset.asset, asset.version) for asset in subject.plan.assets}
    for index, member in enumerate(receipt.roster):
        if planned.get(member.holder) != (member.asset, member.asset_version):
            raise ReceiptContradicted(f"roster[{index}] takes part with an asset that the plan does not name")
    names = Member.__slots__
    subject.session = Session.build(
        chain_id=receipt.chain_id,
        ledger=receipt.ledger,
        request_id=subject.request_id,
        plan_hash=request.plan_hash,
        members=[Member(**{name: getattr(member, name) for name in names}) for member in receipt.roster],
        colluders=request.colluders,
        dropouts=request.dropouts,
        min_holders=request.min_holders,
    )
    survivors = [survivor.index for survivor in receipt.survivors]
    if survivors != sorted(set(survivors)):
        raise ReceiptContradicted("the survivors are not strictly ascending")
    subject.session.require_survivors(survivors, range(len(holders)))
    return f"session 0x{subject.session.id.hex()}, {len(survivors)} of {len(holders)} holders contributed"


# Step 6 --------------------------------------------------------------------------------------------------


def check_chain(subject: Subject) -> str:
    """The chain tells the same: the ledger's code is ours; request, roster, survivors, ΣC and root are final."""
    receipt = subject.receipt
    commitments = {survivor.index: survivor.commitment for survivor in receipt.survivors}
    subject.commitment_sum = subject.curves.sum(commitments)
    return check_against_chain(
        receipt,
        subject.request_id,
        subject.commitment_sum,
        subject.source,
        session_id=subject.session.id,
    )


# Step 7 --------------------------------------------------------------------------------------------------


def check_answer_root(subject: Subject) -> str:
    """Cells and pads give the masked answer Y, whose root is the receipt's, and so the chain's."""
    from client.roots import answer_root_of

    answer, plan = subject.receipt.answer, subject.plan
    _require_same("number of cells", plan.cells, len(answer.cells))
    pads = [survivor.pad for survivor in subject.receipt.survivors]
    derived = answer_root_of(subject.session.id, answer.cells, answer.blinding, pads)
    _require_same("answer root", answer.root, derived)
    return f"answer root 0x{answer.root.hex()}"


# Step 8 --------------------------------------------------------------------------------------------------


def check_range(subject: Subject) -> str:
    """Every |X_j| < 2^62: no sum has wrapped."""
    largest = max(abs(cell) for cell in subject.receipt.answer.cells)
    if largest >= CELL_BOUND:
        raise ReceiptContradicted("a cell is outside ±2^62")
    return f"largest of {len(subject.receipt.answer.cells)} cells has {largest.bit_length()} bits"


# Step 9 --------------------------------------------------------------------------------------------------


def check_opening(subject: Subject) -> str:
    """ΣC_i = Σ X_j·G_j + R·H: the answer is the sum of what the survivors committed to."""
    answer = subject.receipt.answer
    if subject.curves.commit(answer.cells, answer.blinding) != subject.commitment_sum:
        raise ReceiptContradicted("the answer does not open the sum of the survivors' commitments")
    return f"{len(subject.receipt.survivors)} commitments opened"


# Step 10 -------------------------------------------------------------------------------------------------


def check_table(subject: Subject) -> str:
    """The table is what plan and cells decode to; over an encrypted deposit, what its trustees decrypted with them."""
    from client.answering import decode_table

    receipt = subject.receipt
    _require_same("columns of the table", len(subject.plan.columns), len(receipt.table.columns))
    _require_same("rows of the table", subject.plan.groups, len(receipt.table.rows))
    subject.decrypted = _decrypted(subject)
    table = decode_table(
        subject.plan,
        subject.session.params,
        len(receipt.survivors),
        receipt.answer.cells,
        subject.decrypted,
    )
    shown = {
        "columns": list(receipt.table.columns),
        "rows": [list(row) for row in receipt.table.rows],
        "error95": [list(row) for row in receipt.table.error95],
    }
    if table.to_json() != shown:  # strings, numbers and null: equal values have one canonical form
        raise ReceiptContradicted("the table is not what the plan and the cells decode to")
    faults = "" if subject.decrypted is None else "".join(f"; {each}" for each in subject.decrypted.faults)
    return f"{len(table.rows)} rows of {len(table.columns)} columns{faults}"


def _decrypted(subject: Subject) -> DecryptedAnswer | None:
    """Return what a deposit's trustees decrypted; None for plans of other kinds."""
    from privacy.terms import PlanKind

    if subject.plan.kind is not PlanKind.DEPOSIT:
        return None
    return subject.curves.decrypt(subject.receipt, subject.plan, subject.session)


# Step 11 -------------------------------------------------------------------------------------------------


def check_signature(subject: Subject) -> str:
    """The buyer signed the receipt."""
    require_receipt_signature(subject.receipt)
    return f"signed by 0x{subject.receipt.request.buyer.hex()}"


PROCEDURE: Final[tuple[tuple[int, str, Callable[[Subject], str]], ...]] = (
    (1, "canonical form", check_canonical_form),
    (2, "fields", check_fields),
    (3, "request and buyer's signature", check_request),
    (4, "plan", check_plan),
    (5, "roster and session", check_session),
    (6, "chain", check_chain),
    (7, "answer root", check_answer_root),
    (8, "range", check_range),
    (9, "commitments", check_opening),
    (10, "table", check_table),
    (11, "receipt's signature", check_signature),
)


def _require_same(what: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise ReceiptContradicted(f"{what}: expected {_shown(expected)}, derived {_shown(actual)}")


def _shown(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
