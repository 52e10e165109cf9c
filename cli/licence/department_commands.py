"""`shuyao licence issue | suspend | resume | revoke | supersede | transfer | show`: for departments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.fields import titles_of, values_by_name
from cli.licence.options import (
    CityOption,
    CredentialArgument,
    IssuerOption,
    KeyOption,
    OutOption,
    ReasonOption,
    find_kind,
    read_public,
    read_text,
    read_values,
    write_out,
)
from cli.licence.times import read_time, utc
from cli.options import JsonOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from cli.licence.client import Receipt
    from cli.licence.department import Department, IssuedLicence, Order

KindOption = Annotated[str, typer.Option("--type", help="A type's file, code or Chinese name.")]
ValuesOption = Annotated[Path, typer.Option("--values", help="JSON object of the licence's fields.")]
HolderOption = Annotated[Path, typer.Option("--holder", help="The holder's public key: JWK or key file.")]
OwnKindOption = Annotated[
    Path | None, typer.Option("--type", help="The licence's type as a file, if it is none of ours.")
]
SerialOption = Annotated[str | None, typer.Option(help="Serial of the identifier; drawn if not given.")]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", help="End, exclusive: 2030-01-01, 2030-01-01T00:00:00+08:00 or Unix seconds."),
]
TIMES = ("issued_at", "not_before", "expires_at")
CODES = {"revoked": 1, "cancelled": 0xB, "lapsed": 0xC, "withdrawn": 0xE, "other": 0xF}


def issue(
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    kind: KindOption,
    values: ValuesOption,
    holder: HolderOption,
    serial: SerialOption = None,
    expires: ExpiresOption = None,
    out: OutOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a licence and log it; the credential goes to the holder."""
    _require_new(out)
    order = _order(kind, values, holder, serial=serial, expires=expires)
    with _department(city, key, issuer, passphrase_file) as department:
        made = department.issue(order)
    _give(made, out, as_json=as_json)


