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

EVERYTHING = "everything"  # as when the power fails


def survive(stack: Stack, process: str, step: Step) -> str:
    """Kill a process, or everything, at a step of a request; bring both back; require that nothing was lost, doubled or made again.

    Returns:
        How it went, in words.
    """
    stack.heal()
    before = Books.read(stack)
    quote = stack.quote()
    request_id = stack.buyer.submit(quote)
    seen = reach(stack, request_id, step)
    killed = list(stack.names) if process == EVERYTHING else [process]
    for each in killed:
        stack.kill(each)
    kept = written(stack, request_id)
    stack.start_all(killed)
    outcome = finish(stack, request_id)
    later = written(stack, request_id)
    kept.require_kept(later)
    require_books(stack, request_id, before, outcome, quote.price_minor)
    require_one_story(stack, request_id)
    ended = outcome.reason or f"answered by {outcome.answer.survivors if outcome.answer else 0}"
    return f"kill -9 of {process} at {seen.name} ({len(kept.values)} values on disk): {ended}"
