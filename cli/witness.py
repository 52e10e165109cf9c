"""`shuyao witness`: an independent witness of licence logs, with a key, a state and a view of the chain of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError
from cli.home import read_json, write_json
from cli.licence import keyring
from cli.options import JsonOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from api.licences.settings import WitnessSettings
    from ledger.log.notes import NoteSigner

app = typer.Typer(help="A witness of licence logs.", no_args_is_help=True)

FolderArgument = Annotated[Path, typer.Argument(help="The witness's folder.")]
KEY = "witness"


def settings_path(folder: Path) -> Path:
    """Return where a witness's settings are."""
    return folder / "witness.json"


def load_settings(folder: Path) -> WitnessSettings:
    """Read a witness's settings.

    Raises:
        CliError: none there, or not of this version.
    """
    from api.licences.settings import WitnessSettings
    from ledger.errors import LedgerError

    try:
        return WitnessSettings.from_json(read_json(settings_path(folder)))
    except LedgerError as err:
        raise CliError(f"{settings_path(folder)}: {err}") from err


def create(folder: Path, settings_of: dict[str, Any], *, key_options: dict[str, Any]) -> WitnessSettings:
    """Make a witness: its key file and its settings.

    Args:
        folder: of the witness.
        settings_of: name, rpc_url, host and port.
        key_options: as `keyring.make_key` takes them.

    Raises:
        CliError: there is a witness already.
    """
    from api.licences.settings import WitnessSettings

    key = keyring.make_key(keyring.key_path(folder, KEY), **key_options)
    signer = _signer(settings_of["name"], key.secret)
    settings = WitnessSettings(vkey=signer.key.to_text(), **settings_of)
    write_json(settings_path(folder), settings.to_json())
    return settings


def add_log(folder: Path, log: dict[str, Any]) -> WitnessSettings:
    """Have a witness watch one more log; one that it watches already gets these settings.

    Args:
        folder: of the witness.
        log: the JSON form of `WatchedLog`.

    Raises:
        CliError: no such witness, or no such log.
    """
    from dataclasses import replace

    from api.licences.settings import WatchedLog
    from ledger.errors import LedgerError
    from ledger.log.notes import NoteKey

    settings = load_settings(folder)
    try:
        watched = WatchedLog.from_json(log)
        NoteKey.parse(watched.vkey)
    except LedgerError as err:
        raise CliError(f"log: {err}") from err
    others = tuple(each for each in settings.logs if each.origin != watched.origin)
    changed = replace(settings, logs=(*others, watched))
    write_json(settings_path(folder), changed.to_json())
    return changed


@app.command()
def init(
    folder: FolderArgument,
    name: Annotated[str, typer.Option(help="The witness's name, such as regulator.example.")],
    rpc_url: Annotated[str | None, typer.Option("--rpc", help="The witness's own node of the chain.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8801,
    passphrase_file: PassphraseOption = None,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Make a passphrase and keep it in the folder.")
    ] = False,
) -> None:
    """Make a witness: an encrypted key, and its settings. Prints the key for the logs' policies."""
    options = {"passphrase_file": passphrase_file, "is_unattended": unattended}
    made = create(folder, {"name": name, "rpc_url": rpc_url, "host": host, "port": port}, key_options=options)
    typer.echo(made.vkey)


@app.command()
def watch(
    folder: FolderArgument,
    log_key: Annotated[str, typer.Argument(help="The log's key, as it publishes it.")],
    origin: Annotated[str | None, typer.Option(help="The log's origin; else the name in its key.")] = None,
    chain_id: Annotated[int | None, typer.Option(help="Chain that it is anchored on.")] = None,
    contract: Annotated[str | None, typer.Option(help="Its LogAnchor, 0x….")] = None,
) -> None:
    """Watch one more log."""
    log = {
        "vkey": log_key,
        "origin": origin or log_key.partition("+")[0],
        "chain_id": chain_id,
        "contract": contract,
    }
    add_log(folder, log)
    typer.echo(f"watching {log['origin']}")


@app.command()
def run(folder: FolderArgument, passphrase_file: PassphraseOption = None) -> None:
    """Serve until SIGTERM; prints where, once it answers."""
    from api.licences.serving import serve
    from api.licences.witness_app import create_witness_app
    from api.serving import configure_logs
    from ledger.errors import LedgerError

    settings = load_settings(folder)
    key = keyring.open_key(keyring.key_path(folder, KEY), passphrase_file)
    configure_logs()
    try:
        app_ = create_witness_app(_witness(folder, settings, key.secret), _attestor(settings, key.secret))
        serve(
            app_,
            host=settings.host,
            port=settings.port,
            on_ready=lambda port: say(
                f"{settings.name}: at http://{settings.host}:{port}, logs watched: {len(settings.logs)}"
            ),
        )
    except LedgerError as err:
        raise CliError(str(err)) from err


@app.command()
def show(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Show the witness's key and the logs that it watches."""
    settings = load_settings(folder)
    if as_json:
        print_json(settings.to_json())
        return
    typer.echo(f"{settings.name}  http://{settings.host}:{settings.port}")
    typer.echo(settings.vkey)
    rows = [(log.origin, log.vkey, log.chain_id, log.contract) for log in settings.logs]
    print_table("logs", ["origin", "key", "chain", "contract"], rows)


def _signer(name: str, seed: bytes) -> NoteSigner:
    from ledger.log.notes import COSIGNATURE, NoteSigner

    return NoteSigner.from_seed(name, seed, algorithm=COSIGNATURE)


def _witness(folder: Path, settings: WitnessSettings, seed: bytes) -> Any:
    from ledger.log.notes import NoteKey
    from ledger.log.witness import Witness

    logs = {log.origin: NoteKey.parse(log.vkey) for log in settings.logs}
    return Witness(_signer(settings.name, seed), logs, folder / "state")


def _attestor(settings: WitnessSettings, seed: bytes) -> Any:
    from api.licences.attestor import Attestor
    from ledger.log.notes import NoteSigner

    if settings.rpc_url is None:
        return None
    return Attestor(NoteSigner.from_seed(settings.name, seed), settings.logs, rpc_url=settings.rpc_url)
