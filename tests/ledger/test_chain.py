"""The node behind JSON-RPC: typed answers, named failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ledger.chain import Chain, is_known, is_used, parse_block, parse_fees, parse_logs, parse_receipt
from ledger.deploy import deploy
from ledger.errors import (
    CallReverted,
    ChainMismatch,
    ChainRefused,
    ChainTooOld,
    ChainUnreachable,
    DeploymentFailed,
)
from ledger.rpc import JsonRpc
from ledger.signing import Signer
from ledger.transaction import Fees, sign_transaction
from ledger.types import Address

# --- answers, without a chain ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [1, "x", [], {}, {"number": "1"}, {"number": "0x1", "hash": "0x00"}, {"number": -1}]
)
def test_malformed_block_is_unreachable(answer: Any) -> None:
    with pytest.raises(ChainUnreachable):
        parse_block(answer)


@pytest.mark.parametrize("answer", [None, {}, [1], [{}], [{"topics": "x"}], [{"topics": ["0x00"]}]])
def test_malformed_logs_are_unreachable(answer: Any) -> None:
    with pytest.raises(ChainUnreachable):
        parse_logs(answer)


@pytest.mark.parametrize("answer", [1, [], {"blockNumber": "zz"}, {"blockNumber": "0x1"}])
def test_malformed_receipt_is_unreachable(answer: Any) -> None:
    with pytest.raises(ChainUnreachable):
        parse_receipt(answer)
    assert parse_receipt(None) is None and parse_receipt({"blockNumber": None}) is None


def test_fees_leave_room_for_a_doubled_base_fee() -> None:
    assert parse_fees({"baseFeePerGas": "0xa"}, "0x3") == (23, 3)
    assert parse_fees({}, "0x3") == (3, 3)
    assert parse_fees({"baseFeePerGas": "0xa"}, ChainRefused("x", -32601, "unknown")) == (20 + 10**9, 10**9)


def test_refusals_of_known_and_used_transactions_are_told_apart() -> None:
    assert is_known(ChainRefused("x", 0, "transaction already known"))
    assert is_used(ChainRefused("x", 0, "nonce too low: next nonce 3"))
    assert not is_known(ChainRefused("x", 0, "insufficient funds")) and not is_used(
        ChainRefused("x", 0, "known")
    )


# --- a node that misbehaves ------------------------------------------------------------------------------


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Start servers that answer every request with the same bytes; each serves one exchange a connection."""
    servers: list[ThreadingHTTPServer] = []

    def start(body: bytes, *, keep: bool = True) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = not keep

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b"1", b"{}", b'{"id":1}', b"[" * 100_000, b"\xff", b'{"result":"1"}'],
)
def test_answer_that_is_no_json_rpc_is_unreachable(serve: Callable[..., str], body: bytes) -> None:
    with pytest.raises(ChainUnreachable):
        Chain(serve(body)).block_number()
    with pytest.raises(ChainUnreachable):
        Chain(serve(body)).batch([("eth_blockNumber", [])])


@pytest.mark.parametrize(
    "error, kind",
    [({"code": 3, "message": "execution reverted", "data": "0x01"}, CallReverted),
     ({"code": -32000, "message": "Execution reverted", "data": "0x01"}, CallReverted),
     ({"code": -32000, "message": "execution reverted", "data": {"data": "0x01"}}, CallReverted),
     ({"code": -32601, "message": "method not found"}, ChainRefused), ("strange", ChainRefused),
     ({"code": "x"}, ChainRefused), ({"message": None}, ChainRefused)],
)  # fmt: skip
def test_errors_of_the_node_are_told_apart(
    serve: Callable[..., str], error: Any, kind: type[Exception]
) -> None:
    url = serve(json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode())
    with pytest.raises(kind) as caught:
        Chain(url).call(Address(bytes(20)), b"")
    if isinstance(caught.value, CallReverted):
        assert caught.value.data == b"\x01"


def test_connection_that_the_node_closed_is_opened_again(serve: Callable[..., str]) -> None:
    chain = Chain(serve(b'{"jsonrpc":"2.0","id":1,"result":"0x5"}', keep=False))
    assert [chain.block_number() for _ in range(3)] == [5, 5, 5]


