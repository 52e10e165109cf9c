"""`shuyao registrar` and `shuyao bank`: whoever made its keys alone is admitted, and given credits, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import accounts, chain_process
from cli.app import app
from cli.demo.tables import electricity
from cli.errors import CliError
from cli.home import Home, read_json, write_json
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.deploy import deploy
from ledger.keystore import Keys
from ledger.names import asset_id
from ledger.types import AssetStatus, ParticipantStatus, Roles, to_hex
from tests.ledger.conftest import ANVIL, RICH, Anvil, Signer

PEOPLE = ("registrar", "bank", "regulator", "exchange")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Contracts]]:
    """An instance with a registrar and a bank, and their contracts on a development chain."""
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    anvil = Anvil(("--hardfork", "prague"))
    anvil.start()
    home = Home(tmp_path_factory.mktemp("instance"))
    home.passphrases.mkdir()
    people = {who: accounts.open_or_create(home, who).signer.address for who in PEOPLE}
    chain_process.fund(anvil.url, list(people.values()))
    with Chain(anvil.url) as chain:
        offices = {who: people[who] for who in ("registrar", "bank", "regulator")}
        deployment = deploy(chain, Signer(RICH), **offices)
        write_json(home.deployment, deployment.to_json())
        write_json(
            home.exchange / "settings.json",
            {"rpc_url": anvil.url, "database_url": f"sqlite:///{home.exchange}/exchange.db"},
        )
        yield home, Contracts(chain, deployment)
    anvil.kill()


def say(home: Home, *words: Any) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--home", str(home.path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def run(home: Home, *words: Any) -> Any:
    return json.loads(say(home, *words, "--json"))


def admit(home: Home, keys: Keys, *roles: str, **options: str) -> Any:
    given = [word for role in roles for word in ("--role", role)]
    given += [word for name, value in options.items() for word in (f"--{name}", value)]
    account, key = to_hex(keys.signer.address), to_hex(keys.x25519_public)
    return run(home, "registrar", "admit", account, "--encryption-key", key, *given)


def test_an_account_is_admitted_with_its_roles_and_the_same_again_changes_nothing(
    market: tuple[Home, Contracts],
) -> None:
    home, contracts = market
    keys, body = Keys.generate(), "0x" + "cd" * 20
    shown = admit(home, keys, "holder", "buyer", operator=body)
    assert (shown["roles"], shown["operator"]) == (["buyer", "holder"], body)
    found = contracts.participants.get(keys.signer.address)
    assert (found.roles, found.x25519, found.active) == (Roles.HOLDER | Roles.BUYER, keys.x25519_public, True)
    assert admit(home, keys, "buyer", "holder", operator=body) == shown
    with pytest.raises(CliError, match="admitted already"):
        admit(home, keys, "broker", operator=body)
    assert contracts.participants.get(keys.signer.address) == found


def test_a_development_chain_of_the_instance_pays_the_gas_of_who_is_admitted(
    market: tuple[Home, Contracts],
) -> None:
    home, contracts = market
    elsewhere, here = Keys.generate(), Keys.generate()
    admit(home, elsewhere, "buyer")
    home.chain.mkdir()
    admit(home, here, "buyer")
    home.chain.rmdir()
    assert contracts.chain.balance(elsewhere.signer.address) == 0
    assert contracts.chain.balance(here.signer.address) > 0


def test_what_the_contract_refuses_is_one_line(market: tuple[Home, Contracts]) -> None:
    home, _ = market
    first, second = Keys.generate(), Keys.generate()
    admit(home, first, "holder")
    with pytest.raises(CliError, match="ParticipantsOperatorHasHolder"):
        admit(home, second, "holder", operator=to_hex(first.signer.address))


@pytest.mark.parametrize("role", ["registrar", "Holder", "issuer", ""])
def test_no_other_role_is_given(market: tuple[Home, Contracts], role: str) -> None:
    with pytest.raises(CliError, match="expected some of"):
        admit(market[0], Keys.generate(), role)


def test_a_payment_is_made_once_under_its_reference(market: tuple[Home, Contracts]) -> None:
    home, contracts = market
    keys = Keys.generate()
    account = to_hex(keys.signer.address)
    for _ in range(2):
        assert run(home, "bank", "mint", account, 500, "--reference", "发票 1")["balance"] == "500"
    with pytest.raises(CliError, match="IntentConflict"):
        run(home, "bank", "mint", account, 501, "--reference", "发票 1")
    assert run(home, "bank", "mint", account, 70, "--reference", "发票 2")["balance"] == "570"
    assert contracts.settlement.balance_of(keys.signer.address) == 570


def test_contracts_and_node_may_be_given_by_hand(market: tuple[Home, Contracts], tmp_path: Path) -> None:
    home, _ = market
    account = to_hex(Keys.generate().signer.address)
    with pytest.raises(CliError, match=r"absent\.json does not exist"):
        run(home, "bank", "mint", account, 1, "--reference", "a", "--deployment", tmp_path / "absent.json")
    with pytest.raises(CliError, match="ChainUnreachable"):
        run(home, "bank", "mint", account, 1, "--reference", "b", "--rpc", "http://127.0.0.1:9")


def test_the_regulator_stops_an_account_and_lets_it_go_on_again(market: tuple[Home, Contracts]) -> None:
    home, contracts = market
    keys = Keys.generate()
    account = to_hex(keys.signer.address)
    admit(home, keys, "buyer")
    for command, active in (("suspend", False), ("suspend", False), ("lift", True), ("suspend", False)):
        say(home, "regulator", command, account)
        assert contracts.participants.get(keys.signer.address).active is active
    with pytest.raises(CliError, match="ParticipantsStatusInvalid"):
        say(home, "regulator", "suspend", to_hex(Keys.generate().signer.address))


def test_a_lost_account_is_replaced_once_and_for_good(market: tuple[Home, Contracts]) -> None:
    home, contracts = market
    old, new = Keys.generate(), Keys.generate()
    admit(home, old, "buyer")
    words = [to_hex(keys.signer.address) for keys in (old, new)]
    for _ in range(2):
        say(home, "registrar", "replace", *words, "--encryption-key", to_hex(new.x25519_public))
    assert contracts.participants.get(old.signer.address).status is ParticipantStatus.REPLACED
    assert contracts.participants.get(new.signer.address).has(Roles.BUYER)


def test_a_bond_is_posted_and_withdrawn_once_for_each_reference(market: tuple[Home, Contracts]) -> None:
    home, contracts = market
    keys = accounts.open_existing(home, "exchange")
    admit(home, keys, "broker")
    run(home, "bank", "mint", to_hex(keys.signer.address), 900, "--reference", "bond")
    for _ in range(2):
        assert say(home, "broker", "post-bond", 700, "--reference", "1") == "bond: 700, of which 0 locked"
    assert say(home, "broker", "withdraw-bond", 200, "--reference", "1") == "bond: 500, of which 0 locked"
    with pytest.raises(CliError, match="Settlement"):
        say(home, "broker", "withdraw-bond", 501, "--reference", "2")
    assert contracts.settlement.balance_of(keys.signer.address) == 400


def test_a_holder_on_its_own_registers_as_far_as_its_exchange_and_retires_its_asset(
    market: tuple[Home, Contracts], tmp_path: Path
) -> None:
    home, contracts = market
    policy, [table] = electricity(home, holders=1, rows=50)
    alone = Home(tmp_path / "alone")
    alone.passphrases.mkdir(parents=True)
    keys, rpc = (
        accounts.open_or_create(alone, "holders/1"),
        read_json(home.exchange / "settings.json")["rpc_url"],
    )
    place = ("--exchange", "http://127.0.0.1:9", "--rpc", rpc, "--deployment", home.deployment)
    say(alone, "holder", "init", *place, "--policy", policy, "--data", table)
    register = ("holder", "register", "--broker", accounts.address(home, "exchange"))
    admit(home, keys, "holder")
    with pytest.raises(CliError, match="nothing to pay gas with"):
        say(alone, *register)
    chain_process.fund(rpc, [keys.signer.address])
    with pytest.raises(CliError, match="ExchangeUnreachable"):
        say(alone, *register)
    asset = asset_id(keys.signer.address, "electricity")
    assert contracts.assets.get(asset).status == AssetStatus.REGISTERED
    for _ in range(2):
        assert say(alone, "holder", "retire", "electricity") == "electricity: retired"
    assert contracts.assets.get(asset).status == AssetStatus.RETIRED
    with pytest.raises(CliError, match="not registered"):
        say(alone, "holder", "retire", "water")
