"""Keeps a development chain alive: anvil, with rotating copies of its state.

anvil writes its state file in place, so a kill in the middle of a dump leaves a file that it refuses to load, and a kill between dumps
loses the last blocks. A dump made while a block is mined has the accounts after it and the transactions before it. The keeper copies
every complete dump aside, starts anvil again when it dies, and loads the newest state that is whole and of one moment. What the chain
forgot is sent again by those who sent it first.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

COPIES = 3
COPY_INTERVAL_S = 2.0
STATES_KEPT = "16"  # with the newest alone, a call of `latest` fails when a block is mined while it runs
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """How to run the development chain."""

    folder: Path
    anvil: Path
    port: int
    block_time_s: float
    chain_id: int = 31337


class Keeper:
    """One anvil process and the copies of its state."""

    def __init__(self, settings: ChainSettings) -> None:
        self._settings = settings
        self._state = settings.folder / "state.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._copied = 0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        while not self._stopping:
            self._restore()
            self._child = self._start()
            while self._child.poll() is None:
                self._copy_if_whole()
                self._nap()
            if not self._stopping:
                sys.stderr.write(f"anvil ended with code {self._child.returncode}; starting it again\n")
        return 0

    def _nap(self) -> None:
        assert self._child is not None
        try:
            self._child.wait(timeout=COPY_INTERVAL_S)
        except subprocess.TimeoutExpired:
            return

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def _start(self) -> subprocess.Popen[bytes]:
        settings = self._settings
        return subprocess.Popen(
            [
                *(str(settings.anvil), "--host", "127.0.0.1", "--port", str(settings.port)),
                *("--chain-id", str(settings.chain_id), "--block-time", str(settings.block_time_s)),
                *("--accounts", "1", "--balance", "0", "--mnemonic-random", "12"),
                *("--prune-history", STATES_KEPT, "--silent", "--hardfork", "prague"),
                *("--state", str(self._state), "--state-interval", "1"),
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=False,
            preexec_fn=_ends_with_keeper(),
        )

    def _copies(self) -> list[Path]:
        return sorted(
            self._settings.folder.glob("state.*.copy"), key=lambda p: p.stat().st_mtime_ns, reverse=True
        )

    def _restore(self) -> None:
        """Put the newest whole state in place; one that is torn is kept aside for a look."""
        for is_usable in (_is_consistent, _is_json):
            for candidate in [self._state, *self._copies()]:
                if candidate.exists() and is_usable(candidate):
                    if candidate != self._state:
                        if self._state.exists():
                            self._state.replace(self._state.with_name("state.torn"))
                        shutil.copy2(candidate, self._state)
                    return
        if self._state.exists():
            self._state.replace(self._state.with_name("state.torn"))

    def _copy_if_whole(self) -> None:
        try:
            before = self._state.stat()
            if before.st_mtime_ns == self._copied or before.st_size == 0:
                return
            scratch = self._settings.folder / "scratch"
            shutil.copyfile(self._state, scratch)
            after = self._state.stat()
        except FileNotFoundError:
            return
        if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size) or not _ends_like_json(
            scratch
        ):
            return
        scratch.replace(self._settings.folder / f"state.{before.st_mtime_ns}.copy")
        self._copied = before.st_mtime_ns
        for old in self._copies()[COPIES:]:
            old.unlink(missing_ok=True)


def _ends_with_keeper() -> Callable[[], object] | None:
    """Return what has the kernel end anvil when the keeper is killed: left alone, it would hold the port against the next one."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ends_like_json(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16))
        return file.read().rstrip().endswith(b"}")


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _is_consistent(path: Path) -> bool:
    """Say whether blocks, transactions and accounts of a dump are of one moment.

    anvil reads them one after the other: a block that is mined meanwhile leaves effects without their transactions, or
    transactions without their block, and so without logs. Nobody would ever find them. Every transaction is in a block, and raises
    its sender's nonce by one, which shows both.
    """
    try:
        state = json.loads(path.read_bytes())
        mined = sum(len(block["transactions"]) for block in state["blocks"])
        if mined != len(state["transactions"]):
            return False
        sent = Counter(each["info"]["from"] for each in state["transactions"])
        users = {a: account["nonce"] for a, account in state["accounts"].items() if account["code"] == "0x"}
    except (ValueError, LookupError, TypeError):
        return False
    return all(nonce == sent[account] for account, nonce in users.items())
