"""`shuyao keys`: the keystores of this machine. A private key is never printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli import accounts, passphrases
from cli.errors import CliError, named
from cli.home import Home
from cli.options import HomeOption, JsonOption, NewHomeOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from ledger.keystore import Keys

app = typer.Typer(help="Keystores: make, show, back up, restore, change passphrase.", no_args_is_help=True)
WhoArgument = Annotated[str, typer.Argument(help="buyer, exchange, holders/1, …")]
_WHO: Final = re.compile("buyer|exchange|regulator|registrar|bank|holders/[1-9][0-9]{0,3}")


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
def new(
    who: WhoArgument,
    home: NewHomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one party's keys, and nobody else's; prints what the registrar needs to admit it."""
    from ledger import keystore

    if not _WHO.fullmatch(who):
        raise CliError(f"{who!r}: expected buyer, exchange, regulator, registrar, bank, or holders/N")
    found = Home.make(home)
    path = accounts.folder(found, who) / accounts.NAME
    if path.exists():
        raise CliError(f"{path} exists and is not overwritten")
    chosen = passphrases.first(passphrase_file, what=who)
    with named():
        keys = keystore.create(path, chosen)
    _print_public(path, keys, as_json)


@app.command()
def public(
    who: WhoArgument,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a party's account and the public key that others encrypt to: what the registrar needs to admit it."""
    found = Home.find(home)
    path = accounts.keystore_path(found, who)
    _print_public(path, accounts.open_existing(found, who, passphrase_file), as_json)


def _print_public(path: Path, keys: Keys, as_json: bool) -> None:
    from ledger.types import to_hex

    shown = {
        "keystore": str(path),
        "address": to_hex(keys.signer.address),
        "encryption_key": to_hex(keys.x25519_public),
    }
    if as_json:
        print_json(shown)
    else:
        print_table("keys", ["what", "value"], list(shown.items()))


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
    say(f"{target}: the keystore of {who}, encrypted under the same passphrase")


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
    say(f"{path}: restored")


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
    say(f"{path}: opens with the new passphrase only; backups keep the one they were made under")
