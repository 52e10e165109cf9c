"""`shuyao licence disclose | qr | scan | bundle | check | status | uses | erase`: for holders, and verifiers with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.options import CityOption, CredentialArgument, KeyOption, OutOption, read_text, write_out
from cli.options import JsonOption, PassphraseOption
from cli.output import print_json, print_table


def disclose(
    credential: CredentialArgument,
    fields: Annotated[list[str] | None, typer.Argument(help="Fields to show; none shows no field.")] = None,
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
    from cli.licence.verify_command import EXIT_CODES, show_verdict

    if (nonce is None) != (audience is None):
        raise CliError("--nonce and --audience go together")
    with CityClient(city) as client:
        found = client.verify(read_text(presentation), nonce=nonce, audience=audience)
    if as_json:
        print_json(found)
    else:
        show_verdict(found)
    raise typer.Exit(EXIT_CODES[found["verdict"]])


def status(
    credential: CredentialArgument,
    city: CityOption,
    at: Annotated[int | None, typer.Option(help="Unix seconds: the status as it was then.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read a licence's status out of the signed status list, now or as of a past time."""
    from cli.licence.client import CityClient
    from cli.licence.status import status_of

    with CityClient(city) as client, named():
        found = status_of(client, read_text(credential), at_s=at)
    if as_json:
        print_json(found)
    else:
        print_table("status", ["what", "value"], [(name, str(value)) for name, value in found.items()])


def uses(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who used a licence, and when: for its holder only."""
    from cli.licence.client import CityClient
    from cli.licence.wallet import Wallet

    opened = keyring.open_key(key, passphrase_file)
    with CityClient(city) as client:
        found: list[dict[str, Any]] = Wallet(opened).uses(client, read_text(credential))
    if as_json:
        print_json(found)
    else:
        rows = [(use["time"], use["verdict"], use["verifier"][:16]) for use in found]
        print_table("uses", ["time", "verdict", "verifier (hash)"], rows)


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
        typer.echo(f"erased: the credential of log index {found['index']}, and {found['uses']} uses' salts")
