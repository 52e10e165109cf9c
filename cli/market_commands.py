"""`shuyao up`, `down`, `doctor`: the market on this machine as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, named
from cli.home import Home, instances, state_root
from cli.options import JsonOption
from cli.output import Stages, print_json, print_table, say


def up(
    name: Annotated[str, typer.Option(help="The instance's name.")] = "market",
    rows: Annotated[int, typer.Option(help="Rows of each holder's generated table.", min=1)] = 100_000,
    holders: Annotated[int, typer.Option(help="Number of holders.", min=1, max=20)] = 3,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks of the development chain.")] = 1.0,
    exchange_database: Annotated[str | None, typer.Option(help="Database URL of the exchange.")] = None,
    holder_database: Annotated[
        str | None, typer.Option(help="Database URL of a holder; {number} is its number.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a market on this machine, or start it again where it stopped."""
    from cli.demo.tables import electricity
    from cli.market import Market, MarketPlan

    home = Home.create(name, is_current=False)
    running = _alive(home)
    if running:
        raise CliError(f"{home.path} is running already ({', '.join(running)}): `shuyao down` first")
    stages = Stages(quiet=as_json)
    before = set(home.path.glob("holders/*/data/*"))
    with stages.stage("tables", f"tables of {rows:,} rows for {holders} holders") as stage:
        policy, files = electricity(home, holders=holders, rows=rows)
        if known := before.intersection(files):
            stage.conclude(
                f"tables for {holders} holders, {len(known)} of them as they were, whatever --rows says"
            )
    market = Market(home, MarketPlan(policy, files, block_time, exchange_database, holder_database), stages)
    with stopping_what_fails(home), named():
        market.build()
    home.make_current()
    facts = {
        "home": str(home.path),
        "rpc": market.rpc_url,
        "exchange": market.exchange_url,
        "listing": market.policy.listing,
        "passphrases": str(home.passphrases),
    }
    if as_json:
        print_json(facts)
    else:
        print_table("market", ["what", "where"], list(facts.items()))
        say("passphrases were made for this unattended start; `shuyao down` stops everything", err=True)


@contextmanager
def stopping_what_fails(home: Home) -> Iterator[None]:
    """Stop an instance's processes if what starts them fails or is interrupted, and say so: nothing runs on unseen."""
    from cli import processes

    is_built = False
    try:
        yield
        is_built = True
    finally:
        if not is_built and (stopped := processes.stop_all(home)):
            say(f"stopped again: {', '.join(stopped)}; their logs are in {home.logs}", err=True)


def _alive(home: Home) -> list[str]:
    from cli import processes

    return [process.name for process in processes.listed(home) if process.handle() is not None]


def down(
    home: Annotated[
        Path | None, typer.Option("--home", help="One instance; all of them if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Stop what was started; the state stays."""
    from cli import processes

    chosen = [Home.find(home)] if home else instances()
    with Stages(quiet=as_json).stage("down", "processes stopped"):
        stopped = {each.path.name: processes.stop_all(each) for each in chosen}
    stopped = {name: names for name, names in stopped.items() if names}
    if as_json:
        print_json(stopped)
    else:
        say(
            "\n".join(f"{name}: stopped {', '.join(names)}" for name, names in stopped.items())
            or "nothing runs"
        )


def doctor(as_json: JsonOption = False) -> None:
    """Say what is there, how big it is, and what is wrong; exit 1 if something is."""
    from cli.checks import environment_checks, instance_checks

    root = state_root()
    found = environment_checks()
    for home in instances():
        found += instance_checks(home)
    sizes = {home.path.name: _size(home.path) for home in instances()}
    wrong = [check for check in found if not check.ok]
    if as_json:
        print_json({"home": str(root), "bytes": sizes, "checks": [check.to_json() for check in found]})
    else:
        print_table(
            f"state in {root}", ["instance", "MB"], [(n, round(s / 1e6, 1)) for n, s in sizes.items()]
        )
        print_table(
            "checks",
            ["where", "what", "", "detail"],
            [(c.where, c.what, "ok" if c.ok else "WRONG", c.detail) for c in found],
        )
    raise typer.Exit(1 if wrong else 0)


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def provision(
    rpc: Annotated[str, typer.Option("--rpc", help="JSON-RPC address of the chain.")],
    exchange_url: Annotated[str, typer.Option("--exchange-url", help="As users and holders will see it.")],
    name: Annotated[str, typer.Option(help="The instance's name.")] = "market",
    rows: Annotated[int, typer.Option(help="Rows of each holder's generated table.", min=1)] = 100_000,
    exchange_database: Annotated[str | None, typer.Option(help="Database URL of the exchange.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Register and list; the exchange runs.")] = False,
) -> None:
    """Prepare a market whose processes are started elsewhere, as docker-compose.yml does."""
    from cli.chain_process import await_node
    from cli.demo.tables import electricity
    from cli.market import Market, MarketPlan

    home = Home.create(name)
    policy, files = electricity(home, holders=3, rows=rows)
    stages = Stages(quiet=False)
    with stages.stage("node", "the chain's node"):
        await_node(rpc)
    market = Market(home, MarketPlan(policy, files, exchange_database=exchange_database), stages)
    with named():
        (market.publish if publish else market.provision)(rpc, exchange_url)


def keeper(
    folder: Annotated[Path, typer.Option()],
    anvil: Annotated[Path, typer.Option()],
    port: Annotated[int, typer.Option()],
    block_time: Annotated[float, typer.Option()],
) -> None:
    """Keep the development chain alive (started by `up` and `demo`)."""
    from cli.keeper import ChainSettings, Keeper

    raise typer.Exit(Keeper(ChainSettings(folder, anvil, port, block_time)).run())