class MovingNode(JsonRpc):
    """A node that mines a block in the middle of the first look at the newest one."""

    def __init__(self, refusals: int) -> None:
        super().__init__("http://127.0.0.1:9")
        self.refusals, self.posts = refusals, 0

    def _post(self, body: Any) -> Any:
        self.posts += 1
        entries = body if isinstance(body, list) else [body]
        answers = [self._answer(entry) for entry in entries]
        return answers if isinstance(body, list) else answers[0]

    def _answer(self, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["method"] == "eth_call" and self.refusals:
            self.refusals -= 1
            message = "BlockOutOfRangeError: block height is 29 but requested was 28"
            return {"id": entry["id"], "error": {"code": -32602, "message": message}}
        return {"id": entry["id"], "result": entry["params"][0]}


def test_a_call_at_the_newest_block_is_made_again_when_a_block_came_between() -> None:
    node = MovingNode(1)
    assert (node.request("eth_call", "0x1"), node.posts) == ("0x1", 2)
    node = MovingNode(1)
    calls = [("eth_chainId", ["0x7"]), ("eth_call", ["0x1"]), ("eth_call", ["0x2"])]
    assert (node.batch(calls), node.posts) == (["0x7", "0x1", "0x2"], 2)
    with pytest.raises(ChainRefused):
        MovingNode(2).request("eth_call", "0x1")


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "127.0.0.1:8545", "http://x:port"])
def test_address_that_is_none_is_unreachable(url: str) -> None:
    with pytest.raises(ChainUnreachable):
        Chain(url)


def test_nobody_listening_is_unreachable_and_the_error_shows_no_password(
    unused_port: Callable[[], int],
) -> None:
    with pytest.raises(ChainUnreachable) as caught:
        Chain(f"http://user:hidden@127.0.0.1:{unused_port()}").chain_id()
    assert "hidden" not in str(caught.value)


# --- a real node -----------------------------------------------------------------------------------------


def test_node_is_read_typed(pool: Any, make_signer: Callable[[str], Signer]) -> None:
    chain, rich = pool.chain, make_signer("rich")
    chain.require_chain(31337)
    chain.require_precompiles()
    raw = sign_transaction(
        rich,
        chain_id=31337,
        nonce=0,
        gas_limit=21_000,
        fees=Fees(*chain.fees()),
        to=Address(b"\7" * 20),
        data=b"",
    )
    tx_hash = chain.send_raw(raw)
    assert chain.send_raw(raw) == tx_hash and chain.receipt(tx_hash) is None
    pool.mine()
    receipt = chain.receipt(tx_hash)
    assert receipt is not None and (receipt.status, receipt.block, receipt.gas_used) == (1, 1, 21_000)
    block = chain.block(1)
    assert block is not None and block.hash == receipt.block_hash and block == chain.block("latest")
    assert chain.block(99) is None and chain.block_number() == 1
    assert chain.transaction_count(rich.address) == 1
    assert chain.code(Address(b"\7" * 20)) == b"" and chain.logs([Address(b"\7" * 20)], 0, 1) == []


def test_other_chain_and_missing_contract_are_mismatches(pool: Any) -> None:
    with pytest.raises(ChainMismatch):
        pool.chain.require_chain(1)
    with pytest.raises(ChainMismatch):
        pool.chain.require_code(Address(b"\7" * 20), "Participants")


def test_chain_before_prague_is_too_old(
    start_anvil: Callable[..., Any], make_signer: Callable[[str], Signer]
) -> None:
    chain = start_anvil("--no-mining", "--hardfork", "cancun").chain
    with pytest.raises(ChainTooOld):
        chain.require_precompiles()
    with pytest.raises(ChainTooOld):
        account = make_signer("registrar").address
        deploy(chain, make_signer("rich"), registrar=account, bank=account)


def test_deployment_tells_its_progress_and_reads_back(
    market: Any, make_signer: Callable[[str], Signer]
) -> None:
    told: list[tuple[str, int, int]] = []
    registrar, bank = make_signer("registrar").address, make_signer("bank").address
    again = deploy(
        market.chain,
        make_signer("rich"),
        registrar=registrar,
        bank=bank,
        answer_window_blocks=9,
        progress=lambda *step: told.append(step),
    )
    assert again.ledger != market.deployment.ledger and again.block > market.deployment.block
    assert [done for _, done, _ in told] == list(range(1, 12)) and {total for _, _, total in told} == {11}
    contracts = type(market.contracts)(market.chain, again)
    contracts.require_deployed()
    assert contracts.ledger.window() == 9


def test_deployment_without_gas_is_a_named_error(pool: Any, make_signer: Callable[[str], Signer]) -> None:
    poor = make_signer("poor")
    with pytest.raises(DeploymentFailed) as caught:
        deploy(pool.chain, poor, registrar=poor.address, bank=poor.address)
    assert caught.value.step == "AccessManager"


def test_deployment_that_is_not_mined_is_a_named_error(
    pool: Any, make_signer: Callable[[str], Signer]
) -> None:
    rich = make_signer("rich")
    with pytest.raises(DeploymentFailed, match="not mined"):
        deploy(pool.chain, rich, registrar=rich.address, bank=rich.address, timeout_s=0.1)
