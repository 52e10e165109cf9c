"""What the service publishes of the book: signed status lists, issuer histories, and checkpoints with their cosignatures.

A status token is made only when its list has changed or the last one is getting old; each is archived under its digest before it
is logged, so the status at any past time can be proved. An issuer history is the registrar's to sign: the book says what it must
contain, and takes back what is signed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.errors import LedgerError
from ledger.licences.book import LicenceBook
from ledger.licences.encoding import day_of
from ledger.licences.errors import BookDamaged, EventRefused, FactsMissing
from ledger.licences.issuers import IssuerHistory, KeySpan, open_history
from ledger.licences.keys import SigningKey
from ledger.licences.layout import put_file
from ledger.licences.status import (
    StatusBits,
    StatusClaims,
    StatusToken,
    bitstring_credential,
    parse_status_token,
    status_root,
    status_token,
)
from ledger.licences.store import HistoryRow, StatusRow
from ledger.log.checkpoint import Checkpoint, Quorum
from ledger.log.notes import SignedNote
from ledger.log.witness_client import WitnessClient

Rand = Callable[[int], bytes]
STATUS_LIFETIME_S: Final = 172_800
STATUS_TTL_S: Final = 86_400
STATUS_RENEW_S: Final = 21_600
HISTORY_LIFETIME_S: Final = 14 * 86_400
HISTORY_RENEW_S: Final = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Timing:
    """How long what is published lasts, and when it is renewed.

    Args:
        status_lifetime_s: from a status token's `iat` to its `exp`.
        status_ttl_s: its `ttl`.
        status_renew_s: its age at which it is renewed though the list has not changed.
        history_lifetime_s, history_renew_s: the same for issuer histories.
    """

    status_lifetime_s: int = STATUS_LIFETIME_S
    status_ttl_s: int = STATUS_TTL_S
    status_renew_s: int = STATUS_RENEW_S
    history_lifetime_s: int = HISTORY_LIFETIME_S
    history_renew_s: int = HISTORY_RENEW_S


class Publisher:
    """Publishes one book.

    Args:
        book: open for writing.
        service: the service's key.
        rand: the system's randomness.
        timing: how long what is published lasts.
    """

    def __init__(
        self, book: LicenceBook, service: SigningKey, *, rand: Rand, timing: Timing | None = None
    ) -> None:
        if service.public != book.parties.service:
            raise EventRefused("key", "the key is not the service's that the book was created with")
        self._book, self._service, self._rand = book, service, rand
        self._timing = timing or Timing()
        self._issued_at: dict[bytes, int] = {}  # of archived tokens, by digest

    # --- status lists ------------------------------------------------------------------------------------

    def publish_statuses(self, now_s: int, *, everything: bool = False) -> list[int]:
        """Publish the lists that changed or whose token is getting old; return the log indexes of the new tokens.

        Args:
            now_s: Unix seconds.
            everything: publish all lists.

        Raises:
            LogError, DatabaseError, BookFull: call again; what was logged is not logged twice.
        """
        book = self._book
        with book.writing():  # a token's bits are the state's at its own position of the log
            newest = {row.number: row for row in book.store.newest_statuses(book.size)}
            due = [
                n
                for n in book.state.slots.known_lists()
                if everything or self._is_due(newest.get(n), n, now_s)
            ]
            made = [(number, *self._token(number, now_s)) for number in due]
            for _, _, _, text in made:
                put_file(book.folder.archived_token(_digest(text)), text.encode("ascii"))
            answers = book.submit_all([text for _, _, _, text in made], now_s=now_s)
        indexes = []
        for (number, bits, claims, text), answer in zip(made, answers, strict=True):
            if isinstance(answer, LedgerError):
                raise answer
            indexes.append(answer.index)
            self._put_newest(number, bits, claims, text)
        return indexes

    def repair(self) -> None:
        """Put the newest token of each list in place again, where a crash came between the log and the file.

        Raises:
            BookDamaged: an archived token is missing or altered.
        """
        for row in self._book.store.newest_statuses(self._book.size):
            path = self._book.folder.status_token(row.number)
            if not path.exists() or hashlib.sha256(path.read_bytes()).digest() != row.token:
                token = self.token_of(row)
                self._put_newest(row.number, token.bits(), token.claims, token.jws.text)

    def token_of(self, row: StatusRow) -> StatusToken:
        """Return a logged token from the archive.

        Raises:
            BookDamaged: it is missing or altered.
        """
        path = self._book.folder.archived_token(row.token)
        try:
            data = path.read_bytes()
        except FileNotFoundError as err:
            raise BookDamaged(path.name, "an archived status token", "none") from err
        if not hmac.compare_digest(hashlib.sha256(data).digest(), row.token):
            raise BookDamaged(path.name, "the token that its name is the digest of", "another")
        return parse_status_token(data.decode("ascii"))

    def token_at(self, number: int, time_s: int) -> StatusToken:
        """Return the token that says a list's status at a past time: the newest with `iat` up to then.

        Raises:
            FactsMissing: none was published by then.
            BookDamaged: it is missing from the archive or altered.
        """
        for row in self._book.store.statuses_of(number, day_max=day_of(time_s)):
            token = self.token_of(row)
            if token.claims.issued_at <= time_s:
                return token
        raise FactsMissing(f"status list {number} at that time")

    def status_root(self, size: int) -> bytes:
        """Return the statusRoot among the first `size` entries. Source: docs/licence.md §6."""
        return status_root((row.number, row.token) for row in self._book.store.newest_statuses(size))

    def _is_due(self, row: StatusRow | None, number: int, now_s: int) -> bool:
        if row is None:
            return True
        bits = hashlib.sha256(self._book.state.slots.view(number).data).digest()
        return bits != row.bits or now_s - self._iat_of(row) >= self._timing.status_renew_s

    def _iat_of(self, row: StatusRow) -> int:
        issued_at = self._issued_at.get(row.token)
        if issued_at is None:
            self._issued_at = {} if len(self._issued_at) > 1 << 12 else self._issued_at
            issued_at = self._issued_at[row.token] = self.token_of(row).claims.issued_at
        return issued_at

    def _token(self, number: int, now_s: int) -> tuple[StatusBits, StatusClaims, str]:
        bits = StatusBits(self._book.state.slots.bits(number))
        claims = StatusClaims(
            origin=self._book.parties.origin,
            list=number,
            event_id=self._rand(16),
            issued_at=now_s,
            expires_at=now_s + self._timing.status_lifetime_s,
            ttl_s=self._timing.status_ttl_s,
        )
        return bits, claims, status_token(bits, claims, self._service)

    def _put_newest(self, number: int, bits: StatusBits, claims: StatusClaims, text: str) -> None:
        folder = self._book.folder
        put_file(folder.status_w3c(number), bitstring_credential(bits, claims, self._service).encode("ascii"))
        put_file(folder.status_token(number), text.encode("ascii"))

    # --- issuer histories --------------------------------------------------------------------------------

    def histories_due(self, now_s: int) -> list[str]:
        """Return the issuers whose history is missing, lacks a key event or a licence, or is getting old, in order.

        A history of size n vouches for the issuer's licences below n, so that new licences need a newer one.
        """
        return [issuer for issuer in self._issuers() if self._is_history_due(issuer, now_s)]

    def history_for(self, issuer: str, now_s: int) -> IssuerHistory:
        """Return what the registrar is to sign: the issuer's keys as the log has them now.

        Raises:
            FactsMissing: the log has no key of this issuer.
        """
        with self._book.writing():
            size = self._book.size
            spans = self._spans(issuer, size)
        if not spans:
            raise FactsMissing(f"a key of the issuer {issuer}")
        expires_at = now_s + self._timing.history_lifetime_s
        return IssuerHistory(issuer, self._book.parties.origin, size, now_s, expires_at, spans)

    def accept_history(self, text: str, now_s: int) -> IssuerHistory:
        """Publish an issuer history that the registrar signed.

        Args:
            text: the JWS.
            now_s: Unix seconds.

        Raises:
            EventRefused: it is of another log, over, older than the published one, or says something else than the log.
            LicenceError: it is malformed or not signed by the registrar.
        """
        history = open_history(text, self._book.parties.registrar)
        known = self._book.store.history(history.issuer)
        if history.origin != self._book.parties.origin or history.size > self._book.size:
            raise EventRefused("history", "the history is of another log, or of a larger size than this one")
        if history.expires_at <= now_s or (known is not None and history.size < known.size):
            raise EventRefused("history", "the history is over, or older than the published one")
        if history.keys != self._spans(history.issuer, history.size):
            raise EventRefused("history", "the history's keys are not those that the log has at its size")
        self._book.store.put_history(HistoryRow(history.issuer, history.size, history.expires_at, text))
        put_file(self._book.folder.history(history.issuer), text.encode("ascii"))
        return history

    def publish_histories(self, registrar: SigningKey, now_s: int) -> list[str]:
        """Sign and publish all histories that are due, where the registrar's key is at hand; return the issuers."""
        due = self.histories_due(now_s)
        for issuer in due:
            self.accept_history(self.history_for(issuer, now_s).sign(registrar), now_s)
        return due

    def _issuers(self) -> list[str]:
        return sorted({row.issuer for row in self._book.state.keys.values()})

    def _spans(self, issuer: str, size: int) -> tuple[KeySpan, ...]:
        """Return the issuer's keys among the first `size` entries."""
        rows = sorted(
            (row for row in self._book.state.keys.values() if row.issuer == issuer and row.added < size),
            key=lambda row: row.added,
        )
        spans = []
        for row in rows:
            public = self._book.state.public_key(row.key_id)
            if public is None:
                raise BookDamaged("issuer keys", "a key for every key id", "none")
            ends = [at if at is not None and at < size else None for at in (row.retired, row.compromised)]
            spans.append(KeySpan(public, row.types, row.added, *ends))
        return tuple(spans)

    def _is_history_due(self, issuer: str, now_s: int) -> bool:
        known = self._book.store.history(issuer)
        if (
            known is None
            or known.expires_at - now_s < self._timing.history_lifetime_s - self._timing.history_renew_s
        ):
            return True
        rows = [row for row in self._book.state.keys.values() if row.issuer == issuer]
        events = [at for row in rows for at in (row.added, row.retired, row.compromised) if at is not None]
        issues = [self._book.state.last_issue(row.key_id) for row in rows]
        return max([*events, *issues]) >= known.size

    # --- checkpoints -------------------------------------------------------------------------------------

    def cosign(self, witnesses: WitnessClient, quorum: Quorum) -> Checkpoint:
        """Have the newest checkpoint cosigned, and publish it.

        Args:
            witnesses: the client that asks them.
            quorum: which count, and how many are needed.

        Raises:
            CosignatureMissing: too few answered; call again.
            LogError: as `Log.publish_cosigned`.
        """
        gathered = witnesses.gather(self._book.log.checkpoint_text)
        self._book.log.publish_cosigned(gathered.note, quorum=quorum)
        return Checkpoint.parse(SignedNote.parse(gathered.note).text)

    def is_cosigned(self) -> bool:
        """Say whether the newest checkpoint has its quorum."""
        note = self._book.log.cosigned()
        return note is not None and Checkpoint.parse(SignedNote.parse(note).text).size == self._book.size


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("ascii")).digest()
