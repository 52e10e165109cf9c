"""Options that several licence commands share beside those of `cli.options`, and how their files are read and written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError, named
from cli.output import visible
from ledger import files

if TYPE_CHECKING:
    from ledger.licences.keys import PublicKey
    from ledger.licences.schema import LicenceType

CityOption = Annotated[
    str, typer.Option("--city", envvar="SHUYAO_CITY", help="Address of the city's licence service.")
]
KeyOption = Annotated[Path, typer.Option("--key", help="The encrypted key file.")]
IssuerOption = Annotated[str, typer.Option("--issuer", help="The department's unified social credit code.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write here instead of to standard output.")
]
PolicyOption = Annotated[Path, typer.Option("--policy", help="The verifier's policy.")]
CredentialArgument = Annotated[Path, typer.Argument(help="File with the credential.")]
ReasonOption = Annotated[str, typer.Option(help="Why, up to 64 characters; no personal data.")]


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        CliError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise CliError(f"{path} cannot be read: {type(err).__name__}") from err


def write_out(path: Path | None, data: str | bytes) -> None:
    """Write a result to a new file that only its owner reads, or to standard output.

    Raises:
        CliError: there is such a file already, or it cannot be written.
    """
    raw = data.encode("utf8") if isinstance(data, str) else data
    if path is None:
        text = raw.decode("utf8")
        sys.stdout.write((visible(text, lines=True) if sys.stdout.isatty() else text) + "\n")
        return
    try:
        files.write_new(path, raw)
    except FileExistsError as err:
        raise CliError(f"{path} exists and is not overwritten") from err
    except OSError as err:
        raise CliError(f"{path} cannot be written: {err.strerror}") from err


def read_public(path: Path) -> PublicKey:
    """Read a public key: a JWK, or the public half of an encrypted key file, which is not opened.

    Raises:
        CliError: it is neither.
    """
    from cli.licence import keyring
    from ledger.licences.keys import PublicKey

    try:
        value = json.loads(read_text(path))
    except ValueError as err:
        raise CliError(f"{path} is no JSON") from err
    if isinstance(value, dict) and "kty" in value:
        with named():
            return PublicKey.from_jwk(value)
    return keyring.public_of(path)


def read_values(path: Path) -> dict[str, Any]:
    """Read the fields of a licence: a JSON object by field name.

    Raises:
        CliError: it is none.
    """
    try:
        value = json.loads(read_text(path))
    except ValueError as err:
        raise CliError(f"{path} is no JSON") from err
    if not isinstance(value, dict):
        raise CliError(f"{path}: expected a JSON object of fields")
    return value


def find_kind(text: str) -> LicenceType:
    """Return the licence type that is meant by a file with its description, a code, or a Chinese name.

    Raises:
        CliError: none, with the known ones.
    """
    from ledger.licences.schema import LicenceType, demonstration_types

    if Path(text).is_file():
        with named():
            return LicenceType.parse(Path(text).read_bytes())
    known = demonstration_types()
    for kind in known.values():
        if text in (kind.code, kind.name):
            return kind
    names = ", ".join(f"{kind.name} ({kind.code})" for kind in known.values())
    raise CliError(f"no licence type {text!r}; there are {names}, or give a file")
