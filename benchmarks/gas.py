"""What one request of three holders costs on the chain, from the open to the settlement."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import electricity, stack
from benchmarks.environment import machine
from benchmarks.report import Target, report
from cli.demo.costs import gas_by_step, transactions
from ledger.chain import Chain

ROWS = 2_000
LIMIT_GAS = 1_200_000
SETTLED = "settled"
SETTLE_TIMEOUT_S = 30.0


def run() -> dict[str, Any]:
    """Ask twice, settle, and add up the receipts of the second request: the first one fills slots for good."""
    env = machine()
    with (
        electricity.tables(ROWS) as files,
        stack.running(electricity.POLICY, files, block_time_s=0.2) as running,
    ):
        first, second = (_gas(running) for _ in range(2))
    figures = {"total_gas": second["total"], "first_request_gas": first["total"]}
    figures |= {f"{step}_gas": spent for step, spent in second.items() if step != "total"}
    method = {
        "request": f"{electricity.HOLDERS} holders, {electricity.CELLS} cells; the cells do not enter the gas",
        "counted": "every transaction with an event of the request: open to settled, the buyer's acceptance relayed",
        "first_request_gas": "the first request of a new market writes some slots for the first time",
    }
    return report(
        "gas", figures, {label: Target(at_most=LIMIT_GAS) for label in list(figures)[:2]}, env | method
    )


def _gas(running: stack.Stack) -> dict[str, int]:
    """Ask and settle once; returns the gas by step and in all."""
    answer = running.answer(running.quote(electricity.SQL))
    running.buyer.accept(answer.request_id)
    chain = Chain(running.market.rpc_url)
    end = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < end:
        spent = gas_by_step(transactions(chain, running.market.deployment, answer.request_id))
        if SETTLED in spent:
            return spent
        time.sleep(0.2)
    raise AssertionError(f"not settled within {SETTLE_TIMEOUT_S:g} s: {sorted(spent)}")
