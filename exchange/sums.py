"""Y of a sealed request: made as soon as enough messages are here, kept, and made only once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import structlog

from exchange.progress import Progress
from exchange.store import Store
from exchange.types import MaskedAnswer
from ledger.types import Digest, to_hex
from privacy.encoding import keccak, tagged_hash
from privacy.errors import ProtocolError
from privacy.messages import Kind, decode_frame
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.sealed_sum_answer import answer_chunk, answer_root, cell_count, chunk_count, chunk_path
from privacy.session import Session
from privacy.tree import root_of_path

_NODE: Final = "answer-node"
_log = structlog.get_logger("exchange.sums")


def basis_of(session: Session, survivors: set[int]) -> bytes:
    """Return a name of the sum of these survivors in this session, by which a stored Y is recognised."""
    return keccak(session.id + b"".join(index.to_bytes(2, "big") for index in sorted(survivors)))


@lru_cache(maxsize=256)  # a plan is asked for with every masked input, and takes time to read
def plan_of(plan: bytes) -> Plan:
    """Return a stored plan."""
    return Plan.from_bytes(plan)


def tree_root_of(session_id: bytes, payload: bytes) -> bytes:
    """Return the root of the answer's tree, not yet bound to session and length (docs/protocol.md §5)."""
    leaf = tagged_hash("answer-leaf", session_id, 0, keccak(answer_chunk(payload, 0)))
    chunks = chunk_count(cell_count(payload))
    root = root_of_path(_NODE, leaf, 0, chunks, chunk_path(session_id, payload, 0))
    if root is None:
        raise AssertionError("the path of the first chunk leads to the root")
    return root


class Sums:
    """Makes and keeps the masked answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tried: dict[Digest, frozenset[tuple[int, bytes]]] = {}  # unmask messages that did not suffice

    def answer(self, progress: Progress) -> MaskedAnswer | None:
        """Return Y of a sealed request, None while messages are missing.

        A wrong share never changes Y: every opened secret is compared with the chain. It can only delay it.
        """
        session = progress.session
        if session is None or progress.sealed is None:
            return None
        basis = basis_of(session, progress.survivors)
        stored = self._store.answer(progress.request_id)
        if stored is not None and stored.basis == basis:
            return stored
        payload = self._sum(progress, session)
        if payload is None:
            return None
        made = MaskedAnswer(basis, payload, answer_root(session.id, payload))
        self._store.put_answer(progress.request_id, made)
        self._tried.pop(progress.request_id, None)
        return made

    def _sum(self, progress: Progress, session: Session) -> bytes | None:
        unmasks = self._unmasks(progress, session)
        seen = frozenset((sender, keccak(payload)) for sender, payload in unmasks.items())
        if len(unmasks) < session.params.threshold or self._tried.get(progress.request_id) == seen:
            return None
        from privacy.sealed_sum_broker import aggregate

        survivors = progress.survivors
        plan = plan_of(self._store.request(progress.request_id).plan)
        arrived = self._payloads(progress, session, Kind.MASKED_INPUT)
        masked = {i: split_rider(p, plan.input_rider_size, sender=i)[0] for i, p in arrived.items()}
        if survivors - masked.keys():
            self._log_fault(progress, error="masked inputs lost", senders=sorted(survivors - masked.keys()))
            return None
        try:
            made = aggregate(
                session,
                cells=plan.cells,
                sharers=progress.sharers,
                masked={index: masked[index] for index in survivors},
                unmasks=unmasks,
                seed_hashes={session.index_of(h): e.seed_hash for h, e in progress.shares.items()},
            )
        except ProtocolError as err:
            self._tried[progress.request_id] = seen
            self._log_fault(progress, error=type(err).__name__, sender=err.sender)
            return None
        for rejected in made.rejected:
            self._log_fault(progress, error="share rejected", sender=rejected.sender, owner=rejected.owner)
        return made.payload

    def _unmasks(self, progress: Progress, session: Session) -> dict[int, bytes]:
        """Return the unmask payloads by sender: those sent here, and those posted on the chain."""
        posted = {session.index_of(holder): payload for holder, payload in progress.posted.items()}
        return {**posted, **self._payloads(progress, session, Kind.UNMASK)}

    def _payloads(self, progress: Progress, session: Session, kind: Kind) -> dict[int, bytes]:
        found = self._store.message_list(progress.request_id, session.id, int(kind))
        return {each.sender: decode_frame(each.frame).payload for each in found}

    @staticmethod
    def _log_fault(progress: Progress, **fault: Any) -> None:
        _log.warning("unmask_fault", request=to_hex(progress.request_id), **fault)
