"""A chain that lost its last blocks comes back to the same session and the same answer, with what was signed before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from client.types import Status
from ledger.errors import ChainError
from ledger.types import Answered, Contributed, Digest, RequestState
from tests.faults.chain_copies import fresh_copy, go_back
from tests.faults.world import (
    Books,
    Outcome,
    Step,
    finish,
    reach,
    require_books,
    require_one_story,
    sessions_of,
    wait_state,
    written,
)
from tests.stack import Stack, wait_until


def test_request_in_flight_survives_lost_blocks(stack: Stack, tmp_path: Path) -> None:
    stack.heal()
    before = Books.read(stack)
    fresh_copy(stack, tmp_path / "copy")
    quote = stack.quote()
    request_id = stack.buyer.submit(quote)
    reach(stack, request_id, Step.CONTRIBUTED)
    sessions, kept = sessions_of(stack, request_id), written(stack, request_id)
    heads = go_back(stack, tmp_path / "copy")
    outcome = finish(stack, request_id)
    assert heads[1] < heads[0]
    assert outcome.answer is not None, outcome.reason
    assert sessions_of(stack, request_id) == sessions and len(sessions) == 1
    kept.require_kept(written(stack, request_id))
    require_books(stack, request_id, before, outcome, quote.price_minor)
    require_one_story(stack, request_id)


def test_answered_request_replays_to_the_same_session_and_answer(stack: Stack, tmp_path: Path) -> None:
    stack.heal()
    before = Books.read(stack)
    fresh_copy(stack, tmp_path / "copy")
    quote = stack.quote()
    request_id = stack.buyer.submit(quote)
    stack.buyer.wait(request_id, timeout_s=60)
    first = stack.buyer.fetch(request_id)
    shown, sessions, kept = (
        _shown(stack, request_id),
        sessions_of(stack, request_id),
        written(stack, request_id),
    )
    go_back(stack, tmp_path / "copy")
    wait_until(lambda: _shown(stack, request_id) == shown, "the same commitments and root on the chain")
    again = stack.buyer.fetch(request_id)
    assert again.rows == first.rows and again.verdict.status is Status.VALID
    assert sessions_of(stack, request_id) == sessions and len(sessions) == 1
    stack.buyer.accept(request_id)
    wait_state(stack, request_id, RequestState.SETTLED)
    kept.require_kept(written(stack, request_id))
    require_books(stack, request_id, before, Outcome(again), quote.price_minor)
    require_one_story(stack, request_id)


def _shown(stack: Stack, request_id: Digest) -> set[bytes]:
    with suppress(ChainError):
        events = stack.events(request_id)
        answered = {e.answer_root for e in events if isinstance(e, Answered)}
        return answered | {e.commitment + e.input_hash for e in events if isinstance(e, Contributed)}
    return set()
