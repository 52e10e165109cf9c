"""`shuyao test` and `shuyao bench`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Annotated

import typer

from cli.errors import CliError
from cli.home import repository_root
from cli.output import print_json, print_table

BENCHMARKS = ("sealed-sum", "commit", "query", "latency", "memory", "gas")


def test(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Everything, whole size; takes much longer.")] = False,
) -> None:
    """Run the tests; further arguments go to pytest."""
    environment = {**os.environ, "PYTHONPATH": str(repository_root())}
    selection = (
        ["--override-ini=addopts=-ra --strict-markers --import-mode=importlib"]
        if full
        else ["-m", "not slow"]
    )
    extra = context.args or ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadgroup"]
    command = [sys.executable, "-m", "pytest", *selection, *extra]
    raise typer.Exit(subprocess.run(command, cwd=repository_root(), env=environment, check=False).returncode)


def bench(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BENCHMARKS)}.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure one figure beside its peer, in one run, with the environment printed."""
    if name not in BENCHMARKS:
        raise CliError(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    sys.path.insert(0, str(repository_root()))
    result = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").run()
    if as_json:
        print_json(result)
    else:
        rows = [(label, value, result["targets"].get(label)) for label, value in result["figures"].items()]
        print_table(
            f"{name}: {'met' if result['met'] else 'not met'}", ["figure", "measured", "target"], rows
        )
        print_table("environment", ["what", "value"], result["env"].items())
    raise typer.Exit(0 if result["met"] else 1)
