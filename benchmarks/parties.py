"""Whom a city's log is published with, each in a process of its own: four witnesses, and a chain with its LogAnchor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from api.licences.http_post import Poster
from api.licences.publication import AsItGoes, Publication
from api.licences.settings import AnchorAddress, CitySettings, WitnessAddress
from benchmarks.licences import ORIGIN, THRESHOLD, WITNESSES, BenchCity, CityKeys
from cli import chain_process, processes, witness
from cli.home import Home
from ledger.anchors.deploy import deploy_trust
from ledger.anchors.types import TrustDeployment
from ledger.chain import Chain
from ledger.encoding import address_from_hex, to_hex
from ledger.licences.policy import City
from ledger.replay.anchors import ChainFacts, collect
from ledger.signing import Signer

BLOCK_TIME_S = 1.0
HOST = "127.0.0.1"
_CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Account:
    """The operator's account on the chain, in the form that is handed to another process of the benchmark."""

    private_key: bytes = field(repr=False)

    def signer(self) -> Signer:
        """Return what signs for it."""
        return Signer(self.private_key)


@dataclass(frozen=True, slots=True)
class Parties:
    """Witnesses and chain that run.

    Attributes:
        home: whose processes they are.
        settings: of the city, with their addresses.
        operator: the account that LogAnchor takes heads from.
        from_block: of the contract's deployment.
    """

    home: Home
    settings: CitySettings
    operator: Account
    from_block: int

    @property
    def city(self) -> City:
        """The city as its verifiers have it in their policies."""
        return City.from_json(self.settings.city())

    def anchors(self) -> ChainFacts:
        """Read what the chain has of the log."""
        assert self.settings.anchor is not None
        with Chain(self.settings.anchor.rpc_url) as chain:
            contract = address_from_hex(self.settings.anchor.contract)
            return collect(chain, contract, from_block=self.from_block)

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds so far of all witnesses, and of the chain's node."""
        spent = processes.cpu_seconds(self.home)
        return sum(s for name, s in spent.items() if name != _CHAIN), spent[_CHAIN]


@contextmanager
def running(folder: Path, keys: CityKeys) -> Iterator[Parties]:
    """Start them for the block, on any core, as machines of their own.

    Args:
        folder: for their states.
        keys: of log, registrar and service.
    """
    home = Home(folder / "home")
    for path in (home.path, home.logs, home.passphrases, home.cache):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    operator = Signer.generate()
    try:
        url = _chain(home)
        trust = _deployed(url, operator)
        log: dict[str, Any] = {
            "vkey": keys.log.key.to_text(),
            "origin": ORIGIN,
            "chain_id": trust.chain_id,
            "contract": to_hex(trust.anchor),
        }
        settings = CitySettings(
            origin=ORIGIN,
            name="bench",
            log_key=log["vkey"],
            registrar=keys.registrar.public.jwk(),
            service=keys.service.public.jwk(),
            witnesses=tuple(_witness(home, number, url, log) for number in range(WITNESSES)),
            threshold=THRESHOLD,
            anchor=AnchorAddress(url, trust.chain_id, to_hex(trust.anchor)),
        )
        yield Parties(home, settings, Account(operator.raw_private_key()), trust.block)
    finally:
        processes.stop_all(home)


def _chain(home: Home) -> str:
    """Start a chain without its keeper: nobody needs copies of its state, and they would go to the disk of the backfill."""
    port = processes.free_port()
    url = f"http://{HOST}:{port}"
    argv = [str(chain_process.anvil_path()), "--host", HOST, "--port", str(port), "--silent"]
    argv += ["--block-time", str(BLOCK_TIME_S), "--hardfork", "prague", "--prune-history", "16"]
    process = processes.spawn(home, _CHAIN, argv, url=url)
    processes.wait_ready(home, process, lambda: chain_process.answers(url))
    return url


def _deployed(url: str, operator: Signer) -> TrustDeployment:
    deployer = Signer.generate()
    chain_process.fund(url, [deployer.address, operator.address])
    with Chain(url) as chain:
        return deploy_trust(
            chain,
            deployer,
            operator=operator.address,
            registrar=deployer.address,
            origin_hash=hashlib.sha256(ORIGIN.encode()).digest(),
        )


def _witness(home: Home, number: int, rpc_url: str, log: dict[str, Any]) -> WitnessAddress:
    """Make a witness that watches the log and reads the chain, and start it."""
    name, port = f"witness-{number}", processes.free_port()
    folder, url = home.path / name, f"http://{HOST}:{port}"
    given = {"name": f"{name}.example", "rpc_url": rpc_url, "host": HOST, "port": port}
    made = witness.create(folder, given, key_options={"is_unattended": True})
    witness.add_log(folder, log)
    process = processes.spawn(home, name, processes.python_argv("witness", "run", str(folder)), url=url)
    processes.wait_ready(home, process, _answers(url))
    return WitnessAddress(made.vkey, url)


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    return ready


@contextmanager
def publishing(
    city: BenchCity, settings: CitySettings, operator: Account, every_s: float
) -> Iterator[AsItGoes]:
    """Publish, cosign and anchor a city's book beside the block, as `shuyao licence backfill` does.

    Args:
        city: whose book is being filled.
        settings: with witnesses and chain.
        operator: the account that LogAnchor takes heads from.
        every_s: seconds between two publications.
    """
    post = Poster()
    publication = Publication(city.book, settings, city.keys.service, operator.signer(), post=post)
    try:
        with AsItGoes(publication, every_s=every_s) as published:
            yield published
    finally:
        publication.close()
        post.close()
