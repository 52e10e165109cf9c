"""What one city's log shows of itself: signed status lists, a checkpoint with its quorum, its head on the chain.

The service does this all the time; who writes the book in its place (a backfill) does it as it goes.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from api.licences.anchors import Anchors
from api.licences.duties import Duties, Duty
from api.licences.settings import CitySettings
from ledger.errors import LedgerError, SubmitTimeout
from ledger.licences.book import LicenceBook
from ledger.licences.keys import SigningKey
from ledger.licences.policy import City
from ledger.licences.publish import Publisher
from ledger.log.checkpoint import Checkpoint
from ledger.log.notes import SignedNote
from ledger.log.witness_client import Post, WitnessAddress, WitnessClient
from ledger.signing import Signer

ANCHOR_LOOK_S: Final = 1.0  # between two looks at what became of an anchor on its way
FINISH_S: Final = 60.0
_FINISH_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Reached:
    """How many entries of the log have a quorum, and how many are on the chain and final; None for none yet."""

    cosigned: int | None
    anchored: int | None


class Publication:
    """Publishes one book. Safe to share between threads.

    Args:
        book: open for writing.
        settings: of the city, with its witnesses.
        service: the service's key.
        operator: the account that LogAnchor takes heads from; None where the log is on no chain.
        post: reaches the witnesses.
        now_s: clock, Unix seconds.

    Raises:
        LedgerError: the settings name no quorum, or contradict the book.
    """

    def __init__(
        self,
        book: LicenceBook,
        settings: CitySettings,
        service: SigningKey,
        operator: Signer | None,
        *,
        post: Post,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._now_s = book, now_s
        self._quorum = City.from_json(settings.city()).quorum
        self.publisher = Publisher(book, service, rand=secrets.token_bytes)
        self._witnesses = self._make_witnesses(settings, post)
        self.anchors = None
        if settings.anchor is not None and operator is not None:
            self.anchors = Anchors(book, self.publisher, operator, settings, post=post, now_s=now_s)
        self._publishing = threading.Lock()

    def close(self) -> None:
        """Close the connections to the chain."""
        if self.anchors is not None:
            self.anchors.close()

    def publish(self) -> None:
        """Publish status lists that changed, and have the newest checkpoint cosigned.

        Raises:
            LedgerError: something is not published yet; what is published already stays.
        """
        with self._publishing:
            self.publisher.publish_statuses(int(self._now_s()))
            if not self.publisher.is_cosigned():
                self.publisher.cosign(self._witnesses, self._quorum)

    def reached(self) -> Reached:
        """Return how far the quorum and the chain are."""
        note, anchor = self._book.log.cosigned(), self._book.store.newest_anchor()
        cosigned = None if note is None else Checkpoint.parse(SignedNote.parse(note).text).size
        return Reached(cosigned, None if anchor is None else anchor.size)

    def _make_witnesses(self, settings: CitySettings, post: Post) -> WitnessClient:
        by_key = {key.to_text(): key for key in self._quorum.keys}
        addresses = [
            WitnessAddress(by_key[witness.vkey], witness.url.rstrip("/") + "/add-checkpoint")
            for witness in settings.witnesses
        ]
        return WitnessClient(self._book.log.reader, addresses, post=post)


class AsItGoes:
    """Publishes a book beside another work that fills it, in threads of its own: every so often, and once more at the end.

    What fails (no quorum of witnesses, no chain) stops nothing: it is said in `faults`, and tried again the next time.

    Args:
        publication: of the book.
        every_s: seconds between two publications.
    """

    def __init__(self, publication: Publication, *, every_s: float) -> None:
        self._publication = publication
        self._duties = Duties(
            [Duty("publish", every_s, self._publish), Duty("anchor", ANCHOR_LOOK_S, self._look)]
        )
        self._looking = threading.Lock()

    def __enter__(self) -> Self:
        """Put what a crash interrupted in order, and begin."""
        self._publication.publisher.repair()
        self._duties.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._duties.stop()

    def reached(self) -> Reached:
        """Return how far the quorum and the chain are."""
        return self._publication.reached()

    @property
    def faults(self) -> Mapping[str, str]:
        """What did not succeed the last time: `publish` or `anchor`, and the error's class."""
        return {state.name: state.fault for state in self._duties.states() if state.fault is not None}

    def finish(self, *, patience_s: float = FINISH_S) -> Mapping[str, str]:
        """End the threads, publish and anchor what is there now, and wait for the chain.

        Args:
            patience_s: how long a chain that answers may take.

        Returns:
            What did not succeed, as `faults`; empty if the whole log has a quorum and is on the chain.
        """
        self._duties.stop()
        faults = {}
        for name, work in (("publish", self._publish), ("anchor", lambda: self._settle(patience_s))):
            try:
                work()
            except LedgerError as err:
                faults[name] = type(err).__name__
        return faults

    def _publish(self) -> None:
        self._publication.publish()
        if self._publication.anchors is not None:
            self._publication.anchors.want()
            self._duties.poke("anchor")

    def _look(self) -> None:
        """Follow the anchor on its way.

        Raises:
            LedgerError: the chain does not answer while an anchor waits for it, or holds another history.
        """
        anchors = self._publication.anchors
        if anchors is None:
            return
        with self._looking:
            anchors.look()
            anchors.require_chain()

    def _settle(self, patience_s: float) -> None:
        """Wait until the newest cosigned head is on the chain, and its evidence gathered.

        Raises:
            SubmitTimeout: it is not in time; who writes the book next goes on with it.
            LedgerError: as `_look`.
        """
        ends_at = time.monotonic() + patience_s
        anchors = self._publication.anchors
        if anchors is None:
            return
        while True:
            anchors.want()  # each time: while an older one is on its way, none is begun
            self._look()
            if anchors.is_settled():
                return
            if time.monotonic() > ends_at:
                raise SubmitTimeout("log-anchor", patience_s)
            time.sleep(_FINISH_LOOK_S)
