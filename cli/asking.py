"""The buyer's steps from a question to its answer, as a person sees them: what is new, what is the answer of an earlier request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.output import Stages, print_json, print_table, say

if TYPE_CHECKING:
    from client.buyer import Buyer
    from client.types import Answer, Losses, Quote
    from ledger.types import Digest, RequestState


def submit(buyer: Buyer, quoted: Quote, stages: Stages) -> tuple[Digest, bool]:
    """Sign and hand in a request, and say so; or say that the identical question was asked before.

    Returns:
        The request's id, and whether it is the earlier one's.
    """
    from client.types import LocalState
    from ledger.types import to_hex

    before = buyer.standing(quoted.plan_hash)
    with stages.stage("submit", "signed request") as stage:
        request_id = buyer.submit(quoted)
        if before is None or before.request_id != request_id:
            return request_id, False
        done = "answered" if before.state is LocalState.ANSWERED else "asked"
        stage.conclude(f"{done} before, as request {to_hex(request_id)}: no second one is signed or charged")
    return request_id, True


def fetch(buyer: Buyer, request_id: Digest, stages: Stages) -> Answer:
    """Fetch an answer and verify it, or verify again the receipt that is here; the stage says which."""
    text = "fetch, unmask, verify, receipt"
    if buyer.is_answered(request_id):
        text = "the stored receipt, checked again"
    with stages.stage("fetch", text):
        return buyer.fetch(request_id)


def show_answer(answer: Answer, *, as_json: bool, is_earlier: bool | None = None) -> None:
    """Show an answer with its errors, what it cost, and where its receipt is.

    Args:
        answer: as it was fetched.
        as_json: as one JSON object.
        is_earlier: whether a question asked now got the answer of an earlier one; None where none was asked.
    """
    from client.types import Status
    from ledger.types import to_hex

    is_verified = answer.verdict.status is Status.VALID
    if as_json:
        table = {"columns": answer.columns, "rows": answer.rows, "error95": answer.error95}
        facts: dict[str, Any] = {
            "request_id": to_hex(answer.request_id),
            "receipt": str(answer.receipt_path),
        }
        facts["privacy_loss"] = answer.losses.to_json()
        facts["faults"] = list(answer.faults)
        facts |= {} if answer.scores_path is None else {"scores": str(answer.scores_path)}
        facts |= {} if is_earlier is None else {"asked_before": is_earlier}
        print_json({**facts, "verified": is_verified, "survivors": answer.survivors, "answer": table})
        return
    columns: list[str] = []
    grouped = [all(row[i] is None for row in answer.error95) for i in range(len(answer.columns))]
    for name, group in zip(answer.columns, grouped, strict=True):
        columns += [name] if group else [name, "±95 %"]
    rows: list[list[Any]] = []
    for row, errors in zip(answer.rows, answer.error95, strict=True):
        cells: list[Any] = []
        for value, error, group in zip(row, errors, grouped, strict=True):
            cells += [value] if group else [value, error]
        rows.append(cells)
    missing = answer.verdict.first_failing
    state = "verified" if is_verified or missing is None else f"verified before, not now ({missing.detail})"
    print_table(f"{state}, from {answer.survivors} holders", columns, rows)
    if is_earlier:
        say(f"this is the answer of the earlier request {to_hex(answer.request_id)}")
    for fault in answer.faults:
        say(f"left out: {fault}")
    show_losses(answer.losses)
    if answer.scores_path is not None:
        say(f"scores, for `phe` to decrypt: {answer.scores_path}")
    say(f"receipt: {answer.receipt_path}")


def show_losses(losses: Losses) -> None:
    """Show what the request costs, and what it comes to with this buyer's others on each budget line."""
    from cli.rho import loss_row
    from ledger.types import to_hex

    rows = [["this request", *loss_row(losses.request)]]
    rows += [[f"line {to_hex(each.line)[:18]}…, in all", *loss_row(each.loss)] for each in losses.lines]
    print_table("privacy loss", ["of", "ρ", "ε", "δ"], rows)


def standing_of(buyer: Buyer) -> list[list[str | None]]:
    """Return a row for each request: id, state here, state on the chain if it is known and there, listing, question."""
    from client.errors import DeploymentMismatch
    from ledger.errors import ChainError
    from ledger.types import RequestState, to_hex

    states: dict[Digest, RequestState] = {}
    kept = buyer.requests()
    try:
        states = buyer.chain_states()
    except (ChainError, DeploymentMismatch) as err:
        say(f"where they stand on the chain is not known: {err}", err=True)
    found = [states.get(each.request_id, RequestState.NONE) for each in kept]
    on_chain = [None if state is RequestState.NONE else state.name.lower() for state in found]
    return [
        [to_hex(each.request_id), each.state.value, state, each.listing_name, each.sql]
        for each, state in zip(kept, on_chain, strict=True)
    ]
