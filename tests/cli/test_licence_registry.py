"""What the registrar logs it also writes to the registry: exactly, once, and after a failure the rest of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import accounts, chain_process
from cli.errors import CliError
from cli.home import Home, read_json
from cli.licence.client import CityClient, Receipt
from cli.licence.commands import app
from cli.licence.registrar import Registrar
from cli.licence.registry import ACCOUNT, RegistryDesk, open_desk
from ledger.anchors.names import city_id, issuer_id, type_id
from ledger.anchors.types import KeyStatus
from ledger.chain import Chain
from ledger.keystore import address_in
from ledger.licences.issuers import KeySpan
from ledger.licences.keys import PublicKey, SigningKey
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.notes import NoteSigner
from ledger.types import Address, to_hex
from tests.ledger.anchors.conftest import trust as trust
from tests.ledger.anchors.conftest import trust_chain as trust_chain
from tests.ledger.anchors.world import OPERATOR, REGISTRAR, Trust
from tests.ledger.conftest import signer_for

ORIGIN, OTHER = "licences.dg.example", "licences.hz.example"
USCC = "1144190056666777AT"
BUSINESS, FOOD = "11100000MB0143028R001", "11100000MB0143028R002"
OFFICE, CITY = issuer_id(USCC), city_id(ORIGIN)


class Service(CityClient):
    """A city's service that logs everything it is handed."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.events: list[str] = []
        self.histories: list[str] = []
        self._signer = NoteSigner.from_seed(ORIGIN, bytes(32))

    @property
    def origin(self) -> str:
        return ORIGIN

    def checkpoint(self, *, is_cosigned: bool = True) -> str:
        return sign_checkpoint(Checkpoint(ORIGIN, 1 + len(self.events), bytes(32)), self._signer)

    def submit(self, event: str) -> Receipt:
        self.events.append(event)
        return Receipt(len(self.events), bytes(32))

    def publish_history(self, history: str) -> None:
        self.histories.append(history)


def public(name: str) -> PublicKey:
    return SigningKey.generate("EdDSA", name.encode().ljust(32)).public


def desk_of(trust: Trust) -> RegistryDesk:
    return RegistryDesk(trust.chain, trust.deployment.issuers, REGISTRAR)


@pytest.fixture
def service() -> Service:
    """A city's service."""
    return Service()


@pytest.fixture
def registrar(trust: Trust, service: Service, tmp_path: Path) -> Registrar:
    """The registrar of a city with a chain."""
    key = SigningKey.generate("EdDSA", b"registrar".ljust(32))
    return Registrar(tmp_path, key, service, registry=desk_of(trust), now_s=lambda: 1_767_225_600.0)


def sent(trust: Trust) -> int:
    return trust.chain.transaction_count(REGISTRAR.address)


def recognised(trust: Trust, kind: str, issuer: bytes = OFFICE) -> bool:
    return trust.issuers.is_recognised(issuer, type_id(kind), CITY)


def test_keys_that_are_admitted_retired_and_compromised_are_so_in_the_registry(
    trust: Trust, registrar: Registrar
) -> None:
    old, new = public("old"), public("new")
    registrar.add_key(USCC, old, [BUSINESS, FOOD])
    assert (recognised(trust, BUSINESS), recognised(trust, FOOD)) == (True, True)
    assert trust.issuers.key(OFFICE, old.key_id).status is KeyStatus.ACTIVE
    registrar.add_key(USCC, new, [BUSINESS])
    registrar.retire_key(USCC, old.key_id)
    assert trust.issuers.key(OFFICE, old.key_id).status is KeyStatus.RETIRED
    assert (recognised(trust, BUSINESS), recognised(trust, FOOD)) == (True, False)
    registrar.compromise_key(USCC, old.key_id)
    registrar.compromise_key(USCC, new.key_id)
    for key in (old, new):
        assert trust.issuers.key(OFFICE, key.key_id).status is KeyStatus.COMPROMISED
    assert not recognised(trust, BUSINESS)


def test_a_repeat_sends_and_logs_nothing(trust: Trust, registrar: Registrar, service: Service) -> None:
    key = public("key")
    first = registrar.add_key(USCC, key, [BUSINESS])
    count = sent(trust)
    assert registrar.add_key(USCC, key, [BUSINESS]) == first
    assert (sent(trust), len(service.events)) == (count, 1)
    ended = registrar.retire_key(USCC, key.key_id)
    count = sent(trust)
    assert registrar.retire_key(USCC, key.key_id) == ended
    assert (sent(trust), len(service.events)) == (count, 2)
    with pytest.raises(CliError, match="ended"):
        registrar.add_key(USCC, key, [BUSINESS])
    with pytest.raises(CliError, match="no such key"):
        registrar.retire_key(USCC, public("unknown").key_id)


def test_a_key_is_not_admitted_again_for_other_types(registrar: Registrar) -> None:
    registrar.add_key(USCC, public("key"), [BUSINESS])
    with pytest.raises(CliError, match="other types"):
        registrar.add_key(USCC, public("key"), [BUSINESS, FOOD])


def test_what_a_failure_left_undone_is_done_by_the_repeat(
    trust: Trust, service: Service, registrar: Registrar, tmp_path: Path
) -> None:
    key = public("key")
    dead = RegistryDesk(Chain("http://127.0.0.1:9", timeout_s=1), trust.deployment.issuers, REGISTRAR)
    broken = Registrar(tmp_path, registrar.key, service, registry=dead, now_s=lambda: 1_767_225_600.0)
    with pytest.raises(CliError, match="logged, but not all of it is in the registry; repeat"):
        broken.add_key(USCC, key, [BUSINESS])
    assert trust.issuers.key(OFFICE, key.key_id).status is KeyStatus.NONE
    registrar.add_key(USCC, key, [BUSINESS])
    assert trust.issuers.key(OFFICE, key.key_id).status is KeyStatus.ACTIVE
    assert len(service.events) == 1


