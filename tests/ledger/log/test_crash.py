"""Killed, switched off or out of space at every step: the log comes back with the bytes of an undisturbed run."""

import multiprocessing
import shutil
import signal
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.log.batch import Bundle
from ledger.log.errors import DiskFull, LogDamaged
from ledger.log.files import Files
from ledger.log.notes import SignedNote
from ledger.log.store import RUN_SIZE
from ledger.log.tiles import consistency_proof, verified_entries
from ledger.log.tree import verify_consistency
from ledger.log.writer import Log
from tests.ledger.log.faulty import (
    Failure,
    PowerLost,
    SteppedFiles,
    VolatileFiles,
    die,
    die_halfway,
    disk_full,
)
from tests.ledger.log.logs import ORIGIN, SIGNER, items, make_log, snapshot

# a bundle begun, one completed and one begun by the same batch, two completed, one entry
BATCHES = [(0, 200), (200, 300), (300, 900), (900, 901)]


def slow(parameter: object) -> object:
    return pytest.param(parameter, marks=pytest.mark.slow)


FORK = multiprocessing.get_context("fork")


def append_batches(log: Log, answered: Path | None = None) -> None:
    for start, end in BATCHES:
        assert log.append(items(start, end)) == list(range(start, end))
        if answered is not None:
            with answered.open("a") as file:
                file.write(f"{end}\n")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "log"
    with make_log(folder) as log:
        append_batches(log)
    return folder


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    files = SteppedFiles(-1, die)
    folder = tmp_path_factory.mktemp("steps") / "log"
    make_log(folder).close()
    with Log.open(folder, SIGNER, files=files) as log:
        append_batches(log)
    assert files.steps > 40
    return files.steps


def run_to_death(folder: Path, files: Files, answered: Path) -> None:
    append_batches(Log.open(folder, SIGNER, files=files), answered)


def recovered(folder: Path, answered: Path, undisturbed: Path) -> None:
    """Check that a reopened log has all that was answered, and ends like the undisturbed run."""
    log = Log.open(folder, SIGNER)
    promised = int(answered.read_text().split()[-1]) if answered.exists() else 0
    assert log.size >= promised
    for number in (0, promised - 1):
        if promised:
            assert log.find(items(number, number + 1)[0].event_id) == number
    assert (
        sum(len(entries) for _, entries in verified_entries(log.reader, log.size, log.checkpoint.root))
        == log.size
    )
    append_batches(log)
    log.close()
    found, expected = snapshot(folder), snapshot(undisturbed)
    for path in found.keys() - expected.keys():
        # a power cut may bring a superseded partial tile back: it is still a true one
        tile, _, width = path.partition(".p/")
        assert width and expected[tile].startswith(found.pop(path))
    assert found == expected


@pytest.mark.parametrize("failure", [slow(die), die_halfway])
@pytest.mark.parametrize("part", [0, slow(1), 2, slow(3), 4, slow(5)])
def test_a_log_killed_at_any_step_is_the_same_log(
    tmp_path: Path, undisturbed: Path, steps: int, failure: Failure, part: int
) -> None:
    for at in range(part, steps, 6):
        folder, answered = tmp_path / f"{at}" / "log", tmp_path / f"{at}.answered"
        make_log(folder).close()
        files = SteppedFiles(at, failure)
        child = FORK.Process(target=run_to_death, args=(folder, files, answered))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        recovered(folder, answered, undisturbed)


@pytest.mark.parametrize("part", [0, slow(1), slow(2)])
def test_a_log_whose_power_is_cut_at_any_step_is_the_same_log(
    tmp_path: Path, undisturbed: Path, steps: int, part: int
) -> None:
    for at in range(part, steps, 3):
        folder, answered = tmp_path / f"{at}" / "log", tmp_path / f"{at}.answered"
        make_log(folder).close()
        files = VolatileFiles(at)
        log = Log.open(folder, SIGNER, files=files)
        before = log.checkpoint
        with pytest.raises(PowerLost):
            append_batches(log, answered)
        seen = SignedNote.parse((folder / "public" / "checkpoint").read_bytes())
        log.close()
        files.cut_power()
        recovered(folder, answered, undisturbed)
        assert seen.text.startswith(ORIGIN) and before.size == 0


@pytest.mark.parametrize("again", [1, 3])
def test_recovery_that_is_killed_itself_recovers(tmp_path: Path, undisturbed: Path, again: int) -> None:
    folder, answered = tmp_path / "log", tmp_path / "answered"
    make_log(folder).close()
    for at in (30, *([5] * again)):
        child = FORK.Process(target=run_to_death, args=(folder, SteppedFiles(at, die_halfway), answered))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
    recovered(folder, answered, undisturbed)


