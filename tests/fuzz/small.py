"""Fuzzing without coverage: valid values, what is known to hurt, and a fixed number of mutations; the same in every run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.fuzz.contract import Decoder, Finding, Outcome, examine
from tests.fuzz.draw import Draw
from tests.fuzz.mutation import hostile, mutate

TAKEN_MAX: Final = 64
"""Inputs that a decoder took and that are kept to be mutated again."""

ALIKE_MAX: Final = 4
"""The same of inputs that the same lines refused."""

KEPT_SIZE_MAX: Final = 1 << 13


def seeds_of(decoder: Decoder) -> list[bytes]:
    """Return a decoder's seeds, each of which it must take, and what it refuses of its own.

    Raises:
        AssertionError: it refuses one, or breaks a promise on it.
    """
    seeds = list(decoder.seeds())
    assert seeds or tuple(decoder.refused()), f"{decoder.name} has no seed"
    for seed in seeds:
        outcome = examine(decoder, seed)
        assert outcome.finding is None, outcome.finding
        if not outcome.taken:
            decoder.read(seed)  # raises what the seed was refused with
    return [*seeds, *decoder.refused()]


class _Pool:
    """Inputs to mutate: the seeds, and a few of every kind that was met."""

    def __init__(self, seeds: Sequence[bytes], draw: Draw) -> None:
        self._seeds, self._draw = seeds, draw
        self._found: list[bytes] = []
        self._met: dict[object, int] = {}

    def inputs(self, *, with_hostile: bool) -> Iterator[bytes]:
        """Yield hostile inputs if they are wanted, then mutations without end."""
        yield from hostile() if with_hostile else ()
        while True:
            from_found = self._found and self._draw.below(2)
            yield mutate(
                self._draw.one_of(self._found if from_found else self._seeds), self._draw, self._seeds
            )

    def keep(self, data: bytes, outcome: Outcome) -> None:
        """Keep an input that was taken or refused in a way that was met rarely."""
        limit = TAKEN_MAX if outcome.taken else ALIKE_MAX
        met = self._met.get(outcome.mark, 0)
        if met < limit and len(data) <= KEPT_SIZE_MAX:
            self._met[outcome.mark] = met + 1
            self._found.append(data)


def run(
    decoder: Decoder,
    *,
    seed: str,
    executions: int,
    with_hostile: bool = True,
    more: Callable[[], bool] = lambda: True,
) -> tuple[int, list[Finding]]:
    """Fuzz one decoder.

    Args:
        seed: of the mutations.
        executions: how many there are at most.
        with_hostile: whether they begin with what is known to hurt.
        more: asked before each; says whether to go on.

    Returns:
        How many there were, and the findings, one for each fault.
    """
    pool, findings = _Pool(seeds_of(decoder), Draw(seed)), dict[str, Finding]()
    done = 0
    for data in pool.inputs(with_hostile=with_hostile):
        if done >= executions or not more():
            break
        done += 1
        outcome = examine(decoder, data)
        pool.keep(data, outcome)
        if outcome.finding is not None:
            findings.setdefault(outcome.finding.key, outcome.finding)
    return done, list(findings.values())


def run_for(decoder: Decoder, *, seed: str, seconds: float) -> tuple[int, list[Finding]]:
    """Fuzz one decoder for some seconds."""
    end = time.monotonic() + seconds
    return run(decoder, seed=seed, executions=1 << 62, more=lambda: time.monotonic() < end)
