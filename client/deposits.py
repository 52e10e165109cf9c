"""Answers over an encrypted deposit: what the trustees sent beside the sum is fetched, checked against the chain and decrypted.

The sum itself has only keys. Under them are the trustees' partial decryptions; t good ones give the values, and whoever sent
a bad one is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from client.errors import AnswerMismatch, AnswerWithheld, ReceiptContradicted
from client.market import Market
from ledger.receipt import Carried, ReceiptDeposit
from ledger.types import Address, to_hex
from privacy.errors import PrivacyError, ProtocolError
from privacy.messages import Kind, decode_frames, message_hash
from privacy.payloads import split_rider

if TYPE_CHECKING:
    from client.answering import AnsweredRequest
    from ledger.receipt import Receipt
    from privacy.deposit.opening import Opening
    from privacy.plan import Plan
    from privacy.session import Session


@dataclass(frozen=True, slots=True)
class DecryptedAnswer:
    """What partial decryptions give.

    Attributes:
        evidence: the messages they came in, and the values.
        contributors: how many trustees' noise is in each value.
        faults: what was wrong with trustees, each naming its account; those that were lost are among them.
    """

    evidence: ReceiptDeposit = field(repr=False)
    contributors: int
    faults: tuple[str, ...]


class Deposits:
    """Decrypts answers for their buyer.

    Args:
        market: which passes on what the trustees sent.
        cache: a directory for the table of logarithms; None to make it anew each time.
    """

    def __init__(self, market: Market, cache: Path | None) -> None:
        self._market, self._cache = market, cache

    def decrypt(self, answered: AnsweredRequest, cells: tuple[int, ...]) -> DecryptedAnswer:
        """Return the values of an answered request.

        Args:
            answered: the request.
            cells: of its sum, without pads.

        Raises:
            AnswerWithheld: the exchange does not give out a message whose hash is on the chain.
            AnswerMismatch: fewer than t good partial decryptions, or a value beyond its bound.
            ExchangeUnreachable, ExchangeProblem, ExchangeReplyInvalid: not now.
        """
        from privacy.deposit import LogTable
        from privacy.deposit.logarithms import balanced_bits
        from privacy.deposit.opening import find_values
        from privacy.deposit.terms import value_bounds

        plan, facts = answered.plan, answered.facts
        shared = {holder: bytes(event.bundle_hash) for holder, event in facts.shared().items()}
        contributed = {holder: bytes(event.input_hash) for holder, event in facts.contributed().items()}
        bundles = self._payloads(answered, Kind.BUNDLE, shared)
        inputs = self._payloads(answered, Kind.MASKED_INPUT, contributed)
        evidence = ReceiptDeposit(_carried(bundles), _carried(inputs), ())
        try:
            opening = open_evidence(plan, answered.session, cells, evidence)
            bits = balanced_bits(max(value_bounds(plan)), plan.values)
            table = LogTable.make(bits) if self._cache is None else LogTable.kept(bits, self._cache)
            values = find_values(plan, opening, table)
        except PrivacyError as err:
            raise AnswerMismatch(f"the answer cannot be decrypted: {err}") from err
        evidence = ReceiptDeposit(evidence.bundles, evidence.inputs, tuple(values))
        return _decrypted(plan, answered.session, evidence, opening)

    def _payloads(
        self, answered: AnsweredRequest, kind: Kind, expected: Mapping[Address, bytes]
    ) -> dict[int, bytes]:
        """Return the payloads of one kind, each with the hash that its sender put on the chain."""
        session = answered.session
        wanted = {session.index_of(holder): digest for holder, digest in expected.items()}
        found = {}
        try:
            for frame in decode_frames(self._market.messages(answered.stored.request_id, kind)):
                if frame.kind is kind and frame.message_hash == wanted.get(frame.sender):
                    found[frame.sender] = frame.payload
        except ProtocolError as err:
            raise AnswerWithheld(f"the exchange gave no frames: {err}") from err
        missing = sorted(wanted.keys() - found.keys())
        if missing:
            holder = to_hex(session.members[missing[0]].holder)
            raise AnswerWithheld(f"the exchange does not give out the {kind.name.lower()} of {holder}")
        return found


def open_evidence(plan: Plan, session: Session, cells: tuple[int, ...], evidence: ReceiptDeposit) -> Opening:
    """Check partial decryptions and combine them.

    Raises:
        PrivacyError: they are malformed, or fewer than t of them are good.
    """
    from privacy.deposit.opening import open_riders

    bundles, inputs = riders_of(plan, evidence)
    return open_riders(plan, session, cells, bundles, inputs)


def riders_of(plan: Plan, evidence: ReceiptDeposit) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return what rode behind the bundles and behind the masked vectors, by roster index.

    Raises:
        PayloadMalformed: a payload is shorter than its rider.
    """
    bundles, inputs = (
        {each.index: split_rider(each.payload, size, sender=each.index)[1] for each in carried}
        for carried, size in (
            (evidence.bundles, plan.bundle_rider_size),
            (evidence.inputs, plan.input_rider_size),
        )
    )
    return bundles, inputs


