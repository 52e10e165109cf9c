"""Coverage-guided fuzzing of one family in a process of its own (atheris, which is libFuzzer), and the report of it.

Most of the time goes to inputs of a few KB under coverage, the rest to inputs of the corpus with a piece repeated up to 64 KB and
without instruments: what takes quadratic time or too much memory shows there. The corpus is kept and goes on where it stopped. What the
instrumented process finds is looked at again without instruments, which cost time and memory that the promises do not grant: only what
breaks a promise there is a finding.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz import small, table
from tests.fuzz.contract import SIZE_MAX, Finding, examine
from tests.fuzz.draw import Draw
from tests.fuzz.mutation import repeat

ROOT: Final = Path(__file__).resolve().parents[2]
HANG_S: Final = 120
"""After this long with one input the fuzzing process is ended."""

STRETCH: Final = 5
"""One second of so many goes to long inputs."""

GUIDED_SIZE: Final = 1 << 13
"""The longest input under coverage, unless twice the longest seed is more."""

_RSS_MB: Final = 3072
_STARTS_MAX: Final = 20
_UNITS: Final = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_COVERED: Final = re.compile(r" cov: (\d+) ")
_ENDED: Final = re.compile(r"^#(\d+)\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run was and found.

    Attributes:
        family: of decoders, or `FAMILY:NUMBER` for one of them.
        engine: `atheris`, or `mutations` where there is none.
        decoders: how many.
        executions: inputs that were given to them.
        seconds: that it took.
        covered: branches that the whole corpus reaches; 0 without instruments.
        machine: on which.
        findings: broken promises, as text.
    """

    family: str
    engine: str
    decoders: int
    executions: int
    seconds: int
    covered: int
    machine: str
    findings: tuple[str, ...]


_making = threading.Lock()


def cache_folder() -> Path:
    """Return where corpora are kept: below `SHUYAO_HOME`, with what else can be made again."""
    home = os.environ.get("SHUYAO_HOME") or ROOT / ".shuyao"
    return Path(home).expanduser().absolute() / "cache" / "fuzz"


def has_atheris() -> bool:
    """Tell whether there is an atheris for this Python and this system: the lock file installs it there, and it must not be missing."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)


def has_had(family: str, seconds: int) -> bool:
    """Tell whether the last run of a family, or of a decoder, took so long and found nothing."""
    try:
        report = json.loads((cache_folder() / f"{family}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(report["seconds"] >= seconds and not report["findings"])


def make_inputs(family: str) -> None:
    """Make what a family's inputs are made of, which it keeps: two threads that came for the first time would both make it."""
    with _making:
        for decoder in table.family(family):
            decoder.seeds()
            decoder.refused()


