"""`shuyao licence serve` and `shuyao witness run`: they say where they listen, and end at SIGTERM."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ledger.log.notes import COSIGNATURE, NoteSigner
from tests.cli.cities import shuyao
from tests.ledger.conftest import free_port
from tests.ledger.licences.world import seed_of

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(*words: object) -> Iterator[str]:
    """Run a command as a process, and give the first line that it prints; it must end with 0 at SIGTERM."""
    argv = [sys.executable, "-m", "cli", *map(str, words)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], 60)[0], "it says nothing"
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()


def test_a_witness_and_a_city_say_in_one_line_what_they_serve_and_where(tmp_path: Path) -> None:
    witness, port, city_port = tmp_path / "w", free_port(), free_port()
    vkey = shuyao("witness", "init", witness, "--name", "regulator.example", "--port", port, "--unattended")
    others = [NoteSigner.from_seed(f"w{n}.example", seed_of(n), algorithm=COSIGNATURE) for n in range(3)]
    vkeys = [vkey.strip(), *(other.key.to_text() for other in others)]
    registrar = tmp_path / "registrar" / "keys" / "registrar.json"
    shuyao("licence", "keys", "new", registrar, "--unattended")
    words = ["--city", tmp_path / "dg", "--origin", "licences.dg.example", "--name", "东莞", "--unattended"]
    at = [f"--witness={vkey}=http://127.0.0.1:{port}" for vkey in vkeys]
    log_key = shuyao("licence", "init", *words, "--registrar", registrar, *at, "--port", city_port).strip()
    shuyao("witness", "watch", witness, log_key)
    with running("witness", "run", witness) as line:
        assert line == f"regulator.example: at http://127.0.0.1:{port}, logs watched: 1"
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    with running("licence", "serve", "--city", tmp_path / "dg") as line:
        assert line == f"licences.dg.example: 0 entries, at http://127.0.0.1:{city_port}"
        assert httpx.get(f"http://127.0.0.1:{city_port}/healthz").status_code == 200
