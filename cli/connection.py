"""Where a party finds its market: the exchange, a node of the chain, the contracts it accepts.

A party that set itself up has them in its own folder; one that shares an instance with the exchange has the instance's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.errors import CliError
from cli.home import Home, read_json

if TYPE_CHECKING:
    from ledger.types import Deployment

BUYER_FILE: Final = "settings.json"
_SHARED_FILE: Final = "settings.json"

ExchangeOption = Annotated[str, typer.Option("--exchange", help="Address of the exchange.")]
RpcOption = Annotated[str, typer.Option("--rpc", help="JSON-RPC address of a node you trust.")]
DeploymentOption = Annotated[
    Path, typer.Option("--deployment", help="deployment.json: the contracts you accept.")
]


@dataclass(frozen=True, slots=True)
class Connection:
    """What a party is told of its market from outside.

    Args:
        exchange_url: the exchange; nothing from it is believed.
        rpc_url: the JSON-RPC node that the party itself trusts.
        deployment: the contracts it accepts.
    """

    exchange_url: str
    rpc_url: str
    deployment: Deployment

    def __post_init__(self) -> None:
        for name, url in (("exchange", self.exchange_url), ("node", self.rpc_url)):
            if not url.startswith(("http://", "https://")):
                raise CliError(f"address of the {name}: expected http(s)://…, got {url!r}")

    @classmethod
    def given(cls, exchange: str, rpc: str, deployment: Path) -> Connection:
        """Return the connection that a user names.

        Raises:
            CliError: an address is none, or the file is no deployment.
        """
        return cls(exchange.rstrip("/"), rpc, read_deployment(deployment))

    def to_json(self) -> dict[str, Any]:
        """Return the connection as it is stored; a holder's `config.json` has the same members."""
        return {
            "exchange_url": self.exchange_url,
            "rpc_url": self.rpc_url,
            "deployment": self.deployment.to_json(),
        }


def read_deployment(path: Path) -> Deployment:
    """Read a file with the contracts' addresses.

    Raises:
        CliError: absent, or something else.
    """
    return _deployment(read_json(path), path)


def own_file(home: Home, who: str) -> Path | None:
    """Return where a party that set itself up has its connection; None for one that always shares the exchange's."""
    if who == "buyer":
        return home.buyer / BUYER_FILE
    return home.path / who / "config.json" if who.startswith("holders/") else None


def find(home: Home, who: str) -> Connection:
    """Return a party's connection: its own, else the instance's.

    Raises:
        CliError: there is neither, or it cannot be read.
    """
    own = own_file(home, who)
    if own is not None and own.is_file():
        return _read_own(own)
    shared = _shared(home, who)
    return Connection(shared["public_url"], shared["rpc_url"], read_deployment(home.deployment))


def exchange_url(home: Home, who: str) -> str:
    """Return the address of a party's exchange.

    Raises:
        CliError: as `find`.
    """
    own = own_file(home, who)
    if own is not None and own.is_file():
        return _read_own(own).exchange_url
    return str(_shared(home, who)["public_url"])


def _read_own(path: Path) -> Connection:
    given = read_json(path)
    try:
        urls, deployment = (given["exchange_url"], given["rpc_url"]), given["deployment"]
    except (LookupError, TypeError) as err:
        raise CliError(f"{path}: expected exchange_url, rpc_url and deployment") from err
    if isinstance(deployment, str):  # a holder's may be a path, from its own folder
        return Connection(*urls, read_deployment(path.parent / deployment))
    return Connection(*urls, _deployment(deployment, path))


def _shared(home: Home, who: str) -> dict[str, Any]:
    path = home.exchange / _SHARED_FILE
    if not path.is_file():
        how = (
            f": `shuyao {who.split('s/')[0]} init` tells {who} where its market is"
            if own_file(home, who)
            else ""
        )
        raise CliError(f"no exchange in {home.path}{how}")
    settings: dict[str, Any] = read_json(path)
    return settings


def _deployment(given: Any, path: Path) -> Deployment:
    from ledger.errors import MalformedValue
    from ledger.types import Deployment

    try:
        return Deployment.from_json(given)
    except MalformedValue as err:
        raise CliError(f"{path}: {err}") from err
