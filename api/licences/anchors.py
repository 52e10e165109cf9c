"""Anchoring of one log by its service: the operator's account sends, the witnesses attest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from api.licences.settings import CitySettings
from ledger.anchors.contract import LogAnchorContract
from ledger.chain import Chain
from ledger.database import make_engine
from ledger.encoding import address_from_hex, to_hex
from ledger.errors import MalformedValue
from ledger.licences.anchoring import Anchorer, AttestedBy, Attester
from ledger.licences.attest import AnchorStatement
from ledger.licences.book import LicenceBook
from ledger.licences.publish import Publisher
from ledger.licences.store import AnchorRow
from ledger.log.checkpoint import Checkpoint
from ledger.log.errors import NoteMalformed, WitnessRefused
from ledger.log.notes import NoteSignature, SignedNote
from ledger.log.witness_client import Post
from ledger.signing import Signer
from ledger.store import create_tables
from ledger.submitter import Submitter

LISTED_MAX: Final = 100


class Anchors:
    """The anchors of one book.

    Args:
        book, publisher: of the log.
        operator: the account that LogAnchor takes heads from.
        settings: of the city, with its anchor.
        post: reaches the witnesses.
        now_s: clock, Unix seconds.

    Raises:
        MalformedValue: the settings name no anchor.
        DatabaseError: the submitter's journal cannot be used.
    """

    def __init__(
        self,
        book: LicenceBook,
        publisher: Publisher,
        operator: Signer,
        settings: CitySettings,
        *,
        post: Post,
        now_s: Callable[[], float],
    ) -> None:
        if settings.anchor is None:
            raise MalformedValue("anchor", "the log's contract", "none")
        self._book, self._now_s = book, now_s
        self._chain = Chain(settings.anchor.rpc_url)
        self._engine = make_engine(f"sqlite:///{book.folder.root / 'chain.db'}")
        create_tables(self._engine)
        contract = LogAnchorContract(self._chain, address_from_hex(settings.anchor.contract))
        witnesses = [_attester(post, witness.url) for witness in settings.witnesses]
        self._anchorer = Anchorer(
            book,
            publisher,
            submitter=Submitter(self._engine, self._chain, operator),
            contract=contract,
            evidence=AttestedBy(contract, witnesses, settings.threshold),
            every_s=int(settings.pace.anchor_s),
        )
        self._wanted = threading.Event()

    def want(self) -> None:
        """Have the next look anchor the newest cosigned head."""
        self._wanted.set()

    def look(self) -> None:
        """Do what is due: follow an anchor on its way, gather evidence, begin the next.

        Raises:
            LedgerError: the chain is away, or holds another history.
        """
        wanted = self._wanted.is_set()
        self._wanted.clear()
        try:
            self._anchorer.tick(int(self._now_s()), wanted=wanted)
        except BaseException:
            if wanted:
                self._wanted.set()
            raise

    def require_chain(self) -> None:
        """Require that the chain answers, if an anchor waits for it.

        Raises:
            ChainUnreachable: it does not.
        """
        if self._book.store.anchors_in("open"):
            self._chain.block_number()

    def is_settled(self) -> bool:
        """Say whether the newest cosigned head is on the chain and final, and nothing is on its way."""
        note, row = self._book.log.cosigned(), self._book.store.newest_anchor()
        if note is None:
            return True
        size = Checkpoint.parse(SignedNote.parse(note).text).size
        return row is not None and row.size == size and not self._book.store.anchors_in("open")

    def listed(self) -> list[dict[str, Any]]:
        """Return the newest anchors, newest first."""
        store = self._book.store
        rows = [*store.anchors_in("final")[-LISTED_MAX:], *store.anchors_in("open")]
        return [_anchor_json(row) for row in reversed(rows)]

    def close(self) -> None:
        """Close the connections."""
        self._chain.close()
        self._engine.dispose()


def _attester(post: Post, url: str) -> Attester:
    def attest(statement: AnchorStatement) -> NoteSignature:
        status, body = post(url.rstrip("/") + "/attest", statement.to_text().encode())
        if status != 200:
            raise WitnessRefused("attest", status, "the witness does not attest the head")
        try:
            return NoteSignature.parse(body.decode("utf-8").rstrip("\n"))
        except UnicodeDecodeError as err:
            raise NoteMalformed("answer of a witness: expected UTF-8") from err

    return attest


def _anchor_json(row: AnchorRow) -> dict[str, Any]:
    return {
        "state": row.state,
        "size": str(row.size),
        "root": row.root.hex(),
        "status_root": row.status_root.hex(),
        "transaction": None if row.tx_hash is None else to_hex(row.tx_hash),
        "block": row.block,
        "has_evidence": row.evidence is not None,
    }
