"""The buyer against the real contracts: receipts from real logs, demands and claims by its own transactions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.chain_checks import ChainSource
from client.curves import ArkworksCurves
from client.errors import AnswerWithheld, ClaimTooEarly, RequestClosed
from client.types import LocalState, Status
from client.verify import Subject, run_procedure, verify_receipt
from ledger.chain import Chain
from ledger.contracts import members_from_events
from ledger.eip712 import sign_acceptance
from ledger.types import RequestState
from tests.client.chain_world import WINDOW_BLOCKS, Anvil, ChainWorld, program
from tests.client.world import CHAIN_ID, ask


@pytest.fixture(scope="module")
def node() -> Iterator[Chain]:
    if not program().exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    anvil = Anvil()
    yield anvil.start()
    anvil.stop()


@pytest.fixture
def world(node: Chain, tmp_path: Path) -> Iterator[ChainWorld]:
    """A market of its own; the chain is shared and put back afterwards."""
    snapshot = node.request("evm_snapshot")
    yield ChainWorld(tmp_path, node=node)
    assert node.request("evm_revert", snapshot) is True


def test_a_receipt_made_from_real_logs_is_valid(world: ChainWorld) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    buyer.wait(request_id)
    answer = buyer.fetch(request_id)
    assert answer.verdict.status is Status.VALID
    data = answer.receipt_path.read_bytes()
    verdict = verify_receipt(data, world.chain, deployment=world.deployment)
    assert verdict.status is Status.VALID
    assert verify_receipt(data, world.chain, backend="reference").status is Status.VALID
    assert verify_receipt(data, world.chain, confirmations=1).status is Status.UNKNOWN
    world.mine(1)
    assert verify_receipt(data, world.chain, confirmations=1).status is Status.VALID


def test_the_contracts_session_sum_and_root_are_the_buyers(world: ChainWorld) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    subject = Subject(
        buyer.fetch(request_id).receipt_path.read_bytes(),
        ChainSource(world.chain, world.deployment),
        ArkworksCurves(),
    )
    assert run_procedure(subject).status is Status.VALID
    ledger, request = world.contracts.ledger, subject.receipt.request
    assert ledger.session(request, members_from_events(world.events(request_id))) == subject.session.id
    assert ledger.commitment_sum(request_id) == subject.commitment_sum
    assert ledger.answer_root(request_id) == subject.receipt.answer.root


def test_a_dropout_is_sealed_after_the_deadline_and_verified(node: Chain, tmp_path: Path) -> None:
    snapshot = node.request("evm_snapshot")
    world = ChainWorld(tmp_path, node=node, dropped=(0,))
    buyer = world.make_buyer()
    answer = buyer.fetch(ask(world, buyer))
    assert (answer.survivors, answer.verdict.status) == (2, Status.VALID)
    assert node.request("evm_revert", snapshot) is True


def test_an_acceptance_settles(world: ChainWorld) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    data = buyer.fetch(request_id).receipt_path.read_bytes()
    signature = sign_acceptance(world.buyer, request_id, CHAIN_ID, world.deployment.ledger)
    (found,) = buyer.requests()
    members = members_from_events(world.events(request_id))
    world.send(world.broker, world.contracts.ledger.release(found.request, members, signature))
    assert world.contracts.ledger.state(request_id).state is RequestState.SETTLED
    assert verify_receipt(data, world.chain, deployment=world.deployment).status is Status.VALID


def test_a_withheld_answer_is_demanded_on_the_chain_and_verified(world: ChainWorld) -> None:
    world.serve = lambda payload: None

    def meanwhile(_: float) -> None:
        (found,) = buyer.requests()
        world.post_demanded_chunk(found.request, found.request_id)

    buyer = world.make_buyer(sleep=meanwhile)
    request_id = ask(world, buyer)
    assert buyer.fetch(request_id).verdict.status is Status.VALID
    assert world.contracts.ledger.state(request_id).demanded_at == 0


def test_a_single_chunk_can_be_demanded(world: ChainWorld) -> None:
    def meanwhile(_: float) -> None:
        (found,) = buyer.requests()
        world.post_demanded_chunk(found.request, found.request_id)

    buyer = world.make_buyer(sleep=meanwhile)
    request_id = ask(world, buyer)
    assert buyer.demand_chunk(request_id, 0) == world.answers[request_id]
    with pytest.raises(AnswerWithheld, match="cannot be demanded"):
        buyer.demand_chunk(request_id, 1000)


def test_a_chunk_that_never_comes_is_paid_from_the_brokers_bond(world: ChainWorld) -> None:
    world.serve = lambda payload: None
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    (found,) = buyer.requests()
    paid = world.contracts.settlement.balance_of(world.buyer.address)
    with pytest.raises(AnswerWithheld, match="claim the refund"):
        buyer.fetch(request_id)
    with pytest.raises(ClaimTooEarly):
        buyer.claim(request_id)
    world.mine(WINDOW_BLOCKS + 1)
    buyer.claim(request_id)
    buyer.claim(request_id)  # again is nothing
    (found,) = buyer.requests()
    assert (found.state, "withheld" in found.detail) == (LocalState.CLOSED, True)
    balance = world.contracts.settlement.balance_of(world.buyer.address)
    assert balance == paid + found.request.price_minor
    assert world.contracts.ledger.state(request_id).state is RequestState.WITHHELD
    with pytest.raises(AnswerWithheld):
        buyer.fetch(request_id)


def test_a_demand_after_the_window_is_refused_by_name(world: ChainWorld) -> None:
    world.serve = lambda payload: None
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    world.mine(WINDOW_BLOCKS + 1)
    with pytest.raises(AnswerWithheld, match="cannot be demanded"):
        buyer.fetch(request_id)


def test_a_request_that_nobody_approves_is_closed_and_refunded_by_the_buyer(world: ChainWorld) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    (found,) = buyer.requests()
    before = world.contracts.settlement.balance_of(world.buyer.address)
    world.send(world.broker, world.contracts.ledger.open(found.request, found.signature))
    with pytest.raises(ClaimTooEarly):
        buyer.claim(request_id)
    world.mine(41)
    buyer.claim(request_id)
    assert world.contracts.settlement.balance_of(world.buyer.address) == before
    with pytest.raises(RequestClosed, match="too few holders approved"):
        buyer.wait(request_id)
    world.is_open = True
    again = ask(world, buyer)
    assert again != request_id
    assert buyer.fetch(again).verdict.status is Status.VALID


def test_a_chain_that_lost_the_answer_is_unknown_and_the_replayed_one_valid(world: ChainWorld) -> None:
    buyer = world.make_buyer()
    before = world.chain.request("evm_snapshot")
    request_id = ask(world, buyer)
    data = buyer.fetch(request_id).receipt_path.read_bytes()
    assert world.chain.request("evm_revert", before) is True
    assert verify_receipt(data, world.chain, deployment=world.deployment).status is Status.UNKNOWN
    (body,) = world.submissions
    world.answers.clear()
    world._take(body)
    assert verify_receipt(data, world.chain, deployment=world.deployment).status is Status.VALID
