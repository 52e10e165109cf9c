"""The broker's side of the sealed sum: check what arrives, take the holders' masks off, publish the root.

What comes out is still under the buyer's pads: the broker learns no cell.

Source: docs/protocol.md §4 and §5.
"""

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from privacy.agreement import clamp, is_x25519_pair, x25519
from privacy.decoding import decode_secret
from privacy.errors import (
    BadUnmask,
    BelowThreshold,
    PayloadMalformed,
    ProtocolError,
    SeedMismatch,
    SenderUnknown,
)
from privacy.payloads import ShareType, Unmask, decode_bundle, decode_unmask
from privacy.prg import CELL_BYTES, LANE_BYTES, MaskedVector
from privacy.sealed_sum_holder import pair_mask_key, self_mask_key
from privacy.sealed_sum_secrets import seed_hash
from privacy.session import Session
from privacy.shamir import combine, lagrange_weights


@dataclass(frozen=True, slots=True)
class Rejected:
    """An unmask message, or one share in it, that was left out of the sum.

    Attributes:
        sender: who sent it.
        owner: whose secret the share is of, or None if the whole message is malformed.
        reason: what was wrong.
    """

    sender: int
    owner: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Y, and who sent something that was not used.

    Attributes:
        payload: d cells and the Z_q lane, under the buyer's pads.
        rejected: evidence against senders. Shares beyond the threshold are only looked at when one was wrong.
    """

    payload: bytes
    rejected: tuple[Rejected, ...]


def require_bundle(session: Session, sender: int, payload: bytes) -> None:
    """Check the form of a bundle; only its recipients can open it.

    Raises:
        SenderUnknown, PayloadMalformed
    """
    session.require_index(sender)
    decode_bundle(payload, sender=sender, holders=session.n)


def require_masked_input(session: Session, sender: int, payload: bytes, *, cells: int) -> None:
    """Check the form of a masked input.

    Args:
        session: the session.
        sender: index.
        payload: of kind 2.
        cells: the plan's d.

    Raises:
        SenderUnknown, PayloadMalformed
    """
    session.require_index(sender)
    _require_length(payload, sender, cells)
    MaskedVector.of_payload(payload, sender=sender)


def require_unmask(
    session: Session, sender: int, payload: bytes, *, sharers: Collection[int], survivors: Collection[int]
) -> Unmask:
    """Check that an unmask message holds exactly one share of the right type for each holder that shared.

    Raises:
        BadUnmask: naming the sender; also if it is no survivor.
    """
    return _require_unmask(sender, payload, survivors, _expected_types(sharers, survivors))


def aggregate(
    session: Session,
    *,
    cells: int,
    sharers: Collection[int],
    masked: Mapping[int, bytes],
    unmasks: Mapping[int, bytes],
    seed_hashes: Mapping[int, bytes],
) -> Aggregate:
    """Sum the survivors' vectors and remove all masks between holders.

    Every secret that is opened is compared with what its owner fixed on the chain before it is used, so a
    wrong share delays the sum and never changes it.

    Args:
        session: the session.
        cells: the plan's d.
        sharers: who shared, as the chain shows.
        masked: payloads of kind 2 of the survivors, and of nobody else.
        unmasks: payloads of kind 3 by sender; at least t good ones, more do not harm.
        seed_hashes: seedHash_j of those that shared, from the chain.

    Raises:
        BelowThreshold: fewer survivors than the floor, or fewer usable unmask messages than t.
        BadUnmask: so few because of malformed ones; names the first sender.
        SeedMismatch: the shares open no secret that fits; more messages may help.
        PayloadMalformed: a masked input of another length; names its sender.
        SenderUnknown: a survivor that did not share, or no seed hash of one that did.
    """
    shared = session.require_sharers(sharers)
    survivors = session.require_survivors(masked, shared)
    missing = sorted(set(shared) - set(seed_hashes))
    if missing:
        raise SenderUnknown("no seed hash of a holder that shared", sender=missing[0])
    messages, rejected = _usable(session, shared, survivors, unmasks)
    seeds, masks = _open_secrets(session, survivors, messages, seed_hashes, rejected)
    for index in survivors:
        _require_length(masked[index], index, cells)
    keys = _mask_keys(session, survivors, seeds, masks)
    first, *others = survivors
    total = MaskedVector.of_payload(masked[first], sender=first)
    for index in others:
        total.add_payload(masked[index], sender=index)
    for key in keys.added:
        total.subtract_mask(key)
    for key in keys.subtracted:
        total.add_mask(key)
    return Aggregate(total.payload(), tuple(rejected))


@dataclass(frozen=True, slots=True)
class _MaskKeys:
    """Keys of the masks in the survivors' vectors, by what the survivors did with the mask.

    All are made before a vector is touched: in turns, each pass over a vector would drive what the next key
    agreement needs out of the processor's caches.
    """

    added: list[bytes] = field(repr=False)
    subtracted: list[bytes] = field(repr=False)


def _mask_keys(
    session: Session, survivors: Sequence[int], seeds: Mapping[int, int], masks: Mapping[int, int]
) -> _MaskKeys:
    """Return the keys of the survivors' self masks and of their masks with those that dropped out."""
    keys = _MaskKeys([self_mask_key(session, index, seeds[index]) for index in survivors], [])
    for dropped, secret in masks.items():
        private = _mask_key_bytes(secret)
        for index in survivors:
            shared = x25519(private, session.members[index].mask_key, sender=index)
            key = pair_mask_key(session, shared, dropped, index)
            (keys.added if index < dropped else keys.subtracted).append(key)
    return keys


