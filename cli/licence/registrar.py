"""What a city's registrar does: admit issuers' keys, end them, recognise other cities, and sign issuers' histories.

The registrar keeps its own record of what it decided: it never signs a history that the service dictates.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from cli.home import read_json, write_json
from cli.licence.client import CityClient, Receipt
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from cli.licence.registry import RegistryDesk
    from ledger.licences.events import Kind
    from ledger.licences.issuers import KeySpan
    from ledger.licences.keys import PublicKey, SigningKey
    from ledger.licences.policy import City

HISTORY_AGE_S: Final = 7 * 86_400
RECOGNITION_AGE_S: Final = 366 * 86_400


class Registrar:
    """The registrar of one city.

    Args:
        folder: of its record, `issuers.json` and `cities.json`.
        key: the registrar's.
        client: of the city's service.
        registry: of the city's issuers on the chain, None where the log is on none.
        now_s: clock, Unix seconds.

    Raises:
        CliError: from each method, when the service refuses, or the registry.
    """

    def __init__(
        self,
        folder: Path,
        key: SigningKey,
        client: CityClient,
        *,
        registry: RegistryDesk | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._record, self._cities = folder / "issuers.json", folder / "cities.json"
        self.key, self.client, self._registry, self._now_s = key, client, registry, now_s
        self.origin = client.origin

    def add_key(self, issuer: str, public: PublicKey, types: Sequence[str]) -> int:
        """Let a key sign an issuer's licences of some types, publish the issuer's history, and write both to the registry.

        What is on record is not logged again: a repeat does what a failure left undone.

        Args:
            issuer: unified social credit code.
            public: the key.
            types: licence types.

        Returns:
            The event's log index.
        """
        from ledger.licences.events import Kind
        from ledger.licences.issuers import KeySpan

        sorted_types, spans = tuple(sorted(set(types))), self.spans(issuer)
        known = next((span for span in spans if span.public.key_id == public.key_id), None)
        if known is None:
            receipt = self._log(Kind.KEY_ADD, issuer, public=public, types=sorted_types)
            known = KeySpan(public, sorted_types, receipt.index)
            self._keep(issuer, [*spans, known])
        elif known != KeySpan(public, sorted_types, known.added):
            raise CliError(
                f"this key was admitted at log index {known.added}, for other types, or has ended since"
            )
        self._settle(issuer)
        return known.added

    def retire_key(self, issuer: str, key_id: bytes) -> int:
        """End a key's use: what it signed so far keeps counting. Returns the event's log index."""
        from ledger.licences.events import Kind

        return self._end(Kind.KEY_RETIRE, issuer, key_id)

    def compromise_key(self, issuer: str, key_id: bytes) -> int:
        """Say that a key is in other hands: what is logged from here on does not count. Returns the event's log index."""
        from ledger.licences.events import Kind

        return self._end(Kind.KEY_COMPROMISE, issuer, key_id)

    def spans(self, issuer: str) -> list[KeySpan]:
        """Return the keys that this registrar admitted for an issuer, in log order."""
        from ledger.licences.issuers import KeySpan

        known = read_json(self._record) if self._record.exists() else {}
        try:
            return [KeySpan.from_json(span) for span in known.get(issuer, [])]
        except LedgerError as err:
            raise CliError(f"{self._record}: {err}") from err

    def publish_history(self, issuer: str) -> None:
        """Sign an issuer's whole history as of the log's present size, and hand it in."""
        from ledger.licences.issuers import IssuerHistory
        from ledger.log.checkpoint import Checkpoint
        from ledger.log.notes import SignedNote

        now = int(self._now_s())
        try:
            checkpoint = Checkpoint.parse(SignedNote.parse(self.client.checkpoint(is_cosigned=False)).text)
            history = IssuerHistory(
                issuer=issuer,
                origin=self.origin,
                size=checkpoint.size,
                issued_at=now,
                expires_at=now + HISTORY_AGE_S,
                keys=tuple(self.spans(issuer)),
            )
        except LedgerError as err:
            raise CliError(f"history of {issuer}: {err}") from err
        self.client.publish_history(history.sign(self.key))

    def issuers(self) -> list[str]:
        """Return the issuers on record."""
        return sorted(read_json(self._record)) if self._record.exists() else []

    def attend(self, known_size: int) -> int:
        """Sign every issuer's history anew if the log has grown: a licence counts once a history reaches over its leaf.

        Args:
            known_size: what the last call returned; 0 at first.

        Returns:
            The log's size that the histories are of now.
        """
        from ledger.log.checkpoint import Checkpoint
        from ledger.log.notes import SignedNote

        try:
            size = Checkpoint.parse(SignedNote.parse(self.client.checkpoint(is_cosigned=False)).text).size
        except LedgerError as err:
            raise CliError(f"checkpoint of {self.origin}: {err}") from err
        if size > known_size:
            for issuer in self.issuers():
                self.publish_history(issuer)
        return size

    def recognise(self, other: City, checkpoint: str, types: Sequence[str]) -> Receipt:
        """Recognise another city's log for some licence types, in the log and in the registry; again to renew it.

        Args:
            other: the city as it published itself, got by a way that the registrar trusts.
            checkpoint: of its log, with the cosignatures of its quorum.
            types: licence types.
        """
        from ledger.licences.events import Recognition, make_event
        from ledger.log.checkpoint import verify_checkpoint

        now = int(self._now_s())
        try:
            chosen = tuple(sorted(set(types)))
            city = replace(other, types=chosen)
            seen = verify_checkpoint(checkpoint, origin=city.origin, log_key=city.log_key, quorum=city.quorum)
            event = Recognition(
                event_id=secrets.token_bytes(16),
                issued_at=now,
                expires_at=now + RECOGNITION_AGE_S,
                origin=self.origin,
                city=city,
                size=seen.checkpoint.size,
                root=seen.checkpoint.root,
            )
        except LedgerError as err:
            raise CliError(f"recognition: {err}") from err
        receipt = self.client.submit(make_event(event, self.key))
        known = read_json(self._cities) if self._cities.exists() else {}
        former = known.get(city.origin, [])
        # types that are no longer recognised stay on record until the registry has them withdrawn
        write_json(self._cities, {**known, city.origin: sorted({*former, *chosen})})
        if self._registry is not None:
            self._registry.settle_city(self.origin, city.origin, chosen, former)
            write_json(self._cities, {**known, city.origin: list(chosen)})
        return receipt

    def _end(self, kind: Kind, issuer: str, key_id: bytes) -> int:
        from ledger.licences.events import Kind

        spans = self.spans(issuer)
        known = next((span for span in spans if span.public.key_id == key_id), None)
        if known is None:
            raise CliError(f"{issuer} has no such key on record")
        is_retired = kind is Kind.KEY_RETIRE
        index = known.retired if is_retired else known.compromised
        if index is None:
            index = self._log(kind, issuer, key=key_id).index
            ended = replace(known, retired=index) if is_retired else replace(known, compromised=index)
            self._keep(issuer, [ended if span is known else span for span in spans])
        self._settle(issuer)
        return index

    def _settle(self, issuer: str) -> None:
        """Publish an issuer's history, and bring the registry to what the record says."""
        self.publish_history(issuer)
        if self._registry is not None:
            self._registry.settle(self.origin, issuer, self.spans(issuer))

    def _keep(self, issuer: str, spans: Sequence[KeySpan]) -> None:
        known = read_json(self._record) if self._record.exists() else {}
        write_json(self._record, {**known, issuer: [span.to_json() for span in spans]})

    def _log(self, kind: Kind, issuer: str, **members: Any) -> Receipt:
        from ledger.licences.events import KeyEvent, make_event

        try:
            event = KeyEvent(
                kind=kind,
                event_id=secrets.token_bytes(16),
                issued_at=int(self._now_s()),
                origin=self.origin,
                issuer=issuer,
                **members,
            )
        except LedgerError as err:
            raise CliError(f"key event: {err}") from err
        return self.client.submit(make_event(event, self.key))
