"""The contract calls of this holder, as functions of what the chain shows and what the store keeps."""

from __future__ import annotations

from holder.chain_side import RequestView
from ledger.contracts import Contracts, detail_contributed, keys_hash
from ledger.encoding import keccak
from ledger.types import Address, Call, Contribution, Member
from privacy.messages import Frame
from privacy.sealed_sum import HolderSecrets, commitment_hash
from privacy.session import Session


def share_call(
    contracts: Contracts,
    view: RequestView,
    session: Session,
    *,
    me: int,
    mine: HolderSecrets,
    bundle_hash: bytes,
    commitment: bytes,
) -> Call:
    """Return the call that records our bundle and fixes our commitment."""
    member = session.members[me]
    return contracts.ledger.share(
        view.opened.request,
        line=member.line,
        keys_hash=member.keys_hash,
        bundle_hash=bundle_hash,
        seed_hash=mine.seed_hash(session, me),
        commitment_hash=commitment_hash(session.request_id, member.holder, commitment),
    )


def contribute_call(
    contracts: Contracts,
    view: RequestView,
    session: Session,
    *,
    mine: HolderSecrets,
    bundle_hash: bytes,
    frame: Frame,
    commitment: bytes,
    receipt: bytes,
) -> Call:
    """Return the call that opens our commitment, for a masked input that the broker has signed for."""
    member = session.members[frame.sender]
    contribution = Contribution(
        line=member.line,
        keys_hash=member.keys_hash,
        bundle_hash=bundle_hash,
        seed_hash=mine.seed_hash(session, frame.sender),
        session=session.id,
        sender=frame.sender,
        payload_hash=keccak(frame.payload),
    )
    return contracts.ledger.contribute(view.opened.request, contribution, commitment, receipt)


def post_unmask_call(contracts: Contracts, view: RequestView, me: Address, frame: Frame) -> Call:
    """Return the call that publishes our unmask message."""
    approval, share, own = view.approved[me], view.shared[me], view.contributed[me]
    row = Member(
        holder=me,
        line=approval.line,
        keys_hash=keys_hash(approval.asset, approval.asset_version, approval.keys),
        detail=detail_contributed(share.commitment_hash, own.input_hash),
    )
    return contracts.ledger.post_unmask(view.opened.request, row, frame.payload)
