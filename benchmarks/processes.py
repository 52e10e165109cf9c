"""One piece of work in a process of its own, on chosen cores, with the memory of it and its children watched."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from cli.errors import CliError

_SAMPLED_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Watched:
    """What a piece of work returned and cost.

    Attributes:
        result: what it returned.
        seconds: wall clock of the work alone, without starting the process.
        cpu_s: user and system time of the process and its children meanwhile.
        peak_mb: the largest sum of resident memory of process and children that was seen, in MB of 10^6 bytes; shared pages count
            once for each process.
    """

    result: Any
    seconds: float
    cpu_s: float
    peak_mb: float


def two_cores() -> set[int]:
    """Return two cores that this process may use.

    Raises:
        CliError: it may use fewer.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CliError("two cores are needed")
    return set(cores[-2:])


def watched(work: Callable[..., Any], arguments: Sequence[Any], *, cores: set[int]) -> Watched:
    """Run `work(*arguments)` in a new process and wait for it.

    Args:
        work: a function of a module; what it takes and returns can be pickled.
        arguments: for it.
        cores: that process and children may use; sampling their memory is done by the caller's.

    Raises:
        CliError: the process ended without an answer; its error is above.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, tuple(arguments), cores))
    process.start()
    sender.close()
    peak = 0
    try:
        while not receiver.poll(_SAMPLED_EVERY_S):
            peak = max(peak, _resident(process.pid))
        result, seconds, cpu_s = receiver.recv()
    except EOFError as err:
        raise CliError("a process of the benchmark ended before its work was done") from err
    finally:
        process.join()
    return Watched(result, seconds, cpu_s, peak / 1e6)


def _work(out: Connection, work: Callable[..., Any], arguments: tuple[Any, ...], cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    begin, before = time.perf_counter(), _cpu_s()
    result = work(*arguments)
    out.send((result, time.perf_counter() - begin, _cpu_s() - before))


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _resident(pid: int | None) -> int:
    """Return the bytes of resident memory of a process and its children; none if it has ended."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total
