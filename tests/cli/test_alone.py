"""A holder, or a buyer, sets itself up alone: its own keys in its own folder, and where the market is."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import accounts, connection, passphrases
from cli.app import app
from cli.errors import CliError
from cli.home import Home, read_json, repository_root, write_json
from holder.settings import FileSource, load_settings
from ledger.types import Address, Deployment, to_hex

POLICY = repository_root() / "examples" / "electricity" / "policy.yaml"
BROKER = "0x" + "ab" * 20
DEPLOYED = Deployment(31337, *(Address(bytes([n]) * 20) for n in range(1, 6)), block=7)
NODE, EXCHANGE = "http://127.0.0.1:9", "http://127.0.0.1:8"


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no market was ever started."""
    monkeypatch.setenv("SHUYAO_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SHUYAO_PASSPHRASE_FILE", raising=False)


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def written(path: Path, text: str) -> Path:
    path.write_text(text + "\n", encoding="utf8")
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return written(tmp_path / "secret", "correct horse 数钥")


@pytest.fixture
def market(tmp_path: Path) -> list[str | Path]:
    """Options that say where the market is."""
    file = written(tmp_path / "deployment.json", json.dumps(DEPLOYED.to_json()))
    return ["--exchange", EXCHANGE + "/", "--rpc", NODE, "--deployment", file]


def test_new_keys_are_of_one_party_and_open_with_the_given_passphrase_only(
    tmp_path: Path, secret: Path
) -> None:
    own = tmp_path / "own"
    shown = json.loads(run("keys", "new", "holders/3", "--home", own, "--passphrase-file", secret, "--json"))
    keys = accounts.open_existing(Home(own), "holders/3", secret)
    assert shown["address"] == to_hex(keys.signer.address)
    assert shown["encryption_key"] == to_hex(keys.x25519_public)
    assert [str(path.relative_to(own)) for path in own.rglob("*.json")] == ["holders/3/keystore.json"]
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not (own / "passphrases").exists()
    again = json.loads(
        run("keys", "public", "holders/3", "--home", own, "--passphrase-file", secret, "--json")
    )
    assert again == shown


def test_new_keys_where_nothing_is_make_the_instance_that_later_commands_use(secret: Path) -> None:
    run("keys", "new", "buyer", "--passphrase-file", secret)
    assert accounts.open_existing(Home.find(), "buyer", secret)


def test_new_keys_leave_the_current_instance_the_current_one(tmp_path: Path, secret: Path) -> None:
    current = Home.create("demo-1")
    run("keys", "new", "buyer", "--home", tmp_path / "own", "--passphrase-file", secret)
    assert Home.find() == current
    run("keys", "new", "holders/1", "--passphrase-file", secret)
    assert accounts.open_existing(current, "holders/1", secret)


def test_a_keystore_is_never_made_over_another(tmp_path: Path, secret: Path) -> None:
    words = ("keys", "new", "buyer", "--home", tmp_path / "own", "--passphrase-file", secret)
    run(*words)
    before = (tmp_path / "own" / "buyer" / accounts.NAME).read_bytes()
    with pytest.raises(CliError, match="is not overwritten"):
        run(*words)
    assert (tmp_path / "own" / "buyer" / accounts.NAME).read_bytes() == before


def test_new_keys_want_a_passphrase_and_make_none_up(tmp_path: Path) -> None:
    own = tmp_path / "own"
    with pytest.raises(CliError, match="needs a passphrase"):
        run("keys", "new", "buyer", "--home", own)
    with pytest.raises(CliError, match="at least 8"):
        run("keys", "new", "buyer", "--home", own, "--passphrase-file", written(tmp_path / "p", "short"))
    assert not (own / "buyer" / accounts.NAME).exists()


