"""What an issuer gets back of its own licences: one credential, or all of them in parts.

A credential has the salted disclosures, which are personal data: nobody else gets one, one that is handed out alone leaves an access
record that its holder lists, and one that was erased is gone for its issuer too.

Source: docs/licence.md §12, §13.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog

from api.errors import LicenceRequestRejected, LineMalformed
from api.licences.signed import SignedRequest
from ledger.licences.access import SALT_SIZE, AccessWriter, Use, make_record
from ledger.licences.book import LicenceBook
from ledger.licences.errors import EventRefused, LicenceUnknown
from ledger.licences.identifiers import issuer_urn, parse_issuer_urn
from ledger.licences.state import Standing
from ledger.log.tiles import TILE_WIDTH

PART_ENTRIES: Final = 1 << 16  # entries of the log that one signed request looks through
_INDEX_DIGITS: Final = 15
_log = structlog.get_logger("api.licences")


class OwnLicences:
    """Hands out the credentials of one book to their issuers.

    Args:
        book: open for writing.
        access: takes the records of what was handed out.
        now_s: clock, Unix seconds.
        part_entries: how far one part of an export goes, a multiple of 256.
    """

    def __init__(
        self,
        book: LicenceBook,
        access: AccessWriter,
        *,
        now_s: Callable[[], float],
        part_entries: int = PART_ENTRIES,
    ) -> None:
        self._book, self._access, self._now_s, self._part_entries = book, access, now_s, part_entries

    def standing(self, asked: SignedRequest, lic: str) -> Standing:
        """Return a licence of the issuer that asks.

        Args:
            asked: its request.
            lic: hex of the issue's leaf hash.

        Raises:
            LicenceRequestRejected: `lic` is none.
            LicenceUnknown: the log has no such issue.
            EventRefused: the licence is of another issuer.
        """
        try:
            leaf_hash = bytes.fromhex(lic)
        except ValueError as err:
            raise LicenceRequestRejected("arguments", "expected hex in 'lic'") from err
        standing = self._book.state.issue_of(leaf_hash)
        if standing is None:
            raise LicenceUnknown("the log has no issue with this leaf hash")
        row = self._book.state.keys.get(standing.leaf.key_id)
        if row is None or issuer_urn(row.issuer) != asked.issuer:
            raise EventRefused("issuer", "the licence is of another issuer")
        return standing

    def fetch(self, asked: SignedRequest, lic: str) -> dict[str, Any]:
        """Return a credential with all its disclosures; the record that its issuer has it is durable before.

        Args:
            asked, lic: as `standing`.

        Raises:
            PrivateRecordErased: the credential was destroyed.
            LicenceRequestRejected, LicenceUnknown, EventRefused: as `standing`.
            BookError: the record cannot be written, so the credential stays here.
        """
        standing = self.standing(asked, lic)
        credential = self._book.credential(standing.leaf_index)
        now_s, salt = int(self._now_s()), secrets.token_bytes(SALT_SIZE)
        record = make_record(
            standing.leaf_hash, audience=asked.issuer, use=Use.UNKNOWN, now_s=now_s, salt=salt
        )
        self._access.add(standing.leaf_index, record, salt)
        _log.info("licence_fetched", issuer=parse_issuer_urn(asked.issuer))
        return {**standing_json(standing), "credential": credential}

    def part(self, asked: SignedRequest, first: str) -> Iterator[bytes]:
        """Return the lines of one part of an export, a bundle of the log at a time.

        Args:
            asked: the issuer's request.
            first: log index of the first entry that is looked at, in decimal.

        Returns:
            Lines of licences `{"index","leaf","status","credential"}` (null where it was destroyed), ascending by index; the last line
            is `{"next","size"}`: where the next part begins, and where the log ends.

        Raises:
            Malformed: the request is no department's.
            LineMalformed: `first` is no index of the log.
        """
        uscc, size = parse_issuer_urn(asked.issuer), self._book.state.size
        if not (first.isascii() and first.isdigit() and len(first) <= _INDEX_DIGITS and int(first) <= size):
            raise LineMalformed(f"an index in [0, {size}] in 'from'")
        begin = int(first) // TILE_WIDTH
        end = min(size, begin * TILE_WIDTH + self._part_entries)
        _log.info("licences_exported", issuer=uscc, first=int(first), end=end)
        return self._lines(uscc, int(first), end, size)

    def _lines(self, uscc: str, first: int, end: int, size: int) -> Iterator[bytes]:
        keys = frozenset(row.key_id for row in list(self._book.state.keys.values()) if row.issuer == uscc)
        for n in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            kept = self._book.issues_in(n, keys)
            lines = [
                _line({**standing_json(each.standing), "credential": each.credential})
                for each in kept
                if first <= each.standing.leaf_index < end
            ]
            yield b"".join(lines)
        yield _line({"next": str(end), "size": str(size)})


def standing_json(standing: Standing) -> dict[str, Any]:
    """Return where a licence stands, as its issuer is told it."""
    return {
        "index": str(standing.leaf_index),
        "leaf": standing.leaf_hash.hex(),
        "status": {"list": standing.number, "index": standing.index, "code": standing.code},
    }


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
