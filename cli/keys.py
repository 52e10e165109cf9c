"""`shuyao keys`: the keystores of this machine. A private key is never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import passphrases
from cli.errors import CliError
from cli.home import Home
from cli.output import print_json, print_table

app = typer.Typer(help="Keystores: show, back up, restore.", no_args_is_help=True)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The instance; the current one if not given.")
]
PassphraseOption = Annotated[Path | None, typer.Option("--passphrase-file", help="File with the passphrase.")]


def _folder(home: Home, who: str) -> Path:
    folder = home.path / who
    if not (folder / "keystore.json").is_file():
        known = sorted(str(p.parent.relative_to(home.path)) for p in home.path.glob("**/keystore.json"))
        raise CliError(f"no keystore of {who!r} in {home.path}; there are: {', '.join(known) or 'none'}")
    return folder


def _passphrase(home: Home, who: str, file: Path | None) -> str:
    made = home.passphrases / who.replace("/", "-")
    return passphrases.obtain(file or (made if made.is_file() else None), what=who)


@app.command()
def show(home: HomeOption = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the keystores of an instance and the accounts in them."""
    from ledger import keystore
    from ledger.types import to_hex

    found = Home.find(home)
    rows = [
        (str(path.parent.relative_to(found.path)), to_hex(keystore.address_in(path)))
        for path in sorted(found.path.glob("**/keystore.json"))
    ]
    if as_json:
        print_json([{"who": who, "address": address} for who, address in rows])
    else:
        print_table("keystores", ["who", "address"], rows)


@app.command()
def backup(
    who: Annotated[str, typer.Argument(help="buyer, exchange, holders/1, …")],
    target: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Copy a keystore, still encrypted, after checking that its passphrase opens it."""
    from ledger import keystore
    from ledger.errors import LedgerError

    found = Home.find(home)
    try:
        keystore.backup(
            _folder(found, who) / "keystore.json", target, _passphrase(found, who, passphrase_file)
        )
    except LedgerError as err:
        raise CliError(str(err)) from err
    typer.echo(f"{target}: the keystore of {who}, encrypted under the same passphrase")


@app.command()
def restore(
    who: Annotated[str, typer.Argument(help="buyer, exchange, holders/1, …")],
    source: Annotated[Path, typer.Argument(help="A backup made by `keys backup`.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Put a backed-up keystore in place, where none is."""
    from ledger import keystore
    from ledger.errors import LedgerError

    found = Home.find(home)
    folder = found.path / who
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        keystore.restore(source, folder / "keystore.json", _passphrase(found, who, passphrase_file))
    except LedgerError as err:
        raise CliError(str(err)) from err
    typer.echo(f"{folder / 'keystore.json'}: restored")
