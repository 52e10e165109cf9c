"""What a holder's node is told from outside; built once, in the composition root, from `config.json`.

Credentials are never in the file: a database's URL may name an environment variable, and the keystore's passphrase is
given by the caller.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holder.errors import SettingsInvalid
from ledger.errors import MalformedValue
from ledger.types import Deployment

CONFIG_NAME: Final = "config.json"
TRUSTEE_FOLDER: Final = "trustee"
LOCAL_CLUSTER: Final = "local"  # in place of a cluster's address: one that is started here for each sum
WORKERS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of the data engine inside this process.

    Args:
        temp_directory: where it may spill; records can stand there while a query runs.
        memory_mb: its memory limit.
        threads: its threads.
    """

    temp_directory: Path
    memory_mb: int = 256
    threads: int = 2

    def __post_init__(self) -> None:
        if self.memory_mb < 64 or self.threads < 1:
            raise SettingsInvalid("the engine needs at least 64 MB and one thread")


@dataclass(frozen=True, slots=True)
class DepositSettings:
    """Where a trustee adds up the ciphertexts of a deposit.

    Args:
        workers: processes of this machine, or workers of a cluster that is started here; None for one a core where a deposit
            is large enough to gain from it.
        ray: address of a Ray cluster whose nodes see the deposit's folder under the same path, or `local`; None for processes.
    """

    workers: int | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and (
            type(self.workers) is not int or not 1 <= self.workers <= WORKERS_MAX
        ):
            raise SettingsInvalid(f"deposit.workers: expected 1 to {WORKERS_MAX}, got {self.workers!r}")
        if self.ray is not None and (not isinstance(self.ray, str) or not self.ray):
            raise SettingsInvalid(f"deposit.ray: expected an address or {LOCAL_CLUSTER!r}, got {self.ray!r}")
        if self.workers is not None and self.ray not in (None, LOCAL_CLUSTER):
            raise SettingsInvalid("deposit.workers: a running Ray cluster has its own number of workers")


@dataclass(frozen=True, slots=True)
class FileSource:
    """CSV or Parquet files.

    Args:
        kind: `csv` or `parquet`.
        path: a file, or a pattern of files of the same shape.
        header: whether a CSV file's first line names its columns.
        delimiter: between a CSV file's values.
        columns: names for a CSV file's columns, in order, in place of the header's.
        trim: whether spaces around text are not part of it; by default for CSV.
    """

    kind: str
    path: Path
    header: bool = True
    delimiter: str = ","
    columns: tuple[str, ...] = ()
    trim: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the settings as stored beside a snapshot."""
        shown = {"kind": self.kind, "path": str(self.path), "header": self.header, "trim": self.trim}
        return shown | {"delimiter": self.delimiter, "columns": list(self.columns)}


@dataclass(frozen=True, slots=True)
class SqlSource:
    """A table of a database.

    Args:
        url: SQLAlchemy URL, with credentials.
        table: the table or view.
        schema: the database schema; None for the default.
        trim: whether spaces around text are not part of it.
    """

    url: str = field(repr=False)
    table: str
    schema: str | None = None
    trim: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the settings as stored beside a snapshot: without the URL."""
        return {"kind": "sql", "table": self.table, "schema": self.schema, "trim": self.trim}


@dataclass(frozen=True, slots=True)
class DepositSource:
    """An encrypted deposit of somebody else's cells, of which this holder is a trustee.

    Args:
        path: the deposit's folder.
        share: the folder with this trustee's share of the joint key, sealed; see `holder.trustee`.
    """

    path: Path
    share: Path

    def to_json(self) -> dict[str, Any]:
        """Return the settings as stored beside a snapshot."""
        return {"kind": "deposit", "path": str(self.path), "share": str(self.share)}


Source = FileSource | SqlSource | DepositSource


