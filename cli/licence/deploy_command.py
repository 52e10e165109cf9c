"""`shuyao licence deploy`: the contracts that anchor a city's log."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, named
from cli.options import JsonOption
from cli.output import Stages, print_json, print_table

ADMINISTRATOR, OPERATOR = "administrator", "operator"
_DEPLOYMENT = "trust.json"


def deploy(
    city: Annotated[Path, typer.Option("--city", help="The city's folder; its accounts are made there.")],
    origin: Annotated[str, typer.Option(help="The log's name for ever, such as licences.dg.example.")],
    rpc_url: Annotated[str, typer.Option("--rpc", help="A node of the chain to anchor on.")],
    registrar: Annotated[
        str | None, typer.Option(help="The registrar's account, 0x…; the administrator if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy LogAnchor and IssuerRegistry for a log; what it prints goes to `licence init`."""
    from cli import accounts, chain_process
    from cli.home import Home, write_json
    from ledger.anchors.deploy import deploy_trust
    from ledger.chain import Chain
    from ledger.licences.identifiers import require_origin
    from ledger.types import address_from_hex

    target = city / _DEPLOYMENT
    if target.exists():
        raise CliError(f"{target} exists: this log's contracts are deployed")
    home = Home(city.absolute())
    home.passphrases.mkdir(parents=True, exist_ok=True, mode=0o700)
    administrator, operator = (accounts.open_or_create(home, who).signer for who in (ADMINISTRATOR, OPERATOR))
    stages = Stages(quiet=as_json)
    with named(), Chain(rpc_url) as chain:
        require_origin(origin)
        chain_process.require_gas_money(chain, administrator.address)
        with stages.stage("contracts", "LogAnchor and IssuerRegistry", total=None) as stage:
            made = deploy_trust(
                chain,
                administrator,
                operator=operator.address,
                registrar=administrator.address if registrar is None else address_from_hex(registrar),
                origin_hash=hashlib.sha256(origin.encode()).digest(),
                progress=lambda _name, done, total: stage.reach(done, total),
            )
    shown = {**made.to_json(), "operator": accounts.address(home, OPERATOR)}
    write_json(target, made.to_json())
    if as_json:
        print_json(shown)
        return
    print_table("contracts", ["what", "value"], list(shown.items()))
    typer.echo(f"licence init … --rpc {rpc_url} --chain-id {shown['chain_id']} --contract {shown['anchor']}")
    typer.echo("The operator's account pays for each anchor: give it gas money where the chain asks for it.")
