"""Anchors of the log: its cosigned heads go on the chain, every ten minutes and on demand, and evidence comes back.

One anchor is on its way at a time, since each proves that it extends the last one. While the chain is down only the newest is
kept: an older one that was never signed is given up for it. What an anchor starts from is the chain's own head, or the last final
anchor while the chain cannot say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.errors import AnchorError
from ledger.anchors.proof import collect
from ledger.anchors.types import EMPTY_ROOT, AnchorHead
from ledger.chain import Chain
from ledger.errors import (
    ChainError,
    ChainUnreachable,
    ContractReverted,
    IntentAbandoned,
    IntentInFlight,
    IntentUnknown,
    SubmitTimeout,
)
from ledger.licences.attest import AnchorStatement, attest, attested_evidence, proved_evidence
from ledger.licences.book import LicenceBook
from ledger.licences.encoding import canonical
from ledger.licences.errors import AnchorRefused
from ledger.licences.publish import Publisher
from ledger.licences.store import AnchorRow
from ledger.log.checkpoint import Checkpoint
from ledger.log.errors import LogError
from ledger.log.notes import NoteSignature, NoteSigner, SignedNote
from ledger.log.tiles import consistency_proof, root_at
from ledger.submitter import Submitter
from ledger.types import Call, Digest, to_hex

ANCHOR_EVERY_S: Final = 600
Attester = Callable[
    [AnchorStatement], NoteSignature
]  # a witness; raises LogError or ChainError when it does not sign


def attest_head(chain: Chain, statement: AnchorStatement, signer: NoteSigner) -> NoteSignature:
    """Sign, as a witness, that the chain has a head of the log, after looking at one's own node.

    Args:
        chain: the witness's own node.
        statement: what it is asked to sign.
        signer: the witness's, of the plain note algorithm (0x01).

    Raises:
        AnchorRefused: the node has another chain, block or head.
        ChainError: the node does not answer, or has no such contract.
        NoteMalformed: the signer is a cosigner's.
    """
    chain_id = chain.chain_id()
    if chain_id != statement.chain_id:
        raise AnchorRefused(f"the statement is about chain {statement.chain_id}, this node serves {chain_id}")
    block = chain.block(statement.block)
    if block is None or block.hash != statement.block_hash or block.timestamp != statement.time_s:
        raise AnchorRefused(f"this node's block {statement.block} is another than the statement's")
    head = LogAnchorContract(chain, statement.contract).head(statement.block)
    if (head.size, head.root, head.status_root) != (statement.size, statement.root, statement.status_root):
        raise AnchorRefused(f"the contract holds a head of {head.size} entries there, not the statement's")
    return attest(statement, signer)


@dataclass(frozen=True, slots=True)
class AttestedBy:
    """Evidence of kind `attested`: asks witnesses to say what they see on the chain.

    Args:
        contract: LogAnchor, on this service's own node.
        witnesses: whom to ask.
        quorum: how many must sign.
    """

    contract: LogAnchorContract
    witnesses: Sequence[Attester]
    quorum: int

    def __call__(self, row: AnchorRow) -> dict[str, Any] | None:
        """Return the evidence for a final anchor, None while too few sign."""
        statement = self.statement(row)
        if statement is None:
            return None
        signed = []
        for witness in self.witnesses:
            try:
                signed.append(witness(statement))
            except (LogError, ChainError, AnchorRefused):
                continue  # the others may be enough
        return attested_evidence(statement, signed) if len(signed) >= self.quorum else None

    def statement(self, row: AnchorRow) -> AnchorStatement | None:
        """Return what the chain says of an anchor's block, None if it is not there any more."""
        chain = self.contract.chain
        block = None if row.block is None else chain.block(row.block)
        if block is None:
            return None
        return AnchorStatement(
            chain_id=chain.chain_id(),
            contract=self.contract.address,
            block=block.number,
            block_hash=block.hash,
            size=row.size,
            root=row.root,
            status_root=row.status_root,
            time_s=block.timestamp,
        )


@dataclass(frozen=True, slots=True)
class ProvedBy:
    """Evidence of kind `proved`: a sealed header and the proofs of LogAnchor's slots, for a chain of the QBFT kind."""

    contract: LogAnchorContract

    def __call__(self, row: AnchorRow) -> dict[str, Any] | None:
        """Return the evidence for a final anchor, None if the node cannot prove it."""
        if row.block is None:
            return None
        try:
            return proved_evidence(collect(self.contract.chain, self.contract.address, row.block))
        except AnchorError:
            return None