@dataclass(frozen=True, slots=True)
class AssetSettings:
    """One asset of the holder.

    Args:
        name: the asset's name, unique at this holder.
        title: what people see.
        source: where its rows are.
        policy_file: the policy, YAML.
        key_space: names the budget line that the asset charges; assets about the same units share it.
        grade: classification of the data: 1 general, 2 important, 3 core.
    """

    name: str
    title: str
    source: Source
    policy_file: Path
    key_space: str
    grade: int = 1


@dataclass(frozen=True, slots=True)
class HolderSettings:
    """Where the node keeps its state, whom it talks to, and how it behaves.

    Args:
        home: the node's directory.
        rpc_url: the JSON-RPC node that this holder itself trusts.
        exchange_url: the exchange; nothing from it is believed.
        deployment: the contracts this holder accepts; never taken from the exchange.
        database_url: the node's own store.
        assets: what it holds.
        engine: limits of the data engine.
        cache: the directory of the public generators' cache.
        confirmations: blocks that must follow an event before it counts (0 on a chain with immediate finality).
        poll_live_s: between two looks at the chain while requests are live.
        poll_idle_s: the same, while there is none.
        manual: every request waits for a person, whatever the policy says.
        ack_timeout_s: how long the broker may take to acknowledge an unmask message before it goes on the chain.
        workers: requests worked on at the same time.
        deposit: where ciphertexts are added up.
    """

    home: Path
    rpc_url: str
    exchange_url: str
    deployment: Deployment
    database_url: str
    assets: tuple[AssetSettings, ...]
    engine: EngineSettings
    cache: Path
    confirmations: int = 0
    poll_live_s: float = 0.2
    poll_idle_s: float = 0.5
    manual: bool = False
    ack_timeout_s: float = 20.0
    workers: int = 4
    deposit: DepositSettings = DepositSettings()

    def __post_init__(self) -> None:
        for name in ("rpc_url", "exchange_url"):
            if not getattr(self, name).startswith(("http://", "https://")):
                raise SettingsInvalid(f"{name}: expected an http(s) address")
        if self.confirmations < 0 or min(self.poll_live_s, self.poll_idle_s, self.ack_timeout_s) <= 0:
            raise SettingsInvalid("confirmations must be at least 0 and every time must be positive")
        names = [asset.name for asset in self.assets]
        if len(set(names)) != len(names):
            raise SettingsInvalid("expected each asset name once")

    def asset(self, name: str) -> AssetSettings:
        """Return the asset of this name.

        Raises:
            SettingsInvalid: there is none.
        """
        for asset in self.assets:
            if asset.name == name:
                return asset
        raise SettingsInvalid(f"expected one of the configured assets, got {name!r}")


def load_settings(home: Path) -> HolderSettings:
    """Read `config.json` of a holder's directory.

    Raises:
        SettingsInvalid: missing, no JSON, or a field unknown or malformed.
    """
    path = home / CONFIG_NAME
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise SettingsInvalid(f"expected a JSON file at {path}") from err
    return settings_from_mapping(given, home)


def settings_from_mapping(given: Any, home: Path) -> HolderSettings:
    """Build the settings from the JSON object of `config.json`; relative paths start at `home`.

    Raises:
        SettingsInvalid: a field unknown or malformed.
    """
    fields = _fields("config", given, _REQUIRED, _OPTIONAL)
    try:
        optional = {name: fields[name] for name in _PLAIN if name in fields}
        return HolderSettings(
            home=home,
            rpc_url=str(fields["rpc_url"]),
            exchange_url=str(fields["exchange_url"]).rstrip("/"),
            deployment=_deployment(fields["deployment"], home),
            database_url=_database_url(str(fields.get("database_url", "sqlite:///holder.db")), home),
            assets=tuple(_asset(asset, home) for asset in fields["assets"]),
            engine=_engine(fields.get("engine", {}), home),
            cache=home / str(fields.get("cache", "cache")),
            deposit=_deposit(fields.get("deposit", {})),
            **optional,
        )
    except (TypeError, ValueError, OverflowError, MalformedValue) as err:
        raise SettingsInvalid(f"config: {err}") from err


