"""What a request cost on the chain: its transactions, found by its id in the contracts' events."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.types import Deployment, to_hex


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of a request."""

    step: str
    tx_hash: str
    block: int
    gas: int


def transactions(chain: Chain, deployment: Deployment, request_id: bytes) -> list[Transaction]:
    """Return the transactions of a request in the order of the chain, each with the gas of its receipt."""
    contracts = Contracts(chain, deployment)
    head = chain.block_number()
    logs = chain.logs([deployment.ledger], deployment.block, head, [None, to_hex(request_id)])
    found: dict[bytes, Transaction] = {}
    for log in logs:
        event = contracts.decode_log(log)
        if event is None or log.tx_hash in found:
            continue
        receipt = chain.receipt(log.tx_hash)
        if receipt is not None:
            step = type(event).__name__.lower()
            found[log.tx_hash] = Transaction(step, to_hex(log.tx_hash), log.block, receipt.gas_used)
    return sorted(found.values(), key=lambda t: t.block)


def gas_by_step(rows: list[Transaction]) -> dict[str, int]:
    """Return the gas of each step and their total."""
    gas: dict[str, int] = {}
    for row in rows:
        gas[row.step] = gas.get(row.step, 0) + row.gas
    return {**gas, "total": sum(gas.values())}
