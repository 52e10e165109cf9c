"""What the user sees: tables and progress on stderr or stdout, one JSON object where `--json` was asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_WIDTH = None if sys.stdout.isatty() else 160  # a pipe has no width: tables are not folded for it
console = Console(width=_WIDTH)
notes = Console(stderr=True)


def print_json(value: Any) -> None:
    """Write one JSON object to stdout and nothing else."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table to stdout; numbers to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    kept = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(
            isinstance(row[index], int | float) or row[index] is None for row in kept
        )
        table.add_column(column, justify="right" if numeric else "left")
    for row in kept:
        table.add_row(*(show(value) for value in row))
    console.print(table)


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
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=notes,
            refresh_per_second=refresh_hz,
            transient=True,
            disable=quiet or not notes.is_terminal,
        )

    @contextmanager
    def stage(self, name: str, text: str, *, total: int | None = None) -> Iterator[Stage]:
        """Run one stage: shows `text`, and adds its seconds under `name`."""
        begin = time.perf_counter()
        with self._progress:
            task = self._progress.add_task(text, total=total)
            yield Stage(self._progress, task)
            self._progress.remove_task(task)
        spent = time.perf_counter() - begin
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
        if not self._quiet:
            notes.print(f"  [green]✓[/green] {text} [dim]{spent:.1f} s[/dim]", highlight=False)


class Stage:
    """The progress of one running stage."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress = progress
        self._task = task

    def advance(self, text: str | None = None) -> None:
        """Move on by one step, optionally with a new text."""
        if text is None:
            self._progress.advance(self._task)
        else:
            self._progress.update(self._task, advance=1, description=text)

    def say(self, text: str) -> None:
        """Show another text."""
        self._progress.update(self._task, description=text)

    def reach(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self._progress.update(self._task, completed=done, total=total)
