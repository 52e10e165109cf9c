"""A department issues and changes licences while the book's process is killed at random and the chain comes and goes.

The worker process does one operation after the other and tells of each receipt; the harness kills it with SIGKILL at random
moments, during its recovery too, and starts another, which goes on with the first operation that has no receipt, byte for byte. In
the end every receipt must be honoured, every operation be in the log exactly once, and the state, made again from the log, be the same.
After each recovery it is timed how long it takes until every receipt is honoured again.

    report = run_crashes(30, folder)
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.deploy import deploy_trust
from ledger.chain import Chain
from ledger.database import make_engine
from ledger.deploy import fund
from ledger.encoding import Address, Digest
from ledger.errors import ChainUnreachable
from ledger.licences.access import AccessFiles, AccessWriter, Use, make_record
from ledger.licences.anchoring import Anchorer
from ledger.licences.book import LicenceBook, Receipt
from ledger.licences.events import Code, Kind
from ledger.licences.leaf import Leaf
from ledger.licences.online import CheckedTiles
from ledger.log.tiles import root_at
from ledger.log.tree import leaf_hash
from ledger.signing import Signer
from ledger.store import create_tables
from ledger.submitter import Settings, Submitter
from tests.ledger.conftest import ANVIL, ETHER, RICH, free_port, signer_for
from tests.ledger.licences.books import Books, Held, make_books
from tests.ledger.licences.world import NOW, build_city

CITY = "crash"
RUN_MS = 300  # a worker lives up to this long after its start
EARLY_IN = 5  # one in so many is killed while it starts
OUTAGE_IN = 4  # the chain goes or comes about once in so many kills, ...
OUTAGE_EVERY = 8  # ... and at the latest after so many
OUTAGES = 3  # with a chain it goes on until there were so many, ...
ANCHORS = 3  # ... and so many heads became final between the kills
EXTRA_KILLS = 100  # ... but not for more than so many kills
EXTRA_LIFE = 10  # before each of those a worker lives up to so many times as long: how slow the machine is must not matter
HONOURED_S = 60.0
_START_S = 60.0


@dataclass(frozen=True)
class Operation:
    """What operation `number` does: issue `count` licences, or change the licence that operation `target` issued first."""

    number: int
    kind: Kind
    count: int = 0
    target: int = 0


@dataclass
class Model:
    """What the department knows: the status of the first licence of each issue."""

    codes: dict[int, Code] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    @property
    def events(self) -> int:
        """How many events the operations so far are."""
        return sum(operation.count or 1 for operation in self.operations)

    def next(self) -> Operation:
        """Return the next operation; it depends on the earlier ones alone."""
        number = len(self.operations)
        draw = hashlib.sha256(b"operation" + number.to_bytes(4, "big")).digest()
        open_ones = [at for at, code in self.codes.items() if code in (Code.VALID, Code.SUSPENDED)]
        if draw[0] < 110 or not open_ones:
            return Operation(number, Kind.ISSUE, count=1 + draw[1] % 6)
        target = open_ones[int.from_bytes(draw[2:6], "big") % len(open_ones)]
        choices = [Kind.REVOKE, Kind.SUSPEND if self.codes[target] is Code.VALID else Kind.RESUME]
        return Operation(number, choices[draw[6] % 2], target=target)

    def done(self, operation: Operation) -> None:
        """Take note of an operation."""
        self.operations.append(operation)
        after = {Kind.REVOKE: Code.REVOKED, Kind.SUSPEND: Code.SUSPENDED, Kind.RESUME: Code.VALID}
        if operation.kind is Kind.ISSUE:
            self.codes[operation.number] = Code.VALID
        else:
            self.codes[operation.target] = after[operation.kind]


def licences_of(books: Books, number: int, count: int) -> list[Held]:
    """Sign the licences of an issue; the same bytes every time, since the slots are reserved under the same names."""
    books.counter, books.now_s = 1000 * (number + 1), NOW + number
    return [books.licence() for _ in range(count)]


def texts_of(books: Books, operation: Operation, earlier: Sequence[Operation]) -> list[str]:
    """Sign an operation."""
    if operation.kind is Kind.ISSUE:
        return [licence.text for licence in licences_of(books, operation.number, operation.count)]
    target = licences_of(books, operation.target, earlier[operation.target].count)[0]
    books.counter, books.now_s = 1000 * (operation.number + 1), NOW + operation.number
    return [books.change(target, operation.kind)]


@dataclass(frozen=True)
class ChainSite:
    """Where the log is anchored."""

    url: str
    contract: Address


@dataclass
class Told:
    """What the harness has in hand: the receipts, and the access records that are said to be durable."""

    receipts: dict[int, list[Receipt]] = field(default_factory=dict)
    salts: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    anchored: set[int] = field(default_factory=set)  # sizes of the heads that became final
    recoveries_s: list[float] = field(default_factory=list)
    broken: int = 0


@dataclass(frozen=True)
class CrashReport:
    """What a run found; `lost`, `doubled` and `broken` are to be zero.

    `anchors` counts the heads that became final while the kills went on. `honoured_s` is the longest time from the begin of a recovery
    until every receipt was honoured: each leaf at its index, after the last kill also under a checkpoint that a quorum has cosigned.
    `with_chain` is false where no chain is installed.
    """

    kills: int
    outages: int
    operations: int
    events: int
    lost: int
    doubled: int
    broken: int
    anchors: int
    recoveries: int
    honoured_s: float
    with_chain: bool
    seconds: float


# --- the worker ------------------------------------------------------------------------------------------


def work(root: Path, model: Model, known: Sequence[Receipt], site: ChainSite | None, out: Connection) -> None:
    """Open the book, see that it honours the receipts known so far, and do operations until killed."""
    begun, city = time.monotonic(), build_city(CITY)
    books = Books(root, city, LicenceBook.open(root, city.log_signer), entropy=os.urandom)
    writer = AccessWriter(root / "access", "crash")
    anchorer = None if site is None else make_anchorer(books, site)
    broken = sum(not _is_honoured(books.book, receipt) for receipt in known)
    out.send(("recovered", time.monotonic() - begun, broken))
    while True:
        operation = model.next()
        number = operation.number
        receipts = []
        for answer in books.book.submit_all(texts_of(books, operation, model.operations), now_s=NOW + number):
            if not isinstance(answer, Receipt):
                raise answer
            receipts.append(answer)
        out.send(("done", number, receipts))
        model.done(operation)
        salt = os.urandom(16)
        record = make_record(
            Digest(receipts[0].leaf_hash), audience="urn:crash", use=Use.VALID, now_s=NOW + number, salt=salt
        )
        writer.add(receipts[0].index, record, salt)
        out.send(("used", receipts[0].index, receipts[0].leaf_hash, salt))
        if number % 4 == 0:
            books.now_s = NOW + number
            books.publish()
        if anchorer is not None and number % 2 == 0:
            row = anchorer.tick(NOW + number, wanted=True)
            out.send(("anchored", 0 if row is None else row.size))


def make_anchorer(books: Books, site: ChainSite) -> Anchorer:
    """Anchor the book's log on a chain that may be away."""
    chain = Chain(site.url, timeout_s=2)
    engine = make_engine(f"sqlite:///{books.root / 'chain.db'}")
    create_tables(engine)
    submitter = Submitter(engine, chain, signer_for("operator"), settings=Settings(poll_s=0.01))
    contract = LogAnchorContract(chain, site.contract)
    return Anchorer(books.book, books.publisher, submitter=submitter, contract=contract)


