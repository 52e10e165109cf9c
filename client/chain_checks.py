"""Step 6 of the verification: what the receipt says against what the chain says (docs/protocol.md §7).

What the chain does not show is absent, as long as the chain does not show the answer either: the node may be behind,
reset or another one. Once it shows the answer, the request's history is complete, and what is missing then
contradicts the receipt.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import FactAbsent, ReceiptContradicted
from client.facts import ChainReader, RequestFacts, is_ledger_code, read_head, read_request
from ledger.abi import ArtifactMissing
from ledger.contracts import commitment_hash
from ledger.errors import ChainError
from ledger.receipt import Receipt, RosterMember
from ledger.types import Answered, Deployment, Digest, Opened, Sealed, Withheld, to_hex
from privacy.messages import Kind, message_hash

_ROSTER_FIELDS = tuple(name for name in RosterMember.__slots__ if name != "holder")


@dataclass(frozen=True, slots=True)
class ChainSource:
    """Where the chain's facts come from.

    Attributes:
        chain: a node that the verifier trusts; None if there is none.
        deployment: the contracts that the verifier knows to be the market's; None accepts any ledger whose
            code is ours, which then says nothing about who admitted its holders.
        confirmations: blocks that must follow the answer before it is final.
        facts: read already, by the caller itself from its own node, just now; the node is not asked again.
    """

    chain: ChainReader | None
    deployment: Deployment | None = None
    confirmations: int = 0
    facts: RequestFacts | None = None

    @classmethod
    def none(cls, deployment: Deployment | None = None) -> ChainSource:
        """Return the source of a verifier without a chain."""
        return cls(None, deployment)


def check_against_chain(
    receipt: Receipt,
    request_id: Digest,
    commitment_sum: bytes,
    source: ChainSource,
    *,
    session_id: bytes,
) -> str:
    """Compare a receipt with the chain.

    Args:
        receipt: the receipt.
        request_id: of its request.
        commitment_sum: of its survivors.
        source: the chain.
        session_id: of its roster.

    Returns:
        Where the answer is, in words.

    Raises:
        ReceiptContradicted: the chain tells another story.
        FactAbsent: no chain, an unreachable or another one, or one that does not show everything yet.
    """
    _require_deployment(receipt, source.deployment)
    facts = source.facts or _read(receipt, request_id, source)
    absent = [
        *_opened(receipt, facts),
        *_roster(receipt, facts),
        *_survivors(receipt, request_id, facts),
        *_bundles(receipt, session_id, facts),
        *_sealed(receipt, commitment_sum, facts),
    ]
    answered = facts.one(Answered)
    if answered is None:
        missing = ", ".join([*absent, "the answer's root"])
        raise FactAbsent(f"up to block {facts.final_block} the chain does not show {missing}")
    if absent:
        raise ReceiptContradicted(f"the chain shows the answer, but not {', '.join(absent)}")
    if answered.answer_root != receipt.answer.root:
        raise ReceiptContradicted(
            f"answer root: the chain has {to_hex(answered.answer_root)}, "
            f"the receipt {to_hex(receipt.answer.root)}"
        )
    after = ", later reported as withheld" if facts.one(Withheld) is not None else ""
    return f"answered in block {answered.at.block}, final at block {facts.final_block}{after}"


def _require_deployment(receipt: Receipt, deployment: Deployment | None) -> None:
    if deployment is None:
        return
    if (receipt.chain_id, receipt.ledger) != (deployment.chain_id, deployment.ledger):
        raise ReceiptContradicted(
            f"the receipt is of ledger {to_hex(receipt.ledger)} on chain {receipt.chain_id}, "
            f"the market's is {to_hex(deployment.ledger)} on chain {deployment.chain_id}"
        )


def _read(receipt: Receipt, request_id: Digest, source: ChainSource) -> RequestFacts:
    if source.chain is None:
        raise FactAbsent("no chain was given")
    try:
        head = read_head(source.chain, receipt.ledger)
        if head.chain_id != receipt.chain_id:
            raise FactAbsent(f"the node serves chain {head.chain_id}, the receipt is of {receipt.chain_id}")
        if not head.code:
            raise FactAbsent(f"the chain has no contract at {to_hex(receipt.ledger)}")
        if not is_ledger_code(head.code):
            raise ReceiptContradicted(f"the code at {to_hex(receipt.ledger)} is not the compute ledger's")
        return read_request(
            source.chain,
            receipt.ledger,
            request_id,
            from_block=0 if source.deployment is None else source.deployment.block,
            final_block=head.block - source.confirmations,
        )
    except (ChainError, ArtifactMissing) as err:
        raise FactAbsent(str(err)) from err


def _opened(receipt: Receipt, facts: RequestFacts) -> list[str]:
    opened = facts.one(Opened)
    if opened is None:
        return ["that the request was opened"]
    if (opened.request, opened.signature) != (receipt.request, receipt.request_signature):
        raise ReceiptContradicted("the request that was opened on the chain is not the receipt's")
    return []


def _roster(receipt: Receipt, facts: RequestFacts) -> list[str]:
    approved = facts.approved()
    strangers = sorted(set(approved) - {member.holder for member in receipt.roster})
    if strangers:
        raise ReceiptContradicted(f"the chain's roster has {to_hex(strangers[0])}, the receipt's has not")
    absent = []
    for index, member in enumerate(receipt.roster):
        event = approved.get(member.holder)
        if event is None:
            absent.append(f"the approval of roster[{index}]")
            continue
        for name in _ROSTER_FIELDS:
            if getattr(event, name) != getattr(member, name):
                raise ReceiptContradicted(f"roster[{index}].{name} is not what the holder approved with")
    return absent


def _survivors(receipt: Receipt, request_id: Digest, facts: RequestFacts) -> list[str]:
    shared, contributed = facts.shared(), facts.contributed()
    holders = {receipt.roster[survivor.index].holder for survivor in receipt.survivors}
    strangers = sorted(set(contributed) - holders)
    if strangers:
        raise ReceiptContradicted(f"{to_hex(strangers[0])} contributed and is not among the survivors")
    absent = []
    for survivor in receipt.survivors:
        holder, at = receipt.roster[survivor.index].holder, f"roster[{survivor.index}]"
        fixed, event = shared.get(holder), contributed.get(holder)
        if fixed is None:
            absent.append(f"that {at} shared")
        elif fixed.commitment_hash != commitment_hash(request_id, holder, survivor.commitment):
            raise ReceiptContradicted(f"the commitment of {at} is not the one it fixed when it shared")
        if event is None:
            absent.append(f"that {at} contributed")
        elif (event.commitment, event.input_hash) != (survivor.commitment, survivor.input_hash):
            raise ReceiptContradicted(f"the contribution of {at} is not the one on the chain")
    return absent


def _bundles(receipt: Receipt, session_id: bytes, facts: RequestFacts) -> list[str]:
    """Compare the bundles of a deposit's trustees: their noise is what the chain fixed before anybody decrypted."""
    if receipt.deposit is None:
        return []
    shared = facts.shared()
    found = {
        receipt.roster[each.index].holder: message_hash(Kind.BUNDLE, session_id, each.index, each.payload)
        for each in receipt.deposit.bundles
    }
    strangers = sorted(set(shared) - set(found))
    if strangers:
        raise ReceiptContradicted(f"{to_hex(strangers[0])} shared and its bundle is not in the receipt")
    absent = []
    for holder, digest in found.items():
        if holder not in shared:
            absent.append(f"that {to_hex(holder)} shared")
        elif shared[holder].bundle_hash != digest:
            raise ReceiptContradicted(f"the bundle of {to_hex(holder)} is not the one on the chain")
    return absent


def _sealed(receipt: Receipt, commitment_sum: bytes, facts: RequestFacts) -> list[str]:
    sealed = facts.one(Sealed)
    if sealed is None:
        return ["the seal"]
    if sealed.survivors != len(receipt.survivors):
        raise ReceiptContradicted(
            f"the chain sealed {sealed.survivors} survivors, the receipt has {len(receipt.survivors)}"
        )
    if sealed.commitment_sum != commitment_sum:
        raise ReceiptContradicted("the sealed sum of commitments is not the sum of the receipt's")
    return []
