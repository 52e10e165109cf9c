"""`shuyao test` and `shuyao bench`."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from typing import Annotated, Final

import typer

from cli.errors import CliError
from cli.home import repository_root
from cli.options import JsonOption
from cli.output import Stages, print_json, print_table

FULL = (
    "Everything, whole size, with a table of it: kill pairs, attacks, audits, properties, and ten minutes of fuzzing for each "
    "family of decoders. Takes hours."
)

TEST_WORKERS: Final = 4
"""Also where there are two cores: many tests wait for blocks."""

# name -> module of `benchmarks`
BENCHMARKS = {
    "sealed-sum": "sealed_sum",
    "commit": "commit",
    "query": "query",
    "latency": "latency",
    "memory": "memory",
    "gas": "gas",
    "tree": "tree",
    "issue": "issue",
    "bundle": "bundle",
    "anchor": "anchor",
    "licence-city": "licence_city",
    "verify": "verify_http",
    "crash": "crash",
    "paillier": "paillier",
    "join": "join",
    "deposit": "deposit",
    "bfv": "bfv",
}


def test(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help=FULL)] = False,
    fuzz_seconds: Annotated[
        int, typer.Option(help="With --full: how long each family of decoders is fuzzed.", min=1)
    ] = 600,
) -> None:
    """Run the tests; further arguments go to pytest."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository_root()),
        "SHUYAO_FUZZ_SECONDS": str(fuzz_seconds),
        "PYTHONDONTWRITEBYTECODE": "",  # they start hundreds of processes: each would compile everything again
    }
    selection = (
        ["--override-ini=addopts=-ra --strict-markers --import-mode=importlib", "-p", "tests.whole"]
        if full
        else ["-m", "not slow"]
    )
    extra = context.args or ["-n", str(TEST_WORKERS), "--dist", "loadgroup"]
    command = [sys.executable, "-m", "pytest", *selection, *extra]
    raise typer.Exit(subprocess.run(command, cwd=repository_root(), env=environment, check=False).returncode)


def bench(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BENCHMARKS)}.")],
    scale: Annotated[
        float | None,
        typer.Option(help="licence-city: share of a city's 52,150,000 licences.", min=0.0002, max=1),
    ] = None,
    count: Annotated[int | None, typer.Option(help="crash: how many kills.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure one figure beside its peer, in one run, with the environment printed."""
    if name not in BENCHMARKS:
        raise CliError(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    sys.path.insert(0, str(repository_root()))
    benchmark = importlib.import_module(f"benchmarks.{BENCHMARKS[name]}").run
    given = {option: value for option, value in (("scale", scale), ("count", count)) if value is not None}
    if unknown := given.keys() - inspect.signature(benchmark).parameters:
        raise CliError(f"the benchmark {name} has no option --{', --'.join(sorted(unknown))}")
    stages = Stages(quiet=False, refresh_hz=1)  # drawing it takes time from what is measured
    with stages.stage("bench", f"benchmark {name}"):
        result = benchmark(**given)
    if as_json:
        print_json(result)
    else:
        rows = [(label, value, result["targets"].get(label)) for label, value in result["figures"].items()]
        print_table(
            f"{name}: {'met' if result['met'] else 'not met'}", ["figure", "measured", "target"], rows
        )
        print_table("environment", ["what", "value"], result["env"].items())
    raise typer.Exit(0 if result["met"] else 1)
