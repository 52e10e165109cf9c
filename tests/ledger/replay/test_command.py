"""`shuyao replay`: exit codes, tables and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.errors import CliError
from cli.replay import ANCHORS_FILE, replay
from ledger.licences.leaf import Code
from ledger.licences.policy import TrustPolicy
from tests.ledger.replay.synthetic import CITY, SyntheticLog, honest_log, put

APP = typer.Typer()
APP.command()(replay)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(APP, [*map(str, arguments), "--workers", "0"])


def exported(folder: Path, log: SyntheticLog) -> Path:
    log.write(folder)
    put(folder / ANCHORS_FILE, log.chain(300, len(log.entries)).to_bytes())
    put(folder / "policy.json", json.dumps(TrustPolicy((CITY,)).to_json()).encode())
    return folder


def test_a_clean_export_exits_with_0(tmp_path: Path) -> None:
    folder = exported(tmp_path, honest_log())
    result = run("--export", folder, "--policy", folder / "policy.json", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["differences"] == {"total": 0, "rules": {}, "first": []}
    assert (shown["size"], shown["anchors"], shown["status_lists"]) == (621, 3, 4)
    assert shown["counts"]["codes"]["valid"] == 598
    assert (shown["registry_events"], [what for what in shown["unchecked"] if "registry" in what]) == (
        0,
        ["the registry of issuers and keys on the chain (no registry)"],
    )


def test_differences_exit_with_1_and_are_all_written(tmp_path: Path) -> None:
    log = honest_log()
    log.set(0, 5, Code.OTHER)
    at = log.publish(0)
    folder = exported(tmp_path, log)
    lines = tmp_path / "differences.jsonl"
    result = run("--export", folder, "--differences", lines)
    assert result.exit_code == 1
    assert json.loads(lines.read_text())["index"] == at
    assert json.loads(lines.read_text())["rule"] == "status-digest"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("LOG", "--export", "LOG"),
        ("LOG", "--contract", "0x" + "11" * 20),
        ("LOG", "--rpc", "http://127.0.0.1:9"),
        ("LOG", "--issuers", "0x" + "11" * 20),
        ("LOG", "--signatures", "some"),
        ("LOG", "--book", "LOG"),
        ("LOG", "--policy", "LOG/none.json"),
        ("LOG/none",),
    ],
)
def test_what_cannot_be_read_is_an_error_of_the_command(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    honest_log().write(tmp_path)
    result = run(*(argument.replace("LOG", str(tmp_path)) for argument in arguments))
    assert isinstance(result.exception, CliError)


def test_a_policy_that_does_not_name_the_log_is_refused(tmp_path: Path) -> None:
    folder = exported(tmp_path, honest_log())
    other = CITY.to_json() | {"origin": "other.example"}
    put(folder / "policy.json", json.dumps(TrustPolicy((CITY,)).to_json() | {"cities": [other]}).encode())
    assert isinstance(run(folder, "--policy", folder / "policy.json").exception, CliError)
