"""Replay of a licence log: tiles and chain in, figures and differences out.

Needs nothing of the operator but the published files; one pass reads and hashes in worker processes, one joins ids and leaf
hashes by sorted runs, one goes through the events in order. Memory does not depend on the log's size.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.licences.policy import City
from ledger.log.checkpoint import Checkpoint
from ledger.replay.anchors import ChainFacts, check_anchors
from ledger.replay.beside import Beside, check_beside
from ledger.replay.checkpoints import Heads, check_heads, check_rollback, public_folder, read_heads
from ledger.replay.counts import Counts
from ledger.replay.errors import LogUnreadable, WorkFolderFull
from ledger.replay.findings import Difference, Findings, Rule
from ledger.replay.keys import KeyBook, KeySpan
from ledger.replay.ordered import OrderedPass
from ledger.replay.registry import RegistryFacts, check_registry
from ledger.replay.runs import range_bits
from ledger.replay.scan import ScanPlan
from ledger.replay.slots import PAGE_SIZE
from ledger.replay.stages import Progress, ReplayOptions, SignedEvents, Stages
from ledger.replay.tree import UpperTree

_WORK_BYTES: Final = 80  # of the work folder an entry: columns, three runs, links


@dataclass(frozen=True, slots=True)
class Against:
    """What a log is compared with; what is not given goes unchecked, and the result says so.

    Args:
        city: keys and witnesses of the log, from the caller's own policy.
        chain: the log's anchors.
        beside: what the operator keeps beside the log, while nobody writes to it.
        registry: the issuers and keys on the chain.
    """

    city: City | None = None
    chain: ChainFacts | None = None
    beside: Beside | None = None
    registry: RegistryFacts | None = None

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What cannot be checked for want of something to check it with."""
        found = []
        if self.city is None:
            found.append(
                "signatures of log and witnesses; registrar and service are those of the log (no policy)"
            )
        if self.chain is None:
            found.append("anchors (no chain)")
        elif self.city is None or self.city.anchor is None:
            found.append(
                "whether these anchors are of the log's own contract and chain (no policy names them)"
            )
        if self.registry is None:
            found.append("the registry of issuers and keys on the chain (no registry)")
        if self.beside is None:
            found.append("signed events and the operator's book (no book)")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class LogReplay:
    """What a replay found.

    Args:
        checkpoint: that it went up to.
        root: that the tiles give.
        counts: the figures.
        keys: spans of all issuers' keys.
        status_lists: published status lists that were compared.
        anchors: events on the chain that were compared.
        registry_events: of issuers and keys on the chain that were compared.
        signed: what was read of the signed events beside the log.
        findings: the differences.
        unchecked: what could not be checked, because nothing was given to check it with.
    """

    checkpoint: Checkpoint
    root: bytes
    counts: Counts
    keys: tuple[KeySpan, ...]
    status_lists: int
    anchors: int
    registry_events: int
    signed: SignedEvents
    findings: Findings
    unchecked: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the whole as JSON."""
        return {
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.root.hex(),
            "status_lists": self.status_lists,
            "anchors": self.anchors,
            "registry_events": self.registry_events,
            "signed_events": {"checked": self.signed.checked, "erased": self.signed.erased},
            "counts": self.counts.to_json(),
            "keys": [span.to_json() for span in self.keys],
            "differences": {
                "total": self.findings.total,
                "rules": {rule.value: n for rule, n in sorted(self.findings.by_rule.items())},
                "first": [difference.to_json() for difference in self.findings.kept],
            },
            "unchecked": list(self.unchecked),
        }


def replay_log(
    folder: Path,
    *,
    options: ReplayOptions,
    against: Against,
    sink: Callable[[Difference], None] | None = None,
    progress: Progress | None = None,
) -> LogReplay:
    """Replay a log up to its newest checkpoint.

    Args:
        folder: of the log, or of its published files.
        options: how to run.
        against: what to compare the log with.
        sink: gets every difference as it is found.
        progress: told (stage, done, total).

    Raises:
        LogUnreadable: there is no log, or a file of it cannot be read.
        BookUnreadable: the book cannot be read.
        WorkFolderFull: no room for temporary files.
        WorkerLost: a worker process ended.
    """
    public = public_folder(folder)
    heads = read_heads(public)
    findings = Findings(sink)
    with _work_folder(options) as work:
        plan = _plan(public, work, heads, against, options)
        _require_room(plan)
        if against.city is not None:
            findings.extend(check_heads(heads, against.city))
        findings.extend(check_rollback(heads))
        stages = Stages(plan, options, findings, progress or _silent)
        tree, counts = stages.scan()
        findings.extend(_check_roots(heads, tree))
        stages.join()
        ordered = stages.ordered(_key_book(against.city))
        counts.add_slots(ordered.pages, ordered.keys)
        findings.extend(_check_chain(heads.checkpoint, against, tree, ordered))
        signed = SignedEvents(0, 0)
        if against.beside is not None:
            anchors = against.chain.anchors if against.chain else None
            findings.extend(check_beside(against.beside, plan, ordered, anchors, against.city))
            signed = stages.evidence(against.beside, ordered, against.city)
    return LogReplay(
        checkpoint=heads.checkpoint,
        root=tree.root(plan.size),
        counts=counts,
        keys=tuple(ordered.keys.spans),
        status_lists=ordered.status_lists,
        anchors=len(against.chain.anchors) if against.chain else 0,
        registry_events=len(against.registry.events) if against.registry else 0,
        signed=signed,
        findings=findings,
        unchecked=against.unchecked,
    )


@contextmanager
def _work_folder(options: ReplayOptions) -> Iterator[Path]:
    """Make a folder for temporary files, and name what the operating system refuses while it is there."""
    try:
        with tempfile.TemporaryDirectory(prefix="shuyao-replay-", dir=options.work) as work:
            yield Path(work)
    except OSError as err:
        # numpy gives no number when a disk is full: it only counts what it could write
        if err.errno in (errno.ENOSPC, errno.EDQUOT, None):
            raise WorkFolderFull("the work folder is full; name another with more room") from err
        raise LogUnreadable(str(err.filename or "the log"), err.strerror or "not readable") from err


def _plan(public: Path, work: Path, heads: Heads, against: Against, options: ReplayOptions) -> ScanPlan:
    size, cosigned = heads.checkpoint.size, heads.cosigned_checkpoint
    sizes = {size} | (against.chain.sizes(size) if against.chain else set())
    if cosigned is not None and cosigned.size <= size:
        sizes.add(cosigned.size)
    return ScanPlan(
        folder=public,
        work=work,
        size=size,
        bits=range_bits(size),
        factor=int.from_bytes(options.rand, "big") | 1,
        sizes=tuple(sorted(sizes)),
    )


def _check_roots(heads: Heads, tree: UpperTree) -> Iterator[Difference]:
    signed = {(head.size, head.root) for head in (heads.checkpoint, heads.cosigned_checkpoint) if head}
    for size, root in sorted(signed):
        if size <= heads.checkpoint.size and tree.root(size) != root:
            detail = f"the checkpoint has {root.hex()}, the tiles give {tree.root(size).hex()}"
            yield Difference(Rule.CHECKPOINT_ROOT, detail, index=size)


def _check_chain(
    checkpoint: Checkpoint, against: Against, tree: UpperTree, ordered: OrderedPass
) -> Iterator[Difference]:
    if against.chain is not None:
        yield from check_anchors(
            against.chain,
            origin=checkpoint.origin,
            size=checkpoint.size,
            roots={size: tree.root(size) for size in ordered.sizes},
            status_roots=ordered.status_roots,
            pin=against.city.anchor if against.city else None,
        )
    if against.registry is not None:
        yield from check_registry(against.registry, origin=checkpoint.origin, keys=ordered.keys)


def _key_book(city: City | None) -> KeyBook:
    if city is None:
        return KeyBook(None, None)
    return KeyBook(frozenset({city.registrar.key_id}), frozenset({city.service.key_id}))


def _require_room(plan: ScanPlan) -> None:
    need = plan.size * _WORK_BYTES + (1 + (plan.size >> 20)) * PAGE_SIZE
    free = shutil.disk_usage(plan.work).free
    if free < need:
        raise WorkFolderFull(f"the work folder needs {need / 1e6:,.0f} MB, it has {free / 1e6:,.0f} MB free")


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""
