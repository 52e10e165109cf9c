"""Taking a development chain back to an older copy of its state, as a crash without a fresh dump does."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from ledger.errors import ChainError
from tests.stack import Stack, wait_until


def fresh_copy(stack: Stack, target: Path) -> int:
    """Wait for a whole copy of the present state, keep it at `target`, and return a block number that it does not have yet."""
    since = time.time_ns()
    folder = stack.home.chain

    def made() -> Path | None:
        with suppress(FileNotFoundError):
            newer = [p for p in folder.glob("state.*.copy") if p.stat().st_mtime_ns > since]
            return max(newer, key=lambda p: p.stat().st_mtime_ns, default=None)
        return None

    shutil.copyfile(wait_until(made, "a copy of the chain's state"), target)
    return stack.contracts.chain.block_number() + 1


def go_back(stack: Stack, copy: Path) -> tuple[int, int]:
    """Kill keeper and anvil, put an older state in place, start both; return the heads before and after."""
    before = stack.contracts.chain.block_number()
    stack.kill("chain")
    shutil.copyfile(copy, stack.home.chain / "state.json")
    stack.start("chain")

    def head() -> int:
        with suppress(ChainError):
            return stack.contracts.chain.block_number()
        return 0

    return before, wait_until(head, "the chain")
