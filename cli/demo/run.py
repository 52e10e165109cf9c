"""One demonstration, from nothing to a verified answer beside the plain one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cli.demo.costs import gas_by_step, transactions
from cli.demo.kinds import Demo, DemoTables
from cli.errors import CliError, named
from cli.home import Home
from cli.market import Market, MarketPlan
from cli.output import Stages
from cli.rho import rho_to_micro
from client.buyer import Buyer
from client.settings import ClientSettings
from client.types import Answer, Progress, Quote, Status
from client.verify import verify_receipt
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.types import Digest, RequestState, to_hex


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to demonstrate, and on which market.

    Attributes:
        demo: the kind's part.
        rho: to spend; the policy's for one request if None.
        block_time_s: of the development chain.
        exchange_database, holder_database: as in `MarketPlan`.
    """

    demo: Demo
    rho: str | None
    block_time_s: float
    exchange_database: str | None
    holder_database: str | None


def run(home: Home, plan: DemoPlan, stages: Stages) -> dict[str, Any]:
    """Build the market, ask, verify, compare; returns the report of `shuyao demo --json`."""
    with stages.stage("tables", "the holders' tables"):
        tables = plan.demo.tables(home)
    databases = (plan.exchange_database, plan.holder_database)
    shape = MarketPlan(tables.policy, tables.files, plan.block_time_s, *databases, names=tables.names)
    market = Market(home, shape, stages)
    market.build()
    home.make_current()
    settings = ClientSettings(
        home=home.buyer,
        exchange_url=market.exchange_url,
        rpc_url=market.rpc_url,
        deployment=market.deployment,
        cache=home.cache,
    )
    with Buyer(settings, market.keys("buyer").signer) as buyer:
        quote, answer = _ask(buyer, market, plan, stages)
    return _report(market, plan.demo, quote, answer, tables, stages)


def _ask(buyer: Buyer, market: Market, plan: DemoPlan, stages: Stages) -> tuple[Quote, Answer]:
    rho_micro = None if plan.rho is None else rho_to_micro(plan.rho)
    with named():
        with stages.stage("quote", "quote: plan, price, expected error"):
            quote = plan.demo.quote(buyer, market, rho_micro)
        with stages.stage("submit", "signed request"):
            request_id = buyer.submit(quote)
        _wait(buyer, request_id, stages)
        with stages.stage("fetch", "fetch, unmask, verify, receipt"):
            answer = buyer.fetch(request_id)
        with stages.stage("settle", "accept and settle"):
            buyer.accept(request_id)
            _await_settled(market, request_id)
    return quote, answer


def _await_settled(market: Market, request_id: bytes, timeout_s: float = 60) -> None:
    """Wait until the contract has paid everybody.

    Raises:
        CliError: not within the time.
    """
    ledger = Contracts(Chain(market.rpc_url), market.deployment).ledger
    end = time.monotonic() + timeout_s
    while ledger.state(request_id).state is not RequestState.SETTLED:
        if time.monotonic() > end:
            raise CliError(
                f"request {to_hex(request_id)} was accepted and not settled within {timeout_s:.0f} s"
            )
        time.sleep(0.1)


def _wait(buyer: Buyer, request_id: Digest, stages: Stages) -> None:
    last = time.perf_counter()

    def note(progress: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        stages.seconds[f"until {progress.state}"] = round(now - last, 3)
        last = now

    with stages.stage("answer", "holders approve, share, contribute, unmask"):
        buyer.wait(request_id, progress=note)


def _report(
    market: Market, demo: Demo, quote: Quote, answer: Answer, tables: DemoTables, stages: Stages
) -> dict[str, Any]:
    chain = Chain(market.rpc_url)
    with stages.stage("verify", "receipt verified from its file"):
        verdict = verify_receipt(answer.receipt_path.read_bytes(), chain, deployment=market.deployment)
    with stages.stage("plaintext", "in the clear, for comparison"):
        plain = demo.plaintext(market, tables, answer)
    costs = transactions(chain, market.deployment, answer.request_id)
    return {
        "verified": verdict.status is Status.VALID and answer.verdict.status is Status.VALID,
        "answer": {
            "columns": list(answer.columns),
            "rows": [list(row) for row in answer.rows],
            "error95": [list(row) for row in answer.error95],
        },
        "plaintext": {"columns": list(answer.columns), "rows": plain},
        "receipt": str(answer.receipt_path),
        "request_id": to_hex(answer.request_id),
        "listing": market.policy.listing,
        "kind": quote.plan.kind.value,
        "sql": demo.sql,
        "n": len(tables.files),
        "survivors": answer.survivors,
        "rho_micro": quote.rho_micro,
        "price_minor": quote.price_minor,
        "rpc": market.rpc_url,
        "exchange": market.exchange_url,
        "home": str(market.home.path),
        "verification": [step._asdict() for step in verdict.steps],
        "transactions": [{"step": c.step, "block": c.block, "gas": c.gas, "hash": c.tx_hash} for c in costs],
        "stages_s": stages.seconds,
        "gas": gas_by_step(costs),
    }
