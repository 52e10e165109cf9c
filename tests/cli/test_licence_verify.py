"""`shuyao licence verify`: offline, over bundles of a small real log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.licence.cast import namespace_prefix
from cli.licence.verify_command import verdict_json, verdict_of
from tests.api.licences.conftest import LicenceWorld, clock, world

__all__ = ["clock", "world"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]


def files(world: LicenceWorld, folder: Path) -> tuple[Path, Path, int]:
    """Write the bundle and the policy of a licence; returns them with the time."""
    made = world.issue()
    bundle, policy = folder / "bundle.json", folder / "policy.json"
    bundle.write_bytes(world.client.bundle(made.credential))
    city = world.client.city()
    ages = {"skew_s": 60, "status_age_s": 86_400, "issuer_age_s": 604_800, "kb_age_s": 60}
    policy.write_text(json.dumps({"version": 1, "cities": [city], **ages, "anchor": "none"}), encoding="utf8")
    return bundle, policy, int(world.clock())


def run(
    *words: str, cwd: Path, program: str = "", prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    command = (
        [sys.executable, "-c", program] if program else [sys.executable, "-m", "cli", "licence", "verify"]
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")}
    return subprocess.run(
        [*prefix, *command, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_codes_say_valid_invalid_and_unknown(world: LicenceWorld, tmp_path: Path) -> None:
    bundle, policy, now = files(world, tmp_path)
    words = [str(bundle), "--policy", str(policy), "--now", str(now), "--json"]
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "VALID"), done.stderr
    value = json.loads(bundle.read_bytes())
    stripped = tmp_path / "stripped.json"
    stripped.write_text(_canonical({**value, "status": None}), encoding="utf8")
    done = run(str(stripped), *words[1:], cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["missing"]) == (3, ["status"])
    altered = tmp_path / "altered.json"
    altered.write_text(_canonical({**value, "origin": "other.example"}), encoding="utf8")
    assert run(str(altered), *words[1:], cwd=tmp_path).returncode in (1, 3)
    broken = tmp_path / "broken.json"
    broken.write_text("{}", encoding="utf8")
    done = run(str(broken), *words[1:], cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "Malformed")


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def test_people_see_the_verdict_and_its_facts(world: LicenceWorld, tmp_path: Path) -> None:
    bundle, policy, now = files(world, tmp_path)
    done = run(str(bundle), "--policy", str(policy), "--now", str(now), cwd=tmp_path)
    assert done.returncode == 0
    assert "VALID" in done.stdout
    assert "checkpoint" in done.stdout


def test_verifying_asks_for_no_socket_and_loads_nothing_that_speaks_http(
    world: LicenceWorld, tmp_path: Path
) -> None:
    bundle, policy, now = files(world, tmp_path)
    program = f"""
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith('socket.') else None)
sys.argv = ['shuyao', 'licence', 'verify', {str(bundle)!r}, '--policy', {str(policy)!r}, '--now', '{now}', '--json']
from cli.app import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
assert not asked, asked
loaded = {{'httpx', 'uvicorn', 'fastapi', 'requests', 'anyio', 'asyncio'}} & set(sys.modules)
assert not loaded, loaded
"""
    done = run(cwd=tmp_path, program=program)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "VALID"


@pytest.fixture(scope="module")
def nowhere() -> list[str]:
    """The words that run a command in a network namespace of its own, with nothing in it."""
    prefix = namespace_prefix()
    if prefix is None:
        pytest.skip(
            "unshare is refused here: no network namespace can be made, so nothing was verified in one"
        )
    return prefix


def test_there_is_nobody_to_ask_in_an_empty_network_namespace(nowhere: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        program = f"import socket; socket.create_connection({address!r}, 5)"
        assert run(cwd=tmp_path, program=program).returncode == 0
        done = run(cwd=tmp_path, program=program, prefix=nowhere)
    assert done.returncode == 1 and "unreachable" in done.stderr
    program = "import socket; print(*(name for _, name in socket.if_nameindex()))"
    assert set(run(cwd=tmp_path, program=program, prefix=nowhere).stdout.split()) <= {"lo"}


def test_verified_in_an_empty_network_namespace(
    world: LicenceWorld, tmp_path: Path, nowhere: list[str]
) -> None:
    bundle, policy, now = files(world, tmp_path)
    words = ["--policy", str(policy), "--now", str(now), "--json"]
    value = json.loads(bundle.read_bytes())
    stripped, forged = tmp_path / "stripped.json", tmp_path / "forged.json"
    stripped.write_text(_canonical({**value, "status": None}), encoding="utf8")
    forged.write_text(_canonical({**value, "issuer": value["issuer"][::-1]}), encoding="utf8")
    seen = []
    for path in (bundle, stripped, forged):
        done = run(str(path), *words, cwd=tmp_path, prefix=nowhere)
        assert done.stdout == run(str(path), *words, cwd=tmp_path).stdout
        seen.append((done.returncode, json.loads(done.stdout)["verdict"]))
    assert seen == [(0, "VALID"), (3, "UNKNOWN"), (1, "INVALID")]


def test_a_socket_is_refused_whoever_asks_for_it(tmp_path: Path) -> None:
    program = """
import socket
from cli.errors import CliError
from cli.licence.cast import namespace_prefix
from cli.licence.verify_command import forbid_sockets
forbid_sockets()
try:
    socket.socket()
except CliError:
    raise SystemExit(7)
"""
    assert run(cwd=tmp_path, program=program).returncode == 7


def test_a_policy_that_is_none_and_half_a_challenge_are_refused(world: LicenceWorld, tmp_path: Path) -> None:
    bundle, policy, now = files(world, tmp_path)
    with pytest.raises(CliError, match="policy"):
        verdict_of(bundle.read_bytes(), b"{}", nonce=None, audience=None, now_s=now)
    with pytest.raises(CliError, match="go together"):
        verdict_of(bundle.read_bytes(), policy.read_bytes(), nonce="n", audience=None, now_s=now)
    assert run("absent.json", "--policy", str(policy), cwd=tmp_path).returncode == 2


def test_the_bearer_is_verified_where_a_challenge_is_given(world: LicenceWorld, tmp_path: Path) -> None:
    made = world.issue()
    shown = world.wallet.present(made.credential, ("entity_name",), nonce="n1", audience="https://a.example")
    _, policy, now = files(world, tmp_path)
    bundle = world.client.bundle(shown)

    def judged(nonce: str) -> tuple[str, str | None]:
        verdict = verdict_of(
            bundle, policy.read_bytes(), nonce=nonce, audience="https://a.example", now_s=now
        )
        found = verdict_json(verdict)
        return found["verdict"], found["reason"]

    assert judged("n1") == ("VALID", None)
    assert judged("n2") == ("INVALID", "NonceMismatch")
