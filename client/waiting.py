"""Waiting for an answer: the exchange's event stream says when to look, the chain says what is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from client.errors import (
    ExchangeProblem,
    ExchangeReplyInvalid,
    ExchangeUnreachable,
    RequestClosed,
    RequestExpired,
    RequestRefused,
    SignInRefused,
    WaitTimedOut,
)
from client.facts import RequestFacts
from client.market import Market
from client.types import Progress, StoredRequest
from ledger.errors import ChainError
from ledger.types import Answered, Opened

OnProgress = Callable[[Progress], None]
Look = Callable[[], RequestFacts]

_LOOK_AT_CHAIN: Final = frozenset({"answered", "settled", "closed", "withheld", "refused", "disputed"})
_ORDER: Final = ("submitted", "open", "sharing", "contributing", "sealed", "answered")
_QUIET_S: Final = 10.0  # without news from the exchange for this long, the chain is asked


@dataclass(slots=True)
class Wait:
    """One wait for one request.

    Args:
        stored: the request.
        market: the exchange.
        look: reads the request's final events from the buyer's own node.
        on_progress: told each new state.
        timeout_s: None to wait for as long as the request lives.
        poll_s: between two looks while no stream is to be had.
        clock, sleep: seconds.
    """

    stored: StoredRequest
    market: Market
    look: Look
    on_progress: OnProgress
    timeout_s: float | None
    poll_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    state: str = "submitted"
    _started: float = field(init=False)
    _looked: float = field(init=False)
    _last_event_id: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._started = self._looked = self.clock()

    def run(self) -> RequestFacts:
        """Wait until the answer's root is final on the chain.

        Returns:
            The request's events up to then.

        Raises:
            RequestClosed: it ended without an answer.
            RequestExpired: it was never opened.
            RequestRefused: it cannot be opened, says the exchange.
            WaitTimedOut: not yet; it goes on.
            SignInRefused: the exchange does not let this account see the request.
        """
        streaming = True
        while True:
            if streaming:
                streaming = self._follow()
            if (facts := self._look_at_chain()) is not None:
                return facts
            self._require_time()
            self.sleep(self.poll_s)

    def _follow(self) -> bool:
        """Follow the event stream until the chain is worth a look; say whether to follow it again."""
        try:
            for event in self.market.events(self.stored.request_id, last_event_id=self._last_event_id):
                self._require_time()
                if event is not None:
                    self._last_event_id = event.id or self._last_event_id
                    self._report(event.state)
                    if event.state in _LOOK_AT_CHAIN:
                        return False  # the exchange has nothing more to tell; the rest is confirmations
                if self.clock() - self._looked > _QUIET_S:
                    return True
        except SignInRefused:
            raise
        except (ExchangeUnreachable, ExchangeReplyInvalid, ExchangeProblem):
            return True  # it may be restarting; meanwhile the chain is polled
        return True

    def _look_at_chain(self) -> RequestFacts | None:
        self._looked = self.clock()
        try:
            facts = self.look()
        except ChainError:
            return None  # the chain may be away for hours
        if facts.one(Opened) is not None:
            self._report(facts.state)
        if facts.one(Answered) is not None:
            return facts
        if facts.ended_because is not None:
            raise RequestClosed(self.stored.request_id, facts.ended_because)
        if facts.one(Opened) is None:
            if facts.final_block > self.stored.request.approve_by:
                raise RequestExpired(self.stored.request_id)
            if self.state == "refused":
                raise RequestRefused(self.stored.request_id, self.stored.request.approve_by)
        return None

    def _report(self, state: str) -> None:
        """Tell a new state; exchange and chain may be a step apart, so never an earlier one than before."""
        known = state in _ORDER and self.state in _ORDER
        if state != self.state and not (known and _ORDER.index(state) < _ORDER.index(self.state)):
            self.state = state
            self.on_progress(Progress(self.stored.request_id, state, self.clock() - self._started))

    def _require_time(self) -> None:
        if self.timeout_s is not None and self.clock() - self._started > self.timeout_s:
            raise WaitTimedOut(self.stored.request_id, self.state, self.timeout_s)
