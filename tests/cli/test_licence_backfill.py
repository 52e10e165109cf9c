"""`shuyao licence backfill`: what it logs is cosigned and anchored as it goes, through kill -9 and outages, and at the end."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cli import accounts
from cli.home import Home
from cli.licence import backfill_command, keyring
from cli.licence import city as city_folder
from cli.output import Stages
from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.deploy import deploy_trust
from ledger.deploy import fund
from ledger.encoding import Address, to_hex
from ledger.licences.book import LicenceBook
from ledger.licences.bundles import BundleMaker
from ledger.licences.events import KeyEvent, Kind, make_event
from ledger.licences.identifiers import Identifier
from ledger.licences.keys import SigningKey
from ledger.licences.leaf import LICENCE_KINDS, Leaf
from ledger.licences.policy import TrustPolicy
from ledger.licences.publish import Publisher
from ledger.licences.verify import State, verify
from ledger.log.notes import NoteSigner
from ledger.signing import Signer
from tests.cli.witnesses import Witnesses
from tests.ledger.conftest import ETHER, RICH, Anvil, free_port, start_anvil
from tests.ledger.licences.test_backfill import KIND, write_rows
from tests.ledger.licences.world import seed_of, uscc

__all__ = ["start_anvil"]  # a fixture

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "licences.backfill.example"
DEPARTMENT = uscc("11330200MB15")
MAPPING = {
    "version": 1,
    "type": KIND.code,
    "type_version": KIND.version,
    "issuer": DEPARTMENT,
    "serial": {"column": "编号"},
    "licence_version": "001",
    "first_day": {"column": "发证日期"},
    "last_day": {"column": "有效期至"},
    "fields": {"entity_name": "名称", "registered_capital": "注册资本"},
    "holder": SigningKey.generate("EdDSA", seed_of("backfill", "custodian")).public.jwk(),
}
REGISTRAR = SigningKey.generate("EdDSA", seed_of("backfill", "registrar"))


@dataclass
class City:
    """A city's folder as `licence init` and `licence deploy` leave it, with its chain and its witnesses."""

    folder: Path
    anvil: Anvil
    witnesses: Witnesses
    contract: Address
    key: Path

    def work(self, source: Path, rows: int, **changes: Any) -> backfill_command.Work:
        """Return a backfill of that many rows with one commit for each 256."""
        if not source.exists():
            write_rows(source, rows)
        given = {"workers": 1, "publish_every_s": 0.2, "commit_bundles": 1, **changes}
        return backfill_command.Work(source, self.folder / "mapping.json", self.folder, self.key, **given)

    def on_chain(self) -> LogAnchorContract:
        return LogAnchorContract(self.anvil.chain, self.contract)

    def log_signer(self) -> NoteSigner:
        log = keyring.open_key(keyring.key_path(self.folder, city_folder.LOG_KEY))
        return NoteSigner.from_seed(ORIGIN, log.secret)

    def book(self) -> LicenceBook:
        return LicenceBook.open(city_folder.book_folder(self.folder), self.log_signer())


def run(work: backfill_command.Work) -> dict[str, Any]:
    return backfill_command.run(work, passphrase_file=None, stages=Stages(quiet=True))


@pytest.fixture
def city(tmp_path: Path, start_anvil: Callable[..., Anvil]) -> Iterator[City]:
    """A city with an admitted department, four witnesses and a chain that keeps its state; nothing is issued."""
    anvil, folder = start_anvil("--state", str(tmp_path / "chain.json")), tmp_path / "city"
    home = Home(folder)
    home.passphrases.mkdir(parents=True, mode=0o700)
    operator = accounts.open_or_create(home, "operator").signer
    trust = deploy_trust(
        anvil.chain,
        Signer(RICH),
        operator=operator.address,
        registrar=operator.address,
        origin_hash=hashlib.sha256(ORIGIN.encode()).digest(),
    )
    fund(anvil.chain, Signer(RICH), [operator.address], ETHER)
    witnesses = Witnesses(tmp_path, anvil)
    founding = city_folder.Founding(
        origin=ORIGIN,
        name="东莞",
        registrar=REGISTRAR.public,
        witnesses=witnesses.serve(),
        anchor=(anvil.url, trust.chain_id, to_hex(trust.anchor)),
        port=free_port(),
    )
    city_folder.create(folder, founding)
    path = tmp_path / "department" / "keys" / "signing.json"
    issuer = keyring.make_key(path, is_unattended=True)
    (folder / "mapping.json").write_text(json.dumps(MAPPING, ensure_ascii=False), encoding="utf8")
    made = City(folder, anvil, witnesses, trust.anchor, path)
    witnesses.watch(made.log_signer().key)
    with made.book() as book:
        now_s = int(time.time())
        event = KeyEvent(
            kind=Kind.KEY_ADD,
            event_id=seed_of("event")[:16],
            issued_at=now_s,
            origin=ORIGIN,
            issuer=DEPARTMENT,
            public=issuer.public,
            types=(KIND.code,),
        )
        book.submit(make_event(event, REGISTRAR), now_s=now_s)
    yield made
    witnesses.stop()


