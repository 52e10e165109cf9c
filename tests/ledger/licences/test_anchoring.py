"""Anchors: the newest cosigned head goes on the chain, a dead chain costs nothing but time, and evidence holds offline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.deploy import deploy_trust
from ledger.chain import Chain
from ledger.database import make_engine
from ledger.deploy import fund
from ledger.licences.anchoring import Anchorer, AttestedBy, Attester, attest_head
from ledger.licences.attest import AnchorStatement
from ledger.licences.errors import AnchorRefused
from ledger.licences.policy import AnchorPin
from ledger.licences.verify import Missing, State, verify
from ledger.log.notes import NoteSignature, NoteSigner
from ledger.log.tiles import root_at
from ledger.signing import Signer
from ledger.store import create_tables
from ledger.submitter import Settings, Submitter
from tests.ledger.conftest import ETHER, RICH, Anvil, signer_for
from tests.ledger.licences.books import Books, make_books

OPERATOR = signer_for("operator")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = make_books(tmp_path)
    yield made
    made.book.close()


class Site:
    """A chain with the trust contracts, and an anchorer whose node may be another port."""

    def __init__(self, anvil: Anvil, books: Books) -> None:
        self.anvil, self.books = anvil, books
        origin_hash = hashlib.sha256(books.city.origin.encode()).digest()
        chain = anvil.chain
        trust = deploy_trust(
            chain,
            Signer(RICH),
            operator=OPERATOR.address,
            registrar=signer_for("registrar").address,
            origin_hash=origin_hash,
        )
        fund(chain, Signer(RICH), [OPERATOR.address], ETHER)
        self.chain_id, self.address = trust.chain_id, trust.anchor
        books.city.pin = AnchorPin(trust.chain_id, trust.anchor)

    def anchorer(self, port: int | None = None, *, attesters: list[Attester] | None = None) -> Anchorer:
        chain = Chain(f"http://127.0.0.1:{port or self.anvil.port}", timeout_s=2)
        engine = make_engine(f"sqlite:///{self.books.root / 'chain.db'}")
        create_tables(engine)
        contract = LogAnchorContract(chain, self.address)
        return Anchorer(
            self.books.book,
            self.books.publisher,
            submitter=Submitter(
                engine, chain, OPERATOR, settings=Settings(poll_s=0.01, sentinel_s=0.0, resend_s=0.1)
            ),
            contract=contract,
            evidence=AttestedBy(contract, attesters or [], 3) if attesters is not None else None,
        )

    def attester(self, number: int) -> Attester:
        """A witness with its own node."""
        seeds = list(self.books.city.witness_seeds.items())
        signer = NoteSigner.from_seed(*seeds[number])

        def sign(statement: AnchorStatement) -> NoteSignature:
            return attest_head(self.anvil.chain, statement, signer)

        return sign


@pytest.fixture
def site(start_anvil: Callable[..., Anvil], books: Books) -> Site:
    return Site(start_anvil(), books)


def settle(anchorer: Anchorer, size: int, now_s: int) -> None:
    for _ in range(200):
        row = anchorer.tick(now_s)
        if row is not None and row.size == size:
            return
    raise AssertionError(f"the head of {size} entries was not anchored")


def test_heads_are_anchored_when_due_and_on_demand(site: Site) -> None:
    books, anchorer = site.books, site.anchorer()
    books.issue()
    first = books.publish()
    settle(anchorer, first.size, books.now_s)
    books.issue()
    second = books.publish()
    row = anchorer.tick(books.now_s + 599)
    assert row is not None and row.size == first.size
    anchorer.tick(books.now_s + 599, wanted=True)
    settle(anchorer, second.size, books.now_s + 599)
    head = LogAnchorContract(site.anvil.chain, site.address).head()
    assert (head.size, head.root) == (second.size, second.root)
    assert head.status_root == books.publisher.status_root(second.size)


def test_without_a_cosigned_checkpoint_nothing_is_anchored(site: Site) -> None:
    assert site.anchorer().tick(site.books.now_s, wanted=True) is None
    assert site.books.book.store.anchors_in("open") == []


def test_with_the_chain_down_only_the_newest_is_kept(site: Site, unused_port: Callable[[], int]) -> None:
    books = site.books
    dead = site.anchorer(unused_port())
    sizes = []
    for _ in range(3):
        books.issue()
        sizes.append(books.publish().size)
        dead.tick(books.now_s, wanted=True)
    assert [row.size for row in books.book.store.anchors_in("open")] == sizes[-1:]
    assert [row.size for row in books.book.store.anchors_in("dropped")] == sizes[:-1]
    alive = site.anchorer()
    settle(alive, sizes[-1], books.now_s)
    anchored = LogAnchorContract(site.anvil.chain, site.address).events(0, site.anvil.chain.block_number())
    assert [event.size for event in anchored] == [0, sizes[-1]]  # the first is the contract's creation


def test_a_chain_that_lost_an_anchor_gets_one_from_its_own_head(site: Site) -> None:
    books, anchorer = site.books, site.anchorer()
    books.issue()
    first = books.publish()
    settle(anchorer, first.size, books.now_s)
    snapshot = site.anvil.snapshot()
    books.issue()
    books.publish()
    anchorer.tick(books.now_s, wanted=True)
    site.anvil.revert(snapshot)
    books.issue()
    third = books.publish()
    for _ in range(500):
        anchorer.tick(books.now_s, wanted=True)
        if LogAnchorContract(site.anvil.chain, site.address).head().size == third.size:
            break
    head = LogAnchorContract(site.anvil.chain, site.address).head()
    assert (head.size, head.root) == (third.size, root_at(books.book.log.reader, third.size))


def test_a_chain_with_another_history_is_refused(site: Site, tmp_path: Path) -> None:
    books = site.books
    other = make_books(tmp_path / "other")
    for _ in range(3):
        other.issue()
    fork = other.publish()
    call = LogAnchorContract(site.anvil.chain, site.address).anchor_call(fork.root, fork.size, bytes(32))
    engine = make_engine(f"sqlite:///{tmp_path / 'thief.db'}")
    create_tables(engine)
    Submitter(engine, site.anvil.chain, OPERATOR).execute("stolen operator key", call, 20)
    other.book.close()
    for _ in range(5):
        books.issue()
    books.publish()
    with pytest.raises(AnchorRefused):
        site.anchorer().tick(books.now_s, wanted=True)


def test_attested_evidence_makes_a_bundle_that_a_strict_policy_takes(site: Site) -> None:
    books = site.books
    licence = books.issue()
    head = books.publish()
    anchorer = site.anchorer(attesters=[site.attester(n) for n in range(4)])
    settle(anchorer, head.size, books.now_s)
    policy = books.city.policy(anchor="attested")
    now_s = books.now_s
    plain = verify(books.maker().bundle_of(licence.text).to_bytes(), policy, now_s=now_s)
    assert (plain.state, plain.missing) == (State.UNKNOWN, (Missing.ANCHOR,))
    anchored = books.maker().bundle_of(licence.text, anchored=True)
    verdict = verify(anchored.to_bytes(), policy, now_s=now_s)
    assert verdict.state is State.VALID and "anchor" in verdict.facts


def test_a_witness_signs_only_what_its_own_node_shows(site: Site) -> None:
    books = site.books
    books.issue()
    head = books.publish()
    anchorer = site.anchorer()
    settle(anchorer, head.size, books.now_s)
    row = books.book.store.newest_anchor()
    assert row is not None
    statement = AttestedBy(LogAnchorContract(site.anvil.chain, site.address), [], 3).statement(row)
    assert statement is not None
    sign = site.attester(0)
    sign(statement)
    lies = (
        {"chain_id": 1},
        {"block": statement.block + 1},
        {"block_hash": bytes(32)},
        {"size": statement.size + 1},
        {"root": bytes(32)},
        {"status_root": bytes(32)},
        {"time_s": statement.time_s + 1},
    )
    for lie in lies:
        with pytest.raises(AnchorRefused):
            sign(replace(statement, **lie))


def test_evidence_waits_for_enough_witnesses(site: Site) -> None:
    books = site.books
    books.issue()
    head = books.publish()
    settle(site.anchorer(attesters=[site.attester(0), site.attester(1)]), head.size, books.now_s)
    row = books.book.store.newest_anchor()
    assert row is not None and row.evidence is None
    site.anchorer(attesters=[site.attester(n) for n in range(3)]).tick(books.now_s)
    row = books.book.store.newest_anchor()
    assert row is not None and row.evidence is not None
