"""`shuyao trustee` and `shuyao deposit`, as five people and a depositor would use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli import accounts
from cli.app import app
from cli.errors import CliError
from cli.home import Home, repository_root

COUNT = 3
EXAMPLE = repository_root() / "examples" / "deposit"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An instance with the keystores of three holders."""
    made = Home(tmp_path_factory.mktemp("instance"))
    made.passphrases.mkdir()
    for number in range(1, COUNT + 1):
        accounts.open_or_create(made, f"holders/{number}")
    return made


def run(*words: Any) -> Any:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output) if "--json" in words else done.output


def as_trustee(step: str, home: Home, number: int, *words: Any) -> Any:
    return run("trustee", step, *words, "--home", home.path, "--number", number)


@pytest.fixture(scope="module")
def ceremony(home: Home) -> Path:
    """The folder of a finished ceremony."""
    folder = home.path / "ceremony"
    names = [accounts.address(home, f"holders/{number}") for number in range(1, COUNT + 1)]
    run(
        "trustee",
        "start",
        folder,
        "--threshold",
        2,
        *(word for name in names for word in ("--trustee", name)),
    )
    for step in ("announce", "deal", "receive"):
        for number in range(1, COUNT + 1):
            as_trustee(step, home, number, folder)
    keys = [as_trustee("finish", home, number, folder, "--json") for number in range(1, COUNT + 1)]
    assert len({key["key"] for key in keys}) == 1
    assert (keys[0]["threshold"], keys[0]["trustees"], keys[0]["faults"]) == (2, 3, [])
    return folder


@pytest.fixture(scope="module")
def policy(ceremony: Path) -> Path:
    """The example's policy for three trustees."""
    template, made = ceremony.parent / "template.yaml", ceremony.parent / "policy.yaml"
    text = (EXAMPLE / "policy.template.yaml").read_text("utf8").replace("colluders: 2", "colluders: 1")
    template.write_text(text.replace("min_holders: 4", "min_holders: 3"), "utf8")
    run("deposit", "policy", template, ceremony / "key.json", made)
    return made


def table_of(folder: Path) -> Path:
    file = folder / "table.parquet"
    rows = {
        "enterprise_id": ["a", "b", "c"],
        "town": ["莞城", "虎门", "市外"],
        "industry": ["模具", "造纸", None],
        "kwh": [10.0, None, 3.5],
        "employees": [1, 2, 3],
    }
    pq.write_table(pa.table(rows), file)
    return file


def test_the_commands_lead_from_accounts_to_a_checked_deposit(
    home: Home, ceremony: Path, policy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deposit"
    words = ("deposit", "make", folder, "--data", table_of(tmp_path), "--policy", policy, "--json")
    made = run(*words)
    assert run(*words) == made
    assert made["cells"] == 33 * 20 * 4
    checked = run("deposit", "check", folder, "--policy", policy, "--json")
    assert (checked["root"], checked["checked"], checked["policy_checked"]) == (made["root"], True, True)
    assert run("deposit", "root", folder).strip() == made["root"]
    shown = run("deposit", "show", folder, "--json")
    assert [each["column"] for each in shown["cube"]["dimensions"]] == ["town", "industry"]
    told = as_trustee("check", home, 1, ceremony, "--json")
    assert (told["key_id"], told["deposit"], told["faults"]) == (made["key_id"], None, [])


def test_list_shows_who_has_sent_what_and_which_shares_are_here(home: Home, ceremony: Path) -> None:
    listed = run("trustee", "list", ceremony, "--json")
    assert (listed["threshold"], listed["done"], len(listed["trustees"])) == (2, True, COUNT)
    assert all(each["announced"] and each["dealt"] and each["received"] for each in listed["trustees"])
    [share] = as_trustee("list", home, 2, "--json")
    assert share["deposit"] is None
    assert "shares of joint keys" in as_trustee("list", home, 2)


def test_a_damaged_deposit_is_said_to_be_damaged(policy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deposit"
    run("deposit", "make", folder, "--data", table_of(tmp_path), "--policy", policy, "--json")
    file = folder / "fragment-00000.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CliError, match="DepositInvalid"):
        run("deposit", "check", folder)


def test_mistakes_are_one_line(home: Home, ceremony: Path, policy: Path, tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no ceremony"):
        as_trustee("announce", home, 1, tmp_path)
    with pytest.raises(CliError, match="64 hex digits"):
        run(
            "trustee",
            "start",
            tmp_path / "x",
            "--threshold",
            1,
            "--trustee",
            "0x" + "11" * 20,
            "--label",
            "zz",
        )
    with pytest.raises(CliError, match="cube"):
        run("deposit", "policy", EXAMPLE / "query.sql", ceremony / "key.json", tmp_path / "p")
    with pytest.raises(CliError, match="SourceUnreadable"):
        run("deposit", "make", tmp_path / "d", "--data", tmp_path / "none.csv", "--policy", policy)
