"""`shuyao licence disclose | qr | scan | bundle | check | status | uses | erase`: for holders, and verifiers with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.options import (
    CityOption,
    CredentialArgument,
    KeyOption,
    OutOption,
    PolicyOption,
    read_text,
    write_out,
)
from cli.licence.times import read_time, utc
from cli.options import JsonOption, PassphraseOption
from cli.output import Stages, print_json, print_table, say


def disclose(
    credential: CredentialArgument,
    fields: Annotated[
        list[str] | None, typer.Argument(help="Names or titles of the fields to show; none shows no field.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The holder's key file, to prove the bearer.")
    ] = None,
    nonce: Annotated[str | None, typer.Option(help="The verifier's challenge.")] = None,
    audience: Annotated[str | None, typer.Option(help="Whom it is for.")] = None,
    out: OutOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a presentation that shows some fields only; with --key, --nonce and --audience it proves its bearer."""
    from cli.licence import wallet

    text = read_text(credential)
    if key is None:
        write_out(out, wallet.disclose(text, fields or ()))
        return
    if nonce is None or audience is None:
        raise CliError("--key, --nonce and --audience go together")
    opened = keyring.open_key(key, passphrase_file)
    made = wallet.Wallet(opened).present(text, fields or (), nonce=nonce, audience=audience)
    write_out(out, made)


def qr(
    presentation: Annotated[Path, typer.Argument(help="File with the presentation.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .png or .svg; else the terminal.")
    ] = None,
) -> None:
    """Write a presentation that proves its bearer as a QR code; who photographs it can use it for a minute only."""
    from ledger.licences import qr as codes
    from ledger.licences.sdjwt import parse

    text = read_text(presentation)
    with named():
        if parse(text).key_binding is None:
            raise CliError(
                f"{presentation} proves no bearer, so that it would serve whoever photographs it, for ever: "
                "make it with `licence disclose --key --nonce --audience`"
            )
        if out is None:
            typer.echo(codes.terminal(text))
        elif out.suffix == ".svg":
            write_out(out, codes.svg(text))
        else:
            write_out(out, codes.png(text))


def scan(
    image: Annotated[Path, typer.Argument(help="A photograph or picture of a QR code.")],
    out: OutOption = None,
) -> None:
    """Read a presentation out of a picture of its QR code."""
    from ledger.licences import qr as codes

    with named():
        write_out(out, codes.read(image))


def bundle(
    credential: CredentialArgument,
    city: CityOption,
    anchored: Annotated[
        bool, typer.Option("--anchored", help="Over the newest head that is on the chain; it may be older.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Fetch everything that a verifier without a network needs for a credential."""
    from cli.licence.client import CityClient

    with CityClient(city) as client:
        write_out(out, client.bundle(read_text(credential), is_anchored=anchored))


def check(
    presentation: Annotated[Path, typer.Argument(help="File with the presentation.")],
    city: CityOption,
    nonce: Annotated[
        str | None, typer.Option(help="The challenge that the bearer must have answered.")
    ] = None,
    audience: Annotated[str | None, typer.Option(help="Whom the presentation must be for.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Have the city's service verify a presentation: exit 0 VALID, 1 INVALID, 3 UNKNOWN."""
    from cli.licence.client import CityClient
    from cli.licence.verify_command import EXIT_CODES, licence_json, show_verdict
    from ledger.licences.sdjwt import parse

    if (nonce is None) != (audience is None):
        raise CliError("--nonce and --audience go together")
    text = read_text(presentation)
    with CityClient(city) as client, named():
        found = client.verify(text, nonce=nonce, audience=audience)
        found["licence"] = licence_json(parse(text)) if found.get("authentic") is True else None
    if as_json:
        print_json(found)
    else:
        show_verdict(found)
    raise typer.Exit(EXIT_CODES[found["verdict"]])


def status(
    credential: CredentialArgument,
    city: CityOption,
    policy: PolicyOption = Path("policy.json"),
    at: Annotated[
        str | None,
        typer.Option(
            help="The status as it was then: 2026-01-31, 2026-01-31T12:00:00+08:00 or Unix seconds; else now."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a licence's status from the log, now or at a past time: exit 0 proved, 1 no such licence, 3 UNKNOWN."""
    from cli.licence.client import CityClient
    from cli.licence.status import show_status, status_json, status_of
    from cli.licence.verify_command import EXIT_CODES, read_policy

    trusted, at_s = read_policy(policy), None if at is None else read_time(at)
    stages = Stages(quiet=as_json)
    with CityClient(city) as client, named(), stages.stage("log", "looking through the log") as stage:
        found = status_of(client, read_text(credential), trusted, at_s=at_s, progress=stage.reach)
    shown = status_json(found)
    if as_json:
        print_json(shown)
    else:
        show_status(shown)
    raise typer.Exit(EXIT_CODES[shown["state"]])


def uses(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who used a licence, and when: for its holder only."""
    from cli.licence.client import CityClient
    from cli.licence.wallet import Wallet, issuer_hash

    opened, text = keyring.open_key(key, passphrase_file), read_text(credential)
    with CityClient(city) as client:
        found: list[dict[str, Any]] = Wallet(opened).uses(client, text)
    if as_json:
        print_json(found)
    else:
        issuer = issuer_hash(text)
        rows = [use_row(use, issuer) for use in found]
        print_table("uses", ["time (UTC)", "verdict", "verifier (hash)"], rows)


def use_row(use: dict[str, Any], issuer: str) -> tuple[str | None, str, str]:
    """Return a use as its table shows it; one in the issuer's name that has a verdict was no fetch.

    Args:
        use: as the service lists it.
        issuer: the hash of the issuer's name.
    """
    is_issuer = use["verifier"] == issuer
    what = "fetched" if is_issuer and use["verdict"] == "UNKNOWN" else use["verdict"]
    return utc(use["time"]), what, "its issuer" if is_issuer else use["verifier"][:16]


def erase(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: Annotated[
        str | None,
        typer.Option(
            "--issuer", help="On the word of this department, with its key; else on the holder's word."
        ),
    ] = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the service destroy a credential and its salts, on its holder's or issuer's word; what is logged stays, unlinkable."""
    from cli.licence.client import CityClient
    from cli.licence.department import Department, ref_of
    from cli.licence.wallet import Wallet

    opened, text = keyring.open_key(key, passphrase_file), read_text(credential)
    with CityClient(city) as client, named():
        found = (
            Wallet(opened).erase(client, text)
            if issuer is None
            else Department(issuer, opened, client).erase(ref_of(text))
        )
    if as_json:
        print_json(found)
    else:
        say(f"erased: the credential of log index {found['index']}, and {found['uses']} uses' salts")
