"""What the fault tests look at: the step that a request is at, every byte that must not change, and the sums that must agree."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial

from sqlalchemy import select

from client.errors import AnswerNotReady, RequestClosed, RequestExpired
from client.types import Answer, Status
from exchange.tables import answers, messages, requests
from holder.epoch import EpochFile
from holder.store import HolderStore
from holder.tables import lines
from holder.tables import messages as holder_messages
from holder.tables import requests as holder_requests
from holder.tables import secrets_ as holder_secrets
from holder.types import Hold
from holder.vault import Vault
from ledger.database import read_transaction
from ledger.errors import ChainError
from ledger.store import attempts
from ledger.types import (
    Address,
    Answered,
    Approved,
    Contributed,
    Digest,
    Event,
    Line,
    Opened,
    RequestState,
    Sealed,
    Shared,
)
from privacy.messages import Kind
from tests.stack import MINTED_MINOR, RHO_MICRO, Stack, wait_until

SETTLE_S = 60.0
THRESHOLD = 2  # unmask messages that three holders' sum needs


class Step(IntEnum):
    """A request's steps, in order. Each is reached when the party that takes it has it on disk, or the chain has it."""

    SUBMITTED = 1  # the exchange has it, the chain not yet
    SEEN = 2  # opened on the chain, and holder 1 knows it
    APPROVED = 3  # holder 1: secrets and reservation on disk
    SHARED = 4  # holder 1: noise, commitment, bundle on disk
    CONTRIBUTED = 5  # holder 1: masked input on disk
    SEALED = 6  # on the chain, and the exchange knows it
    UNMASKED = 7  # holder 1: its shares on disk
    ANSWERED = 8  # the answer's root is on the chain
    ACCEPTED = 9  # the buyer has accepted, the chain not yet


_OF_HOLDER = {
    "SEEN": Step.SEEN,
    "APPROVED": Step.APPROVED,
    "SHARED": Step.SHARED,
    "CONTRIBUTED": Step.CONTRIBUTED,
    "UNMASKED": Step.UNMASKED,
    "DONE": Step.UNMASKED,
}
_OF_EXCHANGE = {"sealed": Step.SEALED, "answered": Step.ANSWERED, "settled": Step.ACCEPTED}


def step_of(stack: Stack, request_id: Digest) -> Step:
    """Return the furthest step that anybody has on disk."""
    with read_transaction(stack.exchange_engine()) as connection:
        stage = connection.execute(
            select(requests.c.stage).where(requests.c.request_id == request_id)
        ).scalar()
    with read_transaction(stack.holder_engine(1)) as connection:
        query = select(holder_requests.c.stage).where(holder_requests.c.request_id == request_id)
        at_holder = connection.execute(query).scalar()
    return max(_OF_EXCHANGE.get(str(stage), Step.SUBMITTED), _OF_HOLDER.get(str(at_holder), Step.SUBMITTED))


def reach(stack: Stack, request_id: Digest, step: Step) -> Step:
    """Wait until a request is at a step, or just past it, and return where it is."""
    if step is Step.ACCEPTED:
        stack.buyer.wait(request_id, timeout_s=60)
        stack.buyer.fetch(request_id)
        stack.buyer.accept(request_id)
        return step
    found: Step = wait_until(
        lambda: (now := step_of(stack, request_id)) >= step and now, step.name, poll_s=0.005
    )
    return found


# --- bytes that are written once --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """Everything of a request that was decided once, by where it stands: messages, secrets, the answer, signed transactions."""

    values: Mapping[tuple[object, ...], bytes] = field(repr=False)

    def require_kept(self, later: Written, *, erased: frozenset[str] = frozenset({"received"})) -> None:
        """Fail if anything was made again: what was written before has the same bytes later."""
        for place, value in self.values.items():
            if place[0] == "secret" and place[-1] in erased:
                continue  # the unmask step erases the shares that it did not choose
            assert place in later.values, f"{place} is gone"
            assert later.values[place] == value, f"{place} has other bytes than before"


