"""The node's memory: budgets under many writers, things written once, backups that come back."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from holder.epoch import EpochFile
from holder.errors import (
    AlreadyAnswered,
    BudgetExhausted,
    BuyerQuotaExhausted,
    OnceOnly,
    RequestUnknown,
    StoreError,
    StoreVersionUnknown,
    VaultLocked,
)
from holder.store import HolderStore
from holder.types import Decision, Hold, OutMessage, Stage
from holder.vault import Vault
from ledger.encoding import keccak
from ledger.signing import Signer
from ledger.types import Digest
from privacy.messages import Kind
from tests.holder.store_world import LINE, SIGNER, make_store, seen

OTHER_LINE = bytes([2]) * 32
Maker = Callable[[], HolderStore]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HolderStore]:
    made = make_store(tmp_path)
    made.put_line(LINE, "people", 1_000_000)
    yield made
    made.engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HolderStore]:
    url = None
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_url")
        with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text("DROP DATABASE IF EXISTS store_test"))
            connection.execute(sa.text("CREATE DATABASE store_test"))
        url = sa.make_url(server).set(database="store_test").render_as_string(hide_password=False)
    made = make_store(tmp_path, url)
    made.put_line(LINE, "people", 1_000_000)
    yield made
    made.engine.dispose()


def message(kind: Kind, content: bytes = b"frame") -> OutMessage:
    return OutMessage(kind, content, Digest(keccak(content)))


def totals(store: HolderStore) -> tuple[int, int]:
    line = store.line(LINE)
    assert line is not None
    return line.reserved, line.spent


# --- budgets ----------------------------------------------------------------------------------------------


def test_twenty_threads_never_reserve_more_than_the_line_holds(any_store: HolderStore) -> None:
    ids = [seen(any_store, number, rho=90_000) for number in range(20)]
    outcomes: list[str] = []
    start = threading.Barrier(20)

    def approve(request_id: Digest) -> None:
        start.wait()
        try:
            any_store.approve(request_id, {"session": b"secret"})
            outcomes.append("approved")
        except BudgetExhausted:
            outcomes.append("refused")

    threads = [threading.Thread(target=approve, args=(request_id,)) for request_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("approved"), outcomes.count("refused")) == (11, 9)
    assert totals(any_store) == (990_000, 0)
    stages = any_store.count_stages()
    assert stages == {"APPROVED": 11, "SEEN": 9}


def test_threads_that_settle_the_same_request_charge_once(any_store: HolderStore) -> None:
    request_id = seen(any_store, 1)
    any_store.approve(request_id, {"session": b"secret"})
    done: list[bool] = []
    threads = [
        threading.Thread(target=lambda hold=hold: done.append(any_store.settle(request_id, hold)))  # type: ignore[misc]
        for hold in [Hold.SPENT, Hold.RELEASED] * 10
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count(True) == 1
    assert totals(any_store) in ((0, 50_000), (0, 0))


Action = tuple[str, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["approve", "spend", "release", "reopen", "raise"]), st.integers(0, 7)),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(actions=ACTIONS, rhos=st.lists(st.integers(1, 400_000), min_size=8, max_size=8))
def test_reserved_and_spent_never_exceed_the_total(
    actions: list[Action], rhos: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = make_store(tmp_path_factory.mktemp("property"))
    store.put_line(LINE, "people", 1_000_000)
    ids = [seen(store, number, rho=rho) for number, rho in enumerate(rhos)]
    holds: dict[int, Hold] = {}
    for action, number in actions:
        if action == "approve" and number not in holds:
            try:
                store.approve(ids[number], {"session": b"secret"})
                holds[number] = Hold.RESERVED
            except BudgetExhausted:
                pass
        elif action in ("spend", "release") and holds.get(number) is Hold.RESERVED:
            hold = Hold.SPENT if action == "spend" else Hold.RELEASED
            assert store.settle(ids[number], hold)
            holds[number] = hold
        elif action == "reopen":
            store.reopen(10**9)  # nothing ended there
        elif action == "raise":
            assert not store.raise_spent(LINE, at_least=sum(totals(store)))
        reserved, spent = totals(store)
        assert min(reserved, spent) >= 0 and reserved + spent <= 1_000_000
        assert reserved == sum(rhos[n] for n, hold in holds.items() if hold is Hold.RESERVED)
        assert spent == sum(rhos[n] for n, hold in holds.items() if hold is Hold.SPENT)
    store.engine.dispose()


def test_a_refused_reservation_stores_no_secret(store: HolderStore) -> None:
    request_id = seen(store, 1, rho=1_000_001)
    with pytest.raises(
        BudgetExhausted, match="asked for 1000001 micro-rho, this holder's own ledger has 1000000"
    ):
        store.approve(request_id, {"session": b"secret"})
    with pytest.raises(StoreError):
        store.secret(request_id, "session")
    assert store.request(request_id).stage is Stage.SEEN


def test_a_line_that_was_never_opened_holds_nothing(store: HolderStore) -> None:
    with pytest.raises(BudgetExhausted):
        store.approve(seen(store, 1, line=OTHER_LINE), {"session": b"secret"})


def test_a_line_keeps_its_total(store: HolderStore) -> None:
    store.put_line(LINE, "people", 1_000_000)
    with pytest.raises(OnceOnly):
        store.put_line(LINE, "people", 2_000_000)
    with pytest.raises(StoreError):
        store.put_line(OTHER_LINE, "x", 0)


def test_a_ledger_behind_the_chain_takes_over_its_spending(store: HolderStore) -> None:
    assert store.raise_spent(LINE, at_least=300_000)
    assert not store.raise_spent(LINE, at_least=200_000)
    assert totals(store) == (0, 300_000)


def test_a_buyers_part_of_a_line_is_kept_whatever_the_line_holds(any_store: HolderStore) -> None:
    first, second, other = (
        seen(any_store, number, rho=60_000, buyer=buyer) for number, buyer in ((1, 1), (2, 1), (3, 2))
    )
    any_store.approve(first, {"session": b"a"}, buyer_most=100_000)
    with pytest.raises(
        BuyerQuotaExhausted, match="asked for 60000 micro-rho, the buyer has used 60000 of its 100000"
    ):
        any_store.approve(second, {"session": b"b"}, buyer_most=100_000)
    assert totals(any_store) == (60_000, 0)
    assert any_store.request(second).stage is Stage.SEEN
    any_store.approve(other, {"session": b"c"}, buyer_most=100_000)
    any_store.settle(first, Hold.RELEASED)
    any_store.approve(second, {"session": b"b"}, buyer_most=100_000)
    assert any_store.buyer_used(LINE, bytes([1]) * 20) == 60_000


def test_spending_that_has_no_request_here_counts_against_every_buyer(store: HolderStore) -> None:
    """A restored backup learns from the chain what was spent, but not by whom."""
    store.approve(seen(store, 1, rho=50_000), {"session": b"a"}, buyer_most=100_000)
    assert store.raise_spent(LINE, at_least=130_000)
    assert (store.buyer_used(LINE, bytes([1]) * 20), store.buyer_used(LINE, bytes([2]) * 20)) == (
        130_000,
        80_000,
    )
    with pytest.raises(BuyerQuotaExhausted):
        store.approve(seen(store, 2, rho=30_000, buyer=2), {"session": b"b"}, buyer_most=100_000)
    store.approve(seen(store, 3, rho=20_000, buyer=2), {"session": b"c"}, buyer_most=100_000)


def test_threads_of_one_buyer_never_reserve_more_than_its_part(any_store: HolderStore) -> None:
    ids = [seen(any_store, number, rho=30_000) for number in range(8)]
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def approve(request_id: Digest) -> None:
        start.wait()
        try:
            any_store.approve(request_id, {"session": b"secret"}, buyer_most=100_000)
            outcomes.append("approved")
        except BuyerQuotaExhausted:
            outcomes.append("refused")

    threads = [threading.Thread(target=approve, args=(request_id,)) for request_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("approved"), outcomes.count("refused")) == (3, 5)
    assert totals(any_store) == (90_000, 0)


# --- written once -----------------------------------------------------------------------------------------


def test_the_same_plan_of_the_same_buyer_is_not_approved_after_it_was_sealed(store: HolderStore) -> None:
    first, second = seen(store, 1, plan=7), seen(store, 2, plan=7)
    other_buyer = seen(store, 3, plan=7, buyer=2)
    store.approve(first, {"session": b"a"})
    store.mark_sealed(first, block=5)
    with pytest.raises(AlreadyAnswered):
        store.approve(second, {"session": b"b"})
    store.approve(other_buyer, {"session": b"c"})


def test_secrets_and_messages_are_written_once(any_store: HolderStore) -> None:
    request_id = seen(any_store, 1)
    any_store.approve(request_id, {"session": b"secret"})
    with pytest.raises(OnceOnly):
        any_store.approve(request_id, {"session": b"another"})
    to_shared = (Stage.APPROVED, Stage.SHARED)
    any_store.advance(request_id, to_shared, message=message(Kind.BUNDLE), secrets={"cells": b"1"})
    with pytest.raises(OnceOnly):
        any_store.advance(request_id, to_shared, message=message(Kind.BUNDLE, b"other"))
    assert any_store.secret(request_id, "session") == b"secret"
    stored = any_store.message(request_id, Kind.BUNDLE)
    assert stored is not None and stored.frame == b"frame"
    with pytest.raises(OnceOnly):  # the right stage, but a secret that exists
        any_store.advance(
            request_id,
            (Stage.SHARED, Stage.CONTRIBUTED),
            message=message(Kind.MASKED_INPUT),
            secrets={"cells": b"2"},
        )
    assert any_store.request(request_id).stage is Stage.SHARED
    assert any_store.message(request_id, Kind.MASKED_INPUT) is None


def test_the_first_receipt_stays(store: HolderStore) -> None:
    request_id = seen(store, 1)
    store.approve(request_id, {"session": b"s"})
    store.advance(request_id, (Stage.APPROVED, Stage.SHARED), message=message(Kind.BUNDLE))
    store.put_receipt(request_id, Kind.BUNDLE, b"first")
    store.put_receipt(request_id, Kind.BUNDLE, b"second")
    stored = store.message(request_id, Kind.BUNDLE)
    assert stored is not None and stored.receipt == b"first"


def test_unmasking_erases_the_shares_in_the_same_transaction(store: HolderStore) -> None:
    request_id = seen(store, 1)
    store.approve(request_id, {"session": b"s"})
    store.advance(request_id, (Stage.APPROVED, Stage.SHARED), message=message(Kind.BUNDLE))
    steps = (Stage.SHARED, Stage.CONTRIBUTED)
    store.advance(request_id, steps, message=message(Kind.MASKED_INPUT), secrets={"received": b"shares"})
    steps = (Stage.CONTRIBUTED, Stage.UNMASKED)
    store.advance(request_id, steps, message=message(Kind.UNMASK), erase=("received",))
    with pytest.raises(StoreError, match="no stored received"):
        store.secret(request_id, "received")


def test_decisions_are_taken_only_while_a_request_waits(store: HolderStore) -> None:
    request_id = seen(store, 1)
    assert store.decide(request_id, Decision.DENY, "no") is Stage.SEEN
    assert store.request(request_id).decision is None
    store.wait_for_human(request_id)
    assert store.decide(request_id, Decision.DENY, "no") is Stage.PENDING_HUMAN
    assert store.request(request_id).decision is Decision.DENY
    with pytest.raises(RequestUnknown):
        store.decide(Digest(bytes(32)), Decision.DENY, "")


def test_endings_that_the_chain_lost_are_taken_back(store: HolderStore) -> None:
    done, closed, refused = seen(store, 1), seen(store, 2), seen(store, 3)
    for request_id in (done, closed, refused):
        store.approve(request_id, {"session": b"s"})
    store.mark_sealed(done, block=50)
    store.finish(done, Stage.DONE, block=52)
    store.settle(closed, Hold.RELEASED)
    store.finish(closed, Stage.CLOSED, block=51)
    store.refuse(refused, "SnapshotChanged", "")
    assert store.reopen(53) == ()
    assert set(store.reopen(51)) == {done, closed}
    assert totals(store) == (150_000, 0)
    assert [store.request(r).stage for r in (done, closed, refused)] == [
        Stage.APPROVED,
        Stage.APPROVED,
        Stage.REFUSED,
    ]
    assert store.reopen(1) == ()


# --- secrets at rest --------------------------------------------------------------------------------------


def test_another_key_or_place_or_byte_does_not_open_a_secret(store: HolderStore, tmp_path: Path) -> None:
    request_id, other = seen(store, 1), seen(store, 2)
    store.approve(request_id, {"session": b"secret"})
    stranger = make_store(tmp_path, signer=Signer(keccak(b"another")))
    with pytest.raises(VaultLocked):
        stranger.secret(request_id, "session")
    stranger.engine.dispose()
    with sqlite3.connect(tmp_path / "holder.db") as raw:
        raw.execute("UPDATE holder_secrets SET request_id = ?", (other,))
    with pytest.raises(VaultLocked):
        store.secret(other, "session")
    vault = Vault(SIGNER)
    sealed = vault.seal(other, "x", b"value")
    assert vault.open(other, "x", sealed) == b"value"
    for changed in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\x02" + sealed[1:], b""):
        with pytest.raises(VaultLocked):
            vault.open(other, "x", changed)
    with pytest.raises(VaultLocked):
        vault.open(other, "y", sealed)


# --- backups ----------------------------------------------------------------------------------------------


def test_a_restored_backup_refuses_open_sessions_and_goes_on_with_new_ones(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put_line(LINE, "people", 1_000_000)
    open_one, ended = seen(store, 1), seen(store, 2)
    store.approve(ended, {"session": b"s"})
    store.refuse(ended, "SnapshotChanged", "")
    store.engine.dispose()
    shutil.copy(tmp_path / "holder.db", tmp_path / "backup.db")
    store = make_store(tmp_path)
    store.approve(open_one, {"session": b"first secrets"})
    store.engine.dispose()
    shutil.copy(tmp_path / "backup.db", tmp_path / "holder.db")
    store = make_store(tmp_path)
    assert store.refuse_if_restored() == (open_one,)
    assert store.request(open_one).reason == "RestoredBackup"
    assert store.request(ended).reason == "SnapshotChanged"
    fresh = seen(store, 3)
    store.approve(fresh, {"session": b"s"})
    store.engine.dispose()
    store = make_store(tmp_path)
    assert store.refuse_if_restored() == ()
    assert store.request(fresh).stage is Stage.APPROVED
    store.engine.dispose()


def test_a_crash_between_database_and_epoch_file_is_no_restored_backup(
    store: HolderStore, tmp_path: Path
) -> None:
    before = (tmp_path / "epoch").read_text()
    request_id = seen(store, 1)
    store.approve(request_id, {"session": b"s"})
    (tmp_path / "epoch").write_text(before)
    assert store.refuse_if_restored() == ()
    assert store.request(request_id).stage is Stage.APPROVED


def test_the_epoch_never_goes_back(tmp_path: Path) -> None:
    first, second = EpochFile(tmp_path / "epoch"), EpochFile(tmp_path / "epoch")
    first.advance(5)
    second.advance(3)
    assert first.read() == second.read() == 5
    (tmp_path / "epoch").write_text("five")
    with pytest.raises(StoreError, match="expected a number"):
        first.read()


def test_an_epoch_file_that_cannot_be_written_stops_before_anything_is_sent(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put_line(LINE, "people", 1_000_000)
    request_id = seen(store, 1)
    (tmp_path / "epoch").unlink()
    (tmp_path / "epoch").mkdir()
    with pytest.raises(StoreError):
        store.approve(request_id, {"session": b"s"})
    store.engine.dispose()


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path).engine.dispose()
    with sqlite3.connect(tmp_path / "holder.db") as raw:
        raw.execute("UPDATE holder_meta SET value = 99 WHERE name = 'version'")
    with pytest.raises(StoreVersionUnknown, match="version 1, found 99"):
        make_store(tmp_path)