def test_the_passphrase_of_new_keys_may_stand_where_a_process_finds_it(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUYAO_PASSPHRASE_FILE", str(secret))
    run("keys", "new", "buyer", "--home", tmp_path / "own")
    assert accounts.open_existing(Home(tmp_path / "own"), "buyer", secret)


@pytest.mark.parametrize(
    "who", ["", "..", "../buyer", "holders", "holders/0", "holders/x", "/tmp", "cache", "买方"]
)
def test_keys_are_made_for_parties_of_a_market_only(tmp_path: Path, secret: Path, who: str) -> None:
    with pytest.raises(CliError, match="expected buyer"):
        run("keys", "new", who, "--home", tmp_path / "own", "--passphrase-file", secret)
    assert not (tmp_path / "own").exists()


def test_a_holder_writes_the_configuration_that_its_node_reads(
    tmp_path: Path, market: list[str | Path]
) -> None:
    own, data = tmp_path / "own", written(tmp_path / "用电.csv", "town,kwh")
    words = ["holder", "init", *market, "--policy", POLICY, "--data", data, "--home", own, "--number", "2"]
    run(*words)
    settings = load_settings(own / "holders" / "2")
    assert (settings.exchange_url, settings.rpc_url, settings.deployment) == (EXCHANGE, NODE, DEPLOYED)
    [asset] = settings.assets
    assert (asset.name, asset.key_space, asset.policy_file) == ("electricity", "electricity", POLICY)
    assert isinstance(asset.source, FileSource)
    assert (asset.source.kind, asset.source.path) == ("csv", data)
    with pytest.raises(CliError, match="is not overwritten"):
        run(*words)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rpc", "127.0.0.1:8545", "http"),
        ("--exchange", "ftp://exchange", "http"),
        ("--deployment", "absent.json", "does not exist"),
        ("--deployment", str(POLICY), "is not JSON"),
        ("--data", "absent.csv", "does not exist"),
        ("--data", str(POLICY), "expected a .csv"),
        ("--policy", "absent.yaml", "cannot be read"),
    ],
)
def test_a_holder_is_told_what_is_wrong_before_anything_is_written(
    tmp_path: Path, market: list[str | Path], option: str, value: str, message: str
) -> None:
    own, data = tmp_path / "own", written(tmp_path / "table.csv", "town,kwh")
    words = ["holder", "init", *market, "--policy", POLICY, "--data", data, "--home", own, option, value]
    with pytest.raises(CliError, match=message):
        run(*words)
    assert not list(tmp_path.rglob("config.json"))


def test_a_holder_without_an_exchange_in_its_instance_names_the_broker(
    tmp_path: Path, market: list[str | Path], secret: Path
) -> None:
    own, data = tmp_path / "own", written(tmp_path / "table.csv", "town,kwh")
    run("holder", "init", *market, "--policy", POLICY, "--data", data, "--home", own)
    run("keys", "new", "holders/1", "--home", own, "--passphrase-file", secret)
    words = ("holder", "register", "--home", own, "--passphrase-file", secret)
    with pytest.raises(CliError, match="--broker"):
        run(*words)
    with pytest.raises(CliError, match="MalformedValue"):
        run(*words, "--broker", "0x12")
    with pytest.raises(CliError, match="ChainUnreachable"):  # all else is there: it goes as far as the chain
        run(*words, "--broker", BROKER)


def test_a_buyer_says_where_its_market_is(tmp_path: Path, market: list[str | Path], secret: Path) -> None:
    own = tmp_path / "own"
    run("keys", "new", "buyer", "--home", own, "--passphrase-file", secret)
    with pytest.raises(CliError, match="buyer init"):
        run("buyer", "requests", "--home", own, "--passphrase-file", secret)
    run("buyer", "init", *market, "--home", own)
    assert json.loads(run("buyer", "requests", "--home", own, "--passphrase-file", secret, "--json")) == []
    assert connection.find(Home(own), "buyer") == connection.Connection(EXCHANGE, NODE, DEPLOYED)


def test_who_shares_an_instance_with_the_exchange_has_its_market() -> None:
    home = Home.create("market")
    write_json(home.exchange / "settings.json", {"public_url": EXCHANGE, "rpc_url": NODE})
    write_json(home.deployment, DEPLOYED.to_json())
    assert connection.find(home, "buyer") == connection.Connection(EXCHANGE, NODE, DEPLOYED)
    assert connection.exchange_url(home, "exchange") == EXCHANGE


def test_a_holder_s_contracts_may_stand_in_a_file_of_their_own() -> None:
    home = Home.create("market")
    write_json(home.deployment, DEPLOYED.to_json())
    config = {"exchange_url": EXCHANGE, "rpc_url": NODE, "deployment": "../../deployment.json", "assets": []}
    write_json(home.holder(1) / "config.json", config)
    assert connection.find(home, "holders/1") == connection.Connection(EXCHANGE, NODE, DEPLOYED)


def test_a_broken_connection_is_named(tmp_path: Path) -> None:
    home = Home.create("market")
    for broken in ({"rpc_url": NODE}, [], {"exchange_url": EXCHANGE, "rpc_url": NODE, "deployment": {}}):
        write_json(home.buyer / "settings.json", broken)
        with pytest.raises(CliError, match=r"settings\.json"):
            connection.find(home, "buyer")
    assert read_json(home.buyer / "settings.json")


def test_a_first_passphrase_is_not_made_by_the_unattended_start(tmp_path: Path, secret: Path) -> None:
    home = Home.create("market")
    made = passphrases.make(home, "buyer")
    run("keys", "new", "buyer", "--passphrase-file", secret)
    assert accounts.open_existing(home, "buyer", secret)
    with pytest.raises(CliError, match="does not open"):
        accounts.open_existing(home, "buyer", written(tmp_path / "made", made))
