"""Two cities as their commands make them, served at ports of this process: 东莞 with a chain, 惠州 without."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn
from typer.testing import CliRunner

from api.licences.app import create_app
from api.licences.service import LicenceService, ServiceKeys
from api.serving import QUIET
from cli import accounts, chain_process
from cli.app import app
from cli.errors import CliError
from cli.home import Home
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.client import CityClient
from ledger.keystore import address_in
from ledger.licences.book import LicenceBook
from ledger.log.notes import NoteKey, NoteSigner
from ledger.types import Address
from tests.cli.witnesses import Witnesses
from tests.ledger.conftest import Anvil, free_port

USCC: Final = "1144190056666777AT"
HZ_USCC: Final = "1144130000777888B8"
BUSINESS: Final = "营业执照"


def shuyao(*words: object, code: int = 0) -> str:
    """Run a command in this process and return what it printed.

    Raises:
        CliError: the one line with which the command ends.
    """
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, (words, done.output)
    return done.stdout


def told(*words: object, code: int = 0) -> Any:
    """Run a command with `--json` and return what it said."""
    return json.loads(shuyao(*words, "--json", code=code).splitlines()[-1])


def refusal(*words: object) -> str:
    """Run a command that must be refused, and return the line with which it ends."""
    try:
        shuyao(*words)
    except CliError as err:
        return str(err)
    raise AssertionError(f"not refused: {words}")


@dataclass
class City:
    """One city: its folder, its registrar's and its department's, and its service in this process."""

    folder: Path
    registrar: Path
    office: Path
    uscc: str
    url: str
    service: LicenceService | None = None
    _stop: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def signing(self) -> Path:
        """The department's key file."""
        return self.office / "keys" / "signing.json"

    @property
    def client(self) -> CityClient:
        """A client of the service."""
        return CityClient(self.url)

    def issuing(self) -> list[object]:
        """The words by which a department names the city, itself and its key."""
        return ["--city", self.url, "--issuer", self.uscc, "--key", self.signing]

    def deciding(self) -> list[object]:
        """The words by which the registrar names its folder, the city and the department."""
        return ["--registrar", self.registrar, "--city", self.url, "--issuer", self.uscc]

    def serve(self, witnesses: Witnesses) -> None:
        """Open the book and listen at the port of the settings."""
        settings = city_folder.load(self.folder)
        log = keyring.open_key(keyring.key_path(self.folder, city_folder.LOG_KEY))
        signer = NoteSigner.from_seed(settings.origin, log.secret)
        witnesses.watch(signer.key)
        own = keyring.open_key(keyring.key_path(self.folder, city_folder.SERVICE_KEY))
        keys = ServiceKeys(signer, own, city_folder.operator(self.folder, settings))
        service = LicenceService(city_folder.book_folder(self.folder), settings, keys)
        service.start()
        server = uvicorn.Server(
            uvicorn.Config(create_app(service), host=settings.host, port=settings.port, **QUIET)
        )
        thread = threading.Thread(target=server.run)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(30)
            service.stop()

        self.service, self._stop = service, stop
        until(lambda: server.started)

    @property
    def book(self) -> LicenceBook:
        """The book of the service."""
        assert self.service is not None
        return self.service.book

    def publish(self) -> None:
        """Have everything published that is logged: status lists, the department's history, a cosigned checkpoint."""
        shuyao("licence", "keys", "history", *self.deciding())
        self.publish_statuses()

    def publish_statuses(self) -> None:
        """Have the status lists published that changed, and the checkpoint cosigned."""
        assert self.service is not None
        self.service.publish()

    def stop(self) -> None:
        """End the service."""
        self._stop()


@dataclass
class Town:
    """东莞, 惠州 beside it, a holder, and the chain."""

    root: Path
    anvil: Anvil
    dg: City
    hz: City
    holder: Path
    witnesses: list[Witnesses]

    def stop(self) -> None:
        """End everything."""
        for city in (self.dg, self.hz):
            city.stop()
        for group in self.witnesses:
            group.stop()
        self.anvil.kill()


def until(holds: Callable[[], bool], *, timeout_s: float = 30) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def make_town(root: Path) -> Town:
    """Make both cities by their commands, admit a department in each, and serve them."""
    anvil = Anvil(("--hardfork", "prague"))
    anvil.start()
    holder = root / "holder" / "keys" / "me.json"
    shuyao("licence", "keys", "new", holder, "--alg", "ES256", "--unattended")
    groups = []
    cities = []
    for short, name, uscc in (("dg", "东莞", USCC), ("hz", "惠州", HZ_USCC)):
        group = Witnesses(root / short / "witnesses", anvil)
        made = _make_city(root / short, name, uscc, group, anvil if short == "dg" else None)
        made.serve(group)
        groups.append(group)
        cities.append(made)
        rpc = ["--rpc", anvil.url] if short == "dg" else []
        shuyao("licence", "keys", "admit", made.signing, *made.deciding(), "--type", BUSINESS, *rpc)
    return Town(root, anvil, cities[0], cities[1], holder, groups)


def _make_city(root: Path, name: str, uscc: str, witnesses: Witnesses, anvil: Anvil | None) -> City:
    port = free_port()
    made = City(root / "city", root / "registrar", root / "office", uscc, f"http://127.0.0.1:{port}")
    origin = f"licences.{root.name}.example"
    for path in (made.registrar / "keys" / "registrar.json", made.signing):
        shuyao("licence", "keys", "new", path, "--unattended")
    words: list[object] = ["--city", made.folder, "--origin", origin]
    chain = [] if anvil is None else _deploy(made, words, anvil)
    listening = [f"--witness={vkey}={url}" for vkey, url in witnesses.serve().items()]
    registrar = ["--registrar", made.registrar / "keys" / "registrar.json"]
    more = ["--name", name, "--port", port, "--unattended"]
    log_key = shuyao("licence", "init", *words, *registrar, *listening, *chain, *more).strip()
    assert NoteKey.parse(log_key).name == origin
    return made


def _deploy(city: City, words: list[object], anvil: Anvil) -> list[object]:
    """Deploy the city's contracts by the command; returns what `licence init` wants of them."""
    registrar = shuyao("licence", "keys", "account", "--registrar", city.registrar).strip()
    home = Home(city.folder)
    home.passphrases.mkdir(parents=True, mode=0o700)
    for who in ("administrator", "operator"):
        accounts.open_or_create(home, who)
        chain_process.fund(anvil.url, [Address(address_in(city.folder / who / "keystore.json"))])
    chain_process.fund(anvil.url, [Address(address_in(city.registrar / "account" / "keystore.json"))])
    made = told("licence", "deploy", *words, "--rpc", anvil.url, "--registrar", registrar)
    (city.registrar / "trust.json").write_bytes((city.folder / "trust.json").read_bytes())
    return ["--rpc", anvil.url, "--chain-id", made["chain_id"], "--contract", made["anchor"]]
