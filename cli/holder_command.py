"""`shuyao holder`: a holder's node, and the decisions that its people make."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts, connection
from cli.errors import CliError, named
from cli.home import Home, read_json
from cli.options import HomeOption, JsonOption, NewHomeOption, NumberOption, PassphraseOption
from cli.output import Stages, print_json, print_table, say

if TYPE_CHECKING:
    from holder.parts import Parts
    from holder.types import StoredRequest
    from ledger.keystore import Keys
    from ledger.types import Address

app = typer.Typer(help="A data holder's node.", no_args_is_help=True)

RequestArgument = Annotated[str, typer.Argument(help="The request's id, or how it begins.")]


def _open(home: Path | None, number: int, passphrase_file: Path | None) -> tuple[Home, Path, Keys]:
    found = Home.find(home)
    return found, found.holder(number), accounts.open_existing(found, f"holders/{number}", passphrase_file)


@contextmanager
def _parts(home: Path | None, number: int, passphrase_file: Path | None) -> Iterator[Parts]:
    from holder.parts import Parts
    from holder.settings import load_settings

    _, folder, keys = _open(home, number, passphrase_file)
    with named(), Parts(load_settings(folder), keys) as parts:
        yield parts


@app.command()
def run(home: HomeOption = None, number: NumberOption = 1, passphrase_file: PassphraseOption = None) -> None:
    """Run the node until SIGTERM; it makes outbound connections only."""
    from holder.node import run as run_node
    from holder.settings import load_settings

    _, folder, keys = _open(home, number, passphrase_file)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _number, _frame: stop.set())
    with named():
        run_node(load_settings(folder), keys, stop, on_ready=(folder / "ready").touch)


@app.command()
def init(
    exchange: connection.ExchangeOption,
    rpc: connection.RpcOption,
    deployment: connection.DeploymentOption,
    policy: Annotated[Path, typer.Option("--policy", help="The policy of the data, YAML.")],
    data: Annotated[Path, typer.Option("--data", help="The table, CSV or Parquet; or a deposit's folder.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The asset's name; the policy's listing if not given.")
    ] = None,
    home: NewHomeOption = None,
    number: NumberOption = 1,
) -> None:
    """Write the `config.json` of a holder that shares no instance with the exchange; docs/operations.md has what else may stand in it."""
    from cli.holder_setup import write_config

    market = connection.Connection.given(exchange, rpc, deployment)
    with named():
        path = write_config(Home.make(home).holder(number), market, policy=policy, data=data, name=name)
    say(f"{path}: written; `shuyao keys new holders/{number}` makes the account")


@app.command()
def register(
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker", help="The broker's account, 0x…; that of the instance's exchange if not given."
        ),
    ] = None,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Register the data named in `config.json`: snapshot root, policy hash, budget line, entrustment."""
    from cli.chain_process import require_gas_money
    from cli.market import register as register_all
    from holder.settings import load_settings
    from ledger.chain import Chain

    found, folder, keys = _open(home, number, passphrase_file)
    account = _broker(found, broker)
    with named(), Chain(load_settings(folder).rpc_url) as chain:
        require_gas_money(chain, keys.signer.address)
    with Stages(quiet=False).stage("register", "snapshot, policy, budget line, entrustment") as stage:
        register_all(folder, keys, account, progress=stage.reach)
    names = [asset["name"] for asset in read_json(folder / "config.json")["assets"]]
    say(f"registered: {', '.join(names)}")


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="The asset's name, as in `config.json`.")],
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take an asset out of the market for good: no request can be opened on it any more."""
    from holder.registration import WAIT_S, newest
    from ledger.types import AssetStatus, to_hex

    with _parts(home, number, passphrase_file) as parts:
        asset, registry = newest(parts, name).asset_id, parts.contracts.assets
        with Stages(quiet=False).stage("retire", "retired on the chain"):
            if registry.get(asset).status != AssetStatus.RETIRED:
                parts.submitter.execute(f"retire:{to_hex(asset)}", registry.retire(asset), WAIT_S)
    say(f"{name}: retired")


def _broker(home: Home, given: str | None) -> Address:
    from ledger.types import address_from_hex

    if given is None and not (home.exchange / accounts.NAME).is_file():
        raise CliError(f"no exchange in {home.path}: give the broker's account with --broker 0x…")
    with named():
        return address_from_hex(accounts.address(home, "exchange") if given is None else given.lower())


@app.command()
def status(
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show assets, budget lines, and every request with its stage and the reason of a refusal."""
    from holder import operations
    from ledger.types import to_hex

    with _parts(home, number, passphrase_file) as parts:
        state = operations.status(parts.store)
        requests = [operations.describe(each) for each in parts.store.list_requests(limit=100)]
    lines = [
        {"line": to_hex(x.line), "total": x.total, "reserved": x.reserved, "spent": x.spent}
        for x in state.lines
    ]
    if as_json:
        print_json({"assets": list(state.assets), "lines": lines, "requests": requests})
        return
    print_table(
        "assets", ["name", "version", "rows"], [(a["name"], a["version"], a["rows"]) for a in state.assets]
    )
    columns = ["line", "total", "reserved", "spent"]
    print_table("budget lines, micro-ρ", columns, [[x[c] for c in columns] for x in lines])
    _print_requests("requests", requests)


def _print_requests(title: str, requests: list[dict[str, Any]]) -> None:
    columns = ["request_id", "stage", "listing", "purpose", "reason"]
    print_table(title, columns, [[each.get(column) for column in columns] for each in requests])


@app.command()
def pending(
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the requests that wait for a person."""
    from holder import operations

    with _parts(home, number, passphrase_file) as parts:
        requests = [operations.describe(each) for each in operations.pending(parts.store)]
    if as_json:
        print_json(requests)
    else:
        _print_requests("waiting for a person", requests)


@app.command()
def approve(
    request: RequestArgument,
    note: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Approve a waiting request; the running node goes on with it."""
    from holder import operations

    with _parts(home, number, passphrase_file) as parts:
        found = operations.find(parts.store, request)
        decided: StoredRequest = operations.approve(parts.store, found.request_id, note)
    say(f"{decided.request_id.hex()}: approved")


@app.command()
def deny(
    request: RequestArgument,
    reason: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Deny a waiting request."""
    from holder import operations

    with _parts(home, number, passphrase_file) as parts:
        found = operations.find(parts.store, request)
        decided = operations.deny(parts.store, found.request_id, reason)
    say(f"{decided.request_id.hex()}: denied")
