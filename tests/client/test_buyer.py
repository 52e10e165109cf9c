"""The buyer's life of a request: signed once, resumed after any interruption, verified before it is believed."""

import json
import secrets
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.buyer import Buyer
from client.errors import (
    AnswerMismatch,
    AnswerNotReady,
    AnswerWithheld,
    Conflict,
    ExchangeUnreachable,
    QuoteExpired,
    ReceiptNotValid,
    RequestClosed,
    RequestExpired,
    RequestRefused,
    RequestUnknown,
    SignInRefused,
    StoreError,
    WaitTimedOut,
)
from client.market import Market
from client.types import LocalState, Status
from ledger.eip712 import require_acceptance
from ledger.errors import ChainUnreachable
from ledger.types import Digest, to_hex
from tests.client.world import CHAIN_ID, NOW_S, SQL, World, ask, signer_for

OTHER_SQL = "SELECT COUNT(*) AS n FROM power"
Answering = Callable[[httpx.Request], httpx.Response | None]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def buyer_through(world: World, intercept: Answering, **changes: Any) -> Buyer:
    """A buyer, some of whose calls get another answer than the exchange's."""

    def handle(request: httpx.Request) -> httpx.Response:
        return intercept(request) or world.handle(request)

    market = Market("http://exchange.test", world.buyer, transport=httpx.MockTransport(handle))
    return world.make_buyer(market=market, **changes)


def unreachable(request: httpx.Request) -> httpx.Response | None:
    """Break the connection before the exchange has a request."""
    if (request.method, request.url.path) == ("POST", "/requests"):
        raise httpx.ReadError("cut", request=request)
    return None


def no_stream(status: int) -> Answering:
    """Refuse the event stream."""
    return lambda request: httpx.Response(status) if request.url.path.endswith("/events") else None


def stream_of(state: str) -> Answering:
    """Send one event for ever."""
    body = f'id: 1\nevent: state\ndata: {{"state":"{state}"}}\n\n'
    headers = {"Content-Type": "text/event-stream"}

    def intercept(request: httpx.Request) -> httpx.Response | None:
        is_stream = request.url.path.endswith("/events")
        return httpx.Response(200, text=body, headers=headers) if is_stream else None

    return intercept


# --- the main path -----------------------------------------------------------------------------------------


