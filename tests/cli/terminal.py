"""Commands at a terminal, where they may ask."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def at_terminal(
    words: Sequence[object], answers: Sequence[str], *, timeout_s: float = 60
) -> tuple[int, list[str]]:
    """Run a command of ours at a terminal, and type an answer whenever it asks.

    Returns:
        Its exit code, and the questions that it asked.
    """
    argv = [sys.executable, "-m", "cli", *map(str, words)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, environment)
    end, seen, asked, left = time.monotonic() + timeout_s, b"", list[str](), list(answers)
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the command ended
            break
        seen += data
        if not data:
            break
        if seen.endswith(b": "):
            asked.append(seen.decode("utf8").replace("\r", "").split("\n")[-1].strip())
            assert left, f"asked once more: {asked}"
            seen = b""
            os.write(terminal, left.pop(0).encode("utf8") + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), asked
