"""What the user sees: tables and progress on stderr or stdout, one JSON object where `--json` was asked for.

Names, titles, details and reasons come from other parties: none of them is read as markup, and none reaches a terminal with a
control character in it.
"""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH: Final = 1 << 14  # a pipe has no width: nothing is cut or folded for it
_CELL_WIDTH_MAX: Final = 100  # but long texts in a table, which would make all of its rows as wide
_CELL_WIDTH_MIN: Final = 12  # what a terminal must have for a column beside ids, or there is no table
_HIDDEN: Final = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])
_ID: Final = re.compile("(0x)?[0-9a-f]{40,}")


def _console(file: TextIO, *, stderr: bool) -> Console:
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


console = _console(sys.stdout, stderr=False)
notes = _console(sys.stderr, stderr=True)


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return a text with what acts on a terminal, or is not to be seen, as its escape: U+001B becomes `\x1b`.

    Args:
        text: of anybody's.
        lines: leave line breaks and tabs as they are.
    """
    found = str(text)
    if found.isprintable():
        return found
    return "".join(c if lines and c in "\n\t" else _escaped(c) for c in found)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def say(text: object = "", *, err: bool = False) -> None:
    """Write a text to stdout, or stderr; what of it is not to be seen as its escape."""
    typer.echo(visible(text, lines=True), err=err)


def json_text(value: Any) -> str:
    r"""Return the JSON of a value on one line: letters of all scripts as they are, `\u…` for what is not to be seen."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if unicodedata.category(c) in _HIDDEN else c for c in text)


def print_json(value: Any) -> None:
    """Write one JSON object to stdout and nothing else."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table to stdout; numbers to the right, ids whole. Where a terminal is too narrow for its ids, row by row."""
    kept = [list(row) for row in rows]
    cells = [
        [Text(visible(show(value), lines=True), overflow="fold", no_wrap=False) for value in row]
        for row in kept
    ]
    names = [visible(column) for column in columns]
    is_id = [any(_ID.fullmatch(row[index].plain) for row in cells) for index in range(len(names))]
    console.print(Text(visible(title), style="table.title"))
    if any(is_id) and _least_width(names, cells, is_id) > console.width:
        _print_records(names, cells)
        return
    table = Table(header_style="bold")
    for index, name in enumerate(names):
        known = [row[index] for row in kept if row[index] is not None]
        numeric = bool(known) and all(isinstance(value, int | float) for value in known)
        table.add_column(
            Text(name),
            justify="right" if numeric else "left",
            no_wrap=is_id[index],
            max_width=None if is_id[index] else _CELL_WIDTH_MAX,
        )
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _least_width(names: Sequence[str], cells: Sequence[Sequence[Text]], is_id: Sequence[bool]) -> int:
    """Return how wide a table must be for its ids to be whole and the rest to be read."""
    width = 1
    for index, name in enumerate(names):
        widest = max([cell_len(name), *(cell_len(row[index].plain) for row in cells)])
        width += 3 + (widest if is_id[index] else min(widest, _CELL_WIDTH_MIN))
    return width


def _print_records(names: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    for row in cells:
        console.print()
        for name, cell in zip(names, row, strict=True):
            console.print(Text.assemble((name, "bold"), ": ", cell.plain), soft_wrap=True)


def print_step(ok: bool | None, number: int, text: str, *, dim: str = "") -> None:
    """Print one step of a verification to stdout: whether it held (None: not known), its number, and what was seen.

    Args:
        ok, number: of the step.
        text: its name and detail.
        dim: shown after it, paler.
    """
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}[ok]
    line = Text.assemble((mark, colour), f" {number:>2} {visible(text)}")
    if dim:
        line.append("  ").append(visible(dim), style="dim")
    console.print(line)


def print_styled(text: object, style: str, rest: str = "") -> None:
    """Print a line to stdout: a text in a style, and the rest in none."""
    console.print(Text.assemble((visible(text), style), visible(rest)))


def show(value: Any) -> str:
    """Return the short human form of a cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value)) or "–"
    return str(value)


class Stages:
    """Names and times the stages of a long command, with a spinner for people and nothing for pipes; on stderr.

    Args:
        quiet: show nothing.
        refresh_hz: how often the spinner is drawn anew.
    """

    def __init__(self, *, quiet: bool, refresh_hz: float = 10) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=notes,
            refresh_per_second=refresh_hz,
            transient=True,
            disable=quiet or not notes.is_terminal,
        )

    @contextmanager
    def stage(self, name: str, text: str, *, total: int | None = None) -> Iterator[Stage]:
        """Run one stage: shows `text`, and adds its seconds under `name`.

        When it is over it is said to be done, in the words of `text` or of `Stage.conclude`.
        """
        begin = time.perf_counter()
        with self._progress:
            task = self._progress.add_task(visible(text), total=total)
            stage = Stage(self._progress, task, text)
            yield stage
            self._progress.remove_task(task)
        spent = time.perf_counter() - begin
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
        if not self._quiet:
            notes.print(
                Text.assemble("  ", ("✓", "green"), f" {visible(stage.done)} ", (f"{spent:.1f} s", "dim"))
            )


class Stage:
    """The progress of one running stage. `done` is what is said when it is over."""

    def __init__(self, progress: Progress, task: Any, done: str) -> None:
        self._progress = progress
        self._task = task
        self.done = done

    def advance(self, text: str | None = None) -> None:
        """Move on by one step, optionally with a new text."""
        if text is None:
            self._progress.advance(self._task)
        else:
            self._progress.update(self._task, advance=1, description=visible(text))

    def say(self, text: str) -> None:
        """Show another text."""
        self._progress.update(self._task, description=visible(text))

    def conclude(self, text: str) -> None:
        """Say another text when it is over: what was done turned out to be something else."""
        self.done = text

    def reach(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self._progress.update(self._task, completed=done, total=total)
