"""`shuyao replay`: derive a log again from its published files and the chain, and name every difference."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.errors import CliError
from cli.options import JsonOption
from cli.output import json_text, notes, print_json, print_styled, print_table

if TYPE_CHECKING:
    from ledger.licences.policy import City
    from ledger.replay.anchors import ChainFacts
    from ledger.replay.beside import Beside
    from ledger.replay.findings import Difference
    from ledger.replay.licences import LogReplay
    from ledger.replay.registry import RegistryFacts

ANCHORS_FILE: Final = "anchors.json"
SHOWN_MAX: Final = 200  # differences in the table; --differences has all
_ROWS_MAX: Final = 30
_STAGES: Final = {
    "read": "entries, hashes, tiles",
    "join": "licences that events name",
    "events": "keys, slots, status lists",
    "signatures": "signed events beside the log",
}


def replay(
    log: Annotated[Path | None, typer.Argument(help="Folder of the log, or of its published files.")] = None,
    export: Annotated[
        Path | None, typer.Option(help=f"Export of log and chain: published files and {ANCHORS_FILE}.")
    ] = None,
    rpc: Annotated[str | None, typer.Option("--rpc", help="JSON-RPC address of a node you trust.")] = None,
    contract: Annotated[
        str | None, typer.Option(help="Address of LogAnchor; else the policy's, with --rpc.")
    ] = None,
    issuers: Annotated[
        str | None, typer.Option(help="Address of IssuerRegistry, to reconcile with the log; with --rpc.")
    ] = None,
    from_block: Annotated[int, typer.Option(help="Block of the contracts' deployment.", min=0)] = 0,
    save_anchors: Annotated[
        Path | None, typer.Option(help="Write what the chain says to this file, for an export.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Your own trust policy, with the log's keys.")] = None,
    book: Annotated[Path | None, typer.Option(help="Folder of the operator's book, to reconcile.")] = None,
    database: Annotated[str | None, typer.Option(help="Database URL of the book; else its own file.")] = None,
    signatures: Annotated[
        str, typer.Option(help="Signed events of the book: none, events (and a sample), or all.")
    ] = "events",
    work: Annotated[Path | None, typer.Option(help="Folder for temporary files, 80 bytes an entry.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read and hash; 0: none.", min=0, max=64)] = 2,
    differences: Annotated[
        Path | None, typer.Option(help="Write every difference to this file, one JSON object a line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a log: exit 0 nothing differs, 1 differences, 2 cannot be read."""
    from ledger.errors import LedgerError
    from ledger.replay.licences import Against, replay_log
    from ledger.replay.stages import ReplayOptions

    folder = _folder(log, export)
    try:
        city = _city(folder, policy)
        facts = _facts(export, rpc, contract, from_block, city)
        if save_anchors is not None and facts is not None:
            save_anchors.write_bytes(facts.to_bytes())
        registry = _registry(rpc, issuers, from_block)
        beside = _beside(book, database, signatures)
        with _bars(quiet=as_json) as progress, _sink(differences) as sink:
            found = replay_log(
                folder,
                options=ReplayOptions(rand=secrets.token_bytes(8), work=work, workers=workers),
                against=Against(city=city, chain=facts, beside=beside, registry=registry),
                sink=sink,
                progress=progress,
            )
    except LedgerError as err:
        raise CliError(str(err)) from err
    except OSError as err:
        raise CliError(f"{err.filename or folder}: {err.strerror}") from err
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    raise typer.Exit(1 if found.findings.total else 0)


def _folder(log: Path | None, export: Path | None) -> Path:
    if (log is None) == (export is None):
        raise CliError("name the log's folder or --export, one of them")
    return log or export or Path()


def _city(folder: Path, policy: Path | None) -> City | None:
    from ledger.licences.policy import TrustPolicy
    from ledger.replay.checkpoints import public_folder, read_heads

    if policy is None:
        return None
    origin = read_heads(public_folder(folder)).checkpoint.origin
    city = TrustPolicy.parse(policy.read_bytes()).city(origin)
    if city is None:
        raise CliError(f"the policy {policy} does not name the log {origin}")
    return city


