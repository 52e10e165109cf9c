"""What `shuyao doctor` looks at. Each check says where, what, whether it is well, and the detail that helps."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli import chain_process, processes
from cli.errors import CliError
from cli.home import Home, read_json
from cli.market import is_healthy

FREE_BYTES_MIN = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    where: str
    what: str
    ok: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return asdict(self)


def environment_checks() -> list[Check]:
    """Look at the machine: Python, the chain's executable, disk."""
    found = [Check("machine", "python", sys.version_info >= (3, 11), sys.version.split()[0])]
    try:
        found.append(Check("machine", "anvil", True, str(chain_process.anvil_path())))
    except CliError as err:
        found.append(Check("machine", "anvil", False, str(err)))
    free = shutil.disk_usage(Path.cwd()).free
    found.append(Check("machine", "disk", free > FREE_BYTES_MIN, f"{free / 1e9:.1f} GB free"))
    return found


def instance_checks(home: Home) -> list[Check]:
    """Look at one instance: its processes, databases, keystores, chain state."""
    name = home.path.name
    return [
        *_process_checks(home, name),
        *_database_checks(home, name),
        *_keystore_checks(home, name),
        *_chain_checks(home, name),
    ]


def _process_checks(home: Home, name: str) -> list[Check]:
    rows = processes.listed(home)
    if not rows:
        return [Check(name, "processes", True, "stopped")]
    found = []
    for process in rows:
        handle = process.handle()
        if handle is None:
            found.append(
                Check(name, process.name, False, f"ended; see {home.logs / (process.name + '.log')}")
            )
        else:
            memory = handle.memory_info().rss / 1e6
            found.append(
                Check(
                    name,
                    process.name,
                    True,
                    f"pid {process.pid}, {memory:.0f} MB {process.url or ''}".rstrip(),
                )
            )
        if process.name == "exchange" and handle is not None and process.url:
            well = is_healthy(process.url)
            found.append(Check(name, "exchange health", well, f"{process.url}/healthz"))
    return found


def _database_checks(home: Home, name: str) -> list[Check]:
    found = []
    for path in sorted(home.path.rglob("*.db")):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as err:
            answer = str(err)
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        found.append(
            Check(name, str(path.relative_to(home.path)), answer == "ok", size if answer == "ok" else answer)
        )
    return found


def _keystore_checks(home: Home, name: str) -> list[Check]:
    found = []
    made = [path for path in sorted(home.passphrases.rglob("*")) if path.is_file()]
    for path in [*sorted(home.path.rglob("keystore.json")), *made]:
        open_to_others = bool(path.stat().st_mode & 0o077)
        detail = "others can read it: chmod 600" if open_to_others else "readable by its owner only"
        found.append(Check(name, str(path.relative_to(home.path)), not open_to_others, detail))
    return found


def _chain_checks(home: Home, name: str) -> list[Check]:
    if not home.chain.is_dir():
        return []
    state = home.chain / "state.json"
    copies = list(home.chain.glob("state.*.copy"))
    found = [Check(name, "chain state", state.exists() or bool(copies), f"{len(copies)} copies")]
    if home.deployment.exists():
        found.append(Check(name, "deployment", True, f"ledger {read_json(home.deployment)['ledger']}"))
    return found
