"""The chain through its JSON-RPC node: typed reads, sending, and what is demanded of the node.

The library web3 is left out on purpose: importing it costs more CPU than a whole request takes, and a
dozen methods are needed. The codec of calls and events is in `ledger.abi`, the transport in
`ledger.rpc`.

Source: Ethereum JSON-RPC specification; EIP-1474; EIP-1559; EIP-2537.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from ledger.encoding import keccak
from ledger.errors import (
    CallReverted,
    ChainError,
    ChainMismatch,
    ChainRefused,
    ChainTooOld,
    ChainUnreachable,
)
from ledger.rpc import JsonRpc, RpcCall
from ledger.types import Address, to_hex

G1MSM: Final = Address((0x0C).to_bytes(20, "big"))  # EIP-2537
_G1_GENERATOR: Final = bytes.fromhex(
    "0" * 32
    + "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    + "0" * 32
    + "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
)
_PRIORITY_FEE: Final = 1_000_000_000  # wei, where the node names none
_KNOWN: Final = ("already known", "already imported", "known transaction", "alreadyknown")
_USED: Final = ("nonce too low", "nonce_too_low", "oldnonce")


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's place in the chain. `timestamp` is Unix seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class RawLog:
    """One log as the node gave it."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """A mined transaction. `status` is 1 when it took effect and 0 when it reverted."""

    tx_hash: bytes
    block: int
    block_hash: bytes
    status: int
    gas_used: int
    contract_address: Address | None


class Chain:
    """A JSON-RPC client for one node. Safe to share between threads.

    `request` and `batch` are those of `ledger.rpc.JsonRpc`.

    Args:
        rpc_url: http or https.
        timeout_s: for one round trip.

    Raises:
        ChainUnreachable: the address is none; from each method, when there is no usable answer.
    """

    def __init__(self, rpc_url: str, *, timeout_s: float = 10) -> None:
        self._rpc = JsonRpc(rpc_url, timeout_s=timeout_s)
        self.request = self._rpc.request
        self.batch = self._rpc.batch
        self.close = self._rpc.close

    def __enter__(self) -> Chain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- reading -----------------------------------------------------------------------------------------

    def chain_id(self) -> int:
        """Return the chain id."""
        return quantity(self.request("eth_chainId"))

    def block_number(self) -> int:
        """Return the number of the newest block."""
        return quantity(self.request("eth_blockNumber"))

    def block(self, number: int | str) -> BlockRef | None:
        """Return a block by number or tag, None when the chain has none there."""
        return parse_block(self.request(*_flat(block_call(number))))

    def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Any] | None = None,
    ) -> list[RawLog]:
        """Return the logs of some contracts from one block to another, both included, in order."""
        return parse_logs(self.request(*_flat(logs_call(addresses, from_block, to_block, topics))))

    def call(
        self, to: Address, data: bytes, block: int | str | None = None, sender: Address | None = None
    ) -> bytes:
        """Run a call without a transaction and return its bytes.

        Raises:
            CallReverted: with the revert data.
        """
        return data_bytes(self.request("eth_call", _tx_object(to, data, 0, sender), _tag(block)))

    def receipt(self, tx_hash: bytes) -> TxReceipt | None:
        """Return a mined transaction's receipt, None while there is none."""
        return parse_receipt(self.request(*_flat(receipt_call(tx_hash))))

    def transaction_count(self, address: Address, block: int | str = "latest") -> int:
        """Return the account's next nonce."""
        return quantity(self.request("eth_getTransactionCount", to_hex(address), _tag(block)))

    def balance(self, address: Address) -> int:
        """Return the account's balance in wei."""
        return quantity(self.request("eth_getBalance", to_hex(address), "latest"))

    def code(self, address: Address) -> bytes:
        """Return the code at an address, empty when there is none."""
        return data_bytes(self.request("eth_getCode", to_hex(address), "latest"))

    def fees(self) -> tuple[int, int]:
        """Return (max fee, priority fee) per gas in wei, with room for a doubled base fee (EIP-1559)."""
        return parse_fees(*self.batch(fee_calls()))

    # --- writing -----------------------------------------------------------------------------------------

    def send_raw(self, raw: bytes) -> bytes:
        """Hand a signed transaction to the node; one that it knows already is no error.

        Returns:
            The transaction's hash.
        """
        try:
            data_bytes(self.request(*_flat(send_call(raw))))
        except ChainRefused as err:
            if not is_known(err):
                raise
        return keccak(raw)

    # --- demands -----------------------------------------------------------------------------------------

    def require_chain(self, chain_id: int) -> None:
        """Require that the node serves this chain.

        Raises:
            ChainMismatch: it serves another.
        """
        if (actual := self.chain_id()) != chain_id:
            raise ChainMismatch(f"expected chain {chain_id}, the node serves {actual}")

    def require_code(self, address: Address, name: str) -> None:
        """Require that there is a contract at an address.

        Raises:
            ChainMismatch: there is none, so the chain was reset or is another one.
        """
        if not self.code(address):
            raise ChainMismatch(f"expected the contract {name} at {to_hex(address)}, found no code")

    def require_precompiles(self) -> None:
        """Require BLS12-381 on the chain, by one G1MSM of one point.

        An absent precompile "succeeds" with no bytes, so the returned point is compared.

        Raises:
            ChainTooOld: the chain is older than the Prague hard fork.
        """
        try:
            returned = self.call(G1MSM, _G1_GENERATOR + (1).to_bytes(32, "big"))
        except (CallReverted, ChainRefused) as err:
            raise ChainTooOld("expected the precompile G1MSM of EIP-2537, the node refuses the call") from err
        if returned != _G1_GENERATOR:
            raise ChainTooOld(
                f"expected 128 bytes from the precompile G1MSM of EIP-2537, got {len(returned)}: "
                "the chain must run the Prague hard fork or later"
            )


