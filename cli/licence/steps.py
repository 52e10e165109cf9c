"""The steps of a demonstration: each has a name, holds or does not, and says what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli.errors import CliError
from cli.output import notes, print_step, visible
from ledger.errors import LedgerError


class StepFailed(Exception):
    """A step saw something else than it must see."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it went. `seconds` is its wall time."""

    name: str
    ok: bool
    detail: str
    seconds: float


class Steps:
    """Runs steps one after another, and shows each as it ends.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.done: list[Step] = []

    @property
    def ok(self) -> bool:
        """Whether there were steps and all of them held."""
        return bool(self.done) and all(step.ok for step in self.done)

    def run(self, name: str, work: Callable[[], str]) -> bool:
        """Run one step.

        Args:
            name: what must hold, in words.
            work: returns what was seen; raises StepFailed when it is not what must be seen.

        Returns:
            Whether it held. A step that meets any error of ours does not hold; others go on.
        """
        begun = time.perf_counter()
        try:
            ok, detail = True, work()
        except (StepFailed, CliError, LedgerError) as err:
            ok, detail = False, f"{type(err).__name__}: {err}"
        step = Step(name, ok, detail, time.perf_counter() - begun)
        self.done.append(step)
        if not self._quiet:
            _show(len(self.done), step)
        return ok

    def heading(self, text: str) -> None:
        """Show that a chapter begins."""
        if not self._quiet:
            notes.print(visible(text), style="bold")

    def report(self) -> dict[str, Any]:
        """Return the JSON form: `{"ok", "steps": [{"name", "ok", "detail"}]}`."""
        steps = [{"name": step.name, "ok": step.ok, "detail": step.detail} for step in self.done]
        return {"ok": self.ok, "steps": steps}


def require(condition: bool, message: str) -> None:
    """Require that a step sees what it must see.

    Raises:
        StepFailed: it does not.
    """
    if not condition:
        raise StepFailed(message)


def require_equal(actual: object, expected: object, what: str) -> None:
    """Require that a value is the expected one.

    Raises:
        StepFailed: it is another, with both.
    """
    if actual != expected:
        raise StepFailed(f"{what}: expected {expected}, got {actual}")


def _show(number: int, step: Step) -> None:
    print_step(step.ok, number, step.name, dim=f"{step.detail}  {step.seconds:.1f} s")
