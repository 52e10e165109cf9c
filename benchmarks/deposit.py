"""An encrypted deposit of a million cells: made, summed cold from disk, and its sums decrypted by three trustees of five."""

from __future__ import annotations

import hashlib
import os
import secrets
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import machine
from benchmarks.licences import bench_folder
from benchmarks.processes import two_cores, watched
from benchmarks.report import Target, report
from cli.home import state_root
from privacy.columns import ColumnType
from privacy.deposit import (
    Ceremony,
    Ciphertexts,
    Cube,
    CubeLane,
    Deposit,
    DepositHeader,
    DepositKey,
    LogTable,
    Outcome,
    ProcessMapper,
    Selection,
    TrusteeSecret,
    announce,
    check_points,
    combine,
    complain,
    deal,
    decrypt_partially,
    encrypt,
    finish,
    sum_cells,
    table_bits,
    write_deposit,
)
from privacy.deposit.elgamal import arithmetic
from privacy.dimensions import Dimension
from privacy.lanes import LaneKind
from privacy.types import Address, Digest

DAYS, PLACES = 99, 4_999  # with `other` 100 · 5,000 groups, two lanes: a million cells
TRUSTEES, THRESHOLD = 5, 3
RESULTS = 64
CELL_BITS = 13  # of a cell: a day of a district in units of the meter
BOUND = 1 << 34  # of a result: a million rows of 14 bits
SESSION = bytes(32)
REPEATS = 5


def cube() -> Cube:
    """Return a cube of a million cells."""
    days = tuple(f"day {k}" for k in range(DAYS))
    places = tuple(f"place {k}" for k in range(PLACES))
    dimensions = tuple(
        Dimension(name, ColumnType.TEXT, domain) for name, domain in (("day", days), ("place", places))
    )
    lanes = CubeLane(LaneKind.COUNT), CubeLane(LaneKind.COUNT_OF, "kwh")
    return Cube(dimensions, lanes, rows_max=1 << 20, rows_per_unit=1 << 7)


def cells() -> NDArray[np.int64]:
    """Return signed cells, the same on every machine."""
    stream = hashlib.shake_256(b"shuyao/benchmark/deposit").digest(8 * cube().cells)
    return np.frombuffer(stream, dtype="<i8") >> 64 - CELL_BITS


def run() -> dict[str, Any]:
    """Make a key, then measure each part in processes of its own on two cores."""
    env = machine(("ckzg", "py_arkworks_bls12381", "gmpy2", "pyarrow", "numpy"))
    begin = time.perf_counter()
    outcomes = make_key()
    key_s = time.perf_counter() - begin
    key = outcomes[0].key
    figures: dict[str, float] = {}
    with bench_folder() as home:
        folder, cores = home / "deposit", two_cores()
        written = watched(write, (folder, key), cores=cores)
        forget(folder)
        summed = watched(total, (folder,), cores=cores)
        checked = watched(check, (folder,), cores=cores)
        sums = Ciphertexts.decode(summed.result, count=RESULTS)
        size = sum(path.stat().st_size for path in folder.iterdir())
    figures |= {
        "encrypt_s": written.seconds,
        "encrypt_cpu_s": written.cpu_s,
        "cold_sum_s": summed.seconds,
        "cold_sum_cpu_s": summed.cpu_s,
        "check_points_s": checked.seconds,
        "deposit_mb": size / 1e6,
        "encrypt_peak_mb": written.peak_mb,
        "key_of_five_trustees_s": key_s,
    }
    figures |= _decryption(outcomes, sums)
    targets = {
        "encrypt_s": Target(at_most=40),
        "cold_sum_s": Target(at_most=5),
        "decrypt_s": Target(at_most=1),
    }
    return report("deposit", figures, targets, env | _method())


def make_key() -> list[Outcome]:
    """Return what each of the trustees has after the ceremony."""
    accounts = tuple(Address((i + 1).to_bytes(20, "big")) for i in range(TRUSTEES))
    ceremony = Ceremony(secrets.token_bytes(32), accounts, THRESHOLD)
    drawn = [TrusteeSecret(ceremony, i, secrets.token_bytes(32)) for i in range(TRUSTEES)]
    announced = {each.index: announce(each) for each in drawn}
    dealt = {each.index: deal(each, announced) for each in drawn}
    complaints = {each.index: complain(each, announced, dealt) for each in drawn}
    return [finish(ceremony, announced, dealt, complaints, secret=each) for each in drawn]