# --- call objects and answers, for batches ---------------------------------------------------------------


def block_call(number: int | str) -> RpcCall:
    """Return the batch entry that reads a block header."""
    return "eth_getBlockByNumber", [_tag(number), False]


def logs_call(
    addresses: Sequence[Address], from_block: int, to_block: int, topics: Sequence[Any] | None = None
) -> RpcCall:
    """Return the batch entry that reads logs."""
    wanted: dict[str, Any] = {
        "address": [to_hex(address) for address in addresses],
        "fromBlock": hex(from_block),
        "toBlock": hex(to_block),
    }
    if topics is not None:
        wanted["topics"] = list(topics)
    return "eth_getLogs", [wanted]


def receipt_call(tx_hash: bytes) -> RpcCall:
    """Return the batch entry that reads a receipt."""
    return "eth_getTransactionReceipt", [to_hex(tx_hash)]


def estimate_call(to: Address, data: bytes, sender: Address, value: int = 0) -> RpcCall:
    """Return the batch entry that estimates a transaction's gas."""
    return "eth_estimateGas", [_tx_object(to, data, value, sender)]


def send_call(raw: bytes) -> RpcCall:
    """Return the batch entry that sends a signed transaction."""
    return "eth_sendRawTransaction", [to_hex(raw)]


def fee_calls() -> list[RpcCall]:
    """Return the two batch entries whose answers `parse_fees` reads."""
    return [block_call("latest"), ("eth_maxPriorityFeePerGas", [])]


def parse_fees(block: Any, tip: Any) -> tuple[int, int]:
    """Read (max fee, priority fee) per gas in wei from the answers to `fee_calls`.

    Raises:
        ChainError: the block could not be read.
    """
    if isinstance(block, ChainError):
        raise block
    priority = _PRIORITY_FEE if isinstance(tip, ChainError) else quantity(tip)
    return 2 * quantity(_mapping(block).get("baseFeePerGas", "0x0")) + priority, priority