class Anchorer:
    """Anchors one book's log. One thread at a time.

    Args:
        book: open for writing.
        publisher: knows the status roots.
        submitter: of the log's operator account; its tables exist.
        contract: LogAnchor.
        evidence: gathers the evidence of a final anchor, None for none.
        every_s: how often an anchor is due.
    """

    def __init__(
        self,
        book: LicenceBook,
        publisher: Publisher,
        *,
        submitter: Submitter,
        contract: LogAnchorContract,
        evidence: AttestedBy | ProvedBy | None = None,
        every_s: int = ANCHOR_EVERY_S,
    ) -> None:
        self._book, self._publisher = book, publisher
        self._submitter, self._contract = submitter, contract
        self._evidence, self._every_s = evidence, every_s
        self._anchored_at: int | None = None

    def tick(self, now_s: int, *, wanted: bool = False) -> AnchorRow | None:
        """Do what is due, and return the newest final anchor.

        Args:
            now_s: Unix seconds.
            wanted: anchor the newest cosigned checkpoint now, whether due or not.

        Raises:
            AnchorRefused: the chain holds another history than this log.
            SubmitterError: as `Submitter.wait`, except for what is not final yet.
            LogError, DatabaseError.
        """
        self._follow()
        self._gather()
        if wanted or self._anchored_at is None or now_s - self._anchored_at >= self._every_s:
            if self._anchor():
                self._anchored_at = now_s
            self._follow()
            self._gather()
        return self._book.store.newest_anchor()

    # --- what is on its way ------------------------------------------------------------------------------

    def _follow(self) -> None:
        """See what became of the anchor that is on its way."""
        store = self._book.store
        for row in store.anchors_in("open"):
            try:
                result = self._submitter.wait(row.key, 0)
            except SubmitTimeout:
                continue
            except IntentUnknown:
                self._submitter.submit(row.key, self._call(row))  # a crash came between the two stores
            except (ContractReverted, IntentAbandoned):
                store.set_anchor(row.key, state="dropped")
            else:
                store.set_anchor(row.key, state="final", tx_hash=result.tx_hash, block=result.block)

    def _gather(self) -> None:
        """Ask for the evidence of the newest final anchor, until it is there."""
        row = self._book.store.newest_anchor()
        if self._evidence is None or row is None or row.evidence is not None:
            return
        try:
            evidence = self._evidence(row)
        except ChainError:
            return
        if evidence is not None:
            self._book.store.set_anchor(row.key, evidence=canonical(evidence, "anchor").decode("utf-8"))

    # --- the next one ------------------------------------------------------------------------------------

    def _anchor(self) -> bool:
        """Hand the newest cosigned head to the submitter; False while an older one is signed and on its way."""
        note = self._book.log.cosigned()
        if note is None:
            return False
        target = Checkpoint.parse(SignedNote.parse(note).text)
        for row in self._book.store.anchors_in("open"):
            if row.size == target.size:
                return True
            try:
                self._submitter.abandon(row.key)
            except IntentInFlight:
                return False
            self._book.store.set_anchor(row.key, state="dropped")
        base = self._base()
        if base.size > target.size or (base.size, base.root) == (target.size, target.root):
            return True
        status_root = self._publisher.status_root(target.size)
        row = AnchorRow(
            self._key(), base.size, target.size, target.root, status_root, note, "open", None, None, None
        )
        self._book.store.add_anchor(row)
        self._submitter.submit(row.key, self._call(row))
        return True

    def _base(self) -> AnchorHead:
        """Return the head that the next anchor extends.

        Raises:
            AnchorRefused: the chain's head is not of this log.
        """
        try:
            head = self._contract.head()
        except ChainUnreachable:
            last = self._book.store.newest_anchor()
            if last is None:
                return AnchorHead(EMPTY_ROOT, 0, EMPTY_ROOT, 0)
            return AnchorHead(Digest(last.root), last.size, Digest(last.status_root), 0)
        log = self._book.log
        if head.size > log.size or root_at(log.reader, head.size) != head.root:
            raise AnchorRefused(
                f"the chain holds {head.size} entries with root {to_hex(head.root)}, this log of {log.size} has not"
            )
        return head

    def _call(self, row: AnchorRow) -> Call:
        proof = consistency_proof(self._book.log.reader, row.from_size, row.size) if row.from_size else []
        return self._contract.anchor_call(row.root, row.size, row.status_root, proof)

    def _key(self) -> str:
        return f"log-anchor/{self._book.parties.origin}/{self._book.store.anchor_count() + 1}"
