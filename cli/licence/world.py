"""The cities of a demonstration: a chain, two licence services with their contracts, four witnesses, departments, and a holder.

Everything is a process of its own with keys of its own; what a party signs in this process is signed with the key file of that party.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from cli import accounts, chain_process, processes, witness
from cli.errors import CliError
from cli.home import Home, repository_root, write_json
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.client import CityClient, Speaker
from cli.licence.department import Department, Order
from cli.licence.registrar import Registrar
from cli.licence.registry import ACCOUNT, TRUST_FILE, RegistryDesk
from cli.licence.wallet import Wallet
from ledger.anchors.deploy import deploy_trust
from ledger.anchors.names import city_id
from ledger.chain import Chain
from ledger.licences.events import service_urn
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.types import to_hex

if TYPE_CHECKING:
    from ledger.anchors.types import TrustDeployment
    from ledger.keystore import Keys
    from ledger.licences.keys import SigningKey

BLOCK_TIME_S: Final = 0.3
WITNESSES: Final = (
    "regulator.example",
    "notary.example",
    "neighbour-sz.example",
    "neighbour-gz.example",
)
THRESHOLD: Final = 3
DAY_S: Final = 86_400

BUSINESS: Final = "business_licence"
FOOD: Final = "food_operation"
ESTATE: Final = "real_estate"
RESIDENCE: Final = "residence_permit"
TRANSPORT: Final = "road_transport"
KIND_NAMES: Final = {
    BUSINESS: "营业执照",
    FOOD: "食品经营许可证",
    ESTATE: "不动产权证书",
    RESIDENCE: "居住证",
    TRANSPORT: "道路运输经营许可证",
}


@dataclass(frozen=True, slots=True)
class Office:
    """A department of the demonstration: its name, its credit code, the city where it issues, and the types that it may."""

    folder: str
    name: str
    uscc: str
    city: str
    kinds: tuple[str, ...]


OFFICES: Final = (
    Office("dg-market", "东莞市市场监督管理局", "1144190056666777AT", "dg", (BUSINESS, FOOD)),
    Office("dg-affairs", "东莞市政务服务中心", "1144190000733017X3", "dg", (ESTATE, RESIDENCE, TRANSPORT)),
    Office("hz-market", "惠州市市场监督管理局", "1144130000777888B8", "hz", (BUSINESS, FOOD)),
)
CITIES: Final = {
    "dg": ("东莞", "licences.dg.example"),
    "hz": ("惠州", "licences.hz.example"),
}


@dataclass(frozen=True, slots=True)
class DemoCity:
    """One city of the demonstration as its people see it."""

    short: str
    name: str
    origin: str
    folder: Path
    url: str
    client: CityClient
    trust: TrustDeployment

    def operator(self) -> Speaker:
        """Return who runs the service, with the service's key."""
        return Speaker(service_urn(self.origin), keyring.open_key(keyring.key_path(self.folder, "service")))


