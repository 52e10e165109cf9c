"""CPU time of a piece of work in this process, all its threads included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def cpu_ms(work: Callable[[], object], *, repeats: int, warm_up: int = 1) -> float:
    """Return the median CPU milliseconds of `work()`."""
    for _ in range(warm_up):
        work()
    return statistics.median(cpu_ms_of(work)[0] for _ in range(repeats))


def cpu_ms_of(work: Callable[[], Result]) -> tuple[float, Result]:
    """Run `work()` once; returns its CPU milliseconds and what it returned."""
    begin = time.process_time()
    result = work()
    return (time.process_time() - begin) * 1e3, result
