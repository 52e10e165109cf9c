"""The market as one object: every service, wired once, with its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import Engine

from exchange.assets import Assets
from exchange.chainside import ChainSide
from exchange.driver import Driver
from exchange.evidence import evidence_of
from exchange.follower import Follower
from exchange.listings import Listings
from exchange.messages import Messages
from exchange.mirror import Mirror
from exchange.pace import Pace
from exchange.participants import LicenceCheck, Participants, admit_without_licence
from exchange.quotes import Quotes
from exchange.requests import Requests, Services
from exchange.settings import Settings
from exchange.store import Store, migrate
from exchange.sums import Sums
from exchange.types import RequestRecord
from exchange.waiting import Waiting
from exchange.workflow import Workflows
from ledger.errors import LedgerError
from ledger.signing import Signer

if TYPE_CHECKING:
    from exchange.admission import Admission
    from exchange.city import CityService

HOUSEKEEPING_S: Final = 60.0
_log = structlog.get_logger("exchange.market")


class Market:
    """One exchange.

    Args:
        settings: the operator's choices.
        engine: the market's database; its tables are brought to the newest version.
        chain: the chain side, as the broker.
        signer: the broker's account key, for quotes and receipts.
        now_s: the wall clock.
        city: another way to the licence service of the settings' admission; None for its URL.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine,
        chain: ChainSide,
        signer: Signer,
        now_s: Callable[[], float] = time.time,
        city: CityService | None = None,
    ) -> None:
        migrate(engine)
        self.settings, self.chain, self.engine = settings, chain, engine
        self.store, self.waiting, self.mirror = Store(engine), Waiting(), Mirror()
        self._chores_due = threading.Event()
        self.follower = Follower(
            chain=chain,
            store=self.store,
            waiting=self.waiting,
            mirror=self.mirror,
            pace=Pace(settings.poll_s, settings.idle_poll_s),
            on_taken_back=self._chores_due.set,
            now_s=now_s,
        )
        shared: dict[str, Any] = {"store": self.store, "follower": self.follower}
        self.participants = Participants(**shared, mirror=self.mirror)
        self.admission = self._admission(city, now_s)
        require_licence: LicenceCheck = (
            admit_without_licence if self.admission is None else self.admission.require
        )
        self.assets = Assets(**shared, mirror=self.mirror, participants=self.participants)
        self.listings = Listings(
            **shared,
            broker=chain.broker,
            mirror=self.mirror,
            assets=self.assets,
            participants=self.participants,
            require_licence=require_licence,
        )
        self.quotes = Quotes(
            **shared,
            settings=settings,
            signer=signer,
            listings=self.listings,
            participants=self.participants,
            now_s=now_s,
        )
        self.messages = Messages(**shared, chain=chain, signer=signer, waiting=self.waiting)
        driver = Driver(**shared, chain=chain, waiting=self.waiting, sums=Sums(self.store), now_s=now_s)
        self.workflows = Workflows(settings, self.store, driver)
        services = Services(
            **shared,
            settings=settings,
            chain=chain,
            waiting=self.waiting,
            listings=self.listings,
            participants=self.participants,
            require_licence=require_licence,
        )
        self.requests = Requests(services, start=self.workflows.start, now_s=now_s)
        self._chores: list[Callable[[], None]] = [self.quotes.forget_expired, self.workflows.sweep]
        self._housekeeper = threading.Thread(target=self._keep_house, name="housekeeper", daemon=True)

    def _admission(self, city: CityService | None, now_s: Callable[[], float]) -> Admission | None:
        """Return admission by licence where the settings ask for it; nothing of licences is imported where they do not."""
        terms = self.settings.admission
        if terms is None:
            return None
        from exchange.admission import Admission, AdmissionParts, read_policy
        from exchange.city import HttpCity

        if city is None and terms.service_url is not None:
            city = HttpCity(terms.service_url)
        parts = AdmissionParts(
            terms=terms,
            policy=read_policy(terms),
            origin=self.settings.origin,
            store=self.store,
            participants=self.participants,
            city=city,
            now_s=now_s,
        )
        return Admission(parts)

    def start(self) -> None:
        """Follow the chain and take up the requests that are in flight."""
        self.follower.start()
        self.workflows.launch()
        self._housekeeper.start()

    def stop(self) -> None:
        """End all threads; what was under way is taken up at the next start."""
        self.waiting.stop()
        self._chores_due.set()
        self.workflows.stop()
        self.follower.stop()
        self._housekeeper.join(10)
        if self.admission is not None:
            self.admission.close()

    def add_chore(self, chore: Callable[[], None]) -> None:
        """Have something done once a minute."""
        self._chores.append(chore)

    def evidence(self, record: RequestRecord) -> dict[str, Any]:
        """Return what the exchange can show of a request."""
        return evidence_of(record, self.requests.progress(record), self.store)

    def _keep_house(self) -> None:
        while True:
            self._chores_due.wait(HOUSEKEEPING_S)
            self._chores_due.clear()
            if self.waiting.is_stopping:
                return
            try:
                for chore in self._chores:
                    chore()
            except LedgerError as err:
                _log.warning("housekeeping_failed", error=type(err).__name__)
