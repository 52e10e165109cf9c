"""What a benchmark says: figures, the targets beside them, and whether they were met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure; exactly one side is given."""

    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """The number that is printed beside the figure."""
        bound = self.at_least if self.at_most is None else self.at_most
        if bound is None:
            raise ValueError("a target needs a bound")
        return bound

    def is_met(self, figure: float) -> bool:
        """Tell whether the figure is on the right side."""
        return (self.at_least is None or figure >= self.at_least) and (
            self.at_most is None or figure <= self.at_most
        )


def report(
    name: str, figures: Mapping[str, float], targets: Mapping[str, Target], env: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a benchmark's result together.

    Args:
        name: as `./shuyao bench` knows it.
        figures: what was measured, with the unit at the label's end.
        targets: bounds, by the label of a figure.
        env: machine, versions, sizes and method; `at least` and `at most` are added to it.
    """
    missed = [label for label, target in targets.items() if not target.is_met(figures[label])]
    sides = {
        "targets at least": ", ".join(k for k, t in targets.items() if t.at_least is not None),
        "targets at most": ", ".join(k for k, t in targets.items() if t.at_most is not None),
        "missed": ", ".join(missed),
    }
    return {
        "name": name,
        "figures": {label: _short(value) for label, value in figures.items()},
        "targets": {label: target.value for label, target in targets.items()},
        "met": not missed,
        "env": {**env, **{k: v for k, v in sides.items() if v}},
    }


def _short(value: float) -> float:
    """Keep four significant digits; whole numbers stay whole."""
    return value if isinstance(value, int) else float(f"{value:.4g}")
