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
    from ledger.licences.events import Kind
    from ledger.licences.issuers import KeySpan
    from ledger.licences.keys import PublicKey, SigningKey
    from ledger.licences.policy import City

HISTORY_AGE_S: Final = 7 * 86_400
RECOGNITION_AGE_S: Final = 366 * 86_400


class Registrar:
    """The registrar of one city.

    Args:
        folder: of its record, `issuers.json`.
        key: the registrar's.
        client: of the city's service.
        now_s: clock, Unix seconds.

    Raises:
        CliError: from each method, when the service refuses.
    """

    def __init__(
        self, folder: Path, key: SigningKey, client: CityClient, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._record, self.key, self.client, self._now_s = folder / "issuers.json", key, client, now_s
        self.origin = client.origin

    def add_key(self, issuer: str, public: PublicKey, types: Sequence[str]) -> Receipt:
        """Let a key sign an issuer's licences of some types, and publish the issuer's history.

        Args:
            issuer: unified social credit code.
            public: the key.
            types: licence types.
        """
        from ledger.licences.events import Kind
        from ledger.licences.issuers import KeySpan

        sorted_types = tuple(sorted(set(types)))
        receipt = self._log(Kind.KEY_ADD, issuer, public=public, types=sorted_types)
        self._keep(issuer, [*self.spans(issuer), KeySpan(public, sorted_types, receipt.index)])
        self.publish_history(issuer)
        return receipt

    def retire_key(self, issuer: str, key_id: bytes) -> Receipt:
        """End a key's use: what it signed so far keeps counting."""
        from ledger.licences.events import Kind

        return self._end(Kind.KEY_RETIRE, issuer, key_id)

    def compromise_key(self, issuer: str, key_id: bytes) -> Receipt:
        """Say that a key is in other hands: what is logged from here on does not count."""
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
        """Recognise another city's log for some licence types.

        Args:
            other: the city as it published itself, got by a way that the registrar trusts.
            checkpoint: of its log, with the cosignatures of its quorum.
            types: licence types.
        """
        from ledger.licences.events import Recognition, make_event
        from ledger.log.checkpoint import verify_checkpoint

        now = int(self._now_s())
        try:
            city = replace(other, types=tuple(sorted(set(types))))
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
        return self.client.submit(make_event(event, self.key))

    def _end(self, kind: Kind, issuer: str, key_id: bytes) -> Receipt:
        from ledger.licences.events import Kind

        spans = self.spans(issuer)
        if not any(span.public.key_id == key_id for span in spans):
            raise CliError(f"{issuer} has no such key on record")
        receipt = self._log(kind, issuer, key=key_id)

        def ended(span: KeySpan) -> KeySpan:
            if span.public.key_id != key_id:
                return span
            if kind is Kind.KEY_RETIRE:
                return replace(span, retired=receipt.index)
            return replace(span, compromised=receipt.index)

        self._keep(issuer, [ended(span) for span in spans])
        self.publish_history(issuer)
        return receipt

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
