"""What every function that reads bytes from outside must do with any bytes, and how that is checked.

1. It gives a value or raises one of its package's named errors, whose message is Unicode.
2. It takes at most a second and 256 MB for at most 64 KB.
3. What it took, its encoder gives back: the same bytes if the form is canonical, else bytes of an equal value.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SIZE_MAX: Final = 1 << 16
SECONDS_MAX: Final = 1.0
GROWTH_MAX: Final = 256 << 20
"""Bytes by which the process may outgrow what it needed for the seeds."""

_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Decoder:
    """One function that reads what anybody may have written.

    Attributes:
        name: of the function, unique in its family.
        read: takes any bytes.
        refuses: the named errors that it may raise.
        seeds: makes bytes that it takes, from valid values.
        write: its encoder, if there is one.
        is_canonical: whether the encoder gives back the very bytes that were read.
        refused: makes bytes that it refuses and that are worth changing all the same.
        seconds_max: more than the usual for what is slow on purpose, as a key derivation is.
        growth_max: the same for its memory, in bytes.
    """

    name: str
    read: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    seeds: Callable[[], Iterable[bytes]]
    write: Callable[[Any], bytes] | None = None
    is_canonical: bool = True
    refused: Callable[[], Iterable[bytes]] = tuple
    seconds_max: float = SECONDS_MAX
    growth_max: int = GROWTH_MAX


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise.

    Attributes:
        decoder: its name.
        kind: `exception`, `slow`, `memory`, `roundtrip` or `message`.
        where: the innermost line of ours, so that one fault is one finding.
        detail: what happened.
        data: the input.
    """

    decoder: str
    kind: str
    where: str
    detail: str
    data: bytes

    @property
    def key(self) -> str:
        """What tells two findings apart."""
        return f"{self.decoder}: {self.kind} at {self.where}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decoder did with an input.

    Attributes:
        taken: whether it gave a value.
        mark: the lines that refused it, empty if it was taken: two inputs with one mark are alike.
        seconds: how long it took, of the processor's time.
        finding: what it broke.
    """

    taken: bool
    mark: tuple[int, ...]
    seconds: float
    finding: Finding | None = None


def examine(decoder: Decoder, data: bytes) -> Outcome:
    """Give a decoder some bytes and see whether it keeps the promises."""
    before, start = peak_bytes(), time.process_time()
    value: Any = None
    refusal: BaseException | None = None
    taken, broken = False, None
    try:
        value = decoder.read(data)
        taken = True
    except decoder.refuses as err:
        refusal = err
    except Exception as err:
        broken = _of_exception(decoder, data, err)
    seconds = time.process_time() - start
    grown = peak_bytes() - before
    if broken is None and seconds > decoder.seconds_max:
        seconds = min(
            seconds, _seconds_again(decoder, data)
        )  # a machine that others use counts their waits, too
    if broken is None and seconds > decoder.seconds_max:
        broken = Finding(decoder.name, "slow", decoder.name, f"{seconds:.1f} s for {len(data)} bytes", data)
    if broken is None and grown > decoder.growth_max:
        broken = Finding(
            decoder.name, "memory", decoder.name, f"{grown >> 20} MB for {len(data)} bytes", data
        )
    if broken is None and refusal is not None:
        broken = _of_message(decoder, data, refusal)
    if broken is None and taken and decoder.write is not None:
        broken = _of_roundtrip(decoder, decoder.write, data, value)
    return Outcome(taken, _mark(refusal), seconds, broken)


def _seconds_again(decoder: Decoder, data: bytes) -> float:
    start = time.process_time()
    with suppress(*decoder.refuses):
        decoder.read(data)
    return time.process_time() - start


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _mark(refusal: BaseException | None) -> tuple[int, ...]:
    """Return the line that raised an error, and those of what caused it."""
    lines = []
    while refusal is not None:
        trace = refusal.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None:
            lines.append(hash((trace.tb_frame.f_code.co_filename, trace.tb_lineno)))
        refusal = refusal.__cause__
    return tuple(lines)


def _of_exception(decoder: Decoder, data: bytes, err: Exception) -> Finding:
    name = f"{type(err).__module__}.{type(err).__qualname__}".removeprefix("builtins.")
    return Finding(decoder.name, "exception", _innermost(err), f"{name}: {str(err)[:200]!r}", data)


def _of_message(decoder: Decoder, data: bytes, refusal: BaseException) -> Finding | None:
    try:
        str(refusal).encode("utf-8")
    except UnicodeEncodeError:
        detail = f"{type(refusal).__name__} with a message that is no Unicode"
        return Finding(decoder.name, "message", _innermost(refusal), detail, data)
    return None


def _of_roundtrip(decoder: Decoder, write: Callable[[Any], bytes], data: bytes, value: Any) -> Finding | None:
    try:
        again = write(value)
        same = again == data if decoder.is_canonical else decoder.read(again) == value
    except Exception as err:
        detail = f"what was read is not written: {type(err).__name__}: {str(err)[:200]!r}"
        return Finding(decoder.name, "roundtrip", _innermost(err), detail, data)
    if same:
        return None
    return Finding(decoder.name, "roundtrip", decoder.name, "what is written is not what was read", data)


def _innermost(err: BaseException) -> str:
    """Return file and line, from the repository's root, of the last frame that is ours."""
    where = "outside"
    for frame, line in traceback.walk_tb(err.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and ".venv" not in path.parts and "fuzz" not in path.parts:
            where = f"{path.relative_to(_ROOT)}:{line}"
    return where
