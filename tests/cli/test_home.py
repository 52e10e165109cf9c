import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from cli import accounts, chain_process, passphrases, processes
from cli.app import app
from cli.checks import instance_checks
from cli.demo.kinds import DemoOptions, make_demo
from cli.demo.tables import electricity
from cli.errors import CliError, ProcessFailed
from cli.home import Home, instances, read_json, repository_root, write_json
from cli.keeper import ChainSettings, Keeper
from cli.market import Market, MarketPlan
from cli.market_commands import stopping_what_fails
from cli.output import Stages
from cli.rho import read_delta, rho_to_micro
from ledger.types import Address, Deployment
from privacy.terms import PlanKind


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SHUYAO_HOME", str(tmp_path))
    return Home.create("market")


def test_the_last_created_instance_is_the_current_one(home: Home) -> None:
    other = Home.create("demo-1")
    assert Home.find() == other
    assert Home.find(home.path) == home
    assert instances() == [other, home]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/tmp/x",
        "a\\b",
        ".hidden",
        " x",
        "x ",
        "a\nb",
        "a\x00",
        "cache",
        "current",
        "名" * 40,
    ],
)
def test_a_name_that_leads_elsewhere_makes_nothing(tmp_path: Path, home: Home, name: str) -> None:
    before = [*sorted(tmp_path.rglob("*")), *sorted(tmp_path.parent.iterdir())]
    for words in (
        ["up"],
        ["provision", "--rpc", "http://127.0.0.1:9", "--exchange-url", "http://127.0.0.1:9"],
    ):
        with pytest.raises(CliError, match="name of an instance"):
            CliRunner().invoke(app, [*words, "--name", name], catch_exceptions=False)
    assert [*sorted(tmp_path.rglob("*")), *sorted(tmp_path.parent.iterdir())] == before
    assert Home.find() == home


def test_a_name_may_be_chinese_and_have_blanks_and_dots_inside(home: Home) -> None:
    assert Home.create("东莞 市场 1.0") == Home.find()