def test_a_key_that_went_through_everything_unwritten_gets_every_event(trust: Trust) -> None:
    spans = [KeySpan(public("key"), (BUSINESS,), 1, retired=2, compromised=3)]
    begin = trust.chain.block_number() + 1
    assert desk_of(trust).settle(ORIGIN, USCC, spans) == 3
    names = [type(event).__name__ for event in trust.issuers.events(begin, trust.chain.block_number())]
    assert names == ["KeyRegistered", "KeyRetired", "KeyCompromised"]
    assert desk_of(trust).settle(ORIGIN, USCC, spans) == 0


def test_a_key_that_its_issuer_ended_on_the_chain_alone_must_be_ended_in_the_log(
    trust: Trust, registrar: Registrar
) -> None:
    key = public("key")
    registrar.add_key(USCC, key, [BUSINESS])
    trust.send(REGISTRAR, trust.issuers.bind_issuer(OFFICE, OPERATOR.address))
    trust.send(OPERATOR, trust.issuers.compromise_key(OFFICE, key.key_id))
    with pytest.raises(CliError, match="compromised: say so in the log too"):
        registrar.add_key(USCC, key, [BUSINESS])
    registrar.compromise_key(USCC, key.key_id)
    assert not recognised(trust, BUSINESS)


def test_another_city_is_recognised_for_its_types_and_no_longer_for_those_left_out(trust: Trust) -> None:
    desk, other = desk_of(trust), city_id(OTHER)
    assert desk.settle_city(ORIGIN, OTHER, [BUSINESS, FOOD], []) == 2
    assert desk.settle_city(ORIGIN, OTHER, [BUSINESS, FOOD], [BUSINESS, FOOD]) == 0
    assert desk.settle_city(ORIGIN, OTHER, [FOOD], [BUSINESS, FOOD]) == 1
    assert (recognised(trust, BUSINESS, other), recognised(trust, FOOD, other)) == (False, True)


def test_an_account_that_is_not_the_registrars_is_refused_before_anything_is_logged(trust: Trust) -> None:
    desk_of(trust).require_registrar()
    stranger = RegistryDesk(trust.chain, trust.deployment.issuers, signer_for("stranger"))
    with pytest.raises(CliError, match="AccessManagedUnauthorized"):
        stranger.require_registrar()
    with pytest.raises(CliError, match=r"logged, but .* AccessManagedUnauthorized"):
        stranger.settle(ORIGIN, USCC, [KeySpan(public("key"), (BUSINESS,), 1)])
    nowhere = RegistryDesk(trust.chain, Address(b"\x77" * 20), REGISTRAR)
    with pytest.raises(CliError, match="no code"):
        nowhere.require_registrar()


# --- the commands' options -------------------------------------------------------------------------------


@pytest.fixture
def rpc_url(trust: Trust) -> Iterator[str]:
    """The chain's node."""
    yield trust.anvil.url


def test_an_account_is_made_deployed_for_and_opened_by_its_folder(tmp_path: Path, rpc_url: str) -> None:
    folder, city = tmp_path / "registrar", tmp_path / "city"
    made = CliRunner().invoke(app, ["keys", "account", "--registrar", str(folder)])
    assert made.exit_code == 0, made.output
    address = made.stdout.strip()
    assert address == to_hex(address_in(folder / ACCOUNT / "keystore.json"))
    accounts.open_or_create(_home(city), "administrator")
    chain_process.fund(rpc_url, [Address(address_in(city / "administrator" / "keystore.json"))])
    words = ["deploy", "--city", str(city), "--origin", ORIGIN, "--rpc", rpc_url, "--registrar", address]
    deployed = CliRunner().invoke(app, [*words, "--json"])
    assert deployed.exit_code == 0, deployed.output
    given = json.loads(deployed.stdout)
    with open_desk(folder, rpc=rpc_url, contract=given["issuers"], account=None) as desk:
        assert desk is not None
    (folder / "trust.json").write_text((city / "trust.json").read_text())
    with open_desk(folder, rpc=rpc_url, contract=None, account=folder / ACCOUNT) as desk:
        assert desk is not None
    with (
        pytest.raises(CliError, match="AccessManagedUnauthorized"),
        open_desk(folder, rpc=rpc_url, contract=None, account=city / "administrator"),
    ):
        pass
    with pytest.raises(CliError, match="--rpc"), open_desk(folder, rpc=None, contract=None, account=None):
        pass
    (folder / "trust.json").write_text(json.dumps({**read_json(city / "trust.json"), "chain_id": "5"}))
    with (
        pytest.raises(CliError, match="expected chain 5"),
        open_desk(folder, rpc=rpc_url, contract=None, account=None),
    ):
        pass


def _home(path: Path) -> Home:
    home = Home(path)
    home.passphrases.mkdir(parents=True)
    return home


def test_a_city_without_a_chain_has_no_registry_and_half_an_address_is_refused(tmp_path: Path) -> None:
    with open_desk(tmp_path, rpc=None, contract=None, account=None) as desk:
        assert desk is None
    for given in (
        {"rpc": None, "contract": "0x" + "11" * 20},
        {"rpc": "http://127.0.0.1:9", "contract": None},
        {"rpc": "http://127.0.0.1:9", "contract": "0x" + "11" * 20},  # and no account
    ):
        with pytest.raises(CliError), open_desk(tmp_path, account=None, **given):
            pass
    (tmp_path / "trust.json").write_text("{}")
    with pytest.raises(CliError, match="trust"), open_desk(tmp_path, rpc="x", contract=None, account=None):
        pass