def write(folder: Path, key: DepositKey) -> None:
    """Encrypt all cells in two processes."""
    header = DepositHeader.of(Digest(bytes(32)), key, cube())
    with ProcessMapper(2) as mapper:
        write_deposit(folder, header, key, cells(), seed=secrets.token_bytes(32), mapper=mapper)


def total(folder: Path) -> bytes:
    """Add all cells, each 64th part to a result cell."""
    deposit = Deposit.open(folder)
    with ProcessMapper(2) as mapper:
        return sum_cells(deposit, selection(deposit.header.cells), mapper=mapper).encode()


def check(folder: Path) -> None:
    """Check all points for the subgroup, as a trustee does once."""
    with ProcessMapper(2) as mapper:
        check_points(Deposit.open(folder), secrets.token_bytes(32), mapper=mapper)


def selection(count: int) -> Selection:
    """Select all cells for 64 results."""
    ends = [count * k // RESULTS for k in range(RESULTS + 1)]
    return Selection.of_ranges([[(ends[k], ends[k + 1])] for k in range(RESULTS)])


def forget(folder: Path) -> None:
    """Make the system forget what it holds of the files."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _decryption(outcomes: list[Outcome], sums: Ciphertexts) -> dict[str, float]:
    """Measure trustees and buyer one after another in this process, with values up to the bound."""
    key = outcomes[0].key
    begin = time.perf_counter()
    table = LogTable.kept(table_bits(BOUND), state_root() / "cache")
    table_s = time.perf_counter() - begin
    stream = hashlib.shake_256(b"shuyao/benchmark/noise").digest(8 * RESULTS)
    noise = np.frombuffer(stream, dtype="<i8") >> 64 - BOUND.bit_length()
    noise = noise // 16 * 15  # room for the sums
    noisy = sums.plus(encrypt(key.key, noise, secrets.token_bytes(32), SESSION))
    expected = np.add.reduceat(cells(), [cube().cells * k // RESULTS for k in range(RESULTS)]) + noise
    spent: dict[str, list[float]] = {"trustee": [], "combine": [], "logarithms": [], "all": []}
    for _ in range(REPEATS):
        marks = [time.perf_counter()]
        partials = {
            i: decrypt_partially(key, share, noisy, SESSION)
            for i in range(THRESHOLD)
            if (share := outcomes[i].share) is not None
        }
        marks.append(time.perf_counter())
        combined = combine(key, noisy, partials, SESSION)
        marks.append(time.perf_counter())
        found = table.find(combined.points, [BOUND] * RESULTS)
        marks.append(time.perf_counter())
        if found != expected.tolist():
            raise AssertionError("the decrypted sums are wrong")
        steps = np.diff(marks).tolist()
        for name, step in zip(spent, [steps[0] / THRESHOLD, steps[1], steps[2], sum(steps)], strict=True):
            spent[name].append(step)
    middle = {name: statistics.median(steps) for name, steps in spent.items()}
    return {
        "decrypt_s": middle["all"],
        "partial_of_one_trustee_s": middle["trustee"],
        "verified_and_combined_s": middle["combine"],
        "logarithms_s": middle["logarithms"],
        "table_of_logarithms_s": table_s,
    }


def _method() -> dict[str, str]:
    return {
        "deposit": f"{cube().cells:,} cells of {CELL_BITS} bits and sign, 192 bytes each, in Parquet; written, fsynced, hashed",
        "encrypt_s": "two processes on two cores, their start and tables included; r and m by tables of 12-bit windows, "
        f"added by {type(arithmetic()).__name__.lower()}",
        "cold_sum_s": f"page cache of the files dropped; every cell added to one of {RESULTS} results, every block checked against the "
        "deposit's root; two processes, their start included",
        "check_points_s": "once for a deposit: all points in the subgroup but with probability 2^-80",
        "decrypt_s": f"{RESULTS} result cells, {THRESHOLD} of {TRUSTEES} trustees one after another, proofs, combination and "
        f"logarithms, one process; median of {REPEATS}",
        "bound": f"|value| ≤ 2^{BOUND.bit_length() - 1}, the values spread over all of it; a table of 2^{table_bits(BOUND)} steps, "
        "kept on disk: table_of_logarithms_s makes or loads it",
        "security level": "128 bits (BLS12-381 G1; 2^127 by Pollard's rho)",
        "time": "wall clock",
    }