# --- the chain -------------------------------------------------------------------------------------------


class Outages:
    """A development chain that keeps its state while it is away."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._state = folder / "chain.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.count = 0
        self.up()
        self.chain.require_precompiles()
        trust = deploy_trust(
            self.chain,
            Signer(RICH),
            operator=signer_for("operator").address,
            registrar=signer_for("registrar").address,
            origin_hash=hashlib.sha256(build_city(CITY).origin.encode()).digest(),
        )
        fund(self.chain, Signer(RICH), [signer_for("operator").address], 100 * ETHER)
        self.site = ChainSite(f"http://127.0.0.1:{self._port}", trust.anchor)

    @property
    def chain(self) -> Chain:
        return Chain(f"http://127.0.0.1:{self._port}", timeout_s=5)

    def up(self) -> None:
        if self._process is not None:
            return
        quiet = ["--prune-history", "16", "--silent"]
        command = [str(ANVIL), "--port", str(self._port), *quiet, "--state", str(self._state)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.chain.chain_id()
                return
            except ChainUnreachable:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def down(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None
            self.count += 1

    def toggle(self) -> None:
        if self._process is None:
            self.up()
        else:
            self.down()


@contextmanager
def chain_for(folder: Path, wanted: bool) -> Iterator[Outages | None]:
    """Run a chain beside the crashes, if it is wanted and installed."""
    if not wanted or not ANVIL.exists():
        yield None
        return
    outages = Outages(folder)
    try:
        yield outages
    finally:
        outages.down()


# --- the harness -----------------------------------------------------------------------------------------


def run_crashes(
    kills: int,
    folder: Path,
    *,
    operations: int = 0,
    with_chain: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CrashReport:
    """Kill the book's process so many times, then look at what is left.

    With a chain it goes on until that was away `OUTAGES` times, and `ANCHORS` heads became final meanwhile.

    Args:
        kills: how many at least.
        operations: how many must have receipts before it ends; on a slow machine that takes more kills.
        folder: an empty folder.
        with_chain: anchor on a development chain that comes and goes, where one is installed.
        progress: told after each kill, with the number of operations that have receipts.
    """
    begun = time.monotonic()
    root = folder / CITY
    books = make_books(folder, CITY)
    books.book.close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    model, told = Model(), Told()
    with chain_for(folder, with_chain) as outages:
        site = None if outages is None else outages.site
        killed = 0
        while killed < kills or len(told.receipts) < operations or not _has_met(outages, told):
            is_extra = killed >= kills
            assert killed < kills + EXTRA_KILLS, f"too little in {killed} kills: {told.anchored} anchored"
            receiver, sender = context.Pipe(duplex=False)
            arguments = (root, model, _all(told), site, sender)
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            sender.close()
            _kill_at_random(process, receiver, told, RUN_MS * EXTRA_LIFE if is_extra else RUN_MS)
            killed += 1
            while len(model.operations) < len(told.receipts):
                model.done(model.next())
            if outages is not None:
                _come_or_go(outages, killed, is_extra=is_extra)
            if progress is not None:
                progress(killed, len(told.receipts))
        if outages is not None:
            outages.up()
        return _judge(root, model, told, killed, outages, begun)


def _all(told: Told) -> list[Receipt]:
    return [receipt for given in told.receipts.values() for receipt in given]


def _has_met(outages: Outages | None, told: Told) -> bool:
    """Say whether the chain has come and gone, and taken heads, as often as it must."""
    return outages is None or (outages.count >= OUTAGES and len(told.anchored) >= ANCHORS)


def _come_or_go(outages: Outages, killed: int, *, is_extra: bool) -> None:
    """Take the chain away or bring it back, now and then; in the end it stays once it was away often enough."""
    if is_extra and outages.count >= OUTAGES:
        outages.up()
    elif is_extra or secrets.randbelow(OUTAGE_IN) == 0 or killed % OUTAGE_EVERY == 0:
        outages.toggle()


def _kill_at_random(process: BaseProcess, receiver: Connection, told: Told, run_ms: int) -> None:
    """Let a worker run for a random time, then kill it, and take in what it had told by then."""
    early = secrets.randbelow(EARLY_IN) == 0
    if not early and not receiver.poll(_START_S):
        raise AssertionError("the worker did not open its book in time")
    delay_s = secrets.randbelow(run_ms * 1000) / 1e6
    time.sleep(delay_s / 4 if early else delay_s)
    alive = process.is_alive()
    process.kill()
    process.join()
    try:
        while True:
            _take(receiver.recv(), told)
    except (EOFError, OSError):
        receiver.close()
    assert alive, "the worker ended by itself; its error is above"


def _take(message: tuple[object, ...], told: Told) -> None:
    match message:
        case ("done", int(number), list(receipts)):
            told.receipts[number] = receipts
        case ("used", int(index), bytes(leaf), bytes(salt)):
            told.salts.append((index, leaf, salt))
        case ("recovered", float(seconds), int(broken)):
            told.recoveries_s.append(seconds)
            told.broken += broken
        case ("anchored", int(size)):
            told.anchored |= {size} - {0}


def _judge(
    root: Path,
    model: Model,
    told: Told,
    kills: int,
    outages: Outages | None,
    begun: float,
) -> CrashReport:
    """Open the book once more and compare it with what was told, one to one."""
    city, recovering = build_city(CITY), time.monotonic()
    with LicenceBook.open(root, city.log_signer) as book:
        books = Books(root, city, book, entropy=os.urandom, now_s=NOW + 9_000_000)
        broken = told.broken + _broken_under_a_quorum(books, _all(told))
        told.recoveries_s.append(time.monotonic() - recovering)
        size = book.size
        again = 0
        for operation in model.operations:  # handed in once more, every operation has the receipt it had
            answers = book.submit_all(
                texts_of(books, operation, model.operations), now_s=NOW + operation.number
            )
            again += answers != told.receipts[operation.number]
        grown = book.size - size
        leaves = [Leaf.decode(book.log.entry(index)) for index in range(book.size)]
        ids = [leaf.event_id for leaf in leaves]
        events = [leaf for leaf in leaves if leaf.sets_status]
        unreceipted = len(events) - model.events  # what the last worker logged and could not tell
        most = model.next().count or 1
        lost = max(0, -unreceipted) + _missing_records(root, told)
        doubled = len(ids) - len(set(ids)) + grown + max(0, unreceipted - most)
        broken += again + (0 if _is_rebuilt_the_same(book) else 1)
        if outages is not None:
            _require_anchors(books, outages, told)
        return CrashReport(
            kills=kills,
            outages=0 if outages is None else outages.count,
            operations=len(told.receipts),
            events=len(events),
            lost=lost,
            doubled=doubled,
            broken=broken,
            anchors=len(told.anchored),
            recoveries=len(told.recoveries_s),
            honoured_s=max(told.recoveries_s),
            with_chain=outages is not None,
            seconds=time.monotonic() - begun,
        )


def _broken_under_a_quorum(books: Books, receipts: Sequence[Receipt]) -> int:
    """Have the log's head cosigned, and count the receipts whose leaf it does not include at their index."""
    head, log = books.publish(), books.book.log
    hashes = CheckedTiles(log.reader)
    return sum(
        receipt.index >= head.size
        or hashes.leaf_hash(receipt.index, head.size, head.root) != receipt.leaf_hash
        or not _is_honoured(books.book, receipt)
        for receipt in receipts
    )


