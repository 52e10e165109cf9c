"""The single writer: stored before it is sent, sent again as the same bytes, never twice."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine, read_transaction
from ledger.errors import (
    ChainLostHistory,
    ChainUnreachable,
    ContractReverted,
    IntentAbandoned,
    IntentConflict,
    IntentInFlight,
    IntentUnknown,
    SubmitterBehindChain,
    SubmitTimeout,
)
from ledger.rpc import RpcCall
from ledger.signing import Signer
from ledger.store import attempts, create_tables
from ledger.submitter import Settings, Submitter
from ledger.transaction import Fees, sign_transaction
from ledger.types import Address, Call, Roles

TARGET = Address(b"\x77" * 20)
EAGER = Settings(resend_s=0, sentinel_s=0, poll_s=0.01)


def pay(wei: int, to: Address = TARGET) -> Call:
    return Call(to, b"", wei)


def raw_of(engine: Engine) -> list[tuple[int, int, bytes]]:
    with read_transaction(engine) as c:
        rows = c.execute(
            select(attempts.c.nonce, attempts.c.number, attempts.c.raw).order_by("nonce", "number")
        )
        return [tuple(row) for row in rows]


class FlakyChain(Chain):
    """A chain whose answers get lost when it is to send a transaction: before or after the node has it."""

    lose: str | None = None

    def __init__(self, url: str) -> None:
        super().__init__(url)
        forward = self.batch

        def batch(calls: Sequence[RpcCall]) -> list[Any]:
            sending = any(method == "eth_sendRawTransaction" for method, _ in calls)
            if sending and self.lose == "before":
                raise ChainUnreachable("lost on the way there")
            answers = forward(calls)
            if sending and self.lose == "after":
                raise ChainUnreachable("lost on the way back")
            return answers

        self.batch = batch


@pytest.fixture
def rich(make_signer: Callable[[str], Signer]) -> Signer:
    return make_signer("rich")


def mining(pool: Any, submitter: Submitter, key: str) -> Any:
    """Tick and mine until an intent is final."""
    for _ in range(50):
        submitter.tick()
        if (result := submitter.result(key)) is not None:
            return result
        pool.mine()
    raise AssertionError("never final")


# --- the ordinary way ------------------------------------------------------------------------------------


def test_call_is_sent_once_and_its_result_is_kept(pool: Any, any_engine: Engine, rich: Signer) -> None:
    submitter = Submitter(any_engine, pool.chain, rich, settings=EAGER)
    for _ in range(3):
        submitter.submit("a", pay(5))
    result = mining(pool, submitter, "a")
    assert (result.status, result.gas_used, result.block) == (1, 21_000, 1)
    submitter.submit("a", pay(5))
    assert submitter.wait("a", 1) == result == Submitter(any_engine, pool.chain, rich).wait("a", 1)
    pool.mine()
    submitter.tick()
    assert pool.chain.balance(TARGET) == 5
    assert pool.chain.transaction_count(rich.address) == 1


def test_many_calls_take_consecutive_nonces_in_their_order(
    pool: Any, any_engine: Engine, rich: Signer
) -> None:
    submitter = Submitter(any_engine, pool.chain, rich, settings=EAGER)
    for i in range(10):
        submitter.submit(f"key {i}", pay(1, Address(bytes([i + 1]) * 20)))
    mining(pool, submitter, "key 9")
    assert [nonce for nonce, _, _ in raw_of(any_engine)] == list(range(10))
    assert all(pool.chain.balance(Address(bytes([i + 1]) * 20)) == 1 for i in range(10))


def test_same_key_with_other_content_is_refused(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich)
    submitter.submit("a", pay(5))
    for other in (pay(6), pay(5, Address(bytes(20))), Call(TARGET, b"x", 5)):
        with pytest.raises(IntentConflict):
            submitter.submit("a", other)


def test_unknown_key_is_a_named_error(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich)
    with pytest.raises(IntentUnknown):
        submitter.wait("none", 0)
    with pytest.raises(IntentUnknown):
        submitter.result("none")


def test_no_more_than_the_limit_are_in_flight(pool: Any, engine: Engine, rich: Signer) -> None:
    settings = Settings(in_flight_max=3, resend_s=0, sentinel_s=0)
    submitter = Submitter(engine, pool.chain, rich, settings=settings)
    for i in range(8):
        submitter.submit(f"key {i}", pay(1))
    for _ in range(5):
        submitter.tick()
    assert len(raw_of(engine)) == pool.chain.transaction_count(rich.address, "pending") == 3
    mining(pool, submitter, "key 7")
    assert pool.chain.balance(TARGET) == 8


def test_waiting_ends_in_time_and_the_call_goes_on(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    with pytest.raises(SubmitTimeout):
        submitter.wait("a", 0.05)
    pool.mine()
    assert submitter.wait("a", 5).status == 1


def test_result_is_final_only_after_its_confirmations(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(
        engine, pool.chain, rich, settings=Settings(confirmations=2, resend_s=0, sentinel_s=0)
    )
    submitter.submit("a", pay(1))
    submitter.tick()
    for _ in range(2):
        pool.mine()
        submitter.tick()
        assert submitter.result("a") is None
    pool.mine()
    submitter.tick()
    result = submitter.result("a")
    assert result is not None and result.block == 1


def test_threads_share_one_submitter_without_doubling(start_anvil: Callable[..., Any], any_engine: Engine,
                                                      rich: Signer) -> None:  # fmt: skip
    chain = start_anvil("--block-time", "0.1").chain
    submitter = Submitter(any_engine, chain, rich)
    results: dict[str, Any] = {}

    def work(key: str) -> None:
        results[key] = submitter.execute(key, pay(1), 20)

    threads = [threading.Thread(target=work, args=(f"key {i % 6}",)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.tx_hash for result in results.values()}) == 6
    assert chain.balance(TARGET) == chain.transaction_count(rich.address) == 6


def test_two_processes_on_one_database_do_not_double(pool: Any, any_engine: Engine, rich: Signer) -> None:
    one, two = (Submitter(any_engine, pool.chain, rich, settings=EAGER) for _ in range(2))
    for i in range(6):
        (one if i % 2 else two).submit(f"key {i}", pay(1))
        one.submit("both", pay(1))
        two.submit("both", pay(1))
    for _ in range(3):
        one.tick()
        two.tick()
        pool.mine()
    one.tick()
    assert all(two.result(key) for key in ("both", *(f"key {i}" for i in range(6))))
    assert pool.chain.balance(TARGET) == pool.chain.transaction_count(rich.address) == 7


def test_call_that_another_process_took_meanwhile_gets_no_second_nonce(
    pool: Any, any_engine: Engine, rich: Signer
) -> None:
    other = Submitter(any_engine, pool.chain, rich, settings=EAGER)
    chain = Chain(pool.url)
    batch, turns = chain.batch, [0]

    def overtaken(calls: Sequence[RpcCall]) -> list[Any]:
        answers = batch(calls)
        if any(method == "eth_estimateGas" for method, _ in calls) and not turns[0]:
            turns[0] += 1
            other.tick()  # between this one's estimate and its taking of a nonce
        return answers

    chain.batch = overtaken
    submitter = Submitter(any_engine, chain, rich, settings=EAGER)
    submitter.submit("a", pay(5))
    submitter.tick()
    assert turns[0] == 1 and len(raw_of(any_engine)) == 1
    assert mining(pool, submitter, "a").status == 1
    assert pool.chain.balance(TARGET) == 5 and pool.chain.transaction_count(rich.address, "pending") == 1


def test_quiet_submitter_asks_the_node_at_most_once_a_second(pool: Any, engine: Engine, rich: Signer) -> None:
    now = [1000.0]
    submitter = Submitter(engine, pool.chain, rich, clock=lambda: now[0])
    submitter.tick()
    pool.kill()
    for _ in range(50):
        now[0] += 0.01
        submitter.tick()
    now[0] += 1
    with pytest.raises(ChainUnreachable):
        submitter.tick()


# --- crashes, and a chain that is away -------------------------------------------------------------------


@pytest.mark.parametrize("lose", ["before", "after"])
def test_crash_around_the_sending_sends_the_same_bytes_again(
    lose: str, pool: Any, any_engine: Engine, rich: Signer
) -> None:
    chain = FlakyChain(pool.url)
    chain.lose = lose
    dying = Submitter(any_engine, chain, rich, settings=EAGER)
    dying.submit("a", pay(5))
    with pytest.raises(ChainUnreachable):
        dying.tick()
    before = raw_of(any_engine)
    assert len(before) == 1
    result = mining(pool, Submitter(any_engine, pool.chain, rich, settings=EAGER), "a")
    assert raw_of(any_engine) == before
    assert (
        result.tx_hash and pool.chain.balance(TARGET) == 5 and pool.chain.transaction_count(rich.address) == 1
    )


def test_calls_queue_while_the_chain_is_away(
    start_anvil: Callable[..., Any], unused_port: Callable[[], int], engine: Engine, rich: Signer
) -> None:
    anvil = start_anvil("--block-time", "0.1")
    anvil.kill()
    submitter = Submitter(engine, Chain(anvil.url), rich, settings=EAGER)
    submitter.submit("a", pay(5))
    with pytest.raises(ChainUnreachable):
        submitter.tick()
    with pytest.raises(SubmitTimeout) as caught:
        submitter.wait("a", 0.1)
    assert isinstance(caught.value.__cause__, ChainUnreachable)
    anvil.start()
    assert submitter.wait("a", 10).status == 1
    assert anvil.chain.balance(TARGET) == 5


def test_node_that_forgot_its_pool_gets_the_same_bytes(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(5))
    submitter.tick()
    before = raw_of(engine)
    pool.chain.request("anvil_dropAllTransactions")
    result = mining(pool, submitter, "a")
    assert raw_of(engine) == before and result.status == 1


def test_chain_that_lost_blocks_gets_the_same_bytes_in_order(
    pool: Any, any_engine: Engine, rich: Signer
) -> None:
    submitter = Submitter(any_engine, pool.chain, rich, settings=EAGER)
    submitter.submit("first", pay(1))
    kept = mining(pool, submitter, "first")
    snapshot = pool.snapshot()
    for i in range(4):
        submitter.submit(f"key {i}", pay(1))
    lost = [mining(pool, submitter, f"key {i}") for i in range(4)]
    before = raw_of(any_engine)
    pool.revert(snapshot)
    assert pool.chain.transaction_count(rich.address) == 1
    submitter.tick()
    assert submitter.result("key 3") is None and submitter.result("first") == kept
    again = [mining(pool, submitter, f"key {i}") for i in range(4)]
    assert [r.tx_hash for r in again] == [r.tx_hash for r in lost]
    assert raw_of(any_engine) == before and pool.chain.balance(TARGET) == 5


def test_chain_killed_without_its_last_blocks_ends_at_the_same_state(
    start_anvil: Callable[..., Any], tmp_path: Path, engine: Engine, rich: Signer
) -> None:
    state = tmp_path / "state.json"
    anvil = start_anvil("--block-time", "0.1", "--state", str(state), "--state-interval", "1")
    submitter = Submitter(engine, Chain(anvil.url), rich)
    submitter.execute("kept", pay(1), 10)
    while not state.exists():
        time.sleep(0.05)
    dumped = state.read_bytes()
    for i in range(3):
        submitter.execute(f"key {i}", pay(1), 10)
    before = raw_of(engine)
    anvil.kill()
    state.write_bytes(dumped)  # the file as it was before those calls, whole
    anvil.start()
    assert anvil.chain.transaction_count(rich.address) <= 1
    deadline = time.monotonic() + 20
    while anvil.chain.balance(TARGET) < 4 and time.monotonic() < deadline:
        submitter.tick()
        time.sleep(0.05)
    assert submitter.wait("key 2", 10).status == 1
    assert raw_of(engine) == before and anvil.chain.balance(TARGET) == 4


# --- fees ------------------------------------------------------------------------------------------------


def test_stuck_transaction_is_replaced_under_its_own_nonce(pool: Any, engine: Engine, rich: Signer) -> None:
    settings = Settings(stuck_blocks=2, stuck_s=0, resend_s=0, sentinel_s=0)
    submitter = Submitter(engine, pool.chain, rich, settings=settings)
    submitter.submit("a", pay(5))
    submitter.submit("b", pay(6))
    submitter.tick()
    for _ in range(3):
        pool.chain.request("anvil_setNextBlockBaseFeePerGas", hex(30 * 10**9))
        pool.mine()
        submitter.tick()
    mining(pool, submitter, "b")
    tried = [(nonce, number) for nonce, number, _ in raw_of(engine)]
    assert (0, 2) in tried and {nonce for nonce, _ in tried} == {0, 1}
    assert pool.chain.balance(TARGET) == 11 and pool.chain.transaction_count(rich.address) == 2


def test_fees_stay_under_the_cap(pool: Any, engine: Engine, rich: Signer) -> None:
    settings = Settings(stuck_blocks=1, stuck_s=0, resend_s=0, sentinel_s=0, max_fee_cap=3 * 10**9)
    submitter = Submitter(engine, pool.chain, rich, settings=settings)
    submitter.submit("a", pay(5))
    for _ in range(6):
        pool.chain.request("anvil_setNextBlockBaseFeePerGas", hex(30 * 10**9))
        submitter.tick()
        pool.mine()
    with read_transaction(engine) as c:
        fees = [int(row.max_fee) for row in c.execute(select(attempts))]
    assert fees and max(fees) <= 3 * 10**9


def test_account_without_gas_says_so_and_goes_on_when_it_has_some(
    pool: Any, engine: Engine, rich: Signer, make_signer: Callable[[str], Signer]
) -> None:
    poor = make_signer("poor")
    submitter = Submitter(engine, pool.chain, poor, settings=EAGER)
    submitter.submit("a", pay(5))
    with pytest.raises(SubmitTimeout) as caught:
        submitter.wait("a", 0.05)
    assert caught.value.note
    pool.chain.request("anvil_setBalance", "0x" + poor.address.hex(), hex(10**18))
    pool.mine()
    assert mining(pool, submitter, "a").status == 1


# --- refusals --------------------------------------------------------------------------------------------


def test_restored_backup_refuses_and_sends_nothing(pool: Any, tmp_path: Path, rich: Signer) -> None:
    path = tmp_path / "live.db"
    live = make_engine(f"sqlite:///{path}")
    create_tables(live)
    submitter = Submitter(live, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    mining(pool, submitter, "a")
    live.dispose()
    shutil.copy(path, tmp_path / "backup.db")
    submitter.submit("b", pay(1))
    mining(pool, submitter, "b")
    live.dispose()
    restored = Submitter(make_engine(f"sqlite:///{tmp_path / 'backup.db'}"), pool.chain, rich, settings=EAGER)
    restored.submit("b", pay(1))
    with pytest.raises(SubmitterBehindChain) as caught:
        restored.wait("b", 1)
    assert (caught.value.nonce, caught.value.chain_nonce) == (1, 2)
    pool.mine()
    assert pool.chain.balance(TARGET) == pool.chain.transaction_count(rich.address, "pending") == 2


def test_restored_backup_goes_on_from_the_chains_nonce_when_told_so(
    pool: Any, tmp_path: Path, rich: Signer
) -> None:
    path = tmp_path / "live.db"
    live = make_engine(f"sqlite:///{path}")
    create_tables(live)
    submitter = Submitter(live, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    mining(pool, submitter, "a")
    live.dispose()
    shutil.copy(path, tmp_path / "backup.db")
    submitter.submit("b", pay(1))
    mining(pool, submitter, "b")
    submitter.submit("c", pay(1))
    submitter.tick()  # on its way, not mined
    live.dispose()
    restored = Submitter(make_engine(f"sqlite:///{tmp_path / 'backup.db'}"), pool.chain, rich, settings=EAGER)
    restored.resume_backup()
    restored.submit("d", pay(1))
    mining(pool, restored, "d")
    assert pool.chain.balance(TARGET) == pool.chain.transaction_count(rich.address, "pending") == 4
    restored.resume_backup()  # again, or where nothing is behind: no effect
    restored.submit("e", pay(1))
    mining(pool, restored, "e")
    assert pool.chain.transaction_count(rich.address, "pending") == 5


def test_foreign_transaction_with_our_nonce_is_noticed(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    submitter.tick()
    pool.chain.request("anvil_dropAllTransactions")
    fees = Fees(10**11, 10**9)
    pool.chain.send_raw(
        sign_transaction(
            rich, chain_id=31337, nonce=0, gas_limit=21_000, fees=fees, to=TARGET, data=b"", value=100
        )
    )
    with pytest.raises(SubmitterBehindChain):
        for _ in range(20):
            pool.mine()
            submitter.tick()


def test_chain_that_lost_what_was_never_here_is_a_named_error(
    pool: Any, engine: Engine, rich: Signer
) -> None:
    snapshot = pool.snapshot()
    fees = Fees(10**11, 10**9)
    raw = sign_transaction(rich, chain_id=31337, nonce=0, gas_limit=21_000, fees=fees, to=TARGET, data=b"")
    pool.chain.send_raw(raw)
    pool.mine()
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    mining(pool, submitter, "a")
    pool.revert(snapshot)
    with pytest.raises(ChainLostHistory):
        submitter.tick()


def test_abandoned_call_is_never_sent(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    submitter.abandon("a")
    submitter.abandon("a")
    submitter.tick()
    assert raw_of(engine) == []
    with pytest.raises(IntentAbandoned):
        submitter.wait("a", 1)
    with pytest.raises(IntentAbandoned):
        submitter.submit("a", pay(1))


def test_signed_call_cannot_be_abandoned(pool: Any, engine: Engine, rich: Signer) -> None:
    submitter = Submitter(engine, pool.chain, rich, settings=EAGER)
    submitter.submit("a", pay(1))
    submitter.tick()
    with pytest.raises(IntentInFlight):
        submitter.abandon("a")


# --- reverts ---------------------------------------------------------------------------------------------


def test_call_that_would_revert_is_named_and_takes_no_nonce(
    market: Any, any_engine: Engine, make_signer: Callable[[str], Signer]
) -> None:
    registrar, contracts = make_signer("registrar"), market.contracts
    submitter = Submitter(any_engine, market.chain, registrar)
    account = make_signer("holder").address
    admit = contracts.participants.admit(account, account, Roles.HOLDER, b"\1" * 32)
    change = contracts.participants.set_roles(account, Roles.BUYER)
    with pytest.raises(ContractReverted) as caught:
        submitter.execute("change", change, 10)
    assert caught.value.name == "ParticipantsStatusInvalid"
    assert caught.value.arguments == {"account": account, "status": 0} and caught.value.tx_hash is None
    with pytest.raises(ContractReverted):
        submitter.wait("change", 10)
    assert raw_of(any_engine) == [] and submitter.result("change") is None
    submitter.execute("admit", admit, 10)
    assert submitter.execute("change", change, 10).status == 1
    assert [nonce for nonce, _, _ in raw_of(any_engine)] == [0, 1]
    assert contracts.participants.get(account).roles is Roles.BUYER


def test_revert_that_was_mined_is_named_and_can_be_tried_again(
    still_market: Any, engine: Engine, make_signer: Callable[[str], Signer]
) -> None:
    contracts: Contracts = still_market.contracts
    submitter = Submitter(engine, still_market.chain, make_signer("registrar"), settings=EAGER)
    account = make_signer("holder").address
    for key in ("one", "two"):
        submitter.submit(key, contracts.participants.admit(account, account, Roles.HOLDER, b"\1" * 32))
    submitter.tick()
    still_market.anvil.mine()
    submitter.tick()
    assert submitter.wait("one", 1).status == 1
    with pytest.raises(ContractReverted, match="ParticipantsAlreadyAdmitted") as caught:
        submitter.wait("two", 1)
    result = submitter.result("two")
    assert result is not None and result.status == 0 and caught.value.tx_hash == result.tx_hash
    with pytest.raises(ContractReverted, match="ParticipantsAlreadyAdmitted"):
        submitter.execute("two", contracts.participants.admit(account, account, Roles.HOLDER, b"\1" * 32), 1)
    assert len(raw_of(engine)) == 2
