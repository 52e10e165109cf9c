"""`shuyao licence init | serve | anchor | health | policy`: for who runs a city's service, and for who trusts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError, named
from cli.licence.options import OutOption, read_public, write_out
from cli.licence.times import utc
from cli.options import JsonOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from api.licences.settings import CitySettings

FolderOption = Annotated[Path, typer.Option("--city", help="The city's folder.")]


def init(
    city: FolderOption,
    origin: Annotated[str, typer.Option(help="The log's name for ever, such as licences.dg.example.")],
    name: Annotated[str, typer.Option(help="The city's name, for people.")],
    registrar: Annotated[Path, typer.Option(help="The registrar's public key: a JWK or a key file.")],
    witness: Annotated[
        list[str] | None, typer.Option(help="VKEY=URL of a witness; repeat it for each.")
    ] = None,
    threshold: Annotated[int, typer.Option(help="How many witnesses are a quorum.", min=1)] = 3,
    rpc_url: Annotated[str | None, typer.Option("--rpc", help="A node of the chain to anchor on.")] = None,
    chain_id: Annotated[int | None, typer.Option(help="That chain's id.")] = None,
    contract: Annotated[str | None, typer.Option(help="The log's LogAnchor, 0x….")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8800,
    verify_port: Annotated[int, typer.Option(help="Port of the verifying processes.", min=0, max=65535)] = 0,
    verify_workers: Annotated[int, typer.Option(help="How many verifying processes.", min=0, max=64)] = 0,
    passphrase_file: PassphraseOption = None,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Make passphrases and keep them in the folder.")
    ] = False,
) -> None:
    """Make a city: encrypted keys of its log and service, an empty log, settings."""
    from cli.licence import city as city_folder

    anchor = None
    if rpc_url is not None:
        if chain_id is None or contract is None:
            raise CliError("--rpc, --chain-id and --contract go together")
        anchor = (rpc_url, chain_id, contract)
    founding = city_folder.Founding(
        origin=origin,
        name=name,
        registrar=read_public(registrar),
        witnesses=dict(_witness(text) for text in witness or []),
        threshold=threshold,
        anchor=anchor,
        host=host,
        port=port,
        verify_port=verify_port,
        verify_workers=verify_workers,
        is_unattended=unattended,
        passphrase_file=passphrase_file,
    )
    made = city_folder.create(city, founding)
    typer.echo(made.log_key)


def serve(city: FolderOption, passphrase_file: PassphraseOption = None) -> None:
    """Serve a city's log until SIGTERM; prints where, once it answers."""
    from api.licences.server import run
    from api.licences.service import ServiceKeys
    from cli.licence import city as city_folder
    from cli.licence import keyring
    from ledger.log.notes import NoteSigner

    settings = city_folder.load(city)
    log = keyring.open_key(keyring.key_path(city, city_folder.LOG_KEY), passphrase_file)
    service = keyring.open_key(keyring.key_path(city, city_folder.SERVICE_KEY), passphrase_file)
    with named():
        signer = NoteSigner.from_seed(settings.origin, log.secret)
        keys = ServiceKeys(signer, service, city_folder.operator(city, settings))
        run(
            city_folder.book_folder(city),
            settings,
            keys,
            on_ready=lambda port: say(_serving(city, settings, port)),
        )


def anchor(city: FolderOption, passphrase_file: PassphraseOption = None, as_json: JsonOption = False) -> None:
    """Anchor the log's newest cosigned head now."""
    from cli.licence import city as city_folder
    from cli.licence import keyring
    from cli.licence.client import CityClient, Speaker
    from ledger.licences.events import service_urn

    settings = city_folder.load(city)
    key = keyring.open_key(keyring.key_path(city, city_folder.SERVICE_KEY), passphrase_file)
    with CityClient(f"http://{settings.host}:{settings.port}") as client:
        found = client.anchor(Speaker(service_urn(settings.origin), key))
    if as_json:
        print_json(found)
    else:
        print_table("anchor", ["what", "value"], list(found.items()))


def health(
    url: Annotated[str, typer.Argument(help="Address of the service.")], as_json: JsonOption = False
) -> None:
    """Show how a service fares: its log, its duties, its anchors."""
    from cli.licence.client import CityClient

    with CityClient(url) as client:
        found = client.health()
    if as_json:
        print_json(found)
        return
    say(f"{found['origin']}: {found['status']}, {found['size']} entries")
    duties = [(name, utc(state["done_at"]), state["fault"]) for name, state in found["duties"].items()]
    print_table("duties", ["duty", "done at (UTC)", "fault"], duties)


def policy(
    urls: Annotated[list[str], typer.Argument(help="Services of the cities to trust.")],
    anchor: Annotated[str, typer.Option(help="What to insist on: none, attested or proved.")] = "none",
    out: OutOption = None,
) -> None:
    """Write a verifier's policy over cities, as their services name themselves: compare the keys before you trust it."""
    from cli.licence.city import policy_json
    from cli.licence.client import CityClient
    from ledger.licences.policy import TrustPolicy

    cities = []
    for url in urls:
        with CityClient(url) as client:
            cities.append(client.city())
    made = policy_json(cities, anchor=anchor)
    with named():
        TrustPolicy.from_json(made)
    write_out(out, json.dumps(made, ensure_ascii=False, indent=2))


def _serving(city: Path, settings: CitySettings, port: int) -> str:
    """Say in one line what is served, where, and how much of it there is."""
    from cli.licence import city as city_folder
    from ledger.log.checkpoint import Checkpoint
    from ledger.log.notes import SignedNote

    newest = city_folder.checkpoint_path(city).read_text(encoding="utf8")
    size = Checkpoint.parse(SignedNote.parse(newest).text).size
    verifying = f", verifying at port {settings.verify_port}" if settings.verify_workers else ""
    return f"{settings.origin}: {size:,} entries, at http://{settings.host}:{port}{verifying}"


def _witness(text: str) -> tuple[str, str]:
    vkey, equals, url = text.rpartition("=http")
    if not equals:
        raise CliError(f"expected VKEY=URL for a witness, got {text!r}")
    return vkey, f"http{url}"