def fuzz(family: str, seconds: int) -> Report:
    """Fuzz a family for some seconds, or mutate without coverage where there is no atheris."""
    started = time.monotonic()
    make_inputs(family)
    if has_atheris():
        folder = cache_folder() / family
        executions, covered = _run_worker(family, folder, seconds - seconds // STRETCH)
        executions += _run_stretching(family, folder, seconds // STRETCH)
        findings = _judged(family, folder)
        engine = "atheris"
    else:
        executions, findings = _mutated(family, seconds)
        engine, covered = "mutations", 0
    report = Report(
        family,
        engine,
        len(table.family(family)),
        executions,
        round(time.monotonic() - started),
        covered,
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        tuple(f"{each.key}: {each.detail}; {len(each.data)} bytes, {each.data[:80]!r}" for each in findings),
    )
    _write(cache_folder() / f"{family}.json", asdict(report))
    return report


def _mutated(family: str, seconds: int) -> tuple[int, list[Finding]]:
    decoders = table.family(family)
    executions, findings = 0, list[Finding]()
    for decoder in decoders:
        seed = f"{family}/{decoder.name}/{time.time_ns()}"
        done, found = small.run_for(decoder, seed=seed, seconds=seconds / len(decoders))
        executions += done
        findings += found
    return executions, findings


def _run_worker(family: str, folder: Path, seconds: int) -> tuple[int, int]:
    """Run the instrumented process, again when it dies of an input, until the time is over."""
    for name in ("corpus", "found"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    executions = covered = 0
    end = time.monotonic() + seconds
    for _ in range(_STARTS_MAX):
        left = round(end - time.monotonic())
        if left < 1:
            break
        log = folder / "log"
        with log.open("wb") as file:
            subprocess.run(
                _command(family, folder, left),
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=_environment(),
                check=False,
            )
        text = log.read_text(encoding="utf8", errors="replace")
        counted = [int(match) for match in (*_UNITS.findall(text), *_ENDED.findall(text))]
        if not counted:
            raise RuntimeError(f"the fuzzing of {family} did not start; the end of {log}:\n{text[-2000:]}")
        executions += max(counted)
        covered = max(covered, *map(int, _COVERED.findall(text)), 0)
    return executions, covered


def _run_stretching(family: str, folder: Path, seconds: int) -> int:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        family,
        "--stretch",
        str(folder),
        "--seconds",
        str(seconds),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=seconds + 2 * HANG_S,
        )
    except subprocess.TimeoutExpired:
        return 0
    return int(done.stdout or b"0")


def stretch(family: str, folder: Path, seconds: int) -> int:
    """Give decoders long inputs made from the corpus, for some seconds; return how many.

    The input at hand stands in a file of what was found, which goes when nothing happened: a process that dies leaves it.
    """
    for decoder in table.family(family):
        small.seeds_of(decoder)
    corpus = [path.read_bytes() for part in ("seeds", "corpus") for path in sorted((folder / part).iterdir())]
    draw, at_hand, done = Draw(f"{family}/{time.time_ns()}"), folder / "found" / "at-hand", 0
    met: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        chosen = draw.one_of(corpus)
        data = chosen[:1] + repeat(chosen[1:], draw, [])[:SIZE_MAX]
        at_hand.write_bytes(data)
        finding = examine(table.decoder_of(family, data), data[1:]).finding
        done += 1
        if finding is not None and finding.key not in met:
            met.add(finding.key)
            at_hand.rename(at_hand.with_name(f"long-{len(met)}"))
    at_hand.unlink(missing_ok=True)
    return done


def _command(family: str, folder: Path, seconds: int) -> list[str]:
    longest = max(
        len(seed) for decoder in table.family(family) for seed in (*decoder.seeds(), *decoder.refused())
    )
    size = 1 + min(SIZE_MAX, max(GUIDED_SIZE, 2 * longest))
    return [
        *(sys.executable, "-m", "tests.fuzz.worker", family, str(folder / "found")),
        *(
            f"-max_total_time={seconds}",
            f"-max_len={size}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={_RSS_MB}",
        ),
        *("-len_control=0", "-print_final_stats=1", f"-artifact_prefix={folder / 'found'}/libfuzzer-"),
        *(str(folder / "corpus"), str(folder / "seeds")),
    ]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}


def _judged(family: str, folder: Path) -> list[Finding]:
    """Look at what was found without instruments, each in its own process, and forget what is none."""
    findings: dict[str, Finding] = {}
    for path in sorted((folder / "found").iterdir()):
        finding = _judge(family, path)
        if finding is None:
            path.unlink()
        else:
            findings.setdefault(finding.key, finding)
    return list(findings.values())


def _judge(family: str, path: Path) -> Finding | None:
    data = path.read_bytes()
    name = table.decoder_of(family, data).name
    command = [sys.executable, "-m", "tests.fuzz", family, "--replay", str(path)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False, timeout=HANG_S
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "slow", name, f"over {HANG_S} s", data[1:])
    if done.returncode == 0:
        return None
    given = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    where = given.get("where", name)
    return Finding(name, given.get("kind", "death"), where, given.get("detail", done.stderr[-300:]), data[1:])


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
