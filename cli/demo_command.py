"""`shuyao demo`: a whole market on this machine, one question, its answer beside the plain one, everything verified."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CliError
from cli.home import Home
from cli.output import Stages, console, print_json, print_step, print_styled, print_table, say, show, visible
from privacy.terms import PlanKind


def demo(
    kind: Annotated[PlanKind, typer.Option(help="What is computed, and so who holds what.")] = PlanKind.SUM,
    data: Annotated[Path | None, typer.Option(help="A CSV file, split over three holders.")] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy of that file.")] = None,
    query: Annotated[str | None, typer.Option(help="The question, in SQL.")] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="Rows of each holder's generated table; else as many as suit the kind.", min=1),
    ] = None,
    rho: Annotated[str | None, typer.Option(help="ρ to spend; else the policy's for one request.")] = None,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks.")] = 1.0,
    exchange_database: Annotated[str | None, typer.Option(help="Database URL of the exchange.")] = None,
    holder_database: Annotated[
        str | None, typer.Option(help="Database URL of a holder, {number} in it.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running; `shuyao down` stops it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Build a market, ask it one question, verify the answer; exit 0 only if everything verified."""
    from cli import processes
    from cli.demo.kinds import DemoOptions, make_demo, usual_rows
    from cli.demo.run import DemoPlan, run
    from cli.market_commands import stopping_what_fails
    from cli.rho import rho_to_micro

    if (data is None) != (policy is None):
        raise CliError("--data and --policy go together")
    options = DemoOptions(
        query=query,
        rows=rows or usual_rows(kind),
        data=data.absolute() if data else None,
        policy=policy.absolute() if policy else None,
    )
    part = make_demo(kind, options)
    part.check(None if rho is None else rho_to_micro(rho))
    name = f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    home = Home.create(name, is_current=False)
    stages = Stages(quiet=as_json)
    if not as_json:
        say(f"a market in {home.path}; its passphrases are in {home.passphrases}", err=True)
    plan = DemoPlan(
        demo=part,
        rho=rho,
        block_time_s=block_time,
        exchange_database=exchange_database,
        holder_database=holder_database,
    )
    with stopping_what_fails(home):
        report = run(home, plan, stages)
    if not keep:
        processes.stop_all(home)
    if as_json:
        print_json(report)
    else:
        _print(report, keep=keep)
    raise typer.Exit(0 if report["verified"] else 1)


def _print(report: dict[str, Any], *, keep: bool) -> None:
    answer, plain = report["answer"], report["plaintext"]
    groups = [
        i for i, errors in enumerate(zip(*answer["error95"], strict=True)) if all(e is None for e in errors)
    ]
    columns: list[str] = []
    for index, name in enumerate(answer["columns"]):
        columns += [name] if index in groups else [name, "±95 %", "plain"]
    rows = []
    for row, error, exact in zip(answer["rows"], answer["error95"], plain["rows"], strict=True):
        cells: list[Any] = []
        for index, value in enumerate(row):
            cells += (
                [show(value)] if index in groups else [show(value), show(error[index]), show(exact[index])]
            )
        rows.append(cells)
    console.print(f"\n{visible(report['sql'], lines=True)}\n", style="italic")
    print_table(f"answer from {report['survivors']} of {report['n']} holders", columns, rows)
    for step in report["verification"]:
        print_step(step["ok"], step["number"], f"{step['name']}: {step['detail']}")
    print_table(
        "transactions",
        ["step", "block", "gas", "hash"],
        [(t["step"], t["block"], t["gas"], t["hash"]) for t in report["transactions"]],
    )
    print_table("seconds", ["stage", "seconds"], list(report["stages_s"].items()))
    say(f"gas in all: {report['gas']['total']:,}")
    say(f"receipt: {report['receipt']}")
    if keep:
        say(f"rpc: {report['rpc']}  exchange: {report['exchange']}  (running: `shuyao down` stops it)")
    if report["verified"]:
        print_styled("VERIFIED", "bold green")
    else:
        print_styled("NOT VERIFIED", "bold red")
