"""When to look at the chain next: shortly after its next block is due, so that few looks find nothing new."""

from __future__ import annotations

from dataclasses import dataclass, field

_SMOOTHING = 0.3
_LATE_TRIES = 4  # quick looks at a block that is due, before the chain counts as irregular
_REGULAR_MAX_S = 30.0  # blocks further apart than this give no rhythm
_LONGEST_S = 1.0  # the longest sleep while something is awaited: a block may come before it is due


@dataclass(slots=True)
class Pace:
    """The rhythm of one chain as seen from here. Times are seconds of a monotonic clock.

    Args:
        busy_s: between two looks while something is awaited and the rhythm is unknown.
        idle_s: between two looks while nothing is awaited.
    """

    busy_s: float
    idle_s: float
    _head: int | None = None
    _seen_at: float = 0.0
    _interval_s: float = 0.0
    _tries: int = field(default=0)

    def saw(self, head: int, now_s: float) -> None:
        """Note the head that a look found."""
        if self._head is not None and head > self._head:
            elapsed = (now_s - self._seen_at) / (head - self._head)
            known = self._interval_s or elapsed
            self._interval_s = known + _SMOOTHING * (elapsed - known)
        if head != self._head:
            self._head, self._seen_at, self._tries = head, now_s, 0
        else:
            self._tries += 1

    def delay_s(self, now_s: float, *, is_busy: bool) -> float:
        """Return how long to sleep before the next look."""
        if not is_busy:
            return self.idle_s
        if not 0 < self._interval_s < _REGULAR_MAX_S or self._tries > _LATE_TRIES:
            return self.busy_s
        quick = self.busy_s / 4
        early = self._seen_at + self._interval_s - quick - now_s  # so that a late first sight is made good
        return min(max(early, quick), _LONGEST_S)
