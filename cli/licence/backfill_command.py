"""`shuyao licence backfill`: bring the licences of a Parquet file into a city's log, while its service is stopped.

What is logged is published, cosigned and anchored as it goes, as the service would do it, in threads beside the work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.options import KeyOption, find_kind
from cli.options import JsonOption
from cli.output import Stages, print_json

if TYPE_CHECKING:
    from api.licences.publication import AsItGoes
    from api.licences.settings import CitySettings
    from ledger.licences.book import LicenceBook

PUBLISH_EVERY_S: Final = 300.0
KEY_OPTION: Final = "--key-passphrase-file"
_FAILED: Final = {"publish": "not published and cosigned", "anchor": "not anchored"}


def backfill(
    source: Annotated[Path, typer.Argument(help="The Parquet file.")],
    mapping: Annotated[
        Path,
        typer.Option(
            "--mapping",
            help="Which column becomes which field, JSON or YAML: an example is examples/licences/mapping.yaml, "
            "the members are in docs/operations.md.",
        ),
    ],
    city: Annotated[Path, typer.Option("--city", help="The city's folder.")],
    key: KeyOption,
    kind: Annotated[
        Path | None, typer.Option("--type", help="The type's file, if the mapping names none of ours.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that sign.", min=1, max=64)] = 2,
    publish_every: Annotated[
        float,
        typer.Option(help="Seconds between two times that it is published, cosigned and anchored.", min=0.1),
    ] = PUBLISH_EVERY_S,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file", help="File with the passphrase of the city's keys, log and service."
        ),
    ] = None,
    key_passphrase_file: Annotated[
        Path | None, typer.Option(KEY_OPTION, help="File with the passphrase of --key.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Issue and log every row, cosign and anchor as it goes; killed or interrupted, the same command goes on where it was."""
    from api.serving import configure_logs

    configure_logs()
    stages = Stages(quiet=as_json)
    found = run(
        Work(source, mapping, city, key, workers, publish_every, kind=kind),
        passphrase_file=passphrase_file,
        key_passphrase_file=key_passphrase_file,
        stages=stages,
    )
    if as_json:
        print_json(found)
    else:
        show(found)


@dataclass(frozen=True, slots=True)
class Work:
    """What a backfill is told: its file and the mapping, the city's folder, the issuer's key, and its pace.

    `commit_bundles` is how many bundles of 256 licences come under one checkpoint; None for what is fastest. `kind` is the file of
    the type; None where the mapping names one of ours.
    """

    source: Path
    mapping: Path
    city: Path
    key: Path
    workers: int = 2
    publish_every_s: float = PUBLISH_EVERY_S
    commit_bundles: int | None = None
    kind: Path | None = None


def run(
    work: Work, *, passphrase_file: Path | None, stages: Stages, key_passphrase_file: Path | None = None
) -> dict[str, Any]:
    """Backfill one file into one city's book.

    Args:
        work: what to do.
        passphrase_file: holds the passphrase of the city's keys, of log and service.
        stages: shows how far it is.
        key_passphrase_file: holds the passphrase of the issuer's key, which is another party's.

    Returns:
        `done` of `total` rows, of which this run `issued` at a `rate` a second; how many entries of the log's `size` are `cosigned`
        and `anchored` (None: none); `faults`, what did not succeed at the end, by `publish` and `anchor`.

    Raises:
        CliError: the service is running, the file or the disk does not allow it, or the key may not sign.
    """
    from cli.licence import city as city_folder
    from ledger.licences.backfill import COMMIT_BUNDLES, Backfill, Progress
    from ledger.licences.book import LicenceBook
    from ledger.licences.mapping import BackfillMapping
    from ledger.log.notes import NoteSigner

    settings = city_folder.load(work.city)
    if not work.mapping.is_file():
        raise CliError(
            f"there is no mapping {work.mapping}: see examples/licences/mapping.yaml and docs/operations.md"
        )
    with named():
        read = BackfillMapping.load(work.mapping)
    kind = find_kind(read.type_code if work.kind is None else str(work.kind))
    log = keyring.open_key(keyring.key_path(work.city, city_folder.LOG_KEY), passphrase_file)
    signer = keyring.open_key(work.key, key_passphrase_file, option=KEY_OPTION)
    with named():
        note_signer = NoteSigner.from_seed(settings.origin, log.secret)
        with LicenceBook.open(city_folder.book_folder(work.city), note_signer) as book:
            job = Backfill(book, work.source, mapping=read, kind=kind, key=signer)
            title = f"licences of {work.source.name}"
            with (
                beside(book, settings, work, passphrase_file) as published,
                stages.stage("backfill", title, total=job.rows) as stage,
            ):

                def tell(progress: Progress) -> None:
                    stage.reach(progress.done, progress.total)
                    stage.say(f"{title}; {_line(_reached(published))}")

                done = job.run(
                    now_s=int(time.time()),
                    workers=work.workers,
                    progress=tell,
                    commit_bundles=work.commit_bundles or COMMIT_BUNDLES,
                )
                stage.say(f"{title}; the last are being cosigned and anchored")
                faults = {} if published is None else published.finish()
                reached = _reached(published, faults)
            counts = {"done": done.done, "total": done.total, "issued": done.issued}
            return {**counts, "rate": round(done.rate, 1), "size": book.size, **reached}


@contextmanager
def beside(
    book: LicenceBook, settings: CitySettings, work: Work, passphrase_file: Path | None
) -> Iterator[AsItGoes | None]:
    """Publish, cosign and anchor a book meanwhile; None for a city that has no witnesses, where nothing could be cosigned.

    Raises:
        CliError: a key does not open.
    """
    from api.licences.http_post import Poster
    from api.licences.publication import AsItGoes, Publication
    from cli.licence import city as city_folder

    if not settings.witnesses:
        yield None
        return
    service = keyring.open_key(keyring.key_path(work.city, city_folder.SERVICE_KEY), passphrase_file)
    operator = city_folder.operator(work.city, settings)
    post = Poster()
    publication = Publication(book, settings, service, operator, post=post)
    try:
        with AsItGoes(publication, every_s=work.publish_every_s) as published:
            yield published
    finally:
        publication.close()
        post.close()


def _reached(published: AsItGoes | None, faults: Mapping[str, str] | None = None) -> dict[str, Any]:
    if published is None:
        return {"cosigned": None, "anchored": None, "faults": {}}
    reached = published.reached()
    failed = published.faults if faults is None else faults
    return {"cosigned": reached.cosigned, "anchored": reached.anchored, "faults": dict(failed)}


def _line(found: Mapping[str, Any]) -> str:
    """Say how much has a quorum and is on the chain, and what does not succeed now."""
    parts = [f"{found[name] or 0:,} entries {name}" for name in ("cosigned", "anchored")]
    parts += [f"{_FAILED[name]} now ({fault})" for name, fault in found["faults"].items()]
    return ", ".join(parts)


def show(found: Mapping[str, Any]) -> None:
    """Print what `run` returned."""
    typer.echo(f"{found['done']:,} of {found['total']:,} licences logged, {found['rate']:,.0f} a second")
    typer.echo(f"of {found['size']:,} entries of the log: {_line(found)}")
    if found["faults"]:
        typer.echo("the service goes on with that when it is started")
