"""How long a buyer waits for a verified answer with blocks of one second, and twenty requests at once."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import electricity, stack
from benchmarks.environment import machine
from benchmarks.report import Target, report

ROWS = 100_000
REPEATS = 5
IN_FLIGHT = 20
LIMIT_S = 8.0


def run() -> dict[str, Any]:
    """Ask one after the other, then all at once."""
    env = machine(("duckdb", "dbos", "httpx"))
    with (
        electricity.tables(ROWS) as files,
        stack.running(electricity.POLICY, files, block_time_s=1.0) as running,
    ):
        alone = [_seconds(running) for _ in range(1 + REPEATS)][1:]
        quotes = [running.quote(electricity.SQL) for _ in range(IN_FLIGHT)]
        begin = time.perf_counter()
        submitted = [running.buyer.submit(quote) for quote in quotes]
        submitted_s = time.perf_counter() - begin
        finished = len([running.finish(request_id) for request_id in submitted])
        together_s = time.perf_counter() - begin
    figures = {
        "submit_to_verified_s": statistics.median(alone),
        "slowest_s": max(alone),
        "in_flight_finished": finished,
        "in_flight_submitted_s": submitted_s,
        "in_flight_all_s": together_s,
    }
    targets = {
        "submit_to_verified_s": Target(at_most=LIMIT_S),
        "in_flight_finished": Target(at_least=IN_FLIGHT),
    }
    method = {
        "rows": f"{electricity.HOLDERS} holders × {ROWS} rows, {electricity.CELLS} cells",
        "blocks": "1 s, 0 confirmations",
        "submit_to_verified_s": f"wall clock, median of {REPEATS} requests after a first one",
        "in flight": f"{IN_FLIGHT} requests of one buyer submitted one after the other, none waited for before",
    }
    return report("latency", figures, targets, env | method)


def _seconds(running: stack.Stack) -> float:
    quote = running.quote(electricity.SQL)
    begin = time.perf_counter()
    running.answer(quote)
    return time.perf_counter() - begin
