"""Peak memory of one holder with ten million rows: registration, and a node answering under the row cap."""

from __future__ import annotations

import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import readings, stack
from benchmarks.environment import machine
from benchmarks.report import Target, report
from cli import processes

ROWS = 10_000_000
LIMIT_MB = 500.0
HOLDER = "holder-1"


def run() -> dict[str, Any]:
    """Register the table in this process, then ask the holder's own process twice."""
    env = machine(("duckdb", "pyarrow", "numpy"))
    with tempfile.TemporaryDirectory(prefix="shuyao-bench-") as folder:
        path = Path(folder) / "readings.parquet"
        writer = get_context("spawn").Process(target=readings.write, args=(path, ROWS))
        writer.start()
        writer.join()
        clear_peak("self")
        begin = time.perf_counter()
        with stack.running(readings.POLICY, [path]) as running:
            built_s = time.perf_counter() - begin
            registration_mb = peak_mb("self")
            node = processes.find(running.home, HOLDER)
            assert node is not None
            idle_mb = peak_mb(str(node.pid))
            begin = time.perf_counter()
            for _ in range(2):
                running.answer(running.quote(readings.SQL))
            asked_s = (time.perf_counter() - begin) / 2
            node_mb = peak_mb(str(node.pid))
    figures = {
        "holder_peak_mb": node_mb,
        "registration_peak_mb": registration_mb,
        "holder_idle_mb": idle_mb,
        "market_built_s": built_s,
        "request_s": asked_s,
    }
    limit = Target(at_most=LIMIT_MB)
    method = {
        "rows": ROWS,
        "units": f"{ROWS // readings.ROWS_PER_UNIT} customers at most, more than a third of them over the cap",
        "row cap": f"{readings.ROWS_PER_UNIT} rows a customer, not proved at registration: enforced in the query",
        "question": readings.SQL,
        "peak": "VmHWM of the process in MB of 10^6 bytes; registration is measured in the benchmark's process, "
        "its own imports included, and builds the whole market",
    }
    targets = {"holder_peak_mb": limit, "registration_peak_mb": limit}
    return report("memory", figures, targets, env | method)


def clear_peak(pid: str) -> None:
    """Set a process's peak to what it uses now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mb(pid: str) -> float:
    """Return the most resident memory that a process ever had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kib * 1024 / 1e6
