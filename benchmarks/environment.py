"""Where a figure was measured: the machine, the versions, and the peers' own environments.

A peer that only a benchmark needs is installed by the benchmark, into an environment of its own below
`SHUYAO_HOME/cache/peers`, from a pinned and hashed list in `benchmarks/peers`; it never enters ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from cli.errors import CliError
from cli.home import state_root

PEERS = Path(__file__).with_name("peers")


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describe this machine, now, and the versions of the packages that a figure depends on."""
    described = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return described | {name: _version(name) for name in packages}


def _cpu_model() -> str:
    """Return the processor's name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def peer_environment(name: str, requirements: Path | None = None) -> Path:
    """Make, once, the environment of a peer and return its Python.

    Args:
        name: of the peer.
        requirements: pinned and hashed; by default `peers/<name>.txt`. A changed list is installed again.

    Raises:
        CliError: the installation failed, with the end of pip's words.
    """
    listed = requirements or PEERS / f"{name}.txt"
    folder = state_root() / "cache" / "peers" / name
    python = folder / "bin" / "python"
    marker = folder / ".installed"
    wanted = hashlib.sha256(listed.read_bytes()).hexdigest()
    if marker.is_file() and marker.read_text(encoding="ascii") == wanted:
        return python
    print(f"benchmark: installing the peer {name} into {folder} …", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _installing([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _installing([*pip, "-r", str(listed)])
    marker.write_text(wanted, encoding="ascii")
    return python


def _installing(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CliError(f"{' '.join(command[:4])} failed:\n{done.stderr[-1500:]}")


def run_peer(name: str, script: str, arguments: dict[str, Any], *, timeout_s: float = 900) -> dict[str, Any]:
    """Run `peers/<script>` in the peer's environment; it gets and prints one JSON object.

    Raises:
        CliError: the script failed, with the end of its error output.
    """
    # numeric libraries stay on one thread, as ours do: CPU time is what is compared
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(peer_environment(name)), str(PEERS / script), json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=environment,
    )
    if done.returncode:
        raise CliError(f"peer {name} failed:\n{done.stderr[-1500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def npm_environment(name: str) -> Path:
    """Make, once, the folder of an npm peer from its locked list in `peers/<name>` and return it.

    Raises:
        CliError: the installation failed, with the end of npm's words.
    """
    source, folder = PEERS / name, state_root() / "cache" / "peers" / name
    listed = b"".join((source / file).read_bytes() for file in ("package.json", "package-lock.json"))
    wanted, marker = hashlib.sha256(listed).hexdigest(), folder / ".installed"
    if not (marker.is_file() and marker.read_text(encoding="ascii") == wanted):
        print(f"benchmark: installing the peer {name} into {folder} …", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(source / file, folder / file)
        _installing(["npm", "--prefix", str(folder), "ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        marker.write_text(wanted, encoding="ascii")
    for script in source.glob("*.mjs"):
        shutil.copyfile(script, folder / script.name)
    return folder


def run_npm_peer(
    name: str, script: str, arguments: dict[str, Any], *, timeout_s: float = 1800
) -> dict[str, Any]:
    """Run `peers/<name>/<script>` with Node.js in the peer's folder; it gets and prints one JSON object.

    Raises:
        CliError: the script failed, with the end of its error output.
    """
    command = [
        "node",
        "--max-old-space-size=8192",
        str(npm_environment(name) / script),
        json.dumps(arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode:
        raise CliError(f"peer {name} failed:\n{done.stderr[-1500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
