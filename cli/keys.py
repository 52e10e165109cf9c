"""`shuyao keys`: the keystores of this machine. A private key is never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import accounts, passphrases
from cli.errors import named
from cli.home import Home
from cli.options import HomeOption, JsonOption, PassphraseOption
from cli.output import print_json, print_table

app = typer.Typer(help="Keystores: show, back up, restore, change passphrase.", no_args_is_help=True)
WhoArgument = Annotated[str, typer.Argument(help="buyer, exchange, holders/1, …")]


@app.command()
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the keystores of an instance and the accounts in them."""
    from ledger import keystore
    from ledger.types import to_hex

    found = Home.find(home)
    with named():
        rows = [
            (str(path.parent.relative_to(found.path)), to_hex(keystore.address_in(path)))
            for path in sorted(found.path.glob(f"**/{accounts.NAME}"))
        ]
    if as_json:
        print_json([{"who": who, "address": address} for who, address in rows])
    else:
        print_table("keystores", ["who", "address"], rows)


@app.command()
def backup(
    who: WhoArgument,
    target: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Copy a keystore, still encrypted, after checking that its passphrase opens it."""
    from ledger import keystore

    found = Home.find(home)
    path = accounts.keystore_path(found, who)
    with named():
        keystore.backup(path, target, accounts.passphrase(found, who, passphrase_file))
    typer.echo(f"{target}: the keystore of {who}, encrypted under the same passphrase")


@app.command()
def restore(
    who: WhoArgument,
    source: Annotated[Path, typer.Argument(help="A backup made by `keys backup`.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Put a backed-up keystore in place, where none is."""
    from ledger import keystore

    found = Home.find(home)
    path = accounts.folder(found, who) / accounts.NAME
    with named():
        keystore.restore(source, path, accounts.passphrase(found, who, passphrase_file))
    typer.echo(f"{path}: restored")


@app.command()
def passphrase(
    who: WhoArgument,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", help="File with the new one; else it is asked for."),
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Seal a keystore under another passphrase; one that an unattended start made and kept is deleted."""
    from ledger import keystore

    found = Home.find(home)
    path = accounts.keystore_path(found, who)
    old = accounts.passphrase(found, who, passphrase_file)
    new = passphrases.choose(new_passphrase_file, what=who)
    with named():
        keystore.change_passphrase(path, old, new)
    passphrases.forget(found, accounts.passphrase_name(who))
    typer.echo(f"{path}: opens with the new passphrase only; backups keep the one they were made under")
