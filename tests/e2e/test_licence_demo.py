"""The demonstration of licences, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("licence-demo")]


@pytest.mark.slow
@pytest.mark.demo
def test_the_demo_prints_one_object_and_every_step_holds(tmp_path: Path) -> None:
    environment = {**os.environ, "SHUYAO_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "licence", "demo", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout.count("\n") == 1, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert set(report) == {"ok", "steps"}
    assert all(set(step) == {"name", "ok", "detail"} for step in report["steps"])
    assert [step for step in report["steps"] if not step["ok"]] == []
    assert report["ok"] is True
    assert done.returncode == 0
    assert len(report["steps"]) >= 35
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]
    assert left == []
