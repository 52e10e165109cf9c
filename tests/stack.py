"""A running market for tests: chain, exchange and three holders as processes of their own, and a buyer.

The fixture `stack` (tests/conftest.py) builds one for the whole run, with blocks of 0.2 s and small tables. Tests that use it
are put into one xdist group, so that one worker builds it once. A test may kill, stop and start any process by name; it leaves
all of them running (`Stack.heal`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import Engine

from cli import chain_process, processes
from cli.demo import tables
from cli.home import Home
from cli.market import CREDITS_MINOR, Market, MarketPlan, is_healthy
from cli.output import Stages
from client.buyer import Buyer
from client.settings import ClientSettings
from client.types import Answer, Quote
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine
from ledger.keystore import Keys
from ledger.names import line_id
from ledger.types import Address, Deployment, Digest, Event, Line, RequestState

BLOCK_TIME_S: Final = 0.2
ROWS: Final = 1000
WINDOWS: Final = {
    "approve": 60,
    "share": 60,
    "contribute": 80,
    "answer": 80,
}  # blocks: a restart fits into each
RHO_MICRO: Final = 10_000  # of one question; a line holds 50,000,000
LISTING: Final = "electricity"
ANVIL: Final = "anvil"  # the chain's own process, a child of the keeper, which is called "chain"


def wait_until(ready: Callable[[], Any], what: str, *, timeout_s: float = 60, poll_s: float = 0.02) -> Any:
    """Return the first true value of `ready()`; fail after the time, saying what was waited for."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(poll_s)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