def parse_block(answer: Any) -> BlockRef | None:
    """Read a block header.

    Raises:
        ChainUnreachable: it has another shape.
    """
    if answer is None:
        return None
    block = _mapping(answer)
    return BlockRef(
        number=quantity(block.get("number")),
        hash=data_bytes(block.get("hash"), 32),
        parent_hash=data_bytes(block.get("parentHash"), 32),
        timestamp=quantity(block.get("timestamp")),
    )


def parse_logs(answer: Any) -> list[RawLog]:
    """Read a list of logs, in the chain's order.

    Raises:
        ChainUnreachable: it has another shape.
    """
    if not isinstance(answer, list):
        raise ChainUnreachable("expected a list of logs")
    logs = [_log(_mapping(log)) for log in answer if not _mapping(log).get("removed", False)]
    return sorted(logs, key=lambda log: (log.block, log.log_index))


def parse_receipt(answer: Any) -> TxReceipt | None:
    """Read a receipt.

    Raises:
        ChainUnreachable: it has another shape.
    """
    if answer is None or _mapping(answer).get("blockNumber") is None:
        return None
    receipt = _mapping(answer)
    created = receipt.get("contractAddress")
    return TxReceipt(
        tx_hash=data_bytes(receipt.get("transactionHash"), 32),
        block=quantity(receipt.get("blockNumber")),
        block_hash=data_bytes(receipt.get("blockHash"), 32),
        status=quantity(receipt.get("status")),
        gas_used=quantity(receipt.get("gasUsed")),
        contract_address=None if created is None else Address(data_bytes(created, 20)),
    )


def quantity(value: Any) -> int:
    """Read a JSON-RPC quantity.

    Raises:
        ChainUnreachable: it is none.
    """
    try:
        if isinstance(value, str) and value.startswith("0x") and len(value) <= 66:
            return int(value, 16)
    except ValueError:
        pass
    raise ChainUnreachable(f"expected a hex quantity, got {type(value).__name__}")


def data_bytes(value: Any, length: int | None = None) -> bytes:
    """Read JSON-RPC data.

    Raises:
        ChainUnreachable: it is none, or of another length.
    """
    try:
        if isinstance(value, str) and value.startswith("0x"):
            data = bytes.fromhex(value[2:])
            if length is None or len(data) == length:
                return data
    except ValueError:
        pass
    raise ChainUnreachable(f"expected hex data, got {type(value).__name__}")


def is_known(error: ChainRefused) -> bool:
    """Say whether the node refused a transaction because it has it already."""
    return any(words in error.reason.lower() for words in _KNOWN)


def is_used(error: ChainRefused) -> bool:
    """Say whether the node refused a transaction because its nonce is used already."""
    return any(words in error.reason.lower() for words in _USED)


def _flat(call: RpcCall) -> list[Any]:
    return [call[0], *call[1]]


def _tag(block: int | str | None) -> str:
    if block is None:
        return "latest"
    return hex(block) if isinstance(block, int) else block


def _tx_object(to: Address, data: bytes, value: int, sender: Address | None) -> dict[str, str]:
    call = {"to": to_hex(to), "data": to_hex(data)}
    if sender is not None:
        call["from"] = to_hex(sender)
    if value:
        call["value"] = hex(value)
    return call


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ChainUnreachable(f"expected a JSON object, got {type(value).__name__}")
    return value


def _log(log: dict[str, Any]) -> RawLog:
    topics = log.get("topics")
    if not isinstance(topics, list):
        raise ChainUnreachable("expected the topics of a log")
    return RawLog(
        address=Address(data_bytes(log.get("address"), 20)),
        topics=tuple(data_bytes(topic, 32) for topic in topics),
        data=data_bytes(log.get("data")),
        block=quantity(log.get("blockNumber")),
        block_hash=data_bytes(log.get("blockHash"), 32),
        tx_hash=data_bytes(log.get("transactionHash"), 32),
        log_index=quantity(log.get("logIndex")),
    )