def _is_honoured(book: LicenceBook, receipt: Receipt) -> bool:
    return leaf_hash(book.log.entry(receipt.index)) == receipt.leaf_hash


def _missing_records(root: Path, told: Told) -> int:
    files = AccessFiles(root / "access")
    if not told.salts:
        return 0
    files.durable_count("crash")
    listed = {}
    for index, leaf, _ in told.salts:
        if index not in listed:
            listed[index] = {use.salt for use in files.uses_of(index, Digest(leaf))}
    return sum(salt not in listed[index] for index, _, salt in told.salts)


def _is_rebuilt_the_same(book: LicenceBook) -> bool:
    """Make the state again from the log and compare statuses, slots, keys and tokens."""

    def picture() -> tuple[object, ...]:
        lists = book.state.slots.known_lists()
        bits = [hashlib.sha256(book.state.slots.bits(n)).digest() for n in lists]
        slots = [hashlib.sha256(book.state.slots.leaves(n).tobytes()).digest() for n in lists]
        return lists, bits, slots, book.store.key_rows(), book.store.newest_statuses(book.size)

    before = picture()
    book.rebuild()
    return picture() == before


def _require_anchors(books: Books, outages: Outages, told: Told) -> None:
    """Anchor the newest head, and require that the chain's heads are this log's, each extending the last."""
    anchorer = make_anchorer(books, outages.site)
    books.now_s = NOW + 10_000_000
    head = books.publish()
    deadline = time.monotonic() + HONOURED_S
    while True:
        row = anchorer.tick(books.now_s, wanted=True)
        if row is not None and row.size == head.size:
            break
        assert time.monotonic() < deadline, "the newest head was not anchored in time"
        time.sleep(0.02)
    contract = LogAnchorContract(outages.chain, outages.site.contract)
    anchored = contract.events(0, outages.chain.block_number())
    sizes = [event.size for event in anchored]
    assert sizes == sorted(sizes)
    assert told.anchored <= set(sizes)
    for event in anchored:
        assert root_at(books.book.log.reader, event.size) == event.root
        assert books.publisher.status_root(event.size) == event.status_root
