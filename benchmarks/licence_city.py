"""Licences of a whole city, or a share: backfilled from a file, cosigned and anchored meanwhile, found again, and replayed."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.licences.settings import CitySettings
from benchmarks import parties, registry
from benchmarks.environment import machine
from benchmarks.licences import (
    BUSINESS,
    ISSUER,
    THRESHOLD,
    VERSION,
    WITNESSES,
    BenchCity,
    CityKeys,
    bench_folder,
)
from benchmarks.parties import Account, publishing
from benchmarks.processes import Watched, two_cores, watched
from benchmarks.report import Target, report
from cli.errors import CliError
from cli.home import state_root
from cli.licence.backfill_command import PUBLISH_EVERY_S
from ledger.licences.backfill import LICENCE_BYTES, MARGIN_BYTES
from ledger.licences.identifiers import Identifier
from ledger.licences.policy import City
from ledger.licences.sdjwt import parse
from ledger.replay.anchors import ChainFacts
from ledger.replay.beside import Beside, Signatures
from ledger.replay.licences import Against, replay_log
from ledger.replay.stages import ReplayOptions

CITY = 52_150_000
SCALE = 0.01
WORKERS = 2
SAMPLE = 1_000
_ROW_BYTES, _REPLAY_BYTES = 60, 90  # of the generated file; of replay's work folder
_BACKFILL_MIN, _REPLAY_MIN = 45, 10  # for the whole city on two cores
_MEMORY_MB, _REPLAY_MEMORY_MB = 2_000, 1_000


def run(scale: float = SCALE) -> dict[str, Any]:
    """Do half the share and the share, each in a log of its own, and compare.

    Args:
        scale: share of the city's licences, in (0, 1].

    Raises:
        CliError: the disk is too small.
    """
    env = machine(("pyarrow", "pynacl", "numpy"))
    rows = max(2, round(CITY * scale))
    require_disk(rows)
    half, whole = (_measured(count) for count in (rows // 2, rows))
    minutes = CITY / 60
    figures = {
        "backfill_s": whole.backfill.seconds,
        "backfill_of_the_city_min": whole.backfill.seconds / rows * minutes,
        "backfill_cpu_us": whole.backfill.cpu_s / rows * 1e6,
        "backfill_cpu_of_the_city_on_2_cores_min": whole.backfill.cpu_s / rows / 2 * minutes,
        "backfill_peak_mb": whole.backfill.peak_mb,
        "backfill_end_s": whole.backfill.result.end_s,
        "anchors": whole.anchors,
        "witnesses_cpu_s": whole.witnesses_cpu_s,
        "chain_cpu_s": whole.chain_cpu_s,
        "bytes_a_licence": whole.disk_bytes / rows,
        "find_us": whole.find_us,
        "replay_s": whole.replay.seconds,
        "replay_of_the_city_min": whole.replay.seconds / rows * minutes,
        "replay_cpu_us": whole.replay.cpu_s / rows * 1e6,
        "replay_peak_mb": whole.replay.peak_mb,
        "reconcile_s": whole.reconcile.seconds,
        "reconcile_cpu_us": whole.reconcile.cpu_s / rows * 1e6,
        "reconcile_peak_mb": whole.reconcile.peak_mb,
        "backfill_s_over_half": whole.backfill.seconds / half.backfill.seconds,
        "backfill_cpu_over_half": whole.backfill.cpu_s / half.backfill.cpu_s,
        "replay_s_over_half": whole.replay.seconds / half.replay.seconds,
        "replay_cpu_over_half": whole.replay.cpu_s / half.replay.cpu_s,
        "backfill_peak_mb_at_half": half.backfill.peak_mb,
        "replay_peak_mb_at_half": half.replay.peak_mb,
    }
    targets = {
        "backfill_of_the_city_min": Target(at_most=_BACKFILL_MIN),
        "backfill_peak_mb": Target(at_most=_MEMORY_MB),
        "bytes_a_licence": Target(at_most=1_200),
        "replay_of_the_city_min": Target(at_most=_REPLAY_MIN),
        "replay_peak_mb": Target(at_most=_REPLAY_MEMORY_MB),
    }
    return report("licence-city", figures, targets, env | _method(rows, scale))


def _method(rows: int, scale: float) -> dict[str, str]:
    return {
        "licences": f"{rows:,} of {CITY:,}, scale {scale:g}, and half of it; 12 salted fields each, rows made by benchmarks/registry.py",
        "backfill": f"one writer and {WORKERS} signing processes together on 2 cores, from Parquet to the closed book, on this disk; "
        f"published, cosigned ({THRESHOLD} of {WITNESSES}) and anchored every {PUBLISH_EVERY_S:g} s and at the end, "
        "all in the figures",
        "backfill_end_s": "of the backfill's seconds: from the last licence until the whole log had its quorum and was on the chain",
        "witnesses, chain": f"{WITNESSES} processes, and anvil with a block each {parties.BLOCK_TIME_S:g} s, on any core, "
        "as machines of their own; their CPU during the backfill is not in its figures",
        "checked": f"{SAMPLE:,} licences found by identifier, their credentials read back; each replay found nothing, and the last "
        "anchor of the whole log",
        "of_the_city": "measured seconds times the city's licences over those here; at scale 1 it is the measured time",
        "on_2_cores": "CPU time over two: what two cores of their own would need",
        "peak": "largest sum of resident memory of all processes seen every 0.2 s; shared pages count for each process",
        "bytes_a_licence": "blocks of the book's folder on the disk: log, evidence, index, slots, tables",
        "replay": "published files and the chain's anchors, with the city's keys; 2 cores; reconcile: and the operator's book, "
        "all events' signatures and one credential's in 1,024",
    }


def require_disk(rows: int) -> None:
    """Refuse to start where the larger log, its file and its replay do not fit.

    Raises:
        CliError: with what is needed and what is free.
    """
    root = state_root()
    root.mkdir(parents=True, exist_ok=True)
    needed = rows * (LICENCE_BYTES + _ROW_BYTES + _REPLAY_BYTES) + 2 * MARGIN_BYTES
    free = shutil.disk_usage(root).free
    if free < needed:
        raise CliError(f"{rows:,} licences need {needed >> 20} MiB below {root}, {free >> 20} MiB are free")


@dataclass(frozen=True, slots=True)
class Filled:
    """What a backfill came to: licences logged, and seconds that publishing, cosigning and anchoring took after the last."""

    done: int
    end_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one log cost; `backfill.result` is a `Filled`."""

    backfill: Watched
    replay: Watched
    reconcile: Watched
    disk_bytes: int
    find_us: float
    anchors: int
    witnesses_cpu_s: float
    chain_cpu_s: float


