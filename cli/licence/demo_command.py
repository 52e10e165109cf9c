"""`shuyao licence demo`: the whole life of licences in two cities, by real processes, every step checked."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

import typer

from cli.home import Home, state_root
from cli.output import print_json, print_styled, say


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running; `shuyao down` stops it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run the demonstration; exit 0 only if every step held."""
    from cli import processes
    from cli.licence.demo import run

    home = Home(state_root() / f"licences-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    for folder in (home.path, home.logs, home.passphrases):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not as_json:
        say(f"two cities in {home.path}; their passphrases are beside their keys", err=True)
    try:
        steps = run(home, quiet=as_json)
    finally:
        if not keep:
            processes.stop_all(home)
    if as_json:
        print_json(steps.report())
    else:
        held = sum(step.ok for step in steps.done)
        colour = "green" if steps.ok else "red"
        print_styled(f"{held} of {len(steps.done)} steps held", f"bold {colour}")
    raise typer.Exit(0 if steps.ok else 1)