_REQUIRED: Final = frozenset({"rpc_url", "exchange_url", "deployment", "assets"})
_PLAIN: Final = ("confirmations", "poll_live_s", "poll_idle_s", "manual", "ack_timeout_s", "workers")
_OPTIONAL: Final = frozenset({"version", "database_url", "engine", "cache", "deposit", *_PLAIN})
_FILE_FIELDS: Final = frozenset({"header", "delimiter", "columns", "trim"})


def _fields(
    what: str, given: Any, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise SettingsInvalid(f"{what}: expected an object")
    missing, unknown = sorted(required - given.keys()), sorted(given.keys() - required - optional)
    if missing or unknown:
        raise SettingsInvalid(f"{what}: missing {missing}, unknown {unknown}")
    return given


def _deployment(given: Any, home: Path) -> Deployment:
    if isinstance(given, str):
        try:
            given = json.loads((home / given).read_text("utf-8"))
        except (OSError, ValueError) as err:
            raise SettingsInvalid(f"deployment: expected a JSON file at {given!r}") from err
    return Deployment.from_json(given)


def _database_url(url: str, home: Path) -> str:
    if url.startswith("$"):
        return _environment(url)
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/"):
        return f"{prefix}{home.resolve() / url.removeprefix(prefix)}"
    return url


def _environment(reference: str) -> str:
    value = os.environ.get(reference.removeprefix("$"))
    if not value:
        raise SettingsInvalid(f"expected the environment variable {reference.removeprefix('$')!r}")
    return value


def _engine(given: Any, home: Path) -> EngineSettings:
    fields = _fields("engine", given, frozenset(), frozenset({"temp_directory", "memory_mb", "threads"}))
    values = {name: int(fields[name]) for name in ("memory_mb", "threads") if name in fields}
    return EngineSettings(temp_directory=home / str(fields.get("temp_directory", "tmp")), **values)


def _deposit(given: Any) -> DepositSettings:
    return DepositSettings(**_fields("deposit", given, frozenset(), frozenset({"workers", "ray"})))


def _asset(given: Any, home: Path) -> AssetSettings:
    optional = frozenset({"title", "key_space", "grade"})
    fields = _fields("asset", given, frozenset({"name", "source", "policy"}), optional)
    name = str(fields["name"])
    return AssetSettings(
        name=name,
        title=str(fields.get("title", name)),
        source=_source(fields["source"], home),
        policy_file=home / str(fields["policy"]),
        key_space=str(fields.get("key_space", name)),
        grade=int(fields.get("grade", 1)),
    )


def _source(given: Any, home: Path) -> Source:
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if kind == "sql":
        fields = _fields("source", given, frozenset({"kind", "url", "table"}), frozenset({"schema", "trim"}))
        url, trim = str(fields["url"]), bool(fields.get("trim", False))
        if url.startswith("$"):
            url = _environment(url)
        return SqlSource(url=url, table=str(fields["table"]), schema=fields.get("schema"), trim=trim)
    if kind == "deposit":
        fields = _fields("source", given, frozenset({"kind", "path"}), frozenset({"share"}))
        return DepositSource(home / str(fields["path"]), home / str(fields.get("share", TRUSTEE_FOLDER)))
    if kind not in ("csv", "parquet"):
        raise SettingsInvalid("source.kind: expected csv, parquet, sql or deposit")
    fields = _fields("source", given, frozenset({"kind", "path"}), _FILE_FIELDS)
    columns = tuple(str(name) for name in fields.get("columns", ()))
    return FileSource(
        kind=kind,
        path=home / str(fields["path"]),
        header=bool(fields.get("header", True)),
        delimiter=str(fields.get("delimiter", ",")),
        columns=columns,
        trim=bool(fields.get("trim", kind == "csv")),
    )