def verify_evidence(receipt: Receipt, plan: Plan, session: Session) -> DecryptedAnswer:
    """Verify that a receipt's values are what its messages decrypt to; that the bundles are the chain's is verified there.

    Raises:
        ReceiptContradicted: the inputs are not those of the survivors.
        PrivacyError: the messages give other values, or none.
    """
    from privacy.deposit.opening import require_values

    evidence = require_evidence(receipt, session)
    opening = open_evidence(plan, session, receipt.answer.cells, evidence)
    require_values(plan, opening, evidence.values)
    return _decrypted(plan, session, evidence, opening)


def lost_trustees(plan: Plan, session: Session, evidence: ReceiptDeposit) -> list[str]:
    """Name the planned trustees that were not there to the end: the answer stands without them.

    Args:
        plan: its assets are of all that were asked.
        session: its roster is all that approved.
        evidence: messages of those that shared, and of those that contributed.
    """
    shared = {each.index for each in evidence.bundles}
    contributed = {each.index for each in evidence.inputs}
    approved = {bytes(member.holder) for member in session.members}
    absent = [asset.holder for asset in plan.assets if bytes(asset.holder) not in approved]
    lost = [f"trustee {to_hex(Address(holder))}: lost: it did not approve" for holder in absent]
    for index, member in enumerate(session.members):
        if index not in contributed:
            since = (
                "it shared, and then did not contribute"
                if index in shared
                else "it approved, and never shared"
            )
            lost.append(f"trustee {to_hex(Address(member.holder))}: lost: {since}")
    return lost


def _decrypted(plan: Plan, session: Session, evidence: ReceiptDeposit, opening: Opening) -> DecryptedAnswer:
    faults = (*map(str, opening.faults), *lost_trustees(plan, session, evidence))
    return DecryptedAnswer(evidence, opening.contributors, faults)


def require_evidence(receipt: Receipt, session: Session) -> ReceiptDeposit:
    """Return the messages of a receipt, whose inputs have the hashes of the survivors' contributions.

    Raises:
        ReceiptContradicted: they have not, or some are missing.
    """
    evidence = receipt.deposit
    if evidence is None:
        raise ReceiptContradicted("the plan is over an encrypted deposit, and the receipt decrypts nothing")
    hashes = {survivor.index: survivor.input_hash for survivor in receipt.survivors}
    found = {
        each.index: message_hash(Kind.MASKED_INPUT, session.id, each.index, each.payload)
        for each in evidence.inputs
    }
    if found != hashes:
        raise ReceiptContradicted("the receipt's inputs are not those that the survivors contributed")
    return evidence


def _carried(payloads: Mapping[int, bytes]) -> tuple[Carried, ...]:
    return tuple(Carried(index, payload) for index, payload in sorted(payloads.items()))
