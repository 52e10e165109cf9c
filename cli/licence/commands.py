"""The commands of `shuyao licence`, put together; each module imports what it needs when it runs."""

from __future__ import annotations

import typer

from cli.licence import (
    backfill_command,
    city_commands,
    demo_command,
    department_commands,
    deploy_command,
    holder_commands,
    key_commands,
    own_commands,
    verify_command,
)

app = typer.Typer(
    help="E-licences: for departments, holders, verifiers, and who runs a city's service.",
    no_args_is_help=True,
)
app.add_typer(key_commands.app, name="keys")
for _command in (
    deploy_command.deploy,
    city_commands.init,
    city_commands.serve,
    city_commands.anchor,
    city_commands.health,
    city_commands.policy,
    department_commands.issue,
    department_commands.suspend,
    department_commands.resume,
    department_commands.revoke,
    department_commands.supersede,
    department_commands.transfer,
    department_commands.show,
    backfill_command.backfill,
    own_commands.find,
    own_commands.export,
    holder_commands.disclose,
    holder_commands.qr,
    holder_commands.scan,
    holder_commands.bundle,
    holder_commands.check,
    holder_commands.status,
    holder_commands.uses,
    holder_commands.erase,
    verify_command.verify,
    demo_command.demo,
):
    app.command()(_command)


@app.callback()
def group() -> None:
    """Issue, show, verify."""