def _usable(
    session: Session, sharers: Sequence[int], survivors: Sequence[int], unmasks: Mapping[int, bytes]
) -> tuple[dict[int, Unmask], list[Rejected]]:
    """Parse the unmask messages; malformed ones count only if too few are left."""
    messages: dict[int, Unmask] = {}
    errors: list[ProtocolError] = []
    rejected: list[Rejected] = []
    expected = _expected_types(sharers, survivors)
    for sender, payload in sorted(unmasks.items()):
        try:
            messages[sender] = _require_unmask(sender, payload, survivors, expected)
        except BadUnmask as err:
            errors.append(err)
            rejected.append(Rejected(sender, None, str(err)))
    if len(messages) < session.params.threshold:
        if errors:
            raise errors[0]
        raise BelowThreshold("unmask messages", expected=session.params.threshold, actual=len(messages))
    return messages, rejected


def _open_secrets(
    session: Session,
    survivors: Sequence[int],
    messages: Mapping[int, Unmask],
    seed_hashes: Mapping[int, bytes],
    rejected: list[Rejected],
) -> tuple[dict[int, int], dict[int, int]]:
    """Open b_j of survivors and mask keys of those that dropped out; add wrong shares to `rejected`."""
    threshold = session.params.threshold
    base = sorted(messages)[:threshold]
    weights = lagrange_weights(base)
    alive = set(survivors)
    seeds: dict[int, int] = {}
    masks: dict[int, int] = {}
    # every message has one share of each owner, ascending: `decode_unmask` saw to it
    for column in zip(*(message.shares for message in messages.values()), strict=True):
        owner = column[0].owner
        shares = {sender: share.share for sender, share in zip(messages, column, strict=True)}
        is_right = (
            _SeedCheck(session, owner, seed_hashes[owner]) if owner in alive else _MaskCheck(session, owner)
        )
        secret = combine(weights, [shares[sender] for sender in base])
        if not is_right(secret):
            decoded = decode_secret(shares, threshold, is_right)
            if decoded is None:
                message_text = "the shares open no secret that its owner fixed on the chain"
                raise SeedMismatch(message_text, owner=owner, suspects=tuple(sorted(shares)))
            secret = decoded.secret
            reason = "the share is not on the polynomial that opens the owner's secret"
            rejected.extend(Rejected(sender, owner, reason) for sender in decoded.wrong)
        (seeds if owner in alive else masks)[owner] = secret
    return seeds, masks


@dataclass(frozen=True, slots=True)
class _SeedCheck:
    """Compares an opened b_j with seedHash_j."""

    session: Session
    owner: int
    expected: bytes

    def __call__(self, secret: int) -> bool:
        return hmac.compare_digest(seed_hash(self.session.id, self.owner, secret), self.expected)


@dataclass(frozen=True, slots=True)
class _MaskCheck:
    """Compares an opened mask key with the owner's public key.

    X25519 ignores the bits that clamping sets, so other integers have the same public key: only the clamped one,
    which the owner must have dealt, is right.
    """

    session: Session
    owner: int

    def __call__(self, secret: int) -> bool:
        private = _mask_key_bytes(secret)
        is_clamped = hmac.compare_digest(clamp(private), private)
        return is_clamped and is_x25519_pair(private, self.session.members[self.owner].mask_key)


def _require_unmask(
    sender: int, payload: bytes, survivors: Collection[int], expected: Mapping[int, ShareType]
) -> Unmask:
    if sender not in survivors:
        raise BadUnmask("only a survivor unmasks", sender=sender)
    return decode_unmask(payload, sender=sender, expected=expected)


def _expected_types(sharers: Collection[int], survivors: Collection[int]) -> dict[int, ShareType]:
    alive = set(survivors)
    return {j: ShareType.SELF_SEED if j in alive else ShareType.MASK_KEY for j in sharers}


def _require_length(payload: bytes, sender: int, cells: int) -> None:
    expected = CELL_BYTES * cells + LANE_BYTES
    if len(payload) != expected:
        raise PayloadMalformed(f"masked input: expected {expected} bytes, got {len(payload)}", sender=sender)


def _mask_key_bytes(secret: int) -> bytes:
    """Undo RFC 7748's decoding: little-endian."""
    return secret.to_bytes(32, "little")