def licences_of(book: LicenceBook) -> list[Leaf]:
    """Return the leaves of licences; no event and no slot is there twice."""
    leaves = [Leaf.decode(book.log.entry(index)) for index in range(book.size)]
    licences = [leaf for leaf in leaves if leaf.kind in LICENCE_KINDS]
    assert len({leaf.event_id for leaf in leaves}) == len(leaves)
    assert len({(leaf.list, leaf.index) for leaf in licences}) == len(licences)
    return licences


def verdict_with_anchor(city: City, book: LicenceBook, row: int) -> State:
    """Judge a licence offline, from a bundle with its anchor, once the registrar has signed the issuer's history."""
    service = keyring.open_key(keyring.key_path(city.folder, city_folder.SERVICE_KEY))
    Publisher(book, service, rand=lambda size: bytes(size)).publish_histories(REGISTRAR, int(time.time()))
    (index,) = book.find(Identifier(KIND.code, DEPARTMENT, f"SN{row:08d}", "001").text)
    found = BundleMaker(book.folder.root).bundle_of(book.credential(index), anchored=True)
    policy = city_folder.policy_json([city_folder.load(city.folder).city()], anchor="attested")
    return verify(found.to_bytes(), TrustPolicy.from_json(policy), now_s=int(time.time())).state


def test_killed_in_the_middle_it_had_anchored_and_goes_on_to_the_end(city: City, tmp_path: Path) -> None:
    rows = 6_000
    work = city.work(tmp_path / "rows.parquet", rows)
    process = multiprocessing.get_context("spawn").Process(target=run, args=(work,))
    process.start()
    deadline = time.monotonic() + 240
    while city.on_chain().head().size < 512 and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    killed_at = city.on_chain().head().size
    assert killed_at >= 512
    with city.book() as book:
        assert len(licences_of(book)) < rows
    found = run(work)
    assert (found["done"], found["total"], found["faults"]) == (rows, rows, {})
    assert 0 < found["issued"] < rows
    assert found["size"] == found["cosigned"] == found["anchored"] == city.on_chain().head().size > rows
    sizes = [event.size for event in city.on_chain().events(0, city.anvil.chain.block_number())]
    assert sizes == sorted(set(sizes)) and killed_at in sizes
    with city.book() as book:
        assert len(licences_of(book)) == rows
        for row in (0, rows // 2, rows - 1):
            assert verdict_with_anchor(city, book, row) is State.VALID


@pytest.mark.slow
def test_without_witnesses_and_chain_it_goes_on_says_so_and_makes_good_afterwards(
    city: City, tmp_path: Path
) -> None:
    work = city.work(tmp_path / "rows.parquet", 700)
    city.witnesses.dead = {2, 3}
    found = run(work)
    assert (found["done"], found["cosigned"], found["anchored"]) == (700, None, None)
    assert found["faults"] == {"publish": "CosignatureMissing"}
    city.witnesses.dead = set()
    stop_keeping_state(city.anvil)
    found = run(work)
    assert (found["issued"], found["anchored"]) == (0, None)
    assert found["size"] == found["cosigned"] > 700
    assert found["faults"] == {"anchor": "ChainUnreachable"}
    city.anvil.start()
    found = run(work)
    assert (found["issued"], found["faults"]) == (0, {})
    assert found["size"] == found["cosigned"] == found["anchored"] == city.on_chain().head().size
    with city.book() as book:
        assert len(licences_of(book)) == 700
        assert verdict_with_anchor(city, book, 699) is State.VALID


def stop_keeping_state(anvil: Anvil) -> None:
    assert anvil.process is not None
    anvil.process.terminate()
    anvil.process.wait(20)
    anvil.process = None


@pytest.mark.slow
def test_the_command_says_what_is_cosigned_and_anchored(city: City, tmp_path: Path) -> None:
    work = city.work(tmp_path / "rows.parquet", 300)
    words = ["--mapping", str(work.mapping), "--city", str(work.city), "--key", str(work.key)]

    def command(*more: str) -> str:
        argv = [sys.executable, "-m", "cli", "licence", "backfill", str(work.source), *words, *more]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(command("--json"))
    assert found["done"] == 300 and found["size"] == found["cosigned"] == found["anchored"]
    lines = command().splitlines()
    assert lines[0].startswith("300 of 300 licences logged")
    assert f"{found['size']:,} entries cosigned, {found['size']:,} entries anchored" in lines[1]


def test_a_city_without_witnesses_is_filled_and_nothing_is_cosigned(city: City, tmp_path: Path) -> None:
    settings = city_folder.load(city.folder)
    city_folder.save(city.folder, replace(settings, witnesses=(), anchor=None))
    found = run(city.work(tmp_path / "rows.parquet", 300))
    assert (found["done"], found["cosigned"], found["anchored"], found["faults"]) == (300, None, None, {})