@pytest.mark.parametrize("part", [0, slow(1), slow(2)])
def test_a_full_disk_is_named_and_the_log_goes_on(
    tmp_path: Path, undisturbed: Path, steps: int, part: int
) -> None:
    for at in range(part, steps, 3):
        folder = tmp_path / f"{at}" / "log"
        make_log(folder).close()
        with Log.open(folder, SIGNER, files=SteppedFiles(at, disk_full)) as log:
            failed = 0
            for start, end in BATCHES:
                try:
                    log.append(items(start, end))
                except DiskFull:
                    failed += 1
                    assert log.entry(0) == items(0, 1)[0].entry if log.size else True
                    assert log.append(items(start, end)) == list(range(start, end))
            assert failed == 1
        assert snapshot(folder) == snapshot(undisturbed)


def test_a_reader_that_saw_a_checkpoint_never_sees_a_fork(tmp_path: Path, steps: int) -> None:
    for at in range(0, steps, 3):
        folder = tmp_path / f"{at}" / "log"
        make_log(folder).close()
        log = Log.open(folder, SIGNER, files=SteppedFiles(at, disk_full))
        try:
            append_batches(log)
        except DiskFull:
            seen = log.checkpoint
        log.close()
        with Log.open(folder, SIGNER) as again:
            again.append(items(5000, 5100))  # not what was interrupted
            proof = consistency_proof(again.reader, seen.size, again.size)
            verify_consistency(seen.size, seen.root, again.size, again.checkpoint.root, proof)


def test_a_backfill_killed_while_it_seals_its_index_is_found_whole(tmp_path: Path) -> None:
    bundles = [Bundle.of(items(start, start + 256)) for start in range(0, RUN_SIZE, 256)]

    def backfill(files: Files) -> None:
        Log.open(tmp_path / "log", SIGNER, files=files).append_bundles(bundles)

    make_log(tmp_path / "log").close()
    counting = SteppedFiles(-1, die)
    shutil.copytree(tmp_path / "log", tmp_path / "other")
    with Log.open(tmp_path / "other", SIGNER, files=counting) as other:
        other.append_bundles(bundles)
    child = FORK.Process(target=backfill, args=(SteppedFiles(counting.steps - 1, die_halfway),))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with Log.open(tmp_path / "log", SIGNER) as log:
        assert log.size == RUN_SIZE
        assert log.append_bundles(bundles[:2]) == [0, 256]
    assert snapshot(tmp_path / "log") == snapshot(tmp_path / "other")


@pytest.mark.parametrize("cut", [1, 33, 5000])
def test_a_torn_journal_is_detected(tmp_path: Path, cut: int) -> None:
    make_log(tmp_path / "log", 10).close()
    log = Log.open(tmp_path / "log", SIGNER, files=SteppedFiles(1, disk_full))
    with pytest.raises(DiskFull):
        log.append(items(10, 300))
    log.close()
    journal = tmp_path / "log" / "private" / "journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    with pytest.raises(LogDamaged, match="journal"):
        Log.open(tmp_path / "log", SIGNER)


PARTS_NONE, PARTS_ONE = bytes(44), bytes(43) + b"\1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PARTS_NONE + b"x",
        PARTS_ONE,
        PARTS_ONE + b"\0\0\0\x10" + bytes(16) + b"\0\0\0\x08" + bytes(8) + b"\0\0\0\1x\0\0\0\0",
    ],
    ids=["too short", "left over", "an empty part", "a torn entry"],
)
def test_a_journal_that_holds_no_batch_is_damage(tmp_path: Path, body: bytes) -> None:
    make_log(tmp_path / "log", 10).close()
    whole = b"SYLJ\x01" + body
    (tmp_path / "log" / "private" / "journal").write_bytes(whole + sha256(whole).digest())
    with pytest.raises(LogDamaged, match="holds no batch"):
        Log.open(tmp_path / "log", SIGNER)


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_checkpoint_is_detected(tmp_path: Path, cut: int) -> None:
    make_log(tmp_path / "log", 10).close()
    path = tmp_path / "log" / "public" / "checkpoint"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(LogDamaged, match="checkpoint"):
        Log.open(tmp_path / "log", SIGNER)


def test_an_old_checkpoint_restored_over_newer_tiles_goes_on_only_from_its_own_tree(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", 10)
    old = (tmp_path / "log" / "public" / "checkpoint").read_bytes()
    log.append(items(10, 20))
    log.close()
    (tmp_path / "log" / "public" / "checkpoint").write_bytes(old)
    with Log.open(tmp_path / "log", SIGNER) as again:
        assert again.size == 10
        assert again.find(items(15, 16)[0].event_id) is None