def test_a_query_is_answered_and_verified(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    states: list[str] = []
    buyer.wait(request_id, lambda progress: states.append(progress.state))
    answer = buyer.fetch(request_id)
    assert states == ["open", "sharing", "contributing", "sealed", "answered"]
    assert answer.verdict.status is Status.VALID
    assert answer.columns == ("town", "n", "total", "mean")
    assert [row[0] for row in answer.rows] == ["east", "other", "west", "杭州"]
    frame = answer.to_pandas()
    assert list(frame.columns) == list(answer.columns)
    assert frame["n"].dtype.kind == "i"
    assert answer.errors_to_pandas().shape == frame.shape
    assert answer.losses.request.rho_micro == 500_000
    assert [line.loss for line in answer.losses.lines] == [answer.losses.request] * 3
    assert buyer.fetch(request_id).losses == answer.losses


def test_the_receipt_is_on_disk_for_the_buyer_alone(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    path = buyer.fetch(request_id).receipt_path
    assert path == world.settings.receipts / f"{to_hex(request_id)}.json"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_key_leaves_the_buyer(world: World) -> None:
    """Neither the account's key nor the request's is in any message, nor readable in the store."""
    seen = bytearray()

    def listen(request: httpx.Request) -> None:
        seen.extend(str(request.url).encode() + str(request.headers.raw).encode() + request.content)

    buyer = buyer_through(world, listen)
    request_id = ask(world, buyer)
    buyer.wait(request_id)
    path = buyer.fetch(request_id).receipt_path
    buyer.accept(request_id)
    stored = buyer._store.get(request_id)
    request_key = buyer._vault.open(stored.sealed_key, request_id)
    buyer.close()
    seen.extend(path.read_bytes())
    seen.extend(b"".join(file.read_bytes() for file in path.parent.parent.glob("buyer.db*")))
    for secret in (world.buyer.raw_private_key(), request_key):
        for form in (secret, secret.hex().encode(), str(int.from_bytes(secret, "big")).encode()):
            assert form not in seen


def test_an_acceptance_is_signed_after_verification_only(world: World) -> None:
    accepted: list[bytes] = []

    def listen(request: httpx.Request) -> None:
        if request.url.path.endswith("/acceptances"):
            accepted.append(request.content)

    buyer = buyer_through(world, listen)
    request_id = ask(world, buyer)
    with pytest.raises(AnswerNotReady):
        buyer.accept(request_id)
    buyer.fetch(request_id)
    buyer.accept(request_id)
    (body,) = accepted
    signature = bytes.fromhex(json.loads(body)["signature"][2:])
    require_acceptance(world.buyer.address, request_id, signature, CHAIN_ID, world.deployment.ledger)


# --- never two requests for one intention ------------------------------------------------------------------


def test_the_same_quote_submitted_twice_is_one_request(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    assert buyer.submit(quote) == buyer.submit(quote)
    assert len(world.submissions) == 1


def test_an_identical_plan_is_served_from_the_stored_receipt(world: World) -> None:
    buyer = world.make_buyer()
    first = ask(world, buyer)
    answer = buyer.fetch(first)
    quote = buyer.quote(
        "power", "select town, count(*) n, sum(kwh) total, avg(kwh) mean from power group by town"
    )
    assert quote.answered_by == first
    assert buyer.submit(quote) == first
    world.serve = lambda payload: None
    buyer.wait(first)
    again = buyer.fetch(first)
    assert len(world.submissions) == 1
    assert (again.rows, again.error95, again.columns) == (answer.rows, answer.error95, answer.columns)
    assert again.verdict.status is Status.VALID


def test_another_plan_is_another_request(world: World) -> None:
    buyer = world.make_buyer()
    assert ask(world, buyer) != ask(world, buyer, OTHER_SQL)
    keys = {json.dumps(body["request"]["key_x"]) for body in world.submissions}
    assert len(keys) == 2


def nonces_of(world: World) -> list[int]:
    return [int(body["request"]["nonce"]) for body in world.submissions]


def test_the_nonces_of_a_buyer_share_a_slot_of_the_contract(world: World) -> None:
    buyer = world.make_buyer()
    ask(world, buyer)
    buyer.close()
    ask(world, world.make_buyer(), OTHER_SQL)
    first, second = nonces_of(world)
    assert (first % 256, second) == (0, first + 1)
    assert second < 1 << 24


def test_a_nonce_that_the_chain_has_seen_is_passed_over(world: World) -> None:
    address = world.buyer.address
    world.chain.nonces_used |= {(address, 0), (address, 1), (signer_for("other").address, 2)}
    ask(world, world.make_buyer(rand=bytes_from_two_zeros()))
    assert nonces_of(world) == [2]


def test_nothing_is_signed_while_the_chain_cannot_say_whether_a_nonce_is_used(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    world.chain.is_away = True
    with pytest.raises(ChainUnreachable):
        buyer.submit(quote)
    assert not buyer.requests() and not world.submissions


def bytes_from_two_zeros() -> Callable[[int], bytes]:
    """Randomness in which whatever takes two bytes, as the first nonce does, gets zeros."""
    return lambda count: bytes(2) if count == 2 else secrets.token_bytes(count)


def test_concurrent_submissions_sign_one_request(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    with ThreadPoolExecutor(8) as pool:
        identities = set(pool.map(lambda _: buyer.submit(quote), range(20)))
    assert len(identities) == 1
    assert len({body["signature"] for body in world.submissions}) == 1
    assert len(set(world.idempotency_keys)) == 1


def test_a_buyer_killed_before_its_request_was_sent_sends_the_same_bytes(world: World) -> None:
    buyer = buyer_through(world, unreachable)
    quote = buyer.quote("power", SQL)
    with pytest.raises(ExchangeUnreachable):
        buyer.submit(quote)
    (stored,) = buyer.requests()
    assert stored.state is LocalState.PREPARED
    buyer.close()
    restarted = world.make_buyer()
    assert restarted.submit(restarted.quote("power", SQL)) == stored.request_id
    assert world.submissions[0]["signature"] == to_hex(stored.signature)
    assert world.idempotency_keys == [stored.idempotency_key]


def test_a_buyer_killed_after_its_request_was_taken_repeats_it_under_the_same_key(world: World) -> None:
    def intercept(request: httpx.Request) -> httpx.Response | None:
        if (request.method, request.url.path) == ("POST", "/requests"):
            world.handle(request)
            raise httpx.ReadError("cut", request=request)
        return None

    buyer = buyer_through(world, intercept)
    with pytest.raises(ExchangeUnreachable):
        buyer.submit(buyer.quote("power", SQL))
    (stored,) = buyer.requests()
    restarted = world.make_buyer()
    restarted.wait(stored.request_id)
    assert restarted.fetch(stored.request_id).verdict.status is Status.VALID
    assert world.submissions[0] == world.submissions[1]
    assert len(set(world.idempotency_keys)) == 1


def test_waiting_resumes_a_request_that_was_signed_and_not_sent(world: World) -> None:
    buyer = buyer_through(world, unreachable)
    with pytest.raises(ExchangeUnreachable):
        buyer.submit(buyer.quote("power", SQL))
    (stored,) = buyer.requests()
    restarted = world.make_buyer()
    restarted.wait(stored.request_id)
    assert restarted.fetch(stored.request_id).verdict.status is Status.VALID


def test_a_refused_request_is_handed_in_again_as_it_was_signed(world: World) -> None:
    problem = {"title": "Balance too low", "type": "/problems/balance-too-low"}
    world.refusals = [httpx.Response(409, json=problem)]

    def intercept(request: httpx.Request) -> httpx.Response | None:
        is_question = request.method == "GET" and request.url.path.startswith("/requests/")
        return httpx.Response(404) if is_question else None

    buyer = buyer_through(world, intercept)
    quote = buyer.quote("power", SQL)
    with pytest.raises(Conflict, match="Balance too low"):
        buyer.submit(quote)
    buyer.submit(quote)
    first, second = world.submissions
    assert first == second
    assert len(set(world.idempotency_keys)) == 2


def test_a_conflict_over_a_request_that_the_exchange_has_is_none(world: World) -> None:
    world.refusals = [httpx.Response(409, json={"title": "Exists"})]
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    assert buyer._store.get(request_id).state is LocalState.SUBMITTED


def test_no_second_request_is_signed_while_the_first_could_still_be_opened(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    first = buyer.submit(quote)
    world.chain.head = int(quote.draft["approve_by"])
    assert buyer.submit(buyer.quote("power", SQL)) == first
    world.chain.head += 1
    second = buyer.submit(buyer.quote("power", SQL))
    assert second != first
    assert buyer._store.get(first).state is LocalState.EXPIRED


def test_a_closed_request_can_be_made_again(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    first = ask(world, buyer)
    world.chain.emit("Closed", 1, indexed=[first])
    second = ask(world, buyer)
    assert second != first
    assert "too few holders approved" in buyer._store.get(first).detail


def test_an_expired_quote_is_not_signed(world: World) -> None:
    now = [float(NOW_S)]
    buyer = world.make_buyer(now_s=lambda: now[0])
    quote = buyer.quote("power", SQL)
    now[0] += 601
    with pytest.raises(QuoteExpired):
        buyer.submit(quote)
    assert buyer.requests() == []


def test_a_quote_whose_first_deadline_passed_is_not_signed(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    world.chain.head = int(quote.draft["approve_by"])
    with pytest.raises(QuoteExpired):
        buyer.submit(quote)


# --- waiting -------------------------------------------------------------------------------------------------


def test_a_stream_that_breaks_falls_back_to_the_chain(world: World) -> None:
    buyer = buyer_through(world, no_stream(503))
    request_id = ask(world, buyer)
    buyer.wait(request_id)
    assert buyer.fetch(request_id).verdict.status is Status.VALID


def test_the_exchanges_word_alone_is_not_believed(world: World) -> None:
    """It says "answered"; the chain does not."""
    world.is_open = False
    ticks = iter(range(10_000))
    buyer = buyer_through(world, stream_of("answered"), clock=lambda: float(next(ticks)))
    request_id = ask(world, buyer)
    with pytest.raises(WaitTimedOut):
        buyer.wait(request_id, timeout_s=30)
    with pytest.raises(AnswerNotReady):
        buyer.fetch(request_id)


def test_waiting_survives_a_chain_that_is_away(world: World) -> None:
    buyer = world.make_buyer(sleep=lambda _: setattr(world.chain, "is_away", False))
    request_id = ask(world, buyer)
    world.chain.is_away = True
    buyer.wait(request_id)


def test_a_closed_request_ends_the_wait_with_its_reason(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    world.chain.emit("Closed", 3, indexed=[request_id])
    for _ in range(2):
        with pytest.raises(RequestClosed, match="too few holders contributed"):
            buyer.wait(request_id)
    with pytest.raises(RequestClosed):
        buyer.fetch(request_id)


def test_a_withheld_answer_ends_the_wait(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    world.chain.emit("Withheld", indexed=[request_id])
    with pytest.raises(RequestClosed, match="withheld"):
        buyer.wait(request_id)


def test_a_request_that_was_never_opened_expires(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    world.chain.head += 41
    with pytest.raises(RequestExpired):
        buyer.wait(request_id)
    assert buyer._store.get(request_id).state is LocalState.EXPIRED


def test_a_refused_request_says_until_when(world: World) -> None:
    world.is_open = False
    buyer = buyer_through(world, stream_of("refused"))
    request_id = ask(world, buyer)
    with pytest.raises(RequestRefused) as caught:
        buyer.wait(request_id)
    assert caught.value.approve_by == buyer._store.get(request_id).request.approve_by


def test_an_account_that_may_not_see_the_request_is_told_at_once(world: World) -> None:
    world.is_open = False
    buyer = buyer_through(world, no_stream(403))
    request_id = ask(world, buyer)
    with pytest.raises(SignInRefused):
        buyer.wait(request_id)


def test_a_request_of_somebody_else_is_unknown(world: World) -> None:
    buyer = world.make_buyer()
    for call in (buyer.wait, buyer.fetch, buyer.accept):
        with pytest.raises(RequestUnknown):
            call(Digest(bytes(32)))


# --- answers -------------------------------------------------------------------------------------------------


def test_an_answer_that_is_not_there_yet_is_named(world: World) -> None:
    world.is_open = False
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    with pytest.raises(AnswerNotReady, match="none"):
        buyer.fetch(request_id)


@pytest.mark.parametrize(
    "serve",
    [
        lambda payload: None,
        lambda payload: b"",
        lambda payload: payload[:-1],
        lambda payload: payload[8:],
        lambda payload: payload + payload,
        lambda payload: bytes([payload[0] ^ 1]) + payload[1:],
    ],
)
def test_an_answer_that_the_exchange_alters_or_withholds_is_read_from_the_chain(
    world: World, serve: Callable[[bytes], bytes | None]
) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    world.post_chunks(request_id, 1)
    world.serve = serve
    assert buyer.fetch(request_id).verdict.status is Status.VALID


def test_a_chunk_that_is_demanded_and_does_not_come_is_withheld(world: World) -> None:
    ticks = iter(range(1000))
    buyer = world.make_buyer(clock=lambda: next(ticks) / 100)
    request_id = ask(world, buyer)
    world.chain.emit("ChunkDemanded", 0, indexed=[request_id])
    world.serve = lambda payload: None
    with pytest.raises(AnswerWithheld, match="claim the refund"):
        buyer.fetch(request_id)
    world.chain.emit("Withheld", indexed=[request_id])
    with pytest.raises(AnswerWithheld, match="its bond pays"):
        buyer.fetch(request_id)


def test_a_wrong_sum_under_a_right_root_is_never_accepted(tmp_path: Path) -> None:
    for name, tamper in (
        ("low bit", lambda payload: payload[:7] + bytes([payload[7] ^ 1]) + payload[8:]),
        ("high bit", lambda payload: bytes([payload[0] ^ 0x80]) + payload[1:]),
        ("lane", lambda payload: payload[:-1] + bytes([payload[-1] ^ 1])),
    ):
        world = World(tmp_path / name, tamper=tamper)
        buyer = world.make_buyer()
        request_id = ask(world, buyer)
        with pytest.raises(AnswerMismatch):
            buyer.fetch(request_id)
        assert not buyer.receipt_path(request_id).exists()
        assert buyer._store.get(request_id).state is LocalState.SUBMITTED
        with pytest.raises(AnswerNotReady):
            buyer.accept(request_id)


def test_a_buyer_killed_between_receipt_and_store_fetches_again(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    first = buyer.fetch(request_id).receipt_path.read_bytes()
    twin = World(world.home / "twin")
    twin_buyer = twin.make_buyer()
    twin_id = ask(twin, twin_buyer)
    twin_buyer.receipt_path(twin_id).write_bytes(b"half a rec")
    assert twin_buyer.fetch(twin_id).receipt_path.read_bytes() != b"half a rec"
    assert buyer.fetch(request_id).receipt_path.read_bytes() == first


def test_a_stored_receipt_that_was_altered_is_refused(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    path = buyer.fetch(request_id).receipt_path
    path.write_bytes(path.read_bytes().replace(b'"n"', b'"m"', 1))
    with pytest.raises(ReceiptNotValid):
        buyer.fetch(request_id)


def test_a_receipt_that_was_lost_is_made_again(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    path = buyer.fetch(request_id).receipt_path
    data = path.read_bytes()
    path.unlink()
    assert buyer.fetch(request_id).receipt_path.read_bytes() == data


def test_a_stored_answer_is_shown_while_the_chain_is_away_and_called_unknown(world: World) -> None:
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    buyer.fetch(request_id)
    world.chain.is_away = True
    assert buyer.fetch(request_id).verdict.status is Status.UNKNOWN


def test_a_full_disk_leaves_no_receipt_and_no_answered_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="No space left"):
        buyer.fetch(request_id)
    monkeypatch.undo()
    assert list(world.settings.receipts.iterdir()) == []
    assert buyer._store.get(request_id).state is LocalState.SUBMITTED
    assert buyer.fetch(request_id).verdict.status is Status.VALID


def test_another_account_cannot_use_the_buyers_home(world: World) -> None:
    world.make_buyer().close()
    world.buyer = signer_for("thief")
    with pytest.raises(StoreError, match="buyer"):
        world.make_buyer()


def test_a_dropout_changes_nothing_for_the_buyer(tmp_path: Path) -> None:
    world = World(tmp_path, dropped=(2,))
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    answer = buyer.fetch(request_id)
    assert (answer.survivors, answer.verdict.status) == (2, Status.VALID)


def test_submit_to_verified_reads_the_chain_in_few_round_trips(world: World) -> None:
    buyer = world.make_buyer()
    quote = buyer.quote("power", SQL)
    world.chain.requests_seen.clear()
    request_id = buyer.submit(quote)
    buyer.wait(request_id)
    buyer.fetch(request_id)
    assert len(world.chain.requests_seen) <= 8, world.chain.requests_seen
