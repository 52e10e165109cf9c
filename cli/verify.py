"""`shuyao verify`: check a receipt against the chain, without asking the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, named
from cli.home import read_json, state_root
from cli.options import JsonOption
from cli.output import Stages, print_json, print_step, print_styled


def verify(
    receipt: Annotated[Path, typer.Argument(help="The receipt's file.")],
    rpc: Annotated[str | None, typer.Option("--rpc", help="JSON-RPC address of a node you trust.")] = None,
    second: Annotated[
        bool, typer.Option("--second", help="Use the second implementation, py_ecc alone.")
    ] = False,
    deployment: Annotated[
        Path | None, typer.Option(help="The contracts you accept; else those of the receipt.")
    ] = None,
    confirmations: Annotated[int, typer.Option(help="Blocks that must follow an event.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Verify a receipt: exit 0 valid, 1 invalid (naming the first step that fails), 3 unknown."""
    from client.curves import Backend
    from client.verify import verify_receipt
    from ledger.chain import Chain
    from ledger.types import Deployment

    try:
        data = receipt.read_bytes()
    except OSError as err:
        raise CliError(f"cannot read {receipt}: {err.strerror}") from err
    with named():
        accepted = Deployment.from_json(read_json(deployment)) if deployment else None
        chain = Chain(rpc) if rpc else None
    text = "receipt checked, by py_ecc alone" if second else "receipt checked"
    with Stages(quiet=as_json).stage("verify", text) as stage:
        verdict = verify_receipt(
            data,
            chain,
            backend=Backend.REFERENCE if second else Backend.ARKWORKS,
            deployment=accepted,
            confirmations=confirmations,
            cache=state_root() / "cache",
            progress=stage.reach,
        )
    steps = [{"number": s.number, "name": s.name, "ok": s.ok, "detail": s.detail} for s in verdict.steps]
    if as_json:
        print_json({"status": verdict.status.name, "steps": steps})
    else:
        for step in verdict.steps:
            print_step(step.ok, step.number, f"{step.name}: {step.detail}")
        print_styled(verdict.status.name, "bold")
    raise typer.Exit(verdict.exit_code)
