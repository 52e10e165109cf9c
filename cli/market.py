"""Building a market on this machine: keys, chain, contracts, participants, exchange, holders, listing.

Each step does nothing where its result is already there, so an interrupted start is taken up by starting again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli import accounts, chain_process, processes
from cli.errors import CliError
from cli.home import Home, read_json, write_json
from cli.output import Stages
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine
from ledger.deploy import deploy
from ledger.keystore import Keys
from ledger.names import asset_id
from ledger.store import create_tables
from ledger.submitter import Submitter
from ledger.types import Address, Call, Deployment, Roles
from privacy.policy import Policy

CREDITS_MINOR = 1_000_000_000_00  # what the demo's buyer and broker get, in minor units
BOND_MINOR = 500_000_000_00
TRANSACTION_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """What market to build.

    Args:
        policy: the listing's policy file.
        files: one table a holder, CSV or Parquet; or the folder of an encrypted deposit.
        block_time_s: of the development chain.
        exchange_database, holder_database: database URLs; SQLite in the instance if not given. `{number}` in the holders' is the holder.
        window_blocks: how long the buyer may take to accept.
        windows: blocks for each step of a request, where not the exchange's own.
        names: what each holder calls its table; empty where all call it as the listing.
    """

    policy: Path
    files: tuple[Path, ...]
    block_time_s: float = 1.0
    exchange_database: str | None = None
    holder_database: str | None = None
    window_blocks: int = 20
    windows: dict[str, int] | None = None
    names: tuple[str, ...] = ()


class Market:
    """A market of one instance, being built or running."""

    def __init__(self, home: Home, plan: MarketPlan, stages: Stages) -> None:
        self.home, self.plan, self._stages = home, plan, stages
        self.policy = Policy.from_yaml(plan.policy.read_text(encoding="utf8"))
        self.rpc_url = ""
        self.exchange_url = ""
        self._keys: dict[str, Keys] = {}

    @property
    def parties(self) -> list[str]:
        """All who have keys in this instance."""
        return ["deployer", "registrar", "bank", "regulator", "exchange", "buyer", *self.holders]

    @property
    def holders(self) -> list[str]:
        """The holders' folders."""
        return [f"holders/{number + 1}" for number in range(len(self.plan.files))]

    def build(self) -> None:
        """Start the market on this machine, making whatever is not there yet."""
        self._make_keys()
        with self._stages.stage("chain", "development chain"):
            self.rpc_url = chain_process.start(self.home, block_time_s=self.plan.block_time_s)
            chain_process.fund(self.rpc_url, [keys.signer.address for keys in self._keys.values()])
        self.exchange_url = f"http://127.0.0.1:{processes.free_port()}"
        self._prepare()
        with self._stages.stage("exchange", "exchange"):
            self._start_exchange()
        self._publish()
        with self._stages.stage("holders", "holders' nodes"):
            for number in range(1, len(self.holders) + 1):
                self._start_holder(number)
            for number in range(1, len(self.holders) + 1):
                self._await_holder(number)

    def provision(self, rpc_url: str, exchange_url: str) -> None:
        """Make keys, contracts, participants and settings for processes that somebody else starts."""
        self.rpc_url, self.exchange_url = rpc_url, exchange_url
        self._make_keys()
        self._prepare()

    def publish(self, rpc_url: str, exchange_url: str) -> None:
        """Register and list the holders' data with an exchange that runs already; after `provision`."""
        self.rpc_url, self.exchange_url = rpc_url, exchange_url
        self._make_keys()
        self._prepare()
        self._publish()

    def _make_keys(self) -> None:
        with self._stages.stage("keys", "keystores", total=len(self.parties)) as stage:
            for who in self.parties:
                self._keys[who] = accounts.open_or_create(self.home, who)
                stage.advance()

    def _prepare(self) -> None:
        with self._stages.stage("contracts", "contracts, participants, credits"):
            self.deployment = self._deploy()
            self._admit()
            self._write_exchange_settings()
            for number in range(1, len(self.holders) + 1):
                write_json(self.home.holder(number) / "config.json", self._holder_config(number))

    def _publish(self) -> None:
        with self._stages.stage("register", "holders' data: snapshot, policy, budget line"):
            self._each_holder(self._register)
        with self._stages.stage("listing", "listing"):
            self._list()

    def keys(self, who: str) -> Keys:
        """Return the keys of a party of this instance."""
        return self._keys[who]

    def _deploy(self) -> Deployment:
        if self.home.deployment.exists():
            return Deployment.from_json(read_json(self.home.deployment))
        deployment = deploy(
            Chain(self.rpc_url),
            self._keys["deployer"].signer,
            registrar=self._keys["registrar"].signer.address,
            bank=self._keys["bank"].signer.address,
            regulator=self._keys["regulator"].signer.address,
            answer_window_blocks=self.plan.window_blocks,
        )
        write_json(self.home.deployment, deployment.to_json(), mode=0o644)
        return deployment

    def _submitter(self, who: str, url: str | None = None) -> Submitter:
        engine = make_engine(url or f"sqlite:///{self.home.path / who / 'chain.db'}")
        create_tables(engine)
        return Submitter(engine, Chain(self.rpc_url), self._keys[who].signer)

    def transact(self, who: str, calls: Sequence[tuple[str, Call]], *, url: str | None = None) -> None:
        """Send calls of one party and wait until all are mined; a call that was sent before is not sent again."""
        submitter = self._submitter(who, url)
        for key, call in calls:
            submitter.submit(key, call)
        for key, _ in calls:
            submitter.wait(key, TRANSACTION_TIMEOUT_S)

    def _admit(self) -> None:
        contracts = Contracts(Chain(self.rpc_url), self.deployment)
        wanted = {"exchange": Roles.BROKER, "buyer": Roles.BUYER, "regulator": Roles.REGULATOR}
        wanted |= dict.fromkeys(self.holders, Roles.HOLDER)
        calls = []
        for who, roles in wanted.items():
            keys = self._keys[who]
            call = contracts.participants.admit(
                keys.signer.address, keys.signer.address, roles, keys.x25519_public
            )
            calls.append((f"admit/{who}", call))
        self.transact("registrar", calls)
        buyer, broker = self._keys["buyer"].signer.address, self._keys["exchange"].signer.address
        mint = contracts.settlement.mint
        self.transact(
            "bank", [("mint/buyer", mint(buyer, CREDITS_MINOR)), ("mint/broker", mint(broker, CREDITS_MINOR))]
        )
        self.transact(
            "exchange", [("bond", contracts.settlement.post_bond(BOND_MINOR))], url=self._exchange_database()
        )

    def _exchange_database(self) -> str:
        return self.plan.exchange_database or f"sqlite:///{self.home.exchange / 'exchange.db'}"

    def _write_exchange_settings(self) -> None:
        database = self._exchange_database()
        settings = {
            "deployment": self.deployment.to_json(),
            "rpc_url": self.rpc_url,
            "database_url": database,
            "workflow_database_url": self._workflow_database(database),
            "public_url": self.exchange_url,
            "port": urlsplit(self.exchange_url).port or 8080,
            **({"windows": self.plan.windows} if self.plan.windows else {}),
            **self._poll(),
        }
        write_json(self.home.exchange / "settings.json", settings)

    def _start_exchange(self) -> None:
        argv = processes.python_argv("exchange", "run", "--home", str(self.home.path))
        process = processes.spawn(self.home, "exchange", argv, url=self.exchange_url)
        processes.wait_ready(self.home, process, lambda: is_healthy(self.exchange_url))

    def _workflow_database(self, database: str) -> str:
        return database if self.plan.exchange_database else f"sqlite:///{self.home.exchange / 'workflows.db'}"

    def _poll(self) -> dict[str, float]:
        return {
            "poll_s": min(0.1, self.plan.block_time_s / 4),
            "idle_poll_s": min(0.25, self.plan.block_time_s),
        }

    def _holder_config(self, number: int) -> dict[str, Any]:
        file = self.plan.files[number - 1]
        kind = "deposit" if file.is_dir() else "csv" if file.suffix == ".csv" else "parquet"
        database = self.plan.holder_database
        return {
            "rpc_url": self.rpc_url,
            "exchange_url": self.exchange_url,
            "deployment": self.deployment.to_json(),
            **({"database_url": database.format(number=number)} if database else {}),
            "poll_live_s": self._poll()["poll_s"],
            "poll_idle_s": self._poll()["idle_poll_s"],
            "assets": [
                {
                    "name": self._asset_name(number),
                    "title": f"{self.policy.title} ({number})",
                    "source": {"kind": kind, "path": str(file)},
                    "policy": str(self.plan.policy),
                    "key_space": self.policy.listing,
                }
            ],
        }

    def _asset_name(self, number: int) -> str:
        return self.plan.names[number - 1] if self.plan.names else self.policy.listing

    def _register(self, number: int) -> None:
        register(self.home.holder(number), self._keys[f"holders/{number}"], self.broker)

    @property
    def broker(self) -> Address:
        """The broker's account: the exchange's key."""
        return self._keys["exchange"].signer.address

    def _list(self) -> None:
        from cli.broker import exchange_client, publish_listing

        assets = [
            asset_id(self._keys[who].signer.address, self._asset_name(number))
            for number, who in enumerate(self.holders, start=1)
        ]
        with exchange_client(self.exchange_url, self._keys["exchange"].signer) as http:
            policy = self.policy  # is_minimum: the broker may have listed more since
            publish_listing(http, policy.listing, policy.title, assets, is_minimum=True)

    def _start_holder(self, number: int) -> None:
        argv = processes.python_argv("holder", "run", "--home", str(self.home.path), "--number", str(number))
        (self.home.holder(number) / "ready").unlink(missing_ok=True)
        processes.spawn(self.home, f"holder-{number}", argv)

    def _await_holder(self, number: int) -> None:
        process = processes.find(self.home, f"holder-{number}")
        if process is None:
            raise CliError(f"holder {number} ended while starting; see {self.home.logs}")
        processes.wait_ready(self.home, process, (self.home.holder(number) / "ready").exists)

    def _each_holder(self, work: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            for done in [pool.submit(work, number) for number in range(1, len(self.holders) + 1)]:
                done.result()


def register(
    folder: Path, keys: Keys, broker: Address, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Register every asset of a holder's `config.json` with its budget line, and entrust it to a listing of the broker.

    Args:
        folder: the holder's.
        keys: of the holder.
        broker: its account.
        progress: told, for each asset in turn, of rows done and rows in all.

    Raises:
        CliError: the data do not fit their policy, or chain or exchange refuse; the message says which.
    """
    from holder.errors import HolderError
    from holder.parts import Parts
    from holder.registration import register_all
    from holder.settings import load_settings
    from ledger.errors import LedgerError
    from privacy.errors import PrivacyError

    try:
        with Parts(load_settings(folder), keys) as parts:
            register_all(parts, broker, progress=progress)
    except (HolderError, LedgerError, PrivacyError) as err:
        raise CliError(f"{folder.name}: {type(err).__name__}: {err}") from err


def is_healthy(url: str) -> bool:
    """Say whether an exchange answers and finds its chain and database well."""
    try:
        return httpx.get(f"{url}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