def _facts(
    export: Path | None, rpc: str | None, contract: str | None, from_block: int, city: City | None
) -> ChainFacts | None:
    from ledger.chain import Chain
    from ledger.encoding import address_from_hex
    from ledger.replay.anchors import ChainFacts, collect

    if rpc is None:
        if contract is not None:
            raise CliError("--contract needs --rpc")
        return ChainFacts.load(export / ANCHORS_FILE) if export is not None else None
    if contract is not None:
        address = address_from_hex(contract.lower())
    elif city is not None and city.anchor is not None:
        address = city.anchor.contract
    else:
        raise CliError("--rpc needs --contract, or a policy that names LogAnchor")
    with Chain(rpc) as chain:
        return collect(chain, address, from_block=from_block)


def _registry(rpc: str | None, issuers: str | None, from_block: int) -> RegistryFacts | None:
    from ledger.chain import Chain
    from ledger.encoding import address_from_hex
    from ledger.replay.registry import collect_registry

    if issuers is None:
        return None
    if rpc is None:
        raise CliError("--issuers needs --rpc")
    with Chain(rpc) as chain:
        return collect_registry(chain, address_from_hex(issuers.lower()), from_block=from_block)


def _beside(book: Path | None, database: str | None, signatures: str) -> Beside | None:
    from ledger.replay.beside import Beside, Signatures

    if signatures not in tuple(Signatures):
        raise CliError(f"--signatures: expected {', '.join(Signatures)}, got {signatures}")
    return None if book is None else Beside.of(book, Signatures(signatures), database_url=database)


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage, for people only."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=notes, disable=quiet or not notes.is_terminal) as bars:

        def reach(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGES[stage])
            bars.update(tasks[stage], completed=done, total=total)

        yield reach


@contextmanager
def _sink(path: Path | None) -> Iterator[Callable[[Difference], None] | None]:
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda difference: print(json_text(difference.to_json()), file=file)


def _show(found: LogReplay) -> None:
    counts = found.counts
    facts: dict[str, Any] = {
        "origin": found.checkpoint.origin,
        "entries": found.checkpoint.size,
        "root": found.root.hex(),
        "status lists compared": found.status_lists,
        "anchors compared": found.anchors,
        "registry events compared": found.registry_events,
        "signed events checked": found.signed.checked,
        "credentials erased": found.signed.erased,
    }
    print_table("log", ["what", "value"], list(facts.items()))
    print_table("licences by status", ["status", "licences"], sorted(counts.by_code.items()))
    _table("licences by department and status", "issuer", counts.by_issuer)
    _table("licences by type and status", "type", counts.by_type)
    _table("entries by day and kind", "day", counts.by_day)
    for what in found.unchecked:
        print_styled("not checked:", "yellow", f" {what}")
    _show_differences(found)


def _table(title: str, name: str, rows: Mapping[str, Mapping[str, int]]) -> None:
    columns = sorted({column for row in rows.values() for column in row})
    by_size = sorted(rows, key=lambda key: sum(rows[key].values()), reverse=True)
    shown = sorted(by_size[:_ROWS_MAX])
    if len(rows) > len(shown):
        title = f"{title} (the {len(shown)} largest of {len(rows)}; all with --json)"
    print_table(
        title,
        [name, *columns, "total"],
        [[key, *(rows[key].get(c, 0) for c in columns), sum(rows[key].values())] for key in shown],
    )


def _show_differences(found: LogReplay) -> None:
    total, kept = found.findings.total, found.findings.kept[:SHOWN_MAX]
    if not total:
        print_styled("nothing differs", "green")
        return
    print_table("differences by rule", ["rule", "differences"], sorted(found.findings.by_rule.items()))
    print_table(
        f"differences ({len(kept):,} of {total:,})",
        ["rule", "index", "block", "list", "detail"],
        [[d.rule, d.index, d.block, d.status_list, d.detail] for d in kept],
    )
    print_styled(f"{total:,} differences", "red")
