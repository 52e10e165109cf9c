"""What the frames of kinds 1 and 3 carry: sealed shares, and one share of each peer (docs/protocol.md §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct

from privacy.errors import BadUnmask, PayloadMalformed
from privacy.shamir import FIELD_PRIME

SHARE_BYTES = 32
SEALED_BYTES = 2 * SHARE_BYTES + 16  # two shares and a Poly1305 tag
_INDEX_BYTES = 2
_BUNDLE_ENTRY = Struct(f">H{SEALED_BYTES}s")
_UNMASK_ENTRY = Struct(f">HB{SHARE_BYTES}s")


def split_rider(payload: bytes, size: int, *, sender: int) -> tuple[bytes, bytes]:
    """Take what rides behind a payload off it.

    Args:
        payload: as it came.
        size: bytes of the rider, by the plan.
        sender: index of who sent it.

    Returns:
        The protocol's own part, and the rider.

    Raises:
        PayloadMalformed: it is shorter than its rider.
    """
    if len(payload) < size:
        raise PayloadMalformed(f"payload: expected more than {size} bytes, got {len(payload)}", sender=sender)
    end = len(payload) - size
    return payload[:end], payload[end:]


class ShareType(IntEnum):
    """Which secret of the owner a share opens."""

    SELF_SEED = 1  # b_j: of a survivor, so that its self mask comes off
    MASK_KEY = 2  # of a holder that shared and dropped out, so that its pair masks come off


_SHARE_TYPES = {kind.value: kind for kind in ShareType}


@dataclass(frozen=True, slots=True)
class UnmaskShare:
    """One share of one owner's secret."""

    owner: int
    type: ShareType
    share: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unmask:
    """The one unmask message of a holder: strictly ascending owners, so never both shares of a peer.

    Raises:
        PayloadMalformed: owners that are not strictly ascending, or a share that is no field element.
    """

    shares: tuple[UnmaskShare, ...]

    def __post_init__(self) -> None:
        owners = [share.owner for share in self.shares]
        if owners != sorted(set(owners)):
            raise PayloadMalformed("unmask: one share for each holder that shared, ascending")
        if any(not 0 <= share.share < FIELD_PRIME for share in self.shares):
            raise PayloadMalformed("unmask: a share must be below 2^255 − 19")

    def payload(self) -> bytes:
        """Encode as the payload of kind 3."""
        entries = [
            _UNMASK_ENTRY.pack(entry.owner, entry.type, entry.share.to_bytes(SHARE_BYTES, "big"))
            for entry in self.shares
        ]
        return _count(entries) + b"".join(entries)

    @classmethod
    def of_payload(cls, payload: bytes) -> "Unmask":
        """Parse the payload of kind 3.

        Raises:
            PayloadMalformed: another length, order or type, or a share that is no field element.
        """
        _require_entries(payload, _UNMASK_ENTRY.size)
        entries = list(_UNMASK_ENTRY.iter_unpack(payload[_INDEX_BYTES:]))
        unknown = sorted({kind for _, kind, _ in entries} - set(_SHARE_TYPES))
        if unknown:
            raise PayloadMalformed(f"share type: expected 1 or 2, got {unknown[0]}")
        return cls(
            tuple(
                UnmaskShare(j, _SHARE_TYPES[kind], int.from_bytes(share, "big")) for j, kind, share in entries
            )
        )

    def types(self) -> dict[int, ShareType]:
        """Return which share of each owner is released."""
        return {share.owner: share.type for share in self.shares}


def bundle_size(holders: int) -> int:
    """Return the bytes of a payload of kind 1, without its rider."""
    return _INDEX_BYTES + (holders - 1) * _BUNDLE_ENTRY.size


def encode_bundle(sealed: Mapping[int, bytes]) -> bytes:
    """Encode sealed shares by recipient as the payload of kind 1."""
    entries = [_BUNDLE_ENTRY.pack(index, sealed[index]) for index in sorted(sealed)]
    return _count(entries) + b"".join(entries)


def decode_bundle(payload: bytes, *, sender: int, holders: int) -> dict[int, bytes]:
    """Parse the payload of kind 1: a sealed share for every other holder, ascending.

    Raises:
        PayloadMalformed: another length, count or order.
    """
    try:
        _require_entries(payload, _BUNDLE_ENTRY.size)
    except PayloadMalformed as err:
        raise PayloadMalformed(str(err), sender=sender) from err
    entries = list(_BUNDLE_ENTRY.iter_unpack(payload[_INDEX_BYTES:]))
    if [recipient for recipient, _ in entries] != [index for index in range(holders) if index != sender]:
        raise PayloadMalformed("bundle: one sealed share for every other holder, ascending", sender=sender)
    return dict(entries)


def decode_unmask(payload: bytes, *, sender: int, expected: Mapping[int, ShareType]) -> Unmask:
    """Parse an unmask payload that must hold exactly the expected share of each holder that shared.

    Raises:
        BadUnmask: naming the sender, whatever is wrong.
    """
    try:
        unmask = Unmask.of_payload(payload)
    except PayloadMalformed as err:
        raise BadUnmask(str(err), sender=sender) from err
    if unmask.types() != dict(expected):
        message = "exactly one share for each that shared: of a survivor's self seed, of a dropout's mask key"
        raise BadUnmask(message, sender=sender)
    return unmask


def _count(entries: list[bytes]) -> bytes:
    return len(entries).to_bytes(_INDEX_BYTES, "big")


def _require_entries(payload: bytes, size: int) -> None:
    if len(payload) < _INDEX_BYTES:
        raise PayloadMalformed(f"payload: expected at least {_INDEX_BYTES} bytes, got {len(payload)}")
    count = int.from_bytes(payload[:_INDEX_BYTES], "big")
    expected = _INDEX_BYTES + count * size
    if len(payload) != expected:
        raise PayloadMalformed(f"payload of {count} entries: expected {expected} bytes, got {len(payload)}")
