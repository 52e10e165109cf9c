"""`shuyao exchange`: the broker's process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli import accounts
from cli.errors import CliError
from cli.home import Home, read_json

app = typer.Typer(help="The exchange, run by the broker.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Run the exchange."""


@app.command()
def run(
    home: Annotated[Path | None, typer.Option("--home", help="The instance.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; else the settings'.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; else the settings'.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File with the broker's passphrase.")] = None,
) -> None:
    """Serve the market until SIGTERM."""
    from api.server import run as serve
    from exchange.errors import ExchangeError
    from exchange.settings import Settings
    from ledger.errors import LedgerError

    found = Home.find(home)
    keys = accounts.open_existing(found, "exchange", passphrase_file)
    try:
        settings = Settings.from_json(read_json(found.exchange / "settings.json"))
        settings = replace(settings, host=host or settings.host, port=settings.port if port is None else port)
        serve(settings, keys.signer)
    except (ExchangeError, LedgerError) as err:
        raise CliError(str(err)) from err
