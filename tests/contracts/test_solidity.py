"""The Solidity tests, and the committed artifacts, as part of the one test run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
FORGE = CONTRACTS / "node_modules" / ".bin" / "forge"


SMALL = {"FOUNDRY_FUZZ_RUNS": "64", "FOUNDRY_INVARIANT_RUNS": "8"}
"""A quarter of what foundry.toml says and `--full` runs."""


def run(*command: str, timeout_s: float, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1", **more}
    return subprocess.run(
        command,
        cwd=CONTRACTS,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.xdist_group("forge")
def test_forge_tests_pass(request: pytest.FixtureRequest) -> None:
    if not FORGE.exists() and shutil.which("forge") is None:
        pytest.skip("no forge for this platform in contracts/node_modules or on PATH")
    forge = str(FORGE) if FORGE.exists() else "forge"
    small = {} if request.config.pluginmanager.hasplugin("tests.whole") else SMALL
    done = run(forge, "test", timeout_s=280, **small)
    summary = re.search(r"(\d+) tests passed, (\d+) failed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert summary is not None
    assert int(summary[1]) > 50
    assert int(summary[2]) == 0


@pytest.mark.slow  # .ci/run does the same before the tests
@pytest.mark.xdist_group("forge")
def test_committed_artifacts_are_what_the_sources_compile_to() -> None:
    done = run("node", "build.mjs", "--check", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