@pytest.mark.parametrize("words", [["up", "--rows", "0"], ["up", "--rows", "-1"], ["demo", "--rows", "0"]])
def test_tables_have_rows(tmp_path: Path, home: Home, words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2
    assert instances() == [home]


POLICY = "examples/electricity/policy.yaml"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--query", "SELECT nothing FROM electricity"], "nothing"),
        (["--query", "SELECT AVG(kwh) FROM 别的"], "别的"),
        (["--kind", "score", "--query", "SELECT SUM(x) FROM y"], "PlanRejected"),
        (["--kind", "join", "--query", "SELECT 1"], "PlanRejected"),
        (["--kind", "deposit", "--query", "SELECT 1 FROM electricity_deposit"], "PlanRejected"),
        (["--rho", "half"], "--rho"),
        (["--rho", "1000"], "at most"),
        (
            ["--data", "/nonexist", "--policy", POLICY, "--query", "SELECT COUNT(*) FROM electricity"],
            "/nonexist",
        ),
        (
            ["--data", POLICY, "--policy", "/nonexist", "--query", "SELECT COUNT(*) FROM electricity"],
            "/nonexist",
        ),
        (["--data", POLICY, "--policy", "README.md", "--query", "SELECT 1"], "PolicyInvalid"),
    ],
)
def test_a_demo_refuses_what_it_can_before_there_is_a_market(
    home: Home, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(repository_root())
    with pytest.raises(CliError, match=message):
        CliRunner().invoke(app, ["demo", *words], catch_exceptions=False)
    assert instances() == [home]
    assert Home.find() == home


@pytest.mark.parametrize("kind", PlanKind)
def test_the_demos_own_questions_pass_the_check(kind: PlanKind) -> None:
    make_demo(kind, DemoOptions(query=None, rows=1)).check(None)


def test_an_instance_is_current_when_it_is_asked_for(home: Home) -> None:
    other = Home.create("other", is_current=False)
    assert other.logs.is_dir()
    assert Home.find() == home
    other.make_current()
    assert Home.find() == other


def test_what_a_failed_start_started_is_stopped_and_said(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(CliError, match="no such table"), stopping_what_fails(home):
        processes.spawn(home, "chain", sleeping)
        raise CliError("no such table")
    assert processes.listed(home) == []
    assert "stopped again: chain" in capsys.readouterr().err
    with stopping_what_fails(home):
        processes.spawn(home, "chain", sleeping)
    assert processes.stop_all(home) == ["chain"]
    assert capsys.readouterr().err == ""


def test_a_command_without_a_market_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUYAO_HOME", str(tmp_path / "nothing"))
    with pytest.raises(CliError, match="shuyao up"):
        Home.find()


def test_json_files_are_private_and_replaced_whole(home: Home) -> None:
    path = home.path / "settings.json"
    write_json(path, {"名": 1})
    write_json(path, {"名": 2})
    assert read_json(path) == {"名": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in home.path.iterdir() if file.suffix != ".json" and file.is_file()] == []


def test_an_unattended_passphrase_is_made_once_and_private(home: Home) -> None:
    first = passphrases.make(home, "buyer")
    assert passphrases.make(home, "buyer") == first
    assert passphrases.make(home, "exchange") != first
    assert len(first) >= 24
    assert stat.S_IMODE((home.passphrases / "buyer").stat().st_mode) == 0o600


def test_a_passphrase_with_a_folder_of_its_own_is_kept_in_it(home: Home) -> None:
    alone = home.passphrases / "holders-1"
    alone.mkdir()
    account = accounts.open_or_create(home, "holders/1").signer.address
    accounts.open_or_create(home, "holders/2")
    assert [str(path.relative_to(home.passphrases)) for path in sorted(home.passphrases.rglob("*"))] == [
        "holders-1",
        "holders-1/passphrase",
        "holders-2",
    ]
    assert accounts.open_existing(home, "holders/1").signer.address == account
    (alone / "passphrase").chmod(0o644)
    wrong = [check.what for check in instance_checks(home) if not check.ok]
    assert wrong == ["passphrases/holders-1/passphrase"]
    passphrases.forget(home, "holders-1")
    assert list(alone.iterdir()) == []


def test_a_holder_s_configuration_needs_no_folder_but_its_own(home: Home) -> None:
    policy, tables = electricity(home, holders=1, rows=2)
    market = Market(home, MarketPlan(policy, tables), Stages(quiet=True))
    market.deployment = Deployment(1, *(Address(bytes([n]) * 20) for n in range(1, 6)), block=0)
    market.rpc_url = market.exchange_url = "http://127.0.0.1:9"
    config = market._holder_config(1)
    assert Deployment.from_json(config["deployment"]) == market.deployment
    assert all(Path(each["source"]["path"]).is_relative_to(home.holder(1)) for each in config["assets"])


def test_a_node_that_does_not_come_up_is_named() -> None:
    with pytest.raises(CliError, match="no node of a chain answers"):
        chain_process.await_node("http://127.0.0.1:9", timeout_s=0)


def test_no_passphrase_is_assumed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHUYAO_PASSPHRASE_FILE", raising=False)
    empty = home.path / "empty"
    empty.touch()
    with pytest.raises(CliError, match="is empty"):
        passphrases.obtain(empty, what="buyer")
    with pytest.raises(CliError, match="does not exist"):
        passphrases.obtain(home.path / "absent", what="buyer")


def test_a_recycled_process_number_is_not_ours(home: Home) -> None:
    mine = psutil.Process(os.getpid())
    assert processes.Process("x", mine.pid, mine.create_time(), []).handle() is not None
    assert processes.Process("x", mine.pid, mine.create_time() - 100, []).handle() is None


def test_a_process_that_ends_while_starting_shows_its_log(home: Home) -> None:
    process = processes.spawn(home, "broken", [sys.executable, "-c", "raise SystemExit('no such thing')"])
    with pytest.raises(ProcessFailed, match="no such thing"):
        processes.wait_ready(home, process, lambda: False, timeout_s=20)


def test_stop_all_stops_children_and_says_whom(home: Home) -> None:
    code = "import subprocess,sys,time; subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']); time.sleep(60)"
    processes.spawn(home, "parent", [sys.executable, "-c", code])
    assert processes.stop_all(home) == ["parent"]
    assert processes.listed(home) == []


def test_the_keeper_restores_the_newest_whole_copy(tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    folder.mkdir()
    (folder / "state.json").write_text('{"torn": ')
    for age, name in ((200, "old"), (100, "new")):
        copy = folder / f"state.{age}.copy"
        copy.write_text(json.dumps({"state": name}))
        os.utime(copy, ns=(10**18 - age * 10**9,) * 2)
    keeper = Keeper(ChainSettings(folder, Path("/nonexistent"), 1, 1.0))
    keeper._restore()
    assert json.loads((folder / "state.json").read_text()) == {"state": "new"}
    assert (folder / "state.torn").read_text() == '{"torn": '


@pytest.mark.parametrize(("text", "micro"), [("0.05", 50_000), ("1", 1_000_000), ("0.000001", 1)])
def test_rho_is_read_exactly(text: str, micro: int) -> None:
    assert rho_to_micro(text) == micro


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "0.0000001",
        "half",
        "NaN",
        "Infinity",
        "1e400000000",
        "1e-400000000",
        "1e99999999999999999999",
        "1" * 30,
    ],
)
def test_a_rho_that_cannot_be_charged_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--rho"):
        rho_to_micro(text)


@pytest.mark.parametrize(
    "text", ["", "0", "1", "-1e-9", "NaN", "1e400000000", "1e-400000000", "1e99999999999999999999"]
)
def test_a_delta_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--delta"):
        read_delta(text)


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "SHUYAO_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "cli", "buyer", "listings"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("shuyao: no market in")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--rpc", "--deployment"])
def test_a_verifier_is_told_in_one_line_what_is_wrong_with_its_options(tmp_path: Path, option: str) -> None:
    (tmp_path / "receipt").write_bytes(b"{}")
    (tmp_path / "deployment").write_text("{}")
    given = "no address of a node" if option == "--rpc" else str(tmp_path / "deployment")
    with pytest.raises(CliError, match=r"^(ChainUnreachable|MalformedValue): "):
        CliRunner().invoke(app, ["verify", str(tmp_path / "receipt"), option, given], catch_exceptions=False)
