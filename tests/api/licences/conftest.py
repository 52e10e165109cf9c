"""A city's service in this process: a real book and real witnesses, reached without any socket."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.licences.app import create_app
from api.licences.http_post import Poster
from api.licences.service import LicenceService, ServiceKeys
from api.licences.settings import CitySettings, WitnessAddress
from api.licences.signed import make_request
from cli.licence.client import CityClient
from cli.licence.department import Department, IssuedLicence, Order
from cli.licence.registrar import Registrar
from cli.licence.wallet import Wallet
from ledger.licences.book import LicenceBook
from ledger.licences.checks import Parties
from ledger.licences.keys import SigningKey
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.log.errors import WitnessUnreachable
from ledger.log.notes import COSIGNATURE, NoteSigner
from ledger.log.witness import Witness
from tests.api.clients import Clock

NOW = 1_767_225_600  # 2026-01-01T00:00:00Z
ORIGIN = "licences.test.example"
USCC = "1144190056666777AT"
OTHER_USCC = "1144190000733017X3"
VERIFIER = "https://bank.example"
WITNESSES = ("regulator.example", "notary.example", "sz.example", "gz.example")


def seed(name: str) -> bytes:
    """Return 32 bytes that are always the same for a name."""
    return hashlib.sha256(name.encode()).digest()


def key(name: str) -> SigningKey:
    """Return the key of a party of the tests."""
    return SigningKey.generate("EdDSA", seed(name))


class DirectPost(Poster):
    """Reaches witnesses in this process; those in `dead` do not answer."""

    def __init__(self, witnesses: dict[str, Witness], clock: Clock) -> None:
        super().__init__()
        self.witnesses, self.clock, self.dead = witnesses, clock, set[str]()

    def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
        name = url.removeprefix("http://").partition("/")[0]
        if name in self.dead or not url.endswith("/add-checkpoint"):
            raise WitnessUnreachable("no answer")
        answer = self.witnesses[name].add_checkpoint(body, int(self.clock()))
        return answer.status, answer.body


@dataclass
class LicenceWorld:
    """Everything around one service."""

    service: LicenceService
    http: TestClient
    client: CityClient
    post: DirectPost
    clock: Clock
    registrar: Registrar
    holder: SigningKey
    departments: dict[str, Department] = field(default_factory=dict)

    @property
    def kind(self) -> LicenceType:
        """The business licence."""
        return next(kind for kind in demonstration_types().values() if kind.name == "营业执照")

    @property
    def wallet(self) -> Wallet:
        """The holder's wallet."""
        return Wallet(self.holder, now_s=self.clock)

    def department(self, uscc: str = USCC) -> Department:
        """Return a department whose key is admitted."""
        if uscc not in self.departments:
            made = key(f"department {uscc}")
            self.registrar.add_key(uscc, made.public, [self.kind.code])
            self.departments[uscc] = Department(uscc, made, self.client, now_s=self.clock)
        return self.departments[uscc]

    def order(self, **changes: object) -> Order:
        """Return a licence to issue."""
        values = {"entity_name": "东莞市示例有限公司", "legal_representative": "陈示例"}
        return Order(self.kind, values, self.holder.public, **changes)  # type: ignore[arg-type]  # of any field

    def issue(self, **changes: object) -> IssuedLicence:
        """Issue a licence and have it published."""
        made = self.department().issue(self.order(**changes))
        self.publish()
        return made

    def request(self, action: str, arguments: dict[str, str], *, uscc: str = USCC, **changes: Any) -> str:
        """Return what a department signs to ask for something, perhaps with other members than it would have."""
        department = self.department(uscc)
        given = {
            "origin": ORIGIN,
            "issuer": department.speaker.issuer,
            "key": department.key,
            "now_s": int(self.clock()),
            "rand": secrets.token_bytes(16),
            **changes,
        }
        return make_request(action, arguments, **given)

    def publish(self) -> None:
        """Do what the duties and the registrar's desk do."""
        self.service.publish()
        self.registrar.attend(0)
        self.service.publish()

    def verify(self, credential: str, names: tuple[str, ...] = ()) -> httpx.Response:
        """Present a credential and return the service's answer."""
        nonce = self.client.nonce()
        shown = self.wallet.present(credential, names, nonce=nonce, audience=VERIFIER)
        body = {"presentation": shown, "nonce": nonce, "audience": VERIFIER}
        found: httpx.Response = self.http.post("/licences/verify", json=body)
        return found


def make_city(root: Path, witnesses: dict[str, NoteSigner]) -> tuple[CitySettings, ServiceKeys]:
    """Make an empty book, and return the settings and keys of its service."""
    log, service = NoteSigner.from_seed(ORIGIN, seed("log")), key("service")
    registrar = key("registrar").public
    LicenceBook.create(
        root, Parties(ORIGIN, registrar, service.public), log, rand=seed("a") + seed("b")
    ).close()
    settings = CitySettings(
        origin=ORIGIN,
        name="东莞",
        log_key=log.key.to_text(),
        registrar=registrar.jwk(),
        service=service.public.jwk(),
        witnesses=tuple(
            WitnessAddress(each.key.to_text(), f"http://{name}") for name, each in witnesses.items()
        ),
    )
    return settings, ServiceKeys(log, service)


@pytest.fixture
def clock() -> Clock:
    """The wall clock, which only the test moves."""
    return Clock(NOW)


@pytest.fixture
def world(tmp_path: Path, clock: Clock) -> Iterator[LicenceWorld]:
    """A service with four witnesses and a registrar; nothing is logged yet."""
    with running_world(tmp_path, clock) as made:
        yield made


@contextmanager
def running_world(folder: Path, clock: Clock) -> Iterator[LicenceWorld]:
    """Run a service with four witnesses and a registrar in an empty folder."""
    signers = {name: NoteSigner.from_seed(name, seed(name), algorithm=COSIGNATURE) for name in WITNESSES}
    settings, keys = make_city(folder / "book", signers)
    logs = {ORIGIN: keys.log.key}
    post = DirectPost({n: Witness(s, logs, folder / n) for n, s in signers.items()}, clock)
    service = LicenceService(folder / "book", settings, keys, post=post, now_s=clock)
    app = create_app(service)
    with TestClient(app, base_url="http://city.example", raise_server_exceptions=False) as http:
        client = CityClient("http://city.example", now_s=clock, http=http)
        registrar = Registrar(folder, key("registrar"), client, now_s=clock)
        yield LicenceWorld(service, http, client, post, clock, registrar, key("holder"))
    service.stop()