def _measured(rows: int) -> Measured:
    cores, keys = two_cores(), CityKeys.generate()
    with bench_folder() as folder, parties.running(folder, keys) as beside:
        source = folder / "rows.parquet"
        print(f"benchmark: {rows:,} licences: file, backfill, replay …", file=sys.stderr)
        registry.write(source, rows)
        before = beside.cpu_s()
        backfill = watched(_backfill, (folder, keys, source, beside.settings, beside.operator), cores=cores)
        witnesses_s, chain_s = (now - then for now, then in zip(beside.cpu_s(), before, strict=True))
        if backfill.result.done != rows:
            raise AssertionError(f"expected {rows} licences, got {backfill.result.done}")
        source.unlink()
        disk_bytes = _disk_bytes(folder / "book")
        find_us = watched(_find, (folder, keys, rows), cores=cores).result
        anchors = beside.anchors()
        replay, reconcile = (
            watched(_replay, (folder, rows, beside.city, anchors, is_beside), cores=cores)
            for is_beside in (False, True)
        )
    anchored = sum(
        1 for anchor in anchors.anchors if anchor.size
    )  # the contract's own beginning is among its events
    return Measured(backfill, replay, reconcile, disk_bytes, find_us, anchored, witnesses_s, chain_s)


def _backfill(
    folder: Path, keys: CityKeys, source: Path, settings: CitySettings, operator: Account
) -> Filled:
    """Run in a process of its own."""
    city = BenchCity(folder, keys)
    city.admit()
    with publishing(city, settings, operator, PUBLISH_EVERY_S) as published:
        done = city.backfill(source, workers=WORKERS)
        begin = time.perf_counter()
        city.publisher.publish_histories(keys.registrar, int(time.time()))
        faults = published.finish()
        end_s = time.perf_counter() - begin
    city.book.close()
    if faults:
        raise AssertionError(f"not published, cosigned and anchored at the end: {faults}")
    return Filled(done.done, end_s)


def _find(folder: Path, keys: CityKeys, rows: int) -> float:
    """Find licences by identifier; returns the microseconds of one."""
    city = BenchCity(folder, keys)
    wanted = [
        Identifier(BUSINESS, ISSUER, registry.serial(n * rows // SAMPLE), VERSION) for n in range(SAMPLE)
    ]
    begin = time.perf_counter()
    found = [city.book.find(identifier.text) for identifier in wanted]
    spent_s = time.perf_counter() - begin
    for identifier, indexes in zip(wanted, found, strict=True):
        (index,) = indexes
        if parse(city.book.credential(index)).claims.identifier != identifier:
            raise AssertionError("another licence was found")
    city.book.close()
    return spent_s / SAMPLE * 1e6


def _replay(folder: Path, rows: int, city: City, anchors: ChainFacts, is_beside: bool) -> None:
    """Replay the log from its published files and the chain's anchors; with the operator's book where asked."""
    root = folder / "book"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    beside = Beside.of(root, Signatures.EVENTS) if is_beside else None
    found = replay_log(
        root / "log",
        options=ReplayOptions(rand=secrets.token_bytes(8), work=work, workers=WORKERS),
        against=Against(city=city, chain=anchors, beside=beside),
    )
    if found.findings.total or found.checkpoint.size <= rows:
        raise AssertionError(f"replay found {found.findings.by_rule} in {found.checkpoint.size} entries")
    if anchors.head.size != found.checkpoint.size:
        raise AssertionError(
            f"expected {found.checkpoint.size} entries on the chain, got {anchors.head.size}"
        )


def _disk_bytes(folder: Path) -> int:
    """Return the blocks that a folder takes on the disk, in bytes."""
    return sum(path.lstat().st_blocks for path in (folder, *folder.rglob("*"))) * 512
