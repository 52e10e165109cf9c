"""`transfer`, `reclaim` and `adopt`: credits and assets move on, once, and only to who may have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import accounts, chain_process
from cli.authority import open_desk
from cli.demo.tables import electricity
from cli.errors import CliError
from cli.home import Home, read_json
from ledger.contracts import Contracts
from ledger.keystore import Keys
from ledger.names import asset_id
from ledger.types import to_hex
from tests.cli.test_authority import admit, market, run, say

__all__ = ["market"]  # a fixture


def rpc_of(home: Home) -> str:
    return str(read_json(home.exchange / "settings.json")["rpc_url"])


def address(keys: Keys) -> str:
    return to_hex(keys.signer.address)


def pay(home: Home, keys: Keys, amount: int, reference: str) -> None:
    run(home, "bank", "mint", address(keys), amount, "--reference", reference)


def replace(home: Home, old: Keys, new: Keys) -> None:
    key = to_hex(new.x25519_public)
    say(home, "registrar", "replace", address(old), address(new), "--encryption-key", key)


def alone(folder: Path, home: Home, who: str) -> tuple[Home, Keys]:
    """A party on a machine of its own, with something to pay gas with."""
    made = Home(folder)
    made.passphrases.mkdir(parents=True)
    keys = accounts.open_or_create(made, who)
    chain_process.fund(rpc_of(home), [keys.signer.address])
    return made, keys


def buyer(folder: Path, home: Home) -> tuple[Home, Keys]:
    made, keys = alone(folder, home, "buyer")
    place = ("--exchange", "http://127.0.0.1:9", "--rpc", rpc_of(home), "--deployment", home.deployment)
    say(made, "buyer", "init", *place)
    return made, keys


def holder(folder: Path, home: Home) -> tuple[Home, Keys]:
    made, keys = alone(folder, home, "holders/1")
    policy, [table] = electricity(made, holders=1, rows=50)
    place = ("--exchange", "http://127.0.0.1:9", "--rpc", rpc_of(home), "--deployment", home.deployment)
    say(made, "holder", "init", *place, "--policy", policy, "--data", table)
    return made, keys


def test_credits_are_given_on_once_for_each_reference(market: tuple[Home, Contracts], tmp_path: Path) -> None:
    home, contracts = market
    for kind, (own, keys) in {
        "buyer": buyer(tmp_path / "buyer", home),
        "holder": holder(tmp_path / "holder", home),
    }.items():
        pay(home, keys, 500, f"{kind} 500")
        to = Keys.generate()
        for _ in range(2):
            shown = run(own, kind, "transfer", address(to), 120, "--reference", "工资 1")
            assert shown == {"address": address(keys), "to": address(to), "amount": "120", "balance": "380"}
        with pytest.raises(CliError, match="IntentConflict"):
            say(own, kind, "transfer", address(to), 121, "--reference", "工资 1")
        with pytest.raises(CliError, match="InsufficientBalance"):
            say(own, kind, "transfer", address(to), 381, "--reference", "2")
        text = say(own, kind, "transfer", address(to).upper().replace("0X", "0x"), 80, "--reference", "3")
        assert text == f"{address(to)}: 80 given, 300 left"
        assert contracts.settlement.balance_of(to.signer.address) == 200


def test_a_buyer_takes_over_what_its_lost_account_has_and_what_comes_to_it_later(
    market: tuple[Home, Contracts], tmp_path: Path
) -> None:
    home, contracts = market
    lost, (own, keys) = Keys.generate(), buyer(tmp_path / "new", home)
    admit(home, lost, "buyer")
    pay(home, lost, 700, "before")
    with pytest.raises(CliError, match="SettlementNotSuccessor"):
        say(own, "buyer", "reclaim", address(lost))
    replace(home, lost, keys)
    first = run(own, "buyer", "reclaim", address(lost))
    assert first == {
        "from": address(lost),
        "address": address(keys),
        "credits": "700",
        "bond": "0",
        "locked": "0",
        "balance": "700",
    }
    sent = contracts.chain.transaction_count(keys.signer.address)
    assert run(own, "buyer", "reclaim", address(lost)) == {**first, "credits": "0"}
    assert contracts.chain.transaction_count(keys.signer.address) == sent
    pay(home, lost, 30, "a refund")
    assert say(own, "buyer", "reclaim", address(lost)).startswith("30 credits and 0 of the bond of")
    assert contracts.settlement.balance_of(keys.signer.address) == 730
    stranger, _ = buyer(tmp_path / "stranger", home)
    pay(home, lost, 5, "another refund")
    with pytest.raises(CliError, match="SettlementNotSuccessor"):
        say(stranger, "buyer", "reclaim", address(lost))


@pytest.mark.slow
def test_a_broker_takes_over_credits_and_free_bond_and_gives_on_what_is_no_bond(
    market: tuple[Home, Contracts],
) -> None:
    home, contracts = market
    lost, keys = accounts.open_or_create(home, "lost"), accounts.open_existing(home, "exchange")
    chain_process.fund(rpc_of(home), [lost.signer.address])
    admit(home, lost, "broker")
    pay(home, lost, 900, "the lost broker")
    with open_desk(home, "lost") as desk:
        desk.execute("bond", desk.contracts.settlement.post_bond(600))
    replace(home, lost, keys)
    found = run(home, "broker", "reclaim", address(lost))
    assert (found["credits"], found["bond"], found["balance"]) == ("300", "600", "900")
    assert contracts.settlement.bond_of(lost.signer.address).total == 0
    say(home, "broker", "post-bond", 850, "--reference", "again")
    to = address(Keys.generate())
    with pytest.raises(CliError, match="InsufficientBalance"):
        say(home, "broker", "transfer", to, 51, "--reference", "too much")
    assert run(home, "broker", "transfer", to, 50, "--reference", "all")["balance"] == "0"


@pytest.mark.slow
def test_a_holder_adopts_the_assets_of_its_lost_account(
    market: tuple[Home, Contracts], tmp_path: Path
) -> None:
    home, contracts = market
    (old, lost), (new, keys) = holder(tmp_path / "old", home), holder(tmp_path / "new", home)
    admit(home, lost, "holder")
    pay(home, lost, 40, "earned")
    with pytest.raises(CliError, match="ExchangeUnreachable"):  # after the chain has it
        say(old, "holder", "register", "--broker", accounts.address(home, "exchange"))
    asset = to_hex(asset_id(lost.signer.address, "electricity"))
    with pytest.raises(CliError, match="Participants"):
        say(new, "holder", "adopt", asset)
    replace(home, lost, keys)
    before = contracts.assets.get(asset_id(lost.signer.address, "electricity"))
    for _ in range(2):
        shown = run(new, "holder", "adopt", asset)
        assert shown == {"asset": asset, "holder": address(keys), "version": before.version}
    after = contracts.assets.get(asset_id(lost.signer.address, "electricity"))
    assert (after.holder, after.line, after.status) == (keys.signer.address, before.line, before.status)
    assert say(new, "holder", "adopt", asset) == f"{asset}: version {before.version}, of {address(keys)} now"
    assert run(new, "holder", "reclaim", address(lost))["credits"] == "40"
    stranger, other = holder(tmp_path / "stranger", home)
    admit(home, other, "holder")
    with pytest.raises(CliError, match="AssetRegistryNotSuccessor"):
        say(stranger, "holder", "adopt", asset)
    with pytest.raises(CliError, match="expected"):
        say(new, "holder", "adopt", "electricity")
