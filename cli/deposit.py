"""`shuyao deposit`: make, check and show an encrypted deposit. Its depositor runs no node and keeps no key."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError, named
from cli.options import JsonOption
from cli.output import Stages, print_json, print_table, say

if TYPE_CHECKING:
    from privacy.deposit.stored import Deposit
    from privacy.policy import Policy

app = typer.Typer(help="An encrypted deposit: make, check, show.", no_args_is_help=True)

FolderArgument = Annotated[Path, typer.Argument(help="The deposit's folder.")]
PolicyOption = Annotated[Path, typer.Option("--policy", help="The policy, with `deposit`.")]
WorkersOption = Annotated[int, typer.Option(help="Processes that work on it.", min=1)]


@app.command()
def policy(
    template: Annotated[Path, typer.Argument(help="A policy whose `deposit` has only `cube`.")],
    key: Annotated[Path, typer.Argument(help="key.json of the trustees' ceremony.")],
    out: Annotated[Path, typer.Argument(help="The policy that is written.")],
) -> None:
    """Put a joint key and its trustees into a policy, and check the whole."""
    write_policy(template, key, out)
    say(f"{out}: {len(_read_policy(out).to_bytes())} bytes in its one form")


@app.command()
def make(
    folder: FolderArgument,
    data: Annotated[Path, typer.Option("--data", help="The table: CSV or Parquet.")],
    policy: PolicyOption,
    workers: WorkersOption = 1,
    memory_mb: Annotated[int, typer.Option(help="Memory limit of the engine.", min=64)] = 256,
    as_json: JsonOption = False,
) -> None:
    """Sum a table into the policy's cube and encrypt it; run again after a crash, it goes on to the same bytes."""
    from holder.depositor import Table, make_deposit
    from holder.settings import EngineSettings, FileSource
    from privacy.deposit import ProcessMapper

    kind = "csv" if data.suffix == ".csv" else "parquet"
    source = FileSource(kind, data.absolute(), trim=kind == "csv")
    scratch = folder.absolute().with_name(folder.name + ".tmp")
    table = Table(source, EngineSettings(scratch, memory_mb=memory_mb))
    own = _read_policy(policy)
    stages = Stages(quiet=as_json)
    workers_ = ProcessMapper(workers) if workers > 1 else nullcontext(map)
    with named(), stages.stage("make", "cells encrypted") as stage, workers_ as mapper:
        deposit = make_deposit(own, table, folder.absolute(), mapper=mapper, progress=stage.reach)
    _print(_shown(deposit), as_json)


@app.command()
def check(
    folder: FolderArgument,
    policy: Annotated[Path | None, typer.Option("--policy", help="The policy that it must be of.")] = None,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Check every block against the root and every point of a deposit, and whose it is."""
    import secrets

    from privacy.deposit import Deposit, ProcessMapper, check_points
    from privacy.deposit.terms import deposit_policy

    stages = Stages(quiet=as_json)
    with named(), stages.stage("check", "every point checked"):
        deposit = Deposit.open(folder)
        if policy is not None:
            own = _read_policy(policy)
            deposit.require_of(deposit_policy(own).header(own))
        with ProcessMapper(workers) if workers > 1 else nullcontext(map) as mapper:
            check_points(deposit, secrets.token_bytes(32), mapper=mapper)
    _print({**_shown(deposit), "checked": True, "policy_checked": policy is not None}, as_json)


@app.command()
def show(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Show what a deposit is of: policy, key, cube, number of cells."""
    from privacy.deposit import Deposit

    with named():
        deposit = Deposit.open(folder)
    if as_json:
        print_json({**_shown(deposit), "cube": deposit.header.cube})
        return
    _print(_shown(deposit), as_json)
    cube = deposit.header.cube
    print_table(
        "dimensions", ["column", "values"], [(d["column"], len(d["domain"]) + 1) for d in cube["dimensions"]]
    )
    print_table("lanes", ["kind", "column"], [(lane["kind"], lane["column"]) for lane in cube["lanes"]])


@app.command()
def root(folder: FolderArgument) -> None:
    """Print the deposit root, which trustees register as the snapshot root of their assets."""
    from privacy.deposit import Deposit

    with named():
        say(f"0x{Deposit.open(folder).root.hex()}")


def write_policy(template: Path, key: Path, out: Path) -> None:
    """Write a policy with a joint key in it.

    Raises:
        CliError: a file cannot be read, or what comes out is no policy.
    """
    import yaml

    from ledger.encoding import parse_json
    from ledger.errors import MalformedValue
    from privacy.errors import PolicyInvalid
    from privacy.policy import Policy, load_yaml

    try:
        given, record = load_yaml(template.read_text("utf-8")), parse_json(key.read_bytes())
    except (OSError, UnicodeDecodeError, PolicyInvalid, MalformedValue) as err:
        raise CliError(f"{template}, {key}: {err}") from err
    member = given.get("deposit") if isinstance(given, dict) else None
    if not isinstance(member, dict) or not isinstance(record, dict):
        raise CliError(f"{template}: expected a member `deposit` with `cube`, and a joint key in {key}")
    made = {**given, "deposit": {**record, "cube": member.get("cube")}}
    try:
        Policy.from_mapping(made)
        out.write_text(yaml.safe_dump(made, allow_unicode=True, sort_keys=False, width=1000), "utf-8")
    except (OSError, PolicyInvalid) as err:
        raise CliError(f"{out}: {err}") from err


def _read_policy(path: Path) -> Policy:
    from privacy.errors import PolicyInvalid
    from privacy.policy import Policy

    try:
        return Policy.from_yaml(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, PolicyInvalid) as err:
        raise CliError(f"{path}: {err}") from err


def _shown(deposit: Deposit) -> dict[str, Any]:
    header = deposit.header
    return {
        "root": f"0x{deposit.root.hex()}",
        "policy": f"0x{header.policy.hex()}",
        "key_id": f"0x{header.key_id.hex()}",
        "cells": header.cells,
        "blocks": header.blocks,
        "files": header.fragments,
    }


def _print(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        say(f"{name}: {value}")
