"""The rows of a request's roster, as the contract digests them (docs/protocol.md §3 and §5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ledger.encoding import keccak, tagged_hash
from ledger.types import Address, Approved, Contributed, Digest, Event, Member, SessionKeys, Shared

NO_DETAIL: Final = Digest(bytes(32))


def keys_hash(asset: bytes, asset_version: int, keys: SessionKeys) -> Digest:
    """Return keysHash of one member of the roster."""
    words = keys.mask_key, keys.share_key, keys.e_x, keys.e_parity, keys.noise_commitment
    return tagged_hash("keys", asset, asset_version, *words)


def detail_shared(bundle_hash: bytes, seed_hash: bytes, commitment_hash: bytes) -> Digest:
    """Return a member's detail once it has shared."""
    return tagged_hash("shared", bundle_hash, seed_hash, commitment_hash)


def detail_contributed(commitment_hash: bytes, input_hash: bytes) -> Digest:
    """Return a member's detail once it has contributed, and after its unmask message too."""
    return tagged_hash("contributed", commitment_hash, input_hash)


def commitment_hash(request_id: bytes, holder: Address, commitment: bytes) -> Digest:
    """Return the hash by which a holder fixes its commitment (128 bytes) before any other is seen."""
    return tagged_hash("commitment", request_id, holder, keccak(commitment))


def members_from_events(events: Iterable[Event]) -> list[Member]:
    """Return the rows of one request's roster from its events, ascending by holder.

    Args:
        events: of one request, in the chain's order; others than Approved, Shared, Contributed are ignored.
    """
    approved: dict[Address, Approved] = {}
    shared: dict[Address, Shared] = {}
    details: dict[Address, Digest] = {}
    for event in events:
        if isinstance(event, Approved):
            approved[event.holder] = event
        elif isinstance(event, Shared):
            shared[event.holder] = event
            details[event.holder] = detail_shared(event.bundle_hash, event.seed_hash, event.commitment_hash)
        elif isinstance(event, Contributed):
            fixed = shared[event.holder].commitment_hash
            details[event.holder] = detail_contributed(fixed, event.input_hash)
    return [
        Member(
            holder=holder,
            line=event.line,
            keys_hash=keys_hash(event.asset, event.asset_version, event.keys),
            detail=details.get(holder, NO_DETAIL),
        )
        for holder, event in sorted(approved.items())
    ]
