"""`shuyao licence backfill`: bring the licences of a Parquet file into a city's log, while its service is stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.licence import keyring
from cli.licence.options import JsonOption, KeyOption, PassphraseOption, find_kind, named
from cli.output import Stages, print_json


def backfill(
    source: Annotated[Path, typer.Argument(help="The Parquet file.")],
    mapping: Annotated[
        Path, typer.Option("--mapping", help="Which column becomes which field, JSON or YAML.")
    ],
    city: Annotated[Path, typer.Option("--city", help="The city's folder.")],
    key: KeyOption,
    workers: Annotated[int, typer.Option(help="Processes that sign.", min=1, max=64)] = 2,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue and log every row; killed or interrupted, the same command goes on where it was."""
    stages = Stages(quiet=as_json)
    found = run(source, mapping, city, key, workers=workers, passphrase_file=passphrase_file, stages=stages)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['done']:,} of {found['total']:,} licences logged, {found['rate']:,.0f} a second")


def run(
    source: Path,
    mapping: Path,
    city: Path,
    key: Path,
    *,
    workers: int,
    passphrase_file: Path | None,
    stages: Stages,
) -> dict[str, Any]:
    """Backfill one file into one city's book.

    Raises:
        CliError: the service is running, the file or the disk does not allow it, or the key may not sign.
    """
    from cli.licence import city as city_folder
    from ledger.licences.backfill import Backfill, Progress
    from ledger.licences.book import LicenceBook
    from ledger.licences.mapping import BackfillMapping
    from ledger.log.notes import NoteSigner

    settings = city_folder.load(city)
    log = keyring.open_key(keyring.key_path(city, city_folder.LOG_KEY), passphrase_file)
    signer = keyring.open_key(key, passphrase_file)
    with named():
        read = BackfillMapping.load(mapping)
        kind = find_kind(read.type_code)
        note_signer = NoteSigner.from_seed(settings.origin, log.secret)
        with LicenceBook.open(city_folder.book_folder(city), note_signer) as book:
            job = Backfill(book, source, mapping=read, kind=kind, key=signer)
            with stages.stage("backfill", f"licences of {source.name}", total=job.rows) as stage:

                def show(progress: Progress) -> None:
                    stage.reach(progress.done, progress.total)

                done = job.run(now_s=int(time.time()), workers=workers, progress=show)
    return {"done": done.done, "total": done.total, "issued": done.issued, "rate": round(done.rate, 1)}
