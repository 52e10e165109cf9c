"""The buyer's store: one good request for one plan, whatever happens in between."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from client.errors import RequestUnknown, StoreError
from client.store import Store
from client.types import LocalState, StoredRequest
from ledger.database import make_engine
from ledger.types import Address, Digest, Request

BUYER = Address(b"\x01" * 20)
LEDGER = Address(b"\x02" * 20)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(f"sqlite:///{tmp_path / 'buyer.db'}")


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine, buyer=BUYER, chain_id=31337, ledger=LEDGER)


def request(number: int, plan: int = 5) -> StoredRequest:
    signed = Request(
        buyer=BUYER,
        broker=Address(b"\x03" * 20),
        listing=b"\x04" * 32,
        plan_hash=bytes([plan]) * 32,
        key_x=b"\x06" * 32,
        key_parity=2,
        rho_micro=50_000,
        price_minor=7,
        holders=3,
        min_holders=2,
        colluders=0,
        dropouts=1,
        approve_by=10,
        share_by=20,
        contribute_by=30,
        answer_by=40,
        nonce=number,
    )
    return StoredRequest(
        request_id=Digest(bytes([number]) * 32),
        request=signed,
        signature=bytes(65),
        plan_json=b'{"version":"1"}',
        quote_json="{}",
        sql="SELECT COUNT(*) FROM adult",
        listing_name="adult",
        idempotency_key=f"key-{number}",
        state=LocalState.PREPARED,
        detail="",
        sealed_key=bytes(61),
        since_block=3,
    )


def test_a_prepared_request_reads_back_as_it_was(store: Store) -> None:
    first = request(1)
    assert store.prepare(first) == first
    assert store.get(first.request_id) == first
    assert store.good(first.request.plan_hash) == first


def test_a_second_request_for_the_same_plan_gives_the_first(store: Store) -> None:
    first = store.prepare(request(1))
    assert store.prepare(request(2)) == first
    with pytest.raises(RequestUnknown):
        store.get(request(2).request_id)


def test_another_plan_gets_its_own_request(store: Store) -> None:
    store.prepare(request(1))
    assert store.prepare(request(2, plan=6)).request_id == request(2).request_id
    assert [stored.request_id for stored in store.all()] == [request(n).request_id for n in (1, 2)]


@pytest.mark.parametrize("over", [LocalState.CLOSED, LocalState.EXPIRED])
def test_a_request_that_is_over_makes_room_for_another(store: Store, over: LocalState) -> None:
    store.prepare(request(1))
    store.set_state(request(1).request_id, over, "why")
    assert store.good(request(1).request.plan_hash) is None
    assert store.prepare(request(2)).request_id == request(2).request_id
    assert store.get(request(1).request_id).detail == "why"


def test_an_answered_request_stays_answered(store: Store) -> None:
    store.prepare(request(1))
    store.set_state(request(1).request_id, LocalState.ANSWERED)
    store.set_state(request(1).request_id, LocalState.EXPIRED)
    assert store.get(request(1).request_id).state is LocalState.ANSWERED
    assert store.prepare(request(2)).request_id == request(1).request_id


def test_concurrent_submissions_of_one_plan_end_with_one_request(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        standing = list(pool.map(lambda number: store.prepare(request(number)).request_id, range(1, 9)))
    assert len(set(standing)) == 1
    assert len(store.all()) == 1


def test_nonces_count_up_and_go_on_after_a_restart(engine: Engine, store: Store) -> None:
    assert [store.take_nonce(512), store.take_nonce(7), store.take_nonce(0)] == [512, 513, 514]
    again = Store(engine, buyer=BUYER, chain_id=31337, ledger=LEDGER)
    assert again.take_nonce(0) == 515


def test_each_deployment_has_nonces_of_its_own(engine: Engine, store: Store) -> None:
    assert store.take_nonce(0) == 0
    assert Store(engine, buyer=BUYER, chain_id=1, ledger=LEDGER).take_nonce(0) == 0
    assert Store(engine, buyer=BUYER, chain_id=31337, ledger=Address(b"\x07" * 20)).take_nonce(0) == 0
    assert store.take_nonce(0) == 1


def test_two_processes_on_one_store_never_take_the_same_nonce(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'buyer.db'}"
    stores = [Store(make_engine(url), buyer=BUYER, chain_id=31337, ledger=LEDGER) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: stores[number % 4].take_nonce(256 * number), range(80)))
    assert sorted(taken) == list(range(min(taken), min(taken) + 80))


def test_a_store_from_before_nonces_were_counted_begins_to_count(engine: Engine, store: Store) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE client_nonces"))
    assert Store(engine, buyer=BUYER, chain_id=31337, ledger=LEDGER).take_nonce(3) == 3


def test_the_store_survives_a_restart(store: Store, tmp_path: Path) -> None:
    store.prepare(request(1))
    again = Store(
        make_engine(f"sqlite:///{tmp_path / 'buyer.db'}"), buyer=BUYER, chain_id=31337, ledger=LEDGER
    )
    assert again.get(request(1).request_id) == request(1)


def test_another_idempotency_key_is_kept(store: Store) -> None:
    store.prepare(request(1))
    store.renew_idempotency_key(request(1).request_id, "another")
    assert store.get(request(1).request_id) == replace(request(1), idempotency_key="another")


def test_a_store_of_another_account_is_refused(store: Store, engine: Engine) -> None:
    store.prepare(request(1))
    with pytest.raises(StoreError, match="buyer"):
        Store(engine, buyer=Address(b"\x09" * 20), chain_id=31337, ledger=LEDGER)


def test_requests_of_another_deployment_are_not_seen(store: Store, engine: Engine) -> None:
    store.prepare(request(1))
    other = Store(engine, buyer=BUYER, chain_id=31337, ledger=Address(b"\x08" * 20))
    assert other.good(request(1).request.plan_hash) is None
    assert other.all() == []
    with pytest.raises(RequestUnknown):
        other.get(request(1).request_id)
