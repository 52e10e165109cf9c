"""`shuyao licence find | export`: a department gets back what it issued, by its identifier or all of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.options import CityOption, IssuerOption, KeyOption, OutOption, write_out
from cli.options import JsonOption, PassphraseOption
from cli.output import Stage, Stages, print_json, print_table, say
from ledger.encoding import parse_json
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from cli.licence.client import CityClient, Speaker
    from cli.licence.department import Department, FoundLicence

_LINE_MAX: Final = 1 << 20
_PART_NAME: Final = 12  # hex digits that tell exports of other issuers and logs apart


def find(
    identifier: Annotated[str, typer.Argument(help="The licence's identifier: 1.2.156.3005.2.…")],
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    index: Annotated[
        int | None, typer.Option("--index", help="Which one, by its log index, where several have it.")
    ] = None,
    out: OutOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find licences of one's own; with -o or --json their credential is fetched, and the holder's list of uses says so."""
    opened = keyring.open_key(key, passphrase_file)
    with _client(city) as client, named():
        from cli.licence.department import Department

        department = Department(issuer, opened, client)
        found = [each for each in department.find(identifier) if index in (None, each.index)]
        if not found:
            raise CliError("no licence of this department has this identifier, or it was erased")
        if out is not None:
            _write_one(department, found, out)
        fetched = {each.index: department.fetch(each) for each in found} if as_json and out is None else {}
    if as_json:
        print_json({"items": [_item_json(each, fetched.get(each.index), out) for each in found]})
    else:
        _show(found)
        say(f"the credential is in {out}" if out is not None else "-o FILE fetches the credential")


def _write_one(department: Department, found: list[FoundLicence], out: Path) -> None:
    if len(found) > 1:
        indexes = ", ".join(str(each.index) for each in found)
        raise CliError(f"{len(found)} licences have this identifier: choose one with --index, of {indexes}")
    if out.exists():
        raise CliError(f"{out} exists and is not overwritten")
    write_out(out, department.fetch(found[0]))


def _item_json(found: FoundLicence, credential: str | None, out: Path | None) -> dict[str, Any]:
    return {
        "index": str(found.index),
        "leaf": found.ref.leaf_hash.hex(),
        "status": {"list": found.ref.list, "index": found.ref.index, "code": found.code},
        "credential": credential if out is None else str(out),
    }


def _show(found: list[FoundLicence]) -> None:
    rows = [
        (str(each.index), each.code.name.lower().replace("_", " "), each.ref.leaf_hash.hex())
        for each in found
    ]
    print_table("licences", ["log index", "status", "leaf"], rows)


# --- export ------------------------------------------------------------------------------------------------


def export(
    city: CityOption,
    key: KeyOption,
    issuer: IssuerOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file: a line of JSON for each licence.")],
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch all licences that a department issued, with their credentials; interrupted, the same command goes on."""
    from cli.licence.client import Speaker
    from ledger.licences.identifiers import issuer_urn

    if out.exists():
        raise CliError(f"{out} exists and is not overwritten")
    opened = keyring.open_key(key, passphrase_file)
    stages = Stages(quiet=as_json)
    with _client(city) as client, named():
        speaker = Speaker(issuer_urn(issuer), opened)
        part = part_path(out, issuer, client.origin)
        with stages.stage("export", f"licences of {issuer}") as stage:
            counts = run_export(client, speaker, part, stage)
    try:
        os.link(part, out)  # not `replace`: it would overwrite what somebody put there meanwhile
        part.unlink()
    except OSError as err:
        raise CliError(f"{out} cannot be written: {err.strerror}; the export is in {part}") from err
    if as_json:
        print_json({"file": str(out), **counts.to_json()})
    else:
        say(
            f"{counts.licences:,} licences, {counts.erased:,} of them erased, of {counts.size:,} entries: {out}"
        )


@dataclass(slots=True)
class Counts:
    """What an export has: licences, how many of them without their credential, and the size of the log that was looked through."""

    licences: int = 0
    erased: int = 0
    size: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"licences": self.licences, "erased": self.erased, "size": str(self.size)}


def part_path(out: Path, issuer: str, origin: str) -> Path:
    """Return the file in which an unfinished export waits; one of another issuer or log has another name."""
    whose = hashlib.sha256(f"{issuer} {origin}".encode()).hexdigest()[:_PART_NAME]
    return out.with_name(f"{out.name}.{whose}.part")


def run_export(client: CityClient, speaker: Speaker, part: Path, stage: Stage) -> Counts:
    """Append what is not in the file yet, a signed request for each part of the log.

    Raises:
        CliError: the service refuses or breaks off, or the file cannot be written; the same call goes on.
    """
    try:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            counts, at = _resume(file)
            while True:
                at, counts.size = _append_part(client, speaker, file, at, counts)
                stage.reach(at, counts.size)
                if at >= counts.size:
                    return counts
    except OSError as err:
        raise CliError(f"{part} cannot be written: {err.strerror}") from err


def _append_part(
    client: CityClient, speaker: Speaker, file: BinaryIO, first: int, counts: Counts
) -> tuple[int, int]:
    """Append one part; return where the next begins and where the log ends."""
    after = first
    for value in client.export_part(speaker, first):
        try:
            if "next" in value:
                following, size = int(value["next"]), int(value["size"])
                if not after <= following <= size or (following == first and following < size):
                    raise ValueError(following)
                file.flush()
                os.fsync(file.fileno())
                return following, size
            index, is_erased = int(value["index"]), value["credential"] is None
            if index < after:
                raise ValueError(index)
            if not is_erased:
                _require_of_leaf(str(value["credential"]), value)
        except (KeyError, TypeError, ValueError) as err:
            raise CliError(f"{client.url} does not answer as it should: {type(err).__name__}") from err
        file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        after = index + 1
        counts.licences += 1
        counts.erased += is_erased
    raise CliError(f"{client.url}: the export broke off; the same command goes on")


def _require_of_leaf(credential: str, value: dict[str, Any]) -> None:
    """Refuse a credential that does not give the leaf and the status index that the service names beside it.

    Raises:
        CliError: it gives others, or is none.
        KeyError, TypeError: the service names none.
    """
    from cli.licence.department import ref_of

    ref, status = ref_of(credential), value["status"]
    if (ref.leaf_hash.hex(), ref.list, ref.index) != (value["leaf"], status["list"], status["index"]):
        raise CliError(f"the service gives another credential than that of leaf {value['index']}")


def _resume(file: BinaryIO) -> tuple[Counts, int]:
    """Cut off a torn last line, and return what the file has and the log index after its last licence."""
    counts, end, at = Counts(), 0, 0
    file.seek(0)
    for line in iter(lambda: file.readline(_LINE_MAX), b""):
        if not line.endswith(b"\n"):
            break
        try:
            value = parse_json(line)
            at, is_erased = int(value["index"]) + 1, value["credential"] is None
        except (LedgerError, KeyError, TypeError, ValueError) as err:
            raise CliError("the unfinished export has a line that is none: delete it to begin anew") from err
        counts.licences += 1
        counts.erased += is_erased
        end += len(line)
    file.truncate(end)
    return counts, at


@contextmanager
def _client(city: str) -> Iterator[CityClient]:
    from cli.licence.client import CityClient

    with CityClient(city) as client:
        yield client