@dataclass(slots=True)
class Stack:
    """The handles of one running market."""

    market: Market
    buyer: Buyer
    contracts: Contracts  # for reading
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _engines: dict[str, Engine] = field(default_factory=dict)

    @classmethod
    def build(cls, home: Home, plan: MarketPlan) -> Stack:
        """Start every process of a market in `home`; whoever builds also calls `close`."""
        market = Market(home, plan, Stages(quiet=True))
        try:
            market.build()
            settings = ClientSettings(
                home=home.buyer,
                exchange_url=market.exchange_url,
                rpc_url=market.rpc_url,
                deployment=market.deployment,
                cache=home.cache,
                poll_s=0.1,
            )
            contracts = Contracts(Chain(market.rpc_url), market.deployment)
            return cls(market, Buyer(settings, market.keys("buyer").signer), contracts)
        except BaseException:
            processes.stop_all(home)
            raise

    def close(self) -> None:
        """Stop every process and close every database."""
        self.buyer.close()
        self.contracts.chain.close()
        for engine in self._engines.values():
            engine.dispose()
        processes.stop_all(self.home)

    # --- where everything is ------------------------------------------------------------------------------

    @property
    def home(self) -> Home:
        """The instance's folder."""
        return self.market.home

    @property
    def rpc_url(self) -> str:
        """The chain's JSON-RPC address; a restarted chain keeps it."""
        return self.market.rpc_url

    @property
    def exchange_url(self) -> str:
        """The exchange's address; a restarted exchange keeps it."""
        return self.market.exchange_url

    @property
    def deployment(self) -> Deployment:
        """The contracts."""
        return self.market.deployment

    def keys(self, who: str) -> Keys:
        """The keys of `exchange`, `buyer`, `holders/1`, `registrar`, `bank`, …"""
        return self.market.keys(who)

    def address(self, who: str) -> Address:
        """The account of a party."""
        return self.keys(who).signer.address

    @property
    def numbers(self) -> range:
        """The holders' numbers, from 1."""
        return range(1, len(self.market.holders) + 1)

    def log(self, name: str) -> str:
        """The last lines of a process's log."""
        return processes.log_tail(self.home.logs / f"{name}.log", 40)

    def exchange_engine(self) -> Engine:
        """The exchange's own database."""
        url = self.market.plan.exchange_database or f"sqlite:///{self.home.exchange / 'exchange.db'}"
        return self._engine(url)

    def holder_engine(self, number: int) -> Engine:
        """A holder's own database."""
        url = self.market.plan.holder_database
        file = f"sqlite:///{self.home.holder(number) / 'holder.db'}"
        return self._engine(url.format(number=number) if url else file)

    def _engine(self, url: str) -> Engine:
        if url not in self._engines:
            self._engines[url] = make_engine(url)
        return self._engines[url]

    # --- processes: "chain" (the keeper), "anvil", "exchange", "holder-1", … -----------------------------------

    def anvil(self) -> psutil.Process | None:
        """The chain's own process, below its keeper."""
        keeper = processes.find(self.home, "chain")
        handle = keeper.handle() if keeper else None
        with suppress(psutil.NoSuchProcess):
            return next(iter(handle.children()), None) if handle else None
        return None

    def kill(self, name: str) -> None:
        """`kill -9` one process. Killing `chain`, the keeper, takes anvil with it; killing `anvil` leaves the keeper to start it again."""
        child = self.anvil()
        if name == ANVIL:
            assert child is not None, "anvil does not run"
            _kill(child)
            return
        _kill(self._handle(name))
        if name == "chain" and child is not None:
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                child.wait(5)
            assert not child.is_running(), "anvil outlived its keeper"

    def _handle(self, name: str) -> psutil.Process:
        found = processes.find(self.home, name)
        handle = found.handle() if found else None
        assert handle is not None, f"{name} does not run"
        return handle

    @property
    def names(self) -> list[str]:
        """The names of the processes on record; anvil is below `chain`."""
        return [process.name for process in processes.listed(self.home)]

    def start(self, name: str) -> None:
        """Start a process that ended, with the words of its first start, and wait until it is ready."""
        self.start_all([name])

    def start_all(self, names: list[str]) -> None:
        """Start several processes at once."""
        for ready in [self._spawn(name) for name in names]:
            ready()

    def _spawn(self, name: str) -> Callable[[], object]:
        """Start one process and return what waits until it is ready."""
        if name == ANVIL:
            return lambda: wait_until(self.chain_answers, "anvil, started again by its keeper")
        before = next(p for p in processes.listed(self.home) if p.name == name)
        marker = self.home.holder(int(name.split("-")[1])) / "ready" if name.startswith("holder-") else None
        if marker is not None:
            marker.unlink(missing_ok=True)
        process = processes.spawn(self.home, name, before.argv, url=before.url)
        ready = {"exchange": lambda: is_healthy(self.exchange_url), "chain": self.chain_answers}
        return lambda: processes.wait_ready(self.home, process, marker.exists if marker else ready[name])

    def restart(self, name: str) -> None:
        """Kill and start again."""
        self.kill(name)
        self.start(name)

    def heal(self) -> None:
        """Start whatever does not run."""
        self.start_all([p.name for p in processes.listed(self.home) if p.handle() is None])
        wait_until(self.chain_answers, "the chain")

    def chain_answers(self) -> bool:
        """Whether the chain's node answers."""
        return chain_process.answers(self.rpc_url)

    # --- questions ------------------------------------------------------------------------------------------

    def fresh_sql(self) -> str:
        """A question that nobody asked before: the same one again would be answered from the first."""
        return f"SELECT COUNT(*) AS n FROM {LISTING} WHERE kwh >= {next(self._numbers)}"

    def quote(self, sql: str | None = None, *, rho_micro: int = RHO_MICRO) -> Quote:
        """Ask the buyer's library for a quote, of a question of its own if none is given."""
        purpose = self.market.policy.purposes[0]
        return self.buyer.quote(LISTING, sql or self.fresh_sql(), purpose=purpose, rho_micro=rho_micro)

    def submit(self, sql: str | None = None) -> Digest:
        """Quote and hand in a question."""
        return self.buyer.submit(self.quote(sql))

    def ask(self, sql: str | None = None, *, timeout_s: float = 60) -> Answer:
        """Ask, wait, fetch and verify."""
        request_id = self.submit(sql)
        self.buyer.wait(request_id, timeout_s=timeout_s)
        return self.buyer.fetch(request_id)

    # --- the state of things ---------------------------------------------------------------------------------

    def events(self, request_id: Digest) -> list[Event]:
        """A request's events on the chain, in its order."""
        chain = self.contracts.chain
        logs = chain.logs(self.contracts.addresses, self.deployment.block, chain.block_number())
        events = (self.contracts.decode_log(log) for log in logs)
        return [
            each for each in events if each is not None and getattr(each, "request_id", None) == request_id
        ]

    def state(self, request_id: Digest) -> RequestState:
        """The contract's state of a request."""
        return self.contracts.ledger.state(request_id).state

    def line(self, number: int) -> Line:
        """A holder's budget line, as the contract has it."""
        return self.contracts.ledger.line(self.line_id(number))

    def line_id(self, number: int) -> Digest:
        """The id of a holder's budget line."""
        return line_id(self.address(f"holders/{number}"), LISTING)

    def balance(self, account: Address) -> int:
        """An account's credits."""
        return self.contracts.settlement.balance_of(account)

    def credits(self) -> int:
        """All credits there are: everybody's, with the escrows and bonds that the contract holds. Never changes."""
        accounts = {self.address(who) for who in self.market.parties} | {self.deployment.settlement}
        return sum(self.balance(account) for account in accounts)


MINTED_MINOR: Final = 2 * CREDITS_MINOR  # to buyer and broker


def small_plan(home: Home, **changes: Any) -> MarketPlan:
    """Return the plan of the tests' market: three holders with small tables, fast blocks, windows for restarts."""
    policy, files = tables.electricity(home, holders=tables.HOLDERS, rows=ROWS)
    return MarketPlan(policy, files, **{"block_time_s": BLOCK_TIME_S, "windows": dict(WINDOWS), **changes})


def make_home(folder: Path, name: str) -> Home:
    """Make an instance below a temporary folder."""
    home = Home(folder / name)
    for each in (home.path, home.logs, home.passphrases, home.cache):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
        with suppress(psutil.TimeoutExpired):
            process.wait(10)