class World:
    """The demonstration's parties. `build` once; `processes.stop_all` ends it.

    Args:
        home: an empty instance.
        now_s: clock, Unix seconds.
    """

    def __init__(self, home: Home, *, now_s: Callable[[], float] = time.time) -> None:
        self.home, self.now_s = home, now_s
        self.cities: dict[str, DemoCity] = {}
        self.departments: dict[str, Department] = {}
        self.registrars: dict[str, Registrar] = {}
        self._desks: dict[str, RegistryDesk] = {}
        self.kinds = _kinds_by_name()
        self.rpc_url = ""

    # --- set-up ----------------------------------------------------------------------------------------------

    def start_chain(self) -> str:
        """Start the development chain."""
        self.rpc_url = chain_process.start(self.home, block_time_s=BLOCK_TIME_S)
        with Chain(self.rpc_url) as chain:
            return f"chain {chain.chain_id()} at block {chain.block_number()}"

    def deploy(self) -> dict[str, TrustDeployment]:
        """Deploy a LogAnchor and an IssuerRegistry for each city."""
        owners = {"deployer": (self.home, "operator")}
        for short in CITIES:
            owners[short] = (Home(self.city_folder(short)), "operator")
            owners[f"registrar {short}"] = (Home(self.registrar_folder(short)), ACCOUNT)
        with ThreadPoolExecutor(len(owners)) as pool:
            keys = dict(zip(owners, pool.map(_account, owners.values()), strict=True))
        chain_process.fund(self.rpc_url, [each.signer.address for each in keys.values()])
        found = {}
        with Chain(self.rpc_url) as chain:
            for short, (_, origin) in CITIES.items():
                operator = keys[short].signer.address
                found[short] = deploy_trust(
                    chain,
                    keys["deployer"].signer,
                    operator=operator,
                    registrar=keys[f"registrar {short}"].signer.address,
                    origin_hash=city_id(origin),
                )
                for folder in (self.city_folder(short), self.registrar_folder(short)):
                    write_json(folder / TRUST_FILE, found[short].to_json())
                self._desks[short] = RegistryDesk(
                    Chain(self.rpc_url), found[short].issuers, keys[f"registrar {short}"].signer
                )
        return found

    def make_witnesses(self) -> dict[str, str]:
        """Make the witnesses' folders; returns their addresses by vkey."""

        def make(name: str) -> tuple[str, str]:
            port = ports[name]
            given = {"name": name, "rpc_url": self.rpc_url, "host": "127.0.0.1", "port": port}
            made = witness.create(self.witness_folder(name), given, key_options={"is_unattended": True})
            return made.vkey, f"http://127.0.0.1:{port}"

        ports = {name: processes.free_port() for name in WITNESSES}
        with ThreadPoolExecutor(len(WITNESSES)) as pool:
            return dict(pool.map(make, WITNESSES))

    def make_cities(self, trusts: dict[str, TrustDeployment], witnesses: dict[str, str]) -> None:
        """Make the cities' folders: logs, keys, settings; and have every witness watch every log."""
        for short, (name, origin) in CITIES.items():
            trust, folder = trusts[short], self.city_folder(short)
            registrar = keyring.open_or_make_key(keyring.key_path(self.registrar_folder(short), "registrar"))
            port = processes.free_port()
            settings = city_folder.create(
                folder,
                city_folder.Founding(
                    origin=origin,
                    name=name,
                    registrar=registrar.public,
                    witnesses=witnesses,
                    threshold=THRESHOLD,
                    anchor=(self.rpc_url, trust.chain_id, to_hex(trust.anchor)),
                    port=port,
                    pace={"cosign_s": 0.5, "seal_s": 5.0},
                ),
            )
            url = f"http://127.0.0.1:{port}"
            self.cities[short] = DemoCity(short, name, origin, folder, url, CityClient(url), trust)
            log = {
                "vkey": settings.log_key,
                "origin": origin,
                "chain_id": trust.chain_id,
                "contract": to_hex(trust.anchor),
            }
            for witness_name in WITNESSES:
                witness.add_log(self.witness_folder(witness_name), log)

    def start_processes(self) -> None:
        """Start the witnesses and the services, and wait until all answer."""
        for name in WITNESSES:
            self.spawn_witness(name)
        for short in self.cities:
            self.spawn_service(short)
        for name in WITNESSES:
            self.await_process(f"witness-{name}")
        for short in self.cities:
            self.await_process(f"licences-{short}")

    def spawn_registrar(self, short: str) -> None:
        """Start the registrar's desk of one city: it signs the issuers' histories as the log grows."""
        words = ["--registrar", str(self.registrar_folder(short)), "--city", self.cities[short].url]
        argv = processes.python_argv("licence", "keys", "attend", *words, "--every", "0.3")
        processes.spawn(self.home, f"registrar-{short}", argv)

    def spawn_witness(self, name: str) -> None:
        """Start one witness."""
        folder = self.witness_folder(name)
        settings = witness.load_settings(folder)
        argv = processes.python_argv("witness", "run", str(folder))
        processes.spawn(self.home, f"witness-{name}", argv, url=f"http://127.0.0.1:{settings.port}")

    def spawn_service(self, short: str) -> None:
        """Start one city's service."""
        city = self.cities[short]
        argv = processes.python_argv("licence", "serve", "--city", str(city.folder))
        processes.spawn(self.home, f"licences-{short}", argv, url=city.url)

    def await_process(self, name: str) -> None:
        """Wait until a process answers.

        Raises:
            ProcessFailed: it ended, or does not answer in time.
        """
        process = processes.find(self.home, name)
        if process is None or process.url is None:
            raise CliError(f"{name} is not running: {processes.log_tail(self.home.logs / f'{name}.log')}")
        url = process.url
        processes.wait_ready(self.home, process, lambda: _answers(url))

    def admit(self) -> None:
        """Have the registrars admit every department's key, in the log and in the registry."""
        for short, city in self.cities.items():
            folder = self.registrar_folder(short)
            key = keyring.open_key(keyring.key_path(folder, "registrar"))
            self.registrars[short] = Registrar(
                folder, key, city.client, registry=self._desks[short], now_s=self.now_s
            )
        for office in OFFICES:
            path = keyring.key_path(self.home.path / "departments" / office.folder, "signing")
            key = keyring.open_or_make_key(path)
            types = [self.kinds[name].code for name in office.kinds]
            self.registrars[office.city].add_key(office.uscc, key.public, types)
            client = self.cities[office.city].client
            self.departments[office.folder] = Department(office.uscc, key, client, now_s=self.now_s)
        for short in self.cities:
            self.spawn_registrar(short)

    # --- parties ---------------------------------------------------------------------------------------------

    def holder_key(self) -> SigningKey:
        """Return the holder's key, made now if there is none."""
        return keyring.open_or_make_key(
            keyring.key_path(self.home.path / "wallet", "holder"), algorithm="ES256"
        )

    def wallet(self, key: SigningKey) -> Wallet:
        """Return the holder's wallet."""
        return Wallet(key, now_s=self.now_s)

    def city_folder(self, short: str) -> Path:
        """Return a city's folder."""
        return self.home.path / "cities" / short

    def registrar_folder(self, short: str) -> Path:
        """Return a registrar's folder."""
        return self.home.path / "registrars" / short

    def witness_folder(self, name: str) -> Path:
        """Return a witness's folder."""
        return self.home.path / "witnesses" / name

    def policy(self, *shorts: str, **changes: Any) -> dict[str, Any]:
        """Return a verifier's policy that trusts these cities, as their keepers published them."""
        cities = [city_folder.load(self.cities[short].folder).city() for short in shorts]
        return city_folder.policy_json(cities, **changes)

    def order(self, kind: str, holder: SigningKey, **changes: Any) -> Order:
        """Return an example licence of a kind, for this holder."""
        return Order(self.kinds[kind], example_values(kind), holder.public, **changes)


def _account(owner: tuple[Home, str]) -> Keys:
    """Return an account on the chain by its owner's folder and its name there, made now if there is none."""
    home, who = owner
    home.passphrases.mkdir(parents=True, exist_ok=True, mode=0o700)
    return accounts.open_or_create(home, who)


def example_values(kind: str) -> dict[str, Any]:
    """Return the example fields of a kind, out of `examples/licences`."""
    path = repository_root() / "examples" / "licences" / f"{kind}.json"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    return values


def _kinds_by_name() -> dict[str, LicenceType]:
    by_title = {kind.name: kind for kind in demonstration_types().values()}
    return {name: by_title[title] for name, title in KIND_NAMES.items()}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
