"""The command tree. Sub-commands import what they need when they run: a node should not pay for the demo's imports."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from api import VERSION
from cli import (
    audit,
    authority,
    broker,
    buyer,
    credits,
    demo_command,
    deposit,
    exchange_command,
    holder_command,
    keys,
    market_commands,
    market_licence,
    quality,
    replay,
    trustee,
    verify,
    witness,
)
from cli.errors import CliError
from cli.licence import commands as licence
from cli.output import visible

app = typer.Typer(
    name="shuyao",
    help="数钥 Shuyao: a marketplace for data elements that sells verified answers, never data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(holder_command.app, name="holder")
app.add_typer(exchange_command.app, name="exchange")
app.add_typer(broker.app, name="broker")
app.add_typer(buyer.app, name="buyer")
app.add_typer(trustee.app, name="trustee")
app.add_typer(deposit.app, name="deposit")
app.add_typer(keys.app, name="keys")
app.add_typer(authority.registrar, name="registrar")
app.add_typer(authority.regulator, name="regulator")
app.add_typer(authority.bank, name="bank")
app.add_typer(licence.app, name="licence")
app.add_typer(witness.app, name="witness")
app.command("demo")(demo_command.demo)
app.command("verify")(verify.verify)
app.command("audit")(audit.audit)
holder_command.app.command("audit")(audit.collect)
holder_command.app.command("transfer")(credits.holder_transfer)
holder_command.app.command("reclaim")(credits.holder_reclaim)
holder_command.app.command("adopt")(credits.holder_adopt)
broker.app.command("transfer")(credits.broker_transfer)
broker.app.command("reclaim")(credits.broker_reclaim)
buyer.app.command("transfer")(credits.buyer_transfer)
buyer.app.command("reclaim")(credits.buyer_reclaim)
app.command("replay")(replay.replay)
app.command("present")(market_licence.present)
app.command("up")(market_commands.up)
app.command("down")(market_commands.down)
app.command("doctor")(market_commands.doctor)
app.command("provision", hidden=True)(market_commands.provision)
app.command("keeper", hidden=True)(market_commands.keeper)
app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(quality.test)
app.command("bench")(quality.bench)


def _version(value: bool) -> None:
    if value:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Answers, never data."""


def main() -> None:
    """Run the command line; an error the user can act on is one line and exit code 2."""
    try:
        app()
    except CliError as err:
        sys.stderr.write(f"shuyao: {visible(err, lines=True)}\n")
        raise SystemExit(2) from err
