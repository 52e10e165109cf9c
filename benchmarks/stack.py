"""A market of real processes for the length of a benchmark: chain, exchange, holders; the buyer is this process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cli import processes
from cli.home import Home, state_root
from cli.market import Market, MarketPlan
from cli.output import Stages
from client.buyer import Buyer
from client.settings import ClientSettings
from client.types import Answer, Quote, Status
from ledger.types import Digest

BUYER = "buyer"


@dataclass(slots=True)
class Stack:
    """A running market and its buyer."""

    home: Home
    market: Market
    buyer: Buyer
    _asked: int = field(default=0)

    def quote(self, sql: str) -> Quote:
        """Quote a question. Each costs one micro-ρ less than the one before: the same plan would come for free."""
        rho_micro = self.market.policy.rho_per_request_micro - self._asked
        self._asked += 1
        return self.buyer.quote(self.market.policy.listing, sql, rho_micro=rho_micro)

    def answer(self, quote: Quote) -> Answer:
        """Submit, wait, fetch and verify."""
        return self.finish(self.buyer.submit(quote))

    def finish(self, request_id: Digest) -> Answer:
        """Wait for a request's answer, fetch it, and require that all of it verified."""
        self.buyer.wait(request_id)
        answer = self.buyer.fetch(request_id)
        if answer.verdict.status is not Status.VALID:
            raise AssertionError(f"the answer did not verify: {answer.verdict}")
        return answer

    def cpu_s(self) -> dict[str, float]:
        """Return user and system CPU seconds so far of every process, children included, this one as `buyer`."""
        return processes.cpu_seconds(self.home) | {BUYER: time.process_time()}


@contextmanager
def running(policy: str, files: Sequence[Path], *, block_time_s: float = 1.0) -> Iterator[Stack]:
    """Build a market over `files`, one holder each, and take it down and away at the end.

    It lives in a `SHUYAO_HOME` of its own, so the user's instances, and which is current, stay as they are.

    Args:
        policy: the listing's policy, YAML.
        files: Parquet, one a holder.
        block_time_s: of the chain.
    """
    shared = state_root()
    shared.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("SHUYAO_HOME")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=shared))
    (shared / "cache").mkdir(exist_ok=True)
    (folder / "cache").symlink_to(shared / "cache")
    os.environ["SHUYAO_HOME"] = str(folder)
    home = Home.create("market")
    try:
        path = folder / "policy.yaml"
        path.write_text(policy, encoding="utf8")
        print(f"benchmark: building a market of {len(files)} holders in {folder} …", file=sys.stderr)
        market = Market(home, MarketPlan(path, tuple(files), block_time_s), Stages(quiet=True))
        market.build()
        settings = ClientSettings(
            home=home.buyer,
            exchange_url=market.exchange_url,
            rpc_url=market.rpc_url,
            deployment=market.deployment,
            cache=home.cache,
        )
        with Buyer(settings, market.keys("buyer").signer) as buyer:
            yield Stack(home, market, buyer)
    finally:
        processes.stop_all(home)
        if before is None:
            del os.environ["SHUYAO_HOME"]
        else:
            os.environ["SHUYAO_HOME"] = before
        if os.environ.get("SHUYAO_BENCH_KEEP") is None:
            shutil.rmtree(folder, ignore_errors=True)
