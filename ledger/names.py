"""Ids of assets, budget lines and listings: each bound to the account that makes it (docs/protocol.md §1)."""

from __future__ import annotations

from ledger.encoding import keccak, tagged_hash
from ledger.types import Address, Digest


def asset_id(holder: Address, name: str) -> Digest:
    """Return the id of `holder`'s asset of that name (docs/protocol.md §1)."""
    return tagged_hash("asset", holder, keccak(name.encode()))


def line_id(holder: Address, key_space: str) -> Digest:
    """Return the id of `holder`'s budget line for a privacy-unit key space.

    Args:
        holder: the participant's first account, also after it was replaced (`Participants.root_of`).
    """
    return tagged_hash("line", holder, keccak(key_space.encode()))


def listing_id(broker: Address, name: str) -> Digest:
    """Return the id of `broker`'s listing of that name."""
    return tagged_hash("listing", broker, keccak(name.encode()))
