"""One killed request, from the quote to the books: shared by the quick pairs and the full matrix."""

from __future__ import annotations

from tests.faults.world import (
    Books,
    Step,
    finish,
    reach,
    require_books,
    require_one_story,
    written,
)
from tests.stack import Stack


def survive(stack: Stack, process: str, step: Step) -> str:
    """Kill a process at a step of a request; bring both back; require that nothing was lost, doubled or made again.

    Returns:
        How it went, in words.
    """
    stack.heal()
    before = Books.read(stack)
    quote = stack.quote()
    request_id = stack.buyer.submit(quote)
    seen = reach(stack, request_id, step)
    stack.kill(process)
    kept = written(stack, request_id)
    stack.start(process)
    outcome = finish(stack, request_id)
    later = written(stack, request_id)
    kept.require_kept(later)
    require_books(stack, request_id, before, outcome, quote.price_minor)
    if outcome.answer is not None and outcome.answer.survivors == len(stack.numbers):
        require_one_story(stack, request_id)
    ended = outcome.reason or f"answered by {outcome.answer.survivors if outcome.answer else 0}"
    return f"kill -9 of {process} at {seen.name} ({len(kept.values)} values on disk): {ended}"
