"""Starting, finding and stopping the processes of an instance.

A process is known by its number and its start time together, so a recycled process number is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cli.errors import ProcessFailed
from cli.home import Home, read_json, repository_root, write_json


@dataclass(frozen=True, slots=True)
class Process:
    """One process of an instance: `started` is its start time in seconds since the epoch."""

    name: str
    pid: int
    started: float
    argv: list[str]
    url: str | None = None

    def handle(self) -> psutil.Process | None:
        """Return the live process, or None if it ended (or its number now belongs to another)."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def free_port() -> int:
    """Return a TCP port on the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listed(home: Home) -> list[Process]:
    """Return the processes that the instance has on record, alive or not."""
    return [Process(**row) for row in read_json(home.processes)] if home.processes.exists() else []


def find(home: Home, name: str) -> Process | None:
    """Return the live process called `name`."""
    return next((p for p in listed(home) if p.name == name and p.handle()), None)


def python_argv(*words: str) -> list[str]:
    """Return the command that runs a sub-command of ours in a process of its own."""
    return [sys.executable, "-m", "cli", *words]


def spawn(home: Home, name: str, argv: Sequence[str], *, url: str | None = None) -> Process:
    """Start a process in a session of its own, its output in the instance's logs, and put it on record."""
    environment = {**os.environ, "PYTHONPATH": str(repository_root()), "SHUYAO_ROOT": str(repository_root())}
    with (home.logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            cwd=home.path,
        )
    process = Process(name, child.pid, psutil.Process(child.pid).create_time(), list(argv), url)
    others = [p for p in listed(home) if p.name != name]
    write_json(home.processes, [asdict(p) for p in [*others, process]])
    return process


def wait_ready(home: Home, process: Process, ready: Callable[[], bool], *, timeout_s: float = 60) -> None:
    """Wait until `ready()` holds.

    Raises:
        ProcessFailed: the process ended, or the time is up; the message carries the log's last lines.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if ready():
            return
        if process.handle() is None:
            raise ProcessFailed(
                f"{process.name} ended while starting:\n{log_tail(home.logs / f'{process.name}.log')}"
            )
        time.sleep(0.05)
    raise ProcessFailed(
        f"{process.name} was not ready after {timeout_s:.0f} s:\n{log_tail(home.logs / f'{process.name}.log')}"
    )


def log_tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or a note that it is absent."""
    if not path.is_file():
        return f"({path} is absent)"
    return "\n".join(path.read_text(encoding="utf8", errors="replace").splitlines()[-lines:])


def stop_all(home: Home, *, timeout_s: float = 10) -> list[str]:
    """Stop the instance's processes, first those started last; returns the names of those that were alive."""
    stopped = []
    for process in reversed(listed(home)):
        handle = process.handle()
        if handle is None:
            continue
        stopped.append(process.name)
        with contextlib.suppress(psutil.NoSuchProcess):
            children = handle.children(recursive=True)
            handle.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs([handle], timeout=timeout_s)
            for straggler in [*alive, *(c for c in children if c.is_running())]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    straggler.kill()
    write_json(home.processes, [])
    return stopped


def cpu_seconds(home: Home) -> dict[str, float]:
    """Return user plus system CPU seconds so far of each live process of the instance, children included."""
    total = {}
    for process in listed(home):
        handle = process.handle()
        if handle is None:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            times = [handle.cpu_times(), *(child.cpu_times() for child in handle.children(recursive=True))]
            total[process.name] = sum(t.user + t.system for t in times)
    return total