def supersede(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    values: ValuesOption,
    holder: HolderOption,
    kind: OwnKindOption = None,
    expires: ExpiresOption = None,
    out: OutOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue the next version of a licence; the former one is cancelled by it."""
    from cli.licence.department import ref_of
    from ledger.licences.sdjwt import parse

    _require_new(out)
    former = read_text(credential)
    with named():
        claims = parse(former).claims
    order = _order(
        _kind_of(claims.type_code, kind),
        values,
        holder,
        serial=claims.identifier.serial,
        version=int(claims.identifier.version) + 1,
        expires=expires,
    )
    with _department(city, key, issuer, passphrase_file) as department:
        made = department.issue(order, previous=ref_of(former).leaf_hash)
    _give(made, out, as_json=as_json)


def transfer(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    into: Annotated[
        bool, typer.Option("--in/--out-of", help="Take it over into this city, or let it go from it.")
    ],
    values: Annotated[Path | None, typer.Option("--values", help="Fields, to take it over.")] = None,
    holder: Annotated[Path | None, typer.Option("--holder", help="Holder's key, to take it over.")] = None,
    kind: OwnKindOption = None,
    reason: ReasonOption = "",
    out: OutOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a licence go to another city (`--out-of`), or take one over from there (`--in`)."""
    from cli.licence.department import ref_of
    from ledger.licences.sdjwt import parse

    _require_new(out)
    text = read_text(credential)
    ref = ref_of(text)
    with _department(city, key, issuer, passphrase_file) as department:
        if not into:
            _show_receipt(department.transfer_out(ref, reason), as_json=as_json)
            return
        if values is None or holder is None:
            raise CliError("--in needs --values and --holder")
        with named():
            type_code = parse(text).claims.type_code
        order = _order(_kind_of(type_code, kind), values, holder)
        made = department.issue(order, previous=ref.leaf_hash, is_transfer=True)
    _give(made, out, as_json=as_json)


def suspend(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    reason: ReasonOption = "",
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suspend a licence; it can be resumed."""
    from cli.licence.department import ref_of

    with _department(city, key, issuer, passphrase_file) as department:
        _show_receipt(department.suspend(ref_of(read_text(credential)), reason), as_json=as_json)


def resume(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    reason: ReasonOption = "",
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a suspended licence valid again."""
    from cli.licence.department import ref_of

    with _department(city, key, issuer, passphrase_file) as department:
        _show_receipt(department.resume(ref_of(read_text(credential)), reason), as_json=as_json)


def revoke(
    credential: CredentialArgument,
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    reason: ReasonOption = "",
    code: Annotated[str, typer.Option(help=f"One of {', '.join(CODES)}.")] = "revoked",
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a licence for good."""
    from cli.licence.department import ref_of
    from ledger.licences.events import Code

    if code not in CODES:
        raise CliError(f"no code {code!r}; there are {', '.join(CODES)}")
    with _department(city, key, issuer, passphrase_file) as department:
        receipt = department.revoke(ref_of(read_text(credential)), Code(CODES[code]), reason)
    _show_receipt(receipt, as_json=as_json)


def show(
    credential: CredentialArgument,
    as_json: JsonOption = False,
) -> None:
    """Show what a credential, a presentation or a bundle says; nothing is verified."""
    from cli.licence.department import ref_of
    from ledger.licences.bundle import Bundle
    from ledger.licences.sdjwt import parse

    text = read_text(credential)
    with named():
        if text.startswith("{"):
            text = Bundle.parse(text.encode()).credential
        presented = parse(text)
    claims, ref = presented.claims, ref_of(text)
    found: dict[str, Any] = {
        "identifier": claims.identifier.text,
        "issuer": claims.issuer,
        "type": claims.type_code,
        "log": claims.origin,
        "leaf": ref.leaf_hash.hex(),
        "status_list": claims.list,
        "status_index": claims.index,
        "issued_at": claims.issued_at,
        "not_before": claims.not_before,
        "expires_at": claims.expires_at,
        "is_bound": presented.key_binding is not None,
    }
    if as_json:
        print_json({**found, "fields": presented.disclosed})
        return
    rows = [
        (f"{name} (UTC)", utc(value) or "no end") if name in TIMES else (name, str(value))
        for name, value in found.items()
    ]
    print_table("licence", ["what", "value"], rows)
    titles = titles_of(claims.type_code)
    fields = [(name, titles.get(name, ""), str(value)) for name, value in presented.disclosed.items()]
    print_table("disclosed", ["field", "title", "value"], fields)


def _kind_of(type_code: str, file: Path | None) -> str:
    """Return what names the type of a licence that is there already: its own code, or the file with that type.

    Raises:
        CliError: the file has another type.
    """
    if file is None:
        return type_code
    if (code := find_kind(str(file)).code) != type_code:
        raise CliError(f"{file} is the type {code}, the licence has {type_code}")
    return str(file)


def _order(
    kind: str,
    values: Path,
    holder: Path,
    *,
    serial: str | None = None,
    version: int = 1,
    expires: str | None = None,
) -> Order:
    from cli.licence.department import Order

    found = find_kind(kind)
    return Order(
        found,
        values_by_name(read_values(values), found),
        read_public(holder),
        serial=serial,
        version=version,
        expires_at=None if expires is None else read_time(expires),
    )


@contextmanager
def _department(city: str, key: Path, issuer: str, passphrase_file: Path | None) -> Iterator[Department]:
    from cli.licence.client import CityClient
    from cli.licence.department import Department

    opened = keyring.open_key(key, passphrase_file)
    with CityClient(city) as client, named():
        yield Department(issuer, opened, client)


def _require_new(out: Path | None) -> None:
    """Refuse to log a licence whose credential would then have no place.

    Raises:
        CliError: there is such a file already.
    """
    if out is not None and out.exists():
        raise CliError(f"{out} exists and is not overwritten; nothing is logged")


def _give(made: IssuedLicence, out: Path | None, *, as_json: bool) -> None:
    found = {"index": str(made.receipt.index), "leaf": made.receipt.leaf_hash.hex()}
    if out is not None:
        write_out(out, made.credential)
    if as_json:
        print_json({**found, "credential": made.credential if out is None else str(out)})
    elif out is None:
        write_out(None, made.credential)
    else:
        say(f"logged at index {found['index']}; the credential is in {out}")


def _show_receipt(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        print_json({"index": str(receipt.index), "leaf": receipt.leaf_hash.hex()})
    else:
        typer.echo(f"logged at index {receipt.index}")
