"""Deterministic entries, keys and logs for the tests."""

from hashlib import sha256, shake_128
from pathlib import Path

from ledger.log.batch import Item
from ledger.log.files import Files
from ledger.log.notes import COSIGNATURE, NoteSigner
from ledger.log.writer import Log

ORIGIN = "log.example/上海市"
SIGNER = NoteSigner.from_seed(ORIGIN, bytes(range(32)))


def item(number: int, size: int = 40) -> Item:
    """An entry with evidence, and a look-up key that it shares with one other."""
    return Item(
        event_id=sha256(b"event %d" % number).digest()[:16],
        entry=shake_128(b"entry %d" % number).digest(size),
        evidence=b"evidence %d" % number,
        lookup=b"licence %d" % (number // 2),
    )


def items(start: int, end: int) -> list[Item]:
    return [item(number) for number in range(start, end)]


def witness_signer(number: int) -> NoteSigner:
    return NoteSigner.from_seed(
        f"witness.example/第{number}", bytes([100 + number]) * 32, algorithm=COSIGNATURE
    )


def make_log(folder: Path, size: int = 0, *, files: Files | None = None) -> Log:
    log = Log.create(folder, ORIGIN, SIGNER, files=files)
    if size:
        log.append(items(0, size))
    return log


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a log, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
