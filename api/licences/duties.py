"""What a service does without being asked: each duty in a thread of its own, again and again, and at once when it is poked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from ledger.errors import LedgerError

_log = structlog.get_logger("api.licences")
_STOP_S: Final = 10.0
DIED: Final = "Died"  # the fault of a duty whose thread ended by an error that nobody foresaw


@dataclass(frozen=True, slots=True)
class Duty:
    """One duty.

    Args:
        name: for health, metrics and logs.
        every_s: seconds from the end of one round to the begin of the next.
        work: one round. A LedgerError is logged by its class and the round is tried again; it must not be personal.
    """

    name: str
    every_s: float
    work: Callable[[], None]


@dataclass(frozen=True, slots=True)
class DutyState:
    """How a duty fares. `done_at` is the Unix time of its last round without a fault, None before it; `fault` an error's class."""

    name: str
    rounds: int
    done_at: int | None
    fault: str | None


class Duties:
    """The duties of one process. `start` and `stop` once each."""

    def __init__(self, duties: Sequence[Duty], *, now_s: Callable[[], float] = time.time) -> None:
        self._runners = {duty.name: _Runner(duty, now_s) for duty in duties}

    def start(self) -> None:
        """Begin all of them; the first round of each begins at once."""
        for runner in self._runners.values():
            runner.start()

    def stop(self) -> None:
        """End all of them after the round that they are in."""
        for runner in self._runners.values():
            runner.end()
        for runner in self._runners.values():
            if runner.is_alive():
                runner.join(_STOP_S)

    def poke(self, name: str) -> None:
        """Have a duty run its next round now; also when it is in a round, then once more after it."""
        self._runners[name].poke()

    def states(self) -> list[DutyState]:
        """Return how each duty fares."""
        return [runner.state() for runner in self._runners.values()]


class _Runner(threading.Thread):
    def __init__(self, duty: Duty, now_s: Callable[[], float]) -> None:
        super().__init__(name=f"duty-{duty.name}", daemon=True)
        self._duty, self._now_s = duty, now_s
        self._wake, self._ending = threading.Event(), False
        self._state = DutyState(duty.name, 0, None, None)

    def run(self) -> None:
        while not self._ending:
            self._wake.clear()
            self._round()
            self._wake.wait(self._duty.every_s)

    def _round(self) -> None:
        before = self._state
        try:
            self._duty.work()
        except LedgerError as err:
            fault = type(err).__name__
            if fault != before.fault:
                _log.warning("duty_failed", duty=self._duty.name, error=fault, detail=str(err))
            self._state = DutyState(before.name, before.rounds + 1, before.done_at, fault)
        else:
            self._state = DutyState(before.name, before.rounds + 1, int(self._now_s()), None)

    def poke(self) -> None:
        self._wake.set()

    def end(self) -> None:
        self._ending = True
        self._wake.set()

    def state(self) -> DutyState:
        has_died = self.ident is not None and not self.is_alive() and not self._ending
        return replace(self._state, fault=DIED) if has_died else self._state
