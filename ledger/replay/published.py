"""What the operator hands out beside the log, compared with it: the newest status tokens and the issuer histories."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from ledger.licences import issuers
from ledger.licences.errors import LicenceError
from ledger.licences.layout import BookFolder
from ledger.licences.policy import City
from ledger.licences.status import TOKEN_MAX
from ledger.licences.store import BookStore
from ledger.replay.findings import Difference, Rule
from ledger.replay.keys import KeySpan
from ledger.replay.ordered import OrderedPass
from ledger.replay.scan import ScanPlan

_HISTORY_FILES_MAX: Final = 1 << 16  # a folder of the operator's, in which anything may lie


def check_newest_tokens(folder: BookFolder, ordered: OrderedPass) -> Iterator[Difference]:
    """Compare the token that is served for each list with the list's newest leaf.

    Args:
        folder: of the book.
        ordered: after its last chunk.
    """
    for number, digest in sorted(ordered.newest_tokens.items()):
        data = _read(folder.status_token(number), TOKEN_MAX)
        if data is None:
            detail = "the newest token of the list is not served"
            yield Difference(Rule.TOKEN_MISSING, detail, status_list=number)
        elif sha256(data).digest() != digest:
            detail = f"expected the newest token of the list, {digest.hex()}, to be served, got another"
            yield Difference(Rule.TOKEN_DIGEST, detail, status_list=number)


def check_histories(
    folder: BookFolder, store: BookStore, plan: ScanPlan, ordered: OrderedPass, city: City | None
) -> Iterator[Difference]:
    """Compare each published issuer history with the log's keys as of the history's size.

    Args:
        folder: of the book.
        store: the book's tables.
        plan: of the replay.
        ordered: after its last chunk.
        city: whose registrar signs the histories; without it the signatures are not checked.
    """
    by_issuer: dict[str, list[KeySpan]] = {}
    for span in ordered.keys.spans:
        by_issuer.setdefault(span.issuer, []).append(span)
    for issuer in sorted(by_issuer.keys() | _served(folder)):
        row = store.history(issuer)
        served = _read(folder.history(issuer), issuers.HISTORY_SIZE_MAX)
        if served != (None if row is None else row.jws.encode("ascii", "replace")):
            detail = f"the history of {issuer} that is served is not the one in the book's tables"
            yield Difference(Rule.ISSUER_HISTORY, detail, index=None if row is None else row.size)
        texts = {text for text in (None if row is None else row.jws, _text(served)) if text is not None}
        for text in sorted(texts):
            problem = _history_problem(text, issuer, by_issuer.get(issuer, []), plan, city)
            if problem is not None:
                yield problem


def _history_problem(
    text: str, issuer: str, spans: list[KeySpan], plan: ScanPlan, city: City | None
) -> Difference | None:
    try:
        signed = issuers.parse_history(text)
        if city is not None:
            signed.jws.verify(city.registrar)
        history = signed.history
    except LicenceError as err:
        return Difference(Rule.ISSUER_HISTORY, f"the history of {issuer}: {err}")
    if history.size > plan.size:
        detail = f"the history of {issuer} is as of size {history.size}, the log has {plan.size} entries"
        return Difference(Rule.ISSUER_HISTORY, detail, index=plan.size)
    logged = [_as_of(span, history.size) for span in spans if span.added < history.size]
    told = [_as_of(span, history.size) for span in history.keys]
    if history.issuer != issuer or told != logged:
        detail = f"the published history of {issuer} at size {history.size} has other keys than the log"
        return Difference(Rule.ISSUER_HISTORY, detail, index=history.size)
    return None


def _as_of(span: KeySpan | issuers.KeySpan, size: int) -> tuple[object, ...]:
    """Return a key's span with what came at or after a size of the log left out."""
    ends = (None if end is None or end >= size else end for end in (span.retired, span.compromised))
    return (span.public, span.types, span.added, *ends)


def _served(folder: BookFolder) -> set[str]:
    """Return the issuers that a history is served for."""
    found: set[str] = set()
    parent = folder.history("x").parent
    for path in parent.glob("*.jwt") if parent.is_dir() else ():
        if len(found) >= _HISTORY_FILES_MAX:
            break
        found.add(path.stem)
    return found


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("ascii", "replace")


def _read(path: Path, size_max: int) -> bytes | None:
    """Return at most one byte more than is allowed, None if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size_max + 1)
    except OSError:
        return None