def written(stack: Stack, request_id: Digest) -> Written:
    """Read what is on the disks of exchange and holders. The sealed bytes: drawing again would seal under another nonce."""
    values: dict[tuple[object, ...], bytes] = {}
    with read_transaction(stack.exchange_engine()) as connection:
        for row in connection.execute(select(messages).where(messages.c.request_id == request_id)):
            place = ("exchange", row.session, row.kind, row.sender)
            values[(*place, "frame")], values[(*place, "receipt")] = row.frame, row.receipt
        for row in connection.execute(select(answers).where(answers.c.request_id == request_id)):
            values[("answer", row.basis)] = row.root + row.payload
        for row in connection.execute(select(attempts)):
            values[("transaction", "exchange", row.nonce, row.number)] = row.raw
    for number in stack.numbers:
        with read_transaction(stack.holder_engine(number)) as connection:
            where = holder_messages.c.request_id == request_id
            for row in connection.execute(select(holder_messages).where(where)):
                values[("message", number, row.kind)] = row.frame + row.message_hash
            where = holder_secrets.c.request_id == request_id
            for row in connection.execute(select(holder_secrets).where(where)):
                values[("secret", number, row.name)] = row.sealed
            for row in connection.execute(select(attempts)):
                values[("transaction", number, row.nonce, row.number)] = row.raw
    return Written(values)


def sessions_of(stack: Stack, request_id: Digest) -> set[bytes]:
    """Return the session ids that the holders have for a request; one, if all goes well."""
    found: set[bytes] = set()
    for number in stack.numbers:
        with read_transaction(stack.holder_engine(number)) as connection:
            query = select(holder_requests.c.session).where(holder_requests.c.request_id == request_id)
            found |= {row.session for row in connection.execute(query) if row.session is not None}
    return found


def holder_store(stack: Stack, number: int) -> HolderStore:
    """Open a holder's store beside its node, to read what it sealed."""
    vault = Vault(stack.keys(f"holders/{number}").signer)
    return HolderStore(stack.holder_engine(number), vault, EpochFile(stack.home.holder(number) / "epoch"))


# --- sums that must agree ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Books:
    """What everybody has before or after a request."""

    lines: dict[int, Line]
    buyer: int

    @classmethod
    def read(cls, stack: Stack) -> Books:
        """Read the chain's books."""
        return cls({n: stack.line(n) for n in stack.numbers}, stack.balance(stack.address("buyer")))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: with an answer, or closed for a reason."""

    answer: Answer | None
    reason: str = ""


def finish(stack: Stack, request_id: Digest) -> Outcome:
    """Bring a request to its end: fetch, verify, accept, settle; or the contract closed it."""
    try:
        stack.buyer.wait(request_id, timeout_s=90)
    except RequestClosed as err:
        return Outcome(None, err.reason)
    except RequestExpired:
        return Outcome(None, "never opened")
    answer: Answer = wait_until(partial(_verified, stack, request_id), "a verified answer", poll_s=0.2)
    stack.buyer.accept(request_id)
    wait_state(stack, request_id, RequestState.SETTLED)
    return Outcome(answer)


def _verified(stack: Stack, request_id: Digest) -> Answer | None:
    """Fetch and verify; None while the chain does not have, or does not have again, what the receipt rests on."""
    with suppress(ChainError, AnswerNotReady):
        answer = stack.buyer.fetch(request_id)
        assert answer.verdict.status is not Status.INVALID, answer.verdict
        return answer if answer.verdict.status is Status.VALID else None
    return None


def wait_state(stack: Stack, request_id: Digest, state: RequestState) -> None:
    """Wait until the contract has a request at a state; the chain may be away meanwhile."""

    def there() -> bool:
        with suppress(ChainError):
            return stack.state(request_id) is state
        return False

    wait_until(there, f"the request {state.name.lower()} on the chain", timeout_s=SETTLE_S)


def require_books(
    stack: Stack, request_id: Digest, before: Books, outcome: Outcome, price_minor: int
) -> None:
    """Nothing was charged twice, no credit was lost, and every holder's own ledger says what the chain says."""
    events = stack.events(request_id)
    survivors = {e.holder for e in events if isinstance(e, Contributed)} if _one(events, Sealed) else set()
    for number in stack.numbers:
        charge = RHO_MICRO if stack.address(f"holders/{number}") in survivors else 0
        line = before.lines[number]
        expected = Line(line.total, line.reserved, line.spent + charge)
        assert stack.line(number) == expected, f"holder {number}'s line on the chain"
        agrees = partial(_agrees, stack, number, expected)
        wait_until(agrees, f"holder {number}'s own ledger to agree")
    paid = 0 if outcome.answer is None else price_minor
    assert stack.balance(stack.address("buyer")) == before.buyer - paid
    assert stack.contracts.settlement.escrow_of(request_id) == 0
    assert stack.contracts.settlement.bond_of(stack.address("exchange")).locked == 0
    assert stack.credits() == MINTED_MINOR


