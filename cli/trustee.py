"""`shuyao trustee`: the joint key of an encrypted deposit, made together and never had by anybody."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts
from cli.errors import CliError, named
from cli.home import Home
from cli.options import HomeOption, JsonOption, NumberOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from holder.ceremony_folder import CeremonyPart
    from holder.trustee import TrusteeKeys

app = typer.Typer(
    help="The joint key of an encrypted deposit: announce, deal, receive, finish; then a share of it.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="The ceremony's folder, which all trustees share.")]
NowOption = Annotated[
    bool, typer.Option("--now", help="Do not wait for trustees whose messages are missing.")
]


def open_keys(home: Path | None, number: int, passphrase_file: Path | None) -> TrusteeKeys:
    """Return the trustee's folder of a holder of the instance."""
    return _opened(home, number, passphrase_file)[0]


def _opened(home: Path | None, number: int, passphrase_file: Path | None) -> tuple[TrusteeKeys, Any]:
    from holder.settings import TRUSTEE_FOLDER
    from holder.trustee import TrusteeKeys

    found = Home.find(home)
    keys = accounts.open_existing(found, f"holders/{number}", passphrase_file)
    return TrusteeKeys(found.holder(number) / TRUSTEE_FOLDER, keys.signer), keys.signer


@contextmanager
def _part(
    folder: Path, home: Path | None, number: int, passphrase_file: Path | None
) -> Iterator[CeremonyPart]:
    from holder.ceremony_folder import CeremonyFolder, CeremonyPart

    keys, signer = _opened(home, number, passphrase_file)
    with named():
        yield CeremonyPart(CeremonyFolder(folder), keys, signer)


@app.command()
def start(
    folder: FolderArgument,
    threshold: Annotated[int, typer.Option(help="How many trustees decrypt together.", min=1)],
    trustee: Annotated[list[str], typer.Option(help="A trustee's account, 0x…; once for each.")],
    label: Annotated[str, typer.Option(help="64 hex digits that no other ceremony has.")] = "",
) -> None:
    """Write down what all agreed on: who the trustees are, and how many decrypt together."""
    from holder.ceremony_folder import CeremonyFolder
    from ledger.types import address_from_hex
    from privacy.deposit import Ceremony
    from privacy.types import Address

    with named():
        try:
            nonce = bytes.fromhex(label) if label else secrets.token_bytes(32)
        except ValueError as err:
            raise CliError("--label: expected 64 hex digits") from err
        accounts_ = sorted(Address(address_from_hex(each.lower())) for each in trustee)
        CeremonyFolder(folder).start(Ceremony(nonce, tuple(accounts_), threshold))
    say(f"{folder}: {threshold} of {len(trustee)} trustees; each announces now")


@app.command()
def announce(
    folder: FolderArgument,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """First round: announce the key that shares are sealed to."""
    with _part(folder, home, number, passphrase_file) as part:
        part.announce()
        say(f"trustee {part.index}: announced")


@app.command()
def deal(
    folder: FolderArgument,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Second round, once all have announced: deal shares to all."""
    with _part(folder, home, number, passphrase_file) as part:
        part.deal()
        say(f"trustee {part.index}: dealt")


@app.command()
def receive(
    folder: FolderArgument,
    now: NowOption = False,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Third round, once all have dealt: check the shares received, and open to all any that are bad."""
    with _part(folder, home, number, passphrase_file) as part:
        part.receive(now=now)
        say(f"trustee {part.index}: received")


@app.command()
def finish(
    folder: FolderArgument,
    now: NowOption = False,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge all messages, store this trustee's share under its keystore, and show the joint key."""
    from ledger.types import to_hex

    with _part(folder, home, number, passphrase_file) as part:
        outcome = part.finish(now=now)
    shown = {
        "key_id": to_hex(outcome.key.id),
        "key": to_hex(outcome.key.key),
        "threshold": outcome.key.threshold,
        "trustees": outcome.key.trustees,
        "transcript": to_hex(outcome.transcript),
        "faults": [str(fault) for fault in outcome.faults],
    }
    _print(shown, as_json)


@app.command(name="list")
def list_keys(
    folder: Annotated[
        Path | None, typer.Argument(help="A ceremony's folder; shares held here if none.")
    ] = None,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who has sent what in a ceremony; or the shares that this trustee has, and what each serves."""
    if folder is not None:
        _list_ceremony(folder, as_json)
        return
    with named():
        keys = open_keys(home, number, passphrase_file)
        rows = [(key_id.hex(), keys.bound(key_id).hex()) for key_id in keys.key_ids()]
    if as_json:
        print_json([{"key_id": f"0x{key}", "deposit": f"0x{root}" if root else None} for key, root in rows])
    else:
        print_table("shares of joint keys", ["key id", "deposit"], [(k, r or None) for k, r in rows])


def _list_ceremony(folder: Path, as_json: bool) -> None:
    from holder.ceremony_folder import CeremonyFolder
    from ledger.types import to_hex

    with named():
        place = CeremonyFolder(folder)
        ceremony = place.ceremony()
        standing = place.standing(ceremony)
    rows = [
        (
            index,
            to_hex(account),
            *(index in sent for sent in (standing.announced, standing.dealt, standing.answered)),
        )
        for index, account in enumerate(ceremony.trustees)
    ]
    columns = ["trustee", "account", "announced", "dealt", "received"]
    if as_json:
        people = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"threshold": ceremony.threshold, "trustees": people, "done": standing.is_done})
    else:
        print_table(f"{ceremony.threshold} of {ceremony.size} trustees", columns, rows)


@app.command()
def check(
    folder: FolderArgument,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a ceremony's messages again, and prove that this trustee's share opens and is of its key."""
    from holder.ceremony_folder import judge
    from ledger.types import to_hex

    with named():
        outcome = judge(folder)
        keys = open_keys(home, number, passphrase_file)
        share = keys.share(outcome.key)
        root = keys.bound(outcome.key.id)
    shown = {
        "key_id": to_hex(outcome.key.id),
        "trustee": share.trustee,
        "transcript": to_hex(outcome.transcript),
        "deposit": f"0x{root.hex()}" if root else None,
        "faults": [str(fault) for fault in outcome.faults],
    }
    _print(shown, as_json)


def _print(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        say(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")