def _agrees(stack: Stack, number: int, expected: Line) -> bool:
    return own_line(stack, number) == expected


def own_line(stack: Stack, number: int) -> Line:
    """Return a holder's line in its own ledger."""
    with read_transaction(stack.holder_engine(number)) as connection:
        row = connection.execute(select(lines).where(lines.c.line == stack.line_id(number))).one()
    return Line(row.total, row.reserved, row.spent)


def require_one_story(stack: Stack, request_id: Digest) -> None:
    """What each holder sent is what its store holds, once of each kind, in one session; the chain shows its hashes; no step twice."""
    events = stack.events(request_id)
    sealed, unmasks = _one(events, Sealed) is not None, 0
    for number in stack.numbers:
        mine, store = stack.address(f"holders/{number}"), holder_store(stack, number)
        own = [e for e in events if getattr(e, "holder", None) == mine]
        assert [type(e) for e in own] == [Approved, Shared, Contributed][: len(own)], (
            f"holder {number}'s steps"
        )
        sent = _sent(stack, request_id, mine)
        for (session, kind), frame in sent.items():
            kept = store.message(request_id, kind)
            assert kept is not None and kept.frame == frame, f"holder {number}'s message {kind.name}"
            assert session == store.request(request_id).session
        if sealed and len(own) == 3:  # a survivor
            kinds = {kind for _, kind in sent}
            assert {Kind.BUNDLE, Kind.MASKED_INPUT} <= kinds
            assert own[2].commitment == store.secret(request_id, "commitment")  # type: ignore[attr-defined]
            # a node that has just noticed lost blocks holds the charge as a reservation for a moment
            wait_until(partial(_is_spent, store, request_id), f"holder {number} to have charged")
            unmasks += Kind.UNMASK in kinds
    for once in (Opened, Sealed, Answered):
        assert len([e for e in events if isinstance(e, once)]) <= 1
    if _one(events, Answered) is not None:
        assert unmasks >= THRESHOLD  # one may be missing where the others' sufficed


def _is_spent(store: HolderStore, request_id: Digest) -> bool:
    return store.request(request_id).hold is Hold.SPENT


def _sent(stack: Stack, request_id: Digest, holder: Address) -> dict[tuple[bytes, Kind], bytes]:
    """Return the frames that the exchange has of a holder, by session and kind."""
    where = (messages.c.request_id == request_id) & (messages.c.holder == holder)
    with read_transaction(stack.exchange_engine()) as connection:
        rows = connection.execute(select(messages).where(where))
        return {(row.session, Kind(row.kind)): row.frame for row in rows}


def _one(events: list[Event], kind: type[Event]) -> Event | None:
    return next((e for e in events if isinstance(e, kind)), None)
